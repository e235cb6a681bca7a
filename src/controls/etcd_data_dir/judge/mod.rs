// SPDX-License-Identifier: Apache-2.0
//! Control `etcd-data-dir`: owner and mode of everything below etcd's data directory, and of its TLS
//! files (`etcd_tls`).

pub mod access;
pub mod entry;
mod fixed;
pub mod oddity;
pub mod running;
pub mod tls;

use std::path::{Path, PathBuf};

use super::facts::{EntryFacts, Facts, Tally, TreeFacts, Wrong};
use crate::model::{
    Action, Code, Depth, Finding, ModeRule, Origin, Planned, Severity, join, quoted, shown,
};

/// Facts → findings.
pub fn judge(facts: &Facts) -> Vec<Planned> {
    if let Some((path, why)) = &facts.unsafe_path {
        // Whoever can change the path to the tree can make any tree "the data dir".
        return vec![Planned::only(
            Finding::at_path(Code::EtcdPathUnsafe, path)
                .expected("only root can change it")
                .actual(why)
                .message(format!(
                    "{} is on the way to etcd's data directory and {why}: nothing below it is \
                     safe to own",
                    shown(path)
                ))
                .remedy(format!("chown root:root {0}; chmod go-w {0}", quoted(path))),
        )];
    }
    let mut out = Vec::new();
    out.extend(facts.link.as_ref().map(|(target, leads)| linked(&facts.dir, target, *leads)));
    for (path, reason) in &facts.unreadable {
        out.push(Planned::only(
            Finding::at_path(Code::EtcdDirUnreadable, path)
                .expected("a directory")
                .actual(reason)
                .message(format!("{} cannot be looked at: {reason}", shown(path)))
                .remedy(format!("check {} and the file system it is on", shown(path))),
        ));
    }
    let running = facts.running.as_ref();
    out.extend(running.and_then(|it| running::judge(facts.account, it, &facts.manifest)));
    if let Some(tree) = &facts.tree {
        let own = Action::Own {
            base: facts.dir.clone(),
            below: PathBuf::new(),
            owner: facts.owner,
            rule: ModeRule::EtcdTree,
            depth: Depth::Subtree,
        };
        out.extend(judge_tree(&facts.dir, tree, &own));
    }
    for (wanted, entry) in &facts.tls {
        out.extend(tls::judge(&facts.tls_dir, *wanted, entry));
    }
    out.extend(odd(&facts.tls_dir, &facts.tls_rest));
    out
}

/// The data directory itself is a link. RKE2 and etcd's pod go through it, and RKE2's chown does not:
/// Go's filepath.Walk enters no link, and os.Chown changes what is behind it.
fn linked(dir: &Path, target: &Path, leads: bool) -> Planned {
    let (path, word) = (shown(dir), quoted(dir));
    let there = dir.parent().unwrap_or(dir).join(target);
    let (behind, mount) = if leads {
        ("", format!("mount --bind {} {word}", quoted(&there)))
    } else {
        (", where no directory is", "mount the disk there".to_owned())
    };
    Planned::only(
        Finding::at_path(Code::EtcdDirLink, dir)
            .expected("a directory")
            .actual(format!("link to {}", shown(target)))
            .message(format!(
                "{path} is a link to {}{behind}: RKE2's own chown does not go through it, so \
                 that etcd could not read its configuration, and nodeguard follows no link",
                shown(target)
            ))
            .remedy(format!(
                "rke2-killall.sh; rm {word} && mkdir -m 700 {word} && {mount} (with a line \
                 in /etc/fstab); or move all of RKE2's data to that disk and set data-dir"
            )),
    )
}

