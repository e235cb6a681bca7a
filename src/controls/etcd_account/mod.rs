// SPDX-License-Identifier: Apache-2.0
//! Control `etcd-account`: the user and the group `etcd`.

mod elsewhere;
pub mod facts;
pub mod failure;
mod fixed;
mod home;
pub mod image;
pub mod image_locks;
pub mod judge;
pub mod locks;
mod login_defs;
pub mod mend;
pub mod observe;
mod sysusers;
pub mod tool;

pub use facts::*;
pub use judge::*;

use std::path::PathBuf;

use crate::controls::{Control, Host, NodeContext, Observation};
use crate::model::{ControlId, Planned, Role};

/// The control.
#[derive(Debug, Default)]
pub struct EtcdAccount {
    /// The numbers of the account when it was last seen.
    seen: Former,
}

impl Control for EtcdAccount {
    type Facts<'n> = Facts;

    const ID: ControlId = ControlId::EtcdAccount;

    fn applies(node: &NodeContext) -> bool {
        node.role() == Role::Server
    }

    fn observe(
        &mut self,
        host: &mut Host<'_>,
        node: &NodeContext,
        _observation: Observation,
    ) -> Facts {
        host.watch.files.extend(["/etc/passwd", "/etc/group"].map(PathBuf::from));
        let besides = observe::AccountContext {
            data_dir: &node.last_valid.data_dir.value,
            checked: node.hardened,
            runs_etcd: node.scope.guarding,
            pinned: &node.settings.etcd_account,
            remembered: self.seen,
        };
        let facts = observe::etcd(host.root, &besides);
        self.seen = self.seen.seen(&facts);
        facts
    }

    fn judge(facts: &Facts) -> Vec<Planned> {
        judge::judge(facts)
    }
}
