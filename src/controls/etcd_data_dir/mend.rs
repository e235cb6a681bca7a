// SPDX-License-Identifier: Apache-2.0
//! Mending one entry of a tree that another user can write: compare, set, read back, all on one
//! `O_PATH` descriptor that was looked at first.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};
use rustix::io::Errno;

use super::judge::entry::{self, ACCESS_LIST, DEFAULT_LIST, Entry, Flags, Kind, Wanted};
use super::octal;
use crate::model::ModeRule;
use crate::system::inode::Inode;
use crate::system::walk::Seen;

/// What one stat said of an entry, as it is judged.
pub(crate) fn entry_of(inode: Inode) -> Entry {
    let kind = match inode.kind {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Link,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        _ => Kind::Device,
    };
    let crate::system::inode::Flags { immutable, append_only } = inode.flags;
    let flags = Flags { immutable, append_only };
    Entry { kind, owner: inode.owner, mode: inode.mode, links: inode.links, flags }
}

/// Makes what is behind `fd`, which was looked at as `inode`, as it is `wanted`; `list`: an access
/// control list of it is to be taken away. An error says what is wrong now, and why as far as that is
/// known.
pub(crate) fn mend(
    fd: &OwnedFd,
    inode: Inode,
    list: bool,
    wanted: Wanted,
) -> Result<(), (String, Option<Errno>)> {
    let stripped = if list { strip_acls(fd) } else { Ok(()) };
    match stripped.and_then(|()| set(fd, inode, wanted)) {
        Ok(inode)
            if entry::difference(entry_of(inode), wanted).is_none()
                && !(list && has_foreign_acl(fd, inode, wanted.rule)) =>
        {
            Ok(())
        }
        Ok(inode) => {
            Err((format!("still {} {} after the change", inode.owner, octal(inode.mode)), None))
        }
        Err(e) => Err((e.to_string(), Some(e))),
    }
}

fn set(fd: &OwnedFd, inode: Inode, wanted: Wanted) -> Result<Inode, Errno> {
    if let Some(owner) = entry::difference(entry_of(inode), wanted).owner {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chownat(fd, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    // Read after the chown, which may take set-id bits away.
    let inode = Inode::of(&rustix::fs::fstat(fd)?);
    let Some(mode) = entry::difference(entry_of(inode), wanted).mode else { return Ok(inode) };
    rustix::fs::chmod(link_of(fd).as_str(), Mode::from_raw_mode(mode))?;
    Ok(Inode::of(&rustix::fs::fstat(fd)?))
}

/// Whether an entry has an access control list, `name` being the attribute that it is in.
pub(crate) fn has_list(seen: &Seen<'_>, name: &str) -> bool {
    match seen.open {
        Some((fd, _)) => has_acl(fd, seen.inode, name),
        // To open it first would take twice as long.
        None => rustix::fs::lgetxattr_query(path_of(seen).as_slice(), name).is_ok(),
    }
}

fn has_foreign_acl(fd: &OwnedFd, inode: Inode, rule: ModeRule) -> bool {
    let entry = entry_of(inode);
    let mut lists = entry::lists_that_count(entry.kind, entry.mode, rule).iter();
    lists.any(|name| has_acl(fd, inode, name))
}

fn has_acl(fd: &OwnedFd, inode: Inode, name: &str) -> bool {
    // A walk holds directories open for reading, and the way over the magic link takes several times
    // as long. Any other descriptor is an `O_PATH` one, which this call refuses.
    let found = match inode.is_directory().then(|| rustix::fs::fgetxattr_query(fd, name)) {
        None | Some(Err(Errno::BADF)) => rustix::fs::getxattr_query(link_of(fd), name),
        Some(found) => found,
    };
    // A file system without such lists says so with an error: a no, too.
    found.is_ok()
}

fn strip_acls(fd: &OwnedFd) -> Result<(), Errno> {
    let link = link_of(fd);
    for name in [ACCESS_LIST, DEFAULT_LIST] {
        match rustix::fs::removexattr(link.as_str(), name) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The magic link of a descriptor: what takes a path and no `O_PATH` descriptor gets the very same
/// inode by it.
fn link_of(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// An entry by the magic link of its directory, for a call that follows no link at its end.
fn path_of(entry: &Seen<'_>) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", entry.parent.as_raw_fd()).into_bytes();
    path.extend_from_slice(entry.name.to_bytes());
    path
}
