// SPDX-License-Identifier: Apache-2.0
//! From a hint to one object mended: the fast way.

use std::path::Path;
use std::time::Instant;

use super::{Daemon, Why};
use crate::controls::sysctl::Wanted;
use crate::engine::Narrow;
use crate::journal::PassSpan;
use crate::model::{Code, Correction, Finding, Object, Severity, State, join};
use crate::pace::limits::LONGEST_TURN;
use crate::pace::{Change, Cost, PassFor, Source, Turn, Verdict};
use crate::processor;
use crate::watch::Hints;

/// What came of a look at one object.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looked {
    /// A full pass is to look, too.
    pub(super) needs_pass: bool,
    /// It is contested and was left alone, or is not written by anybody.
    pub(super) held_back: bool,
}

const HELD_BACK: Looked = Looked { needs_pass: false, held_back: true };
const LEFT_TO_A_PASS: Looked = Looked { needs_pass: true, held_back: false };

impl Daemon {
    pub(super) fn hinted(&mut self, from: Source, hints: &Hints) {
        if hints.bus {
            self.bus_wake.notify_one();
        }
        let _span = PassSpan::begin("narrow", "event");
        let (began, worked) = (Instant::now(), processor::worked());
        let mut pass = hints.pass;
        let (mut came, mut held_back) = (false, false);
        let mut corrections = Vec::new();
        self.engine.suspend(self.pace.suspended(began));
        for key in &hints.sysctls {
            self.somebody_wrote(key);
            let looked = self.mend_sysctl(key, &mut corrections);
            pass |= looked.needs_pass;
            held_back |= looked.held_back;
        }
        for entry in &hints.entries {
            if began.elapsed() > LONGEST_TURN {
                pass = true;
                break;
            }
            let looked = self.mend_entry(&entry.below, entry.subtree, &mut corrections);
            pass |= looked.needs_pass;
            came |= looked.held_back && entry.came;
            held_back |= looked.held_back;
        }
        self.corrected(corrections);
        pass |= self.why_events_are_missed() != self.events_missed.as_deref();
        // Without a full pass, which has a pause of its own.
        let took = hints.took + began.elapsed();
        let worked = hints.took + processor::worked().saturating_sub(worked);
        if pass {
            self.pass_soon(from, PassFor::Judging);
        } else if came {
            self.pass_soon(from, PassFor::Newcomer);
        } else if !hints.entries.is_empty() && !held_back && self.hopes_for_a_mend() {
            self.pass_soon(from, PassFor::Mending);
        }
        let only_for_a_pass = hints.is_only_for_a_pass();
        let tree_is_suspended = from == Source::Tree && self.tree_is_suspended();
        let turn = Turn { from, took, worked, held_back, only_for_a_pass, tree_is_suspended };
        self.pace.turn_ended(&turn, Instant::now());
    }

    /// Whether something is wrong that the tree's owner or an operator may be about to mend.
    fn hopes_for_a_mend(&self) -> bool {
        self.report().findings().any(|f| f.severity > Severity::Note && f.code != Code::Contested)
    }

    /// Looks at one kernel parameter, and corrects it.
    pub(super) fn mend_sysctl(&mut self, key: &str, corrections: &mut Vec<Correction>) -> Looked {
        let Some(want) = self.watch.sysctls.iter().find(|want| want.key == key) else {
            return Looked::default();
        };
        let object = Object::Parameter(key.to_owned());
        match self.pace.may_correct(&object, Instant::now()) {
            Verdict::Go | Verdict::Crowded => {}
            Verdict::HoldBack => return HELD_BACK,
        }
        let want = want.clone();
        let mut narrow = self.engine.mend_sysctl(&want, self.watch.scope);
        self.looked_at(&want, &mut narrow);
        if let Narrow::NotWritten(finding) = narrow {
            return self.tell_not_written(&want, finding.as_ref(), corrections);
        }
        self.after(&object, narrow, corrections)
    }

