// SPDX-License-Identifier: Apache-2.0
//! From a hint to one object mended: the fast way.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time;

use super::listen::Source;
use super::{Daemon, LOOK_EVERY, Why, clock};
use crate::controls::sysctl::Wanted;
use crate::engine::Narrow;
use crate::journal::PassSpan;
use crate::model::{Code, Correction, Finding, Object, Severity, State, join};
use crate::pacing::{Change, Cost, Verdict};
use crate::watch::Hints;

/// Single entries may keep the loop for so long; then it is left to a whole pass, which is paced.
const LONGEST_TURN: Duration = Duration::from_millis(50);

/// Events that change nothing are taken less often, since each costs a wakeup: those of an object
/// that is contested, and those that ask for a whole pass which was put off already. After a turn
/// that took `t`, the next is `99 t` later. All others have a budget (`listen.rs`).
const SHORTEST_QUIET: Duration = Duration::from_millis(2);
const LONGEST_QUIET: Duration = Duration::from_secs(1);
const QUIET_WHILE_CONTESTED: Duration = Duration::from_millis(40);
/// While something is contested and a pass is due, which these events only ask for once more.
const QUIET_WHILE_DUE: Duration = Duration::from_millis(200);
/// While all of the tree is contested its events tell nothing: who contests it fills their queue in
/// a second, and to read that takes 10 ms.
const QUIET_WHILE_HELD: Duration = Duration::from_millis(250);
const LONGEST_QUIET_WHILE_HELD: Duration = Duration::from_secs(5);

/// Between whole passes that only tell about what is not written.
const STANDING_PAUSE: Duration = Duration::from_secs(1);

/// Between whole passes that only hope for a mend.
const MENDING_PAUSE: Duration = Duration::from_millis(500);

impl Daemon {
    pub(super) fn hinted(&mut self, from: Source, hints: &Hints) {
        if hints.bus {
            self.bus_wake.notify_one();
        }
        let _span = PassSpan::begin("narrow", "event");
        let (began, worked) = (Instant::now(), clock::worked());
        let mut look = hints.look;
        let mut came = false;
        let mut corrections = Vec::new();
        self.held_back = false;
        self.engine.hold(self.pacing.held(began));
        for key in &hints.sysctls {
            self.standing_stirs(key);
            look |= !self.mend_sysctl(key, &mut corrections);
        }
        for entry in &hints.entries {
            if began.elapsed() > LONGEST_TURN {
                look = true;
                break;
            }
            let held_back = std::mem::take(&mut self.held_back);
            look |= !self.mend_entry(&entry.below, entry.whole, &mut corrections);
            came |= self.held_back && entry.came;
            self.held_back |= held_back;
        }
        self.corrected(corrections);
        look |= self.blinded_by() != self.blind.as_deref();
        // Without a whole pass, which has a pause of its own.
        let took = hints.took + began.elapsed();
        let worked = hints.took + clock::worked().saturating_sub(worked);
        if look {
            self.look_soon(from, Duration::ZERO);
        } else if came {
            // What came may be anything, a link say, which is nobody's to contest.
            self.look_soon(from, MENDING_PAUSE.max(self.held_pause));
        } else if !hints.entries.is_empty() && !self.held_back && self.hopes_for_a_mend() {
            // Whatever happens in the tree of a node that is not ready may be its mending. Not at
            // once: where our own change is undone by the file system, it makes the next event.
            self.look_soon(from, MENDING_PAUSE);
        }
        let quiet = self.quiet_after(from, hints, took);
        let ear = match from {
            Source::Host => &mut self.host,
            Source::Tree => &mut self.tree,
        };
        let quiet = quiet.max(ear.spend(worked).min(LONGEST_QUIET));
        ear.quiet = (quiet >= SHORTEST_QUIET).then(|| time::Instant::now() + quiet);
    }

    /// How long no hints of a source are taken after a turn that took so long.
    fn quiet_after(&mut self, from: Source, hints: &Hints, took: Duration) -> Duration {
        if from == Source::Tree && self.tree_is_held() {
            return (took * 199).clamp(QUIET_WHILE_HELD, LONGEST_QUIET_WHILE_HELD);
        }
        let quiet = if self.held_back {
            (took * 99).max(QUIET_WHILE_CONTESTED)
        } else if self.due.is_some() && hints.is_only_for_a_look() {
            // It is the wakeup that costs, more than the turn.
            let contested = self.pacing.contested().next().is_some();
            (took * 99).max(if contested { QUIET_WHILE_DUE } else { SHORTEST_QUIET })
        } else {
            Duration::ZERO
        };
        quiet.min(LONGEST_QUIET)
    }

