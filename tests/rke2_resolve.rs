// SPDX-License-Identifier: Apache-2.0
//! RKE2's configuration is resolved as RKE2 resolves it: each case is a node's files,
//! environment and command line, and everything that comes out.

mod rke2;

use nodeguard::model::Role;
use nodeguard::rke2::{FileContent, MAX_DROP_INS, MAX_FILE_SIZE, ProblemKind, resolve};
use rke2::{Node, described};

const FILE: &str = "/etc/rancher/rke2/config.yaml";
const UNIT: &str = "/usr/local/lib/systemd/system/rke2-server.service:24";
const ENV: &str = "/etc/default/rke2-server";

/// Compares everything that is set, and every problem, in a fixed order.
#[track_caller]
fn check(node: &Node, expected: &[&str]) {
    let expected: Vec<String> = expected
        .iter()
        .map(|line| line.replace("FILE", FILE).replace("UNIT", UNIT).replace("ENV", ENV))
        .collect();
    assert_eq!(described(&resolve(&node.inputs())), expected, "{node:#?}");
}

fn server() -> Node {
    Node::new(Role::Server)
}

fn agent() -> Node {
    Node::new(Role::Agent)
}

#[test]
fn without_any_configuration_everything_is_rke2s_default() {
    check(&server(), &[]);
    let config = resolve(&server().inputs());
    assert_eq!(config.data_dir.value.to_str(), Some("/var/lib/rancher/rke2"));
    assert!(!config.data_dir.is_set());
    assert!(!config.hardened(None) && !config.kernel_defaults_in_force());
    assert_eq!(config.etcd_data_dir().to_str(), Some("/var/lib/rancher/rke2/server/db/etcd"));
}

#[test]
fn a_value_carries_the_file_and_the_line_that_set_it() {
    check(
        &server().file(
            "# a comment\n\ntoken: secret\nprofile: cis\ndata-dir: /opt/rke2\nselinux: true\n\
             disable-etcd: true\ndatastore-endpoint: \"mysql://x\"\nserver: https://one:9345\n\
             protect-kernel-defaults: true\netcd-arg:\n- a=1\n- b=2\nkubelet-arg:\n  - \
             protect-kernel-defaults=false\n",
        ),
        &[
            "profile = cis @ FILE:4",
            "data-dir = /opt/rke2 @ FILE:5",
            "protect-kernel-defaults = true @ FILE:10",
            "kubelet-arg = false @ FILE:15",
            "disable-etcd = true @ FILE:7",
            "datastore-endpoint = mysql://x @ FILE:8",
            "server = https://one:9345 @ FILE:9",
            "selinux = true @ FILE:6",
            "etcd-arg = a=1 @ FILE:12",
            "etcd-arg = b=2 @ FILE:13",
        ],
    );
}

#[test]
fn drop_ins_are_chosen_by_suffix_in_any_case_and_read_in_byte_order() {
    let with = |names: &[&str]| {
        names.iter().fold(server().file("profile: base\n"), |node, name| {
            node.drop_in(name, &format!("profile: '{name}'\n"))
        })
    };
    for (files, winner) in [
        (&["a.yaml"][..], "a.yaml"),
        (&["b.yaml", "a.yaml"], "b.yaml"),
        (&["10.yaml", "9.yaml"], "9.yaml"),
        (&["a.yaml", "B.yaml"], "a.yaml"),
        (&["é.yaml", "z.yaml"], "é.yaml"),
        (&["x.YML"], "x.YML"),
        (&["x.Yaml"], "x.Yaml"),
        (&[".hidden.yaml", "x.yaml.bak"], ".hidden.yaml"),
        (&[".yaml"], ".yaml"),
        (&["50-rancher.yaml", "99.yaml", "50.yml"], "99.yaml"),
        (&["a.yaml", "a.yml"], "a.yml"),
        (&["a.yaml", "a-b.yaml"], "a.yaml"),
    ] {
        let profile = resolve(&with(files).inputs()).profile.expect("every case sets it");
        assert_eq!(profile.value, winner, "{files:?}");
        let origin = profile.origin.expect("a file sets it").to_string();
        assert_eq!(origin, format!("{FILE}.d/{winner}:1"), "{files:?}");
    }
    for ignored in ["x.yaml.bak", "x.yaml~", "x.json", "x.conf", "yaml", "x.yaml.rpmsave"] {
        check(&with(&[ignored]), &["profile = base @ FILE:1"]);
    }
}

