// SPDX-License-Identifier: Apache-2.0
//! Control `sysctl`: the kernel parameters that RKE2 and its kubelet insist on.

pub mod facts;
pub mod judge;
pub mod mend;
pub mod observe;
pub mod proc_sys;
pub mod sources;
pub mod writers;

pub use facts::*;
pub use judge::*;

use std::path::PathBuf;

use crate::controls::{Control, Host, NodeContext, Observation};
use crate::model::{ControlId, Planned};
use crate::sysctl_d::{FILES, Place, Sources};

/// The control.
#[derive(Debug)]
pub struct Sysctl;

/// What it observes.
#[derive(Debug)]
pub struct Observed {
    facts: Facts,
    sources: Sources,
}

impl Control for Sysctl {
    type Facts<'n> = Observed;

    const ID: ControlId = ControlId::Sysctl;

    fn observe(
        &mut self,
        host: &mut Host<'_>,
        node: &NodeContext,
        _observation: Observation,
    ) -> Observed {
        host.watch.files.extend([DROP_IN].iter().chain(&RKE2_SOURCES).map(PathBuf::from));
        // What may defeat our drop-in at the next boot.
        host.watch.files.extend(Place::ALL.map(|place| PathBuf::from(place.path())));
        host.watch.files.extend(FILES.map(PathBuf::from));
        let own = &node.settings.sysctl;
        let facts = observe::observe(host.root, host.proc_sys, node.scope, own);
        host.watch.sysctls.clone_from(&facts.wanted);
        Observed { facts, sources: sources::observe(host.root) }
    }

    fn judge(observed: &Observed) -> Vec<Planned> {
        let mut planned = judge::judge(&observed.facts);
        // What is left alone at runtime may be set by whoever wants to at boot.
        let held: Vec<_> = observed.facts.wanted.iter().filter(|w| w.is_held()).cloned().collect();
        let (defeated, winners) = overridden::judge(&observed.sources, &held);
        planned.extend(defeated);
        planned.extend(lines::judge(&observed.sources, &held, &winners));
        planned
    }
}
