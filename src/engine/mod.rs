// SPDX-License-Identifier: Apache-2.0
//! One pass: observe, judge, apply, observe again what was touched, report.
//!
//! Besides the full pass there are two narrow ones, for one kernel parameter and for one entry
//! of the data directory: the same judgement and the same executor on fewer facts, so that drift
//! is undone in microseconds. Whatever they cannot mend is left to a full pass.

pub mod bounds;
mod control;
pub mod executor;
mod narrow;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{Problem, Settings};
use crate::controls::rke2_config::observe::Node;
use crate::controls::rke2_config::version::VersionCache;
use crate::controls::sysctl::proc_sys::ProcSys;
use crate::controls::sysctl::{self, Scope, Wanted};
use crate::controls::{self, AnyControl, Host, NodeContext, Watch, own_config, rke2_config};
use crate::model::{ControlReport, Correction, Finding, Object, Report, Role, State};
use crate::rke2::{Config, shown};
use crate::system::root::Root;
use crate::system::walk::OnDirectory;
use control::{Changes, Doing};

pub use narrow::Narrow;

/// Whether a pass changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Check,
    Apply,
}

/// What it takes to run passes on one root.
#[derive(Debug)]
pub struct Engine {
    root: Root,
    proc_sys: ProcSys,
    versions: VersionCache,
    /// The role the command line names.
    role: Option<Role>,
    /// The last configuration that could be read whole.
    last_valid: Option<Config>,
    /// nodeguard's own configuration: the last whole one, else the built-in one.
    settings: Settings,
    /// Whether `settings` was ever read.
    configured: bool,
    controls: Vec<Box<dyn AnyControl>>,
    /// What the daemon found besides, in every report until it is over.
    raised: Vec<Finding>,
    /// What is said about each object that is contested.
    contests: BTreeMap<Object, Finding>,
    /// Contested, and not to be judged or touched now.
    suspended: BTreeSet<Object>,
}

/// What a pass found, and what is to be watched from now on.
#[derive(Debug)]
pub struct Pass {
    pub report: Report,
    pub watch: Watch,
    /// What was changed and was wrong again before the pass was over.
    pub undone: BTreeSet<Object>,
}

impl Engine {
    pub fn new(root: Root, role: Option<Role>) -> Self {
        Self {
            root,
            proc_sys: ProcSys::default(),
            versions: VersionCache::default(),
            role,
            last_valid: None,
            settings: Settings::default(),
            configured: false,
            controls: controls::all(),
            raised: Vec::new(),
            contests: BTreeMap::new(),
            suspended: BTreeSet::new(),
        }
    }

    pub fn root(&self) -> &Root {
        &self.root
    }

    /// nodeguard's own configuration as it is in force since the last pass.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The open descriptors of the kernel parameters, for watching them.
    pub fn proc_sys(&mut self) -> &mut ProcSys {
        &mut self.proc_sys
    }

    /// Reports `finding` with every pass until [`Self::withdraw`] takes it back.
    pub fn raise(&mut self, finding: Finding) {
        self.withdraw(&finding.subject);
        self.raised.push(finding);
    }

    /// What was raised about `subject` is over.
    pub fn withdraw(&mut self, subject: &str) {
        self.raised.retain(|finding| finding.subject != subject);
    }

    /// Reports `finding` with every pass until the contest of `object` is [`Self::settle`]d. By the
    /// object and not by its name: two names may be shown alike.
    pub fn contest(&mut self, object: Object, finding: Finding) {
        self.contests.insert(object, finding);
    }

    pub fn settle(&mut self, object: &Object) {
        self.contests.remove(object);
    }

    /// Reads nodeguard's own configuration again. A broken one is as if it had not been touched; before
    /// there was a whole one, its mode counts.
    pub fn configure(&mut self) -> Vec<Problem> {
        let (settings, problems) =
            own_config::observe::first(&own_config::observe::sources(&self.root));
        if problems.is_empty() || !self.configured {
            self.settings = settings;
        }
        self.configured |= problems.is_empty();
        problems
    }

    /// Whether nothing on the host is changed, whoever asks for it: the operator's configuration says
    /// so, or leaves it open.
    pub fn changes_nothing(&self) -> bool {
        self.settings.changes_nothing()
    }

