// SPDX-License-Identifier: Apache-2.0
//! One pass: observe, judge, apply, observe again what was touched, report.
//!
//! Besides the whole pass there are two narrow ones, for one kernel parameter and for one entry
//! of the data directory: the same judgement and the same executor on fewer facts, so that drift
//! is undone in microseconds. Whatever they cannot mend is left to a whole pass.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{self, Problem, Settings};
use crate::controls::etcd_account;
use crate::controls::etcd_data_dir;
use crate::controls::own_config;
use crate::controls::rke2_config;
use crate::controls::sysctl::{self, Live, Scope, Wanted};
use crate::host::proc_sys::ProcSys;
use crate::host::rke2::{Node, VersionCache};
use crate::host::root::Root;
use crate::host::walk::OnDirectory;
use crate::host::{self, apply, observe, tree};
use crate::model::{
    Action, ControlId, ControlReport, Correction, Finding, ModeRule, Outcome, Owner, Planned,
    Report, Role, Severity, State,
};
use crate::rke2::Config;

/// Whether a pass changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Check,
    Apply,
}

/// Judging and applying again may uncover the next step (a group first, then the primary group);
/// more than this many steps no control has.
const ROUNDS: usize = 4;

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
    /// What the daemon found besides, in every report until it is over.
    standing: Vec<Finding>,
}

/// What a pass found, and what is to be watched from now on.
#[derive(Debug)]
pub struct Pass {
    pub report: Report,
    pub watch: Watch,
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

/// How a narrow pass ended.
#[derive(Debug)]
pub enum Narrow {
    Right,
    Corrected(Vec<Correction>),
    /// Something that only a whole pass can judge.
    Unmended,
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
            standing: Vec::new(),
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

        controls.push(self.control(ControlId::Rke2Config, mode, &mut corrections, &mut |_| {
            rke2_config::judge(&rke2_config::Facts {
                config: &node.config,
                version: node.version.as_ref(),
                role: node.role,
                units: node.units,
            })
        }));
        controls.push(self.control(ControlId::Sysctl, mode, &mut corrections, &mut |engine| {
            let own = &engine.settings.sysctl;
            let facts = observe::sysctl(&engine.root, &mut engine.proc_sys, scope, own);
            watch.sysctls = sysctl::wanted(facts.source.as_ref(), scope, own);
            sysctl::judge(&facts)
        }));
        if node.role == Role::Server {
            controls.push(self.control(
                ControlId::EtcdAccount,
                mode,
                &mut corrections,
                &mut |engine| {
                    let data_dir = &config.data_dir.value;
                    etcd_account::judge(&observe::account(&engine.root, data_dir, hardened))
                },
            ));
        }
        if guarding {
            // Looked at and reported all the same; the kernel parameter has a finding of its own.
            let safe = self.hardlinks_are_protected();
            controls.push(self.control(
                ControlId::EtcdDataDir,
                if safe { mode } else { Mode::Check },
                &mut corrections,
                &mut |engine| {
                    let version = node.version.as_ref();
                    let facts = observe::data_dir(&engine.root, config, version, on_directory);
                    let Some(facts) = facts else { return Vec::new() };
                    watch.guard = (safe && facts.unsafe_path.is_none()).then(|| Guard {
                        dir: facts.dir.clone(),
                        tls_dir: facts.tls_dir.clone(),
                        owner: facts.owner,
                    });
                    etcd_data_dir::judge(&facts)
                },
            ));
        }
        controls.push(self.control(
            ControlId::NodeguardConfig,
            mode,
            &mut corrections,
            &mut |engine| {
                own_config::judge(&own_config::Facts {
                    problems: &problems,
                    kept: engine.configured,
                    settings: &engine.settings,
                    wanted: &watch.sysctls,
                })
            },
        ));
        Pass { report: self.report(&node, controls, corrections), watch }
    }

    /// In an image nobody links anything.
    fn hardlinks_are_protected(&mut self) -> bool {
        !self.root.is_live()
            || self.proc_sys.read(sysctl::PROTECTED_HARDLINKS) == Live::Value("1".into())
    }

