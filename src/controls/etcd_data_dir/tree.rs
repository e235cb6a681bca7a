// SPDX-License-Identifier: Apache-2.0
//! Walking and owning a tree that another user can write, so that no change ever leaves it.
//!
//! The rules (CVE-2017-18078, CVE-2018-6954 and their kin are what happens without them):
//! * Every entry is reached by one component from a held directory descriptor, never followed if
//!   it is a link. What is changed is an `O_PATH` descriptor that was looked at first.
//! * Links, special files, files with more than one link and entries of other mounts are reported
//!   and never changed.
//! * Memory grows with directories, never with files; depth has a limit.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::judge::access;
use super::links::Pod;
use super::mend::{self, mend};
use super::{EntryFacts, Oddity, TreeFacts, Wrong, octal};
use crate::model::{Depth, ModeRule, Object, Obstacle, Outcome, Owner, join, shown};
use crate::system::inode::{Inode, examine, mount_at};
use crate::system::obstacle;
use crate::system::root::Root;
use crate::system::walk::{self, OnDirectory, Seen, Stop, Visited, Visitor, find_entry, last_name};

/// Entries, by their paths below the top, that a pass neither judges nor changes: they are
/// contested, and not yet to be looked at again.
pub type Skipped = BTreeSet<PathBuf>;

/// The held objects that are in a tree, by their paths below its top.
pub fn skipped(held: &BTreeSet<Object>, top: &Path) -> Skipped {
    held.iter()
        .filter_map(|object| match object {
            Object::File(path) => path.strip_prefix(top).ok().map(Path::to_path_buf),
            Object::Parameter(_) | Object::Tree(_) => None,
        })
        .collect()
}

/// What a look at a tree is about.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    pub owner: Owner,
    pub skipped: &'a Skipped,
    pub rule: ModeRule,
    /// End after so many wrong entries: where all of them will be looked at again, it is enough to
    /// know that there are some.
    pub enough: u64,
    /// End after so many entries.
    pub limit: u64,
    /// What etcd's pod has besides the tree.
    pub mounts: &'a [PathBuf],
}

impl Look<'_> {
    /// At everything.
    pub fn whole(owner: Owner) -> Look<'static> {
        static NONE: Skipped = Skipped::new();
        let (rule, enough, limit) = (ModeRule::EtcdTree, u64::MAX, u64::MAX);
        Look { owner, skipped: &NONE, rule, enough, limit, mounts: &[] }
    }
}

/// Where the entries of a look are: what a link among them leads to is looked for from there.
#[derive(Clone, Copy)]
struct Place<'a> {
    root: &'a Root,
    /// What the paths of the entries are below of.
    dir: &'a Path,
}

impl Place<'_> {
    /// Whether a link leads to nothing. In an image it is followed as it will be on the node: from
    /// the image's own root, whatever this machine has in that place.
    fn is_dangling(self, link: &Seen<'_>) -> bool {
        if self.root.is_live() {
            // Nothing is mounted for the answer.
            let flags = AtFlags::NO_AUTOMOUNT;
            return rustix::fs::statat(link.parent, link.name, flags).is_err();
        }
        self.root.open(&self.dir.join(link.below()), OFlags::PATH, Mode::empty()).is_err()
    }
}

/// Looks at every entry below `dir`. `None`: there is no such directory.
pub fn observe(
    root: &Root,
    dir: &Path,
    look: Look<'_>,
    on_directory: OnDirectory<'_>,
) -> Result<Option<TreeFacts>, Errno> {
    let top = match walk::open_top(root, dir) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e),
    };
    let place = Place { root, dir };
    let mut looking = Looking { place, look, on_directory, facts: TreeFacts::default() };
    let (mount, _) = examine(&top)?;
    walk::walk(top, mount, Path::new(""), &mut looking)?;
    Ok(Some(looking.facts))
}

/// Looks at one entry below `dir`, and, if it is a directory, at everything below it.
pub fn observe_below(
    root: &Root,
    dir: &Path,
    below: &Path,
    look: Look<'_>,
    on_directory: OnDirectory<'_>,
) -> Result<TreeFacts, Errno> {
    let place = Place { root, dir };
    let mut looking = Looking { place, look, on_directory, facts: TreeFacts::default() };
    walk::visit_below(root, dir, below, &mut looking)?;
    Ok(looking.facts)
}

