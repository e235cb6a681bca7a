// SPDX-License-Identifier: Apache-2.0
//! The mounts that a unit has systemd make before it, as its files say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::fstab;
use crate::rke2::unit::{self, UnitText};

/// What a unit has systemd mount before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulls {
    units: BTreeSet<String>,
    /// Directories whose mounts, and the mounts above them, it wants.
    paths: Vec<PathBuf>,
}

impl Pulls {
    /// As its files say.
    pub fn of(texts: &[UnitText]) -> Self {
        const UNITS: [&str; 4] = ["Wants", "Requires", "BindsTo", "Upholds"];
        const PATHS: [&str; 2] = ["RequiresMountsFor", "WantsMountsFor"];
        let mut pulls = Self::default();
        for (key, value, _) in unit::values(texts, "Unit]", &[&UNITS[..], &PATHS].concat()) {
            let words = value.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
            match PATHS.contains(&key.as_str()) {
                true => pulls.paths.extend(words.filter_map(|word| fstab::plain(Path::new(word)))),
                false => pulls.units.extend(words.map(str::to_owned)),
            }
        }
        pulls
    }

    pub(super) fn has(&self, unit: &str, place: &Path) -> bool {
        self.units.contains(unit) || self.paths.iter().any(|path| path.starts_with(place))
    }
}