/// What a walk (of the whole tree, or of one entry) found; `own` is the action that mends it.
pub fn judge_tree(dir: &Path, tree: &TreeFacts, own: &Action) -> Vec<Planned> {
    let mut out = Vec::new();
    let mut drift = |code, word, tally: &Tally, unmended: fn(&Wrong) -> Severity| {
        let Some(wrong) = &tally.told else { return };
        let Wrong { below, actual, expected, why, .. } = wrong;
        let path = join(dir, below);
        let (subject, more) = match tally.count {
            1 => (shown(&path), String::new()),
            n => (shown(dir), format!(" and {} more below {}", n - 1, shown(dir))),
        };
        out.push(Planned {
            finding: Finding::new(code, subject)
                .severity(Severity::Drift)
                .expected(expected.clone())
                .actual(actual.clone())
                .origin(Origin::file(shown(&path)))
                .message(format!(
                    "{} has {word} {actual}, expected {expected}{more}: {why}",
                    shown(&path)
                ))
                .remedy("nodeguard apply mends it"),
            actions: vec![own.clone()],
            unmended: unmended(wrong),
        });
    };
    // RKE2 gives everything away at each start, and ends where that fails, as it did for us.
    drift(Code::EtcdOwner, "owner", &tree.wrong_owner, |_| Severity::Fatal);
    // Of modes RKE2 sets one; with the others it starts, and etcd as far as it can.
    drift(Code::EtcdMode, "mode", &tree.wrong_mode, |wrong| match wrong.locks_out {
        true => Severity::Fatal,
        false => Severity::Warning,
    });
    drift(Code::EtcdAcl, "an access control list,", &tree.acls, |_| Severity::Warning);
    out.extend(odd(dir, tree));
    out
}

/// What a walk met and nobody changes.
fn odd(dir: &Path, tree: &TreeFacts) -> Vec<Planned> {
    let each = tree.odd.iter().map(|(below, oddity)| oddity::judge(&join(dir, below), oddity));
    let mut out: Vec<_> = each.collect();
    if let Some(worst) = tree.odd_worst {
        out.push(Planned::only(
            Finding::at_path(Code::EtcdOddEntries, dir)
                .severity(worst.max(Severity::Warning))
                .expected("directories and regular files")
                .actual(format!("{} more", tree.odd_more))
                .message(format!("{} has {} more odd entries", shown(dir), tree.odd_more))
                .remedy(format!("find {} ! -type d ! -type f -o -type f -links +1", quoted(dir))),
        ));
    }
    out
}

