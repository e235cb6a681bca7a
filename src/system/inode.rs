// SPDX-License-Identifier: Apache-2.0
//! What an open file is and which mount it is on, as far as a walk goes by it.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Stat, Statx, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::model::Owner;
use crate::system::mountinfo;
use crate::system::root::stat_entry;

/// Device and mount: what tells one mount from another.
pub(crate) type Mount = (u64, u64);

/// What is looked at in an inode.
#[derive(Clone, Copy)]
pub(crate) struct Inode {
    pub(crate) owner: Owner,
    pub(crate) kind: FileType,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) links: u64,
    pub(crate) flags: Flags,
}

/// What `chattr` sets and nobody can change anything against, not even root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `chattr +i`
    pub(crate) immutable: bool,
    /// `chattr +a`
    pub(crate) append_only: bool,
}

impl Flags {
    /// As far as the file system tells.
    fn of(stat: &Statx) -> Self {
        Self {
            immutable: stat.stx_attributes.contains(StatxAttributes::IMMUTABLE),
            append_only: stat.stx_attributes.contains(StatxAttributes::APPEND),
        }
    }
}

impl Inode {
    #[allow(clippy::useless_conversion)] // `st_nlink` is 32 bits wide on some architectures
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            owner: Owner { uid: stat.st_uid, gid: stat.st_gid },
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            links: u64::from(stat.st_nlink),
            flags: Flags::default(),
        }
    }

    fn of_statx(stat: &Statx) -> Self {
        Self {
            owner: Owner { uid: stat.stx_uid, gid: stat.stx_gid },
            kind: FileType::from_raw_mode(u32::from(stat.stx_mode)),
            mode: u32::from(stat.stx_mode) & 0o7777,
            links: u64::from(stat.stx_nlink),
            flags: Flags::of(stat),
        }
    }

    pub(crate) fn is_directory(self) -> bool {
        self.kind == FileType::Directory
    }
}

/// The mount to go on in, on the path from a directory on `from` to one on `to`: a file system of
/// its own that is mounted there is entered (only root mounts), a bind mount is not, since what it
/// shows has another place where it belongs.
pub(crate) fn enter(from: Mount, to: Mount) -> Option<Mount> {
    if from == to {
        return Some(from);
    }
    // Without the mount's number nothing is known about it.
    let (device, number) = to;
    (device != from.0 && number != 0 && shows_a_whole_filesystem(number)).then_some(to)
}

/// Whether a mount shows a file system from its root, and one that root alone can have mounted:
/// fusermount is set-uid. Read anew each time: it is rare.
fn shows_a_whole_filesystem(number: u64) -> bool {
    let whole = |line: mountinfo::Line<'_>| {
        let not_fuse = line.kind.is_some_and(|kind| !kind.starts_with("fuse"));
        (line.number == number && line.root == "/" && not_fuse).then_some(())
    };
    mountinfo::find(whole).is_some()
}

/// The mount an open file is on: its device, and on kernels that say so (5.8) the mount itself,
/// which tells a bind mount of the same device.
pub(crate) fn mount_of(fd: &OwnedFd) -> Result<Mount, Errno> {
    Ok(examine(fd)?.0)
}

/// The mount an open file is on, and the file: one system call where the kernel has statx (4.11).
pub(crate) fn examine(fd: &OwnedFd) -> Result<(Mount, Inode), Errno> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    match rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, mask) {
        Ok(stat) => Ok((mount(&stat), Inode::of_statx(&stat))),
        Err(Errno::NOSYS) => {
            let stat = rustix::fs::fstat(fd)?;
            Ok(((device(&stat), 0), Inode::of(&stat)))
        }
        Err(e) => Err(e),
    }
}

/// An entry of a directory, a link itself.
pub(crate) fn look_at(dir: impl AsFd, name: &CStr) -> Result<Inode, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match rustix::fs::statx(&dir, name, flags, StatxFlags::BASIC_STATS) {
        Ok(stat) => Ok(Inode::of_statx(&stat)),
        Err(Errno::NOSYS) => Ok(Inode::of(&stat_entry(dir, name)?)),
        Err(e) => Err(e),
    }
}

/// The mount an entry of a directory is on, a link itself.
pub(crate) fn mount_at(dir: BorrowedFd<'_>, name: &CStr) -> Result<Mount, Errno> {
    match rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID) {
        Ok(stat) => Ok(mount(&stat)),
        Err(Errno::NOSYS) => Ok((device(&stat_entry(dir, name)?), 0)),
        Err(e) => Err(e),
    }
}

fn mount(stat: &Statx) -> Mount {
    let device = (u64::from(stat.stx_dev_major) << 32) | u64::from(stat.stx_dev_minor);
    let known = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    (device, if known { stat.stx_mnt_id } else { 0 })
}

fn device(stat: &Stat) -> u64 {
    let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    (u64::from(major) << 32) | u64::from(minor)
}
