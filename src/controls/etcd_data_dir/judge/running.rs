// SPDX-License-Identifier: Apache-2.0
//! Whose etcd's files are while an etcd runs: a part of the control `etcd-data-dir`.
//!
//! The account's number can change in /etc/passwd while etcd runs on. RKE2 gives the files to the
//! new number when it starts the next time, and starts an etcd with it; until then the running etcd
//! needs them. So while an etcd runs as a number other than 0 that its files have, they stay that
//! number's, and that is a warning. Root's etcd loses nothing when its files are given away, and an etcd that has the
//! account's uid and another group loses nothing by the group: all modes are the owner's.
//!
//! RKE2's own chown begins at the top directory. From then on all of the tree is the account's.

use crate::controls::etcd_data_dir::facts::{Lock, RunningEtcd};
use std::path::Path;

use crate::model::{Code, Finding, Origin, Owner, Planned, Severity, shown};

/// As whom etcd runs, and by what that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Running {
    who: Owner,
    seen: Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Process {
        pid: u32,
    },
    /// The process is there, its numbers are the manifest's or its files'.
    Lock {
        pid: u32,
    },
    /// No process: kubelet starts the next one.
    Manifest,
}

impl RunningEtcd {
    /// What more than half of the looked-at entries have: an owner with the uid of most of them.
    fn most(&self) -> Option<Owner> {
        let all = || self.below.iter().chain([&self.top]);
        let having = |uid| all().filter(|owner| owner.uid == uid).count();
        let uid = all().map(|owner| owner.uid).find(|&uid| having(uid) * 2 > all().count())?;
        let same = |owner: &Owner| all().filter(|other| *other == owner).count();
        all().filter(|owner| owner.uid == uid).max_by_key(|owner| same(owner)).copied()
    }

    fn running(&self, account: Owner) -> Option<Running> {
        let manifest = self.manifest;
        // Where modes are wrong a stranger may have locked the database, and root may with a tool.
        let is_etcd = |who: &Owner| {
            let known = [manifest, self.most(), Some(account)];
            let roots = who.uid == 0 && manifest.is_none_or(|manifest| manifest.uid == 0);
            roots || who.uid != 0 && known.into_iter().flatten().any(|known| known.uid == who.uid)
        };
        let held = match &self.lock {
            Lock::Held { pid, by: Some(who) } if is_etcd(who) => {
                Some(Running { who: *who, seen: Seen::Process { pid: *pid } })
            }
            Lock::Held { pid, by: None } => {
                manifest.or(self.most()).map(|who| Running { who, seen: Seen::Lock { pid: *pid } })
            }
            _ => None,
        };
        let restarted = || Some(Running { who: manifest?, seen: Seen::Manifest });
        // Where nothing can be seen, what root wrote last counts: what is kept now RKE2 gives away at
        // its next start.
        let may_run = self.restarts || matches!(self.lock, Lock::Unknown(_));
        held.or_else(|| may_run.then(restarted).flatten())
    }

    /// Whether its files are `who`'s, or root says that they are to be.
    fn has_its_files(&self, who: Owner) -> bool {
        [self.manifest, self.most()].into_iter().flatten().any(|owner| owner.uid == who.uid)
    }
}

/// Who etcd's files should belong to now: the account, or the etcd that runs as another number.
pub fn owner(account: Owner, facts: &RunningEtcd) -> Owner {
    facts
        .running(account)
        .map(|running| running.who)
        .filter(|who| who.uid != 0 && who.uid != account.uid && facts.top.uid != account.uid)
        .filter(|who| facts.has_its_files(*who))
        .unwrap_or(account)
}

