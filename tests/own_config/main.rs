// SPDX-License-Identifier: Apache-2.0
//! nodeguard's own configuration, from the bytes of its files to settings or to all that is wrong
//! with them.

mod gate;
mod manual;
mod random;

use std::time::Duration;

use nodeguard::config::{self, Policy, Problem, Settings, Source};
use nodeguard::controls::own_config;
use nodeguard::controls::sysctl::FIXED;
use nodeguard::model::{Origin, Severity};
use nodeguard::render::settings;

pub fn file(path: &str, text: &str) -> Source {
    Source { path: path.into(), content: Ok(text.as_bytes().to_vec()) }
}

fn resolve(sources: &[Source]) -> Result<Settings, Vec<Problem>> {
    config::resolve(sources, &FIXED)
}

/// One file's settings.
fn one(text: &str) -> Settings {
    resolve(&[file("f", text)]).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"))
}

/// One file's first problem, as `line: message`.
fn problem(text: &str) -> String {
    let problems = resolve(&[file("f", text)]).expect_err(text);
    format!("{}: {}", problems[0].origin.line.unwrap_or_default(), problems[0].message)
}

/// Key, value and line of each parameter of the operator's.
fn extra(settings: &Settings) -> Vec<(&str, &str, u32)> {
    let extra = settings.sysctl.extra.iter();
    extra.map(|(key, v)| (key.as_str(), v.value.as_str(), v.origin.line.unwrap())).collect()
}

#[test]
fn no_file_and_an_empty_file_are_the_built_in_configuration() {
    for sources in [vec![], vec![file("f", "")], vec![file("f", "# nothing\n\n[sysctl]\n")]] {
        let settings = resolve(&sources).unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.poll_interval.value, Duration::from_secs(5));
        assert!(!settings.attribution.value);
        assert_eq!(settings.poll_interval.origin, Origin::file("built-in default"));
    }
}

#[test]
fn every_value_knows_the_line_that_set_it() {
    let settings = one("# one\nattribution = true\npoll-interval = '2min'\n\n[etcd-account]\n\
                        uid = 52034\ngid = 0xCB42\n");
    assert!(settings.attribution.value);
    assert_eq!(settings.attribution.origin, Origin::at("f", 2));
    assert_eq!(settings.poll_interval.value, Duration::from_secs(120));
    assert_eq!(settings.poll_interval.origin, Origin::at("f", 3));
    let uid = settings.etcd_account.uid.unwrap();
    let gid = settings.etcd_account.gid.unwrap();
    assert_eq!((uid.value, uid.origin), (52034, Origin::at("f", 6)));
    assert_eq!((gid.value, gid.origin), (52034, Origin::at("f", 7)));
}

#[test]
fn a_kernel_parameter_may_be_written_in_every_way_that_toml_has() {
    for text in [
        "[sysctl.extra]\nvm.max_map_count = 262144\nkernel.sem = '1 2\t3 4'\n",
        "[sysctl.extra]\n\"vm.max_map_count\" = '262144'\n'kernel.sem' = \"1 2\\t3 4\"\n",
        "sysctl.extra.vm.max_map_count = 0x4_0000\nsysctl.extra.kernel.sem = ' 1 2\t3 4 '\n\n",
        "[sysctl.extra.vm]\nmax_map_count = 262144\n[sysctl.extra.kernel]\nsem = '1 2\t3 4'\n",
        "[sysctl]\nextra = { vm.max_map_count = 262_144, kernel = { sem = '1 2\t3 4' } }\n",
    ] {
        let settings = one(text);
        let got: Vec<_> =
            extra(&settings).into_iter().map(|(key, value, _)| (key, value)).collect();
        assert_eq!(got, [("vm.max_map_count", "262144"), ("kernel.sem", "1 2\t3 4")], "{text}");
    }
}

