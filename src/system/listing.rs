// SPDX-License-Identifier: Apache-2.0
//! What is in a directory, and what is at a path, by name.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::HostError;
use super::root::Root;

/// The names in a directory that systemd or RKE2 would read, sorted by bytes.
pub fn sorted_names(root: &Root, dir: &Path) -> Result<Vec<PathBuf>, HostError> {
    /// More than any directory of units or drop-ins has.
    const LIMIT: usize = 4096;
    let mut names = root.list(dir, LIMIT)?.unwrap_or_default();
    names.sort();
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

/// Whether there is anything at `path`, a dangling link included.
pub fn exists(root: &Root, path: &Path) -> bool {
    root.stat(path).is_ok()
}

/// Whether there is a directory at `path`.
pub fn is_directory(root: &Root, path: &Path) -> bool {
    root.open(path, OFlags::PATH | OFlags::DIRECTORY, rustix::fs::Mode::empty()).is_ok()
}

/// Whether a path's name ends in `suffix`.
pub fn has_suffix(path: &Path, suffix: &str) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_more_entries_than_the_limit_is_told_and_not_read_in_part() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::image(dir.path()).unwrap();
        for n in 0..4096 {
            std::fs::write(dir.path().join(n.to_string()), "").unwrap();
        }
        assert_eq!(sorted_names(&root, Path::new("/")).unwrap().len(), 4096);
        std::fs::write(dir.path().join("more"), "").unwrap();
        let refused = sorted_names(&root, Path::new("/"));
        assert!(matches!(refused, Err(HostError::TooMany { .. })), "{refused:?}");
    }
}
