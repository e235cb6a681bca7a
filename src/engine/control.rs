// SPDX-License-Identifier: Apache-2.0
//! One control of a pass: judge, run what is planned, judge again.

use std::collections::BTreeSet;
use std::path::Path;

use crate::controls::etcd_data_dir::tree::Trees;
use crate::controls::{Observation, obstacle, sysctl};
use crate::engine::Engine;
use crate::engine::executor::{self, Executed, Executor};
use crate::model::{
    Action, ControlId, ControlReport, Correction, Depth, Finding, Object, Obstacle, Origin,
    Outcome, Planned,
};
use crate::system::walk::OnDirectory;

/// Judging and applying again may uncover the next step (a group first, then the primary group);
/// more than this many steps no control has.
const ROUNDS: usize = 4;

/// Observes and judges one control.
pub(super) type Judge<'a> =
    &'a mut dyn FnMut(&mut Engine, Observation, OnDirectory<'_>) -> Vec<Planned>;

/// What a pass does with a control.
pub(super) enum Doing {
    Look,
    Mend,
    /// It would mend, and something keeps it from that.
    Withhold(Obstacle),
}

/// What a pass changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub corrections: Vec<Correction>,
    /// See [`super::Pass::undone`].
    pub undone: BTreeSet<Object>,
}

impl Engine {
    /// One control: judged, and if it is to be mended, mended and judged again.
    pub(super) fn control(
        &mut self,
        id: ControlId,
        doing: Doing,
        changes: &mut Changes,
        on_directory: OnDirectory<'_>,
        judge: Judge<'_>,
    ) -> ControlReport {
        let mends = matches!(doing, Doing::Mend);
        let first = if mends { Observation::Brief } else { Observation::Full };
        let mut planned = judge(self, first, on_directory);
        let mut failures: Vec<(Action, String, Obstacle)> = Vec::new();
        if mends {
            for _ in 0..ROUNDS {
                if planned.iter().all(|p| p.actions.is_empty()) {
                    break;
                }
                let (attempts, trees) = self.attempt(&planned, u64::MAX, on_directory);
                let owned = |(action, _): &(Action, Outcome)| is_whole_tree(action);
                let observation = match trees {
                    Some(Trees { before, after }) => {
                        planned = judge(self, Observation::BeforeChange(before), on_directory);
                        Observation::AfterChange(after)
                    }
                    // It could not be walked, or is contested and was left alone.
                    None if attempts.iter().any(owned) => Observation::Full,
                    None => Observation::Previous,
                };
                let after = judge(self, observation, on_directory);
                changes.corrections.extend(corrected(&planned, &attempts, &after));
                let changed = |(action, outcome): &(Action, Outcome)| {
                    let again = after.iter().any(|p| p.actions.contains(action));
                    let undone = again && matches!(outcome, Outcome::Applied { .. });
                    undone.then(|| action.object()).flatten()
                };
                changes.undone.extend(attempts.iter().filter_map(changed));
                failures = attempts
                    .iter()
                    .filter_map(|(action, outcome)| match outcome {
                        Outcome::Refused { reason, obstacle }
                        | Outcome::Failed { reason, obstacle } => {
                            Some((action.clone(), reason.clone(), obstacle.clone()))
                        }
                        Outcome::Applied { .. } | Outcome::AlreadyDone => None,
                    })
                    .collect();
                planned = after;
                // One that failed may have done a part of its work, and left another to do.
                let tried = |action: &Action| {
                    attempts.iter().any(|(known, _)| known.is_about_the_same(action))
                };
                let anything_new = planned.iter().flat_map(|p| &p.actions).any(|a| !tried(a));
                let applied = |o: &Outcome| matches!(o, Outcome::Applied { .. });
                if !anything_new && !attempts.iter().any(|(_, o)| applied(o)) {
                    break;
                }
            }
            planned.iter_mut().for_each(|left| self.left(left, &failures));
        }
        if let Doing::Withhold(obstacle) = &doing {
            let planned = planned.iter_mut().filter(|p| !p.actions.is_empty());
            planned.for_each(|p| self.blame(&mut p.finding, obstacle));
        }
        if let Some(image) = self.image() {
            // What failed has a remedy for the image already.
            let blamed = |p: &Planned| !matches!(doing, Doing::Look) && !p.actions.is_empty();
            for Planned { finding, actions, .. } in planned.iter_mut().filter(|p| !blamed(p)) {
                finding.remedy = match actions[..] {
                    [] => obstacle::in_image(&finding.remedy, image),
                    _ => obstacle::mends_image(image),
                };
            }
        }
        if self.changes_nothing() {
            planned.iter_mut().filter(|p| !p.actions.is_empty()).for_each(|p| self.only_told(p));
        }
        planned.retain(|p| !self.is_suspended(p));
        let mut findings: Vec<_> = planned.into_iter().map(|p| p.finding).collect();
        let raised = self.raised.iter().chain(self.contests.values());
        findings.extend(raised.filter(|f| f.control == id).cloned());
        findings.iter_mut().for_each(named);
        findings.iter_mut().for_each(|finding| self.settings.gate.demote(finding));
        debug_assert!(findings.iter().all(Finding::is_as_its_code_says), "{findings:?}");
        ControlReport::new(id, findings)
    }

    /// What is still wrong after everything was tried. Its remedy comes from what failed and not
    /// from the plan, which would name the very command that has just failed.
    fn left(&self, left: &mut Planned, failures: &[(Action, String, Obstacle)]) {
        if left.actions.is_empty() {
            return;
        }
        left.finding.severity = left.unmended;
        let failure = failures.iter().find(|(failed, ..)| {
            left.actions.iter().any(|action| action.is_about_the_same(failed))
        });
        // Without one it was changed and is wrong again, or has become wrong meanwhile.
        let Some((_, reason, kept)) = failure else {
            return self.blame(&mut left.finding, &Obstacle::Changing);
        };
        let more = obstacle::detail(kept).map(|more| format!("; {more}")).unwrap_or_default();
        left.finding.message = format!("{} ({reason}{more})", left.finding.message);
        self.blame(&mut left.finding, kept);
    }

