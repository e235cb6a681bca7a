// SPDX-License-Identifier: Apache-2.0
//! Files that take another one's place when they are whole, and what is left of them where the
//! process that made them was killed.

use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::system::root::{Root, stat_entry};

/// Between a file's name and the number of the process that writes it anew.
const MARK: &str = ".nodeguard.";

/// Entries of a directory that are looked at for leftovers.
const ENTRIES: usize = 65_536;

/// How often a new file is made: a sweep may meet it before it is locked.
const TRIES: usize = 8;

/// A new file of root's in an open directory (mode 0600), gone when it is dropped. It is locked for
/// as long as it is open, which tells it from what a dead process left.
#[derive(Debug)]
pub(crate) struct Temporary<'a> {
    dir: &'a OwnedFd,
    name: OsString,
    file: OwnedFd,
}

impl<'a> Temporary<'a> {
    /// One that will be called `name`.
    pub fn make(dir: &'a OwnedFd, name: &OsStr) -> Result<Self, Errno> {
        let name = name_beside(name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..TRIES {
            // What a dead process with this number left, whatever it is.
            match rustix::fs::unlinkat(dir, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(e),
            }
            let file = rustix::fs::openat(dir, &name, flags, Mode::from_raw_mode(0o600))?;
            // A file system without locks has none who sweeps by them either.
            let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
            if locked != Err(Errno::WOULDBLOCK) && rustix::fs::fstat(&file)?.st_nlink > 0 {
                return Ok(Self { dir, name, file });
            }
        }
        Err(Errno::AGAIN)
    }

    /// Takes the place of `name`, whatever is there.
    pub fn replace(self, name: &OsStr) -> Result<(), Errno> {
        rustix::fs::renameat(self.dir, &self.name, self.dir, name)
    }

    /// Is called `name` from now on. `false`: there is something of this name, and it stays.
    pub fn link(&self, name: &OsStr) -> Result<bool, Errno> {
        match rustix::fs::linkat(self.dir, &self.name, self.dir, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

impl AsFd for Temporary<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // Where it took another's place it has this name no longer; left behind it is swept away.
        let _ = rustix::fs::unlinkat(self.dir, &self.name, AtFlags::empty());
    }
}

/// What a file is called that is to take the place of `name`: like no configuration file, since
/// systemd-sysctl must not read a half-written one. One name a process: a gate and the daemon may
/// write at the same time.
pub(crate) fn name_beside(name: &OsStr) -> OsString {
    let mut out = OsString::from(".");
    out.push(name);
    out.push(format!("{MARK}{}", std::process::id()));
    out
}

/// Removes what writers that were killed have left in `dir`, which is a directory of root's: regular
/// files of root's with a name that [`name_beside`] makes, and that nobody has locked. Whatever else
/// is there stays; what cannot be removed is met again by the next one.
///
/// For every directory in which something is written by way of such a name.
pub(crate) fn sweep(root: &Root, dir: &Path) {
    if let Ok(dir) = root.open(dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
        sweep_directory(&dir);
    }
}

/// The same for an open directory.
pub(crate) fn sweep_directory(dir: &OwnedFd) {
    sweep_entries(dir, ENTRIES);
}

/// The same for so many of its entries.
fn sweep_entries(dir: &OwnedFd, most: usize) {
    let mut buffer = Vec::with_capacity(8192);
    // A descriptor of its own, since reading moves the place.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(listed) = rustix::fs::openat(dir, c".", flags, Mode::empty()) else { return };
    let mut entries = RawDir::new(listed, buffer.spare_capacity_mut());
    for _ in 0..most {
        let Some(Ok(entry)) = entries.next() else { return };
        if is_temporary(entry.file_name().to_bytes()) {
            // Somebody else may have been faster.
            let _ = sweep_entry(dir, entry.file_name());
        }
    }
}

fn sweep_entry(dir: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // Looked at before it is opened: to open a device can do something.
    let stat = stat_entry(dir, name)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_uid != 0 {
        return Ok(());
    }
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
    // While it is locked nobody takes it for his; but the name may have become another file's.
    let (opened, named) = (rustix::fs::fstat(&fd)?, stat_entry(dir, name)?);
    if (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino) {
        rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
    }
    Ok(())
}

/// `.NAME.nodeguard.NUMBER`
fn is_temporary(name: &[u8]) -> bool {
    let Some(at) = name.windows(MARK.len()).rposition(|window| window == MARK.as_bytes()) else {
        return false;
    };
    let number = &name[at + MARK.len()..];
    at > 1
        && name.starts_with(b".")
        && (1..=10).contains(&number.len())
        && number.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_a_killed_writer_left_goes_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let root = Root::image(dir.path()).unwrap();
        let left =
            [".a.conf.nodeguard.1", ".a.b.nodeguard.4294967295", ".x.nodeguard.y.nodeguard.7"];
        let stays = [
            "a.nodeguard.1",
            ".nodeguard.1",
            ".a.nodeguard.",
            ".a.nodeguard.1x",
            ".a.nodeguard.12345678901",
            ".a.conf",
            ".a.nodeguard.9.conf",
        ];
        for name in left.iter().chain(&stays) {
            fs::write(at(name), "x").unwrap();
        }
        symlink("a", at(".link.nodeguard.1")).unwrap();
        fs::create_dir(at(".dir.nodeguard.1")).unwrap();
        fs::write(at(".theirs.nodeguard.1"), "").unwrap();
        std::os::unix::fs::chown(at(".theirs.nodeguard.1"), Some(4321), None).unwrap();
        // One that somebody is writing.
        let parent = fs::File::open(dir.path()).unwrap().into();
        let writer = Temporary::make(&parent, OsStr::new("new")).unwrap();
        let name = name_beside(OsStr::new("new"));
        sweep(&root, Path::new("/"));
        for name in left {
            assert!(!at(name).exists(), "{name}");
        }
        let others = [".link.nodeguard.1", ".dir.nodeguard.1", ".theirs.nodeguard.1"];
        for name in stays.iter().chain(&others) {
            assert!(fs::symlink_metadata(at(name)).is_ok(), "{name}");
        }
        assert!(dir.path().join(&name).exists(), "{name:?} is being written");
        drop(writer);
        fs::write(dir.path().join(&name), "killed half-way").unwrap();
        let written = files::replace(&root, Path::new("/f"), b"x", None).unwrap();
        assert_eq!(written, files::Written::Replaced);
        assert!(!dir.path().join(&name).exists(), "the next writer takes it away");
    }

    #[test]
    fn no_more_entries_are_looked_at_than_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..100 {
            fs::write(dir.path().join(format!(".a.nodeguard.{n}")), "").unwrap();
        }
        let left = || fs::read_dir(dir.path()).unwrap().count();
        let opened = OwnedFd::from(fs::File::open(dir.path()).unwrap());
        sweep_entries(&opened, 50);
        // The directory itself and the one above it are entries too.
        assert!((50..=52).contains(&left()), "{}", left());
        sweep_directory(&opened);
        assert_eq!(left(), 0);
    }
}
