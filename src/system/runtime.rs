// SPDX-License-Identifier: Apache-2.0
//! nodeguard's own files: the role the gate was asked for, what the daemon does not see of the host
//! and its last report below /run/nodeguard, and what RKE2's binary said about its version below
//! /var/lib/nodeguard. Nothing depends on them being there.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::model::Role;
use crate::system::root::Root;
use crate::system::root::observed::Observed;
use crate::system::{HostError, files};

/// Written by the gate: `server` or `agent`.
pub const ROLE: &str = "/run/nodeguard/role";

/// The daemon's last report, as `check --json` prints it.
pub const REPORT: &str = "/run/nodeguard/report.json";

/// Written by the gate: what it sees otherwise than the daemon, as it sees it.
pub const HIDDEN: &str = "/run/nodeguard/hidden.json";

/// The version of RKE2 by the identity of its binary.
pub const VERSION: &str = "/var/lib/nodeguard/rke2-version.json";

/// The role the last gate was asked for.
pub fn gate_role(root: &Root) -> Option<Role> {
    let content = root.read(Path::new(ROLE), 64).ok()??;
    match content.trim_ascii() {
        b"server" => Some(Role::Server),
        b"agent" => Some(Role::Agent),
        _ => None,
    }
}

/// Remembers the role, so that the daemon knows it from now on.
pub fn write_gate_role(root: &Root, role: Role) -> Result<(), HostError> {
    write(root, ROLE, format!("{role}\n").as_bytes())
}

/// What the last gate saw otherwise than the daemon.
pub fn hidden(root: &Root) -> Option<Observed> {
    let content = root.read(Path::new(HIDDEN), 64 * 1024).ok()??;
    serde_json::from_slice(&content).ok()
}

/// Leaves for the daemon what it does not see; `None`: it sees what the gate sees.
pub fn write_hidden(root: &Root, hidden: Option<&Observed>) -> Result<(), HostError> {
    let path = Path::new(HIDDEN);
    if let Some(hidden) = hidden {
        return match self::hidden(root) {
            // RKE2's unit tries again and again, and the daemon looks at each change.
            Some(known) if known == *hidden => Ok(()),
            _ => write(root, HIDDEN, &serde_json::to_vec(hidden).unwrap_or_default()),
        };
    }
    let Ok((dir, name)) = root.open_parent(path) else { return Ok(()) };
    match rustix::fs::unlinkat(&dir, &name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(HostError::io("remove", path, e)),
    }
}

/// Device and inode of the program that runs this, which is a file that may have been replaced.
pub fn program() -> Option<(u64, u64)> {
    let file = std::fs::metadata("/proc/self/exe").ok()?;
    Some((file.dev(), file.ino()))
}

/// Leaves the report for whoever cannot ask on the bus.
pub fn write_report(root: &Root, json: &str) -> Result<(), HostError> {
    write(root, REPORT, json.as_bytes())
}

/// What was remembered of RKE2's version.
pub(crate) fn read_version(root: &Root) -> Option<Vec<u8>> {
    root.read(Path::new(VERSION), 4096).ok()?
}

pub(crate) fn write_version(root: &Root, json: &str) -> Result<(), HostError> {
    write(root, VERSION, json.as_bytes())
}

fn write(root: &Root, path: &str, content: &[u8]) -> Result<(), HostError> {
    files::put(root, Path::new(path), content)
}
