// SPDX-License-Identifier: Apache-2.0
//! The RKE2 configuration: a profile that this RKE2 knows, and nothing that keeps it from starting.

use semver::Version;

use crate::model::{Planned, Role};
use crate::rke2::Config;

/// Of one of RKE2's two units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitFacts {
    pub installed: bool,
    pub enabled: bool,
    pub active: bool,
}

impl UnitFacts {
    /// Enabled or active: what decides the node's role.
    pub fn counts(self) -> bool {
        self.enabled || self.active
    }
}

/// What the two units say about the node's role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    pub server: UnitFacts,
    pub agent: UnitFacts,
}

impl Units {
    /// The role: what the gate said, else the one unit that is enabled or active.
    pub fn role(self, gate: Option<Role>) -> Role {
        match (gate, self.server.counts(), self.agent.counts()) {
            (Some(role), _, _) => role,
            (None, true, false) => Role::Server,
            (None, false, true) => Role::Agent,
            (None, _, _) => Role::Unknown,
        }
    }
}

/// What the judgement looks at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub config: &'a Config,
    /// Of the installed RKE2; `None` where none was found.
    pub version: Option<&'a Version>,
    /// What the pass takes the node for.
    pub role: Role,
    pub units: Units,
}

/// What is wrong with the configuration, all of it at once.
pub fn judge(_facts: &Facts<'_>) -> Vec<Planned> {
    Vec::new()
}
