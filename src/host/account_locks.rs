// SPDX-License-Identifier: Apache-2.0
//! The lock files of shadow-utils: who holds the account database, and waiting for its end.
//!
//! They are looked at and never touched. One whose owner is dead is no obstacle: the tools take it
//! away themselves.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, test_kill_process};

use super::root::Root;

/// In the order in which the tools take them.
const FILES: [&str; 4] =
    ["/etc/passwd.lock", "/etc/group.lock", "/etc/gshadow.lock", "/etc/shadow.lock"];

/// A number and no more.
const LIMIT: usize = 64;

/// That the owner of a lock died raises no event in /etc: looked at this often as well.
const BACKSTOP: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What a lock file means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// There is none, or it is a dead one's.
    Open,
    Held {
        path: &'static str,
        pid: i32,
    },
    /// Nobody takes it away, the tools neither.
    Nobodys {
        path: &'static str,
    },
}

/// The first lock that would keep a tool from its work.
pub(super) fn look(root: &Root) -> Lock {
    FILES
        .into_iter()
        .map(|path| one(root, path))
        .find(|lock| *lock != Lock::Open)
        .unwrap_or(Lock::Open)
}

fn one(root: &Root, path: &'static str) -> Lock {
    let Ok(Some(content)) = root.read(Path::new(path), LIMIT) else { return Lock::Open };
    // The tools write the number with a NUL behind it, and take no other number for one.
    let text = String::from_utf8_lossy(&content);
    match text.trim_end_matches('\0').parse::<i32>().ok().and_then(Pid::from_raw) {
        None => Lock::Nobodys { path },
        // Without a permission to ask it is nobody's of root's, and the tools see it likewise.
        Some(pid) if test_kill_process(pid).is_ok() => {
            Lock::Held { path, pid: pid.as_raw_nonzero().get() }
        }
        Some(_) => Lock::Open,
    }
}

/// Waits until no lock is held. The error says who held one for too long.
pub(super) fn wait(root: &Root, end: Instant) -> Result<(), String> {
    // Watched before it is looked at, so that no end of a lock is missed.
    let events = watch(root);
    loop {
        match look(root) {
            Lock::Open => return Ok(()),
            Lock::Nobodys { path } => {
                return Err(format!(
                    "{path} has no process id in it, expected one: remove it if nobody changes \
                     accounts now"
                ));
            }
            Lock::Held { path, pid } if Instant::now() >= end => {
                return Err(format!("{path} is held by process {pid}{}", name_of(pid)));
            }
            Lock::Held { .. } => {}
        }
        let mut polled: Vec<_> = events.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        // An interrupted wait is a short one.
        let _ = rustix::event::poll(&mut polled, Some(&BACKSTOP));
        if let Some(fd) = &events {
            // What happened does not matter, since everything is looked at again.
            let _ = rustix::io::read(fd, &mut [0u8; 4096]);
        }
    }
}

fn watch(root: &Root) -> Option<rustix::fd::OwnedFd> {
    let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
    let flags = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR;
    inotify::add_watch(&fd, root.path().join("etc"), flags).ok()?;
    Some(fd)
}

fn name_of(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.is_empty() {
        name
    } else {
        format!(" ({})", crate::model::shown(Path::new(name.trim())))
    }
}

/// How long a lock is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
