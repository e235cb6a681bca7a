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
use crate::model::Owner;

/// Levels below the top that are entered; etcd makes two. Each open level holds a descriptor, and
/// a deep tree costs the daemon memory for the paths it watches.
pub const DEPTH_LIMIT: usize = 16;

/// Directories found and not yet entered, in all open levels together; etcd makes two.
pub const WIDTH_LIMIT: usize = 50_000;

/// Entries of one directory from one sign of life to the next.
const SIGN_OF_LIFE: u64 = 4096;

/// Called for every directory of a walk ([`Visitor::directory`]). Gives the path below the top.
pub type OnDirectory<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, &Path);

/// Device and mount: what tells one mount from another.
pub(super) type Mount = (u64, u64);

/// What is looked at in an inode.
#[derive(Clone, Copy)]
pub(super) struct Inode {
    pub(super) owner: Owner,
    pub(super) kind: FileType,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) links: u64,
}

impl Inode {
    #[allow(clippy::useless_conversion)] // `st_nlink` is 32 bits wide on some architectures
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            owner: Owner { uid: stat.st_uid, gid: stat.st_gid },
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            links: u64::from(stat.st_nlink),
        }
    }

    pub(super) fn is_directory(self) -> bool {
        self.kind == FileType::Directory
    }
}

