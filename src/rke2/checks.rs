// SPDX-License-Identifier: Apache-2.0
//! What RKE2 and k3s refuse after they have read every flag: values that do not go together, and
//! values that only the program behind the flag looks at. In the order in which RKE2 looks.
//!
//! Read from rancher/rke2 (`pkg/cli/cmds`, `pkg/rke2`, `pkg/podtemplate`) and from k3s-io/k3s
//! (`pkg/cli/server/server.go`, `pkg/util/net.go`). What depends on the host, as a file that a flag
//! names, is not looked at.

use core::net::IpAddr;
use std::str::FromStr;

use super::words::Words;
use super::{Inputs, Problem, ProblemKind, Setting, shown};
use crate::model::{Origin, Role};

/// Plugins that `cni` may name. RKE2 1.26.14, 1.27.11, 1.28.7, 1.29.2 brought the last one.
const PLUGINS: [&str; 4] = ["calico", "canal", "cilium", "flannel"];
const WITH_FLANNEL: &[(u8, u64)] = &[(26, 14), (27, 11), (28, 7), (29, 2)];

/// Controllers that `ingress-controller` may name. RKE2 looks at it since 1.27.16, 1.28.12, 1.29.7,
/// 1.30.3, and no more from 1.36 on.
const CONTROLLERS: [&str; 2] = ["ingress-nginx", "traefik"];
const CONTROLLERS_SINCE: &[(u8, u64)] = &[(27, 16), (28, 12), (29, 7), (30, 3)];
const CONTROLLERS_UNTIL: &[(u8, u64)] = &[(36, 0)];

/// Since then k3s refuses `disable-apiserver` with a datastore of its own (k3s#9765).
const DATASTORE_SINCE: &[(u8, u64)] = &[(27, 13), (28, 9), (29, 4)];

/// Modes of the egress selector.
const EGRESS: [&str; 4] = ["agent", "cluster", "pod", "disabled"];

/// Versions of TLS that Kubernetes has names for.
const TLS: [&str; 4] = ["VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13"];

/// Cipher suites by their names in Go's package crypto/tls, and the two shorter ones that Kubernetes
/// takes as well. Older releases have fewer.
const CIPHERS: [&str; 27] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

/// Everything of it that is wrong; of each flag the first value that is.
pub(super) fn check(words: &Words<'_>, inputs: &Inputs, problems: &mut Vec<Problem>) {
    let checks = Checks { words, inputs };
    problems.extend(checks.cloud_provider());
    if inputs.role != Role::Agent {
        problems.extend(checks.network_plugin());
        problems.extend(checks.ingress_controller());
    }
    problems.extend(checks.resources("control-plane-resource-requests", "resource request"));
    problems.extend(checks.resources("control-plane-resource-limits", "resource limit"));
    problems.extend(checks.probes());
    if inputs.role != Role::Agent {
        problems.extend(checks.reset());
        problems.extend(checks.datastore());
        problems.extend(checks.network());
        problems.extend(checks.tls());
    } else {
        problems.extend(checks.node_ip());
    }
}

struct Checks<'a> {
    words: &'a Words<'a>,
    inputs: &'a Inputs,
}

