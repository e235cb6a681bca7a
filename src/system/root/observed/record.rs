// SPDX-License-Identifier: Apache-2.0
//! Taking down what a pass looks at, as [`Root`] opens it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, OFlags, Statx};
use rustix::io::Errno;

use crate::system::root::Root;
use crate::system::root::observed::{Look, Mounts, Object, Observed, WANTED, mounts_below, status};

/// Paths that are told; a pass looks at some 200, and at one more for each file of an operator's.
pub(crate) const MOST_PATHS: usize = 2048;

/// The same in bytes of their names.
pub(crate) const MOST_BYTES: usize = 64 * 1024;

/// What says nothing about what both see: the kernel's own file systems, systemd's credentials, which
/// are another service's own for each, and our own files (whoever reaches our socket in
/// /run/nodeguard sees the same directory; RKE2's version below /var/lib/nodeguard counts only for
/// the binary that was looked at).
const LEFT_OUT: [&str; 5] =
    ["/proc", "/sys", "/run/credentials", "/run/nodeguard", "/var/lib/nodeguard"];

/// Takes down what is looked at, between [`Record::begin`] and [`Record::end`].
#[derive(Debug, Default)]
pub(crate) struct Record(RefCell<Option<Recording>>);

#[derive(Debug, Default)]
struct Recording {
    /// As they were last met: what a pass replaces it looks at again. By their bytes, so that a
    /// directory comes before what is in it.
    looks: BTreeMap<(OsString, bool), Object>,
    trees: BTreeSet<PathBuf>,
    programs: BTreeSet<PathBuf>,
    bytes: usize,
    partial: bool,
}

impl Record {
    pub(crate) fn begin(&self) {
        self.0.replace(Some(Recording::default()));
    }

    pub(crate) fn end(&self, root: &Root) -> Observed {
        let Some(mut recording) = self.0.take() else { return Observed::default() };
        let mut above: BTreeSet<&OsStr> = BTreeSet::new();
        for (path, _) in recording.looks.keys() {
            // Where a directory is known, so are those on the path to it.
            let ancestors = Path::new(path).ancestors().skip(1).map(Path::as_os_str);
            ancestors.take_while(|dir| above.insert(dir)).for_each(drop);
        }
        let above: Vec<OsString> = above.into_iter().map(OsStr::to_owned).collect();
        for dir in above {
            if !recording.looks.contains_key(&(dir.clone(), true)) {
                let dir = Path::new(&dir);
                recording.add(dir, true, Object::at(root.fd(), dir, true));
            }
        }
        recording.told(root).unwrap_or_default()
    }

    /// `path` was opened with these flags.
    pub(crate) fn opened(
        &self,
        root: &OwnedFd,
        path: &Path,
        flags: OFlags,
        opened: &Result<OwnedFd, Errno>,
    ) {
        let mut recording = self.0.borrow_mut();
        let Some(recording) = recording.as_mut() else { return };
        let follow = !flags.contains(OFlags::NOFOLLOW);
        let object = match opened {
            Ok(fd) => match rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, WANTED) {
                Ok(stat) => Object::of(&stat),
                Err(_) => Object::Unknown,
            },
            Err(Errno::NOENT) => Object::Absent,
            Err(e @ (Errno::NOTDIR | Errno::LOOP | Errno::NXIO)) => {
                match status(root, path, follow) {
                    Ok(stat) if explains(*e, &stat) => Object::of(&stat),
                    // Not what it is, but that a component on the path is none.
                    Err(again) if again == *e => Object::Absent,
                    // It changed in between.
                    _ => Object::Unknown,
                }
            }
            Err(_) => Object::Unknown,
        };
        recording.add(path, follow, object);
    }

    /// What is looked at by `look` decides nothing.
    pub(crate) fn aside<T>(&self, look: impl FnOnce() -> T) -> T {
        let recording = self.0.take();
        let seen = look();
        self.0.replace(recording);
        seen
    }

    /// The tree below `dir` is walked.
    pub(crate) fn walked(&self, dir: &Path) {
        if let Some(recording) = self.0.borrow_mut().as_mut() {
            recording.trees.insert(dir.to_path_buf());
        }
    }

    /// Programs are started from `dir`.
    pub(crate) fn starts_from(&self, dir: &Path) {
        if let Some(recording) = self.0.borrow_mut().as_mut() {
            recording.programs.insert(dir.to_path_buf());
        }
    }

    /// What is at `path` could not be read, which another process may be let do.
    pub(crate) fn unread(&self, path: &Path) {
        if !is_left_out(path) {
            self.missed();
        }
    }

    /// Something that decides could not be found out, and not because of a path.
    pub(crate) fn missed(&self) {
        if let Some(recording) = self.0.borrow_mut().as_mut() {
            recording.partial = true;
        }
    }
}

fn is_left_out(path: &Path) -> bool {
    LEFT_OUT.iter().any(|left_out| path.starts_with(left_out))
}

impl Recording {
    fn add(&mut self, path: &Path, follow: bool, object: Object) {
        // One that is relative is relative to the root.
        let path = Path::new("/").join(path);
        if is_left_out(&path) {
            return;
        }
        let size = path.as_os_str().len();
        if self.looks.insert((path.into_os_string(), follow), object).is_none() {
            self.bytes += size;
        }
        if self.looks.len() > MOST_PATHS || self.bytes > MOST_BYTES {
            self.partial = true;
            self.looks.clear();
            self.bytes = 0;
        }
    }

    /// `None`: not all of it can be told.
    fn told(self, root: &Root) -> Option<Observed> {
        if self.partial {
            return None;
        }
        let mut observed = Observed { complete: true, ..Observed::default() };
        for ((path, follow), object) in self.looks {
            observed.looks.push(Look { path: path.to_str()?.to_owned(), follow, object });
        }
        for dir in self.trees {
            let below = mounts_below(root, &dir)?;
            observed.mounts.push(Mounts { dir: dir.to_str()?.to_owned(), below });
        }
        for dir in self.programs {
            observed.programs.push(dir.to_str()?.to_owned());
        }
        Some(observed)
    }
}

/// Whether it is by what is there that it could not be opened.
fn explains(error: Errno, stat: &Statx) -> bool {
    let kind = FileType::from_raw_mode(stat.stx_mode.into());
    match error {
        Errno::NOTDIR => kind != FileType::Directory,
        Errno::LOOP => kind == FileType::Symlink,
        _ => !matches!(kind, FileType::Directory | FileType::RegularFile | FileType::Symlink),
    }
}
