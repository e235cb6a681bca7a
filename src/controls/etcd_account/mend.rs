// SPDX-License-Identifier: Apache-2.0
//! Changing the account: compare, run the account tool, read back.

use super::observe::{self, Accounts};
use super::tool::{self, Tool};
use super::{failure, fixed, image};
use crate::model::{Obstacle, Outcome};
use crate::system::obstacle;
use crate::system::root::Root;

/// Makes the group, which must not exist; see [`crate::model::Action::CreateGroup`].
pub fn create_group(root: &Root, name: &str, gid: Option<u32>, copied: bool) -> Outcome {
    let number = gid.map(|gid| gid.to_string());
    let mut arguments = vec!["-r", name];
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
        Tool { name: "groupadd", files_only: copied },
        &arguments,
    )
}

/// Makes the user, which must not exist; see [`crate::model::Action::CreateUser`].
pub fn create_user(
    root: &Root,
    name: &str,
    with_group: bool,
    uid: Option<u32>,
    copied: bool,
) -> Outcome {
    // As RKE2's hardening guide has it: useradd -r -c "etcd user" -s /sbin/nologin -M etcd -U
    let comment = format!("{name} user");
    let number = uid.map(|uid| uid.to_string());
    let mut arguments = vec!["-r", "-c", &comment, "-s", "/sbin/nologin", "-M", name];
    if with_group {
        arguments.push("-U");
    } else {
        arguments.extend(["-g", name]);
    }
    if let Some(number) = &number {
        arguments.extend(["-u", number]);
    }
    changing(
        root,
        |db| db.user(name).is_none() && (with_group || db.group(name).is_some()),
        |db| match db.user(name) {
            Some(user) if uid.is_none_or(|uid| uid == user.uid) => Ok(()),
            Some(_) => Err("the user has another uid"),
            None => Err("the user is still not in /etc/passwd"),
        },
        Tool { name: "useradd", files_only: copied },
        &arguments,
    )
}

/// Gives a user that has `expect_gid` another primary group.
pub fn set_primary_group(root: &Root, name: &str, gid: u32, expect_gid: u32) -> Outcome {
    if !root.is_live() {
        return image::set_primary_group(root, name, gid, expect_gid);
    }
    let number = gid.to_string();
    changing(
        root,
        |db| db.user(name).is_some_and(|u| u.gid == expect_gid),
        |db| {
            let now = db.user(name).is_some_and(|u| u.gid == gid);
            now.then_some(()).ok_or("the primary group is still the old one")
        },
        Tool { name: "usermod", files_only: false },
        &["-g", &number, name],
    )
}

fn not_as_judged() -> Outcome {
    let reason = "the account is not as it was judged".into();
    Outcome::Refused { reason, obstacle: Obstacle::Changing }
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
        Err(e) => return obstacle::failed(root, &e),
    }
    // The tools would try for fifteen seconds, and then speak of a lock.
    if let Some(obstacle) = fixed::fixed(root) {
        let reason = format!("no {} can change the account", tool.name);
        return Outcome::Failed { reason, obstacle };
    }
    let result = tool::run(root, tool, arguments);
    match observe::read(root) {
        Err(e) => obstacle::failed(root, &e),
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