    /// A kernel parameter that is not written: all is well if the report has it as it is. Else a
    /// full pass will tell, not at once; and who changes it again and again fills no journal.
    fn tell_not_written(
        &mut self,
        want: &Wanted,
        finding: Option<&Finding>,
        corrections: &[Correction],
    ) -> Looked {
        let key = want.key.as_str();
        // Before a pass sees it as well.
        let changed = self.saw_not_written(key, finding.map_or(&want.value, |f| &f.actual));
        let report = self.report();
        let mut told = report.findings().filter(|f| f.code == Code::SysctlLive && f.subject == key);
        if told.next().map(|f| &f.actual) != finding.map(|f| &f.actual) {
            self.pass_soon(Source::Host, PassFor::Telling);
        }
        let (object, now) = (Object::Parameter(key.to_owned()), Instant::now());
        let change = if changed {
            // Dear: each time costs a full pass.
            self.pace.corrected(&object, Cost::Pass, now)
        } else {
            self.pace.found_correct(&object, now)
        };
        self.changed(&object, change, corrections);
        Looked { needs_pass: change != Change::None, held_back: true }
    }

    fn tree_is_suspended(&mut self) -> bool {
        let Some(guard) = &self.watch.guard else { return false };
        let tree = Object::Tree(guard.dir.clone());
        self.pace.may_correct(&tree, Instant::now()) == Verdict::HoldBack
    }

    /// The same for one entry of the guarded tree.
    pub(super) fn mend_entry(
        &mut self,
        below: &Path,
        subtree: bool,
        corrections: &mut Vec<Correction>,
    ) -> Looked {
        // Who keeps changing many entries at once fights over the whole tree.
        if self.tree_is_suspended() {
            return HELD_BACK;
        }
        let Some(guard) = &self.watch.guard else { return Looked::default() };
        let now = Instant::now();
        let object = Object::File(join(&guard.dir, below));
        match self.pace.may_correct(&object, now) {
            Verdict::Go => {}
            Verdict::HoldBack => return HELD_BACK,
            Verdict::Crowded => return LEFT_TO_A_PASS,
        }
        let watcher = &mut self.tree.watcher;
        let narrow = self.engine.mend_entry(guard, below, subtree, &mut |dir, below| {
            watcher.watch_tree(dir, below);
        });
        if matches!(narrow, Narrow::OnlyTold) {
            return self.only_told(&object, corrections);
        }
        self.after(&object, narrow, corrections)
    }

    /// An entry that is wrong in report mode. The report tells it already, or a whole pass will, not at
    /// once: whoever changes entries all the time makes no more passes than that.
    fn only_told(&mut self, object: &Object, corrections: &mut Vec<Correction>) -> Looked {
        if self.wrong(object).is_none() {
            self.pass_soon(Source::Tree, PassFor::Telling);
        }
        self.settled(object, Narrow::OnlyTold, corrections);
        HELD_BACK
    }

    fn after(
        &mut self,
        object: &Object,
        narrow: Narrow,
        corrections: &mut Vec<Correction>,
    ) -> Looked {
        let settled = self.settled(object, narrow, corrections);
        if settled { Looked::default() } else { LEFT_TO_A_PASS }
    }

    pub(super) fn tick(&mut self) {
        let _span = PassSpan::begin("narrow", "tick");
        let mut corrections = Vec::new();
        let mut pass = false;
        self.engine.suspend(self.pace.suspended(Instant::now()));
        let keys: Vec<_> = self.watch.sysctls.iter().map(|want| want.key.clone()).collect();
        // What is not ready has the reason in its report already, and is tried again below.
        let ready = self.report().state == State::Ready;
        for key in keys {
            pass |= self.mend_sysctl(&key, &mut corrections).needs_pass && ready;
        }
        for object in self.pace.to_try_again(Instant::now()) {
            pass |= !self.retry(&object, &mut corrections);
        }
        self.corrected(corrections);
        let well = self.report().state == State::Ready && self.events_missed.is_none();
        if pass || self.pace.pass_is_due(well, Instant::now()) {
            self.pass(Why::Paced);
        }
        self.log_the_rest();
        self.write_report();
    }
}
