// SPDX-License-Identifier: Apache-2.0
//! Whether the home of an account exists, asked only where the answer cannot hang: homes are what
//! automounters and NFS are for, a look at one mounts it or waits for a server that is gone, and
//! all that depends on the answer is a note.

use std::path::Path;

use crate::system::mountinfo;
use crate::system::root::Root;

/// File systems that need nobody else for an answer.
const LOCAL: [&str; 13] = [
    "bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "overlay", "rootfs", "squashfs",
    "tmpfs", "xfs", "zfs",
];

/// Whether there is a directory at `home`, as far as that can be told without waiting.
pub(crate) fn exists(root: &Root, home: &Path) -> bool {
    // Only a note: that homes are hidden from the service makes no other verdict.
    root.recording().aside(|| is_there(root, home))
}

fn is_there(root: &Root, home: &Path) -> bool {
    if !home.is_absolute() || home == Path::new("/") {
        return false;
    }
    if root.is_live() {
        let mounts = root.read(Path::new(mountinfo::PATH), mountinfo::LIMIT).ok().flatten();
        if !mounts.is_some_and(|mounts| is_local(home, &String::from_utf8_lossy(&mounts))) {
            return false;
        }
    }
    // A link leads to where nobody has looked what is mounted.
    let mut above: Vec<_> = home.ancestors().filter(|path| *path != Path::new("/")).collect();
    above.reverse();
    above.into_iter().all(|path| root.is_directory_itself(path))
}

/// Whether all that is mounted on the path to `path` is local. Of two mounts in one place both
/// count: the upper one of an automounted place comes and goes.
fn is_local(path: &Path, mounts: &str) -> bool {
    // Where a blank would be escaped in mountinfo, nothing is compared.
    let plain = path.to_str().is_some_and(|path| !path.contains([' ', '\t', '\n', '\\']));
    plain
        && mounts
            .lines()
            .filter_map(mountinfo::parse)
            .filter(|line| path.starts_with(line.point))
            .all(|line| line.kind.is_some_and(|kind| LOCAL.contains(&kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:40 / /home rw,relatime - autofs systemd-1 rw,fd=1
31 30 0:41 / /home rw - nfs4 server:/home rw
32 22 0:42 / /srv/homes rw - nfs server:/homes rw
33 22 8:2 / /data rw - xfs /dev/sdb rw
34 33 0:43 / /data/people rw - fuse.sshfs who@where: rw
35 33 0:44 / /cut rw
";

    #[test]
    fn nothing_is_asked_below_what_could_hang() {
        for (home, asked) in [
            ("/var/lib/etcd", true),
            ("/homeless", true),
            ("/data/etcd", true),
            ("/home/etcd", false),
            ("/home", false),
            ("/srv/etcd", true),
            ("/srv/homes/etcd", false),
            ("/data/people/etcd", false),
            ("/cut/etcd", false),
            ("/data/a b", false),
        ] {
            assert_eq!(is_local(Path::new(home), MOUNTS), asked, "{home}");
        }
    }

    #[test]
    fn a_home_behind_a_link_is_not_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("var/home/etcd")).unwrap();
        std::os::unix::fs::symlink("var/home", dir.path().join("home")).unwrap();
        let root = Root::image(dir.path()).unwrap();
        assert!(exists(&root, Path::new("/var/home/etcd")));
        for home in ["/home/etcd", "/var/home/none", "/", "relative", ""] {
            assert!(!exists(&root, Path::new(home)), "{home}");
        }
    }
}
