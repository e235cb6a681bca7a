// SPDX-License-Identifier: Apache-2.0
//! Which drop-ins count, and in which order.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The drop-ins of all directories by name, whichever directory they are in; of two with the same
/// name the one in the directory that is listed first. A hidden file, or one that does not end in
/// `.toml`, is none. Whether one is masked is only seen when it is looked at.
pub fn order(directories: &[(&str, Vec<OsString>)]) -> Vec<PathBuf> {
    let mut chosen: BTreeMap<&OsStr, PathBuf> = BTreeMap::new();
    for (directory, names) in directories {
        for name in names.iter().filter(|name| is_drop_in(name)) {
            chosen.entry(name).or_insert_with(|| Path::new(directory).join(name));
        }
    }
    chosen.into_values().collect()
}

/// Whether a file of this name in such a directory is read.
pub fn is_drop_in(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.ends_with(b".toml") && !name.starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_are_sorted_by_name_across_directories_and_the_first_directory_wins_a_name() {
        let names = |names: &[&str]| names.iter().map(OsString::from).collect::<Vec<_>>();
        let got = order(&[
            ("/etc", names(&["50-b.toml", "9-a.toml", ".hidden.toml", "x.toml.bak", "README"])),
            ("/run", names(&["50-b.toml", "60-c.toml"])),
            ("/usr", names(&["10-z.toml", "60-c.toml", "50-b.toml", "UPPER.TOML"])),
        ]);
        let want = ["/usr/10-z.toml", "/etc/50-b.toml", "/run/60-c.toml", "/etc/9-a.toml"];
        assert_eq!(got, want.map(PathBuf::from), "in byte order, as everywhere in systemd");
    }
}
