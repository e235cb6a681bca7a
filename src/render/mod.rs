// SPDX-License-Identifier: Apache-2.0
//! A report as text and as JSON. Whatever is printed comes from the report alone.

pub mod explain;
pub mod explain_code;
pub mod explain_rke2;
pub mod settings;
mod terminal;

use crate::model::{Correction, Finding, Recent, Report, Role, Severity, State};

pub use terminal::{joined, line};

/// The report as one line of JSON.
pub fn json(report: &Report) -> String {
    // Strings, numbers and closed enums: there is nothing in it that JSON cannot say.
    serde_json::to_string(report).unwrap_or_default()
}

/// A report that came as JSON: what `check --json` prints, D-Bus answers and /run holds. Another
/// version may have made it.
pub fn parse(json: &str) -> Result<Report, serde_json::Error> {
    serde_json::from_str(json)
}

/// The report for a person at a terminal.
pub fn text(report: &Report) -> String {
    let mut out = format!("{}\n", headline(report));
    if report.mode.only_reports() {
        out += &format!("{}\n", would_have(report));
    }
    for control in &report.controls {
        let (id, title) = (line(control.id.as_str()), line(&control.title));
        let state = control.state.as_str();
        out += &format!("  {id:<16} {state:<9} {title}\n");
        for finding in &control.findings {
            out += &finding_text(finding, "    ");
        }
    }
    // What was corrected lately has what was corrected now in it.
    if !report.recent.is_empty() {
        out += "corrected lately:\n";
        for Recent { time, correction } in &report.recent {
            out += &format!("  {} {}", utc(*time), correction_text(correction));
        }
    } else if !report.corrections.is_empty() {
        out += "corrected:\n";
        for correction in &report.corrections {
            out += &format!("  {}", correction_text(correction));
        }
    }
    out
}

fn correction_text(c: &Correction) -> String {
    let writer = c.writer.as_ref().map(|writer| format!("; {writer}")).unwrap_or_default();
    let text = format!("{}: {} -> {} ({}){writer}", c.subject, c.from, c.to, c.code);
    format!("{}\n", line(&text))
}

/// Seconds since the epoch as `2026-11-22T08:42:35Z`.
pub fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // In eras of 400 years that begin in March, so that the leap day is a year's last
    // (the Gregorian calendar repeats after 146,097 days; day 0 is 719,468 days into year 0).
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// What nodeguard would have done in `mode = "enforce"`, in a sentence.
pub fn would_have(report: &Report) -> String {
    let mut would = Vec::new();
    match report.findings().filter(|f| f.severity == Severity::Drift).count() {
        0 => {}
        1 => would.push("1 thing would have been corrected".to_owned()),
        n => would.push(format!("{n} things would have been corrected")),
    }
    let worst = report.findings().find(|f| f.severity == Severity::Fatal);
    would.push(match worst {
        Some(worst) => {
            format!("RKE2 would not have been started because {}", finding_line(worst))
        }
        None => "RKE2 would have been started".to_owned(),
    });
    format!("report mode: {}", would.join(", and "))
}

/// The state, and in report mode that one, since there a state has no consequences.
fn state(report: &Report) -> String {
    match report.mode.only_reports() {
        true => format!("{} ({} mode)", report.state, report.mode),
        false => report.state.to_string(),
    }
}

/// `ready: server, profile cis, RKE2 1.34.1+rke2r1`
pub fn headline(report: &Report) -> String {
    let Report { role, profile, rke2_version, .. } = report;
    let role = if *role == Role::Unknown { "role not known yet" } else { role.as_str() };
    let mut out = format!("{}: {role}, ", state(report));
    out += &if profile.is_empty() { "no profile".into() } else { format!("profile {profile}") };
    if !rke2_version.is_empty() {
        out += &format!(", RKE2 {rke2_version}");
    }
    line(&out)
}

