// SPDX-License-Identifier: Apache-2.0
//! One pass: observe, judge, apply, observe again what was touched, report.
//!
//! Besides the whole pass there are two narrow ones, for one kernel parameter and for one entry
//! of the data directory: the same judgement and the same executor on fewer facts, so that drift
//! is undone in microseconds. Whatever they cannot mend is left to a whole pass.

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
use crate::host::apply::Hand;
use crate::host::proc_sys::ProcSys;
use crate::host::rke2::Node;
use crate::host::rke2_version::VersionCache;
use crate::host::root::Root;
use crate::host::tree::{Look, Trees};
use crate::host::walk::OnDirectory;
use crate::host::{self, accounts, apply, observe, tree};
use crate::model::{
    Action, ControlId, ControlReport, Correction, Finding, Object, Outcome, Owner, Planned, Report,
    Role, State,
};
use crate::rke2::Config;
use semver::Version;

pub use narrow::Narrow;

/// Whether a pass changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Check,
    Apply,
}

/// Judging and applying again may uncover the next step (a group first, then the primary group);
/// more than this many steps no control has.
const ROUNDS: usize = 4;

/// Wrong entries of a tree after which the first look of a pass that mends ends: the tree is going
/// to be gone through entry by entry anyway.
const ENOUGH: u64 = 64;

/// Where a judgement takes the facts of a tree from. The other facts are always fresh ones, except
/// before a change, where they are those of the last look.
enum Sight {
    /// A look that may end early, since what it finds is mended and looked at again.
    Glance,
    Look,
    /// How the tree was before it was owned, as it turned out.
    Before(TreeFacts),
    /// How it was then.
    After(TreeFacts),
}

