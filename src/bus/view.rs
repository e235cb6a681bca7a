// SPDX-License-Identifier: Apache-2.0
//! What a snapshot looks like on the bus: the values of the properties, and which of them
//! differ between two snapshots. Pure.

use std::borrow::Cow;
use std::collections::HashMap;

use zbus::Variant;

use super::Snapshot;
use crate::model::{ControlId, Finding, State, Writer};

/// How many bytes of one string go out in a property or a signal. A report has none that is longer
/// (`engine::bounds`).
const MAX_TEXT: usize = 2 * 1024;
/// How many findings of one control go out in its `Findings`.
const MAX_FINDINGS: usize = 256;

/// One finding: code, severity, subject, expected, actual, origin, message, remedy.
pub(super) type FindingOnBus = (String, String, String, String, String, String, String, String);

/// The properties of the node's object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NodeView {
    pub(super) state: &'static str,
    pub(super) mode: &'static str,
    pub(super) ready: bool,
    pub(super) role: &'static str,
    pub(super) profile: String,
    pub(super) rke2_version: String,
    pub(super) version: String,
    pub(super) state_since: u64,
    pub(super) corrections: u64,
}

impl NodeView {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let report = snapshot.report();
        Self {
            state: report.state.as_str(),
            mode: report.mode.as_str(),
            ready: report.state == State::Ready,
            role: report.role.as_str(),
            profile: text(&report.profile).into_owned(),
            rke2_version: text(&report.rke2_version).into_owned(),
            version: report.version.clone(),
            state_since: snapshot.state_since(),
            corrections: snapshot.corrections(),
        }
    }

    /// The properties whose values are not those of `old`.
    pub(super) fn changed_since(&self, old: &Self) -> HashMap<&'static str, Variant<'_>> {
        let all: [(&'static str, bool, Variant<'_>); 9] = [
            ("State", self.state != old.state, self.state.into()),
            ("Mode", self.mode != old.mode, self.mode.into()),
            ("Ready", self.ready != old.ready, self.ready.into()),
            ("Role", self.role != old.role, self.role.into()),
            ("Profile", self.profile != old.profile, self.profile.as_str().into()),
            (
                "Rke2Version",
                self.rke2_version != old.rke2_version,
                self.rke2_version.as_str().into(),
            ),
            ("Version", self.version != old.version, self.version.as_str().into()),
            ("StateSince", self.state_since != old.state_since, self.state_since.into()),
            ("Corrections", self.corrections != old.corrections, self.corrections.into()),
        ];
        all.into_iter().filter(|(_, differs, _)| *differs).map(|(name, _, v)| (name, v)).collect()
    }
}

/// The properties of a control's object that can change.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ControlView {
    pub(super) state: &'static str,
    pub(super) findings: Vec<FindingOnBus>,
    pub(super) corrections: u64,
}

impl ControlView {
    pub(super) fn of(snapshot: &Snapshot, id: ControlId) -> Self {
        let report = snapshot.report();
        let control = report.controls.iter().find(|c| c.id == id);
        let state = match control {
            Some(control) => control.state,
            None if report.state == State::Starting => State::Starting,
            // It has no place on this node: nothing is asked, so nothing is wrong.
            None => State::Ready,
        };
        let findings = control.map_or(&[][..], |c| &c.findings);
        Self {
            state: state.as_str(),
            findings: findings.iter().take(MAX_FINDINGS).map(finding_on_bus).collect(),
            corrections: snapshot.corrections_of(id),
        }
    }

    /// The properties whose values are not those of `old`.
    pub(super) fn changed_since(&self, old: &Self) -> HashMap<&'static str, Variant<'_>> {
        let mut changed = HashMap::new();
        if self.state != old.state {
            changed.insert("State", self.state.into());
        }
        if self.findings != old.findings {
            changed.insert("Findings", Variant::from(self.findings.clone()));
        }
        if self.corrections != old.corrections {
            changed.insert("Corrections", self.corrections.into());
        }
        changed
    }
}

fn finding_on_bus(finding: &Finding) -> FindingOnBus {
    let own = |s: &str| text(s).into_owned();
    (
        own(finding.code.as_str()),
        own(finding.severity.as_str()),
        own(&finding.subject),
        own(&finding.expected),
        own(&finding.actual),
        origin(finding),
        own(&finding.message),
        own(&finding.remedy),
    )
}

/// What `FatalMisconfiguration` carries besides its three strings.
pub(super) fn details(finding: &Finding) -> HashMap<&'static str, Variant<'_>> {
    HashMap::from([
        ("severity", Variant::from(finding.severity.as_str())),
        ("subject", Variant::from(text(&finding.subject).into_owned())),
        ("expected", Variant::from(text(&finding.expected).into_owned())),
        ("actual", Variant::from(text(&finding.actual).into_owned())),
        ("origin", Variant::from(origin(finding))),
        ("remedy", Variant::from(text(&finding.remedy).into_owned())),
    ])
}

