// SPDX-License-Identifier: Apache-2.0
//! Where a link below etcd's data directory leads, as etcd's pod sees it. The pod has this directory
//! at the same path as the host, and nothing beside it: one hostPath mount (RKE2's podtemplate).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::system::root::{LINKS, Root, reversed};
use crate::system::walk::{Seen, find_entry};

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