/// An entry as a walk met it.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    /// Where it should be: what turns out to be on another mount is never changed.
    pub(super) mount: Mount,
    pub(super) parent: BorrowedFd<'a>,
    /// Its name in `parent`; `.` for the top itself.
    pub(super) name: &'a CStr,
    /// The path of `parent` below the top.
    pub(super) dir: &'a Path,
    pub(super) inode: Inode,
    /// Itself, where it is open, and the mount that it is on: what was looked at is then what is
    /// changed, whatever the name stands for by now.
    pub(super) open: Option<(&'a OwnedFd, Mount)>,
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

/// Told of what a walk meets.
pub(super) trait Visitor {
    /// A directory, before its entries are read: the place to set a watch, so that nothing made
    /// later is missed. Again now and then while it is read, if it is large: a sign of life.
    fn directory(&mut self, dir: BorrowedFd<'_>, below: &Path);

    fn met(&mut self, met: Met<'_>);

    /// Whether the next entry is to be opened before it is looked at, since it will be changed.
    fn opens(&self) -> bool {
        false
    }

    /// Whether an entry that is not open has to be opened and looked at again, for a change.
    fn changes(&self, _inode: Inode) -> bool {
        false
    }

    /// Whether the walk may end before its end.
    fn enough(&self) -> bool {
        false
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// Itself, and never what is behind it.
pub(super) const ENTRY: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

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
    its_mount: Mount,
    pub(super) inode: Inode,
}

impl Found {
    /// `name`: as [`last_name`] has it.
    pub(super) fn seen<'a>(&'a self, name: &'a CStr, below: &'a Path) -> Seen<'a> {
        let dir = below.parent().unwrap_or(Path::new(""));
        let open = Some((&self.entry, self.its_mount));
        let (mount, parent, inode) = (self.mount, self.parent.as_fd(), self.inode);
        Seen { mount, parent, name, dir, inode, open }
    }
}

/// Opens `dir/below` as `O_PATH`, component by component. What is behind a link or a bind mount is
/// not there, for us: the whole pass reports it.
fn open_entry(root: &Root, dir: &Path, below: &Path) -> Result<Found, Errno> {
    let mut parent = open_top(root, dir)?;
    let top = mount_of(&parent)?;
    let mut way = Vec::new();
    let mut names = below.components().peekable();
    let mut entry = None;
    while let Some(component) = names.next() {
        let Component::Normal(name) = component else { return Err(Errno::INVAL) };
        if names.peek().is_none() {
            entry = Some(rustix::fs::openat(&parent, name, ENTRY, Mode::empty())?);
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
        None => rustix::fs::openat(&parent, c".", ENTRY, Mode::empty())?,
    };
    let (its_mount, inode) = examine(&entry)?;
    if its_mount == top {
        // A mount has one place: nothing on the way was another one.
        return Ok(Found { mount: top, parent, entry, its_mount, inode });
    }
    let mut mount = top;
    for directory in way.iter().chain([&parent]) {
        mount = enter(mount, mount_of(directory)?).ok_or(Errno::NOENT)?;
    }
    if its_mount != mount {
        mount = enter(mount, its_mount).filter(|_| inode.is_directory()).ok_or(Errno::NOENT)?;
    }
    Ok(Found { mount, parent, entry, its_mount, inode })
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
    visitor: &mut dyn Visitor,
) -> Result<(), Errno> {
    let Some(found) = find_entry(root, dir, below)? else { return Ok(()) };
    visitor.met(Met::Entry(found.seen(&last_name(below)?, below)));
    Ok(())
}

/// Visits one entry and everything below it, if it is there.
pub(super) fn visit_below(
    root: &Root,
    dir: &Path,
    below: &Path,
    visitor: &mut dyn Visitor,
) -> Result<(), Errno> {
    let Some(found) = find_entry(root, dir, below)? else { return Ok(()) };
    let name = last_name(below)?;
    if !found.inode.is_directory() {
        visitor.met(Met::Entry(found.seen(&name, below)));
        return Ok(());
    }
    match rustix::fs::openat(&found.parent, &name, DIRECTORY, Mode::empty()) {
        Ok(directory) => walk(directory, found.mount, below, visitor),
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
    visitor: &mut dyn Visitor,
) -> Result<(), Errno> {
    let (its_mount, inode) = examine(&top)?;
    if its_mount != mount {
        visitor.met(Met::Stop(below, Oddity::Mount));
        return Ok(());
    }
    let mut buffer = Vec::with_capacity(32 * 1024);
    // Watched first, then looked at.
    visitor.directory(top.as_fd(), below);
    let (parent, open) = (top.as_fd(), Some((&top, mount)));
    visitor.met(Met::Entry(Seen { mount, parent, name: c".", dir: below, inode, open }));
    let mut room = WIDTH_LIMIT;
    let first = read_level(top, mount, below.to_path_buf(), &mut buffer, &mut room, visitor);
    let mut levels = vec![first];
    loop {
        let depth = levels.len();
        let Some(level) = levels.last_mut().filter(|_| !visitor.enough()) else { break };
        let Some(name) = level.pending.pop() else {
            levels.pop();
            continue;
        };
        room += 1;
        let below = level.below.join(OsStr::from_bytes(name.to_bytes()));
        let opened = rustix::fs::openat(&level.fd, &name, DIRECTORY, Mode::empty())
            .and_then(|fd| Ok((examine(&fd)?, fd)));
        let ((its_mount, inode), fd) = match opened {
            Ok(opened) => opened,
            // Gone meanwhile.
            Err(Errno::NOENT | Errno::STALE) => continue,
            // Swapped for something else, maybe again and again: it is what it is now.
            Err(Errno::LOOP | Errno::NOTDIR) => {
                if let Ok((inode, Some((fd, its_mount)))) = look_open(&level.fd, &name)
                    && !inode.is_directory()
                {
                    let (parent, open) = (level.fd.as_fd(), Some((&fd, its_mount)));
                    let (mount, dir) = (level.mount, &level.below);
                    visitor.met(Met::Entry(Seen { mount, parent, name: &name, dir, inode, open }));
                }
                continue;
            }
            Err(e) => {
                visitor.met(Met::Stop(&below, Oddity::Unreadable { reason: e.to_string() }));
                continue;
            }
        };
        let Some(mount) = enter(level.mount, its_mount) else {
            visitor.met(Met::Stop(&below, Oddity::Mount));
            continue;
        };
        let mut inode = inode;
        if mount != level.mount {
            // Of what is mounted here the parent's watch tells nothing: watched first, then looked at.
            visitor.directory(fd.as_fd(), &below);
            match examine(&fd) {
                Ok((_, now)) => inode = now,
                Err(_) => continue,
            }
        }
        let (parent, dir, open) = (level.fd.as_fd(), &level.below, Some((&fd, mount)));
        visitor.met(Met::Entry(Seen { mount, parent, name: &name, dir, inode, open }));
        if depth >= DEPTH_LIMIT {
            visitor.met(Met::Stop(&below, Oddity::TooDeep));
            continue;
        }
        visitor.directory(fd.as_fd(), &below);
        levels.push(read_level(fd, mount, below, &mut buffer, &mut room, visitor));
    }
    Ok(())
}

/// Visits what is in a directory; its sub-directories are kept for later.
fn read_level(
    fd: OwnedFd,
    mount: Mount,
    below: PathBuf,
    buffer: &mut Vec<u8>,
    room: &mut usize,
    visitor: &mut dyn Visitor,
) -> Level {
    let mut pending = Vec::new();
    let mut read = 0u64;
    let mut entries = RawDir::new(&fd, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // Removed while we read it.
            Err(Errno::NOENT | Errno::STALE) => break,
            Err(e) => {
                visitor.met(Met::Stop(&below, Oddity::Unreadable { reason: e.to_string() }));
                break;
            }
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        read += 1;
        if read.is_multiple_of(SIGN_OF_LIFE) {
            visitor.directory(fd.as_fd(), &below);
        }
        if visitor.enough() {
            break;
        }
        if *room == 0 {
            visitor.met(Met::Stop(&below, Oddity::TooDeep));
            break;
        }
        if entry.file_type() == FileType::Directory {
            *room -= 1;
            pending.push(name.to_owned());
            continue;
        }
        let looked = if visitor.opens() {
            look_open(&fd, name)
        } else {
            stat_entry(&fd, name).map(|stat| Inode::of(&stat)).and_then(|inode| {
                if visitor.changes(inode) { look_open(&fd, name) } else { Ok((inode, None)) }
            })
        };
        match looked {
            Ok((inode, _)) if inode.is_directory() => {
                *room -= 1;
                pending.push(name.to_owned());
            }
            Ok((inode, open)) => {
                let (parent, open) = (fd.as_fd(), open.as_ref().map(|(fd, mount)| (fd, *mount)));
                visitor.met(Met::Entry(Seen { mount, parent, name, dir: &below, inode, open }));
            }
            Err(Errno::NOENT | Errno::STALE) => {}
            Err(e) => {
                let path = below.join(OsStr::from_bytes(name.to_bytes()));
                visitor.met(Met::Stop(&path, Oddity::Unreadable { reason: e.to_string() }));
            }
        }
    }
    Level { mount, fd, below, pending }
}

/// Opens an entry, whatever it is and a link itself, and looks at what was opened.
fn look_open(dir: &OwnedFd, name: &CStr) -> Result<(Inode, Option<(OwnedFd, Mount)>), Errno> {
    let fd = rustix::fs::openat(dir, name, ENTRY, Mode::empty())?;
    let (mount, inode) = examine(&fd)?;
    Ok((inode, Some((fd, mount))))
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

/// Whether a mount shows a file system from its root, and one that root alone can have mounted:
/// fusermount is set-uid. Read anew each time: it is rare.
fn shows_a_whole_filesystem(number: u64) -> bool {
    let Ok(file) = std::fs::File::open("/proc/self/mountinfo") else { return false };
    // proc(5): number, parent's number, device, root, mount point, options … - type …
    std::io::BufReader::new(file).split(b'\n').map_while(Result::ok).any(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let its_number = fields.next().and_then(|field| std::str::from_utf8(field).ok());
        let its_root = fields.nth(2);
        let its_type = fields.skip_while(|field| *field != b"-").nth(1).unwrap_or_default();
        its_number.and_then(|n| n.parse().ok()) == Some(number)
            && its_root == Some(b"/")
            && !its_type.starts_with(b"fuse")
    })
}

/// The mount an open file is on: its device, and on kernels that say so (5.8) the mount itself,
/// which tells a bind mount of the same device.
pub(super) fn mount_of(fd: &OwnedFd) -> Result<Mount, Errno> {
    Ok(examine(fd)?.0)
}

/// The mount an open file is on, and the file: one system call where the kernel has statx (4.11).
pub(super) fn examine(fd: &OwnedFd) -> Result<(Mount, Inode), Errno> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    match rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, mask) {
        Ok(stat) => {
            let inode = Inode {
                owner: Owner { uid: stat.stx_uid, gid: stat.stx_gid },
                kind: FileType::from_raw_mode(u32::from(stat.stx_mode)),
                mode: u32::from(stat.stx_mode) & 0o7777,
                links: u64::from(stat.stx_nlink),
            };
            Ok((mount(&stat), inode))
        }
        Err(Errno::NOSYS) => {
            let stat = rustix::fs::fstat(fd)?;
            Ok(((device(&stat), 0), Inode::of(&stat)))
        }
        Err(e) => Err(e),
    }
}

/// The mount an entry of a directory is on, a link itself.
pub(super) fn mount_at(dir: BorrowedFd<'_>, name: &CStr) -> Result<Mount, Errno> {
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
