// SPDX-License-Identifier: Apache-2.0
//! `mode` and `[gate]`: what an operator can have nodeguard only tell.

use nodeguard::config::{self, Settings, Source};
use nodeguard::controls::own_config;
use nodeguard::model::{Code, OperatingMode, Origin, Severity};

use super::{file, one, problem, resolve};

fn demoted(settings: &Settings) -> Vec<(Code, u32)> {
    let warn = settings.gate.warn.iter();
    warn.map(|code| (code.value, code.origin.line.unwrap())).collect()
}

/// Code, severity and message of what is told of a configuration in force.
fn told(settings: &Settings) -> Vec<(String, Severity, String)> {
    let facts = own_config::Facts { problems: &[], kept: true, settings, wanted: Vec::new() };
    own_config::judge(&facts)
        .into_iter()
        .map(|p| (p.finding.code.to_string(), p.finding.severity, p.finding.message))
        .collect()
}

#[test]
fn the_mode_is_one_of_two_words() {
    assert_eq!(Settings::default().mode.value, OperatingMode::Enforce);
    for (text, mode) in [("report", OperatingMode::Report), ("enforce", OperatingMode::Enforce)] {
        let settings = one(&format!("mode = \"{text}\"\n"));
        assert_eq!((settings.mode.value, settings.mode.origin), (mode, Origin::at("f", 1)));
    }
    for (text, words) in [
        ("\"repot\"", "did you mean \"report\"?"),
        ("\"Enforce\"", "did you mean \"enforce\"?"),
        ("\"ENFORCED\"", "did you mean \"enforce\"?"),
        ("\"enforcing\"", "did you mean \"enforce\"?"),
        ("\"Reporting\"", "did you mean \"report\"?"),
        ("\"\"", "expected \"enforce\" or \"report\""),
        ("\"dry-run\"", "expected \"enforce\" or \"report\""),
        ("true", "mode is true, expected"),
        ("[\"report\"]", "mode is an array, expected"),
    ] {
        let got = problem(&format!("\nmode = {text}\n"));
        assert!(got.starts_with("2: ") && got.contains(words), "{text}: {got}");
    }
}

#[test]
fn a_later_file_changes_the_mode_and_the_whole_list_and_an_empty_list_takes_it_back() {
    let base = file("a", "mode = 'report'\n[gate]\nwarn = ['etcd-device', 'etcd-owner']\n");
    let other = file("b", "mode = 'enforce'\ngate.warn = [\n  'etcd-link-foreign',\n]\n");
    let settings = resolve(&[base.clone(), other]).unwrap();
    assert_eq!(settings.mode.origin, Origin::at("b", 1));
    assert_eq!(demoted(&settings), [(Code::EtcdLinkForeign, 3)]);
    let settings = resolve(&[base, file("b", "gate.warn = []\n")]).unwrap();
    assert_eq!((settings.mode.value, demoted(&settings)), (OperatingMode::Report, vec![]));
}

#[test]
fn each_code_is_demoted_by_the_line_that_it_is_in_and_one_that_is_there_twice_by_the_first() {
    let settings = one(
        "[gate]\nwarn = [ # ours\n  'etcd-mode',\n  'sysctl-live', 'etcd-mode',\n  'role-both',\n]\n",
    );
    let expected = [(Code::EtcdMode, 3), (Code::SysctlLive, 4), (Code::RoleBoth, 5)];
    assert_eq!(demoted(&settings), expected);
    assert_eq!(told(&settings), [], "a demotion is no fault");
}

#[test]
fn a_code_that_cannot_be_demoted_is_an_error_that_costs_nothing_else() {
    let settings = one(
        "mode = 'report'\n[gate]\nwarn = ['etcd-ovner', 'role-both', 'etcd-home', 'quorum-lost']\n\
         [sysctl.extra]\nvm.swappiness = 10\n",
    );
    assert_eq!(settings.mode.value, OperatingMode::Report);
    assert_eq!(settings.sysctl.extra.len(), 1);
    assert_eq!(demoted(&settings), [(Code::RoleBoth, 3)]);
    let errors: Vec<_> =
        told(&settings).into_iter().filter(|(code, ..)| code == "own-config").collect();
    let messages: Vec<_> = errors.iter().map(|(_, _, message)| message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "unknown code etcd-ovner in gate.warn, did you mean etcd-owner?; all else is in force",
            "etcd-home in gate.warn is never fatal by itself, and there is nothing to demote; all \
             else is in force",
            "unknown code quorum-lost in gate.warn, see nodeguard(8); a newer one may know it; all \
             else is in force",
        ]
    );
    assert!(errors.iter().all(|(_, severity, _)| *severity == Severity::Warning));
    let json = nodeguard::render::settings::json(&[], &settings, &[]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["errors"].as_array().unwrap().len(), 3);
    assert_eq!(json["settings"]["gate"]["warn"][0]["value"], "role-both");
}

