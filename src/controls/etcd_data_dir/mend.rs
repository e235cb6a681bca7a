// SPDX-License-Identifier: Apache-2.0
//! Mending one entry of a tree that another user can write: compare, set, read back, all on one
//! `O_PATH` descriptor that was looked at first.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};
use rustix::io::Errno;

use super::octal;
use crate::model::{ModeRule, Owner};
use crate::system::inode::Inode;
use crate::system::walk::Seen;

/// Makes what is behind `fd`, which was looked at as `inode`, right; `acl`: it had an access control
/// list that [`gives_access`]. An error says what is wrong now, and why as far as that is known.
pub(crate) fn mend(
    fd: &OwnedFd,
    inode: Inode,
    acl: bool,
    owner: Owner,
    rule: ModeRule,
) -> Result<(), (String, Option<Errno>)> {
    let stripped = if acl { strip_acls(fd) } else { Ok(()) };
    match stripped.and_then(|()| set(fd, inode, owner, rule)) {
        Ok(inode)
            if inode.owner == owner
                && inode.mode == rule.wanted(inode.is_directory(), inode.mode)
                && !(acl && has_foreign_acl(fd, inode, rule)) =>
        {
            Ok(())
        }
        Ok(inode) => {
            Err((format!("still {} {} after the change", inode.owner, octal(inode.mode)), None))
        }
        Err(e) => Err((e.to_string(), Some(e))),
    }
}

fn set(fd: &OwnedFd, inode: Inode, owner: Owner, rule: ModeRule) -> Result<Inode, Errno> {
    if inode.owner != owner {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chownat(fd, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    // Read after the chown, which may take set-id bits away.
    let inode = Inode::of(&rustix::fs::fstat(fd)?);
    let wanted = rule.wanted(inode.is_directory(), inode.mode);
    if inode.mode == wanted {
        return Ok(inode);
    }
    rustix::fs::chmod(link_of(fd).as_str(), Mode::from_raw_mode(wanted))?;
    Ok(Inode::of(&rustix::fs::fstat(fd)?))
}

/// What Linux keeps POSIX access control lists in.
const ACLS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];

/// The lists of an entry that could give somebody else access. The group's bits of the mode are the
/// mask of such a list: where they are empty it gives nothing, and no system call is spent on it. A
/// directory's default list, which only a directory has, counts whatever its mode, since its new
/// entries get it.
fn acls(inode: Inode, rule: ModeRule) -> &'static [&'static str] {
    match inode.kind {
        _ if rule != ModeRule::EtcdTree => &[],
        FileType::Directory => &ACLS,
        FileType::RegularFile if inode.mode & 0o070 != 0 => &ACLS[..1],
        _ => &[],
    }
}

pub(crate) fn may_have_acl(inode: Inode, rule: ModeRule) -> bool {
    !acls(inode, rule).is_empty()
}

/// Whether an entry has a list that gives somebody else access.
pub(crate) fn gives_access(entry: &Seen<'_>, rule: ModeRule) -> bool {
    let inode = entry.inode;
    match entry.open {
        Some((fd, _)) => has_foreign_acl(fd, inode, rule),
        None => acls(inode, rule).iter().any(|name| {
            // To open it first would take twice as long.
            rustix::fs::lgetxattr_query(path_of(entry).as_slice(), *name).is_ok()
        }),
    }
}

fn has_foreign_acl(fd: &OwnedFd, inode: Inode, rule: ModeRule) -> bool {
    acls(inode, rule).iter().any(|name| has_acl(fd, inode, name))
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
    for name in ACLS {
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
