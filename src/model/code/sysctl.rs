// SPDX-License-Identifier: Apache-2.0
//! The codes of the control `sysctl`, and of what the daemon tells there besides.

use super::FatalClass::{GivesAway, Refuses};
use super::Severity::{Drift, Fatal, Note, Warning};
use super::{About, Contest, ControlId, Rule, WhenFatal};

const SYSCTL: About = About::of(&[ControlId::Sysctl]);

pub(super) const SYSCTL_LIVE: About = About {
    name: "sysctl-live",
    severities: &[Drift, Warning, Fatal],
    fatal: WhenFatal::By(&[
        Rule {
            class: Refuses,
            rule: "Under a CIS profile RKE2 compares four kernel parameters with the values that it \
                   wants, and ends where one differs.",
            versions: "all",
            source: "rke2 pkg/cli/cmds/profile_linux.go; in older ones root.go",
        },
        Rule {
            class: Refuses,
            rule: "With protect-kernel-defaults, which a CIS profile sets, the kubelet compares those \
                   four and kernel.keys.root_maxkeys and root_maxbytes, and ends where one differs.",
            versions: "all",
            source: "kubernetes pkg/kubelet/cm/container_manager_linux.go, setupKernelTunables",
        },
        Rule {
            class: GivesAway,
            rule: "While fs.protected_hardlinks is not 1, whoever can write in etcd's directory can put \
                   another name of any file of that file system there, and RKE2 gives it to etcd.",
            versions: "all",
            source: "linux Documentation/admin-guide/sysctl/fs.rst",
        },
    ]),
    contest: Contest::Alone,
    cis_ids: &["4.2.6"],
    cause: "A kernel parameter has another value than it should have, is missing, or cannot be \
            read. A warning or fatal where it is not written, by its policy, or where the kernel \
            refuses; the message then has the reason and the errno.",
    remedy: "`nodeguard apply` sets it; where it cannot, the message has the reason. `nodeguard \
             explain` with the parameter's name tells who sets the other value.",
    ..SYSCTL
};

pub(super) const SYSCTL_DROP_IN: About = About {
    name: "sysctl-dropin",
    severities: &[Drift, Note, Warning],
    contest: Contest::Alone,
    cis_ids: &["4.2.6"],
    cause: "`/etc/sysctl.d/60-rke2-cis.conf` is missing or wrong (drift), masked (a note), or \
            cannot be written: a link, no text, no regular file (a warning). The next boot would \
            lose the kernel parameters.",
    remedy: "`nodeguard apply` writes it, and keeps foreign lines. What it does not write is yours \
             to correct or to move away.",
    ..SYSCTL
};

pub(super) const SYSCTL_OVERRIDDEN: About = About {
    name: "sysctl-overridden",
    severities: &[Warning],
    cis_ids: &["4.2.6"],
    cause: "A later file, a credential or TuneD sets another value at boot than the drop-in. The \
            live value is set back.",
    remedy: "Correct or remove the line that the finding names.",
    ..SYSCTL
};

pub(super) const SYSCTL_UNREAD: About = About {
    name: "sysctl-unread",
    severities: &[Warning],
    cis_ids: &["4.2.6"],
    cause: "A file that may set a kernel parameter at boot cannot be read, or RKE2's own file has \
            more parameters than are held.",
    remedy: "Correct the file or take it away, and put parameters of your own into \
             `[sysctl.extra]`.",
    ..SYSCTL
};

pub(super) const SYSCTL_MISREAD: About = About {
    name: "sysctl-misread",
    severities: &[Note],
    cause: "A line of a sysctl.d file does something else than it seems to. Behind a number stands \
            text, as in `kernel.panic = 10 # reboot`: the kernel reads the number, stops at the \
            space and looks at nothing more. Or a line names a parameter that is held and sets \
            nothing, as `key: value` and `sysctl -w key=value`.",
    remedy: "Write a comment in a line of its own, and an assignment as `key = value`.",
    ..SYSCTL
};

pub(super) const ATTRIBUTION_UNAVAILABLE: About = About {
    name: "attribution-unavailable",
    severities: &[Note],
    cause: "Who changes a kernel parameter cannot be named; see `nodeguard.toml`(5).",
    remedy: "Link the drop-in that the finding names, or set `attribution = false`.",
    ..SYSCTL
};

pub(super) const EVENTS_MISSED: About = About {
    name: "events-missed",
    severities: &[Warning],
    cause: "inotify does not tell of every change, as when its limits are reached; drift is looked \
            for by the clock instead.",
    remedy: "See the limits in `/proc/sys/fs/inotify`, and who uses them up.",
    ..SYSCTL
};

pub(super) const CONTESTED: About = About {
    name: "contested",
    controls: &[ControlId::Sysctl, ControlId::EtcdDataDir],
    severities: &[Warning],
    cause: "Somebody keeps undoing a correction of a kernel parameter, a file or the data \
            directory; it is made less and less often until they stop.",
    remedy: "Find out which other program manages it, and stop one of the two.",
    ..SYSCTL
};
