// SPDX-License-Identifier: Apache-2.0
//! The lock files of shadow-utils: who holds the account database, and waiting for its end.
//!
//! Those of others are looked at and never touched. One whose owner is dead is no obstacle: the tools take it
//! away themselves.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
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
    let number = text.trim_end_matches('\0').parse::<i32>().ok().filter(|&number| number > 0);
    // Below one it would be a question to a whole group, or to everybody.
    match number.and_then(Pid::from_raw) {
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

/// The lock of /etc/passwd of an image, which nobody else's tool has: given back when it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    etc: OwnedFd,
}

/// Takes it as the tools do, who would look for it below the same prefix.
pub(super) fn take(image: &Root, end: Instant) -> Result<Taken, String> {
    let (path, name) = (FILES[0], "passwd.lock");
    let cannot = |e: Errno| format!("{path} in the image: {}", std::io::Error::from(e));
    let directory = OFlags::RDONLY | OFlags::DIRECTORY;
    let etc = image.open(Path::new("/etc"), directory, Mode::empty()).map_err(cannot)?;
    loop {
        wait(image, end)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match rustix::fs::openat(&etc, name, flags, Mode::from_raw_mode(0o600)) {
            Ok(fd) => {
                let taken = Taken { etc };
                let number = format!("{}\0", std::process::id());
                rustix::io::write(fd, number.as_bytes()).map_err(cannot)?;
                return Ok(taken);
            }
            // Somebody was faster, or a dead one's is still there.
            Err(Errno::EXIST) if matches!(look(image), Lock::Held { .. }) => {}
            Err(Errno::EXIST) => {
                return Err(format!("{path} in the image is a dead process's: remove it"));
            }
            Err(e) => return Err(cannot(e)),
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // Left behind it is a dead process's, which the tools take away.
        let _ = rustix::fs::unlinkat(&self.etc, "passwd.lock", AtFlags::empty());
    }
}

fn watch(root: &Root) -> Option<OwnedFd> {
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
        let ours = i32::try_from(std::process::id()).unwrap();
        let path = FILES[0];
        for (content, lock) in [
            (format!("{ours}\0"), Lock::Held { path, pid: ours }),
            ("-1\0".into(), Lock::Nobodys { path }),
            ("-1".into(), Lock::Nobodys { path }),
            ("0".into(), Lock::Nobodys { path }),
            (format!("-{ours}"), Lock::Nobodys { path }),
            (String::new(), Lock::Nobodys { path }),
            ("4194303".into(), Lock::Open),
        ] {
            let (_dir, root) = image(Some(&content));
            assert_eq!(look(&root), lock, "{content:?}");
        }
    }

    #[test]
    fn the_lock_of_an_image_is_one_mans_and_is_given_back() {
        let (dir, root) = image(None);
        let path = dir.path().join("etc/passwd.lock");
        let taken = take(&root, Instant::now()).unwrap();
        let content = std::fs::read_to_string(&path).unwrap();
        assert_eq!(content, format!("{}\0", std::process::id()));
        let refused = take(&root, Instant::now()).unwrap_err();
        assert!(refused.contains("is held by process"), "{refused}");
        drop(taken);
        assert!(!path.exists());

        let (dir, root) = image(Some("4194303"));
        let refused = take(&root, Instant::now()).unwrap_err();
        assert!(refused.contains("a dead process's"), "{refused}");
        assert!(dir.path().join("etc/passwd.lock").exists(), "it is not ours to take away");
    }
}
