// SPDX-License-Identifier: Apache-2.0
//! Which version of RKE2 is installed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::rke2::{self, staged_version};
use crate::system::listing::{exists, sorted_names};
use crate::system::root::Root;
use crate::system::{command, runtime};

/// Where RKE2's installers put the binary.
const BINARIES: [&str; 3] = ["/usr/bin/rke2", "/usr/local/bin/rke2", "/opt/rke2/bin/rke2"];

/// `rke2 --version` prints two lines and ends.
pub(crate) const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// After a binary that gave no version it is asked again.
const RETRY: Duration = Duration::from_secs(60);

/// The version of the installed binary. Asking it takes a good part of a second, so it is asked
/// once for each binary, and the answer kept over restarts and reboots.
#[derive(Debug, Default)]
pub struct VersionCache {
    known: Option<Known>,
    failed: Option<Instant>,
}

/// Whether a binary may be asked that gave no version at `failed`.
fn may_ask(failed: Option<Instant>, now: Instant) -> bool {
    failed.is_none_or(|at| now.saturating_duration_since(at) >= RETRY)
}

/// What a binary answered. A replaced or rewritten binary differs in one of the numbers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    binary: PathBuf,
    device: u64,
    inode: u64,
    size: i64,
    /// The time of the last change of the inode, which nobody can set: seconds and nanoseconds.
    changed: (i64, u64),
    version: Option<Version>,
}

impl Known {
    fn same_binary(&self, other: &Self) -> bool {
        (&self.binary, self.device, self.inode, self.size, self.changed)
            == (&other.binary, other.device, other.inode, other.size, other.changed)
    }
}

impl VersionCache {
    /// What the binary says, else what it left in the data directory. In an image nothing is run.
    pub(crate) fn get(
        &mut self,
        root: &Root,
        binary: Option<&str>,
        data_dir: &Path,
        remember: bool,
    ) -> Option<Version> {
        let asked = root.is_live().then(|| self.ask(root, binary, remember)).flatten();
        asked.or_else(|| of_data_dir(root, data_dir))
    }

    fn ask(&mut self, root: &Root, binary: Option<&str>, remember: bool) -> Option<Version> {
        let path = binary
            .into_iter()
            .chain(BINARIES)
            .map(PathBuf::from)
            // A wrapper with another name is not asked: it may start a server instead.
            .find(|path| path.ends_with("rke2") && exists(root, path))?;
        let stat =
            root.open(&path, OFlags::PATH, Mode::empty()).and_then(rustix::fs::fstat).ok()?;
        let mut found = Known {
            binary: path,
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
            version: None,
        };
        if self.known.is_none() {
            self.known = runtime::read_version(root)
                .and_then(|content| serde_json::from_slice(&content).ok());
        }
        if let Some(known) = self.known.as_ref().filter(|known| known.same_binary(&found)) {
            return known.version.clone();
        }
        if !may_ask(self.failed, Instant::now()) {
            root.recording().missed();
            return None;
        }
        found.version = command::run(root, &found.binary, ["--version"], VERSION_LIMIT)
            .ok()
            .and_then(|output| rke2::parse_version(&output).ok());
        if found.version.is_none() {
            // A slow disk at boot is no answer for good.
            self.failed = Some(Instant::now());
            // It may be this process alone that may not run it.
            root.recording().missed();
            return None;
        }
        if remember && let Ok(json) = serde_json::to_string(&found) {
            // Without it the next start asks again, and that is all.
            let _ = runtime::write_version(root, &json);
        }
        self.known.insert(found).version.clone()
    }
}

/// RKE2 unpacks itself into `data/VERSION-HASH` and links `bin` to the one it runs.
fn of_data_dir(root: &Root, data_dir: &Path) -> Option<Version> {
    if !data_dir.is_absolute() {
        return None;
    }
    let current = root.read_link(&data_dir.join("bin")).ok();
    let current = current.and_then(|link| {
        link.components().rev().find_map(|part| staged_version(part.as_os_str().to_str()?))
    });
    current.or_else(|| {
        let staged = sorted_names(root, &data_dir.join("data")).unwrap_or_default();
        staged.iter().filter_map(|dir| staged_version(dir.file_name()?.to_str()?)).max()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_without_an_answer_is_asked_again_after_the_pause_and_not_before() {
        let failed = Instant::now();
        assert!(may_ask(None, failed));
        assert!(!may_ask(Some(failed), failed));
        assert!(!may_ask(Some(failed), failed + RETRY - Duration::from_millis(1)));
        assert!(may_ask(Some(failed), failed + RETRY));
    }
}
