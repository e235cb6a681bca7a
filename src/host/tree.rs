// SPDX-License-Identifier: Apache-2.0
//! Walking and owning a tree that another user can write, so that no change ever leaves it.
//!
//! The rules (CVE-2017-18078, CVE-2018-6954 and their kin are what happens without them):
//! * Every entry is reached by one component from a held directory descriptor, never followed if
//!   it is a link. What is changed is an `O_PATH` descriptor that was looked at first.
//! * Links, special files, files with more than one link and entries of other mounts are reported
//!   and never changed.
//! * Memory grows with directories, never with files; depth has a limit.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, StatxFlags, Uid};
use rustix::io::Errno;

use super::root::{Root, stat_entry};
use crate::controls::etcd_data_dir::{EntryFacts, Oddity, TreeFacts, octal};
use crate::model::{ModeRule, Outcome, Owner};

/// Levels below the top that are entered; etcd makes two. Each open level holds a descriptor.
pub const DEPTH_LIMIT: usize = 128;

/// Called for every directory of a walk, before its entries are read: the place to set a watch,
/// so that nothing made later is missed. Gives the path below the top.
pub type OnDirectory<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, &Path);

/// Looks at every entry below `dir`. `None`: there is no such directory.
pub fn observe(
    root: &Root,
    dir: &Path,
    owner: Owner,
    on_directory: OnDirectory<'_>,
) -> Result<Option<TreeFacts>, Errno> {
    let top = match open_top(root, dir) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut facts = TreeFacts::default();
    walk(top, Path::new(""), on_directory, &mut |met| look(&mut facts, owner, met))?;
    Ok(Some(facts))
}

/// Looks at one entry below `dir`, and, if it is a directory, at everything below it.
pub fn observe_below(
    root: &Root,
    dir: &Path,
    below: &Path,
    owner: Owner,
    on_directory: OnDirectory<'_>,
) -> Result<TreeFacts, Errno> {
    let mut facts = TreeFacts::default();
    visit_below(root, dir, below, on_directory, &mut |met| look(&mut facts, owner, met))?;
    Ok(facts)
}

/// Looks at one file directly in `dir`, by `rule`. `None`: there is no such file.
pub fn observe_file(root: &Root, dir: &Path, name: &str) -> Result<Option<EntryFacts>, Errno> {
    let (parent, entry) = match open_entry(root, dir, Path::new(name)) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e),
    };
    let stat = rustix::fs::fstat(&entry)?;
    let name_c = CString::new(name).map_err(|_| Errno::INVAL)?;
    let seen = Seen { parent: parent.as_fd(), name: &name_c, below: Path::new(name), stat: &stat };
    let owner = owner_of(&stat);
    let mode = stat.st_mode & 0o7777;
    Ok(Some(EntryFacts { name: name.into(), owner, mode, oddity: oddity(&seen, true) }))
}

/// Gives everything below `base/below`, itself included, to `owner`.
pub fn own(root: &Root, base: &Path, below: &Path, owner: Owner) -> Outcome {
    let mut sum = Sum::default();
    let result = visit_below(root, base, below, &mut |_, _| {}, &mut |met| {
        if let Met::Entry(entry) = met {
            sum.add(entry.below, mend(&entry, owner, ModeRule::EtcdTree));
        }
    });
    match result {
        Ok(()) | Err(Errno::NOENT) => sum.outcome(),
        Err(e) => Outcome::Failed { reason: format!("{}: {e}", base.join(below).display()) },
    }
}

/// The same for one entry alone.
pub fn own_entry(root: &Root, base: &Path, below: &Path, owner: Owner, rule: ModeRule) -> Outcome {
    let mut sum = Sum::default();
    let result = open_entry(root, base, below).and_then(|(parent, entry)| {
        let stat = rustix::fs::fstat(&entry)?;
        let name = last_name(below)?;
        let seen = Seen { parent: parent.as_fd(), name: &name, below, stat: &stat };
        sum.add(below, mend(&seen, owner, rule));
        Ok(())
    });
    match result {
        Ok(()) | Err(Errno::NOENT) => sum.outcome(),
        Err(e) => Outcome::Failed { reason: format!("{}: {e}", base.join(below).display()) },
    }
}

