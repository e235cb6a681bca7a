// SPDX-License-Identifier: Apache-2.0
//! How long a report is at most, whatever others name their files and however many they make.
//! Pure.
//!
//! Each text of a report has a limit, and so has each list: findings, corrections, the latest
//! corrections. What is left out is counted and told with its worst severity, so that a report
//! still makes the state that it has. The sum is [`REPORT_LIMIT`] at most.

#[cfg(doc)]
use crate::model::limits::REPORT_LIMIT;
use crate::model::limits::{cut, written};
use crate::model::{
    Code, ControlReport, Correction, Finding, Origin, Process, Recent, Report, Severity, Writer,
};

/// Bytes of JSON of a subject and its values, and of a sentence about them.
const VALUE: usize = 512;
const SENTENCE: usize = 1024;
/// And of each text of a correction: its subject, a value, a name of a process.
const CORRECTED: usize = 320;
const NAME: usize = 160;

/// Bytes of JSON of all findings, of the corrections of a pass, and of those before it.
const FINDINGS: usize = 36 * 1024;
const CORRECTIONS: usize = 12 * 1024;
const RECENT: usize = 12 * 1024;

/// What a finding and a correction take besides their texts, and what a process takes that wrote.
const FINDING: usize = 224;
const CORRECTION: usize = 192;
const DEMOTED: usize = 64;
const PROCESS: usize = 64;

/// Processes of which one was the writer; as many as are told apart.
const PROCESSES: usize = 8;

/// The report with as many of its findings as there is room for, the severest first.
pub fn findings(mut report: Report) -> Report {
    for text in [&mut report.root, &mut report.profile, &mut report.rke2_version] {
        cut(text, NAME);
    }
    for control in &mut report.controls {
        for finding in &mut control.findings {
            shorten(finding);
        }
    }
    let all = report.findings();
    let sizes: Vec<(Severity, usize)> = all.map(|f| (f.severity, size(f))).collect();
    // How much there is from the severest to each severity, in the order of the report.
    let mut room = FINDINGS;
    let mut kept = vec![false; sizes.len()];
    for severity in [Severity::Fatal, Severity::Drift, Severity::Warning, Severity::Note] {
        for (n, (_, size)) in sizes.iter().enumerate().filter(|(_, (s, _))| *s == severity) {
            match room.checked_sub(*size) {
                Some(left) => (room, kept[n]) = (left, true),
                // What is milder must not have the room that was too small for this one.
                None => room = 0,
            }
        }
    }
    let mut kept = kept.into_iter();
    for control in &mut report.controls {
        leave_out(control, &mut kept);
    }
    report
}

/// Takes the findings out that are not `kept`, and tells that.
fn leave_out(control: &mut ControlReport, kept: &mut impl Iterator<Item = bool>) {
    let (mut worst, mut more) = (None, 0);
    control.findings.retain(|finding| {
        let keep = kept.next().unwrap_or(true);
        if !keep {
            worst = worst.max(Some(finding.severity));
            more += 1;
        }
        keep
    });
    let Some(severity) = worst else { return };
    let what = if more == 1 { "finding" } else { "findings" };
    let left_out = Finding::new(Code::FindingsLeftOut, control.id.as_str())
        .of(control.id.clone())
        .severity(severity)
        .expected("findings that fit into a report")
        .actual(format!("{more} more {what}"))
        .message(format!(
            "{more} more {what} of {} had no room in the report; the worst is {severity}",
            control.id
        ))
        .remedy("mend what is listed; then the others are");
    control.findings.push(left_out);
}

fn shorten(finding: &mut Finding) {
    for text in [&mut finding.subject, &mut finding.expected, &mut finding.actual] {
        cut(text, VALUE);
    }
    for origin in finding.origin.iter_mut().chain(&mut finding.demoted_by) {
        cut(&mut origin.file, VALUE);
    }
    cut(&mut finding.message, SENTENCE);
    // Half of a command is another command.
    if written(&finding.remedy) > SENTENCE {
        finding.remedy =
            "its name is too long for a command: list the directory that it is in with \
                          `ls -lbi`, and name it by its number, `find DIR -xdev -inum NUMBER`"
                .into();
    }
}

fn size(finding: &Finding) -> usize {
    let Finding { control, code, subject, expected, actual, message, remedy, .. } = finding;
    let Finding { origin, demoted_by, severity: _, .. } = finding;
    let texts = [control.as_str(), code.as_str(), subject, expected, actual, message, remedy];
    let origins = origin.iter().map(|Origin { file, .. }| written(file)).sum::<usize>()
        + demoted_by.iter().map(|Origin { file, .. }| DEMOTED + written(file)).sum::<usize>();
    FINDING + origins + texts.into_iter().map(written).sum::<usize>()
}

