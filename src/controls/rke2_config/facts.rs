// SPDX-License-Identifier: Apache-2.0
//! What is known of RKE2 and its configuration.

use semver::Version;

use super::judge::place::Place;
use crate::model::Role;
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
    /// Of the installed RKE2; `None` where none was found.
    pub version: Option<&'a Version>,
    /// What the pass takes the node for.
    pub role: Role,
    pub units: Units,
    /// Where the data directory is; `None` where nobody looked.
    pub place: Option<&'a Place>,
}