/// Permission bits as operators write them.
pub fn octal(mode: u32) -> String {
    format!("{mode:04o}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controls::etcd_data_dir::facts::Oddity;
    use crate::model::Owner;

    const ETCD: Owner = Owner { uid: 997, gid: 997 };

    fn facts(tree: TreeFacts) -> Facts {
        Facts {
            account: ETCD,
            owner: ETCD,
            running: None,
            manifest: "/d/agent/pod-manifests/etcd.yaml".into(),
            dir: "/d/server/db/etcd".into(),
            tree: Some(tree),
            tls_dir: "/d/server/tls/etcd".into(),
            tls: Vec::new(),
            tls_rest: TreeFacts::default(),
            unsafe_path: None,
            link: None,
            unreadable: Vec::new(),
        }
    }

    fn wrong(below: &str, why: &'static str) -> Wrong {
        let (actual, expected) = ("0:0".into(), "997:997".into());
        let locks_out = below != "lost+found";
        Wrong { below: below.into(), actual, expected, locks_out, why }
    }

    #[test]
    fn a_right_tree_has_no_finding() {
        assert_eq!(judge(&facts(TreeFacts { entries: 5, ..TreeFacts::default() })), []);
    }

    #[test]
    fn one_wrong_entry_is_named_and_many_are_counted() {
        let mut tree = TreeFacts::default();
        tree.wrong_owner.add(false, || wrong("lost+found", "CIS wants it"));
        let aside = judge(&facts(tree.clone()));
        assert!(aside[0].finding.message.ends_with("997:997: CIS wants it"), "{aside:?}");
        let mut tree = TreeFacts::default();
        tree.wrong_owner.add(true, || wrong("member/snap/db", "etcd is locked out"));
        let one = judge(&facts(tree.clone()));
        assert_eq!(one[0].finding.subject, "/d/server/db/etcd/member/snap/db");
        tree.wrong_owner.add(true, || wrong("member/wal/0.wal", "no log"));
        let two = judge(&facts(tree));
        assert_eq!(two.len(), 1);
        assert_eq!(two[0].finding.subject, "/d/server/db/etcd");
        assert!(two[0].finding.message.contains("member/snap/db has owner 0:0"), "{two:?}");
        assert!(two[0].finding.message.contains("and 1 more"), "{two:?}");
        assert_eq!(two[0].unmended, Severity::Fatal);

        let mut tree = TreeFacts::default();
        tree.wrong_owner.add(false, || wrong("lost+found", "CIS wants it"));
        tree.wrong_owner.add(true, || wrong("member/snap/db", "etcd is locked out"));
        tree.wrong_owner.add(true, || wrong("member/wal/0.wal", "no log"));
        let worst = judge(&facts(tree));
        let message = &worst[0].finding.message;
        assert!(
            message.contains("snap/db has owner 0:0") && message.contains("2 more"),
            "{message}"
        );
        assert!(message.ends_with("etcd is locked out"), "{message}");
    }

    #[test]
    fn what_cannot_be_mended_is_fatal_only_where_rke2_or_etcd_does_not_come_up_with_it() {
        let with = |of: fn(&mut TreeFacts) -> &mut Tally, locks_out| {
            let mut tree = TreeFacts::default();
            let found = Wrong { locks_out, ..wrong("member/snap/db", "why") };
            of(&mut tree).add(locks_out, || found);
            judge(&facts(tree))[0].unmended
        };
        for (of, locks_out, unmended) in [
            // RKE2's own chown fails as ours did, whatever it is.
            (
                (|tree| &mut tree.wrong_owner) as fn(&mut TreeFacts) -> &mut Tally,
                true,
                Severity::Fatal,
            ),
            (|tree| &mut tree.wrong_owner, false, Severity::Fatal),
            (|tree| &mut tree.wrong_mode, true, Severity::Fatal),
            (|tree| &mut tree.wrong_mode, false, Severity::Warning),
            (|tree| &mut tree.acls, false, Severity::Warning),
        ] {
            assert_eq!(with(of, locks_out), unmended);
        }
    }

    #[test]
    fn what_a_stranger_planted_is_fatal_and_what_root_made_is_not() {
        let cases = [
            (Oddity::RootLink { target: "/wal".into(), dangling: false }, Severity::Note),
            (Oddity::RootLink { target: "/wal".into(), dangling: true }, Severity::Fatal),
            (Oddity::RootLinkOut { target: "/wal".into(), dangling: false }, Severity::Fatal),
            (Oddity::RootLinkOut { target: "/wal".into(), dangling: true }, Severity::Fatal),
            (Oddity::ForeignLink { uid: 997, target: "/etc/shadow".into() }, Severity::Fatal),
            (
                Oddity::TlsLink { target: "/x".into(), owner: Owner { uid: 0, gid: 0 } },
                Severity::Fatal,
            ),
            (Oddity::Hardlinked { links: 2 }, Severity::Note),
            (
                Oddity::HardlinkedWrong { links: 2, owner: Owner { uid: 0, gid: 0 } },
                Severity::Fatal,
            ),
            (Oddity::Special { kind: "fifo" }, Severity::Note),
            (Oddity::Device, Severity::Fatal),
            (Oddity::Mount, Severity::Warning),
            (Oddity::TooDeep, Severity::Fatal),
        ];
        for (oddity, severity) in cases {
            let mut tree = TreeFacts::default();
            tree.add_odd("member/x".into(), oddity.clone());
            let planned = judge(&facts(tree));
            assert_eq!(planned.len(), 1, "{oddity:?}");
            assert_eq!(planned[0].finding.severity, severity, "{oddity:?}");
            assert!(planned[0].actions.is_empty(), "{oddity:?} is never changed");
        }
    }

    #[test]
    fn a_thousand_harmless_oddities_hide_none_that_is_fatal() {
        let planted = Oddity::ForeignLink { uid: 997, target: "/etc/shadow".into() };
        for at in [0, 8, 500, 999] {
            let mut tree = TreeFacts::default();
            for n in 0..1000 {
                let oddity =
                    if n == at { planted.clone() } else { Oddity::Special { kind: "fifo" } };
                tree.add_odd(format!("f{n}").into(), oddity);
            }
            let worst = judge(&facts(tree)).into_iter().map(|p| p.finding.severity).max();
            assert_eq!(worst, Some(Severity::Fatal), "planted at {at}");
        }
        let mut tree = TreeFacts::default();
        for n in 0..1000 {
            tree.add_odd(format!("l{n}").into(), planted.clone());
        }
        let last = judge(&facts(tree)).pop().unwrap();
        assert_eq!(
            (last.finding.code.as_str(), last.finding.severity),
            ("etcd-odd-entries", Severity::Fatal)
        );
    }

    #[test]
    fn a_link_out_of_the_tree_says_what_etcd_does_without_what_is_behind_it_and_the_way_back() {
        let told = |below: &str, target: &str, dangling| {
            let mut tree = TreeFacts::default();
            tree.add_odd(below.into(), Oddity::RootLinkOut { target: target.into(), dangling });
            judge(&facts(tree)).remove(0).finding
        };
        let wal = told("member/wal", "/fast disk/wal", false);
        assert_eq!((wal.code.as_str(), wal.severity), ("etcd-link-outside", Severity::Fatal));
        assert!(wal.message.contains("etcd starts without its log"), "{}", wal.message);
        assert!(
            wal.remedy.contains(
                "rm /d/server/db/etcd/member/wal && mv '/fast disk/wal' /d/server/db/etcd/member/wal"
            ),
            "{}",
            wal.remedy
        );
        for below in ["member", "member/snap", "member/snap/db"] {
            let message = told(below, "/x", false).message;
            assert!(message.contains("etcd starts without its data"), "{message}");
        }
        let relative = told("member/wal", "../../../wal", false).remedy;
        assert!(relative.contains("mv /d/server/db/etcd/member/../../../wal "), "{relative}");
        let nowhere = told("x", "/nowhere", true);
        assert!(nowhere.message.contains("/nowhere, which does not exist"), "{}", nowhere.message);
        assert!(nowhere.message.contains("RKE2's own chown follows the link and fails"));
        assert!(!nowhere.remedy.contains("mv "), "{}", nowhere.remedy);
    }

    #[test]
    fn a_data_dir_that_is_a_link_is_told_with_its_target_and_both_ways_out() {
        let linked = |target: &str, leads| {
            let link = Some((PathBuf::from(target), leads));
            let planned = judge(&Facts { link, tree: None, ..facts(TreeFacts::default()) });
            assert_eq!(planned.len(), 1);
            planned.into_iter().next().unwrap().finding
        };
        let finding = linked("/fast/etcd", true);
        assert_eq!((finding.code.as_str(), finding.severity), ("etcd-dir-link", Severity::Fatal));
        assert_eq!(finding.actual, "link to /fast/etcd");
        assert!(finding.remedy.contains("mount --bind /fast/etcd /d/server/db/etcd"));
        assert!(finding.remedy.contains("data-dir"));
        let finding = linked("../nothing", false);
        assert!(finding.message.contains("a link to ../nothing, where no directory is"));
        assert!(!finding.remedy.contains("mount --bind"), "{}", finding.remedy);
    }

    #[test]
    fn oddities_beyond_the_limit_are_counted_not_kept() {
        let mut tree = TreeFacts::default();
        for n in 0..1000 {
            tree.add_odd(format!("f{n}").into(), Oddity::Special { kind: "fifo" });
        }
        assert_eq!(tree.odd.len(), TreeFacts::ODD_LIMIT);
        assert_eq!(judge(&facts(tree)).len(), TreeFacts::ODD_LIMIT + 1);
    }

    #[test]
    fn a_way_that_others_can_change_is_fatal_and_nothing_is_planned() {
        let mut tree = TreeFacts::default();
        tree.wrong_owner.add(true, || wrong("x", ""));
        let mut facts = facts(tree);
        facts.unsafe_path = Some(("/d".into(), "is owned by uid 1000".into()));
        let planned = judge(&facts);
        assert_eq!(planned.len(), 1);
        assert_eq!(planned[0].finding.code, Code::EtcdPathUnsafe);
        assert!(planned[0].actions.is_empty());
    }
}
