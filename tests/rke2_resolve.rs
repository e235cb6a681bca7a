// SPDX-License-Identifier: Apache-2.0
//! RKE2's configuration is resolved as RKE2 resolves it: each case is a node's files,
//! environment and command line, and everything that comes out.

mod rke2;

use nodeguard::model::Role;
use nodeguard::rke2::{FileContent, MAX_DROP_INS, ProblemKind, resolve};
use rke2::{FILE, Node, check};

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
fn what_etcds_pod_has_besides_its_data_is_what_is_mounted_to_be_written() {
    let mounts = |node: &Node| {
        let mounts = resolve(&node.inputs()).etcd_pod_mounts();
        mounts.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(mounts(&server()), Vec::<String>::new());
    let node = server().file(
        "etcd-extra-mount:\n- /disk/wal:/wal\n- /a:/b:rw\n- /a:/read:ro\n- /a:/typed:x:Directory\n\
         - /a\n- /a:relative\n- ''\n",
    );
    assert_eq!(mounts(&node), ["/wal", "/b", "/typed"]);
    let given = server().variable("RKE2_ETCD_EXTRA_MOUNT", "/disk:/disk");
    assert_eq!(mounts(&given), ["/disk"]);
    assert_eq!(mounts(&given.file("etcd-extra-mount: /x:/y\n")), ["/y"]);
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
