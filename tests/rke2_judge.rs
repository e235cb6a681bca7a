// SPDX-License-Identifier: Apache-2.0
//! What is said about a configuration: RKE2's own words first, then where, what was expected
//! and what to do; everything at once.

mod rke2;

use nodeguard::controls::rke2_config::{Facts, Units, judge};
use nodeguard::model::{ControlId, Finding, Role, Severity};
use nodeguard::rke2::unit::UnitFacts;
use nodeguard::rke2::{FileContent, parse_version, resolve};
use rke2::Node;

const FILE: &str = "/etc/rancher/rke2/config.yaml";

fn enabled() -> UnitFacts {
    UnitFacts { installed: true, enabled: true, active: false }
}

fn units(role: Role) -> Units {
    let (server, agent) = (UnitFacts::default(), UnitFacts::default());
    match role {
        Role::Server => Units { server: enabled(), agent },
        Role::Agent => Units { server, agent: enabled() },
        Role::Unknown => Units { server, agent },
    }
}

fn findings(role: Role, version: &str, node: &Node) -> Vec<Finding> {
    let config = resolve(&node.inputs());
    let version = parse_version(version).ok();
    let facts =
        Facts { config: &config, version: version.as_ref(), role, units: units(role), place: None };
    let planned = judge(&facts);
    for plan in &planned {
        assert!(plan.actions.is_empty(), "no action of ours mends an operator's file");
        assert_eq!(plan.unmended, plan.finding.severity);
        let finding = &plan.finding;
        assert_eq!(finding.control, ControlId::Rke2Config);
        for text in [&finding.subject, &finding.message, &finding.remedy, &finding.expected] {
            assert!(!text.is_empty(), "{finding:?}");
        }
        assert!(!finding.message.contains('\n'), "one line: {:?}", finding.message);
    }
    planned.into_iter().map(|plan| plan.finding).collect()
}

fn on_server(version: &str, text: &str) -> Vec<Finding> {
    findings(Role::Server, version, &Node::new(Role::Server).file(text))
}

fn codes(findings: &[Finding]) -> Vec<(&'static str, Severity)> {
    let codes = findings.iter().filter_map(|f| Some((f.code.known()?.as_str(), f.severity)));
    codes.collect()
}

#[test]
fn a_hardened_node_has_nothing_to_be_said() {
    for (version, profile) in [
        ("v1.34.1+rke2r1", "cis"),
        ("v1.34.1+rke2r1", "etcd"),
        ("v1.28.1+rke2r1", "cis-1.23"),
        ("v1.24.1+rke2r1", "cis-1.6"),
        ("", "cis"),
    ] {
        let found = on_server(version, &format!("profile: {profile}\n"));
        assert_eq!(codes(&found), [], "{version} {profile}");
    }
}

#[test]
fn a_profile_that_this_rke2_does_not_know_is_fatal_in_rke2s_words() {
    let found = on_server("v1.34.1+rke2r1", "token: x\nprofile: cis-1.6\n");
    assert_eq!(codes(&found), [("profile-invalid", Severity::Fatal)]);
    assert_eq!(
        found[0].message,
        format!(
            "invalid value provided for --profile flag: profile is `cis-1.6` at {FILE}:2, RKE2 \
             v1.34.1+rke2r1 knows `cis` or `etcd`"
        )
    );
    assert_eq!(found[0].expected, "cis, etcd");
    assert_eq!(found[0].actual, "cis-1.6");
    assert_eq!(found[0].remedy, format!("edit {FILE} line 2: profile: cis"));
    assert_eq!(found[0].origin.as_ref().map(ToString::to_string), Some(format!("{FILE}:2")));

    let found = on_server("v1.31.0+rke2r1", "profile: cis-1.23\n");
    assert_eq!(codes(&found), [("profile-invalid", Severity::Fatal)]);
    let words = "cis-1.23 profile is deprecated. Please use 'cis' instead.";
    assert!(found[0].message.starts_with(words), "{}", found[0].message);
}

#[test]
fn a_profile_from_the_environment_is_traced_to_its_file() {
    let node = Node::new(Role::Server).variable("RKE2_CIS_PROFILE", "cis-1.5");
    let found = findings(Role::Server, "v1.34.1+rke2r1", &node);
    assert!(
        found[0].message.contains("RKE2_CIS_PROFILE is `cis-1.5` at /etc/default/rke2-server:1"),
        "{}",
        found[0].message
    );
}

