// SPDX-License-Identifier: Apache-2.0
//! Control `rke2-config`: a configuration with which this RKE2 starts.

pub mod facts;
pub mod judge;
pub mod observe;
mod observe_beside;
mod observe_kubelet;
mod observe_mounts;
mod observe_place;
pub mod overrides;
pub mod version;

pub use facts::*;
pub use judge::judge;

use crate::controls::{Control, Host, NodeContext, Observation};
use crate::model::{ControlId, Planned};

/// The control.
#[derive(Debug)]
pub struct Rke2Config;

impl Control for Rke2Config {
    type Facts<'n> = (Facts<'n>, &'n judge::overrides::Facts);

    const ID: ControlId = ControlId::Rke2Config;

    fn observe<'n>(
        &mut self,
        host: &mut Host<'_>,
        node: &'n NodeContext,
        _observation: Observation,
    ) -> Self::Facts<'n> {
        host.watch.files.extend(node.rke2.watched.iter().cloned());
        // Observed before all controls, since it decides which there are.
        let facts = Facts {
            config: &node.rke2.config,
            version: node.rke2.version.as_ref(),
            role: node.rke2.role,
            units: node.rke2.units,
            place: node.rke2.place.as_ref(),
        };
        (facts, &node.rke2.overrides)
    }

    fn judge((facts, overrides): &Self::Facts<'_>) -> Vec<Planned> {
        let mut planned = judge::judge(facts);
        planned.extend(judge::overrides::judge(overrides));
        planned
    }
}
