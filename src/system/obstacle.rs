// SPDX-License-Identifier: Apache-2.0
//! Finding out why a change failed, after it did: an error number alone does not say that a file is
//! immutable, or that it is our own unit that has made a directory read-only. Nothing here changes
//! the host, and each answer is a few system calls.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::model::{Obstacle, Outcome, ParameterObstacle, ReadOnly};
use crate::system::inode::mount_of;
use crate::system::root::Root;
use crate::system::{HostError, mountinfo};

/// Whose cgroup means that we run in the sandbox of our own unit.
const SERVICE: &str = "/nodeguard.service";

/// What kept a file from being replaced.
pub(crate) fn of_error(root: &Root, error: &HostError) -> Obstacle {
    match error {
        HostError::Io { path, source, .. } => match source.raw_os_error() {
            Some(number) => of_path(root, path, Errno::from_raw_os_error(number)),
            None => Obstacle::Unclear,
        },
        HostError::NotRegular { path, .. } | HostError::Special { path, .. } => {
            Obstacle::NotRegular { path: path.clone() }
        }
        HostError::TooLarge { .. }
        | HostError::TooMany { .. }
        | HostError::NotRoots { .. }
        | HostError::NoProc
        | HostError::NoOpenat2 { .. }
        | HostError::OwnRoot { .. }
        // These are about a program; no file is replaced by one.
        | HostError::Untrusted { .. }
        | HostError::Start { .. }
        | HostError::Deadline { .. }
        | HostError::Status { .. }
        | HostError::Wait { .. } => Obstacle::Unclear,
    }
}

/// What kept the entry at `path` from being made, changed or replaced: something about itself, or
/// about its directory.
pub(crate) fn of_path(root: &Root, path: &Path, e: Errno) -> Obstacle {
    let open = |path: &Path| root.open(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).ok();
    let entry = open(path);
    let directory = path.parent().and_then(|dir| Some((dir, open(dir)?)));
    if e == Errno::PERM || e == Errno::ACCESS {
        let attribute = entry.as_ref().and_then(|fd| self::attribute(fd, path));
        let above = || directory.as_ref().and_then(|(dir, fd)| self::attribute(fd, dir));
        if let Some(obstacle) = attribute.or_else(above) {
            return obstacle;
        }
    }
    match (&entry, &directory) {
        (Some(fd), _) => of_entry(fd, path, e),
        // Where it is not there, its directory is what can be looked at.
        (None, Some((dir, fd))) if e != Errno::NOENT => of_entry(fd, dir, e),
        (None, _) => plain(path, e),
    }
}

/// What kept what is behind `fd` from being changed, which is shown as `path`.
pub(crate) fn of_entry(fd: &OwnedFd, path: &Path, e: Errno) -> Obstacle {
    match e {
        Errno::ROFS => Obstacle::ReadOnly { path: path.into(), what: what_is_read_only(fd) },
        Errno::PERM => attribute(fd, path).unwrap_or_else(|| plain(path, e)),
        e => plain(path, e),
    }
}

fn plain(path: &Path, e: Errno) -> Obstacle {
    let path = path.to_path_buf();
    match e {
        Errno::ROFS => Obstacle::ReadOnly { path, what: ReadOnly::FileSystem },
        Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::OVERFLOW => {
            Obstacle::NotPermitted { path }
        }
        Errno::ACCESS => Obstacle::Denied { path },
        Errno::NOSPC => Obstacle::NoSpace { path },
        Errno::DQUOT => Obstacle::OverQuota { path },
        Errno::LOOP | Errno::ISDIR | Errno::NOTDIR | Errno::NXIO => Obstacle::NotRegular { path },
        Errno::NOENT | Errno::STALE => Obstacle::Gone { path },
        Errno::IO | Errno::UCLEAN | Errno::BADMSG | Errno::NODEV => Obstacle::Broken { path },
        _ => Obstacle::Unclear,
    }
}

/// Whether something is immutable or may only grow.
pub(crate) fn attribute(fd: &OwnedFd, path: &Path) -> Option<Obstacle> {
    let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::empty()).ok()?;
    let path = path.to_path_buf();
    if stat.stx_attributes.contains(StatxAttributes::IMMUTABLE) {
        Some(Obstacle::Immutable { path })
    } else if stat.stx_attributes.contains(StatxAttributes::APPEND) {
        Some(Obstacle::AppendOnly { path })
    } else {
        None
    }
}

/// Told apart by mountinfo: statvfs shows a read-only mount and a read-only file system alike.
pub(crate) fn what_is_read_only(fd: &OwnedFd) -> ReadOnly {
    let Ok((_, number)) = mount_of(fd) else { return ReadOnly::FileSystem };
    let itself = mountinfo::find(|line| {
        let options = line.options.filter(|_| line.number == number)?;
        Some(options.split(',').any(|option| option == "ro"))
    });
    match itself {
        Some(false) if in_our_service() => ReadOnly::Service,
        Some(false) => ReadOnly::Mount,
        Some(true) | None => ReadOnly::FileSystem,
    }
}

/// Whether what is behind `fd` is read-only.
pub(crate) fn is_read_only(fd: &OwnedFd) -> bool {
    rustix::fs::fstatvfs(fd).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Whether this process runs in the sandbox of nodeguard.service.
pub(crate) fn in_our_service() -> bool {
    std::fs::read_to_string("/proc/self/cgroup")
        .is_ok_and(|text| text.lines().any(|line| line.ends_with(SERVICE)))
}

/// Why the kernel did not take a value.
pub(crate) fn of_parameter(e: Errno) -> ParameterObstacle {
    match e {
        Errno::ROFS => ParameterObstacle::ReadOnly,
        Errno::PERM => ParameterObstacle::NotPermitted { service: in_our_service() },
        Errno::ACCESS => ParameterObstacle::Closed,
        Errno::NOENT => ParameterObstacle::Missing,
        _ => ParameterObstacle::Value,
    }
}

/// What the host did not let us read or write.
pub(crate) fn failed(root: &Root, e: &HostError) -> Outcome {
    Outcome::Failed { reason: e.to_string(), obstacle: of_error(root, e) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_number_is_an_obstacle_and_what_is_no_file_is_told_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::image(dir.path()).unwrap();
        std::fs::write(dir.path().join("f"), "").unwrap();
        let path = || "/f".into();
        for (e, expected) in [
            (Errno::NOSPC, Obstacle::NoSpace { path: path() }),
            (Errno::DQUOT, Obstacle::OverQuota { path: path() }),
            (Errno::PERM, Obstacle::NotPermitted { path: path() }),
            (Errno::ACCESS, Obstacle::Denied { path: path() }),
            (Errno::IO, Obstacle::Broken { path: path() }),
            (Errno::ISDIR, Obstacle::NotRegular { path: path() }),
            (Errno::NOENT, Obstacle::Gone { path: path() }),
            (Errno::MFILE, Obstacle::Unclear),
        ] {
            assert_eq!(of_path(&root, Path::new("/f"), e), expected, "{e}");
        }
        let error = HostError::NotRegular { path: "/f".into(), kind: "fifo" };
        assert_eq!(of_error(&root, &error), Obstacle::NotRegular { path: path() });
    }
}
