// SPDX-License-Identifier: Apache-2.0
//! Replacing what is in a file and nothing else about it: owner, mode, access control list and the
//! other extended attributes (SELinux's label is one) are those of the file before. For the account
//! files of an image, whose builder decided about them.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use crate::system::HostError;
use crate::system::files::Written;
use crate::system::root::{open_regular, read_file};
use crate::system::temporary::Temporary;

/// What the kernel gives at most, for the list of the names and for one value (xattr(7)).
const XATTR_LIMIT: usize = 64 << 10;

/// Belongs to the inode or to the content that it was made for, and not to the file of this name:
/// IMA's and EVM's signatures, and what overlayfs notes about its own layers.
const OF_THE_OLD_ONE: [&[u8]; 4] =
    [b"security.ima", b"security.evm", b"trusted.overlay.", b"user.overlay."];

/// The one that a new file may have got from its directory, and that the old one may not have.
const ACL: &CStr = c"system.posix_acl_access";

/// A file as it was when it was read.
#[derive(Debug)]
pub(crate) struct Before {
    file: File,
    pub content: Vec<u8>,
}

impl Before {
    pub fn mode(&self) -> Result<Mode, HostError> {
        rustix::fs::fstat(&self.file)
            .map(|stat| Mode::from_raw_mode(stat.st_mode & 0o777))
            .map_err(|e| HostError::io("look at", "", e))
    }
}

/// A regular file in an open directory; `None` where there is nothing of this name. `path` is for
/// the words of an error.
pub(crate) fn read(
    dir: &OwnedFd,
    name: &str,
    path: &Path,
    limit: usize,
) -> Result<Option<Before>, HostError> {
    #[cfg(test)]
    super::root::opened::note(path);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(HostError::io("open", path, e)),
    };
    let file = open_regular(&fd, path).map_err(|e| match e {
        HostError::NotRegular { path, kind } => HostError::Special { path, kind },
        e => e,
    })?;
    let again = file.try_clone().map_err(|e| HostError::io("open", path, e))?;
    let content = read_file(again, path, limit)?;
    Ok(Some(Before { file, content }))
}

/// Replaces the file `name` in `dir`, which must be as it was `before`. `Changed`: it is not, and
/// nothing was done.
pub(crate) fn replace(
    dir: &OwnedFd,
    name: &str,
    path: &Path,
    content: &[u8],
    before: &Before,
) -> Result<Written, HostError> {
    if content == before.content {
        return Ok(Written::Same);
    }
    let new = temporary(dir, name, path)?;
    fill(&new, content, path, |new| keep(&before.file, new, path))?;
    if !is_still(dir, name, path, before)? {
        return Ok(Written::Changed);
    }
    new.replace(OsStr::new(name)).map_err(|e| HostError::io("replace", path, e))?;
    end(dir, name, path, content)
}

/// Makes the file `name` in `dir`, root's and with `mode`. `Changed`: there is one by now, and
/// nothing was done.
pub(crate) fn create(
    dir: &OwnedFd,
    name: &str,
    path: &Path,
    content: &[u8],
    mode: Mode,
) -> Result<Written, HostError> {
    let new = temporary(dir, name, path)?;
    fill(&new, content, path, |new| {
        rustix::fs::fchmod(new, mode).map_err(|e| HostError::io("set the mode of", path, e))
    })?;
    // A link and no rename: it replaces nothing.
    if !new.link(OsStr::new(name)).map_err(|e| HostError::io("create", path, e))? {
        return Ok(Written::Changed);
    }
    drop(new);
    end(dir, name, path, content)
}

/// Whether the file of this name is the one that was read, with the same content.
pub(crate) fn is_still(
    dir: &OwnedFd,
    name: &str,
    path: &Path,
    before: &Before,
) -> Result<bool, HostError> {
    let identity = |file: &File| rustix::fs::fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
    match read(dir, name, path, before.content.len()) {
        Ok(Some(now)) => {
            Ok(identity(&now.file) == identity(&before.file) && now.content == before.content)
        }
        Ok(None) | Err(HostError::TooLarge { .. } | HostError::Special { .. }) => Ok(false),
        Err(e) => Err(e),
    }
}

