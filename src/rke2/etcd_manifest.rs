// SPDX-License-Identifier: Apache-2.0
//! The manifest of the static pod etcd, as RKE2 writes it for kubelet: as whom it runs.

use std::path::{Path, PathBuf};

use super::yaml::Tree;

/// A manifest is a few KiB.
pub const MAX_MANIFEST_SIZE: usize = 256 << 10;

/// Where RKE2 puts it. Only root can write there.
pub fn etcd_manifest(data_dir: &Path) -> PathBuf {
    data_dir.join("agent/pod-manifests/etcd.yaml")
}

/// The user and the group that the manifest says, each 0 where it says none: the image has no other
/// user. RKE2 sets both under a profile, and neither without one. What the container says counts
/// before what the pod says, as for kubelet. `None`: this is no manifest of a pod.
pub fn runs_as(content: &[u8]) -> Option<(u32, u32)> {
    let tree = Tree::read(content).ok()??;
    let spec = tree.child(tree.top(), "spec")?;
    let containers = tree.items(tree.child(spec, "containers")?)?;
    let is_etcd = |&&container: &&usize| tree.text(container, "name").as_deref() == Some("etcd");
    let container = *containers.iter().find(is_etcd)?;
    let holders = [container, spec];
    let number = |key| {
        let mut contexts = holders.iter().filter_map(|node| tree.child(*node, "securityContext"));
        contexts.find_map(|context| tree.text(context, key)).map_or(Some(0), |id| id.parse().ok())
    };
    Some((number("runAsUser")?, number("runAsGroup")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RKE2 v1.36 writes it, shortened.
    const MANIFEST: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: etcd\n  uid: 0a1b\nspec:\n  \
        containers:\n  - args:\n    - --config-file=/var/lib/rancher/rke2/server/db/etcd/config\n    \
        command:\n    - etcd\n    name: etcd\n    securityContext:\n      privileged: false\n  \
        hostNetwork: true\n  priorityClassName: system-cluster-critical\n";

    #[test]
    fn the_numbers_are_those_of_the_security_context_and_roots_where_it_has_none() {
        let with = |more: &str| runs_as(format!("{MANIFEST}{more}status: {{}}\n").as_bytes());
        assert_eq!(with(""), Some((0, 0)), "without a profile");
        assert_eq!(
            with("  securityContext:\n    runAsGroup: 998\n    runAsUser: 999\n"),
            Some((999, 998))
        );
        assert_eq!(with("  securityContext:\n    runAsUser: 999\n"), Some((999, 0)));
        assert_eq!(
            with("  securityContext: {\"runAsUser\": 7, \"runAsGroup\": 8}\n"),
            Some((7, 8))
        );
        assert_eq!(with("  securityContext:\n    seLinuxOptions:\n      type: x\n"), Some((0, 0)));
    }

    #[test]
    fn what_the_container_says_counts_before_what_the_pod_says() {
        let text = MANIFEST.replace("privileged: false", "runAsUser: 5")
            + "  securityContext:\n    runAsUser: 999\n    runAsGroup: 998\n";
        assert_eq!(runs_as(text.as_bytes()), Some((5, 998)));
    }

    #[test]
    fn what_is_no_manifest_of_etcds_says_nothing() {
        for text in [
            "",
            "spec: 1\n",
            "- a\n",
            "spec:\n  containers: []\n",
            "spec:\n  containers:\n  - name: other\n  securityContext:\n    runAsUser: 1\n",
            "spec:\n  containers:\n  - name: etcd\n  securityContext:\n    runAsUser: many\n",
            "spec:\n  containers:\n  - name: etcd\n  securityContext:\n    runAsUser: -1\n",
            "spec: {",
            "\u{1}",
        ] {
            assert_eq!(runs_as(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(runs_as(b"\xff"), None);
    }
}