#[test]
fn a_deprecated_profile_is_a_note() {
    let found = on_server("v1.29.0+rke2r1", "profile: cis-1.23\n");
    assert_eq!(codes(&found), [("profile-deprecated", Severity::Note)]);
    assert_eq!(found[0].remedy, format!("edit {FILE} line 1: profile: cis"));
}

#[test]
fn a_missing_profile_weighs_by_role() {
    for (role, expected) in [
        (Role::Server, vec![("profile-missing", Severity::Warning)]),
        (Role::Agent, vec![("profile-missing", Severity::Note)]),
        (Role::Unknown, vec![("role-unknown", Severity::Note)]),
    ] {
        for text in ["", "profile:\n", "profile: ''\n"] {
            let found = findings(role, "v1.34.1+rke2r1", &Node::new(role).file(text));
            assert_eq!(codes(&found), expected, "{role} {text:?}");
        }
    }
    let found = on_server("v1.34.1+rke2r1", "token: x\nprofile:\n");
    assert!(found[0].message.starts_with("not running in CIS mode"), "{}", found[0].message);
    assert_eq!(found[0].remedy, format!("edit {FILE} line 2: profile: cis"));
    let found = on_server("v1.24.1+rke2r1", "");
    assert_eq!(found[0].remedy, format!("edit {FILE}: profile: cis-1.5"));
}

#[test]
fn protect_kernel_defaults_off_under_a_profile_is_fatal_in_rke2s_words() {
    let found = on_server("v1.34.1+rke2r1", "profile: cis\nprotect-kernel-defaults: false\n");
    assert_eq!(codes(&found), [("protect-kernel-defaults-conflict", Severity::Fatal)]);
    assert_eq!(
        found[0].message,
        format!(
            "--protect-kernel-defaults must be true when using --profile=cis: \
             protect-kernel-defaults is false at {FILE}:2, the profile is set at {FILE}:1"
        )
    );
    assert!(
        found[0].remedy.starts_with(&format!("edit {FILE} line 2: protect-kernel-defaults: true"))
    );
    let found = on_server("v1.24.1+rke2r1", "profile: cis-1.6\nprotect-kernel-defaults: no\n");
    let words = "--protect-kernel-defaults must be true when using --profile=cis-1.6";
    assert!(found[0].message.starts_with(words), "{}", found[0].message);
}

#[test]
fn protect_kernel_defaults_off_is_no_conflict_where_rke2_takes_it() {
    for text in [
        "profile: etcd\nprotect-kernel-defaults: false\n",
        "profile: cis\nprotect-kernel-defaults: true\n",
        "profile: cis\nkubelet-arg: [protect-kernel-defaults=false]\n",
    ] {
        assert_eq!(codes(&on_server("v1.34.1+rke2r1", text)), [], "{text}");
    }
}

#[test]
fn everything_is_said_at_once() {
    let node = Node::new(Role::Server)
        .file("profile: cis-1.6\nprotect-kernel-defaults: false\n")
        .drop_in("x.YML", "a: b: c\n")
        .drop_in("x.yaml.bak", "{{{")
        .drop_in("y.yaml", "etcd-arg: [--data-dir=/e, wal-dir=/w, quota=1]\n");
    let found = findings(Role::Server, "v1.34.1+rke2r1", &node);
    assert_eq!(
        codes(&found),
        [
            ("config-invalid", Severity::Fatal),
            ("profile-invalid", Severity::Fatal),
            ("protect-kernel-defaults-conflict", Severity::Fatal),
            ("etcd-arg-unsupported", Severity::Warning),
            ("etcd-arg-unsupported", Severity::Warning),
        ]
    );
    assert_eq!(
        found[0].message,
        format!(
            "yaml: mapping values are not allowed in this context ({FILE}.d/x.YML:1): \
             RKE2 does not start; expected a YAML mapping of RKE2's flags, one `key: value` a line"
        )
    );
    assert!(found[0].remedy.starts_with(&format!("edit {FILE}.d/x.YML line 1: ")));
    assert_eq!(
        found[3].origin.as_ref().map(ToString::to_string),
        Some(format!("{FILE}.d/y.yaml:1"))
    );
}