    /// One kernel parameter, mended if it is wrong.
    pub fn mend_sysctl(&mut self, want: &Wanted, scope: Scope) -> Narrow {
        self.narrow(&mut |engine| {
            let live = engine.proc_sys.read(&want.key);
            sysctl::judge_live(want, &live, scope).into_iter().collect()
        })
    }

    /// One entry of the guarded tree, mended if it is wrong; with `whole`, everything below it as
    /// well.
    pub fn mend_entry(
        &mut self,
        guard: &Guard,
        below: &Path,
        whole: bool,
        on_directory: OnDirectory<'_>,
    ) -> Narrow {
        let (base, owner) = (guard.dir.clone(), guard.owner);
        let own = if whole {
            Action::OwnTree { base, below: below.to_path_buf(), owner }
        } else {
            let rule = ModeRule::EtcdTree;
            Action::OwnEntry { base, below: below.to_path_buf(), owner, rule }
        };
        let mut failed = false;
        let narrow = self.narrow(&mut |engine| {
            let root = &engine.root;
            let found = if whole {
                tree::observe_below(root, &guard.dir, below, owner, on_directory)
            } else {
                tree::observe_entry(root, &guard.dir, below, owner)
            };
            match found {
                Ok(facts) => etcd_data_dir::judge_tree(&guard.dir, &facts, &own),
                Err(_) => {
                    failed = true;
                    Vec::new()
                }
            }
        });
        if failed { Narrow::Unmended } else { narrow }
    }

    fn narrow(&mut self, judge: &mut dyn FnMut(&mut Self) -> Vec<Planned>) -> Narrow {
        // A note changes nothing, and a whole pass reports it.
        let mut judge = |engine: &mut Self| {
            let mut planned = judge(engine);
            planned.retain(|p| p.finding.severity > Severity::Note);
            planned
        };
        let planned = judge(self);
        if planned.is_empty() {
            return Narrow::Right;
        }
        if planned.iter().any(|p| p.actions.is_empty()) {
            return Narrow::Unmended;
        }
        let attempts = self.attempt(&planned);
        let after = judge(self);
        if !after.is_empty() {
            return Narrow::Unmended;
        }
        match corrected(&planned, &attempts, &after) {
            corrections if corrections.is_empty() => Narrow::Right,
            corrections => Narrow::Corrected(corrections),
        }
    }

    fn control(
        &mut self,
        id: ControlId,
        mode: Mode,
        corrections: &mut Vec<Correction>,
        judge: &mut dyn FnMut(&mut Self) -> Vec<Planned>,
    ) -> ControlReport {
        let mut planned = judge(self);
        let mut failures: Vec<(Action, String)> = Vec::new();
        if mode == Mode::Apply {
            for _ in 0..ROUNDS {
                if planned.iter().all(|p| p.actions.is_empty()) {
                    break;
                }
                let attempts = self.attempt(&planned);
                let after = judge(self);
                corrections.extend(corrected(&planned, &attempts, &after));
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
        let mut findings: Vec<_> = planned.into_iter().map(|p| p.finding).collect();
        findings.extend(self.standing.iter().filter(|f| f.control == id).cloned());
        ControlReport {
            id,
            title: id.title(),
            cis_ids: id.cis_ids(),
            state: State::of(&findings),
            findings,
        }
    }

    /// Runs each planned action once, however many findings ask for it.
    fn attempt(&mut self, planned: &[Planned]) -> Vec<(Action, Outcome)> {
        let mut done: Vec<(Action, Outcome)> = Vec::new();
        for action in planned.iter().flat_map(|p| &p.actions) {
            if !done.iter().any(|(known, _)| known == action) {
                let outcome = apply::run(&self.root, &mut self.proc_sys, action);
                done.push((action.clone(), outcome));
            }
        }
        done
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
            before: None,
            writer: None,
        })
        .collect()
}
