// SPDX-License-Identifier: Apache-2.0
//! Every flag of RKE2 is read as its command line reads it, and what RKE2 and k3s check afterwards is
//! told: each case is a configuration and what is said of it.

mod rke2;

use std::fs;

use nodeguard::controls::rke2_config::observe::observe;
use nodeguard::controls::rke2_config::version::VersionCache;
use nodeguard::controls::rke2_config::{Facts, Units, judge};
use nodeguard::model::{Finding, Role, Severity};
use nodeguard::rke2::{Release, parse_version, resolve};
use nodeguard::system::root::Root;
use rke2::Node;

fn findings(role: Role, version: &str, node: Node) -> Vec<Finding> {
    let version = parse_version(version).ok();
    let release = version.as_ref().map_or_else(Release::newest, Release::of);
    let config = resolve(&node.release(release).inputs());
    let (units, joined, place) = (Units::default(), true, None);
    let facts = Facts { config: &config, version: version.as_ref(), role, units, joined, place };
    judge(&facts).into_iter().map(|planned| planned.finding).collect()
}

/// What keeps RKE2 from starting, in RKE2's words.
fn refusals(role: Role, version: &str, node: Node) -> Vec<String> {
    let mut findings = findings(role, version, node);
    findings.retain(|finding| finding.severity == Severity::Fatal);
    findings.into_iter().map(|finding| finding.message).collect()
}

const V36: &str = "v1.36.4+rke2r1";

/// The file refuses with these words; empty for a start.
#[track_caller]
fn check(role: Role, version: &str, file: &str, words: &str) {
    check_node(role, version, Node::new(role).file(file), words);
}

#[track_caller]
fn check_node(role: Role, version: &str, node: Node, words: &str) {
    let what = format!("{version} {node:?}");
    let refused = refusals(role, version, node);
    if words.is_empty() {
        assert_eq!(refused, Vec::<String>::new(), "{what}");
    } else {
        let told = refused.iter().any(|message| message.starts_with(words));
        assert!(told, "{what}: {words:?} is not in {refused:#?}");
    }
}

#[test]
fn the_value_of_every_flag_is_one_of_its_kind() {
    for (file, words) in [
        ("etcd-s3: yes", ""),
        ("etcd-s3: 'yes'", "invalid boolean value \"yes\" for -etcd-s3: parse error"),
        ("supervisor-metrics:", "invalid boolean value \"\" for -supervisor-metrics: parse error"),
        ("debug: [true, 'on']", "invalid boolean value \"on\" for -debug: parse error"),
        ("debug: ['on', true]", "invalid boolean value \"on\" for -debug: parse error"),
        ("secrets-encryption: {a: b}", "invalid boolean value \"(not shown)\" for -secrets-enc"),
        ("prime: []", ""),
        ("etcd-snapshot-retention: 0x10", ""),
        ("etcd-snapshot-retention: '1_000'", ""),
        ("etcd-snapshot-retention: ten", "invalid value \"ten\" for flag -etcd-snapshot-retention"),
        ("etcd-snapshot-retention: 1.5", "invalid value \"(not shown)\" for flag -etcd-snapshot-r"),
        ("etcd-s3-retention: ~", "invalid value \"\" for flag -etcd-s3-retention: parse error"),
        (
            "lb-server-port: 99999999999999999999",
            "invalid value \"(not shown)\" for flag -lb-server",
        ),
        (
            "v: '9223372036854775808'",
            "invalid value \"(not shown)\" for flag -v: value out of range",
        ),
        ("etcd-s3-timeout: 5m", ""),
        ("etcd-s3-timeout: 0", ""),
        ("etcd-s3-timeout: 5", "invalid value \"5\" for flag -etcd-s3-timeout: parse error"),
        (
            "etcd-snapshot-reconcile-interval: 1d",
            "invalid value \"1d\" for flag -etcd-snapshot-rec",
        ),
        ("etcd-snapshot-reconcile-interval: ''", "invalid value \"\" for flag -etcd-snapshot-rec"),
        ("write-kubeconfig-mode: 0640", ""),
        ("tls-san: ~", ""),
    ] {
        check(Role::Server, V36, &format!("token: x\n{file}\n"), words);
    }
}

