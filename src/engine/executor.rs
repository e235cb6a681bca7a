// SPDX-License-Identifier: Apache-2.0
//! The one hand: runs an action. Each compares with the state the action expects, changes only
//! what differs, and reads back.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::io::Errno;

use crate::controls::sysctl::Live;
use crate::model::{Action, Depth, Object, Obstacle, Outcome, ParameterObstacle, sysctl_path};

use crate::controls::etcd_account::observe::{self, Accounts};
use crate::controls::etcd_account::tool::{self, Tool};
use crate::controls::etcd_account::{failure, image, image_locks};
use crate::controls::etcd_data_dir::tree::{self, Look, Spared, Trees};
use crate::controls::sysctl::proc_sys::{self, ProcSys};
use crate::system::files::{self, Written};
use crate::system::root::Root;
use crate::system::walk::OnDirectory;
use crate::system::{HostError, obstacle, temporary};

/// What the executor works with.
pub struct Hand<'a> {
    pub root: &'a Root,
    pub proc_sys: &'a mut ProcSys,
    /// Contested, and not to be touched now.
    pub held: &'a BTreeSet<Object>,
    /// Entries of a tree after which owning it ends.
    pub limit: u64,
    /// For the directories of a tree, as it is owned.
    pub on_directory: OnDirectory<'a>,
}

/// What became of an action, and of a tree what it was before and after.
#[derive(Debug)]
pub struct Ran {
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
pub fn run(hand: &mut Hand<'_>, action: &Action) -> Ran {
    let held = action.object().is_some_and(|object| hand.held.contains(&object));
    if held {
        let (reason, obstacle) = ("it is contested".into(), Obstacle::Contested);
        let outcome = Outcome::Refused { reason, obstacle };
        return Ran { outcome, trees: None };
    }
    let Hand { root, proc_sys, .. } = hand;
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
                Err(e) => failed(root, &e),
            }
        }
        Action::SetSysctl { key, value, expect } => set_sysctl(root, proc_sys, key, value, expect),
        Action::CreateGroup { name, gid, copied } => {
            let number = gid.map(|gid| gid.to_string());
            let mut arguments = vec!["-r", *name];
            if let Some(number) = &number {
                arguments.extend(["-g", number]);
            }
            changing(
                root,
                |db| db.group(name).is_none(),
                |db| match db.group(name) {
                    Some(group) if gid.is_none_or(|gid| gid == group.gid) => Ok(()),
                    Some(_) => Err("the group has another gid"),
                    None => Err("the group is still not in /etc/group"),
                },
                Tool { name: "groupadd", files_only: *copied },
                &arguments,
            )
        }
        Action::CreateUser { name, with_group, uid, copied } => {
            // As RKE2's hardening guide has it: useradd -r -c "etcd user" -s /sbin/nologin -M etcd -U
            let comment = format!("{name} user");
            let number = uid.map(|uid| uid.to_string());
            let mut arguments = vec!["-r", "-c", &comment, "-s", "/sbin/nologin", "-M", *name];
            if *with_group {
                arguments.push("-U");
            } else {
                arguments.extend(["-g", *name]);
            }
            if let Some(number) = &number {
                arguments.extend(["-u", number]);
            }
            changing(
                root,
                |db| db.user(name).is_none() && (*with_group || db.group(name).is_some()),
                |db| match db.user(name) {
                    Some(user) if uid.is_none_or(|uid| uid == user.uid) => Ok(()),
                    Some(_) => Err("the user has another uid"),
                    None => Err("the user is still not in /etc/passwd"),
                },
                Tool { name: "useradd", files_only: *copied },
                &arguments,
            )
        }
        Action::SetPrimaryGroup { name, gid, expect_gid } => 'set: {
            if !root.is_live() {
                break 'set image::set_primary_group(root, name, *gid, *expect_gid);
            }
            let number = gid.to_string();
            changing(
                root,
                |db| db.user(name).is_some_and(|u| u.gid == *expect_gid),
                |db| {
                    let now = db.user(name).is_some_and(|u| u.gid == *gid);
                    now.then_some(()).ok_or("the primary group is still the old one")
                },
                Tool { name: "usermod", files_only: false },
                &["-g", &number, name],
            )
        }
        Action::Own { base, below, owner, rule, depth } => {
            let spared = match depth {
                Depth::Whole => spared(hand.held, base),
                // What is held itself was refused above.
                Depth::Entry => Spared::new(),
            };
            let whole = Look::whole(*owner);
            let look = Look { spared: &spared, limit: hand.limit, rule: *rule, ..whole };
            let owned = tree::own(root, base, below, *depth, look, hand.on_directory);
            trees = owned.trees;
            owned.outcome
        }
    };
    Ran { outcome, trees }
}

