// SPDX-License-Identifier: Apache-2.0
//! Whatever an operator's files hold, nothing here panics, and some things always hold.

mod rke2;

use nodeguard::controls::etcd_account::judge::account_db::{
    parse_group, parse_passwd, parse_shadow,
};
use nodeguard::controls::rke2_config::{Facts, Units, judge};
use nodeguard::model::Role;
use nodeguard::rke2::exec;
use nodeguard::rke2::unit::{self, UnitText};
use nodeguard::rke2::{FileContent, config_path, env_file, parse_version, resolve};
use proptest::collection::vec;
use proptest::prelude::*;
use rke2::Node;

/// Bytes that are likely to mean something to one of the parsers.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "profile", "data-dir", "selinux", "etcd-arg", "kubelet-arg+", "d", "cis", "yes", "~",
            "protect-kernel-defaults=true", "etcd:x:998:997:::", "etcd", "A=1", "[Service]",
            "ExecStart=/r", "Environment=", "v1.34.1+rke2r1", "rke2 version ", "0x", "1_0", ".5",
            "1e999", "%N", "${A}", "&a ", "*a", "<<", "!!int ", "!!binary ", "---", "...",
            "%YAML 1.2",
        ]).prop_map(|word| word.as_bytes().to_vec()),
        6 => prop::sample::select(vec![
            "\n", "\n", " ", "  ", ": ", ":", "- ", ",", "[", "]", "{", "}", "'", "\"", "\\", "#",
            "=", "\t", "\r\n", "|\n", ">\n", "? ", "$", ";", "+", "\u{feff}", "\u{0}", "é",
        ]).prop_map(|word| word.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// `PROPTEST_CASES` is how many of each.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    let default = ProptestConfig::default();
    let cases = if asked { default.cases } else { 2000 };
    ProptestConfig { cases, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_configuration_is_resolved_and_judged(
        base in text(),
        drop_in in text(),
        line in vec("[ -~]{0,12}", 0..6),
        value in ".{0,12}",
    ) {
        for role in [Role::Server, Role::Agent, Role::Unknown] {
            let node = Node::new(role)
                .content(FileContent::Bytes(base.clone()))
                .drop_in_content("x.yaml", FileContent::Bytes(drop_in.clone()))
                .variable("RKE2_SELINUX", &value)
                .arguments(&format!("server {}", line.join(" ")));
            let config = resolve(&node.inputs());
            // Each of two files has at most one problem of its own, beside those of keys.
            let facts = Facts { config: &config, version: None, role, units: Units::default(), joined: false, place: None };
            for plan in judge(&facts) {
                prop_assert!(!plan.finding.message.is_empty());
                prop_assert!(!plan.finding.remedy.is_empty());
            }
            let _ = config_path(&line, None, &node.inputs().environment);
        }
    }

    #[test]
    fn a_drop_in_s_profile_wins_over_whatever_the_file_says(base in text()) {
        let node = Node::new(Role::Server)
            .content(FileContent::Bytes(base))
            .drop_in("z.yaml", "profile: won\n");
        let profile = resolve(&node.inputs()).profile.map(|profile| profile.value);
        prop_assert_eq!(profile.as_deref(), Some("won"));
    }

    #[test]
    fn a_quoted_profile_comes_out_as_it_went_in(value in "[a-zA-Z0-9._:#{}&*!|>%@ -]{0,20}") {
        let node = Node::new(Role::Server).file(&format!("profile: '{value}'\n"));
        let profile = resolve(&node.inputs()).profile.map(|profile| profile.value);
        prop_assert_eq!(profile.as_deref(), Some(value.trim()));
    }

    #[test]
    fn any_unit_and_any_environment_file_is_read(content in text(), other in text()) {
        let environment = env_file::parse("/e", &content);
        let texts = [
            UnitText { path: "/u".into(), content: [b"[Service]\n".to_vec(), content].concat() },
            UnitText { path: "/d".into(), content: other },
        ];
        let service = unit::parse("rke2-server.service", &texts);
        let _ = exec::command_line(&service.arguments, &environment).words;
    }

    #[test]
    fn any_account_database_is_read_and_a_good_last_line_is_found(content in text()) {
        let with = |line: &str| [content.clone(), b"\n".to_vec(), line.into()].concat();
        let passwd = parse_passwd(&with("proof:x:7:8:::"));
        prop_assert_eq!(passwd.user("proof").map(|user| (user.uid, user.gid)), Some((7, 8)));
        let group = parse_group(&with("proof:x:8:"));
        prop_assert_eq!(group.group("proof").map(|group| group.gid), Some(8));
        prop_assert!(parse_shadow(&with("proof:!")).shadow("proof").is_some());
    }

    #[test]
    fn any_output_is_a_version_or_an_error(content in text()) {
        let _ = parse_version(&String::from_utf8_lossy(&content));
    }
}
