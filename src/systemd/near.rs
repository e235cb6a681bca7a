// SPDX-License-Identifier: Apache-2.0
//! Which places are near RKE2's data, and where paths lead there. No path is looked up that could wait:
//! systemd waits for its generators, and the gate for us, while an automount that nobody has looked into
//! waits for systemd and a dead file server for nobody.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::fstab;
use crate::rke2::etcd_dir;
use crate::system::mountinfo;
use crate::system::root::{LINKS, Root, below, reversed};

/// Where a path leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Led {
    /// Without links as far as they were followed; what is not there stays as it is written.
    pub(crate) path: PathBuf,
    /// It was followed to its end.
    pub(crate) whole: bool,
    /// It was not followed through a link that others than root can change.
    by_others: bool,
    /// The whole path, as written and after each link.
    trail: Vec<PathBuf>,
}

/// Who asks where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// RKE2 itself, which follows every link.
    Rke2,
    /// A bind mount that RKE2's data is on: RKE2 waits for what its source is on.
    Source,
    /// A line of fstab's.
    Line,
}

/// Which places count: those on the way to one of some directories, and those below one of them.
#[derive(Debug)]
pub(crate) struct Near<'a> {
    root: &'a Root,
    /// Owner and group of the root directory, which are root's on a host.
    owner: (u32, u32),
    /// Nothing is looked at there or below.
    automounts: BTreeSet<PathBuf>,
    /// All mount points. Nothing is looked at below one that is not on the way to the data.
    points: BTreeSet<PathBuf>,
    /// Places on the way to one of these or below one count.
    dirs: Vec<PathBuf>,
    /// What RKE2 keeps of a cluster, and what bind mounts on the way to it show.
    cluster: Vec<PathBuf>,
    etcd: [PathBuf; 2],
    /// What bind mounts show. Places on the way to one of these count as well.
    sources: Vec<PathBuf>,
}

impl<'a> Near<'a> {
    /// `text`: mountinfo. `automounts`: places that something describes an automount for.
    pub(super) fn data(
        root: &'a Root,
        data_dir: &Path,
        text: &str,
        automounts: BTreeSet<PathBuf>,
    ) -> Self {
        let owner = root.stat(Path::new("/")).map_or((0, 0), |stat| (stat.st_uid, stat.st_gid));
        let mut near = Self {
            root,
            owner,
            automounts,
            points: BTreeSet::new(),
            dirs: Vec::new(),
            cluster: Vec::new(),
            etcd: Default::default(),
            sources: Vec::new(),
        };
        for line in text.lines().filter_map(mountinfo::parse) {
            let point = fstab::unescaped(line.point.as_bytes());
            let point = PathBuf::from(OsString::from_vec(point));
            if line.kind == Some("autofs") {
                near.automounts.insert(point.clone());
            }
            near.points.insert(point);
        }
        let etcd = near.leads_to(&etcd_dir(data_dir), Of::Rke2);
        near.dirs = near.leads_to(data_dir, Of::Rke2).trail;
        near.dirs.extend(etcd.trail.iter().cloned());
        near.cluster.extend(etcd.trail);
        for dir in ["server", "server/db"] {
            near.cluster.extend(near.leads_to(&data_dir.join(dir), Of::Rke2).trail);
        }
        near.etcd = [etcd_dir(data_dir), etcd.path];
        near
    }

    pub(super) fn has(&self, place: &Path) -> bool {
        self.dirs.iter().any(|dir| dir.starts_with(place) || place.starts_with(dir))
            || self.sources.iter().any(|source| source.starts_with(place))
    }

    /// Whether RKE2 would find another etcd, or none, without what is to be mounted at a place: it is on
    /// the way to `server`, `server/db` or etcd's directory, or in that. What is missing beside etcd,
    /// certificates and credentials too, RKE2 writes again from what its etcd keeps of it, or refuses.
    pub(crate) fn holds_cluster(&self, place: &Path) -> bool {
        self.is_on_the_way(place) || self.etcd.iter().any(|etcd| place.starts_with(etcd))
    }

    fn is_on_the_way(&self, place: &Path) -> bool {
        self.cluster.iter().any(|dir| dir.starts_with(place))
    }

    /// Where a path of RKE2's own leads.
    pub(crate) fn own(&self, path: &Path) -> PathBuf {
        self.leads_to(path, Of::Rke2).path
    }

    /// Where a place leads, if it is near as it is written. Others are not looked at, nor what somebody
    /// besides root could lead to RKE2's data.
    pub(super) fn place(&self, written: &Path) -> Option<PathBuf> {
        let led = Some(written).filter(|it| self.has(it)).map(|it| self.leads_to(it, Of::Line))?;
        (!led.by_others && self.has(&led.path)).then_some(led.path)
    }