/// Looks at one file directly in `dir` that should be `owner`'s, with a mode by `rule`. `None`: there
/// is no such file.
pub fn observe_file(
    root: &Root,
    dir: &Path,
    name: &str,
    owner: Owner,
    rule: ModeRule,
) -> Result<Option<EntryFacts>, Errno> {
    let Some(found) = find_entry(root, dir, Path::new(name))? else { return Ok(None) };
    let name_c = last_name(Path::new(name))?;
    let seen = found.seen(&name_c, Path::new(name));
    let look = Look { rule, ..Look::whole(owner) };
    let oddity = judge(&seen, look, Place { root, dir }).oddity;
    Ok(Some(EntryFacts { owner: seen.inode.owner, mode: seen.inode.mode, oddity }))
}

/// What owning a tree did.
#[derive(Debug)]
pub struct Owned {
    pub outcome: Outcome,
    /// `None`: the tree could not be walked.
    pub trees: Option<Trees>,
}

/// How a tree was before and after it was owned, entry by entry as it went. What it is after was
/// read back from each changed descriptor.
#[derive(Debug, Default)]
pub struct Trees {
    pub before: TreeFacts,
    pub after: TreeFacts,
}

/// Gives `base/below` to `look.owner`, with everything below it or without.
pub fn own(
    root: &Root,
    base: &Path,
    below: &Path,
    depth: Depth,
    look: Look<'_>,
    on_directory: OnDirectory<'_>,
) -> Owned {
    let mut owning = Owning::new(Place { root, dir: base }, look, on_directory);
    let visited = match depth {
        Depth::Whole => walk::visit_below(root, base, below, &mut owning),
        Depth::Entry => walk::visit_entry(root, base, below, &mut owning),
    };
    match visited {
        Ok(()) => Owned { outcome: owning.sum.outcome(base), trees: Some(owning.trees) },
        // What is below the top is another user's: nothing is looked up there by its path.
        Err(e) if depth == Depth::Entry && look.rule == ModeRule::EtcdTree => {
            let reason = format!("{}: {e}", shown(&join(base, below)));
            Owned { outcome: Outcome::Failed { reason, obstacle: Obstacle::Unclear }, trees: None }
        }
        Err(e) => Owned { outcome: failed(root, base, below, e), trees: None },
    }
}

fn failed(root: &Root, base: &Path, below: &Path, e: Errno) -> Outcome {
    let path = join(base, below);
    let obstacle = obstacle::of_path(root, &path, e);
    Outcome::Failed { reason: format!("{}: {e}", shown(&path)), obstacle }
}

/// Looks, and changes nothing.
struct Looking<'a> {
    place: Place<'a>,
    look: Look<'a>,
    on_directory: OnDirectory<'a>,
    facts: TreeFacts,
}

impl Visitor for Looking<'_> {
    fn directory(&mut self, dir: BorrowedFd<'_>, below: &Path) {
        (self.on_directory)(dir, below);
    }

    fn visited(&mut self, visited: Visited<'_>) {
        match visited {
            Visited::Entry(entry) => {
                judge(&entry, self.look, self.place).add_to(&mut self.facts, &entry)
            }
            Visited::Stop(below, stop) => self.facts.add_odd(below.to_path_buf(), odd(stop)),
        }
    }

    fn enough(&self) -> bool {
        self.facts.wrong_owner.count >= self.look.enough || self.facts.entries >= self.look.limit
    }
}

/// Looks, and mends what is wrong.
struct Owning<'a> {
    place: Place<'a>,
    look: Look<'a>,
    on_directory: OnDirectory<'a>,
    sum: Sum,
    trees: Trees,
    /// The last entry was wrong. The next one is likely to be as well, and right if it was right:
    /// to open one takes three system calls, to look at it by its name one.
    last_was_wrong: bool,
}

impl<'a> Owning<'a> {
    fn new(place: Place<'a>, look: Look<'a>, on_directory: OnDirectory<'a>) -> Self {
        let (sum, trees) = (Sum::default(), Trees::default());
        Self { place, look, on_directory, sum, trees, last_was_wrong: false }
    }
}

