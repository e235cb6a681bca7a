// SPDX-License-Identifier: Apache-2.0
//! The gate's own look at the node, in a process of its own with a deadline. What hangs there in
//! the kernel (a file system whose server is gone) does not end with its process; so there is one
//! such process at a time, and the next gate finds it by its lock and makes no second one.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::model::{OperatingMode, Role};
use crate::system::HostError;
use crate::system::command::{self, Ended};
use crate::system::root::Root;

/// Held by whoever looks, for as long as it lives.
pub const LOCK: &str = "/run/nodeguard/gate.lock";

/// Why there was no look.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    #[error("{LOCK} is held by another gate")]
    Busy,
    #[error(transparent)]
    Command(#[from] HostError),
}

/// A pass that mends, if `mode` lets it, and the report on its standard output.
pub fn run(
    root: &Root,
    role: Role,
    limit: Duration,
    mode: OperatingMode,
) -> Result<Ended, LookError> {
    let end = Instant::now() + limit;
    let lock = lock(root, limit)?;
    let left = end.saturating_duration_since(Instant::now());
    // It ends what it starts before it is ended itself.
    let within = left.as_millis().to_string();
    let mut arguments = vec!["apply", "--json", "--role", role.as_str(), "--within", &within];
    if mode.only_reports() {
        arguments.push("--change-nothing");
    }
    Ok(command::run_ourselves(&arguments, lock, left)?)
}

/// `None` where there is no place for a lock file: a second look is better than none.
fn lock(root: &Root, limit: Duration) -> Result<Option<OwnedFd>, LookError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
    let Ok(fd) = root.open(Path::new(LOCK), flags, Mode::from_raw_mode(0o600)) else {
        return Ok(None);
    };
    if rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return Ok(Some(fd));
    }
    // Waited for aside: nothing ends a wait for a lock but the lock.
    let (sender, receiver) = mpsc::channel();
    let aside = std::thread::Builder::new().spawn(move || {
        let locked = rustix::fs::flock(&fd, FlockOperation::LockExclusive).map(|()| fd);
        let _ = sender.send(locked);
    });
    if aside.is_err() {
        return Ok(None);
    }
    match receiver.recv_timeout(limit) {
        Ok(locked) => Ok(locked.ok()),
        Err(_) => Err(LookError::Busy),
    }
}
