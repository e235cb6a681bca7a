// SPDX-License-Identifier: Apache-2.0
//! Telling everybody the report: bus, service manager, journal, /run. Nothing here waits.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::Daemon;
use super::listen::source_of;
use crate::bus::{self, BusStatus, Notice};
use crate::engine::{bounds, now};
use crate::journal::{Entry, Priority};
use crate::model::{Correction, Finding, Object, Recent, Report, Severity, State};
use crate::pace::Source;
use crate::pace::limits::LINES_OF_A_TURN;
use crate::render;
use crate::system::runtime;

/// Corrections that a report remembers.
const REMEMBERED: usize = 16;

impl Daemon {
    pub(super) fn bus_changed(&mut self, status: BusStatus) {
        let entry = match status {
            BusStatus::Connected => {
                Entry::new(Priority::Info, format!("on the bus as {}", bus::NAME))
            }
            BusStatus::Absent { reason } => {
                let text = format!("not on the bus, the node is guarded all the same: {reason}");
                Entry::new(Priority::Warning, text)
            }
        };
        self.journal.log(entry);
    }

    /// Tells about corrections made between passes: the last report, with these.
    pub(super) fn corrected(&mut self, corrections: Vec<Correction>) {
        if corrections.is_empty() {
            return;
        }
        self.log_corrections(&corrections);
        let last = (*self.report()).clone();
        let report = Report { corrections, corrections_left_out: 0, time: now(), ..last };
        self.publish(report);
    }

    pub(super) fn log_corrections(&mut self, corrections: &[Correction]) {
        let mut logged = 0;
        for correction in corrections {
            let source = correction.object.as_ref().map(source_of);
            let file = source == Some(Source::Tree);
            if !self.pace.may_be_told(&correction.subject, file, Instant::now()) {
                continue;
            }
            logged += 1;
            if logged <= LINES_OF_A_TURN {
                self.journal.log(Entry::corrected(correction));
            }
        }
        if logged > LINES_OF_A_TURN {
            let text = format!("and {} more corrections", logged - LINES_OF_A_TURN);
            self.journal.log(Entry::new(Priority::Notice, text));
        }
        let left_out = corrections.len().saturating_sub(REMEMBERED);
        for (n, correction) in corrections.iter().enumerate() {
            let mut correction = correction.clone();
            bounds::correction(&mut correction);
            if n >= left_out {
                if self.recent.len() == REMEMBERED {
                    self.recent.pop_front();
                }
                self.recent.push_back(Recent { time: now(), correction: correction.clone() });
            }
            // A stalled bus loses signals; the journal has them.
            let _ = self.notices.try_send(Notice::Corrected(correction));
        }
    }

    /// What got no line of its own.
    pub(super) fn log_the_rest(&mut self) {
        for (subject, more) in self.pace.untold(Instant::now()) {
            let text = format!("{subject} was corrected {more} more times in a minute");
            self.journal.log(Entry::new(Priority::Notice, text));
        }
    }

    /// The last correction of an object, if it was one of the last ones.
    pub(super) fn corrected_lately(&self, object: &Object) -> Option<&Correction> {
        self.recent.iter().rev().map(|r| &r.correction).find(|c| c.object.as_ref() == Some(object))
    }

    pub(super) fn publish(&mut self, report: Report) {
        let before = self.report();
        let recent = self.recent.iter().cloned().collect();
        // Counted before some are left out.
        let made = bus::counted(&report.corrections);
        let report = Arc::new(bounds::corrections(Report { recent, ..report }));
        let snapshot = self.snapshots.borrow().counting(report.clone(), made, SystemTime::now());
        let line = render::status_line(&report, snapshot.corrections());
        self.snapshots.send_replace(Arc::new(snapshot));
        for finding in report.findings().filter(|f| is_new(f, &before)) {
            self.journal.log(Entry::finding(finding));
            if finding.severity == Severity::Fatal {
                let _ = self.notices.try_send(Notice::Fatal(finding.clone()));
            }
        }
        if before.state != report.state {
            self.journal.log(Entry::state(before.state, report.state, &line));
            if report.state == State::Ready {
                let _ = self.notices.try_send(Notice::Ready);
            }
        }
        self.service.status(&line);
        self.unwritten = true;
    }

    pub(super) fn write_report(&mut self) {
        if !std::mem::take(&mut self.unwritten) {
            return;
        }
        let json = render::json(&self.report());
        if let Err(e) = runtime::write_report(self.engine.root(), &json) {
            self.journal.log(Entry::new(Priority::Warning, e.to_string()));
        }
    }

    pub(super) fn report(&self) -> Arc<Report> {
        self.snapshots.borrow().report().clone()
    }
}

fn is_new(finding: &Finding, before: &Report) -> bool {
    !before.findings().any(|f| f == finding)
}
