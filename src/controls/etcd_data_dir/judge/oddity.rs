// SPDX-License-Identifier: Apache-2.0
//! What is met below etcd's data directory and never changed: links, special files, files with
//! more than one link, mounts. What the operator made does not hold the gate shut; what a stranger
//! planted does.

use super::fixed;
use crate::controls::etcd_data_dir::facts::Oddity;
use std::path::Path;

use crate::model::{Code, Finding, Planned, Severity, quoted, shown};

impl Oddity {
    pub fn severity(&self) -> Severity {
        match self {
            Self::RootLink { dangling: false, .. }
            | Self::Hardlinked { .. }
            | Self::Special { .. } => Severity::Note,
            Self::Mount => Severity::Warning,
            Self::RootLink { dangling: true, .. }
            | Self::RootLinkOut { .. }
            | Self::TlsLink { .. }
            | Self::ForeignLink { .. }
            | Self::HardlinkedWrong { .. }
            | Self::Fixed { .. }
            | Self::Device
            | Self::TooDeep
            | Self::Unreadable { .. } => Severity::Fatal,
        }
    }
}

/// What etcd does without what a link stands for.
fn without(path: &Path) -> &'static str {
    let ends = |end| path.ends_with(end);
    if ends("member/wal") {
        "etcd starts without its log and puts an empty one in the link's place"
    } else if ends("member") || ends("member/snap") || ends("member/snap/db") {
        "etcd starts without its data"
    } else {
        "etcd finds nothing there"
    }
}

/// What it means that `oddity` is at `path`.
pub(crate) fn judge(path: &Path, oddity: &Oddity) -> Planned {
    let (shown, word) = (shown(path), quoted(path));
    let (code, expected, actual, message, remedy) = match oddity {
        Oddity::RootLink { target, dangling: false } => (
            Code::EtcdLink,
            "no link",
            format!("link of root's to {target}"),
            format!("{shown} is a link of root's to {target}: not followed"),
            "nothing, if you made it; its target must be etcd's".to_owned(),
        ),
        Oddity::RootLink { target, dangling: true } => (
            Code::EtcdLinkDangling,
            "an existing target",
            format!("dangling link to {target}"),
            format!("{shown} links to {target}, which does not exist: RKE2's own chown would fail"),
            format!("make its target, or rm {word}"),
        ),
        Oddity::RootLinkOut { target, dangling } => {
            let there = path.parent().unwrap_or(path).join(target);
            (
                Code::EtcdLinkOutside,
                "no link out of etcd's data directory",
                format!("link of root's to {target}"),
                format!(
                    "{shown} is a link to {target}{}: etcd's pod has etcd's data directory and nothing \
                     beside it, so {}; and RKE2's own chown follows the link and {}",
                    if *dangling { ", which does not exist" } else { "" },
                    without(path),
                    if *dangling { "fails" } else { "gives what is behind it to etcd" },
                ),
                match dangling {
                    true => format!("rke2-killall.sh; rm {word}"),
                    false => format!(
                        "rke2-killall.sh; rm {word} && mv {} {word}; for another disk, mount that disk \
                         at etcd's data directory",
                        quoted(&there)
                    ),
                },
            )
        }
        Oddity::TlsLink { target, owner } => (
            Code::EtcdTlsLink,
            "a regular file",
            format!("link of root's to {target}"),
            format!(
                "{shown} is a link to {target}, which belongs to {owner}: RKE2's own chown follows \
                 the link at every start and gives what is behind it to etcd"
            ),
            format!(
                "rm {word} && install -m 600 {} {word}",
                quoted(&path.parent().unwrap_or(path).join(target))
            ),
        ),
        Oddity::ForeignLink { uid, target } => (
            Code::EtcdLinkForeign,
            "no link",
            format!("link of uid {uid} to {target}"),
            format!(
                "{shown} is a link to {target} made by uid {uid}: an ownership change must not leave the tree"
            ),
            format!("find out who made it, then rm {word}"),
        ),
        Oddity::Hardlinked { links } => (
            Code::EtcdHardlink,
            "1 link",
            format!("{links} links"),
            format!("{shown} has {links} hard links"),
            "nothing, if it is a backup of yours".into(),
        ),
        Oddity::HardlinkedWrong { links, owner } => (
            Code::EtcdHardlinkForeign,
            "1 link",
            format!("{links} links, owner {owner}"),
            format!("{shown} belongs to {owner} and has {links} hard links: never changed"),
            format!("find its other name (find / -xdev -samefile {word}), then rm one of them"),
        ),
        Oddity::Special { kind } => (
            Code::EtcdSpecialFile,
            "a regular file",
            (*kind).to_owned(),
            format!("{shown} is a {kind}: left as it is"),
            format!("rm {word}, unless you know what it is for"),
        ),
        Oddity::Device => (
            Code::EtcdDevice,
            "a regular file",
            "device".into(),
            format!("{shown} is a device node, never made by etcd"),
            format!("find out who made it, then rm {word}"),
        ),
        Oddity::Fixed { immutable, append_only } => fixed::told(path, *immutable, *append_only),
        Oddity::Mount => (
            Code::EtcdMount,
            "no bind mount below the data dir",
            "bind mount".into(),
            format!("{shown} is a bind mount: left alone, since what it shows belongs elsewhere"),
            format!("umount {word}, or mount a file system of its own there"),
        ),
        Oddity::TooDeep => (
            Code::EtcdTooDeep,
            "a shallow tree",
            "too deep".into(),
            format!(
                "{shown} is nested deeper, or has more directories, than etcd ever makes: not entered"
            ),
            format!("find out who made it, then rm -r {word}"),
        ),
        Oddity::Unreadable { reason } => (
            Code::EtcdDirUnreadable,
            "readable",
            reason.clone(),
            format!("{shown} cannot be looked at: {reason}"),
            format!("check {shown} and the file system it is on"),
        ),
    };
    Planned::only(
        Finding::at_path(code, path)
            .severity(oddity.severity())
            .expected(expected)
            .actual(actual)
            .message(message)
            .remedy(remedy),
    )
}
