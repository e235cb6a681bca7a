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
use std::path::PathBuf;
use std::time::Duration;

pub use inotify::Watcher;

/// An entry of the guarded tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its path below the top.
    pub below: PathBuf,
    /// It is a directory that came: what is in it has raised no event.
    pub subtree: bool,
    /// It was not there before.
    pub came: bool,
}

/// Where to look again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// A full pass.
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
    /// Whether they ask for a full pass and for nothing besides.
    pub fn is_only_for_a_pass(&self) -> bool {
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

/// What matters in a directory on the path to an interest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    /// The names in it that matter, and whether the name is the bus's.
    names: BTreeMap<OsString, bool>,
    /// Every name does, with its owner and mode as well.
    any: bool,
}

impl Names {
    /// Two paths may lead over the same directory (a link): the names of both count.
    fn merge(&mut self, more: Self) {
        for (name, bus) in more.names {
            *self.names.entry(name).or_default() |= bus;
        }
        self.any |= more.any;
    }
}

/// The directories on the path to each interest, parents first.
fn directories_above(interests: &[Interest]) -> BTreeMap<PathBuf, Names> {
    let mut directories: BTreeMap<PathBuf, Names> = BTreeMap::new();
    for interest in interests {
        let mut path = interest.path.as_path();
        if interest.content {
            directories.entry(path.to_path_buf()).or_default().any = true;
        }
        while let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            let above = directories.entry(parent.to_path_buf()).or_default();
            *above.names.entry(name.to_owned()).or_default() |= interest.bus;
            path = parent;
        }
    }
    directories
}
