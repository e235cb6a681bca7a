// SPDX-License-Identifier: Apache-2.0
//! The flags of `rke2 server` and `rke2 agent`: RKE2 skips every configuration key that is none.
//!
//! As of v1.36. An older or newer RKE2 knows a few more or fewer; that a key is missing here is
//! therefore never more than a note, unless it is close to one that matters.

use crate::model::Role;

/// The flags whose values are resolved here.
pub(super) const RESOLVED: [&str; 9] = [
    "profile",
    "data-dir",
    "protect-kernel-defaults",
    "kubelet-arg",
    "disable-etcd",
    "datastore-endpoint",
    "server",
    "selinux",
    "etcd-arg",
];

/// Known to both subcommands.
const BOTH: &[&str] = &[
    "airgap-extra-registry",
    "alsologtostderr",
    "audit-policy-file",
    "bind-address",
    "cloud-controller-manager-extra-env",
    "cloud-controller-manager-extra-mount",
    "cloud-controller-manager-image",
    "cloud-provider-config",
    "cloud-provider-name",
    "config",
    "container-runtime-endpoint",
    "control-plane-probe-configuration",
    "control-plane-resource-limits",
    "control-plane-resource-requests",
    "data-dir",
    "debug",
    "default-runtime",
    "disable-default-registry-endpoint",
    "enable-pprof",
    "etcd-extra-env",
    "etcd-extra-mount",
    "etcd-image",
    "image-credential-provider-bin-dir",
    "image-credential-provider-config",
    "kube-apiserver-extra-env",
    "kube-apiserver-extra-mount",
    "kube-apiserver-image",
    "kube-controller-manager-extra-env",
    "kube-controller-manager-extra-mount",
    "kube-controller-manager-image",
    "kube-proxy-arg",
    "kube-proxy-extra-env",
    "kube-proxy-extra-mount",
    "kube-proxy-image",
    "kube-scheduler-extra-env",
    "kube-scheduler-extra-mount",
    "kube-scheduler-image",
    "kubelet-arg",
    "kubelet-path",
    "lb-server-port",
    "log",
    "node-external-dns",
    "node-external-ip",
    "node-internal-dns",
    "node-ip",
    "node-label",
    "node-name",
    "node-name-from-cloud-provider-metadata",
    "node-taint",
    "nonroot-devices",
    "pause-image",
    "pod-security-admission-config-file",
    "private-registry",
    "profile",
    "protect-kernel-defaults",
    "resolv-conf",
    "runtime-image",
    "selinux",
    "server",
    "snapshotter",
    "system-default-registry",
    "token",
    "token-file",
    "v",
    "vmodule",
    "with-node-id",
];

/// Known to `rke2 server` alone.
const SERVER: &[&str] = &[
    "advertise-address",
    "agent-token",
    "agent-token-file",
    "cluster-cidr",
    "cluster-dns",
    "cluster-domain",
    "cluster-reset",
    "cluster-reset-restore-path",
    "cni",
    "datastore-cafile",
    "datastore-certfile",
    "datastore-endpoint",
    "datastore-keyfile",
    "disable",
    "disable-agent",
    "disable-apiserver",
    "disable-cloud-controller",
    "disable-controller-manager",
    "disable-etcd",
    "disable-kube-proxy",
    "disable-scheduler",
    "egress-selector-mode",
    "embedded-registry",
    "enable-servicelb",
    "etcd-arg",
    "etcd-disable-snapshots",
    "etcd-expose-metrics",
    "etcd-s3",
    "etcd-s3-access-key",
    "etcd-s3-bucket",
    "etcd-s3-bucket-lookup-type",
    "etcd-s3-config-secret",
    "etcd-s3-endpoint",
    "etcd-s3-endpoint-ca",
    "etcd-s3-folder",
    "etcd-s3-insecure",
    "etcd-s3-proxy",
    "etcd-s3-region",
    "etcd-s3-retention",
    "etcd-s3-secret-key",
    "etcd-s3-session-token",
    "etcd-s3-skip-ssl-verify",
    "etcd-s3-timeout",
    "etcd-snapshot-compress",
    "etcd-snapshot-dir",
    "etcd-snapshot-name",
    "etcd-snapshot-reconcile-interval",
    "etcd-snapshot-retention",
    "etcd-snapshot-schedule-cron",
    "helm-controller-arg",
    "helm-job-image",
    "ingress-controller",
    "kube-apiserver-arg",
    "kube-cloud-controller-manager-arg",
    "kube-controller-manager-arg",
    "kube-scheduler-arg",
    "prime",
    "secrets-encryption",
    "secrets-encryption-provider",
    "service-cidr",
    "service-node-port-range",
    "servicelb-namespace",
    "supervisor-metrics",
    "tls-san",
    "tls-san-security",
    "write-kubeconfig",
    "write-kubeconfig-group",
    "write-kubeconfig-mode",
    "write-kubeconfig-name",
];

