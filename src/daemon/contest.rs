// SPDX-License-Identifier: Apache-2.0
//! Keeping count of who undoes our corrections, and telling when a contest begins and ends.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Daemon;
use super::listen::source_of;
use crate::bus::Notice;
use crate::controls::Watch;
use crate::controls::sysctl::Wanted;
use crate::engine::Narrow;
use crate::journal::{Entry, Priority, message_id};
use crate::model::{Code, Contest, ControlId, Correction, Finding, Object, Origin, Writer, shown};
use crate::pace::{Change, Cost, Source};

impl Daemon {
    /// Whether all is well after a narrow pass; keeps count of who undoes our corrections.
    pub(super) fn settled(
        &mut self,
        object: &Object,
        narrow: Narrow,
        corrections: &mut Vec<Correction>,
    ) -> bool {
        let now = Instant::now();
        let (change, settled) = match narrow {
            // Whoever sets what we do not write fights with nobody.
            Narrow::Correct | Narrow::NotWritten(_) | Narrow::OnlyTold => {
                (self.pace.found_correct(object, now), true)
            }
            // There was nothing that we could have changed, so nobody undid it.
            Narrow::Beyond => (self.pace.found_correct(object, now), false),
            Narrow::Unmended => (self.pace.corrected(object, Cost::Narrow, now), false),
            Narrow::Corrected(made) => {
                corrections.extend(made);
                (self.pace.corrected(object, Cost::Narrow, now), true)
            }
        };
        self.changed(object, change, corrections);
        settled && change == Change::None
    }

    /// A contest that began or ended is told once.
    pub(super) fn changed(&mut self, object: &Object, change: Change, corrections: &[Correction]) {
        let (control, subject) = (control_of(object), object.subject());
        match change {
            Change::None => {}
            Change::Began => {
                let last = corrections.iter().rfind(|c| c.object.as_ref() == Some(object));
                // Who is as quick as we are has undone this one before it was looked at.
                let last = last.or_else(|| self.corrected_lately(object));
                let values = last.map(|c| (c.to.clone(), c.from.clone()));
                let found = || self.wrong(object).map(|f| (f.expected, f.actual));
                let (ours, theirs) = values.or_else(found).unwrap_or_default();
                let writer = last.and_then(|c| c.writer.clone());
                let message = match self.is_left_alone(object) {
                    true => left_alone(&subject, &theirs),
                    false => undone(&subject, &ours, &theirs, writer.as_ref()),
                };
                let mut finding = contested(control, &subject, ours, theirs, message);
                finding.origin = match object {
                    Object::File(path) | Object::Tree(path) => Some(Origin::file(shown(path))),
                    Object::Parameter(_) => None,
                };
                let _ = self.notices.try_send(Notice::Contested {
                    control,
                    subject,
                    ours: finding.expected.clone(),
                    theirs: finding.actual.clone(),
                    writer,
                });
                self.engine.contest(object.clone(), finding);
            }
            Change::Ended => {
                self.engine.settle(object);
                let text = format!("{subject} is no longer contested");
                let entry = Entry::new(Priority::Notice, text);
                self.journal.log(entry.field("MESSAGE_ID", message_id::CONTESTED));
                let _ = self.notices.try_send(Notice::ContestEnded { control, subject });
            }
        }
    }

    /// Keeps count of what a full pass corrected, too: the files in which no single entry is
    /// followed, and who changes the tree faster than its entries can be.
    pub(super) fn passed(
        &mut self,
        took: Duration,
        due: &[Object],
        corrections: &[Correction],
        undone: BTreeSet<Object>,
    ) {
        let now = Instant::now();
        // Who is so quick that nothing is correct when the pass is over fights all the more.
        let mut objects = undone;
        objects.extend(corrections.iter().filter_map(|c| c.object.clone()));
        for object in &objects {
            let cost = Cost::of_a_pass(object, took);
            let change = self.pace.corrected(object, cost, now);
            self.changed(object, change, corrections);
        }
        for object in due {
            if self.is_followed(object) || objects.contains(object) {
                continue;
            }
            let change = if self.wrong(object).is_some() {
                self.pace.corrected(object, Cost::of_a_pass(object, took), now)
            } else {
                self.pace.found_correct(object, now)
            };
            self.changed(object, change, corrections);
        }
    }