/// What `DriftCorrected` and `Contested` carry besides their strings.
pub(super) fn seen(
    before: Option<&str>,
    writer: Option<&Writer>,
) -> HashMap<&'static str, Variant<'static>> {
    let own = |s: &str| Variant::from(text(s).into_owned());
    let mut details = HashMap::new();
    if let Some(before) = before {
        details.insert("before", own(before));
    }
    let Some(writer) = writer else { return details };
    details.insert("writer", own(&writer.to_string()));
    if let Some(process) = writer.certain() {
        details.insert("pid", Variant::from(process.pid));
        details.insert("comm", own(&process.comm));
        for (name, value) in [("exe", &process.exe), ("unit", &process.unit)] {
            if let Some(value) = value {
                details.insert(name, own(value));
            }
        }
    }
    details
}

fn origin(finding: &Finding) -> String {
    finding.origin.as_ref().map(|o| text(&o.to_string()).into_owned()).unwrap_or_default()
}

/// A string as a bus can carry it. Findings quote files, and YAML can spell a NUL; a D-Bus string
/// with one in it is a protocol error that would cost the whole message, or the connection.
pub(super) fn text(s: &str) -> Cow<'_, str> {
    let mut end = s.len().min(MAX_TEXT);
    while !s.is_char_boundary(end) {
        end -= 1;
    }
    let cut = &s[..end];
    match cut.contains('\0') {
        true => Cow::Owned(cut.replace('\0', "\u{fffd}")),
        false => Cow::Borrowed(cut),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::model::{Code, ControlReport, Origin, Report, Severity};

    fn finding(actual: &str) -> Finding {
        Finding::new(Code::SysctlLive, "kernel.panic")
            .severity(Severity::Drift)
            .expected("10")
            .actual(actual)
            .origin(Origin::at("/etc/sysctl.d/99-stig.conf", 3))
            .message("kernel.panic is 0")
            .remedy("remove the line")
    }

    fn snapshot(state: State, findings: Vec<Finding>) -> Snapshot {
        let control = ControlReport { state, ..ControlReport::new(ControlId::Sysctl, findings) };
        let report = Report { state, controls: vec![control], ..Report::starting() };
        Snapshot::starting(UNIX_EPOCH).after(Arc::new(report), UNIX_EPOCH + Duration::from_secs(1))
    }

    fn names(changed: HashMap<&'static str, Variant<'_>>) -> Vec<&'static str> {
        let mut names: Vec<_> = changed.into_keys().collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn only_what_differs_counts_as_changed() {
        let before = snapshot(State::Ready, vec![]);
        let after = snapshot(State::Degraded, vec![finding("0")]);
        let node = NodeView::of(&after);
        assert_eq!(names(node.changed_since(&NodeView::of(&before))), ["Ready", "State"]);
        assert_eq!(names(node.changed_since(&NodeView::of(&after))), [""; 0]);

        let control = ControlView::of(&after, ControlId::Sysctl);
        let old = ControlView::of(&before, ControlId::Sysctl);
        assert_eq!(names(control.changed_since(&old)), ["Findings", "State"]);
        assert_eq!(names(control.changed_since(&control)), [""; 0]);
    }

    #[test]
    fn a_control_that_was_not_judged_is_starting_and_later_ready() {
        let first = Snapshot::starting(UNIX_EPOCH);
        let later = snapshot(State::Degraded, vec![]);
        assert_eq!(ControlView::of(&first, ControlId::EtcdAccount).state, "starting");
        assert_eq!(ControlView::of(&later, ControlId::EtcdAccount).state, "ready");
    }

    #[test]
    fn what_a_bus_cannot_carry_is_replaced_and_what_is_too_long_is_cut() {
        assert_eq!(text("a\0b"), "a\u{fffd}b");
        let long = "ä".repeat(MAX_TEXT);
        let cut = text(&long);
        assert!(cut.len() <= MAX_TEXT && cut.len() > MAX_TEXT - 4 && long.starts_with(&*cut));
        let many = snapshot(State::Degraded, vec![finding("a\0"); MAX_FINDINGS + 9]);
        let view = ControlView::of(&many, ControlId::Sysctl);
        assert_eq!(view.findings.len(), MAX_FINDINGS);
        assert_eq!(view.findings[0].4, "a\u{fffd}");
        assert_eq!(view.findings[0].5, "/etc/sysctl.d/99-stig.conf:3");
    }
}