#[test]
fn the_file_may_be_absent_while_drop_ins_count() {
    check(
        &server().drop_in("50-rancher.yaml", "{\"profile\": \"cis\"}"),
        &["profile = cis @ FILE.d/50-rancher.yaml:1"],
    );
}

#[test]
fn the_json_that_rancher_writes_is_read_with_its_lines() {
    check(
        &server().drop_in(
            "50-rancher.yaml",
            "{\n  \"agent-token\": \"x\",\n  \"kubelet-arg\": [\n    \"a=b\",\n    \
             \"protect-kernel-defaults=true\"\n  ],\n  \"profile\": \"cis\",\n  \
             \"protect-kernel-defaults\": true\n}\n",
        ),
        &[
            "profile = cis @ FILE.d/50-rancher.yaml:7",
            "protect-kernel-defaults = true @ FILE.d/50-rancher.yaml:8",
            "kubelet-arg = true @ FILE.d/50-rancher.yaml:5",
        ],
    );
}

#[test]
fn a_custom_data_dir_beside_ranchers_json_is_found() {
    check(
        &server()
            .drop_in("50-rancher.yaml", "{\"profile\": \"cis\", \"selinux\": true}")
            .drop_in("99.yaml", "data-dir: /opt/rke2\n"),
        &[
            "profile = cis @ FILE.d/50-rancher.yaml:1",
            "data-dir = /opt/rke2 @ FILE.d/99.yaml:1",
            "selinux = true @ FILE.d/50-rancher.yaml:1",
        ],
    );
}