/// Three lines: what is wrong, where, what to do.
pub fn finding_text(finding: &Finding, indent: &str) -> String {
    // Line breaks in the message would break the indentation that shows what belongs together.
    let lines = |text: &str| terminal::lines(text, &format!("{indent}    "));
    let mut out = format!("{indent}{}: {}\n", finding.severity, lines(&finding.message));
    if let Some(origin) = &finding.origin {
        out += &format!("{indent}  where:  {}\n", line(&origin.to_string()));
    }
    if !finding.remedy.is_empty() {
        out += &format!("{indent}  remedy: {}\n", lines(&finding.remedy));
    }
    out
}

/// One line: what is wrong and where. For RKE2's own status.
pub fn finding_line(finding: &Finding) -> String {
    let origin = finding.origin.as_ref();
    let origin = origin.map(|o| format!(" [{}]", line(&o.to_string()))).unwrap_or_default();
    format!("{}{origin}", terminal::joined(&finding.message))
}

/// The line in `systemctl status`.
pub fn status_line(report: &Report, corrections: u64) -> String {
    let mut out = headline(report);
    let worst = report.findings().max_by_key(|f| f.severity);
    match worst {
        Some(finding) if report.state != State::Ready => {
            out = format!("{}: {}", state(report), finding_line(finding));
            let more = report.findings().filter(|f| f.severity == finding.severity).count() - 1;
            if more > 0 {
                out += &format!(" (and {more} more: nodeguard status)");
            }
        }
        _ if corrections == 1 => out += "; 1 correction since start",
        _ if corrections > 1 => out += &format!("; {corrections} corrections since start"),
        _ => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Code, ControlId, ControlReport, OperatingMode, Origin, fixture};

    fn report() -> Report {
        let finding = Finding::new(Code::ProtectKernelDefaultsConflict, "protect-kernel-defaults")
            .expected("true")
            .actual("false")
            .origin(Origin::at("/etc/rancher/rke2/config.yaml", 3))
            .message("--protect-kernel-defaults must be true when using --profile=cis")
            .remedy("remove line 3 of /etc/rancher/rke2/config.yaml");
        Report {
            time: 1_780_000_000,
            state: State::Fatal,
            version: "0.0.0".into(),
            role: Role::Server,
            profile: "cis".into(),
            rke2_version: "1.34.1+rke2r1".into(),
            controls: vec![
                ControlReport::new(ControlId::Rke2Config, vec![finding]),
                ControlReport::new(ControlId::Sysctl, vec![]),
            ],
            corrections: vec![fixture::written()],
            ..Report::starting()
        }
    }

    #[test]
    fn the_json_format_is_the_golden_one() {
        let pretty: serde_json::Value = serde_json::from_str(&json(&report())).unwrap();
        insta::assert_snapshot!("report.json", serde_json::to_string_pretty(&pretty).unwrap());
    }

    #[test]
    fn the_text_format_is_the_golden_one() {
        insta::assert_snapshot!("report.txt", text(&parse(&json(&report())).unwrap()));
    }

    #[test]
    fn what_the_daemon_corrected_lately_is_shown_with_its_time_and_its_writer() {
        let mut report = report();
        let correction = report.corrections.remove(0);
        report.recent = vec![crate::model::Recent { time: 1_795_336_955, correction }];
        let text = text(&parse(&json(&report)).unwrap());
        let last = "corrected lately:\n  2026-11-22T08:42:35Z kernel.panic: 0 -> 10 (sysctl-live); \
                    written by sysctl[812] (/usr/sbin/sysctl) of rogue.service\n";
        assert!(text.ends_with(last), "{text}");
    }

    #[test]
    fn a_time_is_the_date_that_the_calendar_has() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), date);
        }
    }

    #[test]
    fn the_status_line_says_the_worst_thing_and_where() {
        assert_eq!(
            status_line(&report(), 1),
            "fatal: --protect-kernel-defaults must be true when using --profile=cis \
             [/etc/rancher/rke2/config.yaml:3]"
        );
        let ready = Report { state: State::Ready, controls: vec![], ..report() };
        assert_eq!(
            status_line(&ready, 3),
            "ready: server, profile cis, RKE2 1.34.1+rke2r1; 3 corrections since start"
        );
    }

    #[test]
    fn in_report_mode_every_line_says_so_and_what_would_have_been_done() {
        let mut report = Report { mode: OperatingMode::Report, ..report() };
        let headline = "fatal (report mode): server, profile cis, RKE2 1.34.1+rke2r1";
        let because = "RKE2 would not have been started because --protect-kernel-defaults must be \
                       true when using --profile=cis [/etc/rancher/rke2/config.yaml:3]";
        assert_eq!(super::headline(&report), headline);
        assert_eq!(would_have(&report), format!("report mode: {because}"));
        assert!(text(&report).starts_with(&format!("{headline}\nreport mode: {because}\n")));
        assert!(status_line(&report, 0).starts_with("fatal (report mode): --protect-kernel"));
        let drift = Finding::new(Code::SysctlLive, "kernel.panic").severity(Severity::Drift);
        report.controls[1].findings = vec![drift; 2];
        let two = "report mode: 2 things would have been corrected, and ";
        assert_eq!(would_have(&report), format!("{two}{because}"));
        report.controls.remove(0);
        assert_eq!(would_have(&report), format!("{two}RKE2 would have been started"));
        let ready = Report { state: State::Ready, controls: vec![], ..report };
        assert_eq!(
            status_line(&ready, 0),
            "ready (report mode): server, profile cis, RKE2 1.34.1+rke2r1"
        );
        let unknown = json(&ready).replacen(r#""mode":"report""#, r#""mode":"splendid""#, 1);
        assert_eq!(parse(&unknown).unwrap().mode, OperatingMode::Enforce, "it opens no gate");
    }

    #[test]
    fn a_state_nobody_knows_is_taken_for_fatal() {
        let splendid = json(&report()).replacen(r#""state":"fatal""#, r#""state":"splendid""#, 1);
        assert!(splendid.contains("splendid"), "{splendid}");
        assert_eq!(parse(&splendid).unwrap().state, State::Fatal);
    }

    #[test]
    fn a_report_is_read_back_as_it_was() {
        let mut report = report();
        assert_eq!(parse(&json(&report)).unwrap(), report);
        let correction = report.corrections.remove(0);
        report.recent = vec![Recent { time: 1, correction }];
        report.corrections_left_out = 3;
        assert_eq!(parse(&json(&report)).unwrap(), report);
    }

    #[test]
    fn another_versions_report_is_shown_with_the_names_that_it_has() {
        let newer = r#"{
            "state": "ready", "role": "witness", "profile": "cis", "rke2_version": "2.0.0",
            "shape": {"of": ["a", "report"]},
            "controls": [{
                "id": "firewall", "title": "packet filter", "state": "blue", "since": 7,
                "findings": [{
                    "control": "firewall", "code": "port-open", "severity": "grave",
                    "subject": "22/tcp", "expected": "closed", "actual": "open", "score": 9,
                    "message": "port 22 is open", "remedy": "close it"
                }]
            }],
            "corrections": [{
                "control": "firewall", "code": "port-closed", "subject": "23/tcp",
                "from": "open", "to": "closed", "why": "it was open"
            }]
        }"#;
        let report = parse(newer).unwrap();
        let finding = report.findings().next().unwrap();
        assert_eq!(finding.severity, Severity::Fatal, "what we do not know must open no gate");
        assert_eq!((finding.code.as_str(), finding.code.known()), ("port-open", None));
        assert_eq!(
            text(&report),
            "ready: role not known yet, profile cis, RKE2 2.0.0\n  \
               firewall         fatal     packet filter\n    \
                 fatal: port 22 is open\n      \
                   remedy: close it\n\
             corrected:\n  \
               23/tcp: open -> closed (port-closed)\n"
        );
        let written: serde_json::Value = serde_json::from_str(&json(&report)).unwrap();
        assert_eq!(written["controls"][0]["id"], "firewall");
        assert_eq!(written["corrections"][0]["code"], "port-closed");
        assert!(parse(r#"{"state": "ready"}"#).is_err(), "this is no report");
    }
}
