// SPDX-License-Identifier: Apache-2.0
//! Whoever writes a value into a file, or a name into a database, does not write to the terminal of
//! the operator who looks at it: every text that nodeguard prints, with an escape sequence and a
//! line break in each of its strings.

use nodeguard::config::{self, Settings, Source};
use nodeguard::controls::sysctl;
use nodeguard::journal::Entry;
use nodeguard::model::{
    Code, ControlId, ControlReport, Correction, Finding, Origin, Process, Recent, Report, State,
    Writer,
};
use nodeguard::render::{self, explain, explain_rke2, settings};
use nodeguard::rke2::explain::Value;
use nodeguard::sysctl_d::{Assigned, Explanation, SetBy, Shadowed, Verdict, Why};

/// Clears the screen, begins a line that looks like ours, and clears it the eight-bit way.
const HOSTILE: &str = "x\u{1b}[2J\nready: forged\r\u{9b}2J\u{7}";

fn hostile() -> String {
    HOSTILE.into()
}

fn origin() -> Origin {
    Origin::at(HOSTILE, 1)
}

/// No control character but line breaks, and no line that begins as the hostile one does.
fn harmless(surface: &str, text: &str) {
    let control = text.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(control, None, "{surface}: {text:?}");
    assert!(!text.lines().any(|line| line.starts_with("ready: forged")), "{surface}: {text}");
    assert!(text.contains("x\\u{1b}[2J"), "{surface} shows what is there, escaped: {text}");
}

/// For what has one line only.
fn one_line(surface: &str, text: &str) {
    assert!(!text.contains('\n'), "{surface}: {text:?}");
    harmless(surface, text);
}

fn finding() -> Finding {
    Finding::new(Code::SysctlLive, hostile())
        .expected(hostile())
        .actual(hostile())
        .origin(origin())
        .message(hostile())
        .remedy(hostile())
}

fn correction() -> Correction {
    let process = Process { pid: 1, comm: hostile(), exe: Some(hostile()), unit: Some(hostile()) };
    Correction {
        control: ControlId::Sysctl.into(),
        code: Code::SysctlLive.into(),
        subject: hostile(),
        from: hostile(),
        to: hostile(),
        object: None,
        before: Some(hostile()),
        writer: Some(Writer { processes: vec![process], unknown: Some(hostile()) }),
    }
}

fn report() -> Report {
    Report {
        state: State::Fatal,
        profile: hostile(),
        rke2_version: hostile(),
        controls: vec![ControlReport::new(ControlId::Sysctl, vec![finding()])],
        corrections: vec![correction()],
        ..Report::starting()
    }
}

#[test]
fn no_string_of_a_report_reaches_a_terminal_as_it_is() {
    let mut report = report();
    let view = render::parse(&render::json(&report)).unwrap();
    harmless("check, corrections", &render::text(&view));
    harmless("gate", &render::finding_text(&view.controls[0].findings[0], ""));
    one_line("gate's status", &render::finding_line(&view.controls[0].findings[0]));
    one_line("headline", &render::headline(&view));
    one_line("status line", &render::status_line(&report, 1));
    let ready = Report { state: State::Ready, controls: Vec::new(), ..report.clone() };
    one_line("status line, ready", &render::status_line(&ready, 1));
    report.recent = vec![Recent { time: 0, correction: correction() }];
    let view = render::parse(&render::json(&report)).unwrap();
    let text = render::text(&view);
    harmless("status, corrected lately", &text);
    assert_eq!(text.lines().filter(|line| line.contains("1970")).count(), 1, "{text}");
}

#[test]
fn no_line_of_a_finding_can_be_forged_by_its_message() {
    let mut report = report();
    report.controls[0].findings[0].message = "m\nwhere:  /forged\nremedy: forged".into();
    let view = render::parse(&render::json(&report)).unwrap();
    let text = render::finding_text(&view.controls[0].findings[0], "");
    let labels: Vec<_> = text.lines().filter(|line| line.starts_with("  remedy:")).collect();
    assert_eq!(labels.len(), 1, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("  where:")).count(), 1, "{text}");
}

#[test]
fn json_keeps_every_string_as_it_is() {
    let json: serde_json::Value = serde_json::from_str(&render::json(&report())).unwrap();
    let finding = &json["controls"][0]["findings"][0];
    for field in ["subject", "expected", "actual", "message", "remedy"] {
        assert_eq!(finding[field], HOSTILE, "{field}");
    }
    assert_eq!(json["corrections"][0]["from"], HOSTILE);
}

#[test]
fn a_message_of_the_journal_has_no_control_characters_which_journalctl_would_not_show() {
    one_line("journal, correction", Entry::corrected(&correction()).message());
    // RKE2's own words may have several lines; in the journal they belong to one entry.
    for entry in [Entry::finding(&finding()), Entry::state(State::Fatal, State::Ready, HOSTILE)] {
        let message = entry.message();
        assert!(!message.contains(|c: char| c.is_control() && c != '\n'), "{message:?}");
    }
}

