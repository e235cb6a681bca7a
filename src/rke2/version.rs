// SPDX-License-Identifier: Apache-2.0
//! RKE2's version, from what `rke2 --version` prints.

use semver::Version;
use thiserror::Error;

/// More than this is not what `rke2 --version` prints.
const MAX_LENGTH: usize = 4096;

/// Why no version could be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VersionError {
    #[error("no version in {text:?}: expected a line like `rke2 version v1.34.1+rke2r1 (…)`")]
    Absent {
        /// The start of what was found.
        text: String,
    },
    #[error("`{text}` is no version: expected one like v1.34.1+rke2r1 ({reason})")]
    Malformed { text: String, reason: String },
}

/// Reads the version from the output of `rke2 --version`, or from the bare version
/// (`v1.34.1+rke2r1`, as it stands in the name of an image or of a data directory).
pub fn parse_version(output: &str) -> Result<Version, VersionError> {
    let shown: String = output.chars().take(80).collect();
    let absent = || VersionError::Absent { text: shown.trim_end().to_owned() };
    if output.len() > MAX_LENGTH {
        return Err(absent());
    }
    let word = output.lines().filter_map(version_word).next().ok_or_else(absent)?;
    let bare = word.strip_prefix('v').unwrap_or(word);
    Version::parse(bare).map_err(|error| VersionError::Malformed {
        text: word.chars().take(80).collect(),
        reason: error.to_string(),
    })
}

/// The word after `rke2 version`, or the one word of a line that is a version.
fn version_word(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    match words.next() {
        // `go version go1.24.1` is the second line of the same output.
        Some("version") if first != "go" => words.next(),
        None if first.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()) => {
            Some(first)
        }
        _ => None,
    }
}

/// The version in the name of a directory in which RKE2 unpacked itself
/// (`v1.34.1-rke2r1-56ce02dfd353`): there `+` is a dash, and a hash follows.
pub fn staged_version(name: &str) -> Option<Version> {
    let (version, hash) = name.rsplit_once('-')?;
    let (version, build) = version.split_once("-rke2")?;
    let hashed = !hash.is_empty() && hash.chars().all(|c| c.is_ascii_hexdigit());
    let text = format!("{version}+rke2{build}");
    (hashed && text.starts_with('v')).then(|| parse_version(&text).ok()).flatten()
}

/// Whether an RKE2 has a database of its own for `disable-etcd` without `server`.
pub fn has_own_database(version: &Version) -> bool {
    let since = match version.minor {
        27 => 15,
        28 => 11,
        29 => 6,
        30 => 2,
        minor => return version.major > 1 || minor > 30,
    };
    version.major > 1 || version.patch >= since
}