#[test]
fn each_problem_of_a_file_has_its_weight() {
    let node = || Node::new(Role::Server);
    for (node, code, severity) in [
        (node().file("profile: cis\nselinux: \"yes\"\n"), "config-invalid", Severity::Fatal),
        (
            node()
                .file("profile: cis\n")
                .drop_in_content("a.yaml", FileContent::Unreadable("Is a directory".into())),
            "config-invalid",
            Severity::Fatal,
        ),
        (
            node().arguments("server --profile=cis").drop_in_content("a.yaml", FileContent::Absent),
            "config-ignored",
            Severity::Fatal,
        ),
        (
            node().arguments("server --profile=cis").content(FileContent::TooLarge),
            "config-unread",
            Severity::Warning,
        ),
        (
            node().arguments("server --profile=cis --config=http://x/y"),
            "config-remote",
            Severity::Warning,
        ),
        (node().file("profile: cis\ndatadir: /x\n"), "config-key-ignored", Severity::Warning),
        (node().file("profile: cis\nfoo: /x\n"), "config-key-ignored", Severity::Note),
        (node().file("profile: cis\ndata-dir: ''\n"), "data-dir-invalid", Severity::Fatal),
        (node().file("profile: cis\ndata-dir: x/y\n"), "data-dir-relative", Severity::Fatal),
    ] {
        let found = findings(Role::Server, "v1.34.1+rke2r1", &node);
        assert_eq!(codes(&found), [(code, severity)], "{found:#?}");
    }
}

#[test]
fn a_misspelt_profile_names_the_key_that_was_meant() {
    let fatal = on_server("v1.34.1+rke2r1", "Profile: cis\n");
    assert_eq!(codes(&fatal), [("profile-ignored", Severity::Fatal)], "it means a profile");
    let found = on_server("v1.34.1+rke2r1", "Profile: restricted\n");
    assert_eq!(
        codes(&found),
        [("config-key-ignored", Severity::Warning), ("profile-missing", Severity::Warning)]
    );
    assert_eq!(
        found[0].message,
        format!(
            "Unknown flag --Profile found in config.yaml, skipping ({FILE}:1): probably `profile` \
             is meant"
        )
    );
    assert_eq!(found[0].remedy, format!("edit {FILE} line 1: write `profile`"));
}

#[test]
fn both_units_are_fatal_and_neither_is_a_note() {
    let config = resolve(&Node::new(Role::Server).file("profile: cis\n").inputs());
    let judged = |units: Units, role: Role| {
        let facts = Facts { config: &config, version: None, role, units, place: None };
        codes(&judge(&facts).into_iter().map(|plan| plan.finding).collect::<Vec<_>>())
    };
    let active = UnitFacts { installed: true, enabled: false, active: true };
    let installed = UnitFacts { installed: true, ..UnitFacts::default() };
    for (server, agent, role, expected) in [
        (enabled(), enabled(), Role::Server, vec![("role-both", Severity::Fatal)]),
        (enabled(), active, Role::Server, vec![("role-both", Severity::Fatal)]),
        (enabled(), installed, Role::Server, vec![]),
        (installed, enabled(), Role::Agent, vec![]),
        (installed, installed, Role::Unknown, vec![("role-unknown", Severity::Note)]),
        (installed, installed, Role::Server, vec![]),
    ] {
        assert_eq!(judged(Units { server, agent }, role), expected, "{server:?} {agent:?}");
    }
}

#[test]
fn the_role_is_the_gates_word_else_the_units() {
    let off = UnitFacts::default();
    for (server, agent, gate, expected) in [
        (off, off, None, Role::Unknown),
        (enabled(), off, None, Role::Server),
        (off, enabled(), None, Role::Agent),
        (enabled(), enabled(), None, Role::Server),
        (off, off, Some(Role::Agent), Role::Agent),
        (enabled(), off, Some(Role::Agent), Role::Agent),
        (enabled(), off, Some(Role::Unknown), Role::Server),
    ] {
        assert_eq!(Units { server, agent }.role(gate), expected, "{server:?} {agent:?} {gate:?}");
    }
}
