// SPDX-License-Identifier: Apache-2.0
//! What a unit says about how RKE2 is started.
use super::Variable;
use crate::model::Origin;

/// A unit file or one of its drop-ins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitText {
    pub path: String,
    pub content: Vec<u8>,
}

/// A file named by `EnvironmentFile=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentFile {
    pub path: String,
    /// With a leading `-`: it may be absent.
    pub optional: bool,
    pub origin: Origin,
}

/// How a unit starts its service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The binary of the first `ExecStart=`.
    pub binary: Option<String>,
    /// The words after it.
    pub arguments: Vec<String>,
    pub exec_start: Option<Origin>,
    /// From `Environment=`, in order.
    pub environment: Vec<Variable>,
    /// In order; read after `environment`, and winning over it.
    pub environment_files: Vec<EnvironmentFile>,
}

/// Reads the service out of a unit file and its drop-ins, given in the order systemd applies
/// them. `unit` is the unit's name with its suffix, for the specifiers.
pub fn parse(_unit: &str, _texts: &[UnitText]) -> Service {
    Service::default()
}