#[test]
fn what_is_no_list_of_codes_is_an_error_like_any_other() {
    for (text, words) in [
        ("gate = 1\n", "1: gate is 1, expected a table: [gate]"),
        ("[gate]\nwarn = 'etcd-mode'\n", "2: gate.warn is \"etcd-mode\", expected a list of codes"),
        ("[gate]\nwarn = [1]\n", "2: an entry of gate.warn is 1, expected the code of a finding"),
        ("[gate]\nwrn = []\n", "2: unknown key gate.wrn, did you mean gate.warn?"),
        ("warn = []\n", "1: unknown key warn, did you mean gate.warn?"),
        ("[gate]\nmode = 'report'\n", "2: unknown key gate.mode, did you mean mode?"),
    ] {
        assert_eq!(problem(text), words);
    }
}

#[test]
fn there_is_a_limit_to_the_codes_that_are_named_and_to_those_that_are_told() {
    let list = |n: usize| (0..n).map(|n| format!("'unknown-{n}', ")).collect::<String>();
    let settings = one(&format!("gate.warn = [{}]\n", list(128)));
    let left_out = &settings.gate.left_out;
    assert_eq!(left_out.len(), 32);
    assert!(left_out[31].message.ends_with("(and 96 more errors)"), "{}", left_out[31].message);
    let got = problem(&format!("gate.warn = [{}]\n", list(129)));
    assert_eq!(got, "1: gate.warn is 129 codes, expected at most 128");
}

#[test]
fn where_nothing_was_ever_whole_the_mode_that_the_files_name_counts() {
    let of = |sources: &[Source]| {
        assert!(resolve(sources).is_err());
        let settings = config::fallback(sources);
        assert_eq!(settings.unclear, None);
        assert_eq!(Settings { mode: settings.mode.clone(), ..Settings::default() }, settings);
        (settings.mode.value, settings.mode.origin.to_string())
    };
    let report = OperatingMode::Report;
    let enforce = (OperatingMode::Enforce, "built-in default".to_owned());
    let wrong = file("w", "attributoin = true\n");
    assert_eq!(of(std::slice::from_ref(&wrong)), enforce);
    assert_eq!(of(&[file("f", "mode = 'report'\n"), wrong.clone()]), (report, "f:1".into()));
    assert_eq!(of(&[file("f", "x = 1\nmode = 'report'\n[sysctl\n")]), (report, "f:2".into()));
    let later = [file("f", "mode = 'report'\n"), wrong.clone(), file("g", "mode = 'enforce'\n")];
    assert_eq!(of(&later), (OperatingMode::Enforce, "g:1".into()));
    let facts = |kept, settings: &Settings| {
        let problems = resolve(std::slice::from_ref(&wrong)).unwrap_err();
        let facts = own_config::Facts { problems: &problems, kept, settings, wanted: Vec::new() };
        let mut messages = own_config::judge(&facts).into_iter().map(|p| p.finding.message);
        messages.find(|message| message.starts_with("unknown key")).unwrap()
    };
    let settings = config::fallback(&[file("f", "mode = 'report'\n")]);
    assert!(
        facts(false, &settings).ends_with(
            "; the built-in configuration stays in force, in the mode that the files name"
        )
    );
    assert!(facts(true, &settings).ends_with("; the last whole configuration stays in force"));
}

