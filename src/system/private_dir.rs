// SPDX-License-Identifier: Apache-2.0
//! A directory that nobody but us can look into, for programs that know nothing of an image's root
//! and must be given a path all the same. It is made on this machine, never in the image.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::model::shown;
use crate::system::HostError;
use crate::system::root::Root;

/// The first one counts that only root can change names in and that can be written to. `TMPDIR` is
/// not asked: whoever sets it would decide where password hashes are written.
const PLACES: [&str; 3] = ["/run", "/tmp", "/var/tmp"];

const PREFIX: &str = "nodeguard-image.";

/// Entries of such a place that are looked through for what a killed process left behind.
const LIMIT: usize = 4096;

/// Names that are tried: one is enough but where another run takes leftovers away just then.
const TRIES: usize = 16;

/// Gone with all that is in it when it is dropped.
#[derive(Debug)]
pub(crate) struct PrivateDir {
    path: PathBuf,
    fd: OwnedFd,
}

impl PrivateDir {
    pub fn make() -> Result<Self, String> {
        let host = Root::host().map_err(|e| e.to_string())?;
        let mut reasons = Vec::new();
        for place in PLACES.map(Path::new) {
            match Self::make_in(&host, place, new_name) {
                Ok(dir) => return Ok(dir),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(format!(
            "there is no place on this machine for a private copy of the account files: {}",
            reasons.join("; ")
        ))
    }

    /// `new_name`: a name that nobody knows beforehand.
    fn make_in(host: &Root, place: &Path, new_name: impl Fn() -> String) -> Result<Self, String> {
        let words = |e: HostError| e.to_string();
        let io = |operation, e: Errno| words(HostError::io(operation, place, e));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let parent =
            host.open(place, flags, Mode::empty()).map_err(|e| io("open the directory", e))?;
        // What somebody else could rename away would not stay ours. By a name that nobody has put a
        // link in the place of.
        if let Some((component, reason)) = host.unsafe_component(&place.join(new_name())) {
            return Err(format!("{} {reason}", shown(&component)));
        }
        remove_left_behind(host, place, &parent);
        for _ in 0..TRIES {
            let name = new_name();
            match rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o700)) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(e) => return Err(io("create a directory in", e)),
            }
            let path = place.join(&name);
            let fd = match lock(&parent, &name) {
                Ok(Some(fd)) => fd,
                // Taken for one that was left behind, before it was locked.
                Ok(None) | Err(Errno::NOENT) => continue,
                Err(e) => return Err(io("open a new directory in", e)),
            };
            let dir = Self { path, fd };
            match rustix::fs::fstat(&dir.fd) {
                Ok(stat) if stat.st_nlink > 0 => return Ok(dir),
                _ => {}
            }
        }
        Err(io("create a directory in", Errno::AGAIN))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        // What is left behind is root's alone, and the next run takes it away.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn new_name() -> String {
    format!("{PREFIX}{:016x}", RandomState::new().hash_one(()))
}

/// Opens a directory and marks it as in use for as long as it stays open; `None`: somebody else
/// uses it.
fn lock(parent: &OwnedFd, name: &str) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(fd)),
        Err(Errno::AGAIN) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The directories of processes that were killed: nobody has them locked.
fn remove_left_behind(host: &Root, place: &Path, parent: &OwnedFd) {
    let names = host.list(place, LIMIT).ok().flatten().unwrap_or_default();
    for name in names.iter().filter_map(|name| name.to_str()) {
        // In /tmp anybody may have made one of this name.
        let ours = |fd: &OwnedFd| rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_uid == 0);
        if name.starts_with(PREFIX)
            && let Ok(Some(fd)) = lock(parent, name)
            && ours(&fd)
        {
            let _ = std::fs::remove_dir_all(place.join(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn it_is_roots_alone_and_gone_when_it_is_dropped() {
        let dir = PrivateDir::make().unwrap();
        let path = dir.path().to_path_buf();
        let stat = fs::symlink_metadata(&path).unwrap();
        assert_eq!((stat.uid(), stat.mode() & 0o7777), (0, 0o700));
        fs::create_dir(path.join("etc")).unwrap();
        fs::write(path.join("etc/shadow"), "secret").unwrap();
        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_process_left_is_taken_away_and_what_is_in_use_is_not() {
        let place = tempfile::tempdir().unwrap();
        let host = Root::host().unwrap();
        let left = place.path().join(format!("{PREFIX}left"));
        fs::create_dir_all(left.join("etc")).unwrap();
        fs::write(left.join("etc/shadow"), "secret").unwrap();
        let others = place.path().join(format!("{PREFIX}others"));
        fs::create_dir(&others).unwrap();
        std::os::unix::fs::chown(&others, Some(4321), None).unwrap();
        let used = PrivateDir::make_in(&host, place.path(), new_name).unwrap();
        assert!(!left.exists());
        assert!(others.exists(), "it is somebody else's");
        let second = PrivateDir::make_in(&host, place.path(), new_name).unwrap();
        assert!(used.path().exists() && used.path() != second.path());
    }

    #[test]
    fn a_place_where_others_can_rename_is_none() {
        let place = tempfile::tempdir().unwrap();
        let host = Root::host().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let refused = PrivateDir::make_in(&host, place.path(), new_name).unwrap_err();
        assert!(refused.contains("is writable by others"), "{refused}");
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(PrivateDir::make_in(&host, place.path(), new_name).is_ok());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "nothing was left there");
        std::os::unix::fs::symlink("/nowhere", place.path().join(PREFIX)).unwrap();
        assert!(
            PrivateDir::make_in(&host, place.path(), new_name).is_ok(),
            "whatever others put there"
        );
    }

    #[test]
    fn a_place_with_more_entries_than_the_limit_is_not_looked_through() {
        let place = tempfile::tempdir().unwrap();
        let host = Root::host().unwrap();
        let left = place.path().join(format!("{PREFIX}left"));
        fs::create_dir(&left).unwrap();
        for n in 0..LIMIT {
            fs::write(place.path().join(n.to_string()), "").unwrap();
        }
        drop(PrivateDir::make_in(&host, place.path(), new_name).unwrap());
        assert!(left.exists());
        fs::remove_file(place.path().join("0")).unwrap();
        drop(PrivateDir::make_in(&host, place.path(), new_name).unwrap());
        assert!(!left.exists());
    }

    #[test]
    fn so_many_names_are_tried_and_no_more() {
        let place = tempfile::tempdir().unwrap();
        let host = Root::host().unwrap();
        // The first name is not made: by it the place is looked at.
        let tries = |taken: usize| {
            let asked = std::cell::Cell::new(0);
            let name = || {
                asked.set(asked.get() + 1);
                format!("{PREFIX}{}", asked.get() - 1)
            };
            let parent = place.path().join(taken.to_string());
            fs::create_dir(&parent).unwrap();
            for n in 1..=taken {
                // Somebody else's, which is not taken away.
                let path = parent.join(format!("{PREFIX}{n}"));
                fs::create_dir(&path).unwrap();
                std::os::unix::fs::chown(path, Some(4321), None).unwrap();
            }
            (PrivateDir::make_in(&host, &parent, name).is_ok(), asked.get() - 1)
        };
        assert_eq!(tries(0), (true, 1));
        assert_eq!(tries(TRIES - 1), (true, TRIES));
        assert_eq!(tries(TRIES), (false, TRIES));
    }
}
