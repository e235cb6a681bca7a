// SPDX-License-Identifier: Apache-2.0
//! A file is understood as RKE2's YAML library (Go's yaml.v2) understands it. The expectations were
//! taken from that library.

mod rke2;

use nodeguard::model::Role;
use nodeguard::rke2::{FileContent, MAX_FILE_SIZE, ProblemKind, resolve};
use rke2::{Node, check};

fn server() -> Node {
    Node::new(Role::Server)
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
    check(&server().file("{\"profile\": \"cis\"}}\n"), &["profile = cis @ FILE:1"]);
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
        // The value itself is not shown: it may be a token, pasted without its key.
        ("just words\n", 1, "cannot unmarshal !!str `(not shown)` into yaml.MapSlice"),
        ("profile=cis here\n", 1, "cannot unmarshal !!str `profile...` into yaml.MapSlice"),
        ("- profile\n", 1, "cannot unmarshal !!str `profile` into yaml.MapItem"),
        ("12\n", 1, "cannot unmarshal !!int `(not shown)` into yaml.MapSlice"),
        ("profile: cis\n\u{1}\n", 2, "control characters are not allowed"),
        ("a: \"\\/\"\n", 1, "found unknown escape character"),
        ("%YAML 1.2\n---\na: b\n", 1, "found incompatible YAML document"),
        ("%FOO\n---\na: b\n", 1, "found unknown directive name"),
        ("a:\n-\tb\n", 2, "found character that cannot start any token"),
        ("a: b\n: c\n", 2, "did not find expected key"),
        ("a: !!bool maybe\n", 1, "cannot decode !!str `(not shown)` as a !!bool"),
        ("a: &a [*a]\n", 1, "value contains itself"),
        ("a: &b=c d\n", 1, "did not find expected alphabetic or numeric character"),
        ("a: [https://x/?b=c]\n", 1, "did not find expected ',' or ']'"),
        ("{\"a\": \"b\",\n\"c\nd\": 1}\n", 3, "did not find expected ',' or '}'"),
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
    ] {
        let config = resolve(&server().file(&text).inputs());
        let kinds: Vec<ProblemKind> = config.problems.iter().map(|p| p.kind).collect();
        assert_eq!(kinds, [ProblemKind::BeyondLimits], "{:?}", &text[..20]);
        assert_eq!(config.profile, None);
    }
    check(
        &server().content(FileContent::TooLarge),
        &["BeyondLimits: larger than 1048576 bytes, or all files together than 4194304 @ FILE"],
    );
}