/// An entry as a walk met it.
struct Seen<'a> {
    parent: BorrowedFd<'a>,
    /// Its name in `parent`; `.` for the top itself.
    name: &'a CStr,
    /// Its path below the top.
    below: &'a Path,
    stat: &'a Stat,
}

/// What a walk meets.
enum Met<'a> {
    Entry(Seen<'a>),
    /// A place where it does not go on.
    Stop(&'a Path, Oddity),
}

fn look(facts: &mut TreeFacts, owner: Owner, met: Met<'_>) {
    let entry = match met {
        Met::Entry(entry) => entry,
        Met::Stop(below, oddity) => return facts.add_odd(below.to_path_buf(), oddity),
    };
    facts.entries += 1;
    let directory = FileType::from_raw_mode(entry.stat.st_mode) == FileType::Directory;
    facts.directories += u64::from(directory);
    let actual = owner_of(entry.stat);
    let mode = entry.stat.st_mode & 0o7777;
    let wanted = ModeRule::EtcdTree.wanted(directory, mode);
    let wrong = actual != owner || mode != wanted;
    if let Some(oddity) = oddity(&entry, wrong) {
        facts.add_odd(entry.below.to_path_buf(), oddity);
        return;
    }
    if actual != owner {
        facts.wrong_owner.add(entry.below, actual.to_string(), owner.to_string());
    }
    if mode != wanted {
        facts.wrong_mode.add(entry.below, octal(mode), octal(wanted));
    }
}

/// Why an entry's ownership is never changed, if so. `wrong`: it would need a change.
fn oddity(entry: &Seen<'_>, wrong: bool) -> Option<Oddity> {
    let stat = entry.stat;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => None,
        FileType::RegularFile if stat.st_nlink <= 1 => None,
        FileType::RegularFile if wrong => {
            Some(Oddity::HardlinkedWrong { links: links(stat), owner: owner_of(stat) })
        }
        FileType::RegularFile => Some(Oddity::Hardlinked { links: links(stat) }),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(entry.parent, entry.name, Vec::new())
                .map(|t| t.to_string_lossy().into_owned())
                .unwrap_or_else(|e| format!("({e})"));
            if stat.st_uid == 0 {
                let found = rustix::fs::statat(entry.parent, entry.name, AtFlags::empty());
                Some(Oddity::RootLink { target, dangling: found.is_err() })
            } else {
                Some(Oddity::ForeignLink { uid: stat.st_uid, target })
            }
        }
        FileType::Fifo => Some(Oddity::Special { kind: "fifo" }),
        FileType::Socket => Some(Oddity::Special { kind: "socket" }),
        _ => Some(Oddity::Device),
    }
}

#[allow(clippy::useless_conversion)] // 32 bits wide on some architectures
fn links(stat: &Stat) -> u64 {
    u64::from(stat.st_nlink)
}

fn owner_of(stat: &Stat) -> Owner {
    Owner { uid: stat.st_uid, gid: stat.st_gid }
}

/// What became of one entry.
enum Mended {
    Right,
    Changed,
    Failed(String),
}

