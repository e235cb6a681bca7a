// SPDX-License-Identifier: Apache-2.0
//! Which `profile` which RKE2 takes.
//!
//! Read from RKE2's source, tag by tag, where the published table differs.

use semver::{Prerelease, Version};

/// The profile that asks for the account and etcd's ownership alone, and for no kernel value.
pub const ETCD: &str = "etcd";

/// The newest minor version of RKE2 whose source was read for the rules here.
pub const NEWEST_MINOR: u64 = 36;

/// What this RKE2 does with a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// Taken, with a warning in RKE2's log.
    Deprecated {
        words: &'static str,
        instead: &'static str,
    },
    /// RKE2 does not start.
    Invalid {
        words: &'static str,
        known: &'static [&'static str],
    },
}

/// RKE2's words for a value it does not know.
const INVALID: &str = "invalid value provided for --profile flag";
/// Newer RKE2 has a profile `etcd`; a range of versions in between still recognised the old name,
/// only to refuse it.
const REFUSED_1_23: &str = "cis-1.23 profile is deprecated. Please use 'cis' instead.";
const DEPRECATED_1_23: &str =
    "cis-1.23 profile is deprecated and will be removed in v1.29. Please use cis instead.";

/// One generation of RKE2's profile switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Generation {
    Cis15,
    Cis15And16,
    Cis123,
    CisAnd123,
    CisRefusing123,
    CisAndEtcd,
}

impl Generation {
    const NEWEST: Self = Self::CisAndEtcd;

    fn of(version: &Version) -> Self {
        // A release candidate has what its release has: v1.34.0-rc1 is not before v1.34.0 here.
        let mut release = version.clone();
        release.pre = Prerelease::EMPTY;
        let (minor, patch) = (release.minor, release.patch);
        if release.major != 1 {
            return Self::NEWEST;
        }
        // The first patch of each minor that has the unversioned `cis`, and the profile `etcd`.
        match minor {
            0..=19 => Self::Cis15,
            20 if patch < 5 => Self::Cis15,
            20..=24 => Self::Cis15And16,
            25 if patch < 15 => Self::Cis123,
            26 if patch < 10 => Self::Cis123,
            27 if patch < 7 => Self::Cis123,
            28 if patch < 2 => Self::Cis123,
            25..=29 => Self::CisAnd123,
            30 if patch < 14 => Self::CisRefusing123,
            31 if patch < 10 => Self::CisRefusing123,
            32 if patch < 6 => Self::CisRefusing123,
            33 if patch < 2 => Self::CisRefusing123,
            _ => Self::CisAndEtcd,
        }
    }

    fn known(self) -> &'static [&'static str] {
        match self {
            Self::Cis15 => &["cis-1.5"],
            Self::Cis15And16 => &["cis-1.5", "cis-1.6"],
            Self::Cis123 => &["cis-1.23"],
            Self::CisAnd123 => &["cis", "cis-1.23"],
            Self::CisRefusing123 => &["cis"],
            Self::CisAndEtcd => &["cis", ETCD],
        }
    }
}

/// The profiles that this RKE2 takes; without a version, those of the newest one known here.
pub fn known(version: Option<&Version>) -> &'static [&'static str] {
    version.map_or(Generation::NEWEST, Generation::of).known()
}

/// Whether an RKE2 is newer than the rules here.
pub fn is_newer_than_known(version: &Version) -> bool {
    (version.major, version.minor) > (1, NEWEST_MINOR)
}

/// What this RKE2 does with `profile`. Without a version, or with one newer than anything known
/// here, the newest rule counts.
pub fn judge(version: Option<&Version>, profile: &str) -> Verdict {
    let generation = version.map_or(Generation::NEWEST, Generation::of);
    let known = generation.known();
    match (generation, profile) {
        (Generation::CisAnd123, "cis-1.23") => {
            Verdict::Deprecated { words: DEPRECATED_1_23, instead: "cis" }
        }
        (Generation::CisRefusing123, "cis-1.23") => Verdict::Invalid { words: REFUSED_1_23, known },
        _ if known.contains(&profile) => Verdict::Accepted,
        _ => Verdict::Invalid { words: INVALID, known },
    }
}

/// The versions of the CIS Kubernetes Benchmark that a node of this RKE2 is measured against,
/// oldest first; empty where none was written for it.
pub fn cis_benchmarks(version: &Version) -> &'static [&'static str] {
    if version.major != 1 {
        return &["1.12"];
    }
    match version.minor {
        0..=14 => &[],
        15 => &["1.5"],
        16..=18 => &["1.5"],
        19..=22 => &["1.6"],
        23 => &["1.23"],
        24 => &["1.24"],
        25 | 26 => &["1.7"],
        27 => &["1.7", "1.9"],
        28 => &["1.7", "1.9", "1.10"],
        29 => &["1.8", "1.9", "1.10", "1.11"],
        30 | 31 => &["1.8", "1.10", "1.11"],
        32 => &["1.8", "1.11"],
        _ => &["1.8", "1.12"],
    }
}
