// SPDX-License-Identifier: Apache-2.0
//! One pass: observe, judge, apply, observe again what was touched, report.
//!
//! Besides the whole pass there are two narrow ones, for one kernel parameter and for one entry
//! of the data directory: the same judgement and the same executor on fewer facts, so that drift
//! is undone in microseconds. Whatever they cannot mend is left to a whole pass.

pub mod bounds;
mod control;
mod narrow;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{self, Problem, Settings};
use crate::controls::etcd_account;
use crate::controls::etcd_data_dir::{self, TreeFacts};
use crate::controls::overrides;
use crate::controls::own_config;
use crate::controls::rke2_config;
use crate::controls::sysctl::{self, Live, Scope, Wanted};
use crate::controls::sysctl_override;
use crate::host::proc_sys::ProcSys;
use crate::host::rke2::Node;
use crate::host::rke2_version::VersionCache;
use crate::host::root::Root;
use crate::host::tree::Look;
use crate::host::walk::OnDirectory;
use crate::host::{self, accounts, apply, observe, tree};
use crate::model::{
    ControlId, ControlReport, Correction, Finding, Object, Obstacle, Owner, Report, Role, State,
};
use crate::rke2::{Config, shown};
use semver::Version;

use control::{Changes, Doing, ENOUGH, Judge, Sight};
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
    meant: Option<Config>,
    /// nodeguard's own configuration: the last whole one, else the built-in one.
    settings: Settings,
    /// Whether `settings` was ever read.
    configured: bool,
    /// The numbers of the account etcd when it was last seen.
    account: etcd_account::Former,
    /// What the daemon found besides, in every report until it is over.
    standing: Vec<Finding>,
    /// What is said about each object that is contested.
    contests: BTreeMap<Object, Finding>,
    /// Contested, and not to be judged or touched now.
    held: BTreeSet<Object>,
}

/// What a pass found, and what is to be watched from now on.
#[derive(Debug)]
pub struct Pass {
    pub report: Report,
    pub watch: Watch,
    /// What was changed and was wrong again before the pass was over.
    pub undone: BTreeSet<Object>,
}

/// What a daemon watches, as this pass saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Configuration files and directories of RKE2's.
    pub config: Vec<PathBuf>,
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

/// What decides which controls there are and what they want.
struct Ground {
    /// What is wrong with nodeguard's own configuration.
    problems: Vec<Problem>,
    node: Node,
    /// RKE2's configuration that the guard goes by.
    config: Config,
    /// Whether RKE2 hardens itself with it.
    hardened: bool,
    scope: Scope,
}

impl Engine {
    pub fn new(root: Root, role: Option<Role>) -> Self {
        Self {
            root,
            proc_sys: ProcSys::default(),
            versions: VersionCache::default(),
            role,
            meant: None,
            settings: Settings::default(),
            configured: false,
            account: etcd_account::Former::default(),
            standing: Vec::new(),
            contests: BTreeMap::new(),
            held: BTreeSet::new(),
        }
    }

    pub fn root(&self) -> &Root {
        &self.root
    }

    /// nodeguard's own configuration as it is in force since the last pass.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The held descriptors of the kernel parameters, for watching them.
    pub fn proc_sys(&mut self) -> &mut ProcSys {
        &mut self.proc_sys
    }

    /// Reports `finding` with every pass until [`Self::withdraw`] takes it back.
    pub fn raise(&mut self, finding: Finding) {
        self.withdraw(&finding.subject);
        self.standing.push(finding);
    }

    /// What was raised about `subject` is over.
    pub fn withdraw(&mut self, subject: &str) {
        self.standing.retain(|finding| finding.subject != subject);
    }

    /// Reports `finding` with every pass until the contest of `object` is [`Self::settle`]d. By the
    /// object and not by its name: two names may be shown alike.
    pub fn contest(&mut self, object: Object, finding: Finding) {
        self.contests.insert(object, finding);
    }

    pub fn settle(&mut self, object: &Object) {
        self.contests.remove(object);
    }

    /// Reads nodeguard's own configuration again. A broken one is as if it had not been touched.
    pub fn configure(&mut self) -> Vec<Problem> {
        match config::resolve(&host::own_config::sources(&self.root), &sysctl::FIXED) {
            Ok(settings) => {
                self.settings = settings;
                self.configured = true;
                Vec::new()
            }
            Err(problems) => problems,
        }
    }

    /// Neither judges nor touches these from now on: what is said about them is their contest.
    pub fn hold(&mut self, held: BTreeSet<Object>) {
        self.held = held;
    }

    /// What is wanted of kernel parameters, nothing else being looked at.
    pub fn wanted(&mut self) -> Vec<Wanted> {
        let scope = self.ground(Mode::Check).scope;
        sysctl::wanted(observe::sysctl_source(&self.root).as_ref(), scope, &self.settings.sysctl)
    }

    /// Reads what decides which controls there are and what they want.
    fn ground(&mut self, mode: Mode) -> Ground {
        let problems = self.configure();
        let node =
            host::rke2::observe(&self.root, &mut self.versions, self.role, mode == Mode::Apply);
        if !node.config.is_incomplete() {
            self.meant = Some(node.config.clone());
        }
        // While a file is broken, RKE2 goes on as it was started; so does the guard.
        let meant = self.meant.clone().filter(|meant| meant.role == node.role);
        let config = meant.unwrap_or_else(|| node.config.clone());
        let hardened = config.hardened(node.version.as_ref());
        let guarding = config.guarding(node.role, node.version.as_ref());
        let scope = Scope { kernel_defaults_in_force: config.kernel_defaults_in_force(), guarding };
        Ground { problems, node, config, hardened, scope }
    }

