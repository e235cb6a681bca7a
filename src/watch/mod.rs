// SPDX-License-Identifier: Apache-2.0
//! File events → [`Hints`]: where to look again. A hint is never evidence; whatever is lost, doubled
//! or reordered here changes how soon a pass looks, never what it finds.
//!
//! Everything is watched by inotify instances of our own (`inotify.rs`), which are read without
//! waiting and with a limit. A library that reads until nothing is left was tried for root's own
//! files (docs/decisions/0065): whoever can raise events as fast as it reads them holds it up, and any
//! user can, by the times of a link, a socket or a sticky directory of root's.

mod inotify;

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inotify::Inotify;

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
}

impl Interest {
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), content: false, bus: false }
    }

    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self { content: true, ..Self::file(path) }
    }

    pub fn bus(path: impl Into<PathBuf>) -> Self {
        Self { bus: true, ..Self::file(path) }
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

/// A source of hints.
#[derive(Debug)]
pub struct Watcher {
    own: Inotify,
}

impl Default for Watcher {
    fn default() -> Self {
        Self::new()
    }
}

impl Watcher {
    /// Needs a running tokio runtime.
    pub fn new() -> Self {
        Self { own: Inotify::new() }
    }

    /// Begins a new arming: watches that it does not renew are dropped by [`Self::finish`].
    pub fn begin(&mut self) {
        self.own.begin();
    }

    /// Watches the way to each interest as far as it exists. Once in each arming.
    pub fn watch_ways(&mut self, interests: &[Interest]) {
        self.own.watch_ways(ways(interests.iter()));
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
        self.own.blind()
    }

    /// Events wake nobody from now on, until [`Self::hints`] is asked for them.
    pub fn rest(&mut self) {
        self.own.rest();
    }

    /// Waits for events and reads what is there. Cancellation safe.
    pub async fn hints(&mut self) -> std::io::Result<Hints> {
        self.own.hints().await
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
