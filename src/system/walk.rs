// SPDX-License-Identifier: Apache-2.0
//! Finding one's way in a tree that another user can write: by single components from an open
//! descriptor, never through a link, never into a bind mount, to a limited depth.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::system::inode::{Inode, Mount, enter, examine, look_at, mount_of};
use crate::system::root::Root;

/// Levels below the top that are entered; etcd makes two. Each open level holds a descriptor, and
/// a deep tree costs the daemon memory for the paths it watches.
pub const DEPTH_LIMIT: usize = 16;

/// Directories found and not yet entered, in all open levels together; etcd makes two.
pub const WIDTH_LIMIT: usize = 50_000;

/// Entries of one directory from one call for progress to the next.
const PROGRESS_EVERY: u64 = 4096;

/// Called for every directory of a walk ([`Visitor::directory`]). Gives the path below the top.
pub type OnDirectory<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, &Path);

/// An entry as a walk met it.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// Where it should be: what turns out to be on another mount is never changed.
    pub(crate) mount: Mount,
    pub(crate) parent: BorrowedFd<'a>,
    /// Its name in `parent`; `.` for the top itself.
    pub(crate) name: &'a CStr,
    /// The path of `parent` below the top.
    pub(crate) dir: &'a Path,
    pub(crate) inode: Inode,
    /// Itself, where it is open, and the mount that it is on: what was looked at is then what is
    /// changed, whatever the name stands for by now.
    pub(crate) open: Option<(&'a OwnedFd, Mount)>,
}

impl Seen<'_> {
    /// The entry's path below the top. Made only for what is told about: a walk meets thousands.
    pub(crate) fn below(&self) -> PathBuf {
        match self.name.to_bytes() {
            b"." => self.dir.to_path_buf(),
            name => self.dir.join(OsStr::from_bytes(name)),
        }
    }
}

/// Why a walk does not go on at a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Another file system begins there.
    Mount,
    /// It is more than [`DEPTH_LIMIT`] levels below the top, or there are too many beside it.
    TooDeep,
    /// It cannot be entered or read.
    Unreadable { reason: String },
}

/// What a walk meets.
pub(crate) enum Visited<'a> {
    Entry(Seen<'a>),
    /// A place where it does not go on.
    Stop(&'a Path, Stop),
}

/// Told of what a walk meets.
pub(crate) trait Visitor {
    /// A directory, before its entries are read: the place to set a watch, so that nothing made
    /// later is missed. Again now and then while it is read, if it is large: a call for progress, which feeds the watchdog.
    fn directory(&mut self, dir: BorrowedFd<'_>, below: &Path);

    fn visited(&mut self, visited: Visited<'_>);

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
const ENTRY: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

pub(crate) fn open_top(root: &Root, dir: &Path) -> Result<OwnedFd, Errno> {
    root.recording().walked(dir);
    match root.open(dir, DIRECTORY, Mode::empty()) {
        // A directory that is not there yet and one whose parent is not are the same to us.
        Err(Errno::NOTDIR) if root.stat(dir).is_err() => Err(Errno::NOENT),
        other => other,
    }
}

/// One entry, found below the top without leaving its mount.
pub(crate) struct Found {
    pub(crate) mount: Mount,
    pub(crate) parent: OwnedFd,
    /// `O_PATH`.
    pub(crate) entry: OwnedFd,
    its_mount: Mount,
    pub(crate) inode: Inode,
    /// The directories on the path, closed with the rest: what is wrong is mended first.
    _above: Vec<OwnedFd>,
}

impl Found {
    /// `name`: as [`last_name`] has it.
    pub(crate) fn seen<'a>(&'a self, name: &'a CStr, below: &'a Path) -> Seen<'a> {
        let dir = below.parent().unwrap_or(Path::new(""));
        let open = Some((&self.entry, self.its_mount));
        let (mount, parent, inode) = (self.mount, self.parent.as_fd(), self.inode);
        Seen { mount, parent, name, dir, inode, open }
    }
}

/// Opens `dir/below` as `O_PATH`, component by component. What is behind a link or a bind mount is
/// not there, for us: the full pass reports it.
fn open_entry(root: &Root, dir: &Path, below: &Path) -> Result<Found, Errno> {
    let mut parent = open_top(root, dir)?;
    let top = mount_of(&parent)?;
    let mut above = Vec::new();
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
        above.push(std::mem::replace(&mut parent, next));
    }
    let entry = match entry {
        Some(entry) => entry,
        None => rustix::fs::openat(&parent, c".", ENTRY, Mode::empty())?,
    };
    let (its_mount, inode) = examine(&entry)?;
    if its_mount == top {
        // A mount has one place: nothing on the path was another one.
        return Ok(Found { mount: top, parent, entry, its_mount, inode, _above: above });
    }
    let mut mount = top;
    for directory in above.iter().chain([&parent]) {
        mount = enter(mount, mount_of(directory)?).ok_or(Errno::NOENT)?;
    }
    if its_mount != mount {
        mount = enter(mount, its_mount).filter(|_| inode.is_directory()).ok_or(Errno::NOENT)?;
    }
    Ok(Found { mount, parent, entry, its_mount, inode, _above: above })
}

pub(crate) fn last_name(below: &Path) -> Result<CString, Errno> {
    let name = below.file_name().unwrap_or(OsStr::new("."));
    CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)
}

