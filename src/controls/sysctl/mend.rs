// SPDX-License-Identifier: Apache-2.0
//! Setting a live kernel parameter: compare, set, read back.

use rustix::io::Errno;

use super::Live;
use super::judge::conf::same_value;
use super::proc_sys::{self, ProcSys};
use crate::model::{Obstacle, Outcome, ParameterObstacle, sysctl_path};
use crate::system::obstacle;
use crate::system::root::Root;

/// Sets a parameter that now is `expect`.
pub fn set(root: &Root, proc_sys: &mut ProcSys, key: &str, value: &str, expect: &str) -> Outcome {
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
    match proc_sys.read(key) {
        Live::Value(now) if same_value(&now, value) => return Outcome::AlreadyDone,
        Live::Value(now) if same_value(&now, expect) => {}
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
        Live::Value(now) if same_value(&now, value) => {
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
