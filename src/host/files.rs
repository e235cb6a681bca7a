// SPDX-License-Identifier: Apache-2.0
//! Replacing a file of root's so that a power cut leaves the old one or the new one.

use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::HostError;
use super::root::{Root, read_regular, stat_entry};

/// Larger than any file we ever replace.
const LIMIT: usize = 1 << 20;

/// How a write ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    Replaced,
    /// The content was there already.
    Same,
    /// The file is not what the caller expected to replace; nothing was changed.
    Changed,
}

/// Replaces the file at `path`, whose content must be `expect` (`None`: it must not exist), and
/// reads it back. Its directory is made (0755) if it does not exist; the file gets mode 0644.
pub fn replace(
    root: &Root,
    path: &Path,
    content: &[u8],
    expect: Option<&[u8]>,
) -> Result<Written, HostError> {
    let (dir, name) = parent(root, path)?;
    let current = read_at(&dir, &name, path)?;
    if current.as_deref() == Some(content) {
        return Ok(Written::Same);
    }
    if current.as_deref() != expect {
        return Ok(Written::Changed);
    }
    write_at(&dir, &name, path, content)?;
    match read_at(&dir, &name, path)? {
        Some(now) if now == content => Ok(Written::Replaced),
        _ => Ok(Written::Changed),
    }
}

/// Replaces the file at `path`, whatever it is: for files that are our own.
pub fn put(root: &Root, path: &Path, content: &[u8]) -> Result<(), HostError> {
    let (dir, name) = parent(root, path)?;
    write_at(&dir, &name, path, content)
}

fn parent(root: &Root, path: &Path) -> Result<(OwnedFd, OsString), HostError> {
    match root.open_parent(path) {
        Err(Errno::NOENT) => {}
        other => return other.map_err(|e| HostError::io("open the directory of", path, e)),
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    let (grandparent, name) =
        root.open_parent(dir).map_err(|e| HostError::io("open the directory of", dir, e))?;
    match rustix::fs::mkdirat(&grandparent, &name, Mode::from_raw_mode(0o755)) {
        // The umask may be 077, and everybody may read what belongs here.
        Ok(()) => {
            rustix::fs::chmodat(&grandparent, &name, Mode::from_raw_mode(0o755), AtFlags::empty())
                .map_err(|e| HostError::io("set the mode of", dir, e))?
        }
        Err(Errno::EXIST) => {}
        Err(e) => return Err(HostError::io("create", dir, e)),
    }
    rustix::fs::fsync(&grandparent).map_err(|e| HostError::io("sync the directory of", dir, e))?;
    root.open_parent(path).map_err(|e| HostError::io("open the directory of", path, e))
}

fn read_at(dir: &OwnedFd, name: &OsString, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => read_regular(fd, path, LIMIT).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::LOOP) => Err(HostError::NotRegular { path: path.into() }),
        Err(e) => Err(HostError::io("open", path, e)),
    }
}

fn write_at(dir: &OwnedFd, name: &OsString, path: &Path, content: &[u8]) -> Result<(), HostError> {
    sweep_directory(dir);
    let (temporary, fd) =
        temporary(dir, name).map_err(|e| HostError::io("create a temporary file for", path, e))?;
    let result = fill(&fd, path, content).and_then(|()| {
        rustix::fs::renameat(dir, &temporary, dir, name)
            .map_err(|e| HostError::io("replace", path, e))
    });
    if result.is_err() {
        // Best effort: the error that matters is the first one.
        let _ = rustix::fs::unlinkat(dir, &temporary, AtFlags::empty());
        return result;
    }
    rustix::fs::fsync(dir).map_err(|e| HostError::io("sync the directory of", path, e))
}

/// A new file beside `name`, and its name, which ends like no configuration file: systemd-sysctl
/// must not read a half-written one. One name a process, since a gate and the daemon may write at
/// the same time. It is locked as long as it is open, which tells it from what a dead process left.
fn temporary(dir: &OwnedFd, name: &OsStr) -> Result<(OsString, OwnedFd), Errno> {
    /// A sweep may meet it before it is locked.
    const TRIES: usize = 8;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!("{MARK}{}", std::process::id()));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..TRIES {
        // Of a process with this number that is dead, whatever it is.
        match rustix::fs::unlinkat(dir, &temporary, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
        let fd = rustix::fs::openat(dir, &temporary, flags, Mode::from_raw_mode(0o600))?;
        // A file system without locks has none who sweeps by them either.
        let locked = rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive);
        if locked != Err(Errno::WOULDBLOCK) && rustix::fs::fstat(&fd)?.st_nlink > 0 {
            return Ok((temporary, fd));
        }
    }
    Err(Errno::AGAIN)
}

