// SPDX-License-Identifier: Apache-2.0
//! The codes of the control `etcd-data-dir`.

use super::FatalClass::{GivesAway, LosesData, Refuses};
use super::Severity::{Drift, Fatal, Note, Warning};
use super::{About, Contest, ControlId, Rule, WhenFatal};

const ETCD_DATA_DIR: About = About::of(&[ControlId::EtcdDataDir]);

/// Where RKE2 starts etcd; before 1.34 it was the same function in pkg/podexecutor.
const ETCD: &str = "rke2 pkg/executor/staticpod/staticpod.go, ETCD and chownr";

/// RKE2 cannot give the tree away.
const CHOWN_FAILS: Rule = Rule {
    class: Refuses,
    rule: "Under a profile RKE2 gives everything in etcd's directory, and etcd's six TLS files, to the \
           user etcd at each start, and ends at the first entry where that fails.",
    versions: "all",
    source: ETCD,
};

/// It gives away what it should not.
const CHOWN_FOLLOWS: Rule = Rule {
    class: GivesAway,
    rule: "Under a profile RKE2 gives every entry of etcd's directory away by its path, and os.Chown \
           follows links: what a link, another name of the file or a device node stands for becomes \
           etcd's.",
    versions: "all",
    source: ETCD,
};

/// Nobody looked at what it gives away.
const CHOWN_UNSEEN: Rule = Rule {
    class: GivesAway,
    rule: "Under a profile RKE2 gives away, and follows, what was not looked at as well.",
    versions: "all",
    source: ETCD,
};

/// etcd cannot use its own files.
const ETCD_LOCKED_OUT: Rule = Rule {
    class: Refuses,
    rule: "etcd runs as the user etcd without capabilities and ends where it cannot open its database, \
           its log, its configuration or a key; RKE2 waits for it. RKE2 sets no mode but that of the \
           directory itself.",
    versions: "all",
    source: "rke2 pkg/executor/staticpod/staticpod.go; etcd server/storage/backend, wal",
};