/// Facts → the finding that etcd does not run as the account's number.
pub(crate) fn judge(account: Owner, facts: &RunningEtcd, manifest: &Path) -> Option<Planned> {
    let Running { who, seen } = facts.running(account)?;
    if who == account {
        return None;
    }
    let by = match facts.manifest {
        Some(_) => shown(manifest),
        None => "most of its files".into(),
    };
    let runs = match seen {
        Seen::Process { pid } => format!("etcd runs as {who} (pid {pid})"),
        Seen::Lock { pid } => format!(
            "etcd runs as {who} (pid {pid}, whose numbers cannot be seen in /proc; by {by})"
        ),
        Seen::Manifest => match &facts.lock {
            Lock::Unknown(reason) => {
                format!("etcd runs as {who} (by {by}; its process cannot be seen: {reason})")
            }
            _ => format!("etcd is not running and is started again as {who} (by {by})"),
        },
    };
    let then = if owner(account, facts) == who {
        format!("its data and its TLS files stay {who}'s until RKE2 starts again")
    } else if who.uid == 0 {
        "root's etcd can use the account's files, and RKE2's next start runs it as the account"
            .to_owned()
    } else if who.uid == account.uid {
        format!("what it makes is of group {} until RKE2 starts again", who.gid)
    } else {
        format!("its data directory is {}'s, so that it can no longer open its files", facts.top)
    };
    // Nobody has to do anything about the others soon: etcd works, and its files are correct.
    let works = who.uid == 0 || who.uid == account.uid;
    let severity = if works { Severity::Note } else { Severity::Warning };
    Some(Planned::only(
        Finding::new(Code::EtcdProcessUser, "etcd process")
            .severity(severity)
            .expected(account.to_string())
            .actual(who.to_string())
            .message(format!("{runs}, and the account etcd is {account}: {then}"))
            .origin(Origin::file("/etc/passwd"))
            .remedy("systemctl restart rke2-server"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Owner = Owner { uid: 0, gid: 0 };
    const OLD: Owner = Owner { uid: 999, gid: 998 };
    const NEW: Owner = Owner { uid: 777, gid: 776 };
    /// The group alone is another one.
    const GROUP: Owner = Owner { uid: 777, gid: 4242 };
    const STRANGER: Owner = Owner { uid: 1000, gid: 1000 };

    fn held(by: Option<Owner>) -> Lock {
        Lock::Held { pid: 812, by }
    }

    fn facts(top: Owner, below: [Owner; 4], lock: Lock, manifest: Option<Owner>) -> RunningEtcd {
        RunningEtcd { top, below: below.to_vec(), lock, manifest, restarts: false }
    }

    /// Whose the files are to be, and the severity of the finding.
    fn judged(facts: &RunningEtcd) -> (Owner, Option<Severity>) {
        let planned = judge(NEW, facts, Path::new("/d/agent/pod-manifests/etcd.yaml"));
        assert!(planned.as_ref().is_none_or(|planned| planned.actions.is_empty()));
        (owner(NEW, facts), planned.map(|planned| planned.finding.severity))
    }

    #[test]
    fn files_stay_with_a_running_etcd_that_has_them_and_nothing_else_keeps_them_from_the_account() {
        use Severity::{Note, Warning};
        let unknown = || Lock::Unknown("no /proc".into());
        let rows = [
            ("as the account", (NEW, [NEW; 4], held(Some(NEW)), Some(NEW)), (NEW, None)),
            ("nothing runs", (OLD, [OLD; 4], Lock::Free, Some(OLD)), (NEW, None)),
            ("nothing is seen", (OLD, [OLD; 4], unknown(), Some(OLD)), (OLD, Some(Warning))),
            ("and no manifest", (OLD, [OLD; 4], unknown(), None), (NEW, None)),
            ("renumbered", (OLD, [OLD; 4], held(Some(OLD)), Some(OLD)), (OLD, Some(Warning))),
            ("no manifest", (OLD, [OLD; 4], held(Some(OLD)), None), (OLD, Some(Warning))),
            ("hidepid", (OLD, [OLD; 4], held(None), Some(OLD)), (OLD, Some(Warning))),
            ("and no manifest", (OLD, [OLD; 4], held(None), None), (OLD, Some(Warning))),
            (
                "one is root's",
                (OLD, [OLD, OLD, OLD, ROOT], held(Some(OLD)), None),
                (OLD, Some(Warning)),
            ),
            ("the top is", (ROOT, [OLD; 4], held(Some(OLD)), None), (OLD, Some(Warning))),
            (
                "one is the account's",
                (OLD, [OLD, OLD, NEW, OLD], held(None), None),
                (OLD, Some(Warning)),
            ),
            ("chown -R root", (ROOT, [ROOT; 4], held(Some(OLD)), Some(OLD)), (OLD, Some(Warning))),
            (
                "RKE2's chown began",
                (NEW, [OLD; 4], held(Some(OLD)), Some(OLD)),
                (NEW, Some(Warning)),
            ),
            ("and ended", (NEW, [NEW; 4], held(Some(OLD)), Some(OLD)), (NEW, Some(Warning))),
            ("its manifest too", (NEW, [NEW; 4], held(Some(OLD)), Some(NEW)), (NEW, None)),
            (
                "the new etcd runs",
                (NEW, [NEW, NEW, OLD, NEW], held(Some(NEW)), Some(NEW)),
                (NEW, None),
            ),
            ("root's etcd", (ROOT, [ROOT; 4], held(Some(ROOT)), Some(ROOT)), (NEW, Some(Note))),
            (
                "on a tree given away",
                (NEW, [NEW; 4], held(Some(ROOT)), Some(ROOT)),
                (NEW, Some(Note)),
            ),
            ("on another's tree", (OLD, [OLD; 4], held(Some(ROOT)), Some(ROOT)), (NEW, Some(Note))),
            ("root's tool", (OLD, [OLD; 4], held(Some(ROOT)), Some(OLD)), (NEW, None)),
            ("a restore", (ROOT, [ROOT; 4], Lock::Free, Some(OLD)), (NEW, None)),
            (
                "another group",
                (GROUP, [GROUP; 4], held(Some(GROUP)), Some(GROUP)),
                (NEW, Some(Note)),
            ),
            ("a stranger's lock", (ROOT, [ROOT; 4], held(Some(STRANGER)), Some(ROOT)), (NEW, None)),
            ("on the account's", (NEW, [NEW; 4], held(Some(STRANGER)), Some(NEW)), (NEW, None)),
        ];
        for (what, (top, below, lock, manifest), expected) in rows {
            assert_eq!(judged(&facts(top, below, lock, manifest)), expected, "{what}");
        }
    }

    #[test]
    fn files_stay_with_an_etcd_that_kubelet_starts_once_more() {
        let down = |lock| RunningEtcd { restarts: true, ..facts(OLD, [OLD; 4], lock, Some(OLD)) };
        let kept = (OLD, Some(Severity::Warning));
        assert_eq!(judged(&down(Lock::Free)), kept);
        assert_eq!(judged(&down(Lock::Unknown("no /proc".into()))), kept);
        assert_eq!(judged(&down(held(Some(ROOT)))), kept, "root's tool meanwhile");
        let by_root = RunningEtcd { manifest: Some(ROOT), ..down(Lock::Free) };
        assert_eq!(judged(&by_root), (NEW, Some(Severity::Note)));
        assert_eq!(judged(&RunningEtcd { manifest: None, ..down(Lock::Free) }), (NEW, None));
    }

    #[test]
    fn a_tree_with_nothing_in_it_yet_is_the_accounts() {
        for top in [ROOT, OLD, NEW] {
            let facts = RunningEtcd { below: vec![], ..facts(top, [OLD; 4], Lock::Free, None) };
            assert_eq!(judged(&facts), (NEW, None));
        }
    }

    #[test]
    fn the_finding_names_both_numbers_what_could_not_be_seen_and_the_restart() {
        let told =
            |facts: &RunningEtcd| judge(NEW, facts, Path::new("/d/etcd.yaml")).unwrap().finding;
        let finding = told(&facts(OLD, [OLD; 4], held(Some(OLD)), Some(OLD)));
        assert_eq!((finding.expected.as_str(), finding.actual.as_str()), ("777:776", "999:998"));
        assert_eq!(finding.remedy, "systemctl restart rke2-server");
        assert_eq!(
            finding.message,
            "etcd runs as 999:998 (pid 812), and the account etcd is 777:776: its data and its TLS \
             files stay 999:998's until RKE2 starts again"
        );
        let hidden = told(&facts(OLD, [OLD; 4], held(None), Some(OLD))).message;
        assert!(hidden.contains("cannot be seen in /proc; by /d/etcd.yaml"), "{hidden}");
        let hidden = told(&facts(OLD, [OLD; 4], held(None), None)).message;
        assert!(hidden.contains("by most of its files"), "{hidden}");
        let lost = told(&facts(NEW, [NEW; 4], held(Some(OLD)), Some(OLD))).message;
        assert!(lost.ends_with("is 777:776's, so that it can no longer open its files"), "{lost}");
        let group = told(&facts(GROUP, [GROUP; 4], held(Some(GROUP)), None)).message;
        assert!(
            group.ends_with("what it makes is of group 4242 until RKE2 starts again"),
            "{group}"
        );
    }
}
