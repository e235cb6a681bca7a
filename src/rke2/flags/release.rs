// SPDX-License-Identifier: Apache-2.0
//! Which release of RKE2 a configuration is read for, and how far what is known of it goes.

use semver::Version;

use super::table::MINORS;

/// A release whose rules are used, which for one that is not known here are those of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    minor: u8,
    patch: u64,
    listed: bool,
}

impl Release {
    /// The newest one that is known here; where there is no RKE2 yet, it is what will come.
    pub fn newest() -> Self {
        Self { minor: MINORS.1, patch: u64::MAX, listed: true }
    }

    /// One that is there and did not say which it is.
    pub fn unknown() -> Self {
        Self { listed: false, ..Self::newest() }
    }

    /// The release with this version, or its nearest neighbour.
    pub fn of(version: &Version) -> Self {
        let (oldest, newest) = MINORS;
        // A release candidate has what its release has.
        match u8::try_from(version.minor) {
            _ if version.major > 1 => Self::unknown(),
            Ok(minor) if (oldest..=newest).contains(&minor) => {
                Self { minor, patch: version.patch, listed: true }
            }
            Ok(minor) if minor < oldest => Self { minor: oldest, patch: 0, listed: false },
            _ => Self::unknown(),
        }
    }

    /// Whether the lists here (of flags, of network plugins) are those of this release, so that
    /// what is in none of them is refused by it.
    pub fn is_listed(self) -> bool {
        self.listed
    }

    pub(in crate::rke2) fn minor(self) -> u8 {
        self.minor
    }

    pub(in crate::rke2) fn patch(self) -> u64 {
        self.patch
    }

    /// Whether it is of a minor after these, or of one of them with at least that patch; `since` in
    /// the order of minors.
    pub(in crate::rke2) fn is_since(self, since: &[(u8, u64)]) -> bool {
        match since.iter().find(|(minor, _)| *minor == self.minor) {
            Some(&(_, patch)) => self.patch >= patch,
            None => since.last().is_some_and(|&(minor, _)| self.minor > minor),
        }
    }

    /// Whether its command line is read by the second version of the library urfave/cli.
    pub(in crate::rke2) fn has_second_cli(self) -> bool {
        self.is_since(&[(31, 8), (32, 4)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rke2::parse_version;

    #[test]
    fn a_release_that_is_not_known_is_read_by_its_neighbours_rules_and_not_by_its_lists() {
        for (version, minor, listed, second) in [
            ("v1.36.4+rke2r1", 36, true, true),
            ("v1.36.0-rc1+rke2r1", 36, true, true),
            ("v1.21.2+rke2r1", 21, true, false),
            ("v1.31.7+rke2r1", 31, true, false),
            ("v1.31.8+rke2r1", 31, true, true),
            ("v1.32.3+rke2r1", 32, true, false),
            ("v1.33.0+rke2r1", 33, true, true),
            ("v1.20.15+rke2r1", 21, false, false),
            ("v1.37.0+rke2r1", 36, false, true),
            ("v1.99.0+rke2r1", 36, false, true),
            ("v1.999.0+rke2r1", 36, false, true),
            ("v2.0.0+rke2r1", 36, false, true),
        ] {
            let release = Release::of(&parse_version(version).unwrap());
            assert_eq!(
                (release.minor(), release.is_listed(), release.has_second_cli()),
                (minor, listed, second),
                "{version}"
            );
        }
        assert!(Release::newest().is_listed() && !Release::unknown().is_listed());
        assert_eq!(u64::from(MINORS.1), crate::rke2::profile::NEWEST_MINOR, "renewed together");
    }
}
