// SPDX-License-Identifier: Apache-2.0
//! What a pass looked at by path, and which objects it found there, so that another process can tell
//! whether it sees the same: a sandbox, or a mount that did not reach it, shows a service other
//! objects under the same names, and what it judged is then not what RKE2 reads.
//!
//! Device and inode tell objects apart for as long as both processes live; whether the content has
//! changed since is a question of when the pass was made. /proc and /sys are another's in every
//! process and are left out, as are our own files. What is below a directory that another user can
//! write is not looked up by path: of a tree its top counts, and what is mounted below it.
//!
//! [`record`] takes it down while a pass looks.

mod record;

use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatVfsMountFlags, Statx, StatxFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub(crate) use record::Record;

use crate::system::mountinfo;
use crate::system::root::{Root, below, read_file};

/// Mounts below one tree; RKE2 needs none.
const MOST_MOUNTS: usize = 64;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Object {
    /// The path leads to nothing.
    Absent,
    /// A file, a directory, a link: the numbers of its device, and its inode.
    Inode(u32, u32, u64),
    /// A device by its own numbers, whatever node names it: a service may have a /dev of its own.
    Character(u32, u32),
    Block(u32, u32),
    /// It could not be looked at or not be opened. Nobody sees the same as that.
    Unknown,
}

impl Object {
    fn of(stat: &Statx) -> Self {
        match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::CharacterDevice => Self::Character(stat.stx_rdev_major, stat.stx_rdev_minor),
            FileType::BlockDevice => Self::Block(stat.stx_rdev_major, stat.stx_rdev_minor),
            _ => Self::Inode(stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino),
        }
    }

    /// The object that a path leads to now.
    fn at(root: impl AsFd, path: &Path, follow: bool) -> Self {
        match status(root, path, follow) {
            Ok(stat) => Self::of(&stat),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Self::Absent,
            Err(_) => Self::Unknown,
        }
    }

    fn is(self, other: Self) -> bool {
        self == other && self != Self::Unknown
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    path: String,
    /// Through a link; otherwise at the link itself.
    follow: bool,
    object: Object,
}

/// What is mounted below a directory: device, root and place of each, as mountinfo has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mounts {
    dir: String,
    below: Vec<String>,
}

/// What a pass looked at. The directories above each path are in it, and come before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    looks: Vec<Look>,
    mounts: Vec<Mounts>,
    /// From where programs are to be started: whether a mount lets them be is told by its flags, and a
    /// process in a mount namespace of its own keeps those that it had when that was made.
    #[serde(default)]
    programs: Vec<String>,
    /// Whether that is all of it.
    complete: bool,
}

/// Where somebody else sees something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Not all was told, or not all of it can be compared.
    Untold,
    /// The first on the path that is another object; and how it is found here.
    At(PathBuf, Observed),
}

impl Observed {
    /// Where what is found below `root` now is not what was observed; `None`: it is the same.
    pub fn differs(&self, root: &Root) -> Option<Difference> {
        if !self.complete {
            return Some(Difference::Untold);
        }
        // In order: what is behind a directory that is another one is not asked, since that may be
        // a file system that does not answer here.
        for look in &self.looks {
            let object = Object::at(root.fd(), Path::new(&look.path), look.follow);
            if !look.object.is(object) {
                let here = Look { object, ..look.clone() };
                let here = Self { looks: vec![here], complete: true, ..Self::default() };
                return Some(Difference::At(PathBuf::from(&look.path), here));
            }
        }
        for mounts in &self.mounts {
            let Some(below) = mounts_below(root, Path::new(&mounts.dir)) else {
                return Some(Difference::Untold);
            };
            if below != mounts.below {
                let here = Mounts { below, ..mounts.clone() };
                let here = Self { mounts: vec![here], complete: true, ..Self::default() };
                return Some(Difference::At(PathBuf::from(&mounts.dir), here));
            }
        }
        None
    }

    /// A directory from which programs were to be started and cannot be, as it is seen here.
    pub fn no_exec(&self, root: &Root) -> Option<PathBuf> {
        self.programs.iter().map(PathBuf::from).find(|dir| is_no_exec(root, dir))
    }
}

/// Whether nothing can be executed at a path, or at what there is of the way to it.
fn is_no_exec(root: &Root, path: &Path) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let open = |path| rustix::fs::openat(root.fd(), below(path), flags, Mode::empty()).ok();
    let flags = path.ancestors().find_map(open).and_then(|fd| rustix::fs::fstatvfs(fd).ok());
    flags.is_some_and(|it| it.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

const WANTED: StatxFlags = StatxFlags::TYPE.union(StatxFlags::INO);

/// From what the kernel knows, as far as it can: the root of a mount is told apart without a
/// question to its server.
fn status(root: impl AsFd, path: &Path, follow: bool) -> Result<Statx, Errno> {
    let mut flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    if !follow {
        flags |= AtFlags::SYMLINK_NOFOLLOW;
    }
    rustix::fs::statx(root, below(path), flags, WANTED)
}

/// `None` where that cannot be told.
fn mounts_below(root: &Root, dir: &Path) -> Option<Vec<String>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(root.fd(), below(dir), flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Some(Vec::new()),
        Err(_) => return None,
    };
    let place = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
    // Where a character would be escaped in mountinfo, nothing is compared.
    let place = place.to_str().filter(|place| !place.contains([' ', '\t', '\n', '\\']))?;
    let mounts = std::fs::File::open(mountinfo::PATH).ok()?;
    let mounts = read_file(mounts, Path::new(mountinfo::PATH), mountinfo::LIMIT).ok()?;
    mounted_below(&String::from_utf8_lossy(&mounts), place)
}