impl Visitor for Owning<'_> {
    fn directory(&mut self, dir: BorrowedFd<'_>, below: &Path) {
        (self.on_directory)(dir, below);
    }

    fn visited(&mut self, visited: Visited<'_>) {
        let entry = match visited {
            Visited::Entry(entry) => entry,
            Visited::Stop(below, stop) => {
                let oddity = odd(stop);
                self.trees.before.add_odd(below.to_path_buf(), oddity.clone());
                return self.trees.after.add_odd(below.to_path_buf(), oddity);
            }
        };
        let found = judge(&entry, self.look, self.place);
        self.last_was_wrong = found.is_wrong();
        found.add_to(&mut self.trees.before, &entry);
        let (owner, rule) = (self.look.owner, self.look.rule);
        let mended = match entry.open {
            Some((fd, _)) if found.is_wrong() => mend(fd, entry.inode, found.acl, owner, rule),
            _ => return found.add_to(&mut self.trees.after, &entry),
        };
        match mended {
            Ok(()) => {
                self.sum.changed += 1;
                // Read back: nothing is wrong with it now.
                Judged::default().add_to(&mut self.trees.after, &entry);
            }
            Err((reason, e)) => {
                self.sum.failed(&entry, reason, e);
                found.add_to(&mut self.trees.after, &entry);
            }
        }
    }

    fn opens(&self) -> bool {
        self.last_was_wrong
    }

    fn enough(&self) -> bool {
        self.trees.before.entries >= self.look.limit
    }

    /// What is changed is what was looked at, and not what has its name by then.
    fn changes(&self, inode: Inode) -> bool {
        let wanted = self.look.rule.wanted(inode.is_directory(), inode.mode);
        inode.owner != self.look.owner
            || inode.mode != wanted
            || mend::may_have_acl(inode, self.look.rule)
    }
}

/// What a look at one entry found.
#[derive(Default)]
struct Judged {
    skipped: bool,
    oddity: Option<Oddity>,
    /// What it should be.
    wrong_owner: Option<Owner>,
    wrong_mode: Option<u32>,
    acl: bool,
}

fn judge(entry: &Seen<'_>, look: Look<'_>, place: Place<'_>) -> Judged {
    let inode = entry.inode;
    let mode = look.rule.wanted(inode.is_directory(), inode.mode);
    let judged = Judged {
        wrong_owner: (inode.owner != look.owner).then_some(look.owner),
        wrong_mode: (inode.mode != mode).then_some(mode),
        acl: mend::gives_access(entry, look.rule),
        ..Judged::default()
    };
    // Odd entries are never changed, so nobody fights over them: they are told, skipped or not.
    let oddity = oddity(entry, judged.is_wrong(), place)
        .or_else(|| (judged.is_wrong() && is_elsewhere(entry)).then_some(Oddity::Mount))
        .map(|oddity| as_in_the_pod(oddity, entry, look, place));
    if oddity.is_some() {
        return Judged { oddity, ..Judged::default() };
    }
    if !look.skipped.is_empty() && look.skipped.contains(&entry.below()) {
        return Judged { skipped: true, ..Judged::default() };
    }
    judged
}

impl Judged {
    fn is_wrong(&self) -> bool {
        self.wrong_owner.is_some() || self.wrong_mode.is_some() || self.acl
    }

    fn add_to(&self, facts: &mut TreeFacts, entry: &Seen<'_>) {
        if self.skipped {
            return;
        }
        facts.entries += 1;
        facts.directories += u64::from(entry.inode.is_directory());
        if let Some(oddity) = &self.oddity {
            return facts.add_odd(entry.below(), oddity.clone());
        }
        if !self.is_wrong() {
            return;
        }
        let below = entry.below();
        let Inode { owner, mode, .. } = entry.inode;
        let etcd = self.wrong_owner.unwrap_or(owner);
        let directory = entry.inode.is_directory();
        let seen = access::Entry { below: &below, directory, owner, mode };
        let without = access::locked_out(seen, etcd);
        let wrong = |actual, expected, why| Wrong {
            below: below.clone(),
            actual,
            expected,
            locks_out: without.is_some(),
            why,
        };
        if let Some(wanted) = self.wrong_owner {
            let why = without.unwrap_or_else(|| access::of_owner(seen, wanted));
            let described = || wrong(owner.to_string(), wanted.to_string(), why);
            facts.wrong_owner.add(without.is_some(), described);
        }
        if self.acl {
            // A list gives, and takes nothing from the owner.
            let why = "others than etcd could use it";
            facts.acls.add(false, || wrong("a list".into(), "none".into(), why));
        }
        if let Some(wanted) = self.wrong_mode {
            // Where the owner is wrong as well, the mode is not what locks etcd out.
            let out = without.filter(|_| self.wrong_owner.is_none());
            let why = out.unwrap_or_else(|| access::of_mode(seen, wanted));
            let described = || wrong(octal(mode), octal(wanted), why);
            facts.wrong_mode.add(out.is_some(), described);
        }
    }
}

