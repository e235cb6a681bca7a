// SPDX-License-Identifier: Apache-2.0
//! The lock files of shadow-utils: who holds the account database, and waiting for its end.
//!
//! On the host those of others are looked at and never touched. One whose owner is dead is no
//! obstacle: the tools take it away themselves. In an image, where no tool runs, they are taken by
//! [`super::image_locks`].

use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, test_kill_process};

use crate::system::HostError;
use crate::system::root::Root;

/// The locks, in the order in which shadow-utils take them.
pub(crate) const FILES: [&str; 4] =
    ["/etc/passwd.lock", "/etc/group.lock", "/etc/gshadow.lock", "/etc/shadow.lock"];

/// A number and no more.
pub(crate) const LIMIT: usize = 64;

/// That the owner of a lock died raises no event in /etc: looked at this often as well.
const BACKSTOP: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What a lock file means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lock {
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
    /// No file at all: the tools would try for fifteen seconds to read it.
    Special {
        path: &'static str,
        kind: &'static str,
    },
}

/// The first lock that would keep a tool from its work.
pub(crate) fn look(root: &Root) -> Lock {
    FILES
        .into_iter()
        .map(|path| one(root, path))
        .find(|lock| *lock != Lock::Open)
        .unwrap_or(Lock::Open)
}

/// What one lock file means.
pub(crate) fn one(root: &Root, path: &'static str) -> Lock {
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    let Ok(fd) = root.open(Path::new(path), flags, Mode::empty()) else { return Lock::Open };
    let content = match root.read_opened(&fd, Path::new(path), LIMIT) {
        Ok(content) => content,
        Err(HostError::TooLarge { .. }) => return Lock::Nobodys { path },
        Err(HostError::NotRegular { kind, .. }) => return Lock::Special { path, kind },
        Err(_) => return Lock::Open,
    };
    // The tools write the number with a NUL behind it, and take no other number for one.
    let text = String::from_utf8_lossy(&content);
    let number = text.split('\0').next().and_then(|text| text.parse::<i32>().ok());
    let number = number.filter(|&number| number > 0);
    // Below one it would be a question to a whole group, or to everybody.
    match number.and_then(Pid::from_raw) {
        None => Lock::Nobodys { path },
        // Only one that was killed can have left it, and been given our number: in a container every
        // run has the same. On the host it is a tool that takes the lock.
        Some(pid) if !root.is_live() && pid == rustix::process::getpid() => Lock::Open,
        // Without a permission to ask it is nobody's of root's, and the tools see it likewise.
        Some(pid) if test_kill_process(pid).is_ok() => {
            Lock::Held { path, pid: pid.as_raw_nonzero().get() }
        }
        Some(_) => Lock::Open,
    }
}

/// Waits until no lock is held. The error says who held one for too long.
pub(crate) fn wait(root: &Root, end: Instant) -> Result<(), String> {
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
            Lock::Special { path, kind } => {
                return Err(format!("{path} is a {kind}, expected a lock file or none: remove it"));
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

fn watch(root: &Root) -> Option<OwnedFd> {
    let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
    let flags = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR;
    // By the descriptor: in an image the way to it may lead elsewhere by its path.
    let etc = root.open(Path::new("/etc"), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).ok()?;
    inotify::add_watch(&fd, format!("/proc/self/fd/{}", etc.as_raw_fd()), flags).ok()?;
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
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn image(lock: Option<&str>) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        if let Some(lock) = lock {
            std::fs::write(dir.path().join("etc/passwd.lock"), lock).unwrap();
        }
        let root = Root::image(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn a_lock_file_names_one_process_and_never_a_group_of_them() {
        let holder = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        let path = FILES[0];
        for (content, lock) in [
            (format!("{holder}\0"), Lock::Held { path, pid: holder }),
            (format!("{holder}\0nodeguard"), Lock::Held { path, pid: holder }),
            ("-1\0".into(), Lock::Nobodys { path }),
            ("-1".into(), Lock::Nobodys { path }),
            ("0".into(), Lock::Nobodys { path }),
            (format!("-{holder}"), Lock::Nobodys { path }),
            (String::new(), Lock::Nobodys { path }),
            ("4194303".into(), Lock::Open),
            (format!("{}\0", std::process::id()), Lock::Open),
        ] {
            let (_dir, root) = image(Some(&content));
            assert_eq!(look(&root), lock, "{content:?}");
        }
    }
}