#[test]
fn a_mode_that_was_plainly_meant_is_that_one_and_of_any_other_nothing_is_changed_and_the_gate_judges()
 {
    let of = |text: &str| {
        let source = file("f", text);
        assert!(resolve(std::slice::from_ref(&source)).is_err(), "{text}");
        let Settings { mode, unclear, .. } = config::fallback(&[source]);
        (mode.value, unclear.map(|origin| origin.to_string()))
    };
    use OperatingMode::{Enforce, Report};
    for value in ["Enforce", "ENFORCE", "enforcing", "ENFORCED", "enforced", "enfroce", " enforce "]
    {
        assert_eq!(of(&format!("mode = '{value}'\n")), (Enforce, None), "{value}");
    }
    for value in ["Report", "REPORT", "reports", "reporting", "report-only", "repot", "rport"] {
        assert_eq!(of(&format!("mode = '{value}'\n")), (Report, None), "{value}");
    }
    for value in
        ["true", "false", "1", "1.5", "{}", "[]", "['report']", "''", "'audit'", "'off'", "'warn'"]
    {
        let line = Some("f:2".to_owned());
        assert_eq!(of(&format!("\nmode = {value}\n")), (Enforce, line), "{value}");
    }
    // The key itself may be mistyped, or stand in a table as what is put at the end of a file does;
    // and the quotes may be forgotten.
    for text in [
        "Mode = 'report'\n",
        "mod = 'report'\n",
        "[sysctl.extra]\nmode = 'report'\n",
        "[gate]\nwarn = []\nmode = 'report'\n",
    ] {
        assert_eq!(of(text), (Report, None), "{text}");
    }
    for text in [
        "mode = report\n",
        "mode report\n",
        "mode: report\n",
        "mode =\n",
        "mode\n",
        "[mode]\nreport = true\n",
    ] {
        let settings = config::fallback(&[file("f", text)]);
        assert!(settings.changes_nothing(), "{text}: {settings:?}");
    }
    for text in ["mode = enforce\n", "mode: enforce\n"] {
        assert_eq!(of(text).0, Enforce, "{text}");
    }
    let binary = Source { path: "f".into(), content: Ok(b"mode = 'report' # \xff\n".to_vec()) };
    assert_eq!(config::fallback(&[binary]).unclear, Some(Origin::file("f")));
}

#[test]
fn what_cannot_be_used_may_say_report_and_what_counts_for_more_says_more() {
    let unread = Source { path: "u".into(), content: Err("it is owned by uid 1000".into()) };
    let of = |sources: &[Source]| {
        let Settings { mode, unclear, .. } = config::fallback(sources);
        (mode.value, unclear.map(|origin| origin.to_string()))
    };
    use OperatingMode::{Enforce, Report};
    let [report, enforce] =
        ["report", "enforce"].map(|mode| file(mode, &format!("mode = '{mode}'\n")));
    let open = Some("u".to_owned());
    assert_eq!(of(std::slice::from_ref(&unread)), (Enforce, open.clone()));
    assert_eq!(of(&[unread.clone(), report.clone()]), (Report, None));
    assert_eq!(of(&[report, unread.clone()]), (Enforce, open.clone()), "it may say enforce");
    assert_eq!(of(&[enforce.clone(), unread.clone()]), (Enforce, open.clone()));
    assert_eq!(of(&[unread.clone(), enforce]), (Enforce, open));
    let settings = config::fallback(std::slice::from_ref(&unread));
    let problems = resolve(&[unread]).unwrap_err();
    let facts =
        own_config::Facts { problems: &problems, kept: false, settings: &settings, wanted: vec![] };
    let planned = own_config::judge(&facts);
    assert_eq!(planned.len(), 1, "no note of report mode: {planned:?}");
    let message = &planned[0].finding.message;
    assert!(message.contains("nothing on this host is corrected until then"), "{message}");
}

#[test]
fn report_mode_is_a_note_with_the_line_that_sets_it() {
    let settings = one("\nmode = 'report'\n");
    let facts =
        own_config::Facts { problems: &[], kept: true, settings: &settings, wanted: vec![] };
    let planned = own_config::judge(&facts);
    let finding = &planned[0].finding;
    assert_eq!((finding.code.as_str(), finding.severity), ("report-mode", Severity::Note));
    assert_eq!(finding.origin, Some(Origin::at("f", 2)));
    assert_eq!(told(&one("mode = 'enforce'\n")), []);
}