/// The flags that take no word after them on a command line.
const BOOLEAN: &[&str] = &[
    "alsologtostderr",
    "cluster-reset",
    "debug",
    "disable-agent",
    "disable-apiserver",
    "disable-cloud-controller",
    "disable-controller-manager",
    "disable-default-registry-endpoint",
    "disable-etcd",
    "disable-kube-proxy",
    "disable-scheduler",
    "embedded-registry",
    "enable-pprof",
    "enable-servicelb",
    "etcd-disable-snapshots",
    "etcd-expose-metrics",
    "etcd-s3",
    "etcd-s3-insecure",
    "etcd-s3-skip-ssl-verify",
    "etcd-snapshot-compress",
    "help",
    "node-name-from-cloud-provider-metadata",
    "nonroot-devices",
    "prime",
    "protect-kernel-defaults",
    "secrets-encryption",
    "selinux",
    "supervisor-metrics",
    "tls-san-security",
    "with-node-id",
];

/// Short names, as RKE2 takes them in a file as well.
const ALIASES: &[(&str, &str)] = &[
    ("c", "config"),
    ("d", "data-dir"),
    ("h", "help"),
    ("l", "log"),
    ("o", "write-kubeconfig"),
    ("s", "server"),
    ("t", "token"),
];

/// The variables that stand in for a flag which neither a file nor the command line sets.
const VARIABLES: &[(&str, &str)] = &[
    ("profile", "RKE2_CIS_PROFILE"),
    ("data-dir", "RKE2_DATA_DIR"),
    ("selinux", "RKE2_SELINUX"),
    ("datastore-endpoint", "RKE2_DATASTORE_ENDPOINT"),
    ("server", "RKE2_URL"),
    ("etcd-extra-mount", "RKE2_ETCD_EXTRA_MOUNT"),
];

/// The long name of a flag.
pub(super) fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(short, _)| *short == name).map_or(name, |(_, long)| long)
}

/// Whether the subcommand of this role knows the flag.
pub(super) fn is_known(role: Role, name: &str) -> bool {
    let name = canonical(name);
    BOTH.binary_search(&name).is_ok()
        || (role != Role::Agent && SERVER.binary_search(&name).is_ok())
}

/// Whether the flag stands alone on a command line.
pub(super) fn is_boolean(name: &str) -> bool {
    BOOLEAN.binary_search(&canonical(name)).is_ok()
}

/// The environment variable behind a flag.
pub(super) fn variable(name: &str) -> Option<&'static str> {
    VARIABLES.iter().find(|(flag, _)| *flag == name).map(|(_, variable)| *variable)
}

/// The flag that matters and that an unknown key is probably meant to be.
pub(super) fn meant(role: Role, key: &str) -> Option<&'static str> {
    let plain = key.trim_start_matches('-').replace('_', "-").to_ascii_lowercase();
    let fold = |name: &str| name.replace('-', "");
    RESOLVED.into_iter().filter(|name| is_known(role, name)).find(|name| {
        let allowed = if name.len() > 9 { 2 } else { 1 };
        *name == plain
            || fold(name) == fold(&plain)
            || matches!((*name, plain.as_str()), ("profile", "cis-profile" | "profiles"))
            || (plain.len() <= 32 && strsim::osa_distance(name, &plain) <= allowed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_as_the_search_in_them_needs() {
        for list in [BOTH, SERVER, BOOLEAN] {
            assert!(list.is_sorted_by(|a, b| a < b));
        }
        assert!(RESOLVED.iter().all(|name| is_known(Role::Server, name)));
    }

    #[test]
    fn an_agent_does_not_know_a_servers_flags() {
        for name in ["disable-etcd", "datastore-endpoint", "etcd-arg", "cni"] {
            assert!(is_known(Role::Server, name) && !is_known(Role::Agent, name), "{name}");
        }
        for name in ["profile", "protect-kernel-defaults", "data-dir", "d", "server", "s"] {
            assert!(is_known(Role::Server, name) && is_known(Role::Agent, name), "{name}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_traced_to_the_key_that_was_meant() {
        for (written, meant_to_be) in [
            ("Profile", Some("profile")),
            ("profil", Some("profile")),
            ("porfile", Some("profile")),
            ("cis-profile", Some("profile")),
            ("protect_kernel_defaults", Some("protect-kernel-defaults")),
            ("protect-kernel-default", Some("protect-kernel-defaults")),
            ("data_dir", Some("data-dir")),
            ("datadir", Some("data-dir")),
            ("--profile", Some("profile")),
            ("etcd-args", Some("etcd-arg")),
            ("disable-etc", Some("disable-etcd")),
            ("profiling", None),
            ("my-own-key", None),
            ("", None),
        ] {
            assert_eq!(meant(Role::Server, written), meant_to_be, "{written}");
        }
        assert_eq!(meant(Role::Agent, "disable-etc"), None);
    }
}
