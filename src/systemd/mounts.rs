// SPDX-License-Identifier: Apache-2.0
//! What is mounted at a place, by mountinfo alone: no path is looked up, so that nothing waits for a
//! file system that does not answer, and nothing that another user can write leads anywhere.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::fstab;
use crate::system::mountinfo;

/// One mount, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    number: u64,
    parent: u64,
    /// `major:minor`
    pub(crate) device: String,
    /// What of the file system is mounted.
    pub(crate) root: PathBuf,
    pub(crate) point: PathBuf,
    pub(crate) flags: String,
    pub(crate) kind: String,
    pub(crate) source: String,
}

impl Mount {
    fn of(line: &mountinfo::Line<'_>) -> Self {
        let text = |word: Option<&str>| path(word.unwrap_or_default()).display().to_string();
        Self {
            number: line.number,
            parent: line.parent,
            device: line.device.to_owned(),
            root: path(line.root),
            point: path(line.point),
            flags: line.flags.to_owned(),
            kind: line.kind.unwrap_or_default().to_owned(),
            source: text(line.source),
        }
    }

    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.split(',').any(|own| own == flag)
    }

    /// Not on a disk: a file system that the kernel, a server or a program makes.
    pub(crate) fn is_without_device(&self) -> bool {
        self.device.starts_with("0:") && !self.source.starts_with("/dev/")
    }
}

fn path(escaped: &str) -> PathBuf {
    PathBuf::from(OsString::from_vec(fstab::unescaped(escaped.as_bytes())))
}

/// Those of the mounts that are on the way to some places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mounts {
    mounts: Vec<Mount>,
    numbers: BTreeSet<u64>,
}

impl Mounts {
    /// `text`: mountinfo. What is on the way to none of `places` is left out.
    pub(crate) fn read(text: &str, places: &[PathBuf]) -> Self {
        let mounts: Vec<Mount> = text
            .lines()
            .filter_map(mountinfo::parse)
            .filter(|line| {
                let point = path(line.point);
                places.iter().any(|place| place.starts_with(&point))
            })
            .map(|line| Mount::of(&line))
            .collect();
        let numbers = mounts.iter().map(|mount| mount.number).collect();
        Self { mounts, numbers }
    }

    /// The mount that a path without links is on, found as the kernel finds it: at each directory on
    /// the way what is mounted there on what was reached, and again what is mounted on that.
    pub(crate) fn reached(&self, path: &Path) -> Option<&Mount> {
        let mut way: Vec<&Path> = path.ancestors().collect();
        way.reverse();
        let mut reached: Option<&Mount> = None;
        for dir in way {
            // A mount is on one that is listed before it, so that this ends.
            let mut left = self.mounts.len();
            while let Some(next) = self.mounts.iter().find(|mount| {
                mount.point == dir
                    && match reached {
                        Some(below) => mount.parent == below.number && mount.number != below.number,
                        // What `/` itself is on is not listed, nor is `/` for a process in a chroot.
                        None => {
                            mount.number == mount.parent || !self.numbers.contains(&mount.parent)
                        }
                    }
            }) {
                reached = Some(next);
                left = left.saturating_sub(1);
                if left == 0 {
                    break;
                }
            }
        }
        reached
    }

    /// What is mounted at a place itself and can be seen there.
    pub(crate) fn at(&self, place: &Path) -> Option<&Mount> {
        self.reached(place).filter(|mount| mount.point == place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "25 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n";

    fn at(text: &str, place: &str) -> Option<String> {
        let text = format!("{ROOT}{text}");
        let mounts = Mounts::read(&text, &[PathBuf::from(place)]);
        mounts.at(Path::new(place)).map(|mount| mount.source.clone())
    }

    #[test]
    fn what_can_be_seen_at_a_place_is_what_is_mounted_there_last_and_is_not_covered() {
        let rke2 = "30 25 8:17 / /var/lib/rancher rw - ext4 /dev/sdb1 rw\n";
        for (text, expected) in [
            ("", None),
            (rke2, Some("/dev/sdb1")),
            // Another one on top of it.
            (&format!("{rke2}31 30 0:9 / /var/lib/rancher rw - tmpfs t rw\n"), Some("t")),
            // Something above it that came later.
            (&format!("{rke2}31 25 8:33 / /var rw - ext4 /dev/sdc1 rw\n"), None),
            // Something above it that it is on.
            (
                "31 25 8:33 / /var rw - ext4 /dev/sdc1 rw\n\
                 32 31 8:17 / /var/lib/rancher rw - ext4 /dev/sdb1 rw\n",
                Some("/dev/sdb1"),
            ),
            // Something below it, and something beside it.
            ("31 25 8:33 / /var/lib/rancher/rke2 rw - ext4 /dev/sdc1 rw\n", None),
            ("31 25 8:33 / /var/lib/rancherx rw - ext4 /dev/sdc1 rw\n", None),
        ] {
            assert_eq!(at(text, "/var/lib/rancher").as_deref(), expected, "{text}");
        }
        let blank = "30 25 8:17 / /my\\040disk rw - ext4 /dev/sdb1 rw\n";
        assert_eq!(at(blank, "/my disk").as_deref(), Some("/dev/sdb1"));
    }

    #[test]
    fn in_a_chroot_the_first_mount_is_on_one_that_is_not_listed() {
        let text = "40 25 0:9 / /srv rw - tmpfs t rw\n41 40 8:17 / /srv/x rw - ext4 /dev/sdb1 rw\n";
        let mounts = Mounts::read(text, &["/srv/x".into()]);
        let source = |place: &str| mounts.at(Path::new(place)).map(|mount| mount.source.as_str());
        assert_eq!(source("/srv/x"), Some("/dev/sdb1"));
        assert_eq!(source("/srv"), Some("t"));
        assert!(mounts.reached(Path::new("/")).is_none());
        // A root file system that is on itself.
        let text = "1 1 0:2 / / rw - rootfs rootfs rw\n25 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
        let mounts = Mounts::read(text, &["/x".into()]);
        assert_eq!(mounts.reached(Path::new("/x")).map(|m| m.source.as_str()), Some("/dev/sda1"));
    }
}
