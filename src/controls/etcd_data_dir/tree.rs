// SPDX-License-Identifier: Apache-2.0
//! Walking and owning a tree that another user can write, so that no change ever leaves it.
//!
//! The rules (CVE-2017-18078, CVE-2018-6954 and their kin are what happens without them):
//! * Every entry is reached by one component from an open directory descriptor, never followed if
//!   it is a link. What is changed is an `O_PATH` descriptor that was looked at first.
//! * Links, special files, files with more than one link and entries of other mounts are reported
//!   and never changed.
//! * Memory grows with directories, never with files; depth has a limit.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::judge::entry::{self, Lookup, Verdict, Wanted};
use super::links::{self, Pod};
use super::mend::{self, entry_of, mend};
use super::{EntryFacts, Oddity, TreeFacts};
use crate::model::{Depth, ModeRule, Object, Obstacle, Outcome, Owner, join, shown};
use crate::system::inode::{Inode, examine, mount_at};
use crate::system::obstacle;
use crate::system::root::Root;
use crate::system::walk::{self, OnDirectory, Seen, Stop, Visited, Visitor, find_entry, last_name};

/// Entries, by their paths below the top, that a pass neither judges nor changes: they are
/// contested, and not yet to be looked at again.
pub type Suspended = BTreeSet<PathBuf>;

/// The suspended objects that are in a tree, by their paths below its top.
pub fn suspended(suspended: &BTreeSet<Object>, top: &Path) -> Suspended {
    suspended
        .iter()
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
    pub suspended: &'a Suspended,
    pub rule: ModeRule,
    /// End after so many wrong entries: where all of them will be looked at again, it is enough to
    /// know that there are some.
    pub enough: u64,
    /// End after so many entries.
    pub limit: u64,
    /// What etcd's pod has besides the tree.
    pub mounts: &'a [PathBuf],
    /// Directories that RKE2 gives to etcd with everything in them, for a look at TLS files.
    pub given: &'a [PathBuf],
}

impl Look<'_> {
    /// All of a tree, without a limit.
    pub fn full(owner: Owner) -> Look<'static> {
        static NONE: Suspended = Suspended::new();
        let (rule, enough, limit) = (ModeRule::EtcdTree, u64::MAX, u64::MAX);
        Look { owner, suspended: &NONE, rule, enough, limit, mounts: &[], given: &[] }
    }

    fn wanted(self) -> Wanted {
        Wanted { owner: self.owner, rule: self.rule }
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

/// Looks at one file directly in `dir`. `None`: there is no such file.
pub fn observe_file(
    root: &Root,
    dir: &Path,
    name: &str,
    look: Look<'_>,
) -> Result<Option<EntryFacts>, Errno> {
    let Some(found) = find_entry(root, dir, Path::new(name))? else { return Ok(None) };
    let name_c = last_name(Path::new(name))?;
    let seen = found.seen(&name_c, Path::new(name));
    let oddity = match judge(&seen, look, Place { root, dir }) {
        Verdict::Odd(oddity) => Some(oddity),
        Verdict::Correct | Verdict::Wrong(_) | Verdict::Suspended => None,
    };
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
        Depth::Subtree => walk::visit_below(root, base, below, &mut owning),
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
            Visited::Entry(seen) => {
                add(&judge(&seen, self.look, self.place), &mut self.facts, &seen);
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
    /// The last entry was wrong. The next one is likely to be as well, and correct if it was correct:
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
        let seen = match visited {
            Visited::Entry(seen) => seen,
            Visited::Stop(below, stop) => {
                let oddity = odd(stop);
                self.trees.before.add_odd(below.to_path_buf(), oddity.clone());
                return self.trees.after.add_odd(below.to_path_buf(), oddity);
            }
        };
        let verdict = judge(&seen, self.look, self.place);
        let difference = verdict.difference();
        self.last_was_wrong = difference.is_some();
        add(&verdict, &mut self.trees.before, &seen);
        let (Some((fd, _)), Some(difference)) = (seen.open, difference) else {
            return add(&verdict, &mut self.trees.after, &seen);
        };
        match mend(fd, seen.inode, difference.list, self.look.wanted()) {
            Ok(()) => {
                self.sum.changed += 1;
                // Read back: nothing is wrong with it now.
                add(&Verdict::Correct, &mut self.trees.after, &seen);
            }
            Err((reason, e)) => {
                self.sum.failed(&seen, reason, e);
                add(&verdict, &mut self.trees.after, &seen);
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
        entry::may_need_a_change(entry_of(inode), self.look.wanted())
    }
}

fn judge(seen: &Seen<'_>, look: Look<'_>, place: Place<'_>) -> Verdict {
    entry::judge(entry_of(seen.inode), look.wanted(), &OnHost { seen, look, place })
}

fn add(verdict: &Verdict, facts: &mut TreeFacts, seen: &Seen<'_>) {
    verdict.add_to(facts, entry_of(seen.inode), || seen.below());
}

/// What the judgement of an entry asks of the host.
struct OnHost<'a> {
    seen: &'a Seen<'a>,
    look: Look<'a>,
    place: Place<'a>,
}

impl Lookup for OnHost<'_> {
    fn has(&self, list: &'static str) -> bool {
        mend::has_list(self.seen, list)
    }

    fn is_mounted_over(&self) -> bool {
        let mount = match self.seen.open {
            Some((_, mount)) => Ok(mount),
            None => mount_at(self.seen.parent, self.seen.name),
        };
        match mount {
            Ok(mount) => mount != self.seen.mount,
            Err(e) => e != Errno::NOENT,
        }
    }

    fn target(&self) -> String {
        rustix::fs::readlinkat(self.seen.parent, self.seen.name, Vec::new())
            .map(|target| shown(Path::new(OsStr::from_bytes(target.to_bytes()))))
            .unwrap_or_else(|e| format!("({e})"))
    }

    fn is_dangling(&self) -> bool {
        self.place.is_dangling(self.seen)
    }

    fn leaves_the_pod(&self) -> bool {
        let Place { root, dir } = self.place;
        Pod { root, dir, mounts: self.look.mounts }.lacks_target(self.seen)
    }

    fn gives_away(&self, etcd: Owner) -> Option<Owner> {
        let Place { root, dir } = self.place;
        links::gives_away(root, dir, self.seen, self.look.given, etcd)
    }

    fn is_suspended(&self) -> bool {
        let suspended = self.look.suspended;
        !suspended.is_empty() && suspended.contains(&self.seen.below())
    }
}

fn odd(stop: Stop) -> Oddity {
    match stop {
        Stop::Mount => Oddity::Mount,
        Stop::TooDeep => Oddity::TooDeep,
        Stop::Unreadable { reason } => Oddity::Unreadable { reason },
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
    fn failed(&mut self, seen: &Seen<'_>, reason: String, e: Option<Errno>) {
        self.failed += 1;
        if self.first_failure.is_some() {
            return;
        }
        let below = seen.below();
        let obstacle = match (e, seen.open) {
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