/// Between a file's name and the number of the process that writes it anew.
const MARK: &str = ".nodeguard.";

/// Entries of a directory that are looked at for leftovers.
const ENTRIES: usize = 4096;

/// Removes what writers that were killed have left in `dir`, which is a directory of root's: regular
/// files of root's with a name that [`temporary`] makes, and that nobody has locked. Whatever else
/// is there stays; what cannot be removed is met again by the next one.
///
/// For every directory in which something is written by way of such a name.
pub(super) fn sweep(root: &Root, dir: &Path) {
    if let Ok(dir) = root.open(dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
        sweep_directory(&dir);
    }
}

fn sweep_directory(dir: &OwnedFd) {
    let mut buffer = Vec::with_capacity(8192);
    // A descriptor of its own, since reading moves the place.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(listed) = rustix::fs::openat(dir, c".", flags, Mode::empty()) else { return };
    let mut entries = RawDir::new(listed, buffer.spare_capacity_mut());
    for _ in 0..ENTRIES {
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
    let (held, named) = (rustix::fs::fstat(&fd)?, stat_entry(dir, name)?);
    if (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino) {
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

fn fill(fd: &OwnedFd, path: &Path, content: &[u8]) -> Result<(), HostError> {
    let mut left = content;
    while !left.is_empty() {
        match rustix::io::write(fd, left) {
            Ok(0) => return Err(HostError::io("write", path, Errno::IO)),
            Ok(written) => left = &left[written..],
            Err(Errno::INTR) => {}
            Err(e) => return Err(HostError::io("write", path, e)),
        }
    }
    // Not by the mode of open(): the umask may be 077, and procps reads this as well.
    rustix::fs::fchmod(fd, Mode::from_raw_mode(0o644))
        .map_err(|e| HostError::io("set the mode of", path, e))?;
    rustix::fs::fsync(fd).map_err(|e| HostError::io("sync", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn a_file_is_made_with_its_directory_and_replaced_only_if_it_is_as_expected() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let root = Root::image(dir.path()).unwrap();
        let path = Path::new("/etc/sysctl.d/60-rke2-cis.conf");
        assert_eq!(replace(&root, path, b"a", None).unwrap(), Written::Replaced);
        assert_eq!(replace(&root, path, b"a", None).unwrap(), Written::Same);
        assert_eq!(replace(&root, path, b"b", None).unwrap(), Written::Changed);
        assert_eq!(replace(&root, path, b"b", Some(b"x")).unwrap(), Written::Changed);
        assert_eq!(replace(&root, path, b"b", Some(b"a")).unwrap(), Written::Replaced);
        let real = dir.path().join("etc/sysctl.d");
        assert_eq!(fs::read(real.join("60-rke2-cis.conf")).unwrap(), b"b");
        assert_eq!(fs::metadata(real.join("60-rke2-cis.conf")).unwrap().mode() & 0o7777, 0o644);
        assert_eq!(fs::read_dir(real).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_link_is_never_written_through_and_a_stale_temporary_file_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("victim"), "v").unwrap();
        symlink("victim", dir.path().join("link")).unwrap();
        let stale = format!(".new.nodeguard.{}", std::process::id());
        symlink("victim", dir.path().join(stale)).unwrap();
        let root = Root::image(dir.path()).unwrap();
        assert!(replace(&root, Path::new("/link"), b"x", Some(b"v")).is_err());
        assert_eq!(replace(&root, Path::new("/new"), b"x", None).unwrap(), Written::Replaced);
        assert_eq!(fs::read(dir.path().join("victim")).unwrap(), b"v");
    }

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
        let (name, _writer) = temporary(&parent, OsStr::new("new")).unwrap();
        sweep(&root, Path::new("/"));
        for name in left {
            assert!(!at(name).exists(), "{name}");
        }
        let others = [".link.nodeguard.1", ".dir.nodeguard.1", ".theirs.nodeguard.1"];
        for name in stays.iter().chain(&others) {
            assert!(fs::symlink_metadata(at(name)).is_ok(), "{name}");
        }
        assert!(dir.path().join(&name).exists(), "{name:?} is being written");
        drop(_writer);
        assert_eq!(replace(&root, Path::new("/f"), b"x", None).unwrap(), Written::Replaced);
        assert!(!dir.path().join(&name).exists(), "the next writer takes it away");
    }
}