impl Checks<'_> {
    fn problem(
        &self,
        setting: &Setting<String>,
        by_list: bool,
        words: String,
        expected: impl Into<String>,
    ) -> Problem {
        Problem {
            kind: ProblemKind::conflict(self.inputs.release, by_list),
            origin: origin(setting),
            key: Some(shown::key(&setting.key)),
            words,
            expected: expected.into(),
        }
    }

    /// A value that is set and not empty.
    fn filled(&self, flag: &str) -> Option<Setting<String>> {
        self.words.text(flag).filter(|setting| !setting.value.is_empty())
    }

    fn is_true(&self, flag: &str) -> bool {
        self.words.boolean(flag).is_some_and(|setting| setting.value)
    }

    fn cloud_provider(&self) -> Vec<Problem> {
        let (name, config) = ("cloud-provider-name", "cloud-provider-config");
        let provider = self.words.text(name).or_else(|| self.words.text(config));
        let external = self.words.text("node-external-ip");
        let mut found = Vec::new();
        if let (Some(provider), Some(external)) = (provider, external) {
            found.push(self.problem(
                &external,
                false,
                "can't set node-external-ip while using cloud provider".into(),
                format!("no node-external-ip, or no {}", shown::key(&provider.key)),
            ));
        }
        if let (Some(config), None) = (self.filled(config), self.filled(name)) {
            found.push(self.problem(
                &config,
                false,
                "--cloud-provider-config requires --cloud-provider-name to be provided".into(),
                "cloud-provider-name beside it",
            ));
        }
        found
    }

    /// One plugin, with `multus` before it or not; `none` for none.
    fn network_plugin(&self) -> Option<Problem> {
        let given = self.words.list("cni");
        // More than three are refused as three are.
        let named: Vec<_> = parts(&given).take(3).collect();
        let last = given.last()?;
        let many = |words: &str| {
            let words = format!("Failed to validate --cni flag: {words}");
            Some(self.problem(last, false, words, "one plugin, or `multus` and one plugin"))
        };
        let plugins = match named.as_slice() {
            [] => return None,
            [(_, "multus")] => {
                return many("multus must be used alongside another primary cni selection");
            }
            [_] => &named[..],
            [(_, "multus"), _] => &named[1..],
            [_, _] => return many("may only provide multiple values if multus is the first value"),
            _ => return many("must specify 1 or 2 values"),
        };
        let count = if self.inputs.release.is_since(WITH_FLANNEL) { 4 } else { 3 };
        self.one_of("cni", plugins.iter().copied(), &PLUGINS[..count])
    }

    fn ingress_controller(&self) -> Option<Problem> {
        let release = self.inputs.release;
        if !release.is_since(CONTROLLERS_SINCE) || release.is_since(CONTROLLERS_UNTIL) {
            return None;
        }
        let given = self.words.list("ingress-controller");
        self.one_of("ingress-controller", parts(&given), &CONTROLLERS)
    }

    fn one_of<'a>(
        &self,
        flag: &str,
        mut named: impl Iterator<Item = (&'a Setting<String>, &'a str)>,
        known: &[&str],
    ) -> Option<Problem> {
        let (setting, name) = named.find(|(_, name)| *name != "none" && !known.contains(name))?;
        let list = known.join(",");
        let words = format!(
            "Invalid value {} for --{flag} flag: must be one of {list}",
            shown::value(flag, name)
        );
        Some(self.problem(setting, true, words, format!("one of {}, or none", known.join(", "))))
    }

    fn resources(&self, flag: &str, what: &str) -> Option<Problem> {
        let given = self.words.list(flag);
        let (setting, _) = parts(&given).find(|(_, part)| !part.contains('='))?;
        let words = format!("incorrectly formatted control plane {what} specified");
        Some(self.problem(setting, false, words, "COMPONENT-cpu=VALUE or COMPONENT-memory=VALUE"))
    }

    fn probes(&self) -> Option<Problem> {
        let given = self.words.list("control-plane-probe-configuration");
        parts(&given).find_map(|(setting, part)| {
            let words = match part.split_once('=') {
                None => "incorrectly formatted control probe config specified",
                // Go's number in base 10 may have a sign.
                Some((_, value)) if value.parse::<i32>().is_ok_and(|value| value >= 0) => {
                    return None;
                }
                Some(_) => "invalid control plane probe config value specified",
            };
            let expected = "COMPONENT-PROBE-seconds=NUMBER";
            Some(self.problem(setting, false, words.into(), expected))
        })
    }

    fn reset(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let reset = self.is_true("cluster-reset");
        if let Some(path) = self.filled("cluster-reset-restore-path").filter(|_| !reset) {
            let words = "invalid flag use; --cluster-reset required with \
                         --cluster-reset-restore-path";
            found.push(self.problem(&path, false, words.into(), "cluster-reset beside it"));
        }
        if let Some(server) = self.filled("server").filter(|_| reset) {
            let words = "cannot perform cluster-reset while server URL is set - remove server from \
                         configuration before resetting";
            found.push(self.problem(
                &server,
                false,
                words.into(),
                "no server, or no cluster-reset",
            ));
        }
        found
    }

    fn datastore(&self) -> Option<Problem> {
        let endpoint = self.filled("datastore-endpoint")?;
        let since = self.inputs.release.is_since(DATASTORE_SINCE);
        if !since || !self.is_true("disable-apiserver") {
            return None;
        }
        let words = "invalid flag use; cannot use --disable-apiserver with --datastore-endpoint";
        Some(self.problem(&endpoint, false, words.into(), "one of the two"))
    }

    fn node_ip(&self) -> Option<Problem> {
        self.each("node-ip", "invalid node-ip: invalid ip format", "IP addresses", is_ip)
    }

    fn network(&self) -> Vec<Problem> {
        let range = "networks such as 10.42.0.0/16";
        let mut found = Vec::new();
        found.extend(self.node_ip());
        found.extend(self.each("cluster-cidr", "invalid cluster-cidr", range, is_network));
        found.extend(self.each("service-cidr", "invalid service-cidr", range, is_network));
        if let Some(ports) = self.words.text("service-node-port-range")
            && !is_port_range(&ports.value)
        {
            let words = format!("invalid port range {}", value("service-node-port-range", &ports));
            found.push(self.problem(&ports, false, words, "a range such as 30000-32767"));
        }
        found.extend(self.each(
            "cluster-dns",
            "invalid cluster-dns address",
            "IP addresses",
            is_ip,
        ));
        if let Some(mode) = self.words.text("egress-selector-mode")
            && !EGRESS.contains(&mode.value.as_str())
        {
            let words =
                format!("invalid egress-selector-mode {}", value("egress-selector-mode", &mode));
            found.push(self.problem(&mode, true, words, format!("one of {}", EGRESS.join(", "))));
        }
        found
    }

    /// Each of several values, which may be lists themselves.
    fn each(
        &self,
        flag: &str,
        words: &str,
        expected: &str,
        is_right: fn(&str) -> bool,
    ) -> Option<Problem> {
        let given = self.words.list(flag);
        let (setting, part) = parts(&given).find(|(_, part)| !is_right(part))?;
        let words = format!("{words} {}", shown::value(flag, part));
        Some(self.problem(setting, false, words, expected))
    }

    /// k3s itself looks at two arguments for the apiserver; at the first of each name.
    fn tls(&self) -> Vec<Problem> {
        let arguments = self.words.list("kube-apiserver-arg");
        let first = |name: &str| {
            arguments.iter().find_map(|setting| match setting.value.split_once('=') {
                Some((flag, value)) => (flag == name).then_some((setting, Some(value))),
                None => (setting.value == name).then_some((setting, None)),
            })
        };
        let mut found = Vec::new();
        for name in ["tls-min-version", "tls-cipher-suites"] {
            let Some((setting, value)) = first(name) else { continue };
            let Some(value) = value else {
                // It takes what stands behind the sign without looking for one. A newer k3s may.
                let words = "panic: runtime error: index out of range [1] with length 1".to_owned();
                found.push(self.problem(setting, true, words, format!("{name}=VALUE")));
                continue;
            };
            let (words, expected) = match name {
                "tls-min-version" if !value.is_empty() && !TLS.contains(&value) => {
                    let words = "invalid tls-min-version: unknown tls version".to_owned();
                    (words, format!("one of {}", TLS.join(", ")))
                }
                "tls-cipher-suites" => {
                    let Some(cipher) = unknown_cipher(value) else { continue };
                    let words = format!(
                        "invalid tls-cipher-suites: Cipher suite {cipher} not supported or doesn't \
                         exist"
                    );
                    (words, "names of Go's, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".into())
                }
                _ => continue,
            };
            found.push(self.problem(setting, true, words, expected));
        }
        found
    }
}