    /// Whether something is wrong that the tree's owner or an operator may be about to mend.
    fn hopes_for_a_mend(&self) -> bool {
        self.report().findings().any(|f| f.severity > Severity::Note && f.code != Code::Contested)
    }

    /// Whether all is well now, as far as one kernel parameter goes.
    pub(super) fn mend_sysctl(&mut self, key: &str, corrections: &mut Vec<Correction>) -> bool {
        let Some(want) = self.watch.sysctls.iter().find(|want| want.key == key) else {
            return true;
        };
        let object = Object::Parameter(key.to_owned());
        match self.pacing.verdict(&object, Instant::now()) {
            Verdict::Go | Verdict::Crowded => {}
            Verdict::HoldBack => return self.hold_back(),
        }
        let want = want.clone();
        let mut narrow = self.engine.mend_sysctl(&want, self.watch.scope);
        self.looked_at(&want, &mut narrow);
        if let Narrow::Standing(finding) = narrow {
            return self.stands(&want, finding.as_ref(), corrections);
        }
        self.settled(&object, narrow, corrections)
    }

    /// A kernel parameter that is not written: all is well if the report has it as it is. Else a
    /// whole pass will tell, not at once; and who changes it again and again fills no journal.
    fn stands(
        &mut self,
        want: &Wanted,
        finding: Option<&Finding>,
        corrections: &[Correction],
    ) -> bool {
        let key = want.key.as_str();
        // Before a pass sees it as well.
        let changed = self.saw_standing(key, finding.map_or(&want.value, |f| &f.actual));
        let report = self.report();
        let mut told = report.findings().filter(|f| f.code == Code::SysctlLive && f.subject == key);
        if told.next().map(|f| &f.actual) != finding.map(|f| &f.actual) {
            self.look_soon(Source::Host, STANDING_PAUSE);
        }
        self.hold_back();
        let (object, now) = (Object::Parameter(key.to_owned()), Instant::now());
        let change = if changed {
            // Dear: each time costs a whole pass.
            self.pacing.corrected(&object, Cost::Pass, now)
        } else {
            self.pacing.right(&object, now)
        };
        self.changed(&object, change, corrections);
        change == Change::None
    }

    fn tree_is_held(&mut self) -> bool {
        let Some(guard) = &self.watch.guard else { return false };
        let tree = Object::Tree(guard.dir.clone());
        self.pacing.verdict(&tree, Instant::now()) == Verdict::HoldBack
    }

    fn hold_back(&mut self) -> bool {
        self.held_back = true;
        true
    }

    /// The same for one entry of the guarded tree.
    pub(super) fn mend_entry(
        &mut self,
        below: &Path,
        whole: bool,
        corrections: &mut Vec<Correction>,
    ) -> bool {
        // Who keeps changing many entries at once fights over the whole tree.
        if self.tree_is_held() {
            return self.hold_back();
        }
        let Some(guard) = &self.watch.guard else { return true };
        let now = Instant::now();
        let object = Object::File(join(&guard.dir, below));
        match self.pacing.verdict(&object, now) {
            Verdict::Go => {}
            Verdict::HoldBack => return self.hold_back(),
            Verdict::Crowded => return false,
        }
        let watcher = &mut self.tree.watcher;
        let narrow = self.engine.mend_entry(guard, below, whole, &mut |dir, below| {
            watcher.watch_tree(dir, below);
        });
        self.settled(&object, narrow, corrections)
    }

    pub(super) fn tick(&mut self) {
        let _span = PassSpan::begin("narrow", "tick");
        let mut corrections = Vec::new();
        let mut look = false;
        self.engine.hold(self.pacing.held(Instant::now()));
        let keys: Vec<_> = self.watch.sysctls.iter().map(|want| want.key.clone()).collect();
        // What is not ready has the reason in its report already, and is tried again below.
        let ready = self.report().state == State::Ready;
        for key in keys {
            look |= !self.mend_sysctl(&key, &mut corrections) && ready;
        }
        for object in self.pacing.due(Instant::now()) {
            look |= !self.retry(&object, &mut corrections);
        }
        self.corrected(corrections);
        // Sooner where something is wrong: what cannot be seen coming may have been mended.
        let settled = self.report().state == State::Ready && self.blind.is_none();
        let every = if settled { LOOK_EVERY } else { LOOK_EVERY / 10 };
        look |= self.unreported;
        if look || self.looked.elapsed() >= every {
            self.look(Why::Paced);
        }
        self.log_the_rest();
        self.write_report();
    }
}