#[test]
fn a_flag_has_one_name_at_a_time() {
    for (file, words) in [
        ("t: a\ntoken: b", "Cannot use two forms of the same flag: t token"),
        ("node-ip: 10.0.0.1\ni: 10.0.0.1", "Cannot use two forms of the same flag: i node-ip"),
        ("d: /a\ndata-dir: /a", "Cannot use two forms of the same flag: d data-dir"),
        ("o: /a\nwrite-kubeconfig: /b", "Cannot use two forms of the same flag: o write-kubeconf"),
        ("t: a\ns: https://h:9345", ""),
    ] {
        check(Role::Server, V36, file, words);
    }
    let node = Node::new(Role::Server).file("config: /x\n").arguments("server -c /x");
    check_node(Role::Server, V36, node, "Cannot use two forms of the same flag: c config");
}

#[test]
fn a_key_is_what_stands_behind_its_dashes_and_before_an_equals_sign() {
    for (file, words) in [
        ("--profile: cis", "bad flag syntax: ----profile=…"),
        ("-debug: true", "bad flag syntax: ---debug=…"),
        ("---cluster-dns: [10.43.0.10]", "bad flag syntax: -----cluster-dns=…"),
        // A flag that the subcommand does not have is skipped, however many dashes it has.
        ("--no-such-flag: x", ""),
        ("-: x", ""),
        ("=profile: x", ""),
        ("profile=cis: ''", "invalid value provided for --profile flag"),
        ("debug=maybe: x", "invalid boolean value \"(not shown)\" for -debug: parse error"),
        ("cni=flanel: ''", "Invalid value (not shown) for --cni flag"),
    ] {
        check(Role::Server, V36, &format!("{file}\n"), words);
    }
}

#[test]
fn variables_are_read_before_files() {
    for (name, value, words) in [
        (
            "RKE2_SELINUX",
            "yes",
            "could not parse \"yes\" as bool value from environment variable \
                                 \"RKE2_SELINUX\" for flag selinux: strconv.ParseBool: parsing",
        ),
        ("RKE2_DEBUG", "on", "could not parse \"on\" as bool value from environment variable"),
        ("RKE2_CLUSTER_RESET", "no", "could not parse \"no\" as bool value from environment"),
        ("RKE2_PRIME", "y", "could not parse \"y\" as bool value from environment variable"),
        (
            "RKE2_LB_SERVER_PORT",
            "6444/tcp",
            "could not parse \"(not shown)\" as int value from \
                                            environment variable \"RKE2_LB_SERVER_PORT\" for flag \
                                            lb-server-port: strconv.ParseInt: parsing",
        ),
        ("RKE2_LB_SERVER_PORT", "", ""),
        ("RKE2_LB_SERVER_PORT", "0x192c", ""),
        ("RKE2_DEBUG", "", ""),
        ("RKE2_SELINUX", "T", ""),
        ("RKE2_CNI", "flanel", "Invalid value flanel for --cni flag"),
        ("RKE2_CNI", "multus,canal", ""),
        ("RKE2_CIS_PROFILE", "cis-1.6", "invalid value provided for --profile flag"),
        // Nobody reads it.
        ("RKE2_NO_SUCH", "yes", ""),
    ] {
        // What the file says is read afterwards, and does not help.
        let file = "selinux: true\ndebug: true\nlb-server-port: 6444\n";
        let node = Node::new(Role::Server).file(file).variable(name, value);
        check_node(Role::Server, V36, node, words);
    }
    let empty = Node::new(Role::Server).variable("RKE2_LB_SERVER_PORT", "");
    let words = "could not parse  as int value for flag lb-server-port: strconv.ParseInt";
    check_node(Role::Server, "v1.30.14+rke2r1", empty.clone(), words);
    check_node(Role::Server, V36, empty, "");
    // An agent has no such flag, so nobody reads its variable.
    let agent = || Node::new(Role::Agent).file("server: https://h:9345\n");
    check_node(Role::Agent, V36, agent().variable("RKE2_CLUSTER_RESET", "no"), "");
    check_node(Role::Agent, V36, agent().variable("RKE2_DEBUG", "no"), "could not parse \"no\"");
}