/// From a list of mounts; `None`: there are too many.
fn mounted_below(mounts: &str, place: &str) -> Option<Vec<String>> {
    let mut below: Vec<String> = mounts
        .lines()
        .filter_map(mountinfo::parse)
        .filter(|line| Path::new(line.point).starts_with(place) && line.point != place)
        .map(|line| format!("{} {} {}", line.device, line.root, line.point))
        .collect();
    below.sort();
    (below.len() <= MOST_MOUNTS).then_some(below)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::system::root::observed::record::{MOST_BYTES, MOST_PATHS};

    /// A root with a file of each kind.
    fn image() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("etc/rke2.d")).unwrap();
        fs::create_dir_all(at("tmp")).unwrap();
        fs::write(at("etc/file"), "x").unwrap();
        fs::write(at("tmp/config"), "x").unwrap();
        symlink("../tmp/config", at("etc/link")).unwrap();
        symlink("nowhere", at("etc/dangling")).unwrap();
        symlink("loop", at("etc/loop")).unwrap();
        let root = Root::image(dir.path()).unwrap();
        (dir, root)
    }

    const FOLLOW: OFlags = OFlags::PATH;
    const ITSELF: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW);

    fn looked(root: &Root, paths: &[(&str, OFlags)]) -> Observed {
        root.record();
        for (path, flags) in paths {
            let _ = root.open(Path::new(path), *flags, Mode::empty());
        }
        let observed = root.recorded();
        // The record as it comes over the socket.
        serde_json::from_slice(&serde_json::to_vec(&observed).unwrap()).unwrap()
    }

    fn at(difference: Option<Difference>) -> Option<String> {
        match difference? {
            Difference::At(path, _) => Some(path.to_str().unwrap().to_owned()),
            Difference::Untold => Some("untold".into()),
        }
    }

    #[test]
    fn whatever_is_another_object_is_found_by_the_first_path_on_the_way_to_it() {
        type Change = fn(&Path);
        let fresh = |path: &Path| {
            fs::write(path.with_extension("new"), "x").unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        };
        let unchanged: Change = |_| {};
        for (path, flags, change, differs) in [
            ("/etc/file", FOLLOW, unchanged, None),
            ("/etc/link", FOLLOW, unchanged, None),
            ("/etc/dangling", FOLLOW, unchanged, None),
            ("/etc/loop", FOLLOW, unchanged, None),
            ("/etc/file/below", FOLLOW, unchanged, None),
            ("/etc/file", FOLLOW | OFlags::DIRECTORY, unchanged, None),
            ("/etc/link", FOLLOW | OFlags::NOFOLLOW, unchanged, None),
            ("/etc/none", FOLLOW, unchanged, None),
            ("/", FOLLOW, unchanged, None),
            ("etc/file", FOLLOW, unchanged, None),
            // What is written into a file is for a later pass.
            ("/etc/file", FOLLOW, |root| fs::write(root.join("etc/file"), "other").unwrap(), None),
            (
                "/etc/none",
                FOLLOW,
                |root| fs::write(root.join("etc/none"), "").unwrap(),
                Some("/etc/none"),
            ),
            (
                "/etc/no/ne",
                FOLLOW,
                |root| fs::create_dir(root.join("etc/no")).unwrap(),
                Some("/etc/no"),
            ),
            (
                "/etc/file",
                ITSELF,
                |root| fs::remove_file(root.join("etc/file")).unwrap(),
                Some("/etc/file"),
            ),
            (
                "/etc/dangling",
                FOLLOW,
                |root| fs::write(root.join("etc/nowhere"), "").unwrap(),
                Some("/etc/dangling"),
            ),
            (
                "/etc/link",
                FOLLOW,
                |root| {
                    fs::rename(root.join("tmp"), root.join("old")).unwrap();
                    fs::create_dir(root.join("tmp")).unwrap();
                    fs::write(root.join("tmp/config"), "x").unwrap();
                },
                Some("/etc/link"),
            ),
            (
                "/tmp/config",
                FOLLOW,
                |root| {
                    fs::rename(root.join("tmp"), root.join("old")).unwrap();
                    fs::create_dir(root.join("tmp")).unwrap();
                    fs::rename(root.join("old/config"), root.join("tmp/config")).unwrap();
                },
                Some("/tmp"),
            ),
            // The link itself is another one, what is behind it is the same.
            (
                "/etc/link",
                ITSELF,
                |root| {
                    symlink("../tmp/config", root.join("etc/new")).unwrap();
                    fs::rename(root.join("etc/new"), root.join("etc/link")).unwrap();
                },
                Some("/etc/link"),
            ),
            ("/proc/none", FOLLOW, |root| fs::create_dir(root.join("proc")).unwrap(), None),
            (
                "/run/nodeguard/role",
                FOLLOW,
                |root| fs::create_dir_all(root.join("run/nodeguard")).unwrap(),
                None,
            ),
        ] {
            let (dir, root) = image();
            let observed = looked(&root, &[("/etc/rke2.d", FOLLOW), (path, flags)]);
            change(dir.path());
            assert_eq!(at(observed.differs(&root)).as_deref(), differs, "{path} {flags:?}");
        }
        let (dir, root) = image();
        let observed = looked(&root, &[("/etc/file", FOLLOW)]);
        fresh(&dir.path().join("etc/file"));
        let Some(Difference::At(_, here)) = observed.differs(&root) else { panic!("{observed:?}") };
        assert_eq!(here.differs(&root), None, "what is found here is told as it is here");
        fresh(&dir.path().join("etc/file"));
        assert!(here.differs(&root).is_some());
    }

    #[test]
    fn the_last_look_counts_since_a_pass_replaces_what_it_mends() {
        let (dir, root) = image();
        root.record();
        let look = || drop(root.open(Path::new("/etc/none"), FOLLOW, Mode::empty()));
        look();
        fs::write(dir.path().join("etc/none"), "made").unwrap();
        look();
        assert_eq!(root.recorded().differs(&root), None);
        look();
        assert_eq!(root.recorded().differs(&root), Some(Difference::Untold), "none was taken down");

        root.record();
        root.recording().aside(look);
        fs::remove_file(dir.path().join("etc/none")).unwrap();
        assert_eq!(root.recorded().differs(&root), None, "what decides nothing is not compared");
    }

    #[test]
    fn what_could_not_be_opened_for_any_other_reason_is_the_same_to_nobody() {
        let (dir, root) = image();
        let _socket = UnixListener::bind(dir.path().join("etc/socket")).unwrap();
        fs::copy("/bin/true", dir.path().join("etc/no")).unwrap();
        let long = format!("/etc/{}", "x".repeat(300));
        for (path, flags, differs) in [
            // That it is no file says the socket itself.
            ("/etc/socket", FOLLOW, None),
            (&long, FOLLOW, Some(&*long)),
            // Refused as a read-only file system or a security module refuses.
            ("/etc/rke2.d", OFlags::WRONLY | OFlags::CREATE, Some("/etc/rke2.d")),
        ] {
            let observed = looked(&root, &[(path, flags)]);
            assert_eq!(at(observed.differs(&root)).as_deref(), differs, "{path}");
        }
    }

    #[test]
    fn a_device_is_told_by_its_own_numbers_and_not_by_its_node() {
        let root = Root::host().unwrap();
        let observed = looked(&root, &[("/dev/null", FOLLOW)]);
        let null = observed.looks.iter().find(|look| look.path == "/dev/null").unwrap();
        assert_eq!(null.object, Object::Character(1, 3));
        assert_eq!(observed.differs(&root), None);
    }

    #[test]
    fn more_than_the_limits_is_not_told_in_parts() {
        let (_dir, root) = image();
        let many = |count: usize, name: &str| {
            root.record();
            for n in 0..count {
                let _ = root.open(Path::new(&format!("/etc/{name}{n}")), FOLLOW, Mode::empty());
            }
            root.recorded()
        };
        assert_eq!(many(1000, "a").differs(&root), None);
        assert!(serde_json::to_vec(&many(1000, "a")).unwrap().len() < 128 * 1024);
        assert_eq!(many(MOST_PATHS, "a").differs(&root), Some(Difference::Untold));
        let long = "x".repeat(200);
        assert_eq!(many(MOST_BYTES / 200, &long).differs(&root), Some(Difference::Untold));
        root.record();
        let name = Path::new(OsStr::from_bytes(b"/etc/\xff"));
        let _ = root.open(name, FOLLOW, Mode::empty());
        assert_eq!(root.recorded().differs(&root), Some(Difference::Untold), "no text");
    }

    #[test]
    fn more_mounts_below_a_tree_than_the_limit_are_not_told() {
        let list = |count: usize| -> String {
            let elsewhere = "36 35 98:0 / /d rw - ext4 /dev/x rw\n";
            let below = |n| format!("{n} 36 98:1 / /d/{n} rw - ext4 /dev/y rw\n");
            elsewhere.repeat(100) + &(0..count).map(below).collect::<String>()
        };
        let told = mounted_below(&list(MOST_MOUNTS), "/d").unwrap();
        assert_eq!((told.len(), &*told[0]), (MOST_MOUNTS, "98:1 / /d/0"));
        assert_eq!(mounted_below(&list(MOST_MOUNTS + 1), "/d"), None);
    }
}