    /// One pass over all controls. `on_directory` is called for each directory of the guarded
    /// tree before it is read.
    pub fn pass(&mut self, mode: Mode, on_directory: OnDirectory<'_>) -> Pass {
        if mode == Mode::Apply {
            apply::sweep(&self.root);
        }
        let Ground { problems, node, config, hardened, scope } = self.ground(mode);
        let mut changes = Changes::default();
        let mut controls = Vec::new();
        let mut watch = Watch { config: node.watched.clone(), scope, ..Watch::default() };

        let mut control = |engine: &mut Self, id, doing, judge: Judge<'_>| {
            controls.push(engine.control(id, doing, &mut changes, on_directory, judge));
        };
        let doing = || if mode == Mode::Apply { Doing::Mend } else { Doing::Look };
        control(self, ControlId::Rke2Config, doing(), &mut |_, _, _| {
            let mut planned = rke2_config::judge(&rke2_config::Facts {
                config: &node.config,
                version: node.version.as_ref(),
                role: node.role,
                units: node.units,
                place: node.place.as_ref(),
            });
            planned.extend(overrides::judge(&node.overrides));
            planned
        });
        control(self, ControlId::Sysctl, doing(), &mut |engine, _, _| {
            let own = &engine.settings.sysctl;
            let facts = observe::sysctl(&engine.root, &mut engine.proc_sys, scope, own);
            watch.sysctls = sysctl::wanted(facts.source.as_ref(), scope, own);
            let mut planned = sysctl::judge(&facts);
            let sources = host::sysctl_d::observe(&engine.root);
            // What is left alone at runtime may be set by whoever wants to at boot.
            let held: Vec<_> = watch.sysctls.iter().filter(|w| w.is_held()).cloned().collect();
            planned.extend(sysctl_override::judge(&sources, &held));
            planned
        });
        if node.role == Role::Server {
            control(self, ControlId::EtcdAccount, doing(), &mut |engine, _, _| {
                let facts = accounts::etcd(
                    &engine.root,
                    &accounts::Besides {
                        data_dir: &config.data_dir.value,
                        checked: hardened,
                        pinned: &engine.settings.etcd_account,
                        remembered: engine.account,
                    },
                );
                engine.account = engine.account.seen(&facts);
                etcd_account::judge(&facts)
            });
        }
        if scope.guarding {
            // Looked at and reported all the same; the kernel parameter has a finding of its own.
            let safe = self.hardlinks_are_protected();
            let doing = match mode {
                Mode::Apply if !safe => Doing::Withhold(Obstacle::HardlinksUnprotected),
                _ => doing(),
            };
            let mut last = None;
            control(self, ControlId::EtcdDataDir, doing, &mut |engine, sight, on_directory| {
                let enough = if matches!(sight, Sight::Glance) { ENOUGH } else { u64::MAX };
                let known = match sight {
                    Sight::Before(tree) => {
                        let facts = last.clone();
                        let facts =
                            facts.map(|last| etcd_data_dir::Facts { tree: Some(tree), ..last });
                        return facts.map_or_else(Vec::new, |facts| etcd_data_dir::judge(&facts));
                    }
                    Sight::After(tree) => Some(tree),
                    Sight::Last => {
                        last.as_ref().and_then(|last: &etcd_data_dir::Facts| last.tree.clone())
                    }
                    Sight::Glance | Sight::Look => None,
                };
                let version = node.version.as_ref();
                // What was measured by another owner tells nothing by this one: meanwhile RKE2 may
                // have given the tree away.
                let known = known.zip(last.as_ref().map(|last| last.owner));
                last = engine.data_dir(&config, version, known, enough, on_directory);
                let Some(facts) = &last else { return Vec::new() };
                watch.guard = (safe && facts.unsafe_path.is_none()).then(|| Guard {
                    dir: facts.dir.clone(),
                    tls_dir: facts.tls_dir.clone(),
                    owner: facts.owner,
                    account: facts.account,
                    manifest: facts.manifest.clone(),
                });
                etcd_data_dir::judge(facts)
            });
        }
        control(self, ControlId::NodeguardConfig, doing(), &mut |engine, _, _| {
            own_config::judge(&own_config::Facts {
                problems: &problems,
                kept: engine.configured,
                settings: &engine.settings,
                wanted: &watch.sysctls,
            })
        });
        let Changes { corrections, undone } = changes;
        Pass { report: self.report(&node, controls, corrections), watch, undone }
    }

    /// `known`: facts of the tree by this owner, which is not walked then. `enough`: see [`Look`].
    fn data_dir(
        &self,
        config: &Config,
        version: Option<&Version>,
        mut known: Option<(TreeFacts, Owner)>,
        enough: u64,
        on_directory: OnDirectory<'_>,
    ) -> Option<etcd_data_dir::Facts> {
        observe::data_dir(&self.root, config, version, &mut |dir, owner| {
            if let Some((tree, _)) = known.take().filter(|(_, measured)| *measured == owner) {
                return Ok(Some(tree));
            }
            let spared = apply::spared(&self.held, dir);
            let mounts = &config.etcd_pod_mounts();
            let look = Look { spared: &spared, enough, mounts, ..Look::whole(owner) };
            tree::observe(&self.root, dir, look, on_directory)
        })
    }

    /// Whether the kernel protects hard links. For an image it is this machine that counts: whoever
    /// builds it could link a file of this machine's into it, if they are on one file system.
    fn hardlinks_are_protected(&mut self) -> bool {
        match self.proc_sys.read(sysctl::PROTECTED_HARDLINKS) {
            Live::Value(value) => value == "1",
            Live::Missing | Live::Unreadable(_) => !self.root.is_live(),
        }
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