#[test]
fn white_space_around_the_value_of_a_variable_is_no_part_of_it() {
    let (v2, v1) = (V36, "v1.30.14+rke2r1");
    let probes = "RKE2_CONTROL_PLANE_PROBE_CONFIGURATION";
    let requests = "RKE2_CONTROL_PLANE_RESOURCE_REQUESTS";
    for (version, name, value, words) in [
        (v2, "RKE2_CNI", "canal ", ""),
        (v2, "RKE2_CNI", " multus,canal", ""),
        (v2, "RKE2_CNI", "\tnone\n", ""),
        (v2, probes, " etcd-liveness-timeout-seconds=10 ", ""),
        (v2, requests, " etcd-cpu=1 ", ""),
        (v1, "RKE2_CNI", "canal ", ""),
        (v1, "RKE2_CNI", " multus,canal", ""),
        (v1, probes, " etcd-liveness-timeout-seconds=10 ", ""),
        // The first version of the library looks at each part, the second one at the whole.
        (v1, "RKE2_CNI", "multus, canal", ""),
        (v2, "RKE2_CNI", "multus, canal", "Invalid value (not shown) for --cni flag"),
        (
            v2,
            probes,
            "etcd-startup-timeout-seconds=1 ,etcd-liveness-timeout-seconds=1",
            "invalid control plane probe config value specified",
        ),
        (v1, probes, "etcd-startup-timeout-seconds=1 ,etcd-liveness-timeout-seconds=1", ""),
        (v1, "RKE2_CNI", "multus, flanel", "Invalid value flanel for --cni flag"),
        (v2, "RKE2_CNI", " ", "Invalid value  for --cni flag"),
        // A value that is one and no list is taken as it is.
        (v2, "RKE2_CIS_PROFILE", "cis ", "invalid value provided for --profile flag"),
    ] {
        let node = Node::new(Role::Server).file("token: x\n").variable(name, value);
        check_node(Role::Server, version, node, words);
    }
}

#[test]
fn the_network_plugin_is_one_of_those_that_the_release_has() {
    for (version, file, words) in [
        (V36, "cni: canal", ""),
        (V36, "cni: none", ""),
        (V36, "cni: multus,cilium", ""),
        (V36, "cni: [multus, calico]", ""),
        (V36, "cni: flanel", "Invalid value flanel for --cni flag: must be one of calico,canal,"),
        (V36, "cni:", "Invalid value  for --cni flag: must be one of calico,canal,cilium,flannel"),
        (V36, "cni: Canal", "Invalid value Canal for --cni flag"),
        (V36, "cni: 'multus, canal'", "Invalid value (not shown) for --cni flag"),
        (V36, "cni: multus", "Failed to validate --cni flag: multus must be used alongside"),
        (V36, "cni: [canal, calico]", "Failed to validate --cni flag: may only provide multiple"),
        (V36, "cni: [multus, canal, calico]", "Failed to validate --cni flag: must specify 1 or 2"),
        ("v1.28.7+rke2r1", "cni: flannel", ""),
        ("v1.28.6+rke2r1", "cni: flannel", "Invalid value flannel for --cni flag"),
    ] {
        check(Role::Server, version, &format!("{file}\n"), words);
    }
    check(Role::Agent, V36, "cni: flanel\nserver: https://h:9345\n", "");
}

#[test]
fn the_ingress_controller_is_looked_at_by_some_releases() {
    for (version, file, words) in [
        ("v1.35.0+rke2r1", "ingress-controller: traefik", ""),
        ("v1.35.0+rke2r1", "ingress-controller: [traefik, ingress-nginx]", ""),
        ("v1.35.0+rke2r1", "ingress-controller: none", ""),
        ("v1.35.0+rke2r1", "ingress-controller: nginx", "Invalid value nginx for --ingress-contr"),
        ("v1.35.0+rke2r1", "ingress-controller:", "Invalid value  for --ingress-controller flag"),
        ("v1.30.3+rke2r1", "ingress-controller: haproxy", "Invalid value haproxy for --ingress"),
        ("v1.30.2+rke2r1", "ingress-controller: haproxy", ""),
        (V36, "ingress-controller: haproxy", ""),
    ] {
        check(Role::Server, version, &format!("{file}\n"), words);
    }
}

