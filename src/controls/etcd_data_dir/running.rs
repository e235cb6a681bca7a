// SPDX-License-Identifier: Apache-2.0
//! Whether an etcd runs, and as whom: the lock on its database, its process, the manifest of its
//! static pod. Nothing here takes a lock, and no process is looked for: the lock names it.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use super::facts::{Lock, RunningEtcd};
use crate::model::Owner;
use crate::rke2::{MAX_MANIFEST_SIZE, etcd_manifest, runs_as};
use crate::system::inode::{Mount, mount_of};
use crate::system::root::Root;
use crate::system::walk::find_entry;
use crate::system::{HostError, mountinfo};

/// Where the kernel lists the locks on files. To ask by trying to take one would make a starting etcd
/// wait.
const LOCKS: &str = "/proc/locks";

/// Bytes of that list: some 15,000 locks. Any user can take as many as he likes, and what the kernel
/// takes for the list grows with the square of how much of it is read: 4 MiB took up to half a second.
const LOCKS_LIMIT: u64 = 1 << 20;

/// Bytes of a process's status.
const STATUS_LIMIT: u64 = 16 << 10;

/// The database below etcd's data directory.
const DATABASE: &str = "member/snap/db";

/// What is looked at besides the data directory itself to tell whose it is.
const BELOW: [&str; 4] = ["member", "member/snap", "member/wal", DATABASE];

/// What can be seen of an etcd with its data in `dir`, below RKE2's `data_dir`; `None` in an image, and
/// where there is no such directory.
pub fn observe(root: &Root, data_dir: &Path, dir: &Path) -> Option<RunningEtcd> {
    if !root.is_live() {
        return None;
    }
    let entry = |below: &str| find_entry(root, dir, Path::new(below)).ok().flatten();
    let top = entry("")?.inode.owner;
    let database = entry(DATABASE);
    let database = database.filter(|found| found.inode.kind == rustix::fs::FileType::RegularFile);
    let lock = match database.as_ref().map(|found| Identity::of(&found.entry)) {
        None => Lock::Free,
        Some(None) => Lock::Unknown(format!("{DATABASE} cannot be looked at")),
        Some(Some(identity)) => lock(&identity),
    };
    let below = BELOW.iter().filter_map(|below| Some(entry(below)?.inode.owner)).collect();
    Some(RunningEtcd {
        top,
        below,
        lock,
        manifest: manifest(root, data_dir),
        restarts: rke2_runs(root),
    })
}

/// A device as two numbers, major and minor.
type Device = (u32, u32);

/// By what the kernel tells an inode in its list of locks. The list has the device of the file system,
/// which stat may have differently: a subvolume of btrfs has a device of its own.
struct Identity {
    device: Device,
    inode: u64,
    /// The mount's device, where it is asked for.
    mounted: OnceCell<Option<Device>>,
    mount: Option<Mount>,
}

impl Identity {
    fn of(entry: &OwnedFd) -> Option<Self> {
        let stat = rustix::fs::fstat(entry).ok()?;
        let device = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        let (mounted, mount) = (OnceCell::new(), mount_of(entry).ok());
        Some(Self { device, inode: stat.st_ino, mounted, mount })
    }

    fn is_on(&self, device: Device) -> bool {
        let mounted = || *self.mounted.get_or_init(|| self.mount.and_then(device_of_mount));
        device == self.device || mounted() == Some(device)
    }
}

/// The device of the file system that a mount shows.
fn device_of_mount((_, number): Mount) -> Option<Device> {
    mountinfo::find(|line| {
        let (major, minor) = line.device.split_once(':').filter(|_| line.number == number)?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    })
}

fn lock(file: &Identity) -> Lock {
    let list = match File::open(LOCKS) {
        Ok(list) => list,
        Err(e) => return Lock::Unknown(format!("{LOCKS}: {e}")),
    };
    find_lock(BufReader::new(list.take(LOCKS_LIMIT)), file, process)
}

fn find_lock(
    list: impl BufRead,
    file: &Identity,
    process: impl FnOnce(u32) -> Option<Owner>,
) -> Lock {
    let mut read = 0u64;
    for line in list.split(b'\n') {
        let line = match line {
            Ok(line) => line,
            Err(e) => return Lock::Unknown(format!("{LOCKS}: {e}")),
        };
        read += line.len() as u64 + 1;
        if let Some(pid) = std::str::from_utf8(&line).ok().and_then(|line| holder(line, file)) {
            return Lock::Held { pid, by: process(pid) };
        }
    }
    if read >= LOCKS_LIMIT {
        return Lock::Unknown(format!("{LOCKS} has more than {LOCKS_LIMIT} bytes"));
    }
    Lock::Free
}