    /// What a pass may do of what is asked for.
    fn allowed(&self, mode: Mode) -> Mode {
        if self.changes_nothing() { Mode::Check } else { mode }
    }

    /// Neither judges nor touches these from now on: what is said about them is their contest.
    pub fn suspend(&mut self, suspended: BTreeSet<Object>) {
        self.suspended = suspended;
    }

    /// What is wanted of kernel parameters, nothing else being looked at.
    pub fn wanted(&mut self) -> Vec<Wanted> {
        let scope = self.context(Mode::Check).scope;
        sysctl::wanted(sysctl::observe::source(&self.root).as_ref(), scope, &self.settings.sysctl)
    }

    /// Reads what decides which controls there are and what they want.
    fn context(&mut self, mode: Mode) -> NodeContext {
        let problems = self.configure();
        let remember = self.allowed(mode) == Mode::Apply;
        let rke2 =
            rke2_config::observe::observe(&self.root, &mut self.versions, self.role, remember);
        if !rke2.config.is_incomplete() {
            self.last_valid = Some(rke2.config.clone());
        }
        // While a file is broken, RKE2 goes on as it was started; so does the guard.
        let known = self.last_valid.clone().filter(|config| config.role == rke2.role);
        let last_valid = known.unwrap_or_else(|| rke2.config.clone());
        let hardened = last_valid.hardened(rke2.version.as_ref());
        let guarding = last_valid.guarding(rke2.role, rke2.version.as_ref());
        let kernel_defaults_in_force = last_valid.kernel_defaults_in_force();
        let scope = Scope { kernel_defaults_in_force, guarding };
        let (settings, configured) = (self.settings.clone(), self.configured);
        NodeContext { settings, problems, configured, rke2, last_valid, hardened, scope }
    }

    /// One pass over all controls. `on_directory` is called for each directory of the guarded
    /// tree before it is read.
    pub fn pass(&mut self, mode: Mode, on_directory: OnDirectory<'_>) -> Pass {
        let node = self.context(mode);
        let mode = self.allowed(mode);
        if mode == Mode::Apply {
            executor::sweep(&self.root);
        }
        let mut changes = Changes::default();
        let mut reports = Vec::new();
        let mut watch = Watch { scope: node.scope, ..Watch::default() };
        // Taken out meanwhile: each works with the rest of the engine.
        let mut controls = std::mem::take(&mut self.controls);
        for control in controls.iter_mut().filter(|control| control.applies(&node)) {
            let withheld = control.withheld(&mut self.host(&mut watch, on_directory));
            let doing = match (mode, withheld) {
                (Mode::Check, _) => Doing::Look,
                (Mode::Apply, Some(obstacle)) => Doing::Withhold(obstacle),
                (Mode::Apply, None) => Doing::Mend,
            };
            reports.push(self.control(
                control.id(),
                doing,
                &mut changes,
                on_directory,
                &mut |engine, observation, on_directory| {
                    control.look(&mut engine.host(&mut watch, on_directory), &node, observation)
                },
            ));
        }
        self.controls = controls;
        let Changes { corrections, undone } = changes;
        Pass { report: self.report(&node.rke2, reports, corrections), watch, undone }
    }

    fn host<'a>(&'a mut self, watch: &'a mut Watch, on_directory: OnDirectory<'a>) -> Host<'a> {
        let Self { root, proc_sys, suspended, .. } = self;
        Host { root, proc_sys, suspended, watch, on_directory }
    }

    fn report(
        &self,
        node: &Node,
        controls: Vec<ControlReport>,
        corrections: Vec<Correction>,
    ) -> Report {
        let state = State::of(controls.iter().flat_map(|c| &c.findings));
        let report = Report {
            time: now(),
            root: self.root.path().display().to_string(),
            mode: self.settings.mode.value,
            state,
            role: node.role,
            profile: node
                .config
                .profile()
                .map(|p| shown::value("profile", &p.value))
                .unwrap_or_default(),
            rke2_version: node.version.as_ref().map(ToString::to_string).unwrap_or_default(),
            controls,
            corrections,
            ..Report::starting()
        };
        bounds::findings(report)
    }
}

/// The time of a report: seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
