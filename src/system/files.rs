// SPDX-License-Identifier: Apache-2.0
//! Replacing a file of root's so that a power cut leaves the old one or the new one.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::system::HostError;
use crate::system::root::{Root, read_regular};
use crate::system::temporary::{self, Temporary};

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

pub(crate) fn parent(root: &Root, path: &Path) -> Result<(OwnedFd, OsString), HostError> {
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
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&grandparent, &name, flags, Mode::empty())
                .and_then(|made| rustix::fs::fchmod(made, Mode::from_raw_mode(0o755)))
                .map_err(|e| HostError::io("set the mode of", dir, e))?
        }
        Err(Errno::EXIST) => {}
        Err(e) => return Err(HostError::io("create", dir, e)),
    }
    rustix::fs::fsync(&grandparent).map_err(|e| HostError::io("sync the directory of", dir, e))?;
    root.open_parent(path).map_err(|e| HostError::io("open the directory of", path, e))
}

fn read_at(dir: &OwnedFd, name: &OsString, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => read_regular(&fd, path, LIMIT).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(HostError::io("open", path, e)),
    }
}

fn write_at(dir: &OwnedFd, name: &OsString, path: &Path, content: &[u8]) -> Result<(), HostError> {
    temporary::sweep_directory(dir);
    let new = Temporary::make(dir, name)
        .map_err(|e| HostError::io("create a temporary file for", path, e))?;
    fill(&new, path, content)?;
    new.replace(name).map_err(|e| HostError::io("replace", path, e))?;
    rustix::fs::fsync(dir).map_err(|e| HostError::io("sync the directory of", path, e))
}

fn fill(fd: &Temporary<'_>, path: &Path, content: &[u8]) -> Result<(), HostError> {
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
    fn a_file_beyond_the_limit_is_neither_read_nor_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::image(dir.path()).unwrap();
        let before = vec![b'#'; LIMIT + 1];
        fs::write(dir.path().join("f"), &before).unwrap();
        let refused = replace(&root, Path::new("/f"), b"x", Some(&before));
        assert!(matches!(refused, Err(HostError::TooLarge { .. })), "{refused:?}");
        fs::write(dir.path().join("f"), &before[1..]).unwrap();
        let replaced = replace(&root, Path::new("/f"), b"x", Some(&before[1..])).unwrap();
        assert_eq!(replaced, Written::Replaced);
    }
}
