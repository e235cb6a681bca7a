// SPDX-License-Identifier: Apache-2.0
//! The one hand: runs an action. Each compares with the state the action expects, changes only
//! what differs, and reads back.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::io::Errno;

use crate::controls::sysctl::Live;
use crate::model::{Action, Object, Outcome};

use super::account::Tool;
use super::accounts::Accounts;
use super::files::{self, Written};
use super::proc_sys::{self, ProcSys};
use super::root::Root;
use super::tree::{Look, Spared, Trees};
use super::walk::OnDirectory;
use super::{account, account_image, accounts, image_locks, tree};

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

/// Runs `action`.
pub fn run(hand: &mut Hand<'_>, action: &Action) -> Ran {
    let held = action.object().is_some_and(|object| hand.held.contains(&object));
    if held {
        let outcome = Outcome::Refused { reason: "it is contested".into() };
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
                },
                Err(e) => Outcome::Failed { reason: e.to_string() },
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
                break 'set account_image::set_primary_group(root, name, *gid, *expect_gid);
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
        Action::OwnTree { base, below, owner } => {
            let spared = spared(hand.held, base);
            let look = Look { spared: &spared, limit: hand.limit, ..Look::whole(*owner) };
            let owned = tree::own(root, base, below, look, hand.on_directory);
            trees = owned.trees;
            owned.outcome
        }
        Action::OwnEntry { base, below, owner, rule } => {
            tree::own_entry(root, base, below, *owner, *rule)
        }
    };
    Ran { outcome, trees }
}

/// Before a pass that changes an image: takes away what one left that was killed. On the host that is
/// for whoever holds the locks next.
pub fn tidy(root: &Root) {
    if !root.is_live() {
        image_locks::tidy(root);
    }
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
    if !root.is_live() {
        return Outcome::Refused { reason: "an image has no live kernel parameters".into() };
    }
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    match proc_sys.read(key) {
        Live::Value(now) if words(&now) == words(value) => return Outcome::AlreadyDone,
        Live::Value(now) if words(&now) == words(expect) => {}
        Live::Value(now) => {
            return Outcome::Refused { reason: format!("{key} is {now} now, expected {expect}") };
        }
        Live::Missing => return Outcome::Failed { reason: format!("{key} does not exist") },
        Live::Unreadable(reason) => return Outcome::Failed { reason },
    }
    if let Err(e) = proc_sys::write(key, value) {
        let reason = format!("the kernel refused {key}={value}: {e}{}", why_refused(e));
        return Outcome::Failed { reason };
    }
    match proc_sys.read(key) {
        Live::Value(now) if words(&now) == words(value) => {
            proc_sys.remember_altered(key, None);
            Outcome::Applied { changes: 1 }
        }
        Live::Value(now) => {
            let reason = format!("{key} was set to {value}, and the kernel shows {now} for it");
            proc_sys.remember_altered(key, Some((value.to_owned(), now)));
            Outcome::Failed { reason }
        }
        Live::Missing => Outcome::Failed { reason: format!("{key} went away while it was set") },
        Live::Unreadable(e) => {
            Outcome::Failed { reason: format!("{key} cannot be read back after writing: {e}") }
        }
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

/// Runs an account tool if `before` holds, and afterwards asks the files whether it worked.
fn changing(
    root: &Root,
    before: impl Fn(&Accounts) -> bool,
    after: impl Fn(&Accounts) -> Result<(), &'static str>,
    tool: Tool,
    arguments: &[&str],
) -> Outcome {
    let failed = |e: super::HostError| Outcome::Failed { reason: e.to_string() };
    match accounts::read(root) {
        Ok(db) if before(&db) => {}
        Ok(_) => {
            return Outcome::Refused { reason: "the account is not as it was judged".into() };
        }
        Err(e) => return failed(e),
    }
    let result = account::run(root, tool, arguments);
    match accounts::read(root) {
        Err(e) => failed(e),
        Ok(db) => match (result, after(&db)) {
            (Ok(()), Ok(())) => Outcome::Applied { changes: 1 },
            (Ok(()), Err(reason)) => {
                Outcome::Failed { reason: format!("{} ended well, but {reason}", tool.name) }
            }
            (Err(reason), _) => Outcome::Failed { reason },
        },
    }
}
