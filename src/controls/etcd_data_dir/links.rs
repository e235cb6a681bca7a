// SPDX-License-Identifier: Apache-2.0
//! Where a link below etcd's data directory leads, as etcd's pod sees it. The pod has this directory
//! at the same path as the host, and nothing beside it: one hostPath mount (RKE2's podtemplate).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use super::judge::tls;
use crate::model::Owner;
use crate::system::root::{LINKS, Root, reversed};
use crate::system::walk::{Seen, find_entry};

/// Who owns what a link in the place of a TLS file leads to, if RKE2's chown would give it away: it is
/// not `etcd`'s, is none of the TLS files that are given to etcd, and is in none of the directories in
/// `given`, all of which is. `dir`: what the link's path is below of.
pub(super) fn gives_away(
    root: &Root,
    dir: &Path,
    link: &Seen<'_>,
    given: &[PathBuf],
    etcd: Owner,
) -> Option<Owner> {
    let behind = root.open(&dir.join(link.below()), OFlags::PATH, Mode::empty()).ok()?;
    let behind = rustix::fs::fstat(&behind).ok()?;
    let owner = Owner { uid: behind.st_uid, gid: behind.st_gid };
    if owner == etcd {
        return None;
    }
    let is_it = |name: &str| {
        let found = find_entry(root, dir, Path::new(name)).ok().flatten();
        found
            .and_then(|found| rustix::fs::fstat(&found.entry).ok())
            .is_some_and(|stat| (stat.st_dev, stat.st_ino) == (behind.st_dev, behind.st_ino))
    };
    if tls::given_names().any(is_it) {
        return None;
    }
    let target = rustix::fs::readlinkat(link.parent, link.name, Vec::new()).ok()?;
    let target = Path::new(OsStr::from_bytes(target.to_bytes()));
    let stays =
        |top: &PathBuf| !Pod { root, dir: top, mounts: &[] }.leads_out(dir.join(link.dir), target);
    (!given.iter().any(stays)).then_some(owner)
}

/// A tree as the pod has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pod<'a> {
    pub(crate) root: &'a Root,
    /// The data directory, on the host and in the pod.
    pub(crate) dir: &'a Path,
    /// What else is mounted into the pod.
    pub(crate) mounts: &'a [PathBuf],
}

impl Pod<'_> {
    /// Whether a link in the tree leads to something that the pod does not have. What does not exist
    /// inside the tree stays inside.
    pub(crate) fn lacks_target(self, link: &Seen<'_>) -> bool {
        let Ok(target) = rustix::fs::readlinkat(link.parent, link.name, Vec::new()) else {
            return false;
        };
        let target = Path::new(OsStr::from_bytes(target.to_bytes()));
        self.leads_out(self.dir.join(link.dir), target)
    }

    /// Resolved by hand: the kernel would go by the host's directories.
    fn leads_out(self, mut here: PathBuf, target: &Path) -> bool {
        let mut links = 1;
        let mut pending = reversed(target);
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        while let Some(step) = pending.pop() {
            if step == ".." {
                here.pop();
                continue;
            }
            here.push(step);
            if !self.has(&here) {
                return true;
            }
            let Some(further) = self.link_at(&here) else { continue };
            links += 1;
            if links > LINKS {
                // A loop leads nowhere, and so not out.
                return false;
            }
            here.pop();
            if further.is_absolute() {
                here = PathBuf::from("/");
            }
            pending.extend(reversed(&further));
        }
        !self.tops().any(|top| here.starts_with(top))
    }

    fn tops(&self) -> impl Iterator<Item = &Path> {
        self.mounts.iter().map(PathBuf::as_path).chain([self.dir])
    }

    /// Whether the pod has a path: below a mount, or on the path to one, where the container runtime
    /// makes directories.
    fn has(&self, path: &Path) -> bool {
        self.tops().any(|top| path.starts_with(top) || top.starts_with(path))
    }

    /// What a link in the tree points to; `None`: there is none.
    fn link_at(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(self.dir).ok().filter(|below| *below != Path::new(""))?;
        let found = find_entry(self.root, self.dir, below).ok().flatten()?;
        if found.inode.kind != FileType::Symlink {
            return None;
        }
        let target = rustix::fs::readlinkat(&found.entry, c"", Vec::new()).ok()?;
        Some(PathBuf::from(OsStr::from_bytes(target.to_bytes())))
    }
}