/// The first cipher suite of a list that is none, where it looks like the name of one. A list whose
/// first one is empty is none.
fn unknown_cipher(list: &str) -> Option<&str> {
    let mut ciphers = list.split(',').map(str::trim).peekable();
    if ciphers.peek().is_some_and(|first| first.is_empty()) {
        return None;
    }
    let unknown = ciphers.find(|cipher| !CIPHERS.contains(cipher))?;
    let letter = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    let fits = CIPHERS.iter().any(|cipher| cipher.len() >= unknown.len());
    let is_name = fits && unknown.bytes().all(letter);
    let shown = is_name && (unknown.is_empty() || unknown.starts_with("TLS_"));
    Some(if shown { unknown } else { shown::HIDDEN })
}

fn origin(setting: &Setting<String>) -> Origin {
    setting.origin.clone().unwrap_or_else(|| Origin::file("command line"))
}

fn value(flag: &str, setting: &Setting<String>) -> String {
    shown::value(flag, &setting.value)
}

/// Each value, taken apart at its commas.
fn parts(given: &[Setting<String>]) -> impl Iterator<Item = (&Setting<String>, &str)> {
    given.iter().flat_map(|setting| setting.value.split(',').map(move |part| (setting, part)))
}

/// Go's `net.ParseIP`: no zone, no leading zeros.
fn is_ip(text: &str) -> bool {
    IpAddr::from_str(text).is_ok()
}

