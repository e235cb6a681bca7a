// SPDX-License-Identifier: Apache-2.0
//! From a hint to one object mended: the fast way, and the pacing of who undoes it.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time;

use super::{Daemon, LOOK_EVERY};
use crate::bus::Notice;
use crate::engine::Narrow;
use crate::journal::{Entry, Priority, message_id};
use crate::model::{ControlId, Correction, Finding, Severity, State, Writer, shown};
use crate::pacing::{Change, Verdict};
use crate::watch::Hints;

/// Single entries may keep the loop for so long; then it is left to a whole pass, which is paced.
const LONGEST_TURN: Duration = Duration::from_millis(50);

/// While somebody fights over an object its events are taken so often and no more: each costs a
/// wakeup and changes nothing.
const CONTESTED_PAUSE: Duration = Duration::from_millis(25);

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
        self.quiet = None;
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
        } else if !hints.entries.is_empty()
            && self.quiet.is_none()
            && self.report().state != State::Ready
        {
            // Whatever happens in the tree of a node that is not ready may be its mending. Not at
            // once: where our own change is undone by the file system, it makes the next event.
            self.look_soon(MENDING_PAUSE);
        }
    }

    /// Whether all is well now, as far as one kernel parameter goes.
    fn mend_sysctl(&mut self, key: &str, corrections: &mut Vec<Correction>) -> bool {
        let Some(want) = self.watch.sysctls.iter().find(|want| want.key == key) else {
            return true;
        };
        match self.pacing.verdict(key, Instant::now()) {
            // Their number is small: they always find room.
            Verdict::Go | Verdict::Crowded => {}
            Verdict::HoldBack => return self.hold_back(),
        }
        let want = want.clone();
        let mut narrow = self.engine.mend_sysctl(&want, self.watch.scope);
        self.looked_at(&want, &mut narrow);
        self.settled(ControlId::Sysctl, key, narrow, corrections)
    }

    fn hold_back(&mut self) -> bool {
        self.quiet = Some(time::Instant::now() + CONTESTED_PAUSE);
        true
    }

    /// The same for one entry of the guarded tree.
    fn mend_entry(&mut self, below: &Path, whole: bool, corrections: &mut Vec<Correction>) -> bool {
        let Some(guard) = &self.watch.guard else { return true };
        let subject = shown(&guard.dir.join(below));
        match self.pacing.verdict(&subject, Instant::now()) {
            Verdict::Go => {}
            Verdict::HoldBack => return self.hold_back(),
            Verdict::Crowded => return false,
        }
        let watcher = &mut self.watcher;
        let narrow = self.engine.mend_entry(guard, below, whole, &mut |dir, below| {
            watcher.watch_tree(dir, below);
        });
        self.settled(ControlId::EtcdDataDir, &subject, narrow, corrections)
    }

    /// Whether all is well after a narrow pass; keeps count of who undoes our corrections.
    fn settled(
        &mut self,
        control: ControlId,
        subject: &str,
        narrow: Narrow,
        corrections: &mut Vec<Correction>,
    ) -> bool {
        let now = Instant::now();
        let (change, settled) = match narrow {
            Narrow::Right => (self.pacing.right(subject, now), true),
            Narrow::Unmended => (self.pacing.corrected(subject, now), false),
            Narrow::Corrected(made) => {
                corrections.extend(made);
                (self.pacing.corrected(subject, now), true)
            }
        };
        match change {
            Change::None => settled,
            Change::Began => {
                let last = corrections.iter().rfind(|c| c.subject == subject);
                let (ours, theirs) = last.map_or(("", ""), |c| (&c.to, &c.from));
                let writer = last.and_then(|c| c.writer.clone());
                let finding = contested(control, subject, ours, theirs, writer.as_ref());
                let _ = self.notices.try_send(Notice::Contested {
                    control,
                    subject: subject.to_owned(),
                    ours: finding.expected.clone(),
                    theirs: finding.actual.clone(),
                    writer,
                });
                self.engine.raise(finding);
                self.unreported = true;
                false
            }
            Change::Ended => {
                self.engine.withdraw(subject);
                self.unreported = true;
                let text = format!("{subject} is no longer contested");
                let entry = Entry::new(Priority::Notice, text);
                self.journal.log(entry.field("MESSAGE_ID", message_id::CONTESTED));
                false
            }
        }
    }

    pub(super) fn tick(&mut self) {
        let mut corrections = Vec::new();
        let mut look = false;
        let keys: Vec<_> = self.watch.sysctls.iter().map(|want| want.key.clone()).collect();
        // What is not ready has the reason in its report already, and is tried again below.
        let ready = self.report().state == State::Ready;
        for key in keys {
            look |= !self.mend_sysctl(&key, &mut corrections) && ready;
        }
        for subject in self.pacing.due(Instant::now()) {
            look |= !self.retry(&subject, &mut corrections);
        }
        self.corrected(corrections);
        // Sooner where something is wrong: what cannot be seen coming may have been mended.
        let settled = self.report().state == State::Ready && self.blind.is_none();
        let every = if settled { LOOK_EVERY } else { LOOK_EVERY / 10 };
        look |= self.unreported;
        if look || self.looked.elapsed() >= every {
            self.look();
        }
        self.write_report();
        self.journal.flush();
    }

    /// Looks at a contested object again.
    fn retry(&mut self, subject: &str, corrections: &mut Vec<Correction>) -> bool {
        let below = self.watch.guard.as_ref().and_then(|guard| {
            Path::new(subject).strip_prefix(&guard.dir).ok().map(Path::to_path_buf)
        });
        match below {
            Some(below) => self.mend_entry(&below, false, corrections),
            None if self.watch.sysctls.iter().any(|want| want.key == subject) => {
                self.mend_sysctl(subject, corrections)
            }
            // Nothing of ours any more; the whole pass looks.
            None => {
                self.pacing.right(subject, Instant::now());
                self.engine.withdraw(subject);
                false
            }
        }
    }
}

fn contested(
    control: ControlId,
    subject: &str,
    ours: &str,
    theirs: &str,
    writer: Option<&Writer>,
) -> Finding {
    let who = writer.map(|writer| format!(" (the last time {writer})")).unwrap_or_default();
    Finding {
        control,
        code: "contested",
        severity: Severity::Warning,
        subject: subject.to_owned(),
        expected: ours.to_owned(),
        actual: theirs.to_owned(),
        origin: None,
        message: format!(
            "{subject} is contested: somebody keeps setting it from {ours} to {theirs}{who}; it is \
             corrected less and less often"
        ),
        remedy: "find out which other program manages it, and stop one of the two".into(),
    }
}
