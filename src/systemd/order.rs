// SPDX-License-Identifier: Apache-2.0
//! What of a unit's dependencies can be known from names alone: whether systemd starts what pulls it in
//! at boot, and whether what it waits for is there before RKE2.

/// The units that start RKE2.
const RKE2: [&str; 2] = ["rke2-server.service", "rke2-agent.service"];

/// What is mounted after one of these is not there before RKE2. RKE2 follows our own service.
const FOLLOWED: [&str; 3] = [RKE2[0], RKE2[1], "nodeguard.service"];

/// What every boot of a node reaches. Another unit may never be started.
const BOOT: [&str; 7] = [
    "local-fs.target",
    "remote-fs.target",
    "multi-user.target",
    "graphical.target",
    "default.target",
    "sysinit.target",
    "basic.target",
];

/// Targets that systemd reaches before a service such as RKE2's, without their `.target`.
const EARLY_TARGETS: [&str; 15] = [
    "local-fs-pre",
    "remote-fs-pre",
    "local-fs",
    "network-pre",
    "network",
    "network-online",
    "cryptsetup-pre",
    "cryptsetup",
    "remote-cryptsetup",
    "veritysetup-pre",
    "veritysetup",
    "integritysetup-pre",
    "integritysetup",
    "basic",
    "sysinit",
];

/// Services that make devices and file systems, by the beginning of their names.
const EARLY_SERVICES: [&str; 7] =
    ["systemd-", "modprobe@", "lvm2-", "multipathd.", "iscsid.", "iscsi.", "open-iscsi."];

/// Whether systemd starts by itself what a unit of this name wants or requires.
pub(super) fn pulls_in(unit: &str) -> bool {
    BOOT.contains(&unit) || RKE2.contains(&unit)
}

pub(super) fn is_followed(unit: &str) -> bool {
    FOLLOWED.contains(&unit)
}

/// Whether a unit, which is no mount, is surely there before RKE2. Of others nobody knows without
/// following what they wait for, and RKE2 may be among that.
pub(super) fn is_early(unit: &str) -> bool {
    let Some((stem, kind)) = unit.rsplit_once('.') else { return false };
    match kind {
        "device" | "slice" => true,
        "target" => EARLY_TARGETS.contains(&stem) || stem.starts_with("blockdev@"),
        "service" | "socket" => EARLY_SERVICES.iter().any(|early| unit.starts_with(early)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_surely_early_is_known_by_its_name_and_nothing_else_is() {
        for (unit, expected) in [
            ("local-fs-pre.target", true),
            ("network-online.target", true),
            ("blockdev@dev-sdb1.target", true),
            ("dev-sdb1.device", true),
            ("systemd-fsck@dev-sdb1.service", true),
            ("iscsid.service", true),
            ("late.service", false),
            ("rke2-server.service", false),
            ("nodeguard.service", false),
            ("multi-user.target", false),
            ("late.target", false),
            ("x.mount", false),
            ("x", false),
        ] {
            assert_eq!(is_early(unit), expected, "{unit}");
        }
    }

    #[test]
    fn the_targets_of_the_boot_and_rke2_pull_a_mount_in_and_nothing_else_does() {
        for unit in BOOT.iter().chain(&RKE2) {
            assert!(pulls_in(unit), "{unit}");
        }
        for unit in ["backup.service", "rescue.target", "late.target", "nodeguard.service", ""] {
            assert!(!pulls_in(unit), "{unit}");
        }
    }
}