/// The same as [`open_entry`]; `None`: it is not there.
pub(crate) fn find_entry(root: &Root, dir: &Path, below: &Path) -> Result<Option<Found>, Errno> {
    #[cfg(test)]
    super::root::opened::note(&dir.join(below));
    match open_entry(root, dir, below) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Visits one entry, if it is there.
pub(crate) fn visit_entry(
    root: &Root,
    dir: &Path,
    below: &Path,
    visitor: &mut dyn Visitor,
) -> Result<(), Errno> {
    let Some(found) = find_entry(root, dir, below)? else { return Ok(()) };
    visitor.visited(Visited::Entry(found.seen(&last_name(below)?, below)));
    Ok(())
}

/// Visits one entry and everything below it, if it is there.
pub(crate) fn visit_below(
    root: &Root,
    dir: &Path,
    below: &Path,
    visitor: &mut dyn Visitor,
) -> Result<(), Errno> {
    let Some(found) = find_entry(root, dir, below)? else { return Ok(()) };
    let name = last_name(below)?;
    if !found.inode.is_directory() {
        visitor.visited(Visited::Entry(found.seen(&name, below)));
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
pub(crate) fn walk(
    top: OwnedFd,
    mount: Mount,
    below: &Path,
    visitor: &mut dyn Visitor,
) -> Result<(), Errno> {
    let (its_mount, inode) = examine(&top)?;
    if its_mount != mount {
        visitor.visited(Visited::Stop(below, Stop::Mount));
        return Ok(());
    }
    let mut buffer = Vec::with_capacity(32 * 1024);
    // Watched first, then looked at.
    visitor.directory(top.as_fd(), below);
    let (parent, open) = (top.as_fd(), Some((&top, mount)));
    visitor.visited(Visited::Entry(Seen { mount, parent, name: c".", dir: below, inode, open }));
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
                if let Ok((inode, (fd, its_mount))) = look_open(&level.fd, &name)
                    && !inode.is_directory()
                {
                    let (parent, open) = (level.fd.as_fd(), Some((&fd, its_mount)));
                    let (mount, dir) = (level.mount, &level.below);
                    visitor.visited(Visited::Entry(Seen {
                        mount,
                        parent,
                        name: &name,
                        dir,
                        inode,
                        open,
                    }));
                }
                continue;
            }
            Err(e) => {
                visitor.visited(Visited::Stop(&below, Stop::Unreadable { reason: e.to_string() }));
                continue;
            }
        };
        let Some(mount) = enter(level.mount, its_mount) else {
            visitor.visited(Visited::Stop(&below, Stop::Mount));
            continue;
        };
        let mut inode = inode;
        if mount != level.mount {
            // The parent's watch tells nothing of what is mounted here: watched first, then looked at.
            visitor.directory(fd.as_fd(), &below);
            match examine(&fd) {
                Ok((_, now)) => inode = now,
                Err(_) => continue,
            }
        }
        let (parent, dir, open) = (level.fd.as_fd(), &level.below, Some((&fd, mount)));
        visitor.visited(Visited::Entry(Seen { mount, parent, name: &name, dir, inode, open }));
        if depth >= DEPTH_LIMIT {
            visitor.visited(Visited::Stop(&below, Stop::TooDeep));
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
                visitor.visited(Visited::Stop(&below, Stop::Unreadable { reason: e.to_string() }));
                break;
            }
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        read += 1;
        if read.is_multiple_of(PROGRESS_EVERY) {
            visitor.directory(fd.as_fd(), &below);
        }
        if visitor.enough() {
            break;
        }
        if *room == 0 {
            visitor.visited(Visited::Stop(&below, Stop::TooDeep));
            break;
        }
        if entry.file_type() == FileType::Directory {
            *room -= 1;
            pending.push(name.to_owned());
            continue;
        }
        let open = || look_open(&fd, name).map(|(inode, open)| (inode, Some(open)));
        let looked = if visitor.opens() {
            open()
        } else {
            look_at(&fd, name)
                .and_then(|inode| if visitor.changes(inode) { open() } else { Ok((inode, None)) })
        };
        match looked {
            Ok((inode, _)) if inode.is_directory() => {
                *room -= 1;
                pending.push(name.to_owned());
            }
            Ok((inode, open)) => {
                let (parent, open) = (fd.as_fd(), open.as_ref().map(|(fd, mount)| (fd, *mount)));
                visitor.visited(Visited::Entry(Seen {
                    mount,
                    parent,
                    name,
                    dir: &below,
                    inode,
                    open,
                }));
            }
            Err(Errno::NOENT | Errno::STALE) => {}
            Err(e) => {
                let path = below.join(OsStr::from_bytes(name.to_bytes()));
                visitor.visited(Visited::Stop(&path, Stop::Unreadable { reason: e.to_string() }));
            }
        }
    }
    Level { mount, fd, below, pending }
}

/// Opens an entry, whatever it is and a link itself, and looks at what was opened.
fn look_open(dir: &OwnedFd, name: &CStr) -> Result<(Inode, (OwnedFd, Mount)), Errno> {
    let fd = rustix::fs::openat(dir, name, ENTRY, Mode::empty())?;
    let (mount, inode) = examine(&fd)?;
    Ok((inode, (fd, mount)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Counting {
        signs: u64,
        entries: u64,
    }

    impl Visitor for Counting {
        fn directory(&mut self, _dir: BorrowedFd<'_>, _below: &Path) {
            self.signs += 1;
        }

        fn visited(&mut self, _visited: Visited<'_>) {
            self.entries += 1;
        }
    }

    #[test]
    fn a_large_directory_gives_a_sign_of_life_every_so_many_entries() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..PROGRESS_EVERY {
            std::fs::write(dir.path().join(n.to_string()), "").unwrap();
        }
        let mut visitor = Counting::default();
        let top = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let mount = mount_of(&top).unwrap();
        walk(top, mount, Path::new(""), &mut visitor).unwrap();
        // The directory itself is one of each.
        assert_eq!((visitor.signs, visitor.entries), (2, PROGRESS_EVERY + 1));
    }
}