fn end(dir: &OwnedFd, name: &str, path: &Path, content: &[u8]) -> Result<Written, HostError> {
    rustix::fs::fsync(dir).map_err(|e| HostError::io("sync the directory of", path, e))?;
    match read(dir, name, path, content.len()) {
        Ok(Some(now)) if now.content == content => Ok(Written::Replaced),
        _ => Ok(Written::Changed),
    }
}

fn temporary<'a>(dir: &'a OwnedFd, name: &str, path: &Path) -> Result<Temporary<'a>, HostError> {
    Temporary::make(dir, OsStr::new(name))
        .map_err(|e| HostError::io("create a temporary file for", path, e))
}

fn fill(
    new: &Temporary<'_>,
    content: &[u8],
    path: &Path,
    attributes: impl FnOnce(&File) -> Result<(), HostError>,
) -> Result<(), HostError> {
    let file = new.as_fd().try_clone_to_owned().map_err(|e| HostError::io("open", path, e))?;
    let mut file = File::from(file);
    file.write_all(content).map_err(|e| HostError::io("write", path, e))?;
    attributes(&file)?;
    file.sync_all().map_err(|e| HostError::io("sync", path, e))
}

/// Gives a new file what the old one has besides its content.
fn keep(old: &File, new: &File, path: &Path) -> Result<(), HostError> {
    let cannot = |operation| move |e: Errno| HostError::io(operation, path, e);
    let stat: Stat = rustix::fs::fstat(old).map_err(cannot("look at"))?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(new, Some(uid), Some(gid)).map_err(cannot("keep the owner of"))?;
    attributes(old, new).map_err(cannot("keep the extended attributes of"))?;
    // Last: a change of the owner takes bits away.
    rustix::fs::fchmod(new, Mode::from_raw_mode(stat.st_mode & 0o7777))
        .map_err(cannot("keep the mode of"))
}

fn attributes(old: &File, new: &File) -> Result<(), Errno> {
    let wanted = names(old)?;
    for name in &wanted {
        if OF_THE_OLD_ONE.iter().any(|prefix| name.to_bytes().starts_with(prefix)) {
            continue;
        }
        let value = value(old, name)?;
        // Where a mount decides about labels, each file has the right one and none can be set.
        if self::value(new, name).is_ok_and(|now| now == value) {
            continue;
        }
        rustix::fs::fsetxattr(new, name.as_c_str(), &value, XattrFlags::empty())?;
    }
    let has_list = |names: &[CString]| names.iter().any(|name| name.as_c_str() == ACL);
    if has_list(&names(new)?) && !has_list(&wanted) {
        rustix::fs::fremovexattr(new, ACL)?;
    }
    Ok(())
}

/// None on a file system that has no such attributes.
fn names(file: &File) -> Result<Vec<CString>, Errno> {
    let mut list = Vec::with_capacity(XATTR_LIMIT);
    match rustix::fs::flistxattr(file, spare_capacity(&mut list)) {
        Ok(_) => {}
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    }
    Ok(list
        .split(|byte| *byte == 0)
        .filter_map(|name| CString::new(name).ok())
        .filter(|name| !name.is_empty())
        .collect())
}