/// The held objects that are in a tree, by their paths below its top.
pub fn spared(held: &BTreeSet<Object>, top: &Path) -> Spared {
    held.iter()
        .filter_map(|object| match object {
            Object::File(path) => path.strip_prefix(top).ok().map(Path::to_path_buf),
            Object::Parameter(_) | Object::Tree(_) => None,
        })
        .collect()
}

fn set_sysctl(
    root: &Root,
    proc_sys: &mut ProcSys,
    key: &str,
    value: &str,
    expect: &str,
) -> Outcome {
    let failed = |reason, why| {
        let (key, value) = (key.to_owned(), value.to_owned());
        Outcome::Failed { reason, obstacle: Obstacle::Parameter { key, value, why } }
    };
    let refused = |reason, obstacle| Outcome::Refused { reason, obstacle };
    let unreadable =
        |reason| Outcome::Failed { reason, obstacle: Obstacle::Denied { path: sysctl_path(key) } };
    if !root.is_live() {
        return refused("an image has no live kernel parameters".into(), Obstacle::Unclear);
    }
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    match proc_sys.read(key) {
        Live::Value(now) if words(&now) == words(value) => return Outcome::AlreadyDone,
        Live::Value(now) if words(&now) == words(expect) => {}
        Live::Value(now) => {
            return refused(format!("{key} is {now} now, expected {expect}"), Obstacle::Changing);
        }
        Live::Missing => {
            return failed(format!("{key} does not exist"), ParameterObstacle::Missing);
        }
        Live::Unreadable(reason) => return unreadable(reason),
    }
    if let Err(e) = proc_sys::write(key, value) {
        let reason = format!("the kernel refused {key}={value}: {e}{}", why_refused(e));
        return failed(reason, obstacle::of_parameter(e));
    }
    match proc_sys.read(key) {
        Live::Value(now) if words(&now) == words(value) => {
            proc_sys.remember_altered(key, None);
            Outcome::Applied { changes: 1 }
        }
        Live::Value(now) => {
            let reason = format!("{key} was set to {value}, and the kernel shows {now} for it");
            proc_sys.remember_altered(key, Some((value.to_owned(), now.clone())));
            failed(reason, ParameterObstacle::Shown(now))
        }
        Live::Missing => {
            failed(format!("{key} went away while it was set"), ParameterObstacle::Missing)
        }
        Live::Unreadable(e) => unreadable(format!("{key} cannot be read back after writing: {e}")),
    }
}

/// What the operator can make of it, where the error alone says little.
fn why_refused(e: Errno) -> &'static str {
    match e {
        Errno::INVAL | Errno::RANGE => ": it does not take this value",
        Errno::ROFS => {
            ": /proc/sys is read-only here, as in a container; it can be set on the host"
        }
        Errno::PERM => {
            ": it takes a right that the service has not, or it can be set only once in a boot, or \
             not in a container or under a lockdown"
        }
        Errno::ACCESS => {
            ": nobody here may write it, as where the kernel has it read-only or in a container"
        }
        Errno::NOENT => ": it is gone",
        _ => "",
    }
}

fn not_as_judged() -> Outcome {
    let reason = "the account is not as it was judged".into();
    Outcome::Refused { reason, obstacle: Obstacle::Changing }
}

/// What the host did not let us read or write.
fn failed(root: &Root, e: &HostError) -> Outcome {
    Outcome::Failed { reason: e.to_string(), obstacle: obstacle::of_error(root, e) }
}

/// Runs an account tool if `before` holds, and afterwards asks the files whether it worked.
fn changing(
    root: &Root,
    before: impl Fn(&Accounts) -> bool,
    after: impl Fn(&Accounts) -> Result<(), &'static str>,
    tool: Tool,
    arguments: &[&str],
) -> Outcome {
    match observe::read(root) {
        Ok(db) if before(&db) => {}
        Ok(_) => return not_as_judged(),
        Err(e) => return failed(root, &e),
    }
    // The tools would try for fifteen seconds, and then speak of a lock.
    if let Some(obstacle) = failure::fixed(root) {
        let reason = format!("no {} can change the account", tool.name);
        return Outcome::Failed { reason, obstacle };
    }
    let result = tool::run(root, tool, arguments);
    match observe::read(root) {
        Err(e) => failed(root, &e),
        Ok(db) => match (result, after(&db)) {
            (Ok(()), Ok(())) => Outcome::Applied { changes: 1 },
            (Ok(()), Err(reason)) => Outcome::Failed {
                reason: format!("{} ended well, but {reason}", tool.name),
                obstacle: Obstacle::ToolIdle { name: tool.name.into() },
            },
            (Err(reason), _) => {
                let obstacle = failure::obstacle(root, tool.name, arguments, &reason);
                Outcome::Failed { reason, obstacle }
            }
        },
    }
}
