// SPDX-License-Identifier: Apache-2.0
//! Who can raise events in a directory. Root alone, where nobody else can make, rename or delete
//! an entry of it, nor write one or change its owner, mode or times, and where nobody else can put
//! another directory into its place.
//!
//! Stricter than `Root::unsafe_component`, which judges whom a file can be replaced
//! by: there a sticky directory is good enough, and what else is in it does not matter.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat, openat, statat};
use rustix::io::Errno;

/// Links that are followed in finding out where a path leads, as the kernel has it; more is a loop.
const LINKS: usize = 40;

/// Entries of a directory that are looked at; one that holds more is watched as if others wrote it.
const ENTRIES: usize = 4096;

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// No directory is there.
    Missing,
    /// To a directory that only root can put there, and in which only root makes entries.
    Roots(Identity, PathBuf),
    /// Somebody else has a say in it.
    Others,
}

/// Follows `path`, which is absolute below `top`. Links are resolved by hand, so that the way behind
/// them is judged too.
pub(super) fn follow(top: &Path, path: &Path) -> Way {
    let Ok(mut stat) = statat(CWD, top, AtFlags::empty()) else { return Way::Missing };
    let mut here = top.to_path_buf();
    let mut pending = reversed(path.strip_prefix(top).unwrap_or(path));
    let mut links = 0;
    loop {
        if !only_root_makes_entries(&stat) {
            return Way::Others;
        }
        let Some(name) = pending.pop() else { break };
        let next = if name == ".." && here != top {
            here.parent().unwrap_or(top).to_path_buf()
        } else if name == ".." {
            here.clone()
        } else {
            here.join(&name)
        };
        let found = match statat(CWD, &next, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) => return Way::Missing,
            Err(_) => return Way::Others,
        };
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => (here, stat) = (next, found),
            FileType::Symlink => {
                links += 1;
                let Ok(target) = std::fs::read_link(&next) else { return Way::Missing };
                if found.st_uid != 0 || links > LINKS {
                    return Way::Others;
                }
                if target.is_absolute() {
                    let Ok(at_top) = statat(CWD, top, AtFlags::empty()) else {
                        return Way::Missing;
                    };
                    (here, stat) = (top.to_path_buf(), at_top);
                }
                pending.extend(reversed(&target));
            }
            _ => return Way::Missing,
        }
    }
    Way::Roots((stat.st_dev, stat.st_ino), here)
}

/// A sticky directory does not: everybody makes entries there.
fn only_root_makes_entries(dir: &Stat) -> bool {
    dir.st_uid == 0 && dir.st_mode & 0o022 == 0
}

/// The components of a path, the last first.
fn reversed(path: &Path) -> Vec<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(name).collect()
}

/// Whether all that is in a directory is root's alone. Who owns an entry changes its mode as often as
/// he likes, and who may write a file opens and closes it.
pub(super) fn holds_only_roots(dir: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(fd) = openat(CWD, dir, flags, Mode::empty()) else { return false };
    let mut buffer = Vec::with_capacity(8192);
    let mut entries = RawDir::new(&fd, buffer.spare_capacity_mut());
    let mut seen = 0;
    while let Some(entry) = entries.next() {
        let Ok(entry) = entry else { return false };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        seen += 1;
        if seen > ENTRIES {
            return false;
        }
        match statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT) {
            Ok(stat) if is_roots(&stat) => {}
            // It has gone meanwhile.
            Err(Errno::NOENT) => {}
            _ => return false,
        }
    }
    true
}

/// With an access control list the bits of the group are the most that it gives to anybody.
fn is_roots(entry: &Stat) -> bool {
    let opened = !matches!(
        FileType::from_raw_mode(entry.st_mode),
        FileType::Directory | FileType::Symlink | FileType::Socket
    );
    entry.st_uid == 0 && !(opened && entry.st_mode & 0o022 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    fn top() -> tempfile::TempDir {
        assert!(rustix::process::geteuid().is_root(), "needs root");
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        dir
    }

    #[test]
    fn a_way_is_roots_only_if_nobody_else_makes_entries_anywhere_on_it() {
        let dir = top();
        let at = |path: &str| dir.path().join(path);
        let follow = |path: &str| follow(dir.path(), &at(path));
        let roots = |path: &str| matches!(follow(path), Way::Roots(_, real) if real == at("a/b/c"));
        assert!(roots("a/b/c"));
        assert!(roots("a/../a/b/./c"));
        assert_eq!(follow("a/none/c"), Way::Missing);
        fs::write(at("file"), "").unwrap();
        assert_eq!(follow("file"), Way::Missing);

        symlink("a/b", at("link")).unwrap();
        symlink("/link/c", at("absolute")).unwrap();
        assert!(roots("link/c") && roots("absolute"));
        lchown(at("link"), Some(1000), None).unwrap();
        assert_eq!(follow("link/c"), Way::Others);
        assert_eq!(follow("absolute"), Way::Others);
        symlink("loop", at("loop")).unwrap();
        assert_eq!(follow("loop/c"), Way::Others);

        for (path, mode) in [("a", 0o775), ("a/b", 0o757), ("a/b/c", 0o1777), ("", 0o777)] {
            fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(follow("a/b/c"), Way::Others, "{path} {mode:o}");
            fs::set_permissions(at(path), fs::Permissions::from_mode(0o755)).unwrap();
        }
        chown(at("a/b"), Some(1000), None).unwrap();
        assert_eq!(follow("a/b/c"), Way::Others);
        assert!(matches!(follow("a"), Way::Roots(..)), "what is below matters to nobody above");
    }

    #[test]
    fn a_directory_with_an_entry_that_another_user_owns_or_writes_is_not_roots_alone() {
        let dir = top();
        let at = |path: &str| dir.path().join(path);
        fs::write(at("file"), "").unwrap();
        symlink("file", at("link")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
        fs::set_permissions(at("socket"), fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(at("a"), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(holds_only_roots(dir.path()));
        for name in ["file", "link", "a", "socket"] {
            lchown(at(name), Some(1000), None).unwrap();
            assert!(!holds_only_roots(dir.path()), "{name}");
            lchown(at(name), Some(0), None).unwrap();
        }
        for mode in [0o662, 0o620] {
            fs::set_permissions(at("file"), fs::Permissions::from_mode(mode)).unwrap();
            assert!(!holds_only_roots(dir.path()), "{mode:o}");
        }
        fs::set_permissions(at("file"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(holds_only_roots(dir.path()));
        let kind = FileType::Fifo;
        rustix::fs::mknodat(CWD, at("fifo"), kind, Mode::from_raw_mode(0o666), 0).unwrap();
        fs::set_permissions(at("fifo"), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(!holds_only_roots(dir.path()), "everybody opens and closes it");
    }

    #[test]
    fn a_directory_with_more_entries_than_the_limit_is_not_gone_through() {
        let dir = top();
        let make = |n: usize| fs::File::create(dir.path().join(n.to_string())).unwrap();
        (1..ENTRIES).for_each(|n| drop(make(n)));
        assert!(holds_only_roots(dir.path()), "with the directory a, as many as the limit");
        make(ENTRIES);
        assert!(!holds_only_roots(dir.path()));
    }
}