fn value(file: &File, name: &CStr) -> Result<Vec<u8>, Errno> {
    let mut value = Vec::with_capacity(XATTR_LIMIT);
    rustix::fs::fgetxattr(file, name, spare_capacity(&mut value))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::temporary::name_beside;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    const PATH: &str = "/etc/shadow";

    fn directory() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(dir.path(), flags, Mode::empty()).unwrap();
        (dir, fd)
    }

    fn before(dir: &OwnedFd) -> Before {
        read(dir, "shadow", Path::new(PATH), 1000).unwrap().unwrap()
    }

    fn replaced(dir: &OwnedFd, content: &[u8], before: &Before) -> Written {
        replace(dir, "shadow", Path::new(PATH), content, before).unwrap()
    }

    /// An access control list that lets user 4321 read, in the kernel's form.
    fn list() -> Vec<u8> {
        const NOBODY: u32 = u32::MAX;
        let entries: [(u16, u16, u32); 5] =
            [(1, 6, NOBODY), (2, 4, 4321), (4, 0, NOBODY), (0x10, 4, NOBODY), (0x20, 0, NOBODY)];
        let mut out = 2u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            out.extend(tag.to_le_bytes());
            out.extend(rights.to_le_bytes());
            out.extend(id.to_le_bytes());
        }
        out
    }

    #[test]
    fn all_but_the_content_stays_as_it_was() {
        let (dir, fd) = directory();
        let path = dir.path().join("shadow");
        fs::write(&path, "old").unwrap();
        chown(&path, Some(12), Some(42)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let label = b"system_u:object_r:shadow_t:s0\0".as_slice();
        let attributes = [
            (c"security.selinux", label.to_vec()),
            (c"user.builder", b"kept".to_vec()),
            (c"trusted.builder", Vec::new()),
            (ACL, list()),
        ];
        let mut set = 0;
        for (name, value) in &attributes {
            // A file system may have none of a kind; one that has some is what this is about.
            let result = rustix::fs::setxattr(&path, *name, value, XattrFlags::empty());
            set += usize::from(result.is_ok());
        }
        assert!(set >= 2, "the test's directory takes extended attributes");
        let seen = || {
            let file = File::open(&path).unwrap();
            let mut all: Vec<_> = names(&file)
                .unwrap()
                .into_iter()
                .map(|name| (value(&file, &name).unwrap(), name))
                .collect();
            all.sort();
            let stat = fs::metadata(&path).unwrap();
            (stat.uid(), stat.gid(), stat.mode(), all)
        };
        let as_it_was = seen();
        let inode = fs::metadata(&path).unwrap().ino();
        assert_eq!(replaced(&fd, b"new", &before(&fd)), Written::Replaced);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(seen(), as_it_was);
        assert_ne!(fs::metadata(&path).unwrap().ino(), inode, "replaced, and not written into");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_list_that_the_directory_gives_to_new_files_is_not_the_files() {
        let (dir, fd) = directory();
        let path = dir.path().join("shadow");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let default = c"system.posix_acl_default";
        rustix::fs::setxattr(dir.path(), default, &list(), XattrFlags::empty()).unwrap();
        assert_eq!(replaced(&fd, b"new", &before(&fd)), Written::Replaced);
        assert!(!names(&File::open(&path).unwrap()).unwrap().contains(&ACL.to_owned()));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_file_that_changed_meanwhile_is_left_alone() {
        type Meanwhile = fn(&Path);
        let changes: [(&str, Meanwhile); 6] = [
            ("content", |path| fs::write(path, "OLD").unwrap()),
            ("more", |path| fs::write(path, "old and more").unwrap()),
            ("another file with the same content", |path| {
                let other = path.with_file_name("other");
                fs::write(&other, "old").unwrap();
                fs::rename(other, path).unwrap();
            }),
            ("gone", |path| fs::remove_file(path).unwrap()),
            ("a link", |path| {
                fs::rename(path, path.with_file_name("away")).unwrap();
                symlink("away", path).unwrap();
            }),
            ("a directory", |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            }),
        ];
        for (name, change) in changes {
            let (dir, fd) = directory();
            let path = dir.path().join("shadow");
            fs::write(&path, "old").unwrap();
            let before = before(&fd);
            change(&path);
            let left = || {
                let content = fs::read(&path).ok();
                let names: Vec<_> =
                    fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
                (content, names, fs::symlink_metadata(&path).ok().map(|m| (m.ino(), m.mode())))
            };
            let as_it_was = left();
            assert_eq!(replaced(&fd, b"new", &before), Written::Changed, "{name}");
            assert_eq!(left(), as_it_was, "{name}");
        }
    }

    #[test]
    fn what_is_made_replaces_nothing_and_a_name_in_the_way_is_not_written_through() {
        let (dir, fd) = directory();
        let path = dir.path().join("shadow");
        let make = || create(&fd, "shadow", Path::new(PATH), b"made", Mode::from_raw_mode(0o644));
        assert_eq!(make().unwrap(), Written::Replaced);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
        fs::write(&path, "somebody's").unwrap();
        assert_eq!(make().unwrap(), Written::Changed);
        assert_eq!(fs::read(&path).unwrap(), b"somebody's");

        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink("victim", dir.path().join(name_beside(OsStr::new("shadow")))).unwrap();
        assert_eq!(replaced(&fd, b"new", &before(&fd)), Written::Replaced);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }
}
