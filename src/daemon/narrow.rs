// SPDX-License-Identifier: Apache-2.0
//! From a hint to one object mended: the fast way, and the pacing of who undoes it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time;

use super::{Daemon, LOOK_EVERY, Why};
use crate::bus::Notice;
use crate::controls::sysctl::{self, DROP_IN};
use crate::engine::Narrow;
use crate::journal::{Entry, Priority, message_id};
use crate::model::{ControlId, Correction, Finding, Object, Severity, State, join};
use crate::pacing::{Change, Cost, Verdict};
use crate::watch::Hints;

/// Single entries may keep the loop for so long; then it is left to a whole pass, which is paced.
const LONGEST_TURN: Duration = Duration::from_millis(50);

/// Events that change nothing are taken less often, since each costs a wakeup: those of an object
/// that is contested, and those that ask for a whole pass which was put off already. After a turn
/// that took `t`, the next is `99 t` later, within these bounds.
const QUIET: RangeInclusive<Duration> = Duration::from_millis(2)..=Duration::from_secs(1);
const QUIET_WHILE_CONTESTED: Duration = Duration::from_millis(25);

/// Between whole passes that only tell about what is not written.
const STANDING_PAUSE: Duration = Duration::from_secs(1);

/// Between whole passes that only hope for a mend.
const MENDING_PAUSE: Duration = Duration::from_millis(500);

impl Daemon {
    pub(super) fn hinted(&mut self, hints: &Hints) {
        if hints.bus {
            self.bus_wake.notify_one();
        }
        let began = Instant::now();
        let mut look = hints.look;
        let mut corrections = Vec::new();
        self.held_back = false;
        self.engine.hold(self.pacing.held(began));
        for key in &hints.sysctls {
            look |= !self.mend_sysctl(key, &mut corrections);
        }
        for entry in &hints.entries {
            if began.elapsed() > LONGEST_TURN {
                look = true;
                break;
            }
            look |= !self.mend_entry(&entry.below, entry.whole, &mut corrections);
        }
        self.corrected(corrections);
        look |= self.watcher.blind() != self.blind.as_deref();
        if look {
            self.look_soon(Duration::ZERO);
        } else if !hints.entries.is_empty() && !self.held_back && self.hopes_for_a_mend() {
            // Whatever happens in the tree of a node that is not ready may be its mending. Not at
            // once: where our own change is undone by the file system, it makes the next event.
            self.look_soon(MENDING_PAUSE);
        }
        let nothing_new = self.due.is_some() && hints.is_only_for_a_look();
        self.quiet = (self.held_back || nothing_new).then(|| {
            let took = hints.took + began.elapsed();
            let contested = self.pacing.is_contested();
            let shortest = if contested { QUIET_WHILE_CONTESTED } else { *QUIET.start() };
            time::Instant::now() + (took * 99).clamp(shortest, *QUIET.end())
        });
    }

    /// Whether something is wrong that the tree's owner or an operator may be about to mend.
    fn hopes_for_a_mend(&self) -> bool {
        self.report().findings().any(|f| f.severity > Severity::Note && f.code != CONTESTED)
    }

    /// Whether all is well now, as far as one kernel parameter goes.
    fn mend_sysctl(&mut self, key: &str, corrections: &mut Vec<Correction>) -> bool {
        let Some(want) = self.watch.sysctls.iter().find(|want| want.key == key) else {
            return true;
        };
        let object = Object::Parameter(key.to_owned());
        match self.pacing.verdict(&object, Instant::now()) {
            // Their number is small: they always find room.
            Verdict::Go | Verdict::Crowded => {}
            Verdict::HoldBack => return self.hold_back(),
        }
        let narrow = self.engine.mend_sysctl(want, self.watch.scope);
        if let Narrow::Standing(finding) = narrow {
            self.stands(key, finding.as_ref());
            return self.settled(&object, Narrow::Right, corrections);
        }
        self.settled(&object, narrow, corrections)
    }

    /// A kernel parameter that is not written: all is well if the report has it as it is. Else a
    /// whole pass will tell, not at once, since whoever sets it again and again must not fill the
    /// journal.
    fn stands(&mut self, key: &str, finding: Option<&Finding>) {
        let report = self.report();
        let mut told = report.findings().filter(|f| f.code == sysctl::LIVE && f.subject == key);
        if told.next().map(|f| &f.actual) != finding.map(|f| &f.actual) {
            self.look_soon(STANDING_PAUSE);
        }
        self.hold_back();
    }

    fn hold_back(&mut self) -> bool {
        self.held_back = true;
        true
    }

    /// The same for one entry of the guarded tree.
    fn mend_entry(&mut self, below: &Path, whole: bool, corrections: &mut Vec<Correction>) -> bool {
        let Some(guard) = &self.watch.guard else { return true };
        let now = Instant::now();
        // Who keeps changing many entries at once fights over the whole tree.
        if self.pacing.verdict(&Object::Tree(guard.dir.clone()), now) == Verdict::HoldBack {
            return self.hold_back();
        }
        let object = Object::File(join(&guard.dir, below));
        match self.pacing.verdict(&object, now) {
            Verdict::Go => {}
            Verdict::HoldBack => return self.hold_back(),
            Verdict::Crowded => return false,
        }
        let watcher = &mut self.watcher;
        let narrow = self.engine.mend_entry(guard, below, whole, &mut |dir, below| {
            watcher.watch_tree(dir, below);
        });
        self.settled(&object, narrow, corrections)
    }

