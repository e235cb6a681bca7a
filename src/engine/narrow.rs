// SPDX-License-Identifier: Apache-2.0
//! The narrow passes, for one kernel parameter and for one entry of the data directory: the same
//! judgement and the same executor as in a full pass on fewer facts, so that drift is undone in
//! microseconds.

use std::path::Path;

use super::Engine;
use super::control::{Judge, corrected};
use crate::controls::etcd_data_dir::TreeFacts;
use crate::controls::etcd_data_dir::tree::{self, Look, Trees};
use crate::controls::sysctl::{self, Live, Scope, Wanted};
use crate::controls::{Guard, Observation, etcd_data_dir};
use crate::engine::executor::Executed;
use crate::model::{
    Action, Correction, Depth, Finding, ModeRule, Obstacle, Outcome, Planned, Severity,
};
use crate::system::walk::OnDirectory;

/// Entries of a directory that came which a narrow pass looks at; a larger one is left to a full
/// pass, which is paced.
const SUBTREE: u64 = 256;

/// How a narrow pass ended.
#[derive(Debug)]
pub enum Narrow {
    Correct,
    Corrected(Vec<Correction>),
    /// It was acted on, and is wrong all the same.
    Unmended,
    /// Something that only a full pass can judge, or that would take too long here.
    Beyond,
    /// A kernel parameter that nobody writes, as it is if that is worth a finding: the operator's
    /// policy or mode leaves it alone, or the kernel makes another value of it.
    NotWritten(Option<Finding>),
    /// An entry of the tree that is wrong, and that nobody changes in report mode.
    OnlyTold,
}

impl Engine {
    /// One kernel parameter, mended if it is wrong.
    pub fn mend_sysctl(&mut self, want: &Wanted, scope: Scope) -> Narrow {
        if let Some(finding) = self.not_written(want, scope) {
            return Narrow::NotWritten(finding);
        }
        self.narrow(&mut |_, _| {}, &mut |engine, _, _| {
            let live = engine.proc_sys.read(&want.key);
            sysctl::judge_live(want, &live, scope).into_iter().collect()
        })
    }

    /// What is to be said about a kernel parameter that is not to be written now; `None`: it is.
    fn not_written(&mut self, want: &Wanted, scope: Scope) -> Option<Option<Finding>> {
        // For what RKE2 checks there is one value, which the kernel takes as it is: there, another
        // one after a write is somebody else's.
        let shown = match sysctl::is_fixed(&want.key) {
            true => None,
            false => self.proc_sys.altered(&want.key, &want.value).map(str::to_owned),
        };
        let left_alone = !want.is_held() || self.changes_nothing();
        if !left_alone && shown.is_none() {
            return None;
        }
        let live = self.proc_sys.read(&want.key);
        let as_shown = matches!((&live, &shown), (Live::Value(now), Some(shown)) if now == shown);
        (left_alone || as_shown)
            .then(|| sysctl::judge_live(want, &live, scope).map(|planned| planned.finding))
    }

    /// One entry of the guarded tree, mended if it is wrong; with `subtree`, everything below it as
    /// well.
    pub fn mend_entry(
        &mut self,
        guard: &Guard,
        below: &Path,
        subtree: bool,
        on_directory: OnDirectory<'_>,
    ) -> Narrow {
        if self.is_given_away(guard) {
            return Narrow::Beyond;
        }
        let (base, owner, rule) = (guard.dir.clone(), guard.owner, ModeRule::EtcdTree);
        let depth = if subtree { Depth::Subtree } else { Depth::Entry };
        let own = Action::Own { base, below: below.to_path_buf(), owner, rule, depth };
        let narrow = match depth {
            _ if self.changes_nothing() => self.tell_subtree(guard, below, &own, on_directory),
            Depth::Subtree => self.mend_subtree(guard, below, &own, on_directory),
            Depth::Entry => self.mend_single(guard, &own, on_directory),
        };
        // Looked at again: what RKE2 gave away since the first look was taken back just now.
        if self.is_given_away(guard) { Narrow::Beyond } else { narrow }
    }

    /// The entry is looked at, changed if it is wrong, and read back, all on one way to it: what the
    /// executor compares with is the observation, and what it met before and after is judged.
    fn mend_single(
        &mut self,
        guard: &Guard,
        own: &Action,
        on_directory: OnDirectory<'_>,
    ) -> Narrow {
        let Executed { outcome, trees } = self.execute(own, SUBTREE, on_directory);
        let Some(Trees { before, after }) = trees else {
            // Its pause ended since this turn began, and it is tried at the next one: nothing was
            // looked at, so nothing is said to be correct.
            let contested =
                matches!(outcome, Outcome::Refused { obstacle: Obstacle::Contested, .. });
            return if contested { Narrow::Unmended } else { Narrow::Beyond };
        };
        let judge = |tree| weighty(etcd_data_dir::judge_tree(&guard.dir, tree, own));
        let attempts = [(own.clone(), outcome)];
        let planned = judge(&before);
        if planned.iter().any(|p| p.actions.is_empty()) {
            return Narrow::Beyond;
        }
        ended(&planned, &attempts, &judge(&after))
    }

    /// The entry and everything below it: looked at first, so that nothing is changed in a large
    /// directory, nor in one with something that only a full pass can judge.
    fn mend_subtree(
        &mut self,
        guard: &Guard,
        below: &Path,
        own: &Action,
        on_directory: OnDirectory<'_>,
    ) -> Narrow {
        let mut beyond = false;
        let narrow = self.narrow(on_directory, &mut |engine, observation, on_directory| {
            let found = match observation {
                Observation::BeforeChange(tree) | Observation::AfterChange(tree) => Some(tree),
                Observation::Brief | Observation::Full | Observation::Previous => {
                    engine.subtree(guard, below, on_directory)
                }
            };
            match found {
                Some(facts) if facts.entries < SUBTREE => {
                    etcd_data_dir::judge_tree(&guard.dir, &facts, own)
                }
                _ => {
                    beyond = true;
                    Vec::new()
                }
            }
        });
        if beyond { Narrow::Beyond } else { narrow }
    }

