// SPDX-License-Identifier: Apache-2.0
//! Walking and owning a tree that another user can write, so that no change ever leaves it.
//!
//! The rules (CVE-2017-18078, CVE-2018-6954 and their kin are what happens without them):
//! * Every entry is reached by one component from a held directory descriptor, never followed if
//!   it is a link. What is changed is an `O_PATH` descriptor that was looked at first.
//! * Links, special files, files with more than one link and entries of other mounts are reported
//!   and never changed.
//! * Memory grows with directories, never with files; depth has a limit.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::root::Root;
use super::walk::{self, Met, OnDirectory, Seen, find_entry, last_name, mount_at, mount_of};
use crate::controls::etcd_data_dir::{EntryFacts, Oddity, TreeFacts, octal};
use crate::model::{ModeRule, Outcome, Owner, shown};

/// Looks at every entry below `dir`. `None`: there is no such directory.
pub fn observe(
    root: &Root,
    dir: &Path,
    owner: Owner,
    on_directory: OnDirectory<'_>,
) -> Result<Option<TreeFacts>, Errno> {
    let top = match walk::open_top(root, dir) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut facts = TreeFacts::default();
    let mount = mount_of(&top)?;
    walk::walk(top, mount, Path::new(""), on_directory, &mut |met| look(&mut facts, owner, met))?;
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
    walk::visit_below(root, dir, below, on_directory, &mut |met| look(&mut facts, owner, met))?;
    Ok(facts)
}

/// Looks at one entry below `dir` and not at what is in it.
pub fn observe_entry(
    root: &Root,
    dir: &Path,
    below: &Path,
    owner: Owner,
) -> Result<TreeFacts, Errno> {
    let mut facts = TreeFacts::default();
    walk::visit_entry(root, dir, below, &mut |met| look(&mut facts, owner, met))?;
    Ok(facts)
}

/// Looks at one file directly in `dir` that should be `owner`'s. `None`: there is no such file.
pub fn observe_file(
    root: &Root,
    dir: &Path,
    name: &str,
    owner: Owner,
) -> Result<Option<EntryFacts>, Errno> {
    let Some(found) = find_entry(root, dir, Path::new(name))? else { return Ok(None) };
    let stat = rustix::fs::fstat(&found.entry)?;
    let name_c = last_name(Path::new(name))?;
    let seen = found.seen(&name_c, Path::new(name), &stat);
    let oddity = oddity(&seen, owner_of(&stat) != owner);
    let (owner, mode) = (owner_of(&stat), stat.st_mode & 0o7777);
    Ok(Some(EntryFacts { owner, mode, oddity }))
}

/// Gives everything below `base/below`, itself included, to `owner`.
pub fn own(root: &Root, base: &Path, below: &Path, owner: Owner) -> Outcome {
    let mut sum = Sum::default();
    let result = walk::visit_below(root, base, below, &mut |_, _| {}, &mut |met| {
        if let Met::Entry(entry) = met {
            sum.add(&entry, mend(&entry, owner, ModeRule::EtcdTree));
        }
    });
    match result {
        Ok(()) => sum.outcome(),
        Err(e) => Outcome::Failed { reason: format!("{}: {e}", shown(&base.join(below))) },
    }
}

/// The same for one entry alone.
pub fn own_entry(root: &Root, base: &Path, below: &Path, owner: Owner, rule: ModeRule) -> Outcome {
    let mut sum = Sum::default();
    let result = walk::visit_entry(root, base, below, &mut |met| {
        if let Met::Entry(entry) = met {
            sum.add(&entry, mend(&entry, owner, rule));
        }
    });
    match result {
        Ok(()) => sum.outcome(),
        Err(e) => Outcome::Failed { reason: format!("{}: {e}", shown(&base.join(below))) },
    }
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
    // Where thousands are wrong the first look does not ask each for its mount: `mend` does before
    // it changes anything, and the look after it meets the few that are left.
    let ask_mount = actual != owner && facts.wrong_owner.count < 64;
    if ask_mount && is_elsewhere(&entry) {
        facts.add_odd(entry.below(), Oddity::Mount);
        return;
    }
    if let Some(oddity) = oddity(&entry, actual != owner) {
        facts.add_odd(entry.below(), oddity);
        return;
    }
    if actual != owner {
        facts.wrong_owner.add(|| (entry.below(), actual.to_string(), owner.to_string()));
    }
    let acl = may_have_acl(entry.stat)
        && open_path(&entry).is_ok_and(|fd| has_foreign_acl(&fd, entry.stat));
    if acl {
        facts.acls.add(|| (entry.below(), "a list".into(), "none".into()));
    }
    if mode != wanted {
        facts.wrong_mode.add(|| (entry.below(), octal(mode), octal(wanted)));
    }
}

