// SPDX-License-Identifier: Apache-2.0
//! What is known of RKE2 and its configuration.

use std::path::PathBuf;

use semver::Version;

use crate::model::{Origin, Role};
use crate::rke2::Config;
use crate::rke2::unit::UnitFacts;

/// What the two units say about the node's role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    pub server: UnitFacts,
    pub agent: UnitFacts,
}

impl Units {
    /// The role: what the gate said, else the one unit that is enabled or active. With both it
    /// is the server's, which asks for more.
    pub fn role(self, gate: Option<Role>) -> Role {
        match gate {
            Some(role @ (Role::Server | Role::Agent)) => role,
            _ if self.server.counts() => Role::Server,
            _ if self.agent.counts() => Role::Agent,
            _ => Role::Unknown,
        }
    }
}

/// What the judgement looks at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub config: &'a Config,
    /// The version of the installed RKE2; `None` where none was found.
    pub version: Option<&'a Version>,
    /// What the pass takes the node for.
    pub role: Role,
    pub units: Units,
    /// Whether an agent has the certificate that a cluster gave it.
    pub joined: bool,
    /// Where the data directory is; `None` where nobody looked.
    pub place: Option<&'a Place>,
}

/// What was observed. Nothing of it is known of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file systems of the data directory and of etcd's below it, which may be on a disk of its own.
    pub file_systems: Vec<FileSystem>,
    /// `None` where SELinux does not enforce anything.
    pub labels: Option<Labels>,
    pub mounts: Mounts,
}

/// What is mounted on the way to RKE2's data and below it, and what should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// What lets none of RKE2's programs be started.
    pub no_exec: Option<NoExec>,
    /// What systemd promises to mount, ordered by place.
    pub promised: Vec<PromisedMount>,
}

/// A mount with the option `noexec` where RKE2 unpacks its programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoExec {
    /// Where they are unpacked.
    pub programs: PathBuf,
    pub point: PathBuf,
    /// The line of fstab, or the unit, that mounts it, if that is known.
    pub origin: Option<Origin>,
}

/// A mount that fstab or a unit promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromisedMount {
    /// Without links.
    pub place: PathBuf,
    /// Whether it is on the way to what RKE2 keeps of a cluster (`server` below the data directory,
    /// `server/db` and etcd's directory), or in etcd's directory.
    pub holds_cluster: bool,
    /// systemd's unit for it.
    pub unit: String,
    /// What is promised, as it is written.
    pub what: String,
    pub origin: Origin,
    pub there: There,
}

/// What is at a place where a mount is promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum There {
    /// Nothing is mounted.
    Nothing,
    /// A mount, which is the promised one as far as one can tell.
    Mount,
    /// Another mount: what of, as mountinfo has it.
    Another(String),
}

/// The file system that a directory is on, or would be on once it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// The directory, or the nearest one above it that exists.
    pub path: PathBuf,
    /// The kind of file system as mountinfo names it.
    pub kind: String,
    /// The file system itself, not only this mount of it.
    pub read_only: bool,
}

/// The files by which SELinux labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// The operator's equivalences, `file_contexts.subs`.
    pub subs: String,
    /// The policy's, `file_contexts.subs_dist`.
    pub subs_dist: String,
    /// The policy's rules and the operator's, `file_contexts` and `file_contexts.local`.
    pub rules: String,
}