#[test]
fn what_rke2_and_k3s_check_afterwards_is_told() {
    let cluster = "server: https://h:9345";
    for (role, file, words) in [
        (
            Role::Server,
            "cloud-provider-config: /x",
            "--cloud-provider-config requires --cloud-prov",
        ),
        (
            Role::Server,
            "cloud-provider-config: /x\ncloud-provider-name: ''",
            "--cloud-provider-conf",
        ),
        (Role::Server, "cloud-provider-config: /x\ncloud-provider-name: vsphere", ""),
        (
            Role::Server,
            "cloud-provider-name: external\nnode-external-ip: 1.2.3.4",
            "can't set node-external-ip while using cloud provider",
        ),
        (Role::Server, "node-external-ip: 1.2.3.4", ""),
        (
            Role::Server,
            "datastore-endpoint: mysql://x\ndisable-apiserver: true",
            "invalid flag use; cannot use --disable-apiserver with --datastore-endpoint",
        ),
        (Role::Server, "datastore-endpoint: ''\ndisable-apiserver: true", ""),
        (
            Role::Server,
            "cluster-reset: true\nserver: https://h:9345",
            "cannot perform cluster-reset while server URL is set",
        ),
        (Role::Server, "cluster-reset: false\nserver: https://h:9345", ""),
        (
            Role::Server,
            "cluster-reset-restore-path: /x",
            "invalid flag use; --cluster-reset required with --cluster-reset-restore-path",
        ),
        (Role::Server, "cluster-reset: true\ncluster-reset-restore-path: /x", ""),
        (Role::Server, "cluster-cidr: 10.42.0.0", "invalid cluster-cidr 10.42.0.0"),
        (Role::Server, "cluster-cidr: 10.42.0.0/16,fd00::/56", ""),
        (Role::Server, "service-cidr: ['10.43.0.0/16', '']", "invalid service-cidr "),
        (Role::Server, "cluster-dns: kube-dns", "invalid cluster-dns address kube-dns"),
        (Role::Server, "node-ip: 10.0.0.300", "invalid node-ip: invalid ip format 10.0.0.300"),
        (Role::Server, "service-node-port-range: 32767-30000", "invalid port range 32767-30000"),
        (Role::Server, "service-node-port-range: 30000", ""),
        (Role::Server, "egress-selector-mode: off", "invalid egress-selector-mode"),
        (Role::Server, "egress-selector-mode: pod", ""),
        (
            Role::Server,
            "kube-apiserver-arg: [a=b, tls-min-version=1.2]",
            "invalid tls-min-version: unknown tls version",
        ),
        (Role::Server, "kube-apiserver-arg: tls-min-version=VersionTLS12", ""),
        (Role::Server, "kube-apiserver-arg: tls-min-version=", ""),
        (
            Role::Server,
            "kube-apiserver-arg: [tls-min-version]",
            "panic: runtime error: index out of range [1] with length 1",
        ),
        (
            Role::Server,
            "kube-apiserver-arg: [tls-cipher-suites]",
            "panic: runtime error: index out",
        ),
        // The first one counts, and one with dashes is another name to k3s.
        (Role::Server, "kube-apiserver-arg: [tls-min-version=VersionTLS13, tls-min-version]", ""),
        (Role::Server, "kube-apiserver-arg: [--tls-min-version]", ""),
        (
            Role::Server,
            "kube-apiserver-arg: [tls-cipher-suites=TLS_FOO]",
            "invalid tls-cipher-suites: Cipher suite TLS_FOO not supported or doesn't exist",
        ),
        (
            Role::Server,
            "kube-apiserver-arg: ['tls-cipher-suites=ECDHE-RSA-AES128-GCM-SHA256']",
            "invalid tls-cipher-suites: Cipher suite (not shown) not supported or doesn't exist",
        ),
        (
            Role::Server,
            "kube-apiserver-arg: ['tls-cipher-suites=TLS_AES_128_GCM_SHA256,']",
            "invalid tls-cipher-suites: Cipher suite  not supported",
        ),
        (
            Role::Server,
            "kube-apiserver-arg: ['tls-cipher-suites=TLS_AES_128_GCM_SHA256, \
             TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305,TLS_RSA_WITH_RC4_128_SHA']",
            "",
        ),
        (Role::Server, "kube-apiserver-arg: tls-cipher-suites=", ""),
        (Role::Agent, "kube-apiserver-arg: [tls-cipher-suites=FOO]\nserver: https://h:9345", ""),
        (
            Role::Server,
            "control-plane-resource-requests: kube-apiserver-cpu",
            "incorrectly formatted control plane resource request specified",
        ),
        (
            Role::Server,
            "control-plane-probe-configuration: etcd-startup-timeout-seconds=-1",
            "invalid control plane probe config value specified",
        ),
        (Role::Server, "control-plane-probe-configuration: etcd-startup-timeout-seconds=15", ""),
        (
            Role::Agent,
            "cloud-provider-config: /x\nserver: https://h:9345",
            "--cloud-provider-config",
        ),
        (Role::Agent, "node-ip: x\nserver: https://h:9345", "invalid node-ip: invalid ip format x"),
        (Role::Agent, cluster, ""),
    ] {
        check(role, V36, &format!("{file}\n"), words);
    }
    // Before k3s looked at it.
    let file = "datastore-endpoint: mysql://x\ndisable-apiserver: true\n";
    check(Role::Server, "v1.28.8+rke2r1", file, "");
    check(Role::Server, "v1.28.9+rke2r1", file, "invalid flag use; cannot use --disable-apiserver");
}