    /// Where the source of a bind mount at a place leads.
    pub(crate) fn source(&self, place: &Path, source: &Path) -> Led {
        match self.holds_cluster(place) {
            true => self.leads_to(source, Of::Source),
            false => self.leads_to(source, Of::Line),
        }
    }

    /// Adds what bind mounts show, each with its place. Says whether there was anything new.
    pub(super) fn add<'b>(&mut self, binds: impl Iterator<Item = (&'b Path, &'b Path)>) -> bool {
        let mut new = false;
        for (place, source) in binds {
            let holds = self.holds_cluster(place);
            for dir in self.source(place, source).trail {
                if !self.sources.contains(&dir) {
                    new = true;
                    self.sources.push(dir.clone());
                }
                if holds && !self.cluster.contains(&dir) {
                    new = true;
                    self.cluster.push(dir);
                }
            }
        }
        new
    }

    /// Whether what is at a place or below it is not looked at.
    fn ends_at(&self, place: &Path, of: Of) -> bool {
        let beside = of == Of::Line && self.points.contains(place) && !self.is_on_the_way(place);
        self.automounts.contains(place) || beside
    }

    /// Not by [`Root::stat`]: it is taken down what a pass looks at, and what a line of fstab is about
    /// may be of no interest to RKE2 and hidden from our service.
    fn stat(&self, path: &Path) -> Result<Stat, Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        match self.root.is_live() {
            true => rustix::fs::statat(self.root.fd(), below(path), flags),
            false => self.root.stat(path),
        }
    }

    fn target(&self, path: &Path) -> Option<PathBuf> {
        match self.root.is_live() {
            true => rustix::fs::readlinkat(self.root.fd(), below(path), Vec::new())
                .ok()
                .map(|target| PathBuf::from(OsString::from_vec(target.into_bytes()))),
            false => self.root.read_link(path).ok(),
        }
    }

    /// Whether somebody besides root can put another entry into a directory.
    fn is_others(&self, dir: &Stat) -> bool {
        let bits = if dir.st_gid == self.owner.1 { 0o002 } else { 0o022 };
        let writable = dir.st_mode & bits != 0 && dir.st_mode & 0o1000 == 0;
        dir.st_uid != self.owner.0 || writable
    }

    fn leads_to(&self, path: &Path, of: Of) -> Led {
        let mut led =
            Led { path: "/".into(), whole: true, trail: vec![path.into()], ..Led::default() };
        let mut links = 0;
        let mut others = false;
        let mut looks = true;
        let mut pending = reversed(path);
        while let Some(name) = pending.pop() {
            if name == ".." {
                led.path.pop();
                continue;
            }
            led.path.push(&name);
            if !looks {
                continue;
            }
            if self.ends_at(&led.path, of) {
                looks = false;
                led.whole = pending.is_empty();
                continue;
            }
            let stat = match self.stat(&led.path) {
                Ok(stat) => stat,
                Err(e) => {
                    looks = false;
                    led.whole = matches!(e, Errno::NOENT | Errno::NOTDIR);
                    continue;
                }
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                others = others || self.is_others(&stat);
                continue;
            }
            let by_others = of != Of::Rke2 && (others || stat.st_uid != self.owner.0);
            let target = self.target(&led.path).filter(|_| !by_others && links < LINKS);
            let Some(target) = target else {
                looks = false;
                led.whole = false;
                led.by_others = by_others;
                continue;
            };
            links += 1;
            led.path.pop();
            if target.is_absolute() {
                led.path = "/".into();
            }
            pending.extend(reversed(&target));
            let rest = pending.iter().rev().fold(led.path.clone(), |path, name| path.join(name));
            led.trail.push(rest);
        }
        if led.trail.last() != Some(&led.path) {
            led.trail.push(led.path.clone());
        }
        led
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const DATA: &str = "/var/lib/rancher/rke2";

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(links: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for (path, target) in links {
                let path = dir.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                symlink(target, path).unwrap();
            }
            Self(dir)
        }

        fn near<T>(&self, text: &str, automounts: &[&str], look: impl FnOnce(&Near) -> T) -> T {
            let root = Root::image(self.0.path()).unwrap();
            let automounts = automounts.iter().map(PathBuf::from).collect();
            look(&Near::data(&root, Path::new(DATA), text, automounts))
        }
    }

    #[test]
    fn etcd_is_lost_without_what_it_is_on_and_with_nothing_beside_it() {
        let tree = Tree::new(&[("var/lib/rancher/rke2/server/db", "/big/db")]);
        tree.near("", &[], |near| {
            for (place, expected) in [
                ("/var", true),
                ("/var/lib/rancher/rke2", true),
                ("/var/lib/rancher/rke2/server", true),
                ("/var/lib/rancher/rke2/server/db", true),
                ("/var/lib/rancher/rke2/server/db/etcd", true),
                ("/big", true),
                ("/big/db/etcd", true),
                ("/big/db/etcd/member/wal", true),
                ("/big/db/snapshots", false),
                ("/var/lib/rancher/rke2/server/db/snapshots", false),
                ("/var/lib/rancher/rke2/server/logs", false),
                ("/var/lib/rancher/rke2/server/manifests", false),
                ("/var/lib/rancher/rke2/server/tls", false),
                ("/var/lib/rancher/rke2/server/cred", false),
                ("/var/lib/rancher/rke2/agent", false),
                ("/srv", false),
            ] {
                assert_eq!(near.holds_cluster(Path::new(place)), expected, "{place}");
            }
        });
    }

    #[test]
    fn every_path_that_the_links_of_the_data_directory_lead_to_is_near() {
        let tree = Tree::new(&[("var/lib/rancher", "/a/b"), ("a", "c"), ("c/x", "/nowhere")]);
        tree.near("", &[], |near| {
            for (place, expected) in [
                ("/a/b", Some("/c/b")),
                ("/c", Some("/c")),
                ("/var/lib/rancher/rke2/server", Some("/c/b/rke2/server")),
                ("/c/x", None),
                ("/var/log", None),
            ] {
                let led = near.place(Path::new(place));
                assert_eq!(led.as_deref(), expected.map(Path::new), "{place}");
            }
        });
    }

    #[test]
    fn nothing_is_looked_at_below_an_automount_or_beside_the_way_to_the_data() {
        let link = |path: &'static str| (path, "/elsewhere");
        let links = [
            link("var/lib/rancher/rke2/agent/nfs/link"),
            link("var/lib/rancher/rke2/agent/disk/link"),
            link("srv/dead/link"),
            link("data/link"),
        ];
        let tree = Tree::new(&links);
        let mounts = format!(
            "30 25 0:40 / /data rw - ext4 /dev/sdb1 rw\n31 25 0:41 / {DATA}/agent/disk rw - ext4 x rw\n\
             32 25 0:42 / /srv/dead rw - nfs x rw\n33 25 8:2 / {DATA} rw - ext4 /dev/sdc1 rw\n"
        );
        let nfs = format!("{DATA}/agent/nfs");
        let autofs = format!("34 25 0:43 / {nfs} rw - autofs systemd-1 rw\n");
        for (text, automounts) in
            [(mounts.clone(), vec![nfs.as_str()]), (format!("{mounts}{autofs}"), vec![])]
        {
            tree.near(&text, &automounts, |near| {
                for place in ["agent/nfs/link/x", "agent/disk/link/x"] {
                    let place = Path::new(DATA).join(place);
                    assert_eq!(near.place(&place), Some(place.clone()), "as it is written");
                }
                // What a bind mount shows below agent/ is of no interest, of etcd it is.
                let source = |place: &str, source: &str| {
                    let led = near.source(&Path::new(DATA).join(place), Path::new(source));
                    (led.path.display().to_string(), led.whole)
                };
                let agent = source("agent/x", "/srv/dead/link");
                assert_eq!(agent, ("/srv/dead/link".into(), false));
                assert_eq!(source("server/db", "/data/link/x"), ("/elsewhere/x".into(), true));
            });
        }
        // An automount counts for RKE2's own paths as well.
        let tree = Tree::new(&[("var/lib/rancher/rke2/server", "/elsewhere")]);
        tree.near("", &[DATA], |near| {
            let server = Path::new(DATA).join("server");
            assert_eq!(near.own(&server), server);
        });
    }

    #[test]
    fn a_link_that_others_can_change_leads_nowhere() {
        let tree = Tree::new(&[
            ("var/lib/rancher/rke2/agent/alice/link", "/var/lib/rancher/rke2/server"),
            ("home/alice/link", "/var/lib/rancher"),
        ]);
        let alice = tree.0.path().join("var/lib/rancher/rke2/agent/alice");
        let place = Path::new("/var/lib/rancher/rke2/agent/alice/link/db");
        let db = PathBuf::from("/var/lib/rancher/rke2/server/db");
        let led = || tree.near("", &[], |near| near.place(place));
        assert_eq!(led(), Some(db));
        fs::set_permissions(&alice, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(led(), None);
        tree.near("", &[], |near| {
            let source = near.source(Path::new(DATA), place);
            assert_eq!((source.path.as_path(), source.whole), (place, false));
            // It is not near as it is written, whoever owns the link.
            assert_eq!(near.place(Path::new("/home/alice/link/rke2")), None);
        });
    }

    #[test]
    fn a_loop_of_links_ends() {
        let tree = Tree::new(&[("var/lib/rancher", "x"), ("var/lib/x", "rancher")]);
        tree.near("", &[], |near| {
            assert!(near.has(Path::new("/var/lib")));
        });
    }
}
