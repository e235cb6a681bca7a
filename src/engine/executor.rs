// SPDX-License-Identifier: Apache-2.0
//! The executor: runs an action. Each compares with the state the action expects, changes only
//! what differs, and reads back.

use std::collections::BTreeSet;
use std::path::Path;

use crate::controls::etcd_account::{image_locks, mend};
use crate::controls::etcd_data_dir::tree::{self, Look, Suspended, Trees};
use crate::controls::sysctl;
use crate::controls::sysctl::proc_sys::ProcSys;
use crate::model::{Action, Depth, Object, Obstacle, Outcome};
use crate::system::files::{self, Written};
use crate::system::root::Root;
use crate::system::walk::OnDirectory;
use crate::system::{obstacle, temporary};

/// What the executor works with.
pub struct Executor<'a> {
    pub root: &'a Root,
    pub proc_sys: &'a mut ProcSys,
    /// Contested, and not to be touched now.
    pub suspended: &'a BTreeSet<Object>,
    /// Entries of a tree after which owning it ends.
    pub limit: u64,
    /// For the directories of a tree, as it is owned.
    pub on_directory: OnDirectory<'a>,
}

/// What became of an action, and of a tree what it was before and after.
#[derive(Debug)]
pub struct Executed {
    pub outcome: Outcome,
    pub trees: Option<Trees>,
}

/// Where something is replaced by way of a temporary file; in an image /etc itself as well.
const REPLACED_IN: [&str; 4] = ["/etc/sysctl.d", "/run/nodeguard", "/var/lib/nodeguard", "/etc"];

/// Removes what passes that were killed have left behind of the files that they were writing, and of
/// their locks in an image; on the host those are for whoever takes them next.
pub fn sweep(root: &Root) {
    let directories = if root.is_live() { &REPLACED_IN[..3] } else { &REPLACED_IN };
    directories.iter().for_each(|dir| temporary::sweep(root, Path::new(dir)));
    if !root.is_live() {
        image_locks::tidy(root);
    }
}

/// Runs `action`.
pub fn run(executor: &mut Executor<'_>, action: &Action) -> Executed {
    let suspended = action.object().is_some_and(|object| executor.suspended.contains(&object));
    if suspended {
        let (reason, obstacle) = ("it is contested".into(), Obstacle::Contested);
        let outcome = Outcome::Refused { reason, obstacle };
        return Executed { outcome, trees: None };
    }
    let Executor { root, proc_sys, .. } = executor;
    let mut trees = None;
    let outcome = match action {
        Action::WriteFile { path, content, expect } => {
            match files::replace(root, path, content, expect.as_deref()) {
                Ok(Written::Replaced) => Outcome::Applied { changes: 1 },
                Ok(Written::Same) => Outcome::AlreadyDone,
                Ok(Written::Changed) => Outcome::Refused {
                    reason: format!("{} was changed by somebody else meanwhile", path.display()),
                    obstacle: Obstacle::Changing,
                },
                Err(e) => obstacle::failed(root, &e),
            }
        }
        Action::SetSysctl { key, value, expect } => {
            sysctl::mend::set(root, proc_sys, key, value, expect)
        }
        Action::CreateGroup { name, gid, copied } => mend::create_group(root, name, *gid, *copied),
        Action::CreateUser { name, with_group, uid, copied } => {
            mend::create_user(root, name, *with_group, *uid, *copied)
        }
        Action::SetPrimaryGroup { name, gid, expect_gid } => {
            mend::set_primary_group(root, name, *gid, *expect_gid)
        }
        Action::Own { base, below, owner, rule, depth } => {
            let suspended = match depth {
                Depth::Subtree => tree::suspended(executor.suspended, base),
                // What is suspended itself was refused above.
                Depth::Entry => Suspended::new(),
            };
            let everything = Look::full(*owner);
            let look =
                Look { suspended: &suspended, limit: executor.limit, rule: *rule, ..everything };
            let owned = tree::own(root, base, below, *depth, look, executor.on_directory);
            trees = owned.trees;
            owned.outcome
        }
    };
    Executed { outcome, trees }
}
