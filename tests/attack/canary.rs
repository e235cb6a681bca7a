// SPDX-License-Identifier: Apache-2.0
//! What no attack may change: files and directories of root's outside the data directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use crate::host::Host;

/// uid, gid, mode with the type.
type State = (u32, u32, u32);

/// The time of the last change to any of those, or to anything else in the inode.
type Time = (i64, i64);

/// The time counts only where nobody but us can change it: whoever renames or removes one of a
/// file's several links does.
type Seen = (State, Option<Time>);

/// The canary tree and the rest of the host's /etc, as they were.
pub struct Canary {
    pub dir: PathBuf,
    before: BTreeMap<PathBuf, Seen>,
    roots: [PathBuf; 2],
}

impl Canary {
    /// Makes the tree. It has the names in it that the attackers' own directories have, and modes
    /// that would be drift inside the data directory.
    pub fn plant(host: &Host) -> Self {
        let dir = host.at("/srv/canary");
        fs::create_dir_all(dir.join("sub")).unwrap();
        for (name, mode) in
            [("db", 0o666), ("key", 0o600), ("set-id", 0o4755), ("sub/x", 0o640), ("0.wal", 0o644)]
        {
            fs::write(dir.join(name), "precious").unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink("db", dir.join("link")).unwrap();
        for (name, mode) in [("open", 0o1777), ("closed", 0o700)] {
            fs::create_dir(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("x"), "precious").unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let roots = [host.at("/srv"), host.at("/etc")];
        Self { before: states(&roots), dir, roots }
    }

    /// Looks again, after the test itself made a change.
    pub fn look(&mut self) {
        self.before = states(&self.roots);
    }

    /// Everything that is not as it was.
    pub fn changed(&self) -> Vec<String> {
        let now = states(&self.roots);
        let mut out = Vec::new();
        for (path, (state, time)) in &self.before {
            match now.get(path) {
                None => out.push(format!("{} is gone", path.display())),
                Some((state_now, time_now)) => {
                    let touched = time.is_some() && time_now.is_some() && time != time_now;
                    if state != state_now || touched {
                        out.push(format!("{}: {state:?} -> {state_now:?}", path.display()));
                    }
                }
            }
        }
        let new = now.keys().filter(|path| !self.before.contains_key(*path));
        out.extend(new.map(|path| format!("{} is new", path.display())));
        out
    }
}

fn states(roots: &[PathBuf]) -> BTreeMap<PathBuf, Seen> {
    let mut out = BTreeMap::new();
    let mut pending: Vec<PathBuf> = roots.to_vec();
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let single = metadata.is_dir() || metadata.nlink() == 1;
        let time = single.then(|| (metadata.ctime(), metadata.ctime_nsec()));
        out.insert(path, ((metadata.uid(), metadata.gid(), metadata.mode()), time));
    }
    assert!(out.keys().any(|path| path.ends_with("canary/sub/x")), "{out:?}");
    out
}