/// What Linux keeps POSIX access control lists in.
const ACLS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];

/// Whether an access control list could give somebody else access. The group's bits of the mode
/// are the mask of such a list: where they are empty it gives nothing, and no system call is spent
/// on it. A directory's default list counts whatever its mode, since its new entries get it.
fn may_have_acl(stat: &Stat) -> bool {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => true,
        FileType::RegularFile => stat.st_mode & 0o070 != 0,
        _ => false,
    }
}

fn has_foreign_acl(fd: &OwnedFd, stat: &Stat) -> bool {
    let link = link_of(fd);
    // A file system without such lists says so with an error: a no, too.
    let has = |name| rustix::fs::getxattr_query(link.as_str(), name).is_ok();
    may_have_acl(stat) && ACLS.into_iter().any(has)
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

/// The entry itself, whatever it is.
fn open_path(entry: &Seen<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(entry.parent, entry.name, flags, Mode::empty())
}

/// The magic link of a descriptor: what takes a path and no `O_PATH` descriptor gets the very same
/// inode by it.
fn link_of(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Whether an entry is a mount where none is expected: a file, too, can be one.
fn is_elsewhere(entry: &Seen<'_>) -> bool {
    mount_at(entry.parent, entry.name).is_ok_and(|mount| mount != entry.mount)
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
                .map(|target| shown(Path::new(OsStr::from_bytes(target.to_bytes()))))
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
    let acls = rule == ModeRule::EtcdTree;
    if is_right(seen.stat, owner, rule) && !(acls && may_have_acl(seen.stat)) {
        return Mended::Right;
    }
    let fd = match open_path(seen) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Mended::Right,
        Err(e) => return Mended::Failed(e.to_string()),
    };
    // What is behind this descriptor cannot be swapped any more, so it is judged once more.
    let (mount, stat) = match mount_of(&fd).and_then(|m| Ok((m, rustix::fs::fstat(&fd)?))) {
        Ok(found) => found,
        Err(e) => return Mended::Failed(e.to_string()),
    };
    let acl = acls && has_foreign_acl(&fd, &stat);
    if is_right(&stat, owner, rule) && !acl {
        return Mended::Right;
    }
    let file_type = FileType::from_raw_mode(stat.st_mode);
    let single = file_type == FileType::RegularFile && stat.st_nlink == 1;
    if mount != seen.mount || !(single || file_type == FileType::Directory) {
        // Reported as an oddity by the look that follows.
        return Mended::Right;
    }
    let stripped = if acl { strip_acls(&fd) } else { Ok(()) };
    match stripped.and_then(|()| set(&fd, &stat, owner, rule)) {
        Ok(stat) if is_right(&stat, owner, rule) && !(acl && has_foreign_acl(&fd, &stat)) => {
            Mended::Changed
        }
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
    // Read after the chown, which may take set-id bits away.
    let stat = rustix::fs::fstat(fd)?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let mode = stat.st_mode & 0o7777;
    let wanted = rule.wanted(directory, mode);
    if mode == wanted {
        return Ok(stat);
    }
    rustix::fs::chmod(link_of(fd).as_str(), Mode::from_raw_mode(wanted))?;
    rustix::fs::fstat(fd)
}

#[derive(Default)]
struct Sum {
    changed: u64,
    failed: u64,
    first_failure: Option<String>,
}

impl Sum {
    fn add(&mut self, entry: &Seen<'_>, mended: Mended) {
        match mended {
            Mended::Right => {}
            Mended::Changed => self.changed += 1,
            Mended::Failed(reason) => {
                self.failed += 1;
                self.first_failure
                    .get_or_insert_with(|| format!("{}: {reason}", shown(&entry.below())));
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