#[test]
fn a_live_value_with_lines_is_one_line_in_its_message() {
    let wanted = sysctl::wanted(None, sysctl::Scope::default(), &config::Sysctl::default());
    let live = sysctl::Live::Value(hostile());
    let planned = sysctl::judge_live(&wanted[0], &live, sysctl::Scope::default()).unwrap();
    one_line("live value", &planned.finding.message);
    assert_eq!(planned.finding.actual, HOSTILE, "the data is as it was found");
}

fn assigned(set_by: SetBy) -> Assigned {
    Assigned {
        value: hostile(),
        set_by,
        origin: origin(),
        link_to: Some(hostile()),
        pattern: Some(hostile()),
    }
}

fn parameter(live: explain::Live) -> explain::KeyAnswer {
    let shadowed = |why| Shadowed { assigned: assigned(SetBy::File), why, by: Some(origin()) };
    let whys = [
        Why::Later,
        Why::Named,
        Why::Excluded,
        Why::SameName,
        Why::Masked,
        Why::Volatile,
        Why::Files,
    ];
    let other = |value: &str| Assigned {
        value: format!("{value}{HOSTILE}"),
        ..assigned(SetBy::Credential)
    };
    let explanation = Explanation {
        next_boot: Some(assigned(SetBy::CommandLine)),
        excluded: Some(origin()),
        shadowed: whys.map(shadowed).to_vec(),
        now: Some(other("1")),
        sysctl_system: Some(other("2")),
        newer_sysctl_system: Some(other("3")),
        tuned: Some(Verdict {
            profile: hostile(),
            enabled: false,
            reapplies: true,
            sets: Some(assigned(SetBy::Tuned)),
            reapplied: Some(assigned(SetBy::Tuned)),
            leaves: None,
        }),
    };
    let wanted = explain::Wanted {
        value: hostile(),
        source: origin(),
        single: false,
        policy: config::Policy::Warn,
        policy_origin: origin(),
    };
    let line = || explain::Line { origin: origin(), text: Some(hostile()) };
    explain::KeyAnswer {
        key: hostile(),
        wanted: Some(wanted),
        live,
        explanation,
        no_assignment: vec![line()],
        also_written: vec![line()],
    }
}

#[test]
fn no_file_of_sysctl_d_and_no_value_reaches_a_terminal_as_it_is() {
    let mut excluded = parameter(explain::Live::Unreadable { reason: hostile() });
    excluded.explanation.next_boot = None;
    let answer = explain::Answer {
        schema: explain::Answer::SCHEMA,
        version: "0",
        root: "/".into(),
        keys: vec![parameter(explain::Live::Value { value: hostile() }), excluded],
        unread: vec![explain::Unread { path: hostile(), reason: hostile() }],
    };
    let text = explain::text(&answer);
    harmless("explain", &text);
    assert!(!text.contains("\nready"), "{text}");
}

#[test]
fn no_string_of_rke2s_configuration_reaches_a_terminal_as_it_is() {
    let value = |origin| Value {
        flag: hostile(),
        value: Some(hostile()),
        written: Some("another".to_owned() + HOSTILE),
        origin,
    };
    let answer = explain_rke2::Answer {
        schema: explain_rke2::Answer::SCHEMA,
        version: "0",
        root: "/".into(),
        role: "server",
        rke2_version: Some(hostile()),
        cis_benchmarks: Vec::new(),
        profiles: Vec::new(),
        unit: explain_rke2::Unit {
            name: hostile(),
            files: vec![hostile(), hostile()],
            binary: Some(hostile()),
            arguments: vec![hostile()],
            origin: Some(origin()),
            environment_files: vec![hostile(), hostile()],
        },
        configuration: explain_rke2::Configuration {
            path: Some(hostile()),
            origin: Some(origin()),
            exists: true,
            drop_ins: vec![hostile()],
        },
        environment: vec![value(None)],
        values: vec![value(Some(origin())), Value { value: None, ..value(None) }],
        others: vec![value(Some(origin()))],
        etcd: explain_rke2::Etcd { local: true, dir: hostile() },
        problems: vec![explain_rke2::Problem { message: hostile(), origin: origin() }],
    };
    harmless("explain rke2", &explain_rke2::text(&answer));
}

#[test]
fn no_file_of_our_own_configuration_reaches_a_terminal_as_it_is() {
    let source = Source { path: hostile(), content: Ok(Vec::new()) };
    let mut effective = Settings::default();
    effective.sysctl.extra =
        vec![(hostile(), config::Setting { value: hostile(), origin: origin() })];
    let text = settings::text(&[source], &effective);
    harmless("config", &text);
    assert!(!text.contains("\nready"), "{text}");
}