    /// What would be mended, and is not in report mode, or where it is unclear whether it is to be. Its
    /// remedy is not the command that changes nothing now.
    fn only_told(&self, planned: &mut Planned) {
        let unmended = planned.unmended;
        let finding = &mut planned.finding;
        let (why, remedy) = match &self.settings.unclear {
            Some(origin) => {
                // The gate is shut on what nobody mends.
                finding.severity = unmended;
                let why = format!(" (not corrected because of {origin}, see own-config)");
                (why, format!("correct {origin}: nodeguard mends it then"))
            }
            None => {
                let origin = &self.settings.mode.origin;
                let remedy = format!("write mode = \"enforce\" in {origin}: nodeguard mends it");
                (" (report mode: it would be corrected)".to_owned(), remedy)
            }
        };
        finding.message.push_str(&why);
        if finding.remedy.starts_with("nodeguard apply") {
            finding.remedy = remedy;
        }
    }

    fn blame(&self, finding: &mut Finding, obstacle: &Obstacle) {
        finding.remedy = obstacle::remedy(obstacle, self.image());
        if finding.origin.is_none() {
            finding.origin = obstacle::origin(obstacle);
        }
    }

    /// The directory that the pass works on, unless that is the running host.
    fn image(&self) -> Option<&Path> {
        (!self.root.is_live()).then(|| self.root.path())
    }

    /// Runs each planned action once, however many findings ask for it; of a tree, on `limit` entries.
    pub(super) fn attempt(
        &mut self,
        planned: &[Planned],
        limit: u64,
        on_directory: OnDirectory<'_>,
    ) -> (Vec<(Action, Outcome)>, Option<Trees>) {
        let mut done: Vec<(Action, Outcome)> = Vec::new();
        let mut trees = None;
        for action in planned.iter().flat_map(|p| &p.actions) {
            if !done.iter().any(|(known, _)| known == action) {
                let executed = self.execute(action, limit, on_directory);
                if is_whole_tree(action) {
                    trees = trees.or(executed.trees);
                }
                done.push((action.clone(), executed.outcome));
            }
        }
        (done, trees)
    }

    /// Runs an action; of a tree, on `limit` entries.
    pub(super) fn execute(
        &mut self,
        action: &Action,
        limit: u64,
        on_directory: OnDirectory<'_>,
    ) -> Executed {
        if self.changes_nothing() {
            // Nobody plans to come here then; and whoever does changes nothing.
            let reason = match &self.settings.unclear {
                Some(origin) => format!("{origin} leaves the mode open"),
                None => format!("{} says mode = \"report\"", self.settings.mode.origin),
            };
            let outcome = Outcome::Refused { reason, obstacle: Obstacle::Unclear };
            return Executed { outcome, trees: None };
        }
        let Self { root, proc_sys, suspended, .. } = self;
        executor::run(&mut Executor { root, proc_sys, suspended, limit, on_directory }, action)
    }

    /// Whether a contest, which has a finding of its own, is all that is in the way of mending.
    fn is_suspended(&self, planned: &Planned) -> bool {
        let suspended = |action: &Action| {
            action
                .object()
                .is_some_and(|o| self.suspended.contains(&o) && self.contests.contains_key(&o))
        };
        // Without the protection of links nothing is guarded, which is more than a contest.
        planned.finding.subject != sysctl::PROTECTED_HARDLINKS
            && !planned.actions.is_empty()
            && planned.actions.iter().all(suspended)
    }
}

fn is_whole_tree(action: &Action) -> bool {
    matches!(action, Action::Own { depth: Depth::Subtree, .. })
}

/// Every finding about a file says where it is.
fn named(finding: &mut Finding) {
    if finding.origin.is_none() && finding.subject.starts_with('/') {
        let file = finding.subject.strip_suffix("/*").unwrap_or(&finding.subject);
        finding.origin = Some(Origin::file(file));
    }
}

/// What was wrong before, was acted on, and is not wrong after.
pub(super) fn corrected(
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
            control: p.finding.control.clone(),
            code: p.finding.code.clone(),
            subject: p.finding.subject.clone(),
            from: p.finding.actual.clone(),
            to: p.finding.expected.clone(),
            object: p.actions.iter().find(|action| applied(action)).and_then(Action::object),
            before: None,
            writer: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Code, Object, Severity};
    use crate::system::root::Root;

    /// A control that finds something else to do after each step.
    #[test]
    fn what_is_never_settled_is_mended_so_many_times_and_then_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let mut engine = Engine::new(Root::image(dir.path()).unwrap(), None);
        let mut changes = Changes::default();
        let file = dir.path().join("etc/f");
        let report = engine.control(
            ControlId::Sysctl,
            Doing::Mend,
            &mut changes,
            &mut |_, _| {},
            &mut |_, _, _| {
                let expect = std::fs::read(&file).ok();
                let content =
                    format!("{}x", String::from_utf8(expect.clone().unwrap_or_default()).unwrap());
                let finding = Finding::new(Code::SysctlDropIn, "/etc/f").severity(Severity::Drift);
                let action =
                    Action::WriteFile { path: "/etc/f".into(), content: content.into(), expect };
                vec![Planned { finding, actions: vec![action], unmended: Severity::Warning }]
            },
        );
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "x".repeat(ROUNDS));
        assert_eq!(report.findings.len(), 1);
        assert_eq!(changes.undone, BTreeSet::<Object>::new());
    }
}