/// The report with as many of its corrections as there is room for, and of those before the latest
/// ones.
pub fn corrections(mut report: Report) -> Report {
    let all = std::mem::take(&mut report.corrections);
    let count = all.len();
    let mut room = CORRECTIONS;
    let fits = |correction: &Correction, room: &mut usize| {
        let left = room.checked_sub(size_of(correction));
        *room = left.unwrap_or(0);
        left.is_some()
    };
    let short = all.into_iter().map(|mut made| {
        correction(&mut made);
        made
    });
    report.corrections = short.take_while(|correction| fits(correction, &mut room)).collect();
    report.corrections_left_out += count - report.corrections.len();
    for Recent { correction: latest, .. } in &mut report.recent {
        correction(latest);
    }
    let mut room = RECENT;
    let kept = report.recent.iter().rev().take_while(|r| fits(&r.correction, &mut room)).count();
    report.recent.drain(..report.recent.len() - kept);
    report
}

/// Gives the texts of a correction their limits.
pub fn correction(correction: &mut Correction) {
    let Correction { subject, from, to, before, writer, .. } = correction;
    for text in [subject, from, to].into_iter().chain(before) {
        cut(text, CORRECTED);
    }
    if let Some(Writer { processes, unknown }) = writer {
        processes.truncate(PROCESSES);
        for Process { comm, exe, unit, .. } in processes {
            for text in [comm].into_iter().chain(exe).chain(unit) {
                cut(text, NAME);
            }
        }
        if let Some(reason) = unknown {
            cut(reason, CORRECTED);
        }
    }
}