/// Compare, set, read back, all on one descriptor.
fn mend(seen: &Seen<'_>, owner: Owner, rule: ModeRule) -> Mended {
    if is_right(seen.stat, owner, rule) {
        return Mended::Right;
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(seen.parent, seen.name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Mended::Right,
        Err(e) => return Mended::Failed(e.to_string()),
    };
    // What is behind this descriptor cannot be swapped any more, so it is judged once more.
    let stat = match rustix::fs::fstat(&fd) {
        Ok(stat) => stat,
        Err(e) => return Mended::Failed(e.to_string()),
    };
    if is_right(&stat, owner, rule) {
        return Mended::Right;
    }
    let file_type = FileType::from_raw_mode(stat.st_mode);
    let single = file_type == FileType::RegularFile && stat.st_nlink == 1;
    if stat.st_dev != seen.stat.st_dev || !(single || file_type == FileType::Directory) {
        // Reported as an oddity by the look that follows.
        return Mended::Right;
    }
    match set(&fd, &stat, owner, rule) {
        Ok(stat) if is_right(&stat, owner, rule) => Mended::Changed,
        Ok(stat) => Mended::Failed(format!(
            "still {} {} after the change",
            owner_of(&stat),
            octal(stat.st_mode & 0o7777)
        )),
        Err(e) => Mended::Failed(e.to_string()),
    }
}

fn is_right(stat: &Stat, owner: Owner, rule: ModeRule) -> bool {
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let mode = stat.st_mode & 0o7777;
    owner_of(stat) == owner && mode == rule.wanted(directory, mode)
}

fn set(fd: &OwnedFd, stat: &Stat, owner: Owner, rule: ModeRule) -> Result<Stat, Errno> {
    if owner_of(stat) != owner {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chownat(fd, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    let stat = rustix::fs::fstat(fd)?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let mode = stat.st_mode & 0o7777;
    let wanted = rule.wanted(directory, mode);
    if mode != wanted {
        // fchmod refuses an O_PATH descriptor; its magic link leads to the very same inode.
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        rustix::fs::chmod(link.as_str(), Mode::from_raw_mode(wanted))?;
    }
    rustix::fs::fstat(fd)
}

#[derive(Default)]
struct Sum {
    changed: u64,
    failed: u64,
    first_failure: Option<String>,
}

impl Sum {
    fn add(&mut self, below: &Path, mended: Mended) {
        match mended {
            Mended::Right => {}
            Mended::Changed => self.changed += 1,
            Mended::Failed(reason) => {
                self.failed += 1;
                self.first_failure.get_or_insert_with(|| format!("{}: {reason}", below.display()));
            }
        }
    }

    fn outcome(self) -> Outcome {
        match (self.first_failure, self.changed) {
            (Some(first), changed) => Outcome::Failed {
                reason: format!("{} failed and {changed} changed, first {first}", self.failed),
            },
            (None, 0) => Outcome::AlreadyDone,
            (None, changes) => Outcome::Applied { changes },
        }
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

fn open_top(root: &Root, dir: &Path) -> Result<OwnedFd, Errno> {
    match root.open(dir, DIRECTORY, Mode::empty()) {
        // A directory that is not there yet and one whose parent is not are the same to us.
        Err(Errno::NOTDIR) if root.stat(dir).is_err() => Err(Errno::NOENT),
        other => other,
    }
}

/// Opens `dir/below` as `O_PATH`, component by component, and the directory it is in.
fn open_entry(root: &Root, dir: &Path, below: &Path) -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut parent = open_top(root, dir)?;
    let mut names = below.components().peekable();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    while let Some(component) = names.next() {
        let Component::Normal(name) = component else { return Err(Errno::INVAL) };
        if names.peek().is_none() {
            let entry = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
            return Ok((parent, entry));
        }
        parent = match rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty()) {
            // Swapped for something else since the event: not there any more, for us.
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(Errno::NOENT),
            other => other?,
        };
    }
    let entry = rustix::fs::openat(&parent, c".", flags, Mode::empty())?;
    Ok((parent, entry))
}

fn last_name(below: &Path) -> Result<CString, Errno> {
    let name = below.file_name().unwrap_or(OsStr::new("."));
    CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)
}

fn visit_below(
    root: &Root,
    dir: &Path,
    below: &Path,
    on_directory: OnDirectory<'_>,
    visit: &mut dyn FnMut(Met<'_>),
) -> Result<(), Errno> {
    let (parent, entry) = match open_entry(root, dir, below) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(e),
    };
    let stat = rustix::fs::fstat(&entry)?;
    let name = last_name(below)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        visit(Met::Entry(Seen { parent: parent.as_fd(), name: &name, below, stat: &stat }));
        return Ok(());
    }
    drop(entry);
    let directory = match rustix::fs::openat(&parent, &name, DIRECTORY, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(()),
        Err(e) => return Err(e),
    };
    walk(directory, below, on_directory, visit)
}

/// A directory whose sub-directories are still to be entered.
struct Level {
    fd: OwnedFd,
    below: PathBuf,
    pending: Vec<CString>,
}

fn walk(
    top: OwnedFd,
    below: &Path,
    on_directory: OnDirectory<'_>,
    visit: &mut dyn FnMut(Met<'_>),
) -> Result<(), Errno> {
    let mount = mount_of(&top)?;
    let mut buffer = Vec::with_capacity(32 * 1024);
    let stat = rustix::fs::fstat(&top)?;
    visit(Met::Entry(Seen { parent: top.as_fd(), name: c".", below, stat: &stat }));
    on_directory(top.as_fd(), below);
    let mut levels = vec![read_level(top, below.to_path_buf(), &mut buffer, visit)?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.pending.pop() else {
            levels.pop();
            continue;
        };
        let below = level.below.join(OsStr::from_bytes(name.to_bytes()));
        let fd = match rustix::fs::openat(&level.fd, &name, DIRECTORY, Mode::empty()) {
            Ok(fd) => fd,
            // Gone or swapped meanwhile: the event of that is still to come.
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => continue,
            Err(e) => {
                visit(Met::Stop(&below, Oddity::Unreadable { reason: e.to_string() }));
                continue;
            }
        };
        if mount_of(&fd)? != mount {
            visit(Met::Stop(&below, Oddity::Mount));
            continue;
        }
        let stat = rustix::fs::fstat(&fd)?;
        let seen = Seen { parent: level.fd.as_fd(), name: &name, below: &below, stat: &stat };
        visit(Met::Entry(seen));
        if levels.len() >= DEPTH_LIMIT {
            visit(Met::Stop(&below, Oddity::TooDeep));
            continue;
        }
        on_directory(fd.as_fd(), &below);
        levels.push(read_level(fd, below, &mut buffer, visit)?);
    }
    Ok(())
}

/// Visits what is in a directory; its sub-directories are kept for later.
fn read_level(
    fd: OwnedFd,
    below: PathBuf,
    buffer: &mut Vec<u8>,
    visit: &mut dyn FnMut(Met<'_>),
) -> Result<Level, Errno> {
    let mut pending = Vec::new();
    let mut entries = RawDir::new(&fd, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let path = || below.join(OsStr::from_bytes(name.to_bytes()));
        if entry.file_type() == FileType::Directory {
            pending.push(name.to_owned());
            continue;
        }
        match stat_entry(&fd, name) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                pending.push(name.to_owned());
            }
            Ok(stat) => {
                let below = path();
                visit(Met::Entry(Seen { parent: fd.as_fd(), name, below: &below, stat: &stat }));
            }
            Err(Errno::NOENT) => {}
            Err(e) => visit(Met::Stop(&path(), Oddity::Unreadable { reason: e.to_string() })),
        }
    }
    Ok(Level { fd, below, pending })
}

/// What tells one mount from another: the device, and on kernels that say so (5.8) the mount
/// itself, which tells a bind mount of the same device.
fn mount_of(fd: &OwnedFd) -> Result<(u64, u64), Errno> {
    match rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID) {
        Ok(stat) => {
            let device = (u64::from(stat.stx_dev_major) << 32) | u64::from(stat.stx_dev_minor);
            let known = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
            Ok((device, if known { stat.stx_mnt_id } else { 0 }))
        }
        Err(Errno::NOSYS) => Ok((rustix::fs::fstat(fd)?.st_dev, 0)),
        Err(e) => Err(e),
    }
}