    /// The entry and everything below it as they are; `None`: they cannot be looked at.
    fn subtree(
        &self,
        guard: &Guard,
        below: &Path,
        on_directory: OnDirectory<'_>,
    ) -> Option<TreeFacts> {
        let suspended = tree::suspended(&self.suspended, &guard.dir);
        let look = Look { suspended: &suspended, limit: SUBTREE, ..Look::full(guard.owner) };
        tree::observe_below(&self.root, &guard.dir, below, look, on_directory).ok()
    }

    /// The entry and everything below it, looked at and no more.
    fn tell_subtree(
        &self,
        guard: &Guard,
        below: &Path,
        own: &Action,
        on_directory: OnDirectory<'_>,
    ) -> Narrow {
        match self.subtree(guard, below, on_directory) {
            Some(facts) if facts.entries < SUBTREE => {
                let found = weighty(etcd_data_dir::judge_tree(&guard.dir, &facts, own));
                if found.is_empty() { Narrow::Correct } else { Narrow::OnlyTold }
            }
            _ => Narrow::Beyond,
        }
    }

    /// Whether a tree that is kept for a running etcd belongs to the account by now: RKE2's own chown
    /// begins at the top.
    fn is_given_away(&self, guard: &Guard) -> bool {
        guard.owner != guard.account
            && self.root.stat(&guard.dir).is_ok_and(|top| top.st_uid == guard.account.uid)
    }

    fn narrow(&mut self, on_directory: OnDirectory<'_>, judge: Judge<'_>) -> Narrow {
        let planned = weighty(judge(self, Observation::Full, on_directory));
        if planned.is_empty() {
            return Narrow::Correct;
        }
        if planned.iter().any(|p| p.actions.is_empty()) {
            return Narrow::Beyond;
        }
        let (attempts, trees) = self.attempt(&planned, SUBTREE, on_directory);
        let observation =
            trees.map_or(Observation::Full, |trees| Observation::AfterChange(trees.after));
        let after = weighty(judge(self, observation, on_directory));
        ended(&planned, &attempts, &after)
    }
}

/// A note changes nothing, and a full pass reports it.
fn weighty(mut planned: Vec<Planned>) -> Vec<Planned> {
    planned.retain(|p| p.finding.severity > Severity::Note);
    planned
}

fn ended(planned: &[Planned], attempts: &[(Action, Outcome)], after: &[Planned]) -> Narrow {
    if !after.is_empty() {
        return Narrow::Unmended;
    }
    match corrected(planned, attempts, after) {
        corrections if corrections.is_empty() => Narrow::Correct,
        corrections => Narrow::Corrected(corrections),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Object, Owner};
    use crate::system::root::Root;

    /// Of nobody's: whatever an entry is, it is wrong.
    fn guard() -> Guard {
        let owner = Owner { uid: 4_000_000_001, gid: 4_000_000_001 };
        Guard {
            dir: "/etcd".into(),
            tls_dir: "/tls".into(),
            owner,
            account: owner,
            manifest: "/etcd.yaml".into(),
        }
    }

    #[test]
    fn in_report_mode_a_wrong_entry_is_only_told_and_no_action_is_run() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["etcd", "etc/nodeguard"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        std::fs::write(dir.path().join("etcd/db"), "x").unwrap();
        let file = dir.path().join("etc/nodeguard/nodeguard.toml");
        std::fs::write(&file, "mode = 'report'\n").unwrap();
        let guard = guard();
        let mut engine = Engine::new(Root::image(dir.path()).unwrap(), None);
        assert_eq!(engine.configure(), []);
        let mend = |engine: &mut Engine, below: &str| {
            engine.mend_entry(&guard, Path::new(below), false, &mut |_, _| {})
        };
        assert!(matches!(mend(&mut engine, "db"), Narrow::OnlyTold));
        assert!(matches!(mend(&mut engine, "gone"), Narrow::Correct));
        let path = Path::new("/etc/new").to_path_buf();
        let action = Action::WriteFile { path, content: b"x".to_vec(), expect: None };
        let executed = engine.execute(&action, SUBTREE, &mut |_, _| {});
        assert!(matches!(executed.outcome, Outcome::Refused { .. }), "{executed:?}");
        assert!(!dir.path().join("etc/new").exists());

        std::fs::write(&file, "").unwrap();
        engine.configure();
        assert!(!matches!(mend(&mut engine, "db"), Narrow::OnlyTold));
        let executed = engine.execute(&action, SUBTREE, &mut |_, _| {});
        assert!(matches!(executed.outcome, Outcome::Applied { .. }), "{executed:?}");
    }

    #[test]
    fn a_contested_entry_that_is_left_alone_is_not_taken_for_correct() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etcd")).unwrap();
        std::fs::write(dir.path().join("etcd/db"), "x").unwrap();
        let guard = guard();
        let mut engine = Engine::new(Root::image(dir.path()).unwrap(), None);
        engine.suspend([Object::File("/etcd/db".into())].into());
        let mut mend =
            |below: &str| engine.mend_entry(&guard, Path::new(below), false, &mut |_, _| {});
        assert!(matches!(mend("db"), Narrow::Unmended));
        assert!(matches!(mend("gone"), Narrow::Correct));
    }
}