#[test]
fn an_agent_needs_a_server_and_until_it_has_joined_a_token() {
    let codes = |file: &str, joined: bool| {
        let config = resolve(&Node::new(Role::Agent).file(file).inputs());
        let place = Default::default();
        let facts = |place| Facts {
            config: &config,
            version: None,
            role: Role::Agent,
            units: Units::default(),
            joined,
            place,
        };
        let found = |facts: &Facts<'_>| {
            let mut found: Vec<_> = judge(facts).into_iter().map(|p| p.finding).collect();
            found.retain(|f| f.code.known().is_some_and(|c| c.as_str() == "agent-cannot-join"));
            found.into_iter().map(|f| (f.subject, f.severity)).collect::<Vec<_>>()
        };
        let (host, image) = (found(&facts(Some(&place))), found(&facts(None)));
        // What an image lacks, a host may get at its first boot.
        assert!(host.iter().all(|(_, severity)| *severity == Severity::Fatal), "{host:?}");
        assert!(image.iter().all(|(_, severity)| *severity == Severity::Note), "{image:?}");
        assert_eq!(host.len(), image.len());
        host.into_iter().map(|(subject, _)| subject).collect::<Vec<_>>().join(" ")
    };
    for (file, joined, missing) in [
        ("server: https://h:9345\ntoken: x\n", false, ""),
        ("s: https://h:9345\nt: x\n", false, ""),
        ("server: https://h:9345\ntoken-file: /x\n", false, ""),
        ("server: https://h:9345\n", true, ""),
        ("server: https://h:9345\n", false, "token"),
        ("server: https://h:9345\ntoken: ''\n", false, "token"),
        ("server: ''\ntoken: x\n", false, "server"),
        ("token: x\n", true, "server"),
        ("profile: cis\n", false, "token server"),
        ("", false, "token server"),
        // What could not be read may have them.
        ("profile: [\n", false, ""),
    ] {
        assert_eq!(codes(file, joined), missing, "{file:?} {joined}");
    }
}

#[test]
fn what_rests_on_a_list_stops_no_rke2_that_the_list_does_not_know() {
    for (file, arguments) in [
        ("profile: cis-2.0\n", "server"),
        ("cni: antrea\n", "server"),
        ("cni: [multus, antrea]\n", "server"),
        ("egress-selector-mode: mesh\n", "server"),
        ("kube-apiserver-arg: tls-min-version=VersionTLS14\n", "server"),
        ("kube-apiserver-arg: tls-min-version\n", "server"),
        ("kube-apiserver-arg: tls-cipher-suites=TLS_NEW\n", "server"),
        ("", "server --a-new-flag=1"),
        ("", "server --another-new-flag"),
    ] {
        let node = || Node::new(Role::Server).file(file).arguments(arguments);
        for version in ["v1.36.4+rke2r1", "v1.30.0+rke2r1"] {
            assert_eq!(refusals(Role::Server, version, node()).len(), 1, "{version} {file}");
        }
        for version in ["v1.99.0+rke2r1", "v1.37.0+rke2r1", "v2.0.0+rke2r1"] {
            let found = findings(Role::Server, version, node());
            let fatal = found.iter().any(|finding| finding.severity == Severity::Fatal);
            assert!(!fatal, "{version} {file} {arguments}: {found:#?}");
            let told = found.iter().any(|finding| {
                let code = finding.code.known().map(|code| code.as_str());
                let listed = ["flag-unlisted", "profile-invalid"].contains(&code.unwrap_or(""));
                listed && finding.severity == Severity::Warning
            });
            assert!(told, "{version} {file} {arguments}: {found:#?}");
        }
        // One that is there and does not say which it is.
        let config = resolve(&node().release(Release::unknown()).inputs());
        let (units, joined, place) = (Units::default(), true, None);
        let facts =
            Facts { config: &config, version: None, role: Role::Server, units, joined, place };
        let fatal = judge(&facts).iter().any(|plan| plan.finding.severity == Severity::Fatal);
        assert!(!fatal, "{file} {arguments}");
    }
    // What rests on no list is refused by any: the values of a kind, and rules.
    for file in ["selinux: 'yes'\n", "cni: multus\n", "t: x\ntoken: x\n", "--debug: true\n"] {
        let node = Node::new(Role::Server).file(file);
        assert_eq!(refusals(Role::Server, "v1.99.0+rke2r1", node).len(), 1, "{file}");
    }
}

