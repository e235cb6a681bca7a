// SPDX-License-Identifier: Apache-2.0
//! nodeguard's own files below /run/nodeguard: the role the gate was asked for, and the last
//! report. Both are lost at a reboot, and nothing depends on them being there.

use std::path::Path;

use super::HostError;
use super::files;
use super::root::Root;
use crate::model::Role;

/// Written by the gate: `server` or `agent`.
pub const ROLE: &str = "/run/nodeguard/role";

/// The daemon's last report, as `check --json` prints it.
pub const REPORT: &str = "/run/nodeguard/report.json";

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

fn write(root: &Root, path: &str, content: &[u8]) -> Result<(), HostError> {
    let path = Path::new(path);
    let current = root.read(path, 1 << 20)?;
    files::replace(root, path, content, current.as_deref()).map(|_| ())
}
