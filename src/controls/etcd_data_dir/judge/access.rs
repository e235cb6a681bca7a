// SPDX-License-Identifier: Apache-2.0
//! What a wrong owner or mode below etcd's data directory means: whether etcd is locked out of
//! something that it opens, or what else is wrong with it. By owner, mode and place alone.

use std::ffi::OsStr;
use std::path::Path;

use crate::model::Owner;

/// An entry of the tree, as it was found.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its path below etcd's data directory.
    pub below: &'a Path,
    pub directory: bool,
    pub owner: Owner,
    /// Permission bits.
    pub mode: u32,
}

const READ: u32 = 4;
const WRITE: u32 = 2;
const ENTER: u32 = 1;

/// What etcd does with an entry: the permissions that it needs, and what it could not do without.
fn use_of(below: &Path, directory: bool) -> Option<(u32, &'static str)> {
    let parts: Vec<&OsStr> = below.iter().collect();
    let parts: Vec<&str> = parts.iter().map(|part| part.to_str().unwrap_or_default()).collect();
    let ends = |name: &str, suffix: &str| name.ends_with(suffix);
    match (&parts[..], directory) {
        ([] | ["member"] | ["member", "snap" | "wal"], true) => {
            Some((READ | WRITE | ENTER, "etcd could not work in it"))
        }
        (["member", "snap", "db"], false) => {
            Some((READ | WRITE, "etcd could not open its database"))
        }
        (["member", "snap", name], false) if ends(name, ".snap") || ends(name, ".snap.db") => {
            Some((READ, "etcd could not read its snapshot"))
        }
        (["member", "wal", name], false) if ends(name, ".wal") => {
            Some((READ | WRITE, "etcd could not open its log"))
        }
        (["config"], false) => Some((READ, "etcd could not read its configuration")),
        _ => None,
    }
}

/// What etcd, running as `etcd`, could not do with the entry as it is; `None`: it can do all that it
/// does with it.
pub fn locked_out(entry: Entry<'_>, etcd: Owner) -> Option<&'static str> {
    let (needs, without) = use_of(entry.below, entry.directory)?;
    (!grants(entry.owner, entry.mode, etcd, needs)).then_some(without)
}

/// Whether etcd, running as `etcd`, can read a file of this owner and mode.
pub fn can_read(owner: Owner, mode: u32, etcd: Owner) -> bool {
    grants(owner, mode, etcd, READ)
}

/// The first class that fits decides, however much the others may do.
fn grants(owner: Owner, mode: u32, etcd: Owner, needs: u32) -> bool {
    let shift = if owner.uid == etcd.uid {
        6
    } else if owner.gid == etcd.gid {
        3
    } else {
        0
    };
    mode >> shift & needs == needs
}

/// What is wrong with an owner that locks etcd out of nothing.
pub fn of_owner(entry: Entry<'_>, etcd: Owner) -> &'static str {
    if entry.owner.uid == etcd.uid {
        "CIS 1.1.12 wants etcd's data to be of etcd's group"
    } else {
        "CIS 1.1.12 wants all of etcd's data to be etcd's"
    }
}

/// What is wrong with a mode that locks etcd out of nothing. `wanted`: as it should be.
pub fn of_mode(entry: Entry<'_>, wanted: u32) -> &'static str {
    let more = entry.mode & !wanted;
    if more & 0o7000 != 0 {
        "etcd's data needs no set-id and no sticky bit"
    } else if more & 0o022 != 0 {
        "others than etcd could change it"
    } else if entry.directory && more != 0 {
        "others than etcd could look into it, and CIS 1.1.11 wants 0700"
    } else if more != 0 {
        "others than etcd could use it"
    } else {
        "its owner could not use it"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETCD: Owner = Owner { uid: 997, gid: 996 };
    const ROOT: Owner = Owner { uid: 0, gid: 0 };
    const STAFF: Owner = Owner { uid: 997, gid: 50 };
    const GROUP: Owner = Owner { uid: 0, gid: 996 };

    #[test]
    fn etcd_is_said_to_be_locked_out_only_where_it_is() {
        const DIR: bool = true;
        const FILE: bool = false;
        let database = Some("etcd could not open its database");
        let log = Some("etcd could not open its log");
        let work = Some("etcd could not work in it");
        for (below, directory, owner, mode, expected) in [
            ("member/snap/db", FILE, ROOT, 0o600, database),
            ("member/snap/db", FILE, ROOT, 0o644, database),
            ("member/snap/db", FILE, ROOT, 0o666, None),
            ("member/snap/db", FILE, GROUP, 0o660, None),
            ("member/snap/db", FILE, GROUP, 0o606, database),
            ("member/snap/db", FILE, STAFF, 0o600, None),
            ("member/snap/db", FILE, ETCD, 0o666, None),
            ("member/snap/db", FILE, ETCD, 0o400, database),
            ("member/snap/db", FILE, ETCD, 0o077, database),
            ("member/wal/0-0.wal", FILE, ROOT, 0o600, log),
            ("member/wal/0.tmp", FILE, ROOT, 0o600, None),
            ("member/snap/1.snap", FILE, ROOT, 0o644, None),
            ("member/snap/1.snap", FILE, ROOT, 0o600, Some("etcd could not read its snapshot")),
            ("member/snap/1.snap.db", FILE, ROOT, 0o600, Some("etcd could not read its snapshot")),
            ("config", FILE, ROOT, 0o600, Some("etcd could not read its configuration")),
            ("name", FILE, ROOT, 0o600, None),
            ("", DIR, ROOT, 0o700, work),
            ("", DIR, ROOT, 0o755, work),
            ("", DIR, ETCD, 0o755, None),
            ("", DIR, ETCD, 0o750, None),
            ("", DIR, ETCD, 0o500, work),
            ("member", DIR, ETCD, 0o755, None),
            ("member/snap", DIR, STAFF, 0o700, None),
            ("member/wal", DIR, GROUP, 0o750, work),
            ("lost+found", DIR, ROOT, 0o700, None),
            ("member/lost+found", DIR, ROOT, 0o700, None),
            ("member/snap/db.tmp.1", FILE, ROOT, 0o600, None),
            ("member/snap/deep/db", FILE, ROOT, 0o600, None),
            ("db", FILE, ROOT, 0o600, None),
            ("backup.db", FILE, ROOT, 0o600, None),
        ] {
            let entry = Entry { below: Path::new(below), directory, owner, mode };
            assert_eq!(locked_out(entry, ETCD), expected, "{below} {owner} {mode:o}");
        }
    }

    #[test]
    fn what_else_is_wrong_has_words_of_its_own() {
        let of = |directory, mode, wanted| {
            let below = Path::new("x");
            of_mode(Entry { below, directory, owner: ETCD, mode }, wanted)
        };
        for (directory, mode, wanted, words) in [
            (true, 0o755, 0o700, "look into it"),
            (true, 0o750, 0o700, "look into it"),
            (true, 0o770, 0o700, "change it"),
            (true, 0o2700, 0o700, "set-id"),
            (false, 0o666, 0o644, "change it"),
            (false, 0o4755, 0o755, "set-id"),
            (false, 0o044, 0o644, "its owner could not"),
            (true, 0o500, 0o700, "its owner could not"),
        ] {
            let got = of(directory, mode, wanted);
            assert!(got.contains(words), "{mode:o}: {got}");
        }
        let entry = |owner| Entry { below: Path::new("x"), directory: false, owner, mode: 0o600 };
        assert!(of_owner(entry(STAFF), ETCD).contains("group"));
        assert!(of_owner(entry(ROOT), ETCD).contains("etcd's"));
    }
}