#[test]
fn a_later_key_replaces_and_key_plus_appends() {
    for (base, drop_in, expected) in [
        ("etcd-arg: [a=1, b=2]", "etcd-arg: [c=3]", &["c=3 @ FILE.d/x.yaml:1"][..]),
        ("etcd-arg: [a=1]", "etcd-arg+: [b=2]", &["a=1 @ FILE:1", "b=2 @ FILE.d/x.yaml:1"]),
        ("etcd-arg: a=1", "etcd-arg+: b=2", &["a=1 @ FILE:1", "b=2 @ FILE.d/x.yaml:1"]),
        ("etcd-arg+: a=1", "", &["a=1 @ FILE:1"]),
        ("etcd-arg+: a=1", "etcd-arg: b=2", &["b=2 @ FILE.d/x.yaml:1"]),
        ("etcd-arg: a=1\netcd-arg+: b=2\netcd-arg: c=3", "", &["c=3 @ FILE:3"]),
        ("etcd-arg: a=1\netcd-arg: b=2", "", &["b=2 @ FILE:2"]),
        ("etcd-arg:", "etcd-arg+: b=2", &["b=2 @ FILE.d/x.yaml:1"]),
        ("etcd-arg: a=1", "etcd-arg+:", &["a=1 @ FILE:1"]),
        (
            "etcd-arg: a=1",
            "etcd-arg+: [5, yes]",
            &["a=1 @ FILE:1", "5 @ FILE.d/x.yaml:1", "true @ FILE.d/x.yaml:1"],
        ),
    ] {
        let expected: Vec<String> = expected.iter().map(|v| format!("etcd-arg = {v}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(&server().file(base).drop_in("x.yaml", drop_in), &expected);
    }
}

#[test]
fn a_list_for_a_scalar_leaves_its_last_item_and_an_empty_one_nothing() {
    check(&server().file("profile: [cis-1.6, cis]\n"), &["profile = cis @ FILE:1"]);
    check(&server().file("profile:\n- cis-1.6\n- cis\n"), &["profile = cis @ FILE:3"]);
    check(&server().file("profile: cis\nprofile+: etcd\n"), &["profile = etcd @ FILE:2"]);
    check(&server().file("profile: []\n"), &[]);
    check(&server().file("profile: cis\n").drop_in("x.yaml", "profile: []"), &[]);
}

#[test]
fn null_sets_a_text_to_nothing_and_is_no_boolean() {
    check(&server().file("profile:\n"), &["profile =  @ FILE:1"]);
    check(&server().file("profile: ~\n"), &["profile =  @ FILE:1"]);
    check(
        &server().file("selinux:\n"),
        &["InvalidValue: invalid boolean value \"\" for -selinux: parse error @ FILE:1"],
    );
}

#[test]
fn a_boolean_takes_yaml_1_1_unquoted_and_gos_words_quoted() {
    for (written, expected) in [
        ("yes", "true"),
        ("on", "true"),
        ("y", "true"),
        ("True", "true"),
        ("1", "true"),
        ("\"1\"", "true"),
        ("\"t\"", "true"),
        ("no", "false"),
        ("Off", "false"),
        ("N", "false"),
        ("0", "false"),
        ("00", "false"),
        ("0x1", "true"),
        ("\"False\"", "false"),
        ("!!str true", "true"),
    ] {
        let node = server().file(&format!("selinux: {written}\n"));
        check(&node, &[&format!("selinux = {expected} @ FILE:1")]);
    }
    for (written, shown) in [
        ("\"yes\"", "yes"),
        ("'off'", "off"),
        ("!!str yes", "yes"),
        ("tRue", "tRue"),
        ("2", "2"),
        ("{}", "[]"),
    ] {
        let words = format!("invalid boolean value \"{shown}\" for -selinux: parse error");
        let node = server().file(&format!("selinux: {written}\n"));
        check(&node, &[&format!("InvalidValue: {words} @ FILE:1")]);
    }
}

#[test]
fn a_text_is_what_yaml_1_1_and_go_make_of_it() {
    check(&server().file("data-dir: 0600\n"), &["data-dir = 384 @ FILE:1"]);
    check(&server().file("profile: 1.0\n"), &["profile = 1 @ FILE:1"]);
    check(&server().file("profile: '  cis '\n"), &["profile = cis @ FILE:1"]);
    check(&server().file("profile: {a: 1}\n"), &["profile = [{a 1}] @ FILE:1"]);
    check(&server().file("profile: |\n  cis\n"), &["profile = cis @ FILE:1"]);
    check(&server().file("? profile\n: cis # really\n"), &["profile = cis @ FILE:1"]);
}

#[test]
fn only_the_first_document_counts() {
    check(&server().file("profile: cis\n---\nprofile: etcd\n"), &["profile = cis @ FILE:1"]);
    check(&server().file("---\nprofile: cis\n...\n{{{\n"), &["profile = cis @ FILE:2"]);
    check(&server().file("---\n---\nprofile: cis\n"), &[]);
}

#[test]
fn anchors_work_and_what_is_merged_at_the_top_is_lost() {
    check(&server().file("token: &a cis\nprofile: *a\n"), &["profile = cis @ FILE:2"]);
    check(&server().file("<<: {profile: cis}\ndata-dir: /a\n"), &["data-dir = /a @ FILE:2"]);
    check(
        &server().file("<<: cis\n"),
        &["InvalidYaml: yaml: map merge requires map or sequence of maps as the value @ FILE:1"],
    );
}

#[test]
fn what_follows_the_first_value_is_overlooked_as_rke2_overlooks_it() {
    check(&server().file("{\n\"profile\": \"cis\"\n}\n}\n"), &["profile = cis @ FILE:2"]);
}

#[test]
fn invalid_yaml_in_one_file_is_named_with_its_line_and_the_others_are_resolved() {
    check(
        &server().file("profile: cis\n").drop_in("x.YML", "data-dir: /opt\n  selinux: true\n"),
        &[
            "profile = cis @ FILE:1",
            "InvalidYaml: yaml: line 2: mapping values are not allowed in this context @ \
             FILE.d/x.YML:2",
        ],
    );
}

#[test]
fn what_rke2s_yaml_library_refuses_is_invalid() {
    for (text, line, words) in [
        ("profile: cis\nprofile: *nope\n", 2, ""),
        ("a: [1, 2\n", 1, ""),
        ("profile: @cis\n", 1, ""),
        ("profile: cis\n\tselinux: true\n", 2, "found a tab"),
        ("just words\n", 1, "cannot unmarshal !!str `just words` into yaml.MapSlice"),
        ("a long sentence\n", 1, "cannot unmarshal !!str `a long ...` into yaml.MapSlice"),
        ("- profile\n", 1, "cannot unmarshal !!str `profile` into yaml.MapItem"),
        ("12\n", 1, "cannot unmarshal !!int `12` into yaml.MapSlice"),
        ("profile: cis\n\u{1}\n", 2, "control characters are not allowed"),
        ("a: \"\\/\"\n", 1, "found unknown escape character"),
        ("%YAML 1.2\n---\na: b\n", 2, "found incompatible YAML document"),
        ("%FOO\n---\na: b\n", 1, "found unknown directive name"),
        ("a:\n-\tb\n", 2, "found character that cannot start any token"),
        ("a: b\n: c\n", 2, "did not find expected key"),
        ("a: !!bool maybe\n", 1, "cannot decode !!str `maybe` as a !!bool"),
        ("a: &a [*a]\n", 1, "value contains itself"),
        ("a: &b=c d\n", 1, "did not find expected alphabetic or numeric character"),
        ("a: [https://x/?b=c]\n", 1, "did not find expected ',' or ']'"),
        ("{\"a\": \"b\",\n\"c\nd\": 1}\n", 2, "did not find expected ',' or '}'"),
        ("? a\n:\tb\n", 2, "found character that cannot start any token"),
    ] {
        let config = resolve(&server().file(text).inputs());
        let [problem] = &config.problems[..] else { panic!("{text:?}: {:?}", config.problems) };
        assert_eq!(problem.kind, ProblemKind::InvalidYaml, "{text:?}");
        assert!(problem.words.starts_with("yaml: "), "{text:?}: {}", problem.words);
        assert!(problem.words.contains(words), "{text:?}: {}", problem.words);
        assert_eq!(problem.origin.line, Some(line), "{text:?}: {}", problem.words);
    }
    check(
        &server().content(FileContent::Bytes(b"a: b\nprofile: \xff\n".to_vec())),
        &["InvalidYaml: yaml: invalid leading UTF-8 octet @ FILE:2"],
    );
}

#[test]
fn byte_order_marks_and_line_ends_of_other_systems_do_not_matter() {
    check(
        &server().file("\u{feff}profile: cis\r\ndata-dir: /a\r\n"),
        &["profile = cis @ FILE:1", "data-dir = /a @ FILE:2"],
    );
    let utf16 = "\u{feff}profile: cis\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    check(&server().content(FileContent::Bytes(utf16)), &["profile = cis @ FILE:1"]);
    check(&server().file("profile: cis"), &["profile = cis @ FILE:1"]);
    for empty in ["", "# nothing\n", "---\n", "null\n", "{}\n", "[]\n", "\n\n"] {
        check(&server().file(empty), &[]);
    }
}

#[test]
fn a_file_or_directory_that_cannot_be_read_is_named() {
    check(
        &server()
            .content(FileContent::Unreadable("Is a directory".into()))
            .drop_in("x.yaml", "profile: cis"),
        &["profile = cis @ FILE.d/x.yaml:1", "Unreadable: FILE: Is a directory @ FILE"],
    );
    let mut inputs = server().file("profile: cis").inputs();
    inputs.drop_in_dir_error = Some((format!("{FILE}.d"), "Permission denied".into()));
    let config = resolve(&inputs);
    assert_eq!(config.problems[0].kind, ProblemKind::Unreadable);
    assert_eq!(config.problems[0].origin.file, format!("{FILE}.d"));
}

#[test]
fn a_dangling_drop_in_makes_rke2_forget_every_file() {
    check(
        &server()
            .file("profile: cis\n")
            .drop_in_content("a.yaml", FileContent::Absent)
            .variable("RKE2_DATA_DIR", "/env"),
        &[
            "data-dir = /env @ ENV:1",
            "Ignored: open FILE.d/a.yaml: no such file or directory @ FILE.d/a.yaml",
        ],
    );
    check(
        &server().file("profile: cis\n").drop_in_content("a.bak", FileContent::Absent),
        &["profile = cis @ FILE:1"],
    );
}

#[test]
fn keys_that_the_subcommand_does_not_know_are_skipped() {
    check(
        &agent().file("disable-etcd: true\nprofile: cis\n"),
        &[
            "profile = cis @ FILE:2",
            "UnknownKey: Unknown flag --disable-etcd found in config.yaml, skipping @ FILE:1",
        ],
    );
    check(
        &server().file("Profile: cis\nprotect_kernel_defaults: false\nmy-key: 1\nx: 2\n"),
        &[
            "Misspelt: Unknown flag --Profile found in config.yaml, skipping @ FILE:1",
            "Misspelt: Unknown flag --protect_kernel_defaults found in config.yaml, skipping @ \
             FILE:2",
            "UnknownKey: Unknown flag --my-key found in config.yaml, skipping @ FILE:3",
            "UnknownKey: Unknown flag -x found in config.yaml, skipping @ FILE:4",
        ],
    );
    check(&agent().variable("RKE2_DATASTORE_ENDPOINT", "mysql://x"), &[]);
}

#[test]
fn short_names_are_the_same_flags_and_not_both_may_be_used() {
    check(&server().file("d: /opt\n"), &["data-dir = /opt @ FILE:1"]);
    check(
        &server().file("d: /opt\ndata-dir: /srv\n"),
        &[
            "data-dir = /srv @ FILE:2",
            "InvalidValue: Cannot use two forms of the same flag: d data-dir @ FILE:1",
        ],
    );
}

#[test]
fn the_command_line_wins_over_drop_ins_over_the_file_over_the_environment() {
    let node = server().variable("RKE2_CIS_PROFILE", "env").variable("RKE2_DATA_DIR", "/env");
    check(&node, &["profile = env @ ENV:1", "data-dir = /env @ ENV:2"]);
    let node = node.file("profile: file\ndata-dir: /file\n");
    check(&node, &["profile = file @ FILE:1", "data-dir = /file @ FILE:2"]);
    let node = node.drop_in("a.yaml", "profile: dropped\n");
    check(&node, &["profile = dropped @ FILE.d/a.yaml:1", "data-dir = /file @ FILE:2"]);
    let node = node.arguments("server --profile line --selinux --etcd-arg=x=1");
    check(
        &node,
        &[
            "profile = line @ UNIT",
            "data-dir = /file @ FILE:2",
            "selinux = true @ UNIT",
            "etcd-arg = x=1 @ UNIT",
        ],
    );
}

#[test]
fn lists_of_files_and_command_line_are_one_list() {
    check(
        &server()
            .file("etcd-arg: [a]\nkubelet-arg: [protect-kernel-defaults=true]\n")
            .arguments("server --etcd-arg b --kubelet-arg --protect-kernel-defaults=false"),
        &["kubelet-arg = false @ UNIT", "etcd-arg = a @ FILE:1", "etcd-arg = b @ UNIT"],
    );
}

#[test]
fn the_last_variable_of_a_name_wins_and_an_empty_one_counts() {
    let node = server().variable("RKE2_CIS_PROFILE", "a").variable("RKE2_CIS_PROFILE", "b");
    check(&node, &["profile = b @ ENV:2"]);
    let node = node.variable("RKE2_CIS_PROFILE", "").variable("RKE2_SELINUX", "");
    check(&node, &["profile =  @ ENV:3", "selinux = false @ ENV:4"]);
    check(
        &server().variable("RKE2_SELINUX", "yes"),
        &["InvalidValue: could not parse \"yes\" as bool value from environment variable \
           \"RKE2_SELINUX\" for flag selinux: strconv.ParseBool: parsing \"yes\": invalid syntax \
           @ ENV:1"],
    );
}

#[test]
fn a_configuration_elsewhere_is_followed_and_a_remote_one_is_not_fetched() {
    let node = server().arguments("server --config /srv/rke2.yaml").file("profile: cis\n");
    check(&node, &["profile = cis @ /srv/rke2.yaml:1"]);
    let node = node.variable("RKE2_CONFIG_FILE", "https://example.org/c.yaml");
    check(
        &node.arguments("server --config /srv/rke2.yaml --profile=cis"),
        &[
            "profile = cis @ UNIT",
            "Remote: the configuration at https://example.org/c.yaml is not fetched @ ENV:1",
        ],
    );
    check(
        &server().arguments("server --config"),
        &["InvalidValue: flag needs an argument: -config @ UNIT"],
    );
}

#[test]
fn etcd_runs_here_only_on_a_server_with_its_own_datastore() {
    for (node, local) in [
        (server(), true),
        (agent(), false),
        (Node::new(Role::Unknown), false),
        (server().file("disable-etcd: true\n"), false),
        (server().file("disable-etcd: false\n"), true),
        (server().file("datastore-endpoint: mysql://x\n"), false),
        (server().file("datastore-endpoint: ''\n"), true),
        (server().file("disable-etcd: true\nserver: https://x:9345\n"), false),
        (server().file("server: https://x:9345\n"), true),
        (server().variable("RKE2_DATASTORE_ENDPOINT", "postgres://x"), false),
    ] {
        assert_eq!(resolve(&node.inputs()).runs_local_etcd(), local, "{node:#?}");
    }
}

#[test]
fn kernel_defaults_are_in_force_by_profile_or_by_flag() {
    for (text, in_force) in [
        ("", false),
        ("profile: cis", true),
        ("profile: cis-1.6", true),
        ("profile: etcd", false),
        ("profile: ''", false),
        ("protect-kernel-defaults: true", true),
        ("protect-kernel-defaults: false", false),
        ("kubelet-arg: [protect-kernel-defaults=true]", true),
        ("kubelet-arg: protect-kernel-defaults", true),
        ("kubelet-arg: [protect-kernel-defaults=true, protect-kernel-defaults=false]", false),
        ("kubelet-arg: [protect-kernel-defaults=perhaps]", false),
        ("kubelet-arg: [v=2]", false),
    ] {
        let config = resolve(&server().file(text).inputs());
        assert_eq!(config.kernel_defaults_in_force(), in_force, "{text}");
    }
}

#[test]
fn an_alias_bomb_is_refused_as_rke2_refuses_it() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    check(
        &server().file(&bomb),
        &["InvalidYaml: yaml: document contains excessive aliasing @ FILE:1"],
    );
}

#[test]
fn what_is_beyond_the_limits_is_named_and_not_taken_for_invalid() {
    let text = "x".repeat(500_000);
    for text in [
        // A long text ten thousand times over, by aliases.
        format!("token: &a {text}\netcd-arg: [{}]\n", "*a, ".repeat(10_000)),
        format!("a: {}{}", "[".repeat(5000), "]".repeat(5000)),
        (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(),
        format!("etcd-arg: [{}]", "x,".repeat(100_000)),
        format!("# {}\nprofile: cis\n", "x".repeat(MAX_FILE_SIZE)),
        "profile: !!binary Y2lz\n".into(),
    ] {
        let config = resolve(&server().file(&text).inputs());
        let kinds: Vec<ProblemKind> = config.problems.iter().map(|p| p.kind).collect();
        assert_eq!(kinds, [ProblemKind::BeyondLimits], "{:?}", &text[..20]);
        assert_eq!(config.profile, None);
    }
    check(
        &server().content(FileContent::TooLarge),
        &["BeyondLimits: larger than 1048576 bytes @ FILE"],
    );
}

#[test]
fn no_more_drop_ins_are_read_than_the_limit() {
    let node = (0..=MAX_DROP_INS).fold(server(), |node, number| {
        node.drop_in(&format!("{number:04}.yaml"), &format!("profile: p{number}"))
    });
    check(
        &node,
        &[
            "profile = p255 @ FILE.d/0255.yaml:1",
            "BeyondLimits: 257 files; only the first 256 are read @ FILE.d",
        ],
    );
}