fn size_of(correction: &Correction) -> usize {
    let Correction { control, code, subject, from, to, before, writer, object: _ } = correction;
    let before = before.as_deref().unwrap_or_default();
    let texts = [control.as_str(), code.as_str(), subject, from, to, before];
    let writer = writer.as_ref().map_or(0, |writer| {
        let of = |process: &Process| {
            let texts = [Some(&process.comm), process.exe.as_ref(), process.unit.as_ref()];
            PROCESS + texts.into_iter().flatten().map(|text| written(text)).sum::<usize>()
        };
        let unknown = writer.unknown.as_deref().unwrap_or_default();
        PROCESS + written(unknown) + writer.processes.iter().map(of).sum::<usize>()
    });
    CORRECTION + writer + texts.into_iter().map(written).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::limits::REPORT_LIMIT;
    use crate::model::{ControlId, State};

    fn finding(control: ControlId, severity: Severity, text: &str) -> Finding {
        // Whatever its control and its weight are.
        let finding = Finding::new(Code::EtcdLinkForeign, text)
            .expected(text)
            .actual(text)
            .origin(Origin::at(text, u32::MAX))
            .message(text)
            .remedy(text);
        let demoted_by = Some(Origin::at(text, u32::MAX));
        Finding { control: control.into(), severity, demoted_by, ..finding }
    }

    fn corrected(control: ControlId, text: &str) -> Correction {
        let process = Process {
            pid: u32::MAX,
            comm: text.into(),
            exe: Some(text.into()),
            unit: Some(text.into()),
        };
        Correction {
            control: control.into(),
            code: Code::EtcdTlsOwner.into(),
            subject: text.into(),
            from: text.into(),
            to: text.into(),
            object: None,
            before: Some(text.into()),
            writer: Some(Writer { processes: vec![process; 9], unknown: Some(text.into()) }),
        }
    }

    fn report(findings: Vec<Finding>, corrections: Vec<Correction>, text: &str) -> Report {
        let state = State::of(&findings);
        let controls = ControlId::ALL.map(|id| {
            let findings: Vec<_> = findings.iter().filter(|f| f.control == id).cloned().collect();
            ControlReport::new(id, findings)
        });
        let recent = corrections.iter().take(16).cloned();
        let recent = recent.map(|correction| Recent { time: u64::MAX, correction }).collect();
        Report {
            time: u64::MAX,
            state,
            root: text.into(),
            profile: text.into(),
            rke2_version: text.into(),
            controls: controls.to_vec(),
            corrections,
            recent,
            ..Report::starting()
        }
    }

    fn bounded(report: Report) -> (Report, usize) {
        let report = corrections(findings(report));
        let json = serde_json::to_string(&report).unwrap().len();
        (report, json)
    }

    fn corrections_of(report: &Report) -> Report {
        corrections(report.clone())
    }

    const SEVERITIES: [Severity; 4] =
        [Severity::Note, Severity::Warning, Severity::Drift, Severity::Fatal];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_report_has_its_limit_and_the_state_that_its_findings_make(
            given in prop::collection::vec((0..5usize, 0..4usize, "\\PC{0,40}|[\"\\\\\\x00-\\x1f😀a]{1,9}", 1..400usize), 0..60),
            made in prop::collection::vec(("\\PC{0,20}|[\"\\x01]{1,9}", 1..200usize), 0..40),
        ) {
            let findings = given.iter().map(|(control, severity, text, times)| {
                finding(ControlId::ALL[*control], SEVERITIES[*severity], &text.repeat(*times))
            }).collect::<Vec<_>>();
            let worst = findings.iter().map(|f| f.severity).max();
            let count = findings.len();
            let corrections: Vec<_> = made.iter()
                .map(|(text, times)| corrected(ControlId::Sysctl, &text.repeat(*times))).collect();
            let (all, states) = (corrections.len(), report(findings.clone(), vec![], "").controls);
            let (report, json) = bounded(report(findings, corrections, &"\u{1}".repeat(9000)));

            prop_assert!(json <= REPORT_LIMIT, "{json}");
            prop_assert_eq!(State::of(report.findings()), report.state);
            prop_assert_eq!(report.findings().map(|f| f.severity).max(), worst);
            for (control, before) in report.controls.iter().zip(states) {
                prop_assert_eq!(State::of(&control.findings), before.state);
            }
            let told: usize = report.findings().map(|f| match f.code.known() {
                Some(Code::FindingsLeftOut) => f.actual.split(' ').next().unwrap().parse().unwrap(),
                _ => 1,
            }).sum();
            prop_assert_eq!(told, count);
            prop_assert_eq!(report.corrections.len() + report.corrections_left_out, all);
            // Once more changes nothing.
            prop_assert!(corrections_of(&report) == report, "corrections twice");
        }
    }

    #[test]
    fn the_worst_that_there_can_be_has_its_limit_too() {
        for text in ["\u{1}", "\"", "x", "😀"] {
            let text = text.repeat(4096);
            for severity in [Severity::Note, Severity::Fatal] {
                let all = ControlId::ALL.map(|id| vec![finding(id, severity, &text); 12]);
                let made = vec![corrected(ControlId::EtcdDataDir, &text); 20];
                let (report, json) = bounded(report(all.concat(), made, &text));
                assert!(json <= REPORT_LIMIT, "{text:.1}: {json}");
                assert!(report.findings().count() > 8 && !report.recent.is_empty());
            }
        }
    }

    #[test]
    fn a_report_of_many_short_findings_has_its_limit_too() {
        let all = ControlId::ALL.map(|id| vec![finding(id, Severity::Note, ""); 2000]).concat();
        let short = Correction { writer: None, ..corrected(ControlId::Sysctl, "") };
        let (report, json) = bounded(report(all, vec![short; 2000], ""));
        assert!(json <= REPORT_LIMIT && report.corrections.len() > 10, "{json}");
    }

    #[test]
    fn a_severe_finding_is_not_left_out_for_a_mild_one() {
        let text = "x".repeat(3000);
        let mut all = vec![finding(ControlId::Sysctl, Severity::Note, "small"); 20];
        all.extend(vec![finding(ControlId::EtcdDataDir, Severity::Fatal, &text); 40]);
        let (report, _) = bounded(report(all, vec![], ""));
        let of = |severity| report.findings().filter(move |f| f.severity == severity);
        assert!(of(Severity::Fatal).count() > 5);
        assert_eq!(
            of(Severity::Note).map(|f| f.code.as_str()).collect::<Vec<_>>(),
            ["findings-left-out"]
        );
    }

    #[test]
    fn a_remedy_is_whole_or_another_one_and_never_half_a_command() {
        let long = format!("find out who made it, then rm '/d/{}'", "a b".repeat(700));
        let mut given = finding(ControlId::EtcdDataDir, Severity::Fatal, "x");
        given.remedy = long;
        let (report, _) = bounded(report(vec![given], vec![], ""));
        let remedy = &report.findings().next().unwrap().remedy;
        assert!(!remedy.contains("rm ") && remedy.contains("-inum"), "{remedy}");
    }
}
