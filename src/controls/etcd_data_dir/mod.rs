// SPDX-License-Identifier: Apache-2.0
//! Control `etcd-data-dir`: owner and mode of everything below etcd's data directory, and of its TLS
//! files.

pub mod facts;
pub mod judge;
mod links;
pub mod mend;
pub mod observe;
pub mod running;
pub mod tree;

pub use facts::*;
pub use judge::*;

use crate::controls::sysctl::{Live, PROTECTED_HARDLINKS};
use crate::controls::{Control, Guard, Host, NodeContext, Observation};
use crate::model::{ControlId, Obstacle, Planned};
use tree::Look;

/// Wrong entries of a tree after which the brief observation of a pass that mends ends: the tree is
/// going to be gone through entry by entry anyway.
const ENOUGH: u64 = 64;

/// The control.
#[derive(Debug, Default)]
pub struct EtcdDataDir {
    /// The facts as they were last observed in this pass.
    last: Option<Facts>,
    /// The kernel protects hard links, so that it is safe to change what another user can write.
    safe: bool,
}

impl Control for EtcdDataDir {
    /// `None`: there is nobody to own it.
    type Facts<'n> = Option<Facts>;

    const ID: ControlId = ControlId::EtcdDataDir;

    fn applies(node: &NodeContext) -> bool {
        node.scope.guarding
    }

    fn withheld(&mut self, host: &mut Host<'_>) -> Option<Obstacle> {
        self.last = None;
        self.safe = hardlinks_are_protected(host);
        // Observed and reported all the same; the kernel parameter has a finding of its own.
        (!self.safe).then_some(Obstacle::HardlinksUnprotected)
    }

    fn observe(
        &mut self,
        host: &mut Host<'_>,
        node: &NodeContext,
        observation: Observation,
    ) -> Option<Facts> {
        let enough = if matches!(observation, Observation::Brief) { ENOUGH } else { u64::MAX };
        let known = match observation {
            Observation::BeforeChange(tree) => {
                return self.last.clone().map(|last| Facts { tree: Some(tree), ..last });
            }
            Observation::AfterChange(tree) => Some(tree),
            Observation::Previous => self.last.as_ref().and_then(|last| last.tree.clone()),
            Observation::Brief | Observation::Full => None,
        };
        // What was measured by another owner tells nothing by this one: meanwhile RKE2 may have
        // given the tree away.
        let mut known = known.zip(self.last.as_ref().map(|last| last.owner));
        let version = node.rke2.version.as_ref();
        let mounts = node.last_valid.etcd_pod_mounts();
        let Host { root, suspended, watch, on_directory, .. } = host;
        self.last = observe::observe(root, &node.last_valid, version, &mut |dir, owner| {
            if let Some((tree, _)) = known.take().filter(|(_, measured)| *measured == owner) {
                return Ok(Some(tree));
            }
            let suspended = tree::suspended(suspended, dir);
            let look = Look { suspended: &suspended, enough, mounts: &mounts, ..Look::full(owner) };
            tree::observe(root, dir, look, on_directory)
        });
        if let Some(facts) = &self.last {
            watch.guard = (self.safe && facts.unsafe_path.is_none()).then(|| Guard {
                dir: facts.dir.clone(),
                tls_dir: facts.tls_dir.clone(),
                owner: facts.owner,
                account: facts.account,
                manifest: facts.manifest.clone(),
            });
        }
        self.last.clone()
    }

    fn judge(facts: &Option<Facts>) -> Vec<Planned> {
        facts.as_ref().map_or_else(Vec::new, judge::judge)
    }
}

/// Whether the kernel protects hard links. For an image it is this machine that counts: whoever
/// builds it could link a file of this machine's into it, if they are on one file system.
fn hardlinks_are_protected(host: &mut Host<'_>) -> bool {
    match host.proc_sys.read(PROTECTED_HARDLINKS) {
        Live::Value(value) => value == "1",
        Live::Missing | Live::Unreadable(_) => !host.root.is_live(),
    }
}
