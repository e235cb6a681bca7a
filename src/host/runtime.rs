// SPDX-License-Identifier: Apache-2.0
//! nodeguard's own files: the role the gate was asked for and the last report below
//! /run/nodeguard, and what RKE2's binary said about its version below /var/lib/nodeguard. Nothing
//! depends on them being there.

use std::path::Path;

use super::HostError;
use super::files;
use super::root::Root;
use crate::model::Role;

/// Written by the gate: `server` or `agent`.
pub const ROLE: &str = "/run/nodeguard/role";

/// The daemon's last report, as `check --json` prints it.
pub const REPORT: &str = "/run/nodeguard/report.json";

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

/// Leaves the report for whoever cannot ask on the bus.
pub fn write_report(root: &Root, json: &str) -> Result<(), HostError> {
    write(root, REPORT, json.as_bytes())
}

/// What was remembered of RKE2's version.
pub(super) fn read_version(root: &Root) -> Option<Vec<u8>> {
    root.read(Path::new(VERSION), 4096).ok()?
}

pub(super) fn write_version(root: &Root, json: &str) -> Result<(), HostError> {
    write(root, VERSION, json.as_bytes())
}

fn write(root: &Root, path: &str, content: &[u8]) -> Result<(), HostError> {
    files::put(root, Path::new(path), content)
}
