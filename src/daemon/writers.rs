// SPDX-License-Identifier: Apache-2.0
//! What is said about a corrected kernel parameter besides its values: what it was before, and,
//! where the operator wants that, who changed it. Always after the correction.

use std::time::Instant;

use super::Daemon;
use crate::controls::sysctl::Wanted;
use crate::engine::Narrow;
use crate::model::{Code, Correction, Finding, Object, Report, Writer};
use crate::pace::Verdict;

/// The subject of the finding that writers cannot be named.
const SUBJECT: &str = "attribution";

/// What gives the service what it takes; part of the package.
const DROP_IN: &str = "/usr/lib/nodeguard/attribution.conf";
const LINK: &str = "/etc/systemd/system/nodeguard.service.d/attribution.conf";

/// A kernel parameter that is not written.
#[derive(Debug)]
pub(super) struct NotWritten {
    value: String,
    /// Who made it so, if it was seen changing.
    writer: Option<Writer>,
    /// Somebody wrote it while nobody looked: it counts as changed, whatever it is now.
    written_since: bool,
}

impl Daemon {
    /// After a look at one parameter.
    pub(super) fn looked_at(&mut self, want: &Wanted, narrow: &mut Narrow) {
        if let Some(attribution) = &mut self.attribution {
            attribution.drain();
        }
        match narrow {
            Narrow::Correct => {
                if let Some(attribution) = &mut self.attribution {
                    attribution.found_correct(&want.key, Instant::now());
                }
            }
            Narrow::Corrected(made) => made.iter_mut().for_each(|c| self.explain(c)),
            Narrow::Unmended | Narrow::Beyond | Narrow::NotWritten(_) | Narrow::OnlyTold => return,
        }
        if self.correct.get(&want.key) != Some(&want.value) {
            self.correct.insert(want.key.clone(), want.value.clone());
        }
    }

    /// After full passes.
    pub(super) fn looked_at_all(&mut self, report: &mut Report, corrections: &mut [Correction]) {
        if let Some(attribution) = &mut self.attribution {
            attribution.drain();
        }
        for correction in corrections.iter_mut().filter(|c| c.code == Code::SysctlLive) {
            self.explain(correction);
        }
        let wrong = |key: &str| report.findings().any(|finding| finding.subject == key);
        let wanted = &self.watch.sysctls;
        self.correct.retain(|key, _| wanted.iter().any(|want| want.key == *key));
        for want in wanted.iter().filter(|want| !wrong(&want.key)) {
            self.correct.insert(want.key.clone(), want.value.clone());
        }
        self.name_who_made_it_so(report);
    }

    /// Whether a kernel parameter that is not written is another than it was.
    pub(super) fn saw_not_written(&mut self, key: &str, value: &str) -> bool {
        let before = self.not_written.get(key);
        if before
            .is_some_and(|not_written| not_written.value == value && !not_written.written_since)
        {
            return false;
        }
        let changed = before.is_some();
        let writer =
            changed.then(|| Some(self.attribution.as_mut()?.writer(key, Instant::now()))).flatten();
        let not_written = NotWritten { value: value.to_owned(), writer, written_since: false };
        self.not_written.insert(key.to_owned(), not_written);
        changed
    }

    /// An event of one that is contested, and so not looked at now.
    pub(super) fn somebody_wrote(&mut self, key: &str) {
        let Some(not_written) = self.not_written.get_mut(key) else { return };
        let object = Object::Parameter(key.to_owned());
        not_written.written_since |=
            self.pace.may_correct(&object, Instant::now()) == Verdict::HoldBack;
    }

    /// The findings about what is not written tell who made it so.
    fn name_who_made_it_so(&mut self, report: &mut Report) {
        let alone: Vec<_> = self.watch.sysctls.iter().filter(|want| !self.writes(want)).collect();
        self.not_written.retain(|key, _| alone.iter().any(|want| want.key == *key));
        for want in alone.into_iter().cloned().collect::<Vec<_>>() {
            let mut findings = report.controls.iter_mut().flat_map(|c| &mut c.findings);
            let found = findings.find(|f| f.code == Code::SysctlLive && f.subject == want.key);
            self.saw_not_written(&want.key, found.as_ref().map_or(&want.value, |f| &f.actual));
            let writer = self.not_written.get(&want.key).and_then(|s| s.writer.as_ref());
            if let (Some(found), Some(writer)) = (found, writer) {
                found.message = format!("{}; {writer}", found.message);
            }
        }
    }

    fn explain(&mut self, correction: &mut Correction) {
        let Some(before) = self.correct.get(&correction.subject) else {
            // It was never seen correct, so nobody was seen changing it.
            return;
        };
        correction.before = Some(before.clone());
        if let Some(attribution) = &mut self.attribution {
            correction.writer = Some(attribution.writer(&correction.subject, Instant::now()));
        }
    }

    /// Whoever writes these parameters from now on is seen. Their files are kept open.
    pub(super) fn watch_writers(&mut self) {
        if !self.engine.settings().attribution.value {
            self.attribution = None;
            self.engine.withdraw(SUBJECT);
            return;
        }
        let attribution = self.attribution.get_or_insert_default();
        attribution.arm(self.watch.sysctls.iter().map(|want| want.key.as_str()));
        match attribution.unavailable() {
            Some(reason) => self.engine.raise(unavailable(reason)),
            None => self.engine.withdraw(SUBJECT),
        }
    }
}

/// A note: the node is guarded all the same.
fn unavailable(reason: &str) -> Finding {
    Finding::new(Code::AttributionUnavailable, SUBJECT)
        .expected("who changes a kernel parameter is named")
        .actual(reason)
        .message(format!("who changes a kernel parameter cannot be named: {reason}"))
        .remedy(format!(
            "link {DROP_IN} to {LINK}, then systemctl daemon-reload && systemctl restart \
             nodeguard\nor set attribution = false"
        ))
}
