// SPDX-License-Identifier: Apache-2.0
//! The controls, a folder each, and what a control is.
//!
//! In each folder `facts.rs`, `judge.rs` and everything below `judge/` are pure: facts in, findings
//! and planned actions out; they read no file and no clock. What is beside them looks at the host,
//! and makes the changes that only this control makes. A new control is a folder with a
//! [`Control`], a line in [`all`], and its names in the enums of the model.

pub mod etcd_account;
pub mod etcd_data_dir;
pub mod obstacle;
pub mod own_config;
pub mod rke2_config;
pub mod sysctl;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::PathBuf;

use crate::config::{Problem, Settings};
use crate::model::{ControlId, Object, Obstacle, Owner, Planned, Role};
use crate::rke2::Config;
use crate::system::root::Root;
use crate::system::walk::OnDirectory;
use etcd_data_dir::TreeFacts;
use rke2_config::observe::Node;
use sysctl::proc_sys::ProcSys;
use sysctl::{Scope, Wanted};

/// Every control, in the order in which a pass goes through them: each sees what the ones before it
/// have mended.
pub fn all() -> Vec<Box<dyn AnyControl>> {
    vec![
        Box::new(rke2_config::Rke2Config),
        Box::new(sysctl::Sysctl),
        Box::new(etcd_account::EtcdAccount::default()),
        Box::new(etcd_data_dir::EtcdDataDir::default()),
        Box::new(own_config::OwnConfig),
    ]
}

/// One requirement on the host. A value lives as long as the engine, so it may remember what it saw.
pub trait Control {
    /// What is observed.
    type Facts<'n>;

    const ID: ControlId;

    /// Whether the node is one that it is about.
    fn applies(_node: &NodeContext) -> bool {
        true
    }

    /// What keeps it from mending anything in this pass. It observes and judges all the same.
    fn withheld(&mut self, _host: &mut Host<'_>) -> Option<Obstacle> {
        None
    }

    /// Looks at the host, as far as `observation` asks for that, and changes nothing. What a daemon
    /// has to watch because of it is added to `host.watch`.
    fn observe<'n>(
        &mut self,
        host: &mut Host<'_>,
        node: &'n NodeContext,
        observation: Observation,
    ) -> Self::Facts<'n>;

    /// What is wrong, and what would mend it. Pure.
    fn judge(facts: &Self::Facts<'_>) -> Vec<Planned>;
}

/// A [`Control`] whatever its facts are.
pub trait AnyControl: Debug {
    fn id(&self) -> ControlId;
    fn applies(&self, node: &NodeContext) -> bool;
    fn withheld(&mut self, host: &mut Host<'_>) -> Option<Obstacle>;
    /// Observes and judges.
    fn look(
        &mut self,
        host: &mut Host<'_>,
        node: &NodeContext,
        observation: Observation,
    ) -> Vec<Planned>;
}

impl<C: Control + Debug> AnyControl for C {
    fn id(&self) -> ControlId {
        C::ID
    }

    fn applies(&self, node: &NodeContext) -> bool {
        C::applies(node)
    }

    fn withheld(&mut self, host: &mut Host<'_>) -> Option<Obstacle> {
        Control::withheld(self, host)
    }

    fn look(
        &mut self,
        host: &mut Host<'_>,
        node: &NodeContext,
        observation: Observation,
    ) -> Vec<Planned> {
        C::judge(&self.observe(host, node, observation))
    }
}

/// What decides which controls there are and what they want, as one pass sees it.
#[derive(Debug)]
pub struct NodeContext {
    /// nodeguard's own configuration in force.
    pub settings: Settings,
    /// What is wrong with the files of it; empty where they are in force.
    pub problems: Vec<Problem>,
    /// Whether `settings` were read from files, and are not the built-in ones.
    pub configured: bool,
    pub rke2: Node,
    /// RKE2's configuration that the guard goes by: the last one that could be read whole. While a
    /// file of it is broken, RKE2 goes on as it was started; what is there now is in `rke2`.
    pub last_valid: Config,
    /// Whether RKE2 hardens itself with it.
    pub hardened: bool,
    /// Which kernel parameters RKE2 checks, and whether there is a data directory to guard.
    pub scope: Scope,
}

impl NodeContext {
    pub fn role(&self) -> Role {
        self.rke2.role
    }
}

/// What a control looks at the host with.
pub struct Host<'a> {
    pub root: &'a Root,
    pub proc_sys: &'a mut ProcSys,
    /// Objects that are contested, and are not to be judged now.
    pub suspended: &'a BTreeSet<Object>,
    /// What a daemon is to watch from now on.
    pub watch: &'a mut Watch,
    /// Called for each directory of the guarded tree before it is read.
    pub on_directory: OnDirectory<'a>,
}

/// Where a judgement takes the facts of a tree from. All other facts are observed anew, except
/// [`BeforeChange`](Self::BeforeChange), where they are those of the last observation.
#[derive(Debug)]
pub enum Observation {
    /// It may end early: what it finds is mended and observed again.
    Brief,
    Full,
    /// As the tree was last seen, when it was correct: what was changed since is no entry of it.
    Previous,
    /// How the tree was before it was owned, as it turned out.
    BeforeChange(TreeFacts),
    /// How the tree was after it was owned.
    AfterChange(TreeFacts),
}

/// What a daemon watches, as a pass saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Files, and directories (`*.d`), whose change asks for a pass. A control adds its own.
    pub files: BTreeSet<PathBuf>,
    /// The kernel parameters to hold, and why.
    pub sysctls: Vec<Wanted>,
    pub scope: Scope,
    /// The tree to guard; `None` where there is none, or where it is not safe to.
    pub guard: Option<Guard>,
}

/// The tree that a daemon guards between passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    pub dir: PathBuf,
    pub tls_dir: PathBuf,
    /// What the tree belongs to now.
    pub owner: Owner,
    /// What it belongs to from RKE2's next start on. Another one than `owner` while an etcd runs with
    /// the number that the account had before.
    pub account: Owner,
    /// The manifest of the static pod etcd, which RKE2 writes when it has given the tree away.
    pub manifest: PathBuf,
}