/// Go's `net.ParseCIDR`.
fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let Ok(address) = IpAddr::from_str(address) else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    digits && length.parse::<u32>().is_ok_and(|length| length <= most)
}

/// The ports of Kubernetes' `PortRange`: one, `LOW-HIGH` or `LOW+SIZE`; empty for none.
fn is_port_range(text: &str) -> bool {
    let text = text.trim();
    // Go's Atoi takes a sign, which is one of the two notations here.
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i64>().ok())?;
    let range = match (text.split_once('-'), text.split_once('+')) {
        _ if text.is_empty() => return true,
        (None, None) => number(text).map(|port| (port, port)),
        (Some((low, high)), None) => number(low).zip(number(high)),
        (None, Some((low, more))) => {
            number(low).zip(number(more)).map(|(low, more)| (low, low.saturating_add(more)))
        }
        (Some(_), Some(_)) => None,
    };
    range.is_some_and(|(low, high)| low <= high && high <= 65535)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_networks_and_ports_are_what_go_takes_for_them() {
        for text in ["10.0.0.1", "::1", "fd00::1", "::ffff:1.2.3.4"] {
            assert!(is_ip(text), "{text}");
        }
        for text in
            ["", "10.0.0", "10.0.0.01", "10.0.0.1 ", "fe80::1%eth0", "localhost", "1.2.3.4/8"]
        {
            assert!(!is_ip(text), "{text}");
        }
        for text in ["10.42.0.0/16", "fd00::/56", "0.0.0.0/0", "10.1.2.3/8", "10.0.0.0/08"] {
            assert!(is_network(text), "{text}");
        }
        for text in [
            "",
            "10.42.0.0",
            "10.42.0.0/33",
            "10.42.0.0/",
            "10.42.0.0/+8",
            "fd00::/129",
            "/8",
            "x/8",
        ] {
            assert!(!is_network(text), "{text}");
        }
        for text in ["", "30000-32767", "80", "30000+100", " 1-2 ", "0"] {
            assert!(is_port_range(text), "{text}");
        }
        for text in ["x", "2-1", "1-65536", "1-", "-1", "1-2+3", "65536", "30000,32767"] {
            assert!(!is_port_range(text), "{text}");
        }
    }
}