#[test]
fn a_flag_that_the_subcommand_does_not_have_is_skipped_in_a_file_and_refused_on_the_command_line() {
    let agent = || Node::new(Role::Agent).file("server: https://h:9345\ncni: x\netcd-arg: a=b\n");
    check_node(Role::Agent, V36, agent(), "");
    let found = findings(Role::Agent, V36, agent());
    let skipped = found.iter().filter(|finding| finding.message.contains("skipping"));
    assert_eq!(skipped.count(), 2, "{found:#?}");
    for (role, line, words) in [
        (Role::Agent, "agent --cni=x", "flag provided but not defined: -cni"),
        (Role::Agent, "agent --etcd-arg a=b", "flag provided but not defined: -etcd-arg"),
        (Role::Server, "server --flannel-backend=none", "flag provided but not defined: -flannel-"),
        (Role::Server, "server --docker", "flag provided but not defined: -docker"),
        (Role::Server, "server --profile=cis --cni", "flag needs an argument: -cni"),
        (Role::Server, "server -h", "with `help` RKE2 prints and ends"),
    ] {
        let file = if role == Role::Agent { "server: https://h:9345\n" } else { "" };
        check_node(role, V36, Node::new(role).file(file).arguments(line), words);
    }
}

#[test]
fn no_value_that_may_be_a_secret_is_told() {
    let secret = "K10abcdef1234567890";
    for flag in [
        "debug",
        "etcd-snapshot-retention",
        "etcd-s3-timeout",
        "cni",
        "node-ip",
        "cluster-cidr",
        "cluster-dns",
        "service-node-port-range",
        "egress-selector-mode",
        "control-plane-resource-requests",
        "control-plane-probe-configuration",
        "--token",
    ] {
        let node = Node::new(Role::Server).file(&format!("{flag}: {secret}::x:y@z\n"));
        let found = findings(Role::Server, V36, node);
        assert!(!found.is_empty(), "{flag}");
        assert!(!format!("{found:?}").contains(secret), "{flag}: {found:#?}");
    }
    let variable = Node::new(Role::Server).variable("RKE2_DEBUG", secret);
    assert!(!format!("{:?}", findings(Role::Server, V36, variable)).contains(secret));
}

#[test]
fn the_release_is_that_of_the_rke2_that_is_there_and_a_certificate_is_looked_for_beside_it() {
    let observed = |version: &str, file: &str, certificate: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("etc/rancher/rke2/config.yaml", &format!("data-dir: /srv/rke2\n{file}\n"));
        write(&format!("srv/rke2/data/{version}-rke2r1-56ce02dfd353/bin/kubelet"), "");
        certificate.iter().for_each(|name| write(&format!("srv/rke2/agent/{name}"), ""));
        let root = Root::image(dir.path()).unwrap();
        let node = observe(&root, &mut VersionCache::default(), Some(Role::Server), false);
        let problems = &node.config.problems;
        (
            problems.iter().map(|p| format!("{:?}", p.kind)).collect::<Vec<_>>().join(" "),
            node.joined,
        )
    };
    let both = ["client-kubelet.crt", "client-kubelet.key"];
    for (version, file, certificate, expected) in [
        ("v1.28.6", "cni: flannel", &both[..], ("Conflict", true)),
        ("v1.28.7", "cni: flannel", &both[..1], ("", false)),
        ("v1.99.0", "cni: antrea", &[], ("Unlisted", false)),
        ("v1.36.3", "write-kubeconfig-name: x", &[], ("UnknownKey", false)),
        ("v1.36.4", "write-kubeconfig-name: x", &[], ("", false)),
    ] {
        let (problems, joined) = observed(version, file, certificate);
        assert_eq!((problems.as_str(), joined), expected, "{version} {file}");
    }
}

#[test]
fn the_page_about_renewing_the_table_says_where_it_ends() {
    let page = include_str!("../docs/renew-rke2-flags.md");
    let end = format!("**ends with 1.{}**", nodeguard::rke2::profile::NEWEST_MINOR);
    assert!(page.contains(&end), "docs/renew-rke2-flags.md lacks {end}");
}