/// Facts → findings, for one control.
type Judge<'a> = &'a mut dyn FnMut(&mut Engine, Sight, OnDirectory<'_>) -> Vec<Planned>;

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
    /// Of the pass that is being made, see [`Pass::undone`].
    undone: BTreeSet<Object>,
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
    pub owner: Owner,
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
            undone: BTreeSet::new(),
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

    /// One pass over all controls. `on_directory` is called for each directory of the guarded
    /// tree before it is read.
    pub fn pass(&mut self, mode: Mode, on_directory: OnDirectory<'_>) -> Pass {
        let problems = self.configure();
        let node =
            host::rke2::observe(&self.root, &mut self.versions, self.role, mode == Mode::Apply);
        if !node.config.is_incomplete() {
            self.meant = Some(node.config.clone());
        }
        // While a file is broken, RKE2 goes on as it was started; so does the guard.
        let meant = self.meant.clone().filter(|meant| meant.role == node.role);
        let config = meant.as_ref().unwrap_or(&node.config);
        let hardened = config.hardened(node.version.as_ref());
        let guarding = node.role == Role::Server && hardened && config.runs_local_etcd();
        let scope = Scope { kernel_defaults_in_force: config.kernel_defaults_in_force(), guarding };
        let mut corrections = Vec::new();
        let mut controls = Vec::new();
        let mut watch = Watch { config: node.watched.clone(), scope, ..Watch::default() };

        let mut control = |engine: &mut Self, id, mode, judge: Judge<'_>| {
            controls.push(engine.control(id, mode, &mut corrections, on_directory, judge));
        };
        control(self, ControlId::Rke2Config, mode, &mut |_, _, _| {
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
        control(self, ControlId::Sysctl, mode, &mut |engine, _, _| {
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
            control(self, ControlId::EtcdAccount, mode, &mut |engine, _, _| {
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
        if guarding {
            // Looked at and reported all the same; the kernel parameter has a finding of its own.
            let safe = self.hardlinks_are_protected();
            let mode = if safe { mode } else { Mode::Check };
            let mut last = None;
            control(self, ControlId::EtcdDataDir, mode, &mut |engine, sight, on_directory| {
                if let Sight::Before(tree) = sight {
                    let facts =
                        last.clone().map(|last| etcd_data_dir::Facts { tree: Some(tree), ..last });
                    return facts.map_or_else(Vec::new, |facts| etcd_data_dir::judge(&facts));
                }
                last = engine.data_dir(config, node.version.as_ref(), sight, on_directory);
                let Some(facts) = &last else { return Vec::new() };
                watch.guard = (safe && facts.unsafe_path.is_none()).then(|| Guard {
                    dir: facts.dir.clone(),
                    tls_dir: facts.tls_dir.clone(),
                    owner: facts.owner,
                });
                etcd_data_dir::judge(facts)
            });
        }
        control(self, ControlId::NodeguardConfig, mode, &mut |engine, _, _| {
            own_config::judge(&own_config::Facts {
                problems: &problems,
                kept: engine.configured,
                settings: &engine.settings,
                wanted: &watch.sysctls,
            })
        });
        let undone = std::mem::take(&mut self.undone);
        Pass { report: self.report(&node, controls, corrections), watch, undone }
    }

    fn data_dir(
        &self,
        config: &Config,
        version: Option<&Version>,
        sight: Sight,
        on_directory: OnDirectory<'_>,
    ) -> Option<etcd_data_dir::Facts> {
        let mut known = None;
        let mut enough = u64::MAX;
        match sight {
            Sight::Glance => enough = ENOUGH,
            Sight::Look => {}
            Sight::Before(tree) | Sight::After(tree) => known = Some(tree),
        }
        observe::data_dir(&self.root, config, version, &mut |dir, owner| {
            if let Some(tree) = known.take() {
                return Ok(Some(tree));
            }
            let spared = apply::spared(&self.held, dir);
            tree::observe(
                &self.root,
                dir,
                Look { spared: &spared, enough, ..Look::whole(owner) },
                on_directory,
            )
        })
    }

    /// In an image nobody links anything.
    fn hardlinks_are_protected(&mut self) -> bool {
        !self.root.is_live()
            || self.proc_sys.read(sysctl::PROTECTED_HARDLINKS) == Live::Value("1".into())
    }

    fn control(
        &mut self,
        id: ControlId,
        mode: Mode,
        corrections: &mut Vec<Correction>,
        on_directory: OnDirectory<'_>,
        judge: Judge<'_>,
    ) -> ControlReport {
        let first = if mode == Mode::Apply { Sight::Glance } else { Sight::Look };
        let mut planned = judge(self, first, on_directory);
        let mut failures: Vec<(Action, String)> = Vec::new();
        if mode == Mode::Apply {
            for _ in 0..ROUNDS {
                if planned.iter().all(|p| p.actions.is_empty()) {
                    break;
                }
                let (attempts, trees) = self.attempt(&planned, on_directory);
                let sight = match trees {
                    Some(Trees { before, after }) => {
                        planned = judge(self, Sight::Before(before), on_directory);
                        Sight::After(after)
                    }
                    None => Sight::Look,
                };
                let after = judge(self, sight, on_directory);
                corrections.extend(corrected(&planned, &attempts, &after));
                let changed = |(action, outcome): &(Action, Outcome)| {
                    let again = after.iter().any(|p| p.actions.contains(action));
                    let undone = again && matches!(outcome, Outcome::Applied { .. });
                    undone.then(|| action.object()).flatten()
                };
                self.undone.extend(attempts.iter().filter_map(changed));
                failures = attempts
                    .iter()
                    .filter_map(|(action, outcome)| match outcome {
                        Outcome::Refused { reason } | Outcome::Failed { reason } => {
                            Some((action.clone(), reason.clone()))
                        }
                        Outcome::Applied { .. } | Outcome::AlreadyDone => None,
                    })
                    .collect();
                planned = after;
                if !attempts.iter().any(|(_, o)| matches!(o, Outcome::Applied { .. })) {
                    break;
                }
            }
            for left in planned.iter_mut().filter(|p| !p.actions.is_empty()) {
                left.finding.severity = left.unmended;
                let reason = failures.iter().find(|(action, _)| left.actions.contains(action));
                if let Some((_, reason)) = reason {
                    left.finding.message = format!("{} ({reason})", left.finding.message);
                }
            }
        }
        planned.retain(|p| !self.is_held(p));
        let mut findings: Vec<_> = planned.into_iter().map(|p| p.finding).collect();
        let standing = self.standing.iter().chain(self.contests.values());
        findings.extend(standing.filter(|f| f.control == id).cloned());
        ControlReport {
            id,
            title: id.title(),
            cis_ids: id.cis_ids(),
            state: State::of(&findings),
            findings,
        }
    }

    /// Runs each planned action once, however many findings ask for it.
    fn attempt(
        &mut self,
        planned: &[Planned],
        on_directory: OnDirectory<'_>,
    ) -> (Vec<(Action, Outcome)>, Option<Trees>) {
        let mut done: Vec<(Action, Outcome)> = Vec::new();
        let mut trees = None;
        for action in planned.iter().flat_map(|p| &p.actions) {
            if !done.iter().any(|(known, _)| known == action) {
                let Self { root, proc_sys, held, .. } = self;
                let ran = apply::run(&mut Hand { root, proc_sys, held, on_directory }, action);
                trees = trees.or(ran.trees);
                done.push((action.clone(), ran.outcome));
            }
        }
        (done, trees)
    }

    /// Whether a contest, which has a finding of its own, is all that is in the way of mending.
    fn is_held(&self, planned: &Planned) -> bool {
        let held = |action: &Action| {
            action
                .object()
                .is_some_and(|o| self.held.contains(&o) && self.contests.contains_key(&o))
        };
        // Without the protection of links nothing is guarded, which is more than a contest.
        planned.finding.subject != sysctl::PROTECTED_HARDLINKS
            && !planned.actions.is_empty()
            && planned.actions.iter().all(held)
    }

    fn report(
        &self,
        node: &Node,
        controls: Vec<ControlReport>,
        corrections: Vec<Correction>,
    ) -> Report {
        let state = State::of(controls.iter().flat_map(|c| &c.findings));
        Report {
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            root: self.root.path().display().to_string(),
            state,
            role: node.role,
            profile: node.config.profile().map(|p| p.value.clone()).unwrap_or_default(),
            rke2_version: node.version.as_ref().map(ToString::to_string).unwrap_or_default(),
            controls,
            corrections,
            ..Report::starting()
        }
    }
}

/// What was wrong before, was acted on, and is not wrong after.
fn corrected(
    before: &[Planned],
    attempts: &[(Action, Outcome)],
    after: &[Planned],
) -> Vec<Correction> {
    let applied = |action: &Action| {
        attempts
            .iter()
            .any(|(known, outcome)| known == action && matches!(outcome, Outcome::Applied { .. }))
    };
    let still = |planned: &Planned| {
        after.iter().any(|p| {
            p.finding.code == planned.finding.code && p.finding.subject == planned.finding.subject
        })
    };
    before
        .iter()
        .filter(|p| p.actions.iter().any(applied) && !still(p))
        .map(|p| Correction {
            control: p.finding.control,
            code: p.finding.code,
            subject: p.finding.subject.clone(),
            from: p.finding.actual.clone(),
            to: p.finding.expected.clone(),
            object: p.actions.iter().find(|action| applied(action)).and_then(Action::object),
            before: None,
            writer: None,
        })
        .collect()
}
