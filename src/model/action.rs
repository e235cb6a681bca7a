// SPDX-License-Identifier: Apache-2.0
//! What nodeguard does to a host, and to what.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Obstacle, shown};

/// Numeric owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// One change of the host. The enum is closed: what is not here, nodeguard does not do.
///
/// Every action carries the state it expects to find and is refused when the host no longer
/// looks like that (compare-and-set); paths are absolute, below the root the pass works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Replace a regular file of root's atomically (mode 0644), or create it.
    WriteFile {
        path: PathBuf,
        content: Vec<u8>,
        /// The content that is there now; `None`: the file must not exist.
        expect: Option<Vec<u8>>,
    },
    /// Write one kernel parameter. `key` is in dotted form, as in sysctl.d.
    SetSysctl { key: String, value: String, expect: String },
    /// `groupadd`: the group must not exist in /etc/group. `gid`: that one and no other. `copied`:
    /// NSS has the name from somewhere else, or does not answer, so that the tool must look into
    /// the files only.
    CreateGroup { name: &'static str, gid: Option<u32>, copied: bool },
    /// `useradd`: the user must not exist in /etc/passwd. With `with_group` its group is made
    /// along with it, without, the group of the same name must exist already. `uid`: that one and
    /// no other. `copied`: as for the group.
    CreateUser { name: &'static str, with_group: bool, uid: Option<u32>, copied: bool },
    /// `usermod -g`: make `gid` the primary group of a user that now has `expect_gid`.
    SetPrimaryGroup { name: &'static str, gid: u32, expect_gid: u32 },
    /// Give `base/below` to `owner` and a mode by `rule`, with everything below it or without.
    /// `base` is a path that only root can change; `below` is walked component by component and
    /// never through a link. The executor compares entry by entry, changes nothing it must not
    /// change (see `host::tree`) and makes nothing.
    Own { base: PathBuf, below: PathBuf, owner: Owner, rule: ModeRule, depth: Depth },
}

/// How far down an entry is owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The entry itself.
    Entry,
    /// Everything below it as well.
    Subtree,
}

/// What somebody and we may fight over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// A kernel parameter, dotted.
    Parameter(String),
    /// A file or directory itself, absolute.
    File(PathBuf),
    /// Everything below a directory.
    Tree(PathBuf),
}

impl Object {
    /// The object as findings name it.
    pub fn subject(&self) -> String {
        match self {
            Self::Parameter(key) => key.clone(),
            Self::File(path) => shown(path),
            Self::Tree(path) => format!("{}/*", shown(path)),
        }
    }
}

impl Action {
    /// What it changes; `None` for the account, which nobody fights over.
    pub fn object(&self) -> Option<Object> {
        match self {
            Self::SetSysctl { key, .. } => Some(Object::Parameter(key.clone())),
            Self::WriteFile { path, .. } => Some(Object::File(path.clone())),
            Self::Own { base, below, depth, .. } => {
                let path = join(base, below);
                Some(match depth {
                    Depth::Subtree => Object::Tree(path),
                    Depth::Entry => Object::File(path),
                })
            }
            Self::CreateGroup { .. } | Self::CreateUser { .. } | Self::SetPrimaryGroup { .. } => {
                None
            }
        }
    }
}

impl Action {
    /// Whether both are about the same object, so that what kept one from its work keeps the other
    /// as well: the state an action expects may differ from one look to the next.
    pub fn is_about_the_same(&self, other: &Action) -> bool {
        match (self.object(), other.object()) {
            (Some(object), Some(of_other)) => object == of_other,
            (None, None) => std::mem::discriminant(self) == std::mem::discriminant(other),
            _ => false,
        }
    }
}

/// `dir/below`, and `dir` itself without a slash behind it where `below` is empty.
pub fn join(dir: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { dir.to_path_buf() } else { dir.join(below) }
}

/// What a file's permissions may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeRule {
    /// Below etcd's data directory: directories 0700 (CIS 1.1.11); files written by their owner
    /// only, without set-id bits. etcd itself makes its `.snap` files 0644: not ours to change.
    EtcdTree,
    /// A TLS key: 0600 (CIS 1.1.21).
    TlsKey,
    /// A TLS certificate: as strict as it is, but written by its owner only (CIS 1.1.20).
    TlsCertificate,
}

impl ModeRule {
    /// The permission bits that an entry with permission bits `mode` should have.
    pub fn wanted(self, directory: bool, mode: u32) -> u32 {
        let mode = mode & 0o7777;
        match (self, directory) {
            (Self::EtcdTree, true) => 0o700,
            (Self::TlsKey, _) => 0o600,
            (Self::EtcdTree, false) | (Self::TlsCertificate, _) => (mode & 0o755) | 0o600,
        }
    }
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Changed and read back; `changes` counts the objects.
    Applied { changes: u64 },
    /// Nothing to do: somebody was faster.
    AlreadyDone,
    /// The host did not look as the action expected; nothing was changed.
    Refused { reason: String, obstacle: Obstacle },
    /// The host said no.
    Failed { reason: String, obstacle: Obstacle },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_mode_takes_from_others_and_never_from_the_owner() {
        for (rule, directory, mode, wanted) in [
            (ModeRule::EtcdTree, true, 0o755, 0o700),
            (ModeRule::EtcdTree, true, 0o4500, 0o700),
            (ModeRule::EtcdTree, false, 0o644, 0o644),
            (ModeRule::EtcdTree, false, 0o666, 0o644),
            (ModeRule::EtcdTree, false, 0o6477, 0o655),
            (ModeRule::EtcdTree, false, 0o600, 0o600),
            (ModeRule::TlsKey, false, 0o644, 0o600),
            (ModeRule::TlsCertificate, false, 0o644, 0o644),
            (ModeRule::TlsCertificate, false, 0o600, 0o600),
            (ModeRule::TlsCertificate, false, 0o2666, 0o644),
        ] {
            assert_eq!(rule.wanted(directory, mode), wanted, "{rule:?} {directory} {mode:o}");
        }
    }
}