/// Who holds the lock of a line of /proc/locks (proc(5)), if it is one for writing on this file.
fn holder(line: &str, file: &Identity) -> Option<u32> {
    // 1: FLOCK  ADVISORY  WRITE 20771 fe:00:5496850 0 EOF; who waits for it has an arrow.
    let mut words = line.split_ascii_whitespace().skip(1);
    let (kind, access) = (words.next()?, words.nth(1)?);
    let (pid, place) = (words.next()?, words.next()?);
    let (device, inode) = place.rsplit_once(':')?;
    let (major, minor) = device.split_once(':')?;
    let hex = |number| u32::from_str_radix(number, 16).ok();
    let device = (hex(major)?, hex(minor)?);
    let ours =
        kind != "->" && access == "WRITE" && inode.parse() == Ok(file.inode) && file.is_on(device);
    pid.parse().ok().filter(|_| ours)
}

/// The user and the group by which a process is let at files; `None`: it cannot be seen.
fn process(pid: u32) -> Option<Owner> {
    user_and_group(File::open(format!("/proc/{pid}/status")).ok()?)
}

/// The same from the process's status.
fn user_and_group(status: impl Read) -> Option<Owner> {
    let mut text = String::new();
    status.take(STATUS_LIMIT).read_to_string(&mut text).ok()?;
    numbers(&text)
}

fn numbers(status: &str) -> Option<Owner> {
    // Real, effective, saved, and for files.
    let number = |key| {
        let mut lines = status.lines().filter_map(|line| line.strip_prefix(key));
        lines.next()?.split_ascii_whitespace().nth(3)?.parse().ok()
    };
    Some(Owner { uid: number("Uid:")?, gid: number("Gid:")? })
}

fn manifest(root: &Root, data_dir: &Path) -> Option<Owner> {
    let path = etcd_manifest(data_dir);
    if root.unsafe_component(&path).is_some() {
        return None;
    }
    let content = root.read(&path, MAX_MANIFEST_SIZE).ok()??;
    runs_as(&content).map(|(uid, gid)| Owner { uid, gid })
}

/// Bytes of a list of processes.
const PROCS_LIMIT: usize = 4096;

