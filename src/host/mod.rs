// SPDX-License-Identifier: Apache-2.0
//! The host: the only code that looks at it and the only code that changes it.
//!
//! * [`root`] is the directory a pass works on; every path goes through it.
//! * [`observe`] gathers facts for the controls and changes nothing.
//! * [`observed`] is what a pass looked at, for who wants to know whether he sees the same.
//! * [`apply`] runs one [`crate::model::Action`]: compare, set, read back. It is the only caller
//!   of the functions here that write.

pub mod account;
mod account_failure;
mod account_image;
pub mod account_locks;
pub mod accounts;
pub mod apply;
pub mod command;
mod data_dir_place;
pub mod elsewhere;
pub mod files;
pub mod gate_look;
pub mod gate_socket;
mod home;
mod image_locks;
mod inode;
mod links;
mod login_defs;
pub mod mend;
mod mountinfo;
pub mod observe;
pub mod observed;
mod obstacle;
pub mod overrides;
pub mod own_config;
mod private_dir;
pub mod proc_sys;
mod rewrite;
pub mod rke2;
pub mod rke2_version;
pub mod root;
pub mod running_etcd;
pub mod runtime;
pub mod sysctl_d;
mod systemd_environment;
mod temporary;
pub mod tree;
pub mod units;
pub mod walk;

use std::path::PathBuf;

/// What nodeguard itself could not do. A host that is not as it should be is a finding, not this.
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
    #[error(
        "/proc is not mounted here, expected it: files are opened by way of it once it is known \
         what they are; mount it with `mount -t proc proc /proc`"
    )]
    NoProc,
}

impl HostError {
    fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Self::Io { operation, path: path.into(), source: source.into() }
    }
}
