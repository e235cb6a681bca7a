// SPDX-License-Identifier: Apache-2.0
//! Control `nodeguard-config`: nodeguard's own configuration.

pub mod facts;
pub mod judge;
pub mod observe;

pub use facts::*;
pub use judge::*;

use std::path::PathBuf;

use crate::config::{BASE, DROP_INS};
use crate::controls::{Control, Host, NodeContext, Observation};
use crate::model::{ControlId, Planned};

/// The control.
#[derive(Debug)]
pub struct OwnConfig;

impl Control for OwnConfig {
    type Facts<'n> = Facts<'n>;

    const ID: ControlId = ControlId::NodeguardConfig;

    fn observe<'n>(
        &mut self,
        host: &mut Host<'_>,
        node: &'n NodeContext,
        _observation: Observation,
    ) -> Facts<'n> {
        host.watch.files.extend(BASE.iter().chain(&DROP_INS).map(PathBuf::from));
        // The files were read before all controls, since they decide what those want.
        Facts {
            problems: &node.problems,
            kept: node.configured,
            settings: &node.settings,
            wanted: host.watch.sysctls.clone(),
        }
    }

    fn judge(facts: &Facts<'_>) -> Vec<Planned> {
        judge::judge(facts)
    }
}