    /// What the last full pass found wrong with an object and should have mended. What it cannot
    /// mend whoever makes it, a fifo in the tree say, is no fight.
    pub(super) fn wrong(&self, object: &Object) -> Option<Finding> {
        let counts = |finding: &Finding| {
            let contest = finding.code.known().map_or(Contest::Never, Code::contest);
            match object {
                Object::Tree(_) => contest == Contest::WithTree,
                Object::Parameter(_) | Object::File(_) => contest != Contest::Never,
            }
        };
        let about = |finding: &Finding| match object {
            // Where one entry of it is wrong, the finding names that.
            // A long name is shown in part.
            Object::Tree(dir) => {
                shown(dir).split('…').next().is_some_and(|dir| finding.subject.starts_with(dir))
            }
            _ => finding.subject == object.subject(),
        };
        self.report().findings().find(|f| counts(f) && about(f)).cloned()
    }

    /// Whether nobody writes it: the operator's policy or mode leaves it alone.
    fn is_left_alone(&self, object: &Object) -> bool {
        let Object::Parameter(key) = object else { return self.engine.changes_nothing() };
        self.watch.sysctls.iter().any(|want| want.key == *key && !self.writes(want))
    }

    /// Whether a kernel parameter is set back when it is wrong.
    pub(super) fn writes(&self, want: &Wanted) -> bool {
        want.is_held() && !self.engine.changes_nothing()
    }

    pub(super) fn is_followed(&self, object: &Object) -> bool {
        is_followed(&self.watch, object)
    }

    /// Looks at a contested object again; `false`: a full pass is to do it.
    pub(super) fn retry(&mut self, object: &Object, corrections: &mut Vec<Correction>) -> bool {
        match object {
            _ if !self.is_followed(object) => false,
            Object::Parameter(key) => !self.mend_sysctl(key, corrections).needs_pass,
            Object::File(path) => {
                let guard = self.watch.guard.as_ref();
                let below = guard.and_then(|g| path.strip_prefix(&g.dir).ok());
                let below = below.map(Path::to_path_buf);
                below.is_some_and(|below| !self.mend_entry(&below, false, corrections).needs_pass)
            }
            Object::Tree(_) => false,
        }
    }
}

/// Whether an object has narrow passes of its own.
pub(super) fn is_followed(watch: &Watch, object: &Object) -> bool {
    match object {
        Object::Parameter(key) => watch.sysctls.iter().any(|want| want.key == *key),
        Object::File(path) => {
            watch.guard.as_ref().is_some_and(|guard| path.starts_with(&guard.dir))
        }
        Object::Tree(_) => false,
    }
}

fn control_of(object: &Object) -> ControlId {
    match source_of(object) {
        Source::Host => ControlId::Sysctl,
        Source::Tree => ControlId::EtcdDataDir,
    }
}

fn contested(
    control: ControlId,
    subject: &str,
    ours: String,
    theirs: String,
    message: String,
) -> Finding {
    Finding::new(Code::Contested, subject)
        .of(control)
        .expected(ours)
        .actual(theirs)
        .message(message)
        .remedy("find out which other program manages it, and stop one of the two")
}

fn undone(subject: &str, ours: &str, theirs: &str, writer: Option<&Writer>) -> String {
    let who = writer.map(|writer| format!(" (the last time {writer})")).unwrap_or_default();
    format!(
        "{subject} is contested: somebody keeps setting it from {ours} to {theirs}{who}; it is \
         corrected less and less often"
    )
}

/// The same of what is not corrected at all.
fn left_alone(subject: &str, theirs: &str) -> String {
    format!(
        "somebody keeps changing {subject}, the last time to {theirs}; it is looked at less and less \
         often"
    )
}