pub(super) const ETCD_OWNER: About = About {
    name: "etcd-owner",
    severities: &[Drift, Fatal],
    fatal: WhenFatal::By(&[CHOWN_FAILS]),
    contest: Contest::WithTree,
    aspect: "owner",
    cis_ids: &["1.1.12"],
    cause: "Entries of etcd's data directory are not etcd's; fatal where that cannot be mended.",
    remedy: "`nodeguard apply` gives them to etcd; where it cannot, the message has the reason.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_MODE: About = About {
    name: "etcd-mode",
    severities: &[Drift, Warning, Fatal],
    fatal: WhenFatal::By(&[ETCD_LOCKED_OUT]),
    contest: Contest::WithTree,
    aspect: "mode",
    cis_ids: &["1.1.11"],
    cause: "Directories of etcd's data directory are open to others, or files can be written by \
            others or have set-id bits; where that cannot be mended, fatal if etcd could not work with \
            it and else a warning.",
    remedy: "`nodeguard apply` closes them; where it cannot, the message has the reason.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_ACL: About = About {
    name: "etcd-acl",
    severities: &[Drift, Warning],
    contest: Contest::WithTree,
    cis_ids: &["1.1.11"],
    cause: "An access control list in etcd's data directory gives somebody else access; a warning \
            where that cannot be mended.",
    remedy: "`nodeguard apply` takes it away; where it cannot, the message has the reason.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_TLS_OWNER: About = About {
    name: "etcd-tls-owner",
    severities: &[Drift, Warning, Fatal],
    fatal: WhenFatal::By(&[CHOWN_FAILS]),
    contest: Contest::Alone,
    aspect: "owner",
    cause: "A TLS file is not etcd's, or not root's where etcd has no business with it; where that \
            cannot be mended, fatal for a file of etcd's and a warning for one of root's.",
    remedy: "`nodeguard apply` mends it; where it cannot, the message has the reason.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_TLS_MODE: About = About {
    name: "etcd-tls-mode",
    severities: &[Drift, Warning, Fatal],
    fatal: WhenFatal::By(&[ETCD_LOCKED_OUT]),
    contest: Contest::Alone,
    aspect: "mode",
    cis_ids: &["1.1.20", "1.1.21"],
    cause: "Others can read a TLS key, or write a certificate; where that cannot be mended, fatal \
            for a file that etcd then could not read and else a warning.",
    remedy: "`nodeguard apply` mends it; where it cannot, the message has the reason.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_TLS_LINK: About = About {
    name: "etcd-tls-link",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: GivesAway,
        rule: "Under a profile RKE2 gives etcd's six TLS files to the user etcd at each start by their \
               paths, and os.Chown follows links; until 1.31.11, 1.32.7 and 1.33.3 it so gives away \
               everything in server/tls/etcd.",
        versions: "all",
        source: ETCD,
    }]),
    cause: "A link of root's in the place of a TLS file of etcd's leads to a file that is not etcd's: RKE2's \
            own chown would give that file to etcd.",
    remedy: "Remove the link and put the file itself there.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_PROCESS_USER: About = About {
    name: "etcd-process-user",
    severities: &[Note, Warning],
    cis_ids: &["1.1.12"],
    cause: "The running etcd, or the one that kubelet starts again, has another uid or gid than \
            the account. Another uid than 0 that its files have keeps them until RKE2 starts \
            again. A note where it is root's etcd, or of another group alone: those lose nothing \
            when the account gets its files.",
    remedy: "`systemctl restart rke2-server`.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_LINK: About = About {
    name: "etcd-link",
    severities: &[Note],
    cause: "A link of root's to something in etcd's data directory, or to an `etcd-extra-mount`, or in the \
            place of a TLS file to what is etcd's already; not followed.",
    remedy: "Nothing, if you made it; its target must be etcd's.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_LINK_DANGLING: About = About {
    name: "etcd-link-dangling",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[CHOWN_FAILS]),
    cause: "A link of root's in etcd's data directory to nothing: RKE2's own chown fails.",
    remedy: "Make its target, or remove the link.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_LINK_OUTSIDE: About = About {
    name: "etcd-link-outside",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[
        CHOWN_FOLLOWS,
        Rule {
            class: LosesData,
            rule: "etcd's pod has etcd's directory and nothing beside it: etcd starts without what is \
                   behind the link.",
            versions: "all",
            source: "rke2 pkg/podtemplate (before, pkg/staticpod), the volumes of Spec.Dirs",
        },
    ]),
    cause: "A link of root's out of etcd's data directory: etcd's pod has nothing beside that, and \
            RKE2's own chown would give what is behind the link to etcd.",
    remedy: "Stop RKE2 with `rke2-killall.sh`, and move what is behind the link to its place; for \
             another disk, mount that disk at etcd's data directory.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_LINK_FOREIGN: About = About {
    name: "etcd-link-foreign",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[CHOWN_FOLLOWS]),
    cause: "A link in etcd's data directory that somebody else than root made.",
    remedy: "Find out who made it, then remove it.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_HARDLINK: About = About {
    name: "etcd-hardlink",
    severities: &[Note],
    cause: "A file in etcd's data directory with several names, already etcd's.",
    remedy: "Nothing, if it is a backup of yours.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_HARDLINK_FOREIGN: About = About {
    name: "etcd-hardlink-foreign",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[CHOWN_FOLLOWS]),
    cause: "A file in etcd's data directory with several names that is not etcd's: its other name \
            may be anywhere. Never changed.",
    remedy: "Find its other name with `find / -xdev -samefile`, then remove one of them.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_SPECIAL_FILE: About = About {
    name: "etcd-special-file",
    severities: &[Note],
    cause: "A fifo or a socket in etcd's data directory.",
    remedy: "Remove it, unless you know what it is for.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_DEVICE: About = About {
    name: "etcd-device",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[CHOWN_FOLLOWS]),
    cause: "A device node in etcd's data directory, which etcd never makes.",
    remedy: "Find out who made it, then remove it.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_IMMUTABLE: About = About {
    name: "etcd-immutable",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[CHOWN_FAILS]),
    cause: "A file or directory of etcd's has been made immutable or append-only with `chattr`. \
            RKE2's own chown of it fails at every start, whoever it belongs to, and RKE2 ends.",
    remedy: "`chattr -i`, or `chattr -a`, with the path that the finding has. `lsattr -R` on etcd's \
             data directory lists them all.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_MOUNT: About = About {
    name: "etcd-mount",
    severities: &[Warning],
    cause: "A bind mount in etcd's data directory; not entered, since what it shows belongs \
            elsewhere.",
    remedy: "Unmount it, or mount a file system of its own there.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_TOO_DEEP: About = About {
    name: "etcd-too-deep",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[CHOWN_UNSEEN]),
    cause: "A directory in etcd's data directory that is deeper or wider than etcd ever makes it; \
            not entered.",
    remedy: "Find out who made it, then remove it.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_ODD_ENTRIES: About = About {
    name: "etcd-odd-entries",
    severities: &[Warning, Fatal],
    fatal: WhenFatal::AsCounted,
    cause: "More links, special files and mounts in etcd's data directory than are told one by \
            one.",
    remedy: "List them with the `find` command that the finding has.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_DIR_LINK: About = About {
    name: "etcd-dir-link",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: Refuses,
        rule: "filepath.Walk enters no link, so that RKE2 gives away the directory behind it and \
               nothing in it; etcd cannot read the configuration that RKE2 has just written, and ends.",
        versions: "all",
        source: ETCD,
    }]),
    cause: "etcd's data directory itself is a link: RKE2's own chown does not go through it.",
    remedy: "Stop RKE2 with `rke2-killall.sh`, and mount the disk at the directory instead; or \
             move all of RKE2's data to that disk and set `data-dir`.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_DIR_UNREADABLE: About = About {
    name: "etcd-dir-unreadable",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[CHOWN_FAILS, CHOWN_UNSEEN]),
    cause: "A directory of etcd's, or an entry in it, cannot be looked at.",
    remedy: "Check it and the file system that it is on.",
    ..ETCD_DATA_DIR
};

pub(super) const ETCD_PATH_UNSAFE: About = About {
    name: "etcd-path-unsafe",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: GivesAway,
        rule: "Under a profile RKE2 gives etcd's directory away by its path: whoever can change a \
               directory on the way decides what is at its end.",
        versions: "all",
        source: ETCD,
    }]),
    cause: "Somebody else than root can change a directory on the way to etcd's data directory, \
            and so what is at its end.",
    remedy: "Give the directory back to root and close it: `chown root:root` and `chmod go-w`.",
    ..ETCD_DATA_DIR
};