    /// Whether all is well after a narrow pass; keeps count of who undoes our corrections.
    fn settled(
        &mut self,
        object: &Object,
        narrow: Narrow,
        corrections: &mut Vec<Correction>,
    ) -> bool {
        let now = Instant::now();
        let (change, settled) = match narrow {
            // Whoever sets what we do not write fights with nobody.
            Narrow::Right | Narrow::Standing(_) => (self.pacing.right(object, now), true),
            Narrow::Unmended => (self.pacing.corrected(object, Cost::Narrow, now), false),
            Narrow::Corrected(made) => {
                corrections.extend(made);
                (self.pacing.corrected(object, Cost::Narrow, now), true)
            }
        };
        self.changed(object, change, corrections);
        settled && change == Change::None
    }

    /// A contest that began or ended is told once.
    fn changed(&mut self, object: &Object, change: Change, corrections: &[Correction]) {
        let subject = object.subject();
        match change {
            Change::None => return,
            Change::Began => {
                let last = corrections.iter().rfind(|c| object.is(&c.subject));
                let (ours, theirs) = last.map_or(("", ""), |c| (&c.to, &c.from));
                let control = match object {
                    Object::Parameter(_) => ControlId::Sysctl,
                    Object::File(path) if path == Path::new(DROP_IN) => ControlId::Sysctl,
                    Object::File(_) | Object::Tree(_) => ControlId::EtcdDataDir,
                };
                let finding = contested(control, &subject, ours, theirs);
                let _ = self.notices.try_send(Notice::Contested {
                    control,
                    subject,
                    ours: finding.expected.clone(),
                    theirs: finding.actual.clone(),
                });
                self.engine.raise(finding);
            }
            Change::Ended => {
                self.engine.withdraw(&subject);
                let text = format!("{subject} is no longer contested");
                let entry = Entry::new(Priority::Notice, text);
                self.journal.log(entry.field("MESSAGE_ID", message_id::CONTESTED));
            }
        }
        self.unreported = true;
    }

    /// Keeps count of what a whole pass corrected, too: the files in which no single entry is
    /// followed, and who changes the tree faster than its entries can be.
    pub(super) fn passed(&mut self, took: Duration, due: &[Object], corrections: &[Correction]) {
        let now = Instant::now();
        let objects: BTreeSet<Object> =
            corrections.iter().filter_map(|c| self.object_of(c)).collect();
        for object in &objects {
            let cost = cost(object, took);
            let change = self.pacing.corrected(object, cost, now);
            self.changed(object, change, corrections);
        }
        for object in due {
            if self.is_followed(object) || objects.contains(object) {
                continue;
            }
            let cost = cost(object, took);
            let left =
                self.report().findings().any(|f| f.code != CONTESTED && object.is(&f.subject));
            let change = if left {
                self.pacing.corrected(object, cost, now)
            } else {
                self.pacing.right(object, now)
            };
            self.changed(object, change, corrections);
        }
    }

    /// What a correction was of. `None`: nobody fights over what `useradd` made.
    fn object_of(&self, correction: &Correction) -> Option<Object> {
        let path = PathBuf::from(&correction.subject);
        match correction.control {
            ControlId::EtcdAccount => None,
            ControlId::Sysctl if correction.code == sysctl::LIVE => {
                Some(Object::Parameter(correction.subject.clone()))
            }
            _ if self.watch.guard.as_ref().is_some_and(|guard| guard.dir == path) => {
                Some(Object::Tree(path))
            }
            _ => Some(Object::File(path)),
        }
    }

    /// Whether an object has narrow passes of its own.
    fn is_followed(&self, object: &Object) -> bool {
        match object {
            Object::Parameter(key) => self.watch.sysctls.iter().any(|want| want.key == *key),
            Object::File(path) => {
                let guard = self.watch.guard.as_ref();
                guard.is_some_and(|guard| path.starts_with(&guard.dir))
            }
            Object::Tree(_) => false,
        }
    }

    pub(super) fn tick(&mut self) {
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
        self.write_report();
        self.journal.flush();
    }

    /// Looks at a contested object again; `false`: a whole pass is to do it.
    fn retry(&mut self, object: &Object, corrections: &mut Vec<Correction>) -> bool {
        if !self.is_followed(object) {
            return false;
        }
        match object {
            Object::Parameter(key) => self.mend_sysctl(key, corrections),
            Object::File(path) | Object::Tree(path) => {
                let guard = self.watch.guard.as_ref();
                let below = guard.and_then(|g| path.strip_prefix(&g.dir).ok());
                let below = below.map(Path::to_path_buf);
                below.is_some_and(|below| self.mend_entry(&below, false, corrections))
            }
        }
    }
}

/// The code of a finding about a contest.
const CONTESTED: &str = "contested";

/// What a correction by a whole pass that took so long counts for.
fn cost(object: &Object, took: Duration) -> Cost {
    if matches!(object, Object::Tree(_)) { Cost::Tree { took } } else { Cost::Pass }
}

fn contested(control: ControlId, subject: &str, ours: &str, theirs: &str) -> Finding {
    Finding {
        control,
        code: CONTESTED,
        severity: Severity::Warning,
        subject: subject.to_owned(),
        expected: ours.to_owned(),
        actual: theirs.to_owned(),
        origin: None,
        message: format!(
            "{subject} is contested: somebody keeps setting it from {ours} to {theirs}; it is \
             corrected less and less often"
        ),
        remedy: "find out which other program manages it, and stop one of the two".into(),
    }
}