/// Whether a process of RKE2's own is there. The control group alone does not tell: at a start it has
/// the gate in it, in a group below.
fn rke2_runs(root: &Root) -> bool {
    ["/sys/fs/cgroup/system.slice", "/sys/fs/cgroup/systemd/system.slice"].iter().any(|slice| {
        let path = Path::new(slice).join("rke2-server.service/cgroup.procs");
        match root.read(&path, PROCS_LIMIT) {
            Ok(list) => list.is_some_and(|list| !list.is_empty()),
            // Processes without end.
            Err(HostError::TooLarge { .. }) => true,
            Err(_) => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// On a subvolume of btrfs, say.
    const FILE: fn() -> Identity = || Identity {
        device: (0xfe, 0),
        inode: 5_496_850,
        mounted: OnceCell::from(Some((0, 0x1f))),
        mount: None,
    };
    const ETCD: Owner = Owner { uid: 999, gid: 998 };

    fn find(list: &str) -> Lock {
        find_lock(list.as_bytes(), &FILE(), |pid| (pid == 812).then_some(ETCD))
    }

    #[test]
    fn the_holder_is_who_has_the_databases_lock_for_writing() {
        let held = |pid| Lock::Held { pid, by: (pid == 812).then_some(ETCD) };
        for (list, expected) in [
            ("1: FLOCK  ADVISORY  WRITE 812 fe:00:5496850 0 EOF\n", held(812)),
            ("1: FLOCK  ADVISORY  WRITE 813 fe:00:5496850 0 EOF\n", held(813)),
            ("1: POSIX  ADVISORY  WRITE 812 00:1f:5496850 0 EOF", held(812)),
            ("1: OFDLCK ADVISORY  WRITE -1 fe:00:5496850 0 EOF\n", Lock::Free),
            ("1: FLOCK  ADVISORY  READ 812 fe:00:5496850 0 EOF\n", Lock::Free),
            ("1: -> FLOCK  ADVISORY  WRITE 812 fe:00:5496850 0 EOF\n", Lock::Free),
            ("1: FLOCK  ADVISORY  WRITE 812 fe:01:5496850 0 EOF\n", Lock::Free),
            ("1: FLOCK  ADVISORY  WRITE 812 fe:00:5496851 0 EOF\n", Lock::Free),
            ("1: LEASE  ACTIVE    WRITE 812 fe:00:5496850 0 EOF\n", held(812)),
            ("", Lock::Free),
            ("\n1:\n1: FLOCK\n1: FLOCK ADVISORY WRITE\n\u{7f}: a b c d e\n", Lock::Free),
        ] {
            assert_eq!(find(list), expected, "{list:?}");
        }
        let others = "1: FLOCK  ADVISORY  WRITE 7 fe:00:1 0 EOF\n".repeat(1000);
        assert_eq!(
            find(&format!("{others}2: FLOCK ADVISORY WRITE 812 fe:00:5496850 0 EOF\n")),
            held(812)
        );
    }

    #[test]
    fn a_list_beyond_the_limit_says_nothing_about_what_is_not_in_it() {
        let line = "1: FLOCK  ADVISORY  WRITE 7 fe:00:1 0 EOF\n";
        let lines = usize::try_from(LOCKS_LIMIT).unwrap() / line.len() + 1;
        assert!(matches!(find(&line.repeat(lines)), Lock::Unknown(_)));
        assert_eq!(find(&line.repeat(lines / 2)), Lock::Free);
    }

    #[test]
    fn of_a_status_no_more_is_read_than_the_limit() {
        let status = "Name:\tetcd\nUid:\t0\t0\t0\t999\nGid:\t0\t0\t0\t998\nGroups:\t";
        let mut status = std::io::Cursor::new(status.to_owned() + &"1 ".repeat(1 << 20));
        assert_eq!(user_and_group(&mut status), Some(ETCD));
        assert_eq!(status.position(), STATUS_LIMIT);
    }

    #[test]
    fn processes_without_end_are_processes_and_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::image(dir.path()).unwrap();
        assert!(!rke2_runs(&root));
        let group = dir.path().join("sys/fs/cgroup/system.slice/rke2-server.service");
        fs::create_dir_all(&group).unwrap();
        let list = fs::File::create(group.join("cgroup.procs")).unwrap();
        assert!(!rke2_runs(&root));
        // Larger than any memory.
        list.set_len(1 << 42).unwrap();
        assert!(rke2_runs(&root));
    }

    #[test]
    fn a_manifest_beyond_the_limit_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::image(dir.path()).unwrap();
        let path = etcd_manifest(&dir.path().join("rke2"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = "spec:\n  securityContext: {runAsUser: 999, runAsGroup: 998}\n  containers:\n  \
                    - name: etcd\n#";
        let seen = |size: usize| {
            fs::write(&path, text.to_owned() + &"x".repeat(size - text.len())).unwrap();
            manifest(&root, Path::new("/rke2"))
        };
        assert_eq!(seen(MAX_MANIFEST_SIZE), Some(ETCD));
        assert_eq!(seen(MAX_MANIFEST_SIZE + 1), None);
    }

    #[test]
    fn the_numbers_for_files_count() {
        let status = "Name:\tetcd\nUid:\t0\t0\t0\t999\nGid:\t1\t2\t3\t998\nGroups:\t\n";
        assert_eq!(numbers(status), Some(ETCD));
        for broken in ["", "Uid:\t1\nGid:\t1\n", "Uid:\t1\t1\t1\t1\n", "Uid:\ta\tb\tc\td\n"] {
            assert_eq!(numbers(broken), None);
        }
    }

    #[test]
    fn a_real_lock_names_its_process() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let seen = || lock(&Identity::of(&OwnedFd::from(file.reopen().unwrap())).unwrap());
        assert_eq!(seen(), Lock::Free);
        let holding = file.reopen().unwrap();
        rustix::fs::flock(&holding, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let by = Some(Owner { uid, gid });
        assert_eq!(seen(), Lock::Held { pid: std::process::id(), by });
        drop(holding);
        assert_eq!(seen(), Lock::Free);
    }
}
