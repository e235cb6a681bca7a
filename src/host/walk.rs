// SPDX-License-Identifier: Apache-2.0
//! Finding one's way in a tree that another user can write: by single components from a held
//! descriptor, never through a link, never into a bind mount, to a limited depth.

use std::ffi::{CStr, CString, OsStr};
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, Statx, StatxFlags};
use rustix::io::Errno;

use super::root::{Root, stat_entry};
use crate::controls::etcd_data_dir::Oddity;

/// Levels below the top that are entered; etcd makes two. Each open level holds a descriptor, and
/// a deep tree costs the daemon memory for the paths it watches.
pub const DEPTH_LIMIT: usize = 16;

/// Sub-directories of one directory that are entered; etcd makes two.
pub const WIDTH_LIMIT: usize = 50_000;

/// Called for every directory of a walk, before its entries are read: the place to set a watch,
/// so that nothing made later is missed. Gives the path below the top.
pub type OnDirectory<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, &Path);

/// Device and mount: what tells one mount from another.
pub(super) type Mount = (u64, u64);

/// An entry as a walk met it.
pub(super) struct Seen<'a> {
    /// Where it should be: what turns out to be on another mount is never changed.
    pub(super) mount: Mount,
    pub(super) parent: BorrowedFd<'a>,
    /// Its name in `parent`; `.` for the top itself.
    pub(super) name: &'a CStr,
    /// The path of `parent` below the top.
    pub(super) dir: &'a Path,
    pub(super) stat: &'a Stat,
}

impl Seen<'_> {
    /// The entry's path below the top. Made only for what is told about: a walk meets thousands.
    pub(super) fn below(&self) -> PathBuf {
        match self.name.to_bytes() {
            b"." => self.dir.to_path_buf(),
            name => self.dir.join(OsStr::from_bytes(name)),
        }
    }
}

/// What a walk meets.
pub(super) enum Met<'a> {
    Entry(Seen<'a>),
    /// A place where it does not go on.
    Stop(&'a Path, Oddity),
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

pub(super) fn open_top(root: &Root, dir: &Path) -> Result<OwnedFd, Errno> {
    match root.open(dir, DIRECTORY, Mode::empty()) {
        // A directory that is not there yet and one whose parent is not are the same to us.
        Err(Errno::NOTDIR) if root.stat(dir).is_err() => Err(Errno::NOENT),
        other => other,
    }
}

/// One entry, found below the top without leaving its mount.
pub(super) struct Found {
    pub(super) mount: Mount,
    pub(super) parent: OwnedFd,
    /// `O_PATH`.
    pub(super) entry: OwnedFd,
}

impl Found {
    /// `name`: as [`last_name`] has it.
    pub(super) fn seen<'a>(&'a self, name: &'a CStr, below: &'a Path, stat: &'a Stat) -> Seen<'a> {
        let dir = below.parent().unwrap_or(Path::new(""));
        Seen { mount: self.mount, parent: self.parent.as_fd(), name, dir, stat }
    }
}

/// Opens `dir/below` as `O_PATH`, component by component. What is behind a link or a bind mount is
/// not there, for us: the whole pass reports it.
fn open_entry(root: &Root, dir: &Path, below: &Path) -> Result<Found, Errno> {
    let mut parent = open_top(root, dir)?;
    let top = mount_of(&parent)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut way = Vec::new();
    let mut names = below.components().peekable();
    let mut entry = None;
    while let Some(component) = names.next() {
        let Component::Normal(name) = component else { return Err(Errno::INVAL) };
        if names.peek().is_none() {
            entry = Some(rustix::fs::openat(&parent, name, flags, Mode::empty())?);
            break;
        }
        let next = match rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty()) {
            // Swapped for something else since the event.
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(Errno::NOENT),
            other => other?,
        };
        way.push(std::mem::replace(&mut parent, next));
    }
    let entry = match entry {
        Some(entry) => entry,
        None => rustix::fs::openat(&parent, c".", flags, Mode::empty())?,
    };
    let its_mount = mount_of(&entry)?;
    if its_mount == top {
        // A mount has one place: nothing on the way was another one.
        return Ok(Found { mount: top, parent, entry });
    }
    let mut mount = top;
    for directory in way.iter().chain([&parent]) {
        mount = enter(mount, mount_of(directory)?).ok_or(Errno::NOENT)?;
    }
    if its_mount != mount {
        let stat = rustix::fs::fstat(&entry)?;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        mount = enter(mount, its_mount).filter(|_| directory).ok_or(Errno::NOENT)?;
    }
    Ok(Found { mount, parent, entry })
}

pub(super) fn last_name(below: &Path) -> Result<CString, Errno> {
    let name = below.file_name().unwrap_or(OsStr::new("."));
    CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)
}

