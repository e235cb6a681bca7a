// SPDX-License-Identifier: Apache-2.0
//! Looking at where RKE2's data directory is.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::facts::{FileSystem, Labels, Mounts, Place};
use super::observe_mounts;
use crate::rke2::{self, Config, DEFAULT_DATA_DIR};
use crate::system::mountinfo;
use crate::system::root::Root;
use crate::systemd::pulls::Pulls;

/// `1` while SELinux enforces; not there without SELinux.
const ENFORCE: &str = "/sys/fs/selinux/enforce";

const SELINUX: &str = "/etc/selinux";

/// The rules of a whole distribution are well below.
const RULES_LIMIT: usize = 8 << 20;

/// `None` for an image: neither its disk nor its kernel is that of the node.
pub(crate) fn observe(root: &Root, config: &Config, pulls: &Pulls) -> Option<Place> {
    if !root.is_live() {
        return None;
    }
    let data_dir = &config.data_dir.value;
    if !data_dir.is_absolute() {
        return Some(Place::default());
    }
    let mut file_systems = Vec::new();
    let mut found = Mounts::default();
    if let Some(mounts) = read(root, mountinfo::PATH, mountinfo::LIMIT) {
        for dir in [data_dir.clone(), rke2::etcd_dir(data_dir)] {
            let found = file_system(root, dir, &mounts);
            file_systems.extend(found.filter(|fs| !file_systems.iter().any(|f| same(f, fs))));
        }
        found = observe_mounts::observe(root, data_dir, pulls, &mounts);
    }
    let enforcing = read(root, ENFORCE, 16).is_some_and(|text| text.trim() == "1");
    let custom = data_dir != Path::new(DEFAULT_DATA_DIR);
    let labels = (enforcing && custom).then(|| labels(root));
    Some(Place { file_systems, labels, mounts: found })
}

fn same(a: &FileSystem, b: &FileSystem) -> bool {
    (&a.kind, a.read_only) == (&b.kind, b.read_only)
}

/// By mountinfo and not by statfs: statfs shows our own unit's read-only view of a directory as
/// well, mountinfo tells the file system's own state apart from that of the mount.
fn file_system(root: &Root, mut path: PathBuf, mounts: &str) -> Option<FileSystem> {
    let fd = loop {
        match root.open(&path, OFlags::PATH, Mode::empty()) {
            Ok(fd) => break fd,
            Err(_) if path.pop() => {}
            Err(_) => return None,
        }
    };
    let device = rustix::fs::fstat(&fd).ok()?.st_dev;
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let (kind, read_only) = mounts.lines().find_map(|line| mounted(line, &device))?;
    Some(FileSystem { path, kind, read_only })
}

/// Type and state of a file system, if a line of mountinfo is about the device.
fn mounted(line: &str, device: &str) -> Option<(String, bool)> {
    let line = mountinfo::parse(line).filter(|line| line.device == device)?;
    let read_only = line.options?.split(',').any(|option| option == "ro");
    Some((line.kind?.to_owned(), read_only))
}

fn labels(root: &Root) -> Labels {
    let policy = read(root, "/etc/selinux/config", 1 << 20)
        .and_then(|text| {
            let set = text.lines().rev().find_map(|line| line.trim().strip_prefix("SELINUXTYPE="));
            set.map(|name| name.trim().to_owned())
        })
        .filter(|name| !name.is_empty() && !name.contains('/'))
        .unwrap_or_else(|| "targeted".into());
    let file = |name: &str| {
        let path = format!("{SELINUX}/{policy}/contexts/files/{name}");
        read(root, &path, RULES_LIMIT).unwrap_or_default()
    };
    Labels {
        subs: file("file_contexts.subs"),
        subs_dist: file("file_contexts.subs_dist"),
        rules: format!("{}\n{}", file("file_contexts"), file("file_contexts.local")),
    }
}

fn read(root: &Root, path: &str, limit: usize) -> Option<String> {
    let content = root.read(Path::new(path), limit).ok()??;
    Some(String::from_utf8_lossy(&content).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_line_of_mountinfo_tells_the_file_system_apart_from_the_mount() {
        for (line, expected) in [
            ("36 35 98:0 / /d rw,noatime master:1 - ext4 /dev/x rw,errors=continue", "ext4 rw"),
            ("36 35 98:0 / /d ro,noatime - ext4 /dev/x rw", "ext4 rw"),
            ("36 35 98:0 / /d rw shared:5 master:1 - xfs /dev/x ro,relatime", "xfs ro"),
            ("36 35 98:0 / /d rw - vfat /dev/sda1 rw,fmask=0022", "vfat rw"),
            ("36 35 98:1 / /d rw - vfat /dev/sda1 rw", ""),
            ("36 35 98:0 / /d rw", ""),
            ("", ""),
        ] {
            let got = mounted(line, "98:0")
                .map(|(kind, ro)| format!("{kind} {}", if ro { "ro" } else { "rw" }));
            assert_eq!(got.unwrap_or_default(), expected, "{line}");
        }
    }

    #[test]
    fn rules_beyond_the_limit_are_not_read() {
        let image = tempfile::tempdir().unwrap();
        let dir = image.path().join("etc/selinux/targeted/contexts/files");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("file_contexts"), "/var/lib/rancher/.*\n").unwrap();
        let file = fs::OpenOptions::new().write(true).open(dir.join("file_contexts")).unwrap();
        let root = Root::image(image.path()).unwrap();
        for (size, read) in [(RULES_LIMIT, true), (RULES_LIMIT + 1, false)] {
            file.set_len(size as u64).unwrap();
            assert_eq!(labels(&root).rules.starts_with("/var/lib/rancher"), read, "{size}");
        }
    }
}
