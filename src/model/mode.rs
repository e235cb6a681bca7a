// SPDX-License-Identifier: Apache-2.0
//! Whether nodeguard does anything about what it finds.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What `mode` in nodeguard's own configuration says. One that another version wrote and this one does
/// not know is read as the one in which the gate is not open by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatingMode {
    /// The node is judged and told of, nothing on it is changed, and RKE2 starts whatever is found.
    Report,
    /// What can be mended is mended, and RKE2 does not start on a fatal node.
    #[default]
    #[serde(other)]
    Enforce,
}

impl OperatingMode {
    pub const ALL: [Self; 2] = [Self::Enforce, Self::Report];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Report => "report",
        }
    }

    /// Whether nothing on the host is changed, and the gate is open.
    pub fn only_reports(self) -> bool {
        self == Self::Report
    }
}

impl fmt::Display for OperatingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
