// SPDX-License-Identifier: Apache-2.0
//! What kept an action from doing its work, as far as it tells what helps. What is said about each
//! is in `controls::obstacle`.

use std::path::{Path, PathBuf};

use super::{Origin, join};

/// Why an action failed or was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It is not as it was judged: somebody changes it at the same time.
    Changing,
    /// It is contested, and left alone for now.
    Contested,
    /// Nothing is given away while `fs.protected_hardlinks` is not 1.
    HardlinksUnprotected,
    ReadOnly {
        path: PathBuf,
        what: ReadOnly,
    },
    /// `chattr +i`
    Immutable {
        path: PathBuf,
    },
    /// `chattr +a`
    AppendOnly {
        path: PathBuf,
    },
    NoSpace {
        path: PathBuf,
    },
    OverQuota {
        path: PathBuf,
    },
    /// The file system allows it to nobody, or the process lacks the capability.
    NotPermitted {
        path: PathBuf,
    },
    /// Root was refused in spite of all its rights: by a security module.
    Denied {
        path: PathBuf,
    },
    NotRegular {
        path: PathBuf,
    },
    Gone {
        path: PathBuf,
    },
    /// The disk failed.
    Broken {
        path: PathBuf,
    },
    /// No free number is left in these ranges for system accounts.
    NoFreeNumber {
        ranges: Vec<NumberRange>,
    },
    /// The least number is above the greatest.
    EmptyRange {
        range: NumberRange,
    },
    /// A lock file of shadow-utils.
    Lock {
        path: PathBuf,
        state: LockState,
    },
    /// A program is not installed where root's programs are.
    NoTool {
        name: String,
    },
    /// Somebody besides root could have put the program there.
    UntrustedTool {
        path: PathBuf,
    },
    ToolHangs {
        name: String,
    },
    /// It ended well and changed nothing.
    ToolIdle {
        name: String,
    },
    /// It failed for a reason that only its own words tell.
    ToolFailed {
        name: String,
    },
    /// A line that no reader can use: one that begins with the account's name, or a number of
    /// login.defs.
    BrokenLine {
        file: String,
        /// Counted from 1.
        line: u32,
    },
    /// The account is in the file more than once, and the tools take none of them.
    Twice {
        file: &'static str,
    },
    /// The tool found the name or the number taken, where the files do not have it.
    NameTaken {
        name: String,
    },
    Parameter {
        key: String,
        value: String,
        why: ParameterObstacle,
    },
    /// None of these; the reason has all that is known.
    Unclear,
}

impl Obstacle {
    /// The same, where the path was one below `base`.
    pub fn below(mut self, base: &Path) -> Self {
        match &mut self {
            Self::ReadOnly { path, .. }
            | Self::Immutable { path }
            | Self::AppendOnly { path }
            | Self::NoSpace { path }
            | Self::OverQuota { path }
            | Self::NotPermitted { path }
            | Self::Denied { path }
            | Self::NotRegular { path }
            | Self::Gone { path }
            | Self::Broken { path } => *path = join(base, path),
            _ => {}
        }
        self
    }
}

/// What is read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOnly {
    /// The file system, wherever it is mounted.
    FileSystem,
    /// This mount of the file system alone.
    Mount,
    /// What nodeguard.service sees of it.
    Service,
}

/// A range of numbers for system accounts, as login.defs(5) has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberRange {
    /// `uid` or `gid`, as in `[etcd-account]`.
    pub word: &'static str,
    /// `SYS_UID_MIN`, `SYS_GID_MIN`.
    pub least_key: &'static str,
    /// `SYS_UID_MAX`, `SYS_GID_MAX`.
    pub greatest_key: &'static str,
    pub least: u64,
    pub greatest: u64,
    /// What sets the greatest number, else the least; `None`: both are the tools' own.
    pub origin: Option<Origin>,
    /// A number outside of the range that nobody has.
    pub free: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockState {
    /// A living process has it.
    Held { pid: i32, name: String },
    /// The process that it names is dead.
    Stale,
    /// Nobody can tell whose it is: it names no process.
    Nameless,
    /// It is no regular file.
    NotRegular,
}

/// Why a kernel parameter has not the wanted value after it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParameterObstacle {
    /// The kernel does not take the value.
    Value,
    /// The kernel shows another one for it.
    Shown(String),
    /// /proc/sys is read-only.
    ReadOnly,
    /// It takes a capability, or can be set once in a boot. `service`: ours has few rights.
    NotPermitted {
        service: bool,
    },
    /// The parameter can be written by nobody.
    Closed,
    Missing,
}
