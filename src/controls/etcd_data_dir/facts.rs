// SPDX-License-Identifier: Apache-2.0
//! What is known of etcd's data directory.

use std::path::PathBuf;

use crate::model::{ModeRule, Owner, Severity};

/// What was observed. `None` for a part: it does not exist.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The account etcd.
    pub account: Owner,
    /// What etcd's files should belong to: the account, but see [`running::owner`].
    pub owner: Owner,
    /// `None`: nothing runs here, as in an image.
    pub running: Option<RunningEtcd>,
    /// The manifest of the static pod etcd.
    pub manifest: PathBuf,
    pub dir: PathBuf,
    pub tree: Option<TreeFacts>,
    pub tls_dir: PathBuf,
    pub tls: Vec<(TlsFile, EntryFacts)>,
    /// What is fatal among the rest of `tls_dir`, where RKE2 gives away all of it; only `odd` of it
    /// is filled.
    pub tls_rest: TreeFacts,
    /// A component of the path to `dir` that somebody besides root can change, and why.
    pub unsafe_path: Option<(PathBuf, String)>,
    /// `dir` itself is a link: what it says, and whether there is a directory behind it.
    pub link: Option<(PathBuf, bool)>,
    /// What kept us from looking.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// One entry that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryFacts {
    pub owner: Owner,
    /// Permission bits.
    pub mode: u32,
    pub oddity: Option<Oddity>,
}

/// The sum of a walk: counts and samples, never a list of files, so that memory does not grow
/// with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeFacts {
    pub entries: u64,
    pub directories: u64,
    pub wrong_owner: Tally,
    pub wrong_mode: Tally,
    /// Access control lists that give somebody else more than the mode says.
    pub acls: Tally,
    pub odd: Vec<(PathBuf, Oddity)>,
    /// How many oddities there are beyond those in `odd`.
    pub odd_more: u64,
    /// The severest of those.
    pub odd_worst: Option<Severity>,
}

impl TreeFacts {
    /// Oddities listed one by one; more are counted.
    pub const ODD_LIMIT: usize = 16;

    /// Keeps the worst: whoever can make a thousand harmless oddities must not hide one that is
    /// not.
    pub fn add_odd(&mut self, path: PathBuf, oddity: Oddity) {
        self.odd.push((path, oddity));
        if self.odd.len() > Self::ODD_LIMIT {
            let mildest = (0..self.odd.len()).min_by_key(|i| self.odd[*i].1.severity());
            let dropped = self.odd.swap_remove(mildest.unwrap_or_default()).1.severity();
            self.odd_more += 1;
            self.odd_worst = self.odd_worst.max(Some(dropped));
        }
    }
}

/// How many entries are wrong in one way, and the one that is told: the first of those that lock
/// etcd out, else the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub count: u64,
    pub told: Option<Wrong>,
}

/// An entry that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Its path below the tree.
    pub below: PathBuf,
    pub actual: String,
    pub expected: String,
    /// Whether etcd cannot do its work because of it.
    pub locks_out: bool,
    /// What it means.
    pub why: &'static str,
}

impl Tally {
    /// `describe` is asked for the one that is told only.
    pub fn add(&mut self, locks_out: bool, describe: impl FnOnce() -> Wrong) {
        self.count += 1;
        match &self.told {
            Some(told) if told.locks_out || !locks_out => {}
            _ => self.told = Some(describe()),
        }
    }
}

/// An entry whose ownership is never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// A link of root's, so the operator's, to something in the tree; not followed.
    RootLink {
        target: String,
        dangling: bool,
    },
    /// A link of root's to something that etcd's pod does not have.
    RootLinkOut {
        target: String,
        dangling: bool,
    },
    /// A link of root's in the place of a TLS file that RKE2 gives to etcd, to something that it does
    /// not give to etcd otherwise.
    TlsLink {
        target: String,
        /// Who that belongs to.
        owner: Owner,
    },
    /// A link that somebody else planted.
    ForeignLink {
        uid: u32,
        target: String,
    },
    /// A regular file with more than one link, already correct.
    Hardlinked {
        links: u64,
    },
    /// The same, with a wrong owner: its other name may be anywhere.
    HardlinkedWrong {
        links: u64,
        owner: Owner,
    },
    /// A fifo or a socket.
    Special {
        kind: &'static str,
    },
    Device,
    /// A directory or a regular file that nobody can change, whatever is right or wrong with it.
    Fixed {
        /// `chattr +i`
        immutable: bool,
        /// `chattr +a`
        append_only: bool,
    },
    /// A bind mount, of a directory or of a file.
    Mount,
    /// Deeper than the walk goes, or wider.
    TooDeep,
    /// Could not be looked at.
    Unreadable {
        reason: String,
    },
}

/// A TLS file directly in [`tls_dir`], and how it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsFile {
    pub name: &'static str,
    pub rule: ModeRule,
    pub owner: Owner,
}

/// What was observed of a running etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningEtcd {
    /// Who the data directory itself belongs to.
    pub top: Owner,
    /// Who `member`, `member/snap`, `member/wal` and `member/snap/db` belong to, those that are there.
    pub below: Vec<Owner>,
    pub lock: Lock,
    /// What the static pod's manifest says; `None` where there is none that can be read.
    pub manifest: Option<Owner>,
    /// RKE2 runs, whose kubelet starts an etcd that ended once more, by its manifest.
    pub restarts: bool,
}

/// The lock that etcd holds on its database as long as it runs. Only root and who owns the database
/// can take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    Free,
    Held {
        pid: u32,
        /// `None`: it cannot be seen, as where /proc is mounted with `hidepid`.
        by: Option<Owner>,
    },
    /// Why nothing is known about it.
    Unknown(String),
}