fn odd(stop: Stop) -> Oddity {
    match stop {
        Stop::Mount => Oddity::Mount,
        Stop::TooDeep => Oddity::TooDeep,
        Stop::Unreadable { reason } => Oddity::Unreadable { reason },
    }
}

/// Whether an entry is a mount where none is expected: a file, too, can be one.
fn is_elsewhere(entry: &Seen<'_>) -> bool {
    let mount = match entry.open {
        Some((_, mount)) => Ok(mount),
        None => mount_at(entry.parent, entry.name),
    };
    match mount {
        Ok(mount) => mount != entry.mount,
        Err(e) => e != Errno::NOENT,
    }
}

/// Why an entry's ownership is never changed, if so. `wrong`: it would need a change.
fn oddity(entry: &Seen<'_>, wrong: bool, place: Place<'_>) -> Option<Oddity> {
    let Inode { owner, kind, links, flags, .. } = entry.inode;
    // Of a link what is behind it counts.
    if matches!(kind, FileType::Directory | FileType::RegularFile)
        && let Some(fixed) = Oddity::fixed(flags.immutable, flags.append_only)
    {
        return Some(fixed);
    }
    match kind {
        FileType::Directory => None,
        FileType::RegularFile if links <= 1 => None,
        FileType::RegularFile if wrong => Some(Oddity::HardlinkedWrong { links, owner }),
        FileType::RegularFile => Some(Oddity::Hardlinked { links }),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(entry.parent, entry.name, Vec::new())
                .map(|target| shown(Path::new(OsStr::from_bytes(target.to_bytes()))))
                .unwrap_or_else(|e| format!("({e})"));
            if owner.uid == 0 {
                Some(Oddity::RootLink { target, dangling: place.is_dangling(entry) })
            } else {
                Some(Oddity::ForeignLink { uid: owner.uid, target })
            }
        }
        FileType::Fifo => Some(Oddity::Special { kind: "fifo" }),
        FileType::Socket => Some(Oddity::Special { kind: "socket" }),
        _ => Some(Oddity::Device),
    }
}

/// Whether a link of root's leads to something that etcd's pod does not have. A TLS file is no part of
/// the tree: it is mounted into the pod by itself.
fn as_in_the_pod(oddity: Oddity, entry: &Seen<'_>, look: Look<'_>, place: Place<'_>) -> Oddity {
    let pod = Pod { root: place.root, dir: place.dir, mounts: look.mounts };
    match oddity {
        Oddity::RootLink { target, dangling }
            if look.rule == ModeRule::EtcdTree && pod.lacks_target(entry) =>
        {
            Oddity::RootLinkOut { target, dangling }
        }
        other => other,
    }
}

#[derive(Default)]
struct Sum {
    changed: u64,
    failed: u64,
    /// Its path below the top, what is said of it, and why.
    first_failure: Option<(PathBuf, String, Obstacle)>,
}

impl Sum {
    fn failed(&mut self, entry: &Seen<'_>, reason: String, e: Option<Errno>) {
        self.failed += 1;
        if self.first_failure.is_some() {
            return;
        }
        let below = entry.below();
        let obstacle = match (e, entry.open) {
            (Some(e), Some((fd, _))) => obstacle::of_entry(fd, &below, e),
            // The change was made, and was undone at once.
            _ => Obstacle::Changing,
        };
        self.first_failure = Some((below, reason, obstacle));
    }

    fn outcome(self, base: &Path) -> Outcome {
        match (self.first_failure, self.changed) {
            (Some((below, first, obstacle)), changed) => Outcome::Failed {
                reason: format!(
                    "{} failed and {changed} changed, first {}: {first}",
                    self.failed,
                    shown(&below)
                ),
                obstacle: obstacle.below(base),
            },
            (None, 0) => Outcome::AlreadyDone,
            (None, changes) => Outcome::Applied { changes },
        }
    }
}