#[test]
fn parameters_keep_the_order_of_the_file_whatever_their_names() {
    let settings =
        one("[sysctl.extra]\nvm.swappiness = 1\nfs.file-max = 9\n'kernel.sem' = '1 2 3 4'\n\
             vm.dirty_ratio = -1\nfs.nr_open = 8\n");
    let keys: Vec<_> = extra(&settings).into_iter().map(|(key, _, line)| (key, line)).collect();
    let want =
        ["vm.swappiness", "fs.file-max", "kernel.sem", "vm.dirty_ratio", "fs.nr_open"].into_iter();
    assert_eq!(keys, want.zip(2..).collect::<Vec<_>>());
}

#[test]
fn of_two_files_the_later_one_changes_what_it_names_and_nothing_else() {
    let settings = resolve(&[
        file("vendor", "poll-interval = '10s'\nattribution = true\n[etcd-account]\nuid = 5\n"),
        file("admin", "poll-interval = '20s'\n[sysctl.extra]\nvm.a = 1\nvm.b = 2\n"),
        file(
            "drop-in",
            "[etcd-account]\ngid = 6\n[sysctl]\nextra.vm.c = 3\nextra.vm.a = 9\n\
                         policy.kernel.panic = 'warn'\n",
        ),
        file("last", "[sysctl.policy]\nkernel.panic = 'enforce'\nvm.b = 'ignore'\n"),
    ])
    .unwrap();
    assert_eq!(settings.poll_interval.value, Duration::from_secs(20));
    assert_eq!(settings.poll_interval.origin, Origin::at("admin", 1));
    assert_eq!(settings.attribution.origin, Origin::at("vendor", 2));
    assert_eq!(settings.etcd_account.uid.as_ref().unwrap().origin, Origin::at("vendor", 4));
    assert_eq!(settings.etcd_account.gid.as_ref().unwrap().origin, Origin::at("drop-in", 2));
    assert_eq!(extra(&settings), [("vm.a", "9", 5), ("vm.b", "2", 4), ("vm.c", "3", 4)]);
    let policy: Vec<_> =
        settings.sysctl.policy.iter().map(|(k, p)| (k.as_str(), p.value)).collect();
    assert_eq!(policy, [("kernel.panic", Policy::Enforce), ("vm.b", Policy::Ignore)]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_line() {
    let sources = [
        file("/etc/nodeguard/nodeguard.toml", include_str!("everything-wrong.toml")),
        file("/etc/nodeguard/nodeguard.toml.d/50.toml", "poll-interval = \n[sysctl\nx = 1\n"),
        Source {
            path: "/etc/nodeguard/nodeguard.toml.d/60.toml".into(),
            content: Err("it is owned by uid 1000, expected root".into()),
        },
        Source {
            path: "/etc/nodeguard/nodeguard.toml.d/70.toml".into(),
            content: Ok(b"# fine\npoll-interval = '\xff5s'\n".to_vec()),
        },
        file("/etc/nodeguard/nodeguard.toml.d/80.toml", "attribution = 7\n"),
    ];
    let problems = resolve(&sources).unwrap_err();
    let lines = problems.iter().map(|p| format!("{}: {}\n    {}\n", p.origin, p.message, p.remedy));
    insta::assert_snapshot!("everything-wrong", lines.collect::<String>());
}

#[test]
fn a_value_that_rke2_would_not_start_with_is_refused_and_the_right_one_is_none_of_our_business() {
    for (key, value) in FIXED {
        let text = format!("[sysctl.extra]\n{key} = {value}\n");
        assert_eq!(extra(&one(&text)), [(key, value, 2)]);
        let text = format!("\n[sysctl.extra]\n{key} = 7\n");
        assert_eq!(
            problem(&text),
            format!("3: {key} is 7, expected {value}: nothing else will do for RKE2")
        );
    }
}

#[test]
fn there_is_a_limit_to_the_size_of_a_file_to_keys_and_to_what_is_told() {
    let long = format!("# {}\n", "x".repeat(64 * 1024));
    assert_eq!(problem(&long), "0: f is too large, expected at most 65536 bytes");

    let keys = |from: usize| (from..from + 200).map(|n| format!("vm.k{n} = 1\n"));
    let table = |from| format!("[sysctl.extra]\n{}", keys(from).collect::<String>());
    assert_eq!(extra(&one(&table(0))).len(), 200);
    let problems = resolve(&[file("a", &table(0)), file("b", &table(100))]).unwrap_err();
    assert_eq!(problems[0].message, "sysctl.extra is more than 256 keys, expected at most 256");
    let policies = |from: usize| (from..from + 200).map(|n| format!("vm.k{n} = 'warn'\n"));
    let table = |from| format!("[sysctl.policy]\n{}", policies(from).collect::<String>());
    let problems = resolve(&[file("a", &table(0)), file("b", &table(100))]).unwrap_err();
    assert_eq!(problems[0].message, "sysctl.policy is more than 256 keys, expected at most 256");

    let wrong: String = (0..100).map(|n| format!("wrong-{n} = 1\n")).collect();
    let problems = resolve(&[file("f", &wrong)]).unwrap_err();
    assert_eq!(problems.len(), 32);
    assert!(problems[31].message.ends_with("(and 68 more errors)"), "{}", problems[31].message);
    let problems = resolve(&[file("f", &wrong), file("g", &wrong)]).unwrap_err();
    assert_eq!((problems.len(), problems[31].origin.file.as_str()), (32, "f"));
    assert!(problems[31].message.ends_with("(and 168 more errors)"), "{}", problems[31].message);
}

#[test]
fn a_tower_of_tables_is_an_error_and_no_end_of_the_stack() {
    for text in [
        format!("[sysctl.extra]\n{}b = 1\n", "a.".repeat(30_000)),
        format!("[{}b]\n", "a.".repeat(30_000)),
        format!("x = {}", "{a=".repeat(20_000)),
        format!("x = {}", "[".repeat(60_000)),
    ] {
        assert!(problem(&text).contains("recur"), "{}", problem(&text));
        nodeguard::config::fallback(&[file("f", &text)]);
    }
    assert!(!problem(&"[\n".repeat(30_000)).is_empty());
    assert!(!problem(&"=\n".repeat(30_000)).is_empty());
}

#[test]
fn what_a_file_says_cannot_write_to_a_terminal() {
    for text in [
        "\"\\u001b[2J\" = 1\n",
        "poll-interval = \"\\u001b[2J\"\n",
        "[sysctl.policy]\n\"\\u001b[2J\" = \"warn\"\n",
        "[sysctl.extra]\nvm.x = \"\\u001b[2J\"\n",
        "[sysctl.policy]\nvm.x = \"\\u001b[2J\"\n",
    ] {
        let message = problem(text);
        assert!(!message.contains('\u{1b}') && message.contains(r"\u{1b}"), "{message:?}");
    }
}

const WHOLE: &str = "mode = 'report'\nattribution = true\n\
                     [gate]\nwarn = ['etcd-mode',\n'role-both']\n[sysctl.policy]\nkernel.panic = 'warn'\n\
                     [sysctl.extra]\nvm.max_map_count = 262144\nkernel.core_pattern = '|/x \"%p\" \\'\n\
                     [etcd-account]\nuid = 52034\ngid = 52034\n";

#[test]
fn the_printed_configuration_is_the_golden_one_and_is_itself_a_configuration() {
    let sources = [file("/usr/lib/nodeguard/nodeguard.toml", ""), file("/etc/x.toml", WHOLE)];
    let settings = resolve(&sources).unwrap();
    let text = settings::text(&sources, &settings);
    let again = one(&text);
    assert_eq!(values(&again), values(&settings));
    insta::assert_snapshot!("config.txt", text);
    let json: serde_json::Value =
        serde_json::from_str(&settings::json(&sources, &settings, &[])).unwrap();
    insta::assert_snapshot!("config.json", serde_json::to_string_pretty(&json).unwrap());
}

#[test]
fn errors_are_in_the_json_too() {
    let sources = [file("f", "x = 1\n")];
    let problems = resolve(&sources).unwrap_err();
    let json: serde_json::Value =
        serde_json::from_str(&settings::json(&sources, &Settings::default(), &problems)).unwrap();
    assert_eq!(json["errors"][0]["origin"], serde_json::json!({"file": "f", "line": 1}));
    assert_eq!(json["errors"][0]["subject"], "x");
}

/// Everything of a configuration but who said it.
pub fn values(settings: &Settings) -> String {
    let extra: Vec<_> = settings.sysctl.extra.iter().map(|(k, v)| (k, &v.value)).collect();
    let policy: Vec<_> = settings.sysctl.policy.iter().map(|(k, v)| (k, v.value)).collect();
    let account = &settings.etcd_account;
    let warn: Vec<_> = settings.gate.warn.iter().map(|code| code.value).collect();
    format!(
        "{:?}",
        (
            settings.mode.value,
            warn,
            settings.poll_interval.value,
            settings.attribution.value,
            policy,
            extra,
            account.uid.as_ref().map(|id| id.value),
            account.gid.as_ref().map(|id| id.value),
        )
    )
}

#[test]
fn the_file_in_the_package_says_what_is_built_in_and_its_examples_are_right() {
    let packaged = include_str!("../../packaging/nodeguard.toml");
    assert_eq!(values(&one(packaged)), values(&Settings::default()));
    // An example is a comment without a space after its sign.
    let example = |line: &str| match line.strip_prefix('#') {
        Some(text) if !text.is_empty() && !text.starts_with(' ') => format!("{text}\n"),
        _ => format!("{line}\n"),
    };
    let examples = one(&packaged.lines().map(example).collect::<String>());
    assert_eq!(examples.poll_interval.value, Settings::default().poll_interval.value);
    assert_eq!(examples.attribution.value, Settings::default().attribution.value);
    assert_eq!(examples.mode.value, Settings::default().mode.value);
    assert_eq!(examples.gate.warn.len(), 1);
    assert_eq!(examples.sysctl.policy["kernel.panic"].value, Policy::Enforce);
    assert_eq!(extra(&examples).len(), 2);
    assert!(examples.etcd_account.uid.is_some() && examples.etcd_account.gid.is_some());
}

#[test]
fn a_broken_configuration_is_a_warning_for_each_error_that_says_which_one_stays() {
    let problems = resolve(&[file("f", "a = 1\nb = 2\n")]).unwrap_err();
    for (kept, stays) in [(true, "the last whole"), (false, "the built-in")] {
        let settings = Settings::default();
        let facts = own_config::Facts {
            problems: &problems,
            kept,
            settings: &settings,
            wanted: Vec::new(),
        };
        let planned = own_config::judge(&facts);
        let lines: Vec<_> = planned.iter().map(|p| p.finding.origin.clone()).collect();
        assert_eq!(lines, [Some(Origin::at("f", 1)), Some(Origin::at("f", 2))]);
        for planned in planned {
            assert_eq!(
                (planned.finding.code.as_str(), planned.unmended),
                ("own-config", Severity::Warning)
            );
            let end = format!("; {stays} configuration stays in force");
            assert!(planned.finding.message.ends_with(&end), "{}", planned.finding.message);
            assert!(planned.actions.is_empty());
        }
    }
}

#[test]
fn a_policy_for_a_parameter_that_is_not_held_is_a_warning_with_the_one_that_was_meant() {
    let settings =
        one("[sysctl.policy]\nkernel.panik = 'warn'\nvm.other = 'warn'\nkernel.panic = 'warn'\n\
         kernel.keys.root_maxkeys = 'ignore'\n");
    let facts =
        own_config::Facts { problems: &[], kept: true, settings: &settings, wanted: Vec::new() };
    let planned = own_config::judge(&facts);
    let got: Vec<_> = planned
        .iter()
        .map(|p| (p.finding.code.as_str(), p.finding.subject.as_str(), p.finding.expected.as_str()))
        .collect();
    assert_eq!(
        got,
        [
            ("own-config-unused", "kernel.panik", "kernel.panic"),
            ("own-config-unused", "vm.other", "a kernel parameter that is held"),
        ],
        "one that is held under another profile is no mistake"
    );
}