/// The same as [`open_entry`]; `None`: it is not there.
pub(super) fn find_entry(root: &Root, dir: &Path, below: &Path) -> Result<Option<Found>, Errno> {
    match open_entry(root, dir, below) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Visits one entry, if it is there.
pub(super) fn visit_entry(
    root: &Root,
    dir: &Path,
    below: &Path,
    visit: &mut dyn FnMut(Met<'_>),
) -> Result<(), Errno> {
    let Some(found) = find_entry(root, dir, below)? else { return Ok(()) };
    let stat = rustix::fs::fstat(&found.entry)?;
    visit(Met::Entry(found.seen(&last_name(below)?, below, &stat)));
    Ok(())
}

/// Visits one entry and everything below it, if it is there.
pub(super) fn visit_below(
    root: &Root,
    dir: &Path,
    below: &Path,
    on_directory: OnDirectory<'_>,
    visit: &mut dyn FnMut(Met<'_>),
) -> Result<(), Errno> {
    let Some(found) = find_entry(root, dir, below)? else { return Ok(()) };
    let stat = rustix::fs::fstat(&found.entry)?;
    let name = last_name(below)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        visit(Met::Entry(found.seen(&name, below, &stat)));
        return Ok(());
    }
    match rustix::fs::openat(&found.parent, &name, DIRECTORY, Mode::empty()) {
        Ok(directory) => walk(directory, found.mount, below, on_directory, visit),
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => Ok(()),
        Err(e) => Err(e),
    }
}

/// A directory whose sub-directories are still to be entered.
struct Level {
    mount: Mount,
    fd: OwnedFd,
    below: PathBuf,
    pending: Vec<CString>,
}

/// Visits `top` and what is below it, within one mount. What goes away while it walks is skipped,
/// what cannot be read is reported: only the top itself can end it.
pub(super) fn walk(
    top: OwnedFd,
    mount: Mount,
    below: &Path,
    on_directory: OnDirectory<'_>,
    visit: &mut dyn FnMut(Met<'_>),
) -> Result<(), Errno> {
    if mount_of(&top)? != mount {
        visit(Met::Stop(below, Oddity::Mount));
        return Ok(());
    }
    let mut buffer = Vec::with_capacity(32 * 1024);
    // Watched first, then looked at.
    on_directory(top.as_fd(), below);
    let stat = rustix::fs::fstat(&top)?;
    visit(Met::Entry(Seen { mount, parent: top.as_fd(), name: c".", dir: below, stat: &stat }));
    let mut levels = vec![read_level(top, mount, below.to_path_buf(), &mut buffer, visit)];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.pending.pop() else {
            levels.pop();
            continue;
        };
        let below = level.below.join(OsStr::from_bytes(name.to_bytes()));
        let opened = rustix::fs::openat(&level.fd, &name, DIRECTORY, Mode::empty())
            .and_then(|fd| Ok((mount_of(&fd)?, rustix::fs::fstat(&fd)?, fd)));
        let (its_mount, stat, fd) = match opened {
            Ok(opened) => opened,
            // Gone or swapped meanwhile: the event of that is still to come.
            Err(Errno::NOENT | Errno::STALE | Errno::LOOP | Errno::NOTDIR) => continue,
            Err(e) => {
                visit(Met::Stop(&below, Oddity::Unreadable { reason: e.to_string() }));
                continue;
            }
        };
        let Some(mount) = enter(level.mount, its_mount) else {
            visit(Met::Stop(&below, Oddity::Mount));
            continue;
        };
        let parent = level.fd.as_fd();
        visit(Met::Entry(Seen { mount, parent, name: &name, dir: &level.below, stat: &stat }));
        if levels.len() >= DEPTH_LIMIT {
            visit(Met::Stop(&below, Oddity::TooDeep));
            continue;
        }
        on_directory(fd.as_fd(), &below);
        levels.push(read_level(fd, mount, below, &mut buffer, visit));
    }
    Ok(())
}

/// Visits what is in a directory; its sub-directories are kept for later.
fn read_level(
    fd: OwnedFd,
    mount: Mount,
    below: PathBuf,
    buffer: &mut Vec<u8>,
    visit: &mut dyn FnMut(Met<'_>),
) -> Level {
    let mut pending = Vec::new();
    let mut entries = RawDir::new(&fd, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // Removed while we read it.
            Err(Errno::NOENT | Errno::STALE) => break,
            Err(e) => {
                visit(Met::Stop(&below, Oddity::Unreadable { reason: e.to_string() }));
                break;
            }
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if pending.len() >= WIDTH_LIMIT {
            visit(Met::Stop(&below, Oddity::TooDeep));
            break;
        }
        if entry.file_type() == FileType::Directory {
            pending.push(name.to_owned());
            continue;
        }
        match stat_entry(&fd, name) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                pending.push(name.to_owned());
            }
            Ok(stat) => {
                let parent = fd.as_fd();
                visit(Met::Entry(Seen { mount, parent, name, dir: &below, stat: &stat }));
            }
            Err(Errno::NOENT | Errno::STALE) => {}
            Err(e) => {
                let path = below.join(OsStr::from_bytes(name.to_bytes()));
                visit(Met::Stop(&path, Oddity::Unreadable { reason: e.to_string() }));
            }
        }
    }
    Level { mount, fd, below, pending }
}

/// The mount to go on in, on the way from a directory on `from` to one on `to`: a file system of
/// its own that is mounted there is entered (only root mounts), a bind mount is not, since what it
/// shows has another place where it belongs.
fn enter(from: Mount, to: Mount) -> Option<Mount> {
    if from == to {
        return Some(from);
    }
    // Without the mount's number nothing is known about it.
    let (device, number) = to;
    (device != from.0 && number != 0 && shows_a_whole_filesystem(number)).then_some(to)
}

/// Whether a mount shows a file system from its root. Read anew each time: it is rare.
fn shows_a_whole_filesystem(number: u64) -> bool {
    let Ok(file) = std::fs::File::open("/proc/self/mountinfo") else { return false };
    // proc(5): number, parent's number, device, root, mount point …
    std::io::BufReader::new(file).split(b'\n').map_while(Result::ok).any(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let its_number = fields.next().and_then(|field| std::str::from_utf8(field).ok());
        its_number.and_then(|n| n.parse().ok()) == Some(number) && fields.nth(2) == Some(b"/")
    })
}

/// The mount an open file is on: its device, and on kernels that say so (5.8) the mount itself,
/// which tells a bind mount of the same device.
pub(super) fn mount_of(fd: &OwnedFd) -> Result<Mount, Errno> {
    mount(rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID))
        .unwrap_or_else(|| Ok((device(&rustix::fs::fstat(fd)?), 0)))
}

/// The same for an entry of a directory, a link itself.
pub(super) fn mount_at(dir: BorrowedFd<'_>, name: &CStr) -> Result<Mount, Errno> {
    mount(rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID))
        .unwrap_or_else(|| Ok((device(&stat_entry(dir, name)?), 0)))
}

/// `None` on a kernel without statx (before 4.11).
fn mount(stat: Result<Statx, Errno>) -> Option<Result<Mount, Errno>> {
    match stat {
        Ok(stat) => {
            let device = (u64::from(stat.stx_dev_major) << 32) | u64::from(stat.stx_dev_minor);
            let known = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
            Some(Ok((device, if known { stat.stx_mnt_id } else { 0 })))
        }
        Err(Errno::NOSYS) => None,
        Err(e) => Some(Err(e)),
    }
}

fn device(stat: &Stat) -> u64 {
    let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    (u64::from(major) << 32) | u64::from(minor)
}
