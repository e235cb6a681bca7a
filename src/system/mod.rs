// SPDX-License-Identifier: Apache-2.0
//! The operating system: files, directories, mounts and programs of the host, as a process of root's
//! can safely look at them and change them.
//!
//! * [`root`] is the directory a pass works on; every path goes through it.
//! * [`walk`] finds its way in a tree that another user can write.
//! * [`root::observed`] is what a pass looked at, for who wants to know whether he sees the same.

pub mod command;
pub mod files;
pub mod inode;
pub mod listing;
pub mod mountinfo;
pub mod obstacle;
pub mod private_dir;
pub mod rewrite;
pub mod root;
pub mod runtime;
pub mod temporary;
pub mod walk;

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// What nodeguard itself could not do, and why a program gave no answer. A host that is not as it
/// should be is a finding, not this.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is larger than {limit} bytes, expected a configuration file", .path.display())]
    TooLarge { path: PathBuf, limit: usize },
    #[error("{} is not a regular file", .path.display())]
    NotRegular { path: PathBuf, kind: &'static str },
    #[error("{} is a {kind}, expected a regular file", .path.display())]
    Special { path: PathBuf, kind: &'static str },
    #[error("{} is a directory with more than {limit} entries", .path.display())]
    TooMany { path: PathBuf, limit: usize },
    #[error("{} {reason}, expected a directory that only root can write", .path.display())]
    NotRoots { path: PathBuf, reason: String },
    #[error(
        "--root {} is this machine's own root directory, expected an image; find out who put it \
         there (ls -ld), or name / itself where that is meant",
        .path.display()
    )]
    OwnRoot { path: PathBuf },
    #[error("--root {} needs Linux 5.6 or later (openat2)", .path.display())]
    NoOpenat2 { path: PathBuf },
    #[error("{} is {reason}, expected a program that only root can change", .program.display())]
    Untrusted { program: PathBuf, reason: String },
    #[error("cannot start {}: {source}", .program.display())]
    Start {
        program: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} did not end within {} s and was killed", .program.display(), command::seconds(.limit))]
    Deadline {
        program: PathBuf,
        limit: Duration,
        /// What it had said on standard error.
        errors: String,
    },
    #[error("{} failed ({status}): {words}", .program.display())]
    Status { program: PathBuf, status: ExitStatus, words: String },
    #[error("cannot wait for {}: {source}", .program.display())]
    Wait {
        program: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "/proc is not mounted here, expected it: files are opened by way of it once it is known \
         what they are; mount it with `mount -t proc proc /proc`"
    )]
    NoProc,
}

impl HostError {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Self::Io { operation, path: path.into(), source: source.into() }
    }
}
