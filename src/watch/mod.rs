// SPDX-License-Identifier: Apache-2.0
//! File events → [`Hints`]: where to look again. A hint is never evidence; whatever is lost, doubled
//! or reordered here changes how soon a pass looks, never what it finds.
//!
//! Directories in which nobody but root can raise an event are watched by the library notify
//! (`ways.rs`). A call of that library waits for its thread, and the thread reads until nothing is
//! left, so whoever can raise events as fast as they are read holds up the caller for as long as he
//! likes. What anybody else can write, the guarded tree first of all, and the kernel parameters have
//! an inotify instance of our own (`inotify.rs`). Which directory is which is found out by
//! `rights.rs` at each arming.

mod inotify;
mod rights;
mod thread;
mod ways;

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inotify::Inotify;
use ways::Ways;

/// An entry of the guarded tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its path below the top.
    pub below: PathBuf,
    /// It is a directory that came: what is in it has raised no event.
    pub whole: bool,
    /// It was not there before.
    pub came: bool,
}

/// Where to look again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// A whole pass.
    pub pass: bool,
    /// The bus's socket came or went.
    pub bus: bool,
    /// These kernel parameters.
    pub sysctls: Vec<String>,
    pub entries: HashSet<Entry>,
    /// What reading them took.
    pub took: Duration,
}

impl Hints {
    /// Whether they ask for a whole pass and for nothing besides.
    pub fn is_only_for_a_look(&self) -> bool {
        self.pass && !self.bus && self.sysctls.is_empty() && self.entries.is_empty()
    }
}

/// Something whose appearance, change or disappearance matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interest {
    pub path: PathBuf,
    /// Everything directly in the directory `path` matters, not only `path` itself.
    pub content: bool,
    /// It is the bus's socket.
    pub bus: bool,
    /// It is another user's, or is about to be given to one: the library never watches the way to it.
    pub given: bool,
}

impl Interest {
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), content: false, bus: false, given: false }
    }

    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self { content: true, ..Self::file(path) }
    }

    pub fn bus(path: impl Into<PathBuf>) -> Self {
        Self { bus: true, ..Self::file(path) }
    }

    /// A directory that we give to another user.
    pub fn given(path: impl Into<PathBuf>) -> Self {
        Self { given: true, ..Self::file(path) }
    }
}

/// What matters in a directory on the way to an interest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    /// The names in it that matter, and whether the name is the bus's.
    names: BTreeMap<OsString, bool>,
    /// Every name does, with its owner and mode as well.
    any: bool,
}

impl Names {
    /// Two ways may lead over the same directory (a link): the names of both count.
    fn merge(&mut self, more: Self) {
        for (name, bus) in more.names {
            *self.names.entry(name).or_default() |= bus;
        }
        self.any |= more.any;
    }
}

/// The directories on the way to each interest, parents first.
fn ways<'a>(interests: impl Iterator<Item = &'a Interest>) -> BTreeMap<PathBuf, Names> {
    let mut ways: BTreeMap<PathBuf, Names> = BTreeMap::new();
    for interest in interests {
        let mut path = interest.path.as_path();
        if interest.content {
            ways.entry(path.to_path_buf()).or_default().any = true;
        }
        while let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            let way = ways.entry(parent.to_path_buf()).or_default();
            *way.names.entry(name.to_owned()).or_default() |= interest.bus;
            path = parent;
        }
    }
    ways
}

/// A source of hints: an inotify instance of our own, and for what is root's the library besides.
#[derive(Debug)]
pub struct Watcher {
    own: Inotify,
    /// `None`: everything is watched by the instance of our own.
    library: Option<Ways>,
}

impl Watcher {
    /// For the host's files. Needs a running tokio runtime.
    pub fn of_the_host() -> Self {
        Self { own: Inotify::new(), library: Some(Ways::below(Path::new("/"))) }
    }

    /// For what another user writes. Needs a running tokio runtime.
    pub fn of_others() -> Self {
        Self { own: Inotify::new(), library: None }
    }

    /// Begins a new arming: watches that it does not renew are dropped by [`Self::finish`].
    pub fn begin(&mut self) {
        self.own.begin();
    }

    /// Watches the way to each interest as far as it exists. Once in each arming.
    pub fn watch_ways(&mut self, interests: &[Interest]) {
        let Some(library) = &mut self.library else {
            return self.own.watch_ways(ways(interests.iter()));
        };
        let (given, roots): (Vec<_>, Vec<_>) = interests.iter().partition(|i| i.given);
        let mut own = ways(given.into_iter());
        for (dir, names) in library.arm(ways(roots.into_iter())) {
            own.entry(dir).or_default().merge(names);
        }
        self.own.watch_ways(own);
    }

    /// Watches a directory of the guarded tree through the walk's own descriptor.
    pub fn watch_tree(&mut self, dir: BorrowedFd<'_>, below: &Path) {
        self.own.watch_tree(dir, below);
    }

    /// Watches a kernel parameter, whose file must be held open as long as the watch shall live.
    pub fn watch_sysctl(&mut self, key: &str, path: &Path) {
        self.own.watch_sysctl(key, path);
    }

    /// Ends an arming.
    pub fn finish(&mut self) {
        self.own.finish();
    }

    /// Why events may be missed since the last arming began, if they may.
    pub fn blind(&self) -> Option<&str> {
        // What the library cannot watch, the instance of our own has to.
        self.own.blind()
    }

    /// Events wake nobody from now on, until [`Self::hints`] is asked for them.
    pub fn rest(&mut self) {
        self.own.rest();
    }

    /// Waits for events and reads what is there. Cancellation safe.
    pub async fn hints(&mut self) -> std::io::Result<Hints> {
        let Some(library) = &self.library else { return self.own.hints().await };
        tokio::select! {
            biased;
            hints = library.hints() => Ok(hints),
            hints = self.own.hints() => hints,
        }
    }
}

/// Why there is no inotify instance.
fn no_instance(why: &impl std::fmt::Display) -> String {
    format!("no inotify: {why}; raise fs.inotify.max_user_instances if it is the limit")
}

/// Why a directory or file is not watched.
fn not_watched(what: &str, why: &impl std::fmt::Display, at_the_limit: bool) -> String {
    let hint = if at_the_limit { "; raise fs.inotify.max_user_watches" } else { "" };
    format!("cannot watch {what}: {why}{hint}")
}
