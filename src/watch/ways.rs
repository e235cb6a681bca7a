// SPDX-License-Identifier: Apache-2.0
//! Directories of root's, watched by the library notify.
//!
//! A watcher of the library is only ever added to. It keeps its watches by path, so it answers `Ok`
//! without asking the kernel when a path that it knows is another directory now; a late event of an
//! old directory takes away the watch of its successor; and to take a watch back is a call that
//! waits for its thread. Where one of its directories is gone, another one, no longer wanted or open
//! to others, the whole watcher is dropped, which waits for nobody, and a new one is made.

use std::collections::{BTreeMap, HashSet};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{Config, ErrorKind, EventKindMask, INotifyWatcher, RecursiveMode, Watcher};

use super::rights::{Identity, Way, follow, holds_only_roots};
use super::thread::{Dir, Handler, Shared};
use super::{Hints, Names};

/// What the kernel is asked for: no reading, no opening and no data, but the end of writing, since a
/// file may be edited in place.
const KINDS: EventKindMask = EventKindMask::CREATE
    .union(EventKindMask::REMOVE)
    .union(EventKindMask::MODIFY_NAME)
    .union(EventKindMask::MODIFY_META)
    .union(EventKindMask::ACCESS_CLOSE);

/// The library's watcher, and what it watches.
pub(super) struct Ways {
    /// Where absolute paths begin.
    top: PathBuf,
    shared: Arc<Shared>,
    /// Dropped by hand: that panics where the library could not start its thread.
    watcher: Option<ManuallyDrop<INotifyWatcher>>,
    known: BTreeMap<PathBuf, Identity>,
}

impl std::fmt::Debug for Ways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ways").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Ways {
    pub(super) fn below(top: &Path) -> Self {
        Self {
            top: top.to_path_buf(),
            shared: Arc::default(),
            watcher: None,
            known: BTreeMap::new(),
        }
    }

    /// Watches those of the directories in which only root can raise events, as far as they exist,
    /// and gives back the others, and what cannot be watched.
    pub(super) fn arm(&mut self, ways: BTreeMap<PathBuf, Names>) -> BTreeMap<PathBuf, Names> {
        self.shared.arming(true);
        // Once more where something is changed meanwhile, and then no more.
        let own = self.try_to_arm(&ways).or_else(|| self.try_to_arm(&ways));
        self.shared.arming(false);
        own.unwrap_or_else(|| {
            self.leave();
            ways
        })
    }

    /// `None`: a directory was found to be another one, or open to others, after it was watched.
    fn try_to_arm(&mut self, ways: &BTreeMap<PathBuf, Names>) -> Option<BTreeMap<PathBuf, Names>> {
        let (stale, parked, changed) = {
            let mut state = self.shared.state();
            let mut changed = HashSet::new();
            for (path, dir) in &mut state.dirs {
                if std::mem::take(&mut dir.changed) {
                    changed.insert(path.clone());
                }
            }
            (std::mem::take(&mut state.stale), state.parked, changed)
        };
        if parked {
            // One thread is lost to whoever floods it; there will be no second one.
            self.leave();
            return Some(ways.clone());
        }
        let mut own = BTreeMap::new();
        let mut wanted: BTreeMap<Identity, (PathBuf, Names)> = BTreeMap::new();
        for (dir, names) in ways {
            let (identity, real) = match follow(&self.top, dir) {
                // Its parent tells when it comes.
                Way::Missing => continue,
                Way::Roots(identity, real) => (identity, real),
                Way::Others => {
                    own.insert(dir.clone(), names.clone());
                    continue;
                }
            };
            let looked_through = self.known.get(&real) == Some(&identity)
                && !changed.contains(&real)
                || wanted.contains_key(&identity);
            if looked_through || holds_only_roots(&real) {
                let way = wanted.entry(identity).or_insert_with(|| (real, Names::default()));
                way.1.merge(names.clone());
            } else {
                own.insert(dir.clone(), names.clone());
            }
        }
        let is_wanted = |(path, identity): (&PathBuf, &Identity)| {
            wanted.get(identity).is_some_and(|(real, _)| real == path)
        };
        if stale || !self.known.iter().all(is_wanted) {
            self.leave();
        }
        for (identity, (real, names)) in wanted {
            let known = self.known.contains_key(&real);
            self.shared
                .state()
                .dirs
                .entry(real.clone())
                .or_insert_with(|| Dir { names: Names::default(), changed: false })
                .names = names.clone();
            if known {
                continue;
            }
            if let Err(found) = self.watch(&real) {
                self.shared.state().dirs.remove(&real);
                if found == Failure::Other {
                    own.insert(real, names);
                }
                continue;
            }
            // Once more, now that nothing in it goes unseen.
            let still = follow(&self.top, &real) == Way::Roots(identity, real.clone());
            if !still || !holds_only_roots(&real) {
                self.leave();
                return None;
            }
            self.known.insert(real, identity);
        }
        Some(own)
    }

    fn watch(&mut self, dir: &Path) -> Result<(), Failure> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none => {
                let handler = Handler::new(&self.shared);
                let config = Config::default().with_event_kinds(KINDS);
                let watcher = INotifyWatcher::new(handler, config).map_err(|_| Failure::Other)?;
                none.insert(ManuallyDrop::new(watcher))
            }
        };
        watcher.watch(dir, RecursiveMode::NonRecursive).map_err(|e| match e.kind {
            ErrorKind::PathNotFound => Failure::Gone,
            ErrorKind::Generic(_) => {
                // It has no thread, and had none from the start.
                self.watcher = None;
                Failure::Other
            }
            _ => Failure::Other,
        })
    }

    /// Watches nothing any more.
    fn leave(&mut self) {
        {
            let mut state = self.shared.state();
            state.generation += 1;
            // What was about to be told is lost. A pass follows; nobody looks at the bus by himself.
            state.bus |= !self.known.is_empty();
            state.stale = false;
            state.dirs.clear();
            self.shared.go_on.notify_all();
        }
        self.known.clear();
        drop(self.watcher.take().map(ManuallyDrop::into_inner));
    }

    /// Waits for hints. Cancellation safe.
    pub(super) async fn hints(&self) -> Hints {
        loop {
            let hints = self.shared.state().hints();
            match hints {
                Some(hints) => return hints,
                None => self.shared.wake.notified().await,
            }
        }
    }
}

impl Drop for Ways {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Why a directory is not watched.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    Gone,
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::thread::EVENTS;
    use crate::watch::{Interest, ways};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A directory that is taken for `/`, with what is watched in it.
    struct Host {
        dir: tempfile::TempDir,
        ways: Ways,
        interests: Vec<Interest>,
    }

    impl Host {
        fn with(interests: impl Fn(&Path) -> Vec<Interest>) -> Self {
            assert!(rustix::process::geteuid().is_root(), "needs root");
            let dir = tempfile::tempdir().unwrap();
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
            fs::create_dir_all(dir.path().join("etc/rke2")).unwrap();
            let (ways, interests) = (Ways::below(dir.path()), interests(dir.path()));
            let mut host = Self { dir, ways, interests };
            host.arm();
            host
        }

        fn at(&self, path: &str) -> PathBuf {
            self.dir.path().join(path)
        }

        /// What is left to others, below the directory.
        fn arm(&mut self) -> Vec<PathBuf> {
            let mut ways = ways(self.interests.iter());
            ways.retain(|dir, _| dir.starts_with(self.dir.path()));
            let own = self.ways.arm(ways);
            let below = |dir: PathBuf| dir.strip_prefix(self.dir.path()).unwrap().to_path_buf();
            own.into_keys().map(below).collect()
        }

        fn watched(&self) -> Vec<&Path> {
            let below = |dir| Path::strip_prefix(dir, self.dir.path()).unwrap();
            self.ways.known.keys().map(|dir| below(dir.as_path())).collect()
        }

        /// As the daemon does it: each hint is followed by an arming.
        fn until(&mut self, what: &str, mut seen: impl FnMut(&Hints) -> bool) {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let end = std::time::Instant::now() + PATIENCE;
            loop {
                let left = end.saturating_duration_since(std::time::Instant::now());
                let hints =
                    runtime.block_on(async { tokio::time::timeout(left, self.ways.hints()).await });
                let hints = hints.unwrap_or_else(|_| panic!("waited in vain for: {what}"));
                self.arm();
                if seen(&hints) {
                    return;
                }
            }
        }

        fn sees(&mut self, what: &str) {
            self.until(what, |hints| hints.pass);
        }

        /// Everything that was raised so far has been read, and told.
        fn settle(&mut self) {
            let mark = self.at("etc/rke2/mark");
            loop {
                // A watcher that is dropped tells of the bus as well.
                let before = self.ways.shared.state().generation;
                self.told();
                fs::write(&mark, "").unwrap();
                self.until("the mark", |hints| hints.bus);
                self.told();
                fs::remove_file(&mark).unwrap();
                self.until("the mark's end", |hints| hints.bus);
                self.told();
                if self.ways.shared.state().generation == before {
                    return;
                }
            }
        }

        fn told(&self) {
            self.ways.shared.state().hints();
        }

        fn flood(&self, path: &str, events: usize) {
            let files = [self.at(path).join("a"), self.at(path).join("b")];
            files.iter().for_each(|file| fs::write(file, "").unwrap());
            for n in 0..events {
                let mode = if n & 2 == 0 { 0o600 } else { 0o640 };
                fs::set_permissions(&files[n & 1], fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }

    /// The bus's name serves as a mark: its events come after all that came before them.
    fn config(top: &Path) -> Vec<Interest> {
        vec![
            Interest::file(top.join("etc/rke2/config.yaml")),
            Interest::bus(top.join("etc/rke2/mark")),
        ]
    }

    #[test]
    fn a_file_that_comes_is_edited_in_place_replaced_or_deleted_is_seen_and_others_are_not() {
        let mut host = Host::with(config);
        let file = host.at("etc/rke2/config.yaml");
        fs::write(&file, "one").unwrap();
        host.sees("a file that came");
        host.settle();
        fs::write(host.at("etc/rke2/other"), "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        host.settle();
        assert_eq!(host.ways.shared.state().hints(), None);

        fs::write(&file, "two").unwrap();
        host.sees("an edit in place");
        host.settle();
        fs::rename(host.at("etc/rke2/other"), &file).unwrap();
        host.sees("a file in its place");
        host.settle();
        fs::remove_file(&file).unwrap();
        host.sees("its end");
    }

    #[test]
    fn everything_in_a_directory_is_seen_with_its_rights_where_all_of_it_matters() {
        let mut host = Host::with(|top| {
            let mut interests = config(top);
            interests.push(Interest::directory(top.join("etc/rke2/config.yaml.d")));
            interests
        });
        fs::create_dir(host.at("etc/rke2/config.yaml.d")).unwrap();
        host.sees("the directory");
        host.settle();
        fs::write(host.at("etc/rke2/config.yaml.d/x"), "").unwrap();
        host.sees("a file in it");
        host.settle();
        fs::set_permissions(host.at("etc/rke2/config.yaml.d/x"), fs::Permissions::from_mode(0o600))
            .unwrap();
        host.sees("other rights");
        host.settle();
        chown(host.at("etc/rke2/config.yaml.d"), None, Some(1000)).unwrap();
        host.sees("another group of the directory");
    }

    #[test]
    fn a_directory_on_the_way_that_comes_later_is_seen_and_what_is_in_it_then() {
        let mut host = Host::with(|top| {
            let mut interests = config(top);
            interests.push(Interest::file(top.join("etc/a/b/c/file")));
            interests
        });
        for dir in ["etc/a", "etc/a/b", "etc/a/b/c"] {
            fs::create_dir(host.at(dir)).unwrap();
            host.sees(dir);
        }
        fs::write(host.at("etc/a/b/c/file"), "").unwrap();
        host.sees("the file");
    }

    #[test]
    fn a_way_whose_directory_is_renamed_and_made_again_is_seen() {
        let mut host = Host::with(config);
        // Before anything is read of it, and after: a late event must not cost the new watch.
        for early in [true, false, true, false] {
            fs::rename(host.at("etc/rke2"), host.at("etc/old")).unwrap();
            fs::create_dir(host.at("etc/rke2")).unwrap();
            if early {
                // A pass follows by itself.
                host.arm();
            } else {
                host.sees("that it was renamed");
            }
            host.settle();
            fs::write(host.at("etc/old/config.yaml"), "").unwrap();
            host.settle();
            assert_eq!(host.ways.shared.state().hints(), None, "the old one is none of ours");
            fs::write(host.at("etc/rke2/config.yaml"), "").unwrap();
            host.sees("a file in the new one");
            host.settle();
            fs::remove_dir_all(host.at("etc/old")).unwrap();

            fs::remove_dir_all(host.at("etc/rke2")).unwrap();
            fs::create_dir(host.at("etc/rke2")).unwrap();
            if early {
                // A pass follows by itself.
                host.arm();
            } else {
                host.sees("that it was deleted");
            }
            host.settle();
            fs::write(host.at("etc/rke2/config.yaml"), "").unwrap();
            host.sees("a file in the one after that");
            host.settle();
        }
        // There and back: the same directory, whose watch the library took away.
        fs::rename(host.at("etc/rke2"), host.at("etc/old")).unwrap();
        fs::rename(host.at("etc/old"), host.at("etc/rke2")).unwrap();
        host.sees("that it was away");
        host.settle();
        fs::write(host.at("etc/rke2/config.yaml"), "").unwrap();
        host.sees("a file in it");
    }

    #[test]
    fn a_way_by_a_link_is_seen_under_both_names() {
        let mut host = Host::with(|top| {
            let mut interests = config(top);
            interests.push(Interest::file(top.join("link/other")));
            std::os::unix::fs::symlink("etc/rke2", top.join("link")).unwrap();
            interests
        });
        assert_eq!(host.watched(), ["", "etc", "etc/rke2"].map(Path::new));
        fs::write(host.at("etc/rke2/other"), "").unwrap();
        host.sees("the name of the link's way");
        host.settle();
        fs::write(host.at("etc/rke2/config.yaml"), "").unwrap();
        host.sees("the other one");
        host.settle();
        fs::remove_file(host.at("link")).unwrap();
        host.sees("the link's end");
    }

    #[test]
    fn what_another_user_can_raise_events_in_is_not_the_librarys() {
        let mut host = Host::with(config);
        assert_eq!(host.watched(), ["", "etc", "etc/rke2"].map(Path::new));
        let rke2 = host.at("etc/rke2");
        let set = |mode| fs::set_permissions(&rke2, fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o775, 0o757, 0o1777] {
            set(mode);
            assert_eq!(host.arm(), [Path::new("etc/rke2")], "{mode:o}");
            assert_eq!(host.watched(), ["", "etc"].map(Path::new));
            set(0o755);
            assert_eq!(host.arm(), [""; 0].map(Path::new));
            assert_eq!(host.watched(), ["", "etc", "etc/rke2"].map(Path::new));
        }
        chown(&rke2, Some(1000), None).unwrap();
        // And the one above it, where he changes the rights of what is his.
        assert_eq!(host.arm(), ["etc", "etc/rke2"].map(Path::new));
        chown(&rke2, Some(0), None).unwrap();
        host.arm();
        host.settle();
        // Told by an event alone, since the directory itself is as it was.
        fs::write(rke2.join("file"), "").unwrap();
        host.settle();
        chown(rke2.join("file"), Some(1000), None).unwrap();
        let end = std::time::Instant::now() + PATIENCE;
        while !host.ways.shared.state().dirs[&rke2].changed {
            assert!(std::time::Instant::now() < end, "no event told it");
            std::thread::yield_now();
        }
        assert_eq!(host.arm(), [Path::new("etc/rke2")]);
    }

    #[test]
    fn a_flood_holds_up_the_thread_and_not_us_and_an_overflow_leads_to_a_whole_pass() {
        let mut host = Host::with(config);
        host.settle();
        let before = host.ways.shared.state().generation;
        host.flood("etc/rke2", EVENTS + 10);
        // Nobody asked for these names.
        host.sees("more events than the limit");
        let read = |host: &Host| host.ways.shared.state().events;
        host.flood("etc/rke2", EVENTS + 10);
        let end = std::time::Instant::now() + PATIENCE;
        while read(&host) <= EVENTS {
            assert!(std::time::Instant::now() < end, "the thread reads to the limit");
            std::thread::yield_now();
        }
        // More than the kernel keeps for one instance.
        let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        host.flood("etc/rke2", queue.trim().parse::<usize>().unwrap() + 2 * EVENTS);
        assert_eq!(read(&host), EVENTS + 1, "and no further");
        host.told();

        host.arm();
        host.until("the queue's end", |hints| hints.pass && hints.bus);
        host.settle();
        assert!(host.ways.shared.state().generation > before, "everything is watched anew");
        fs::write(host.at("etc/rke2/config.yaml"), "").unwrap();
        host.sees("a file");
    }

    #[test]
    fn where_a_thread_was_lost_to_a_flood_the_library_is_given_up() {
        let mut host = Host::with(config);
        host.ways.shared.state().parked = true;
        assert_eq!(host.arm(), ["", "etc", "etc/rke2"].map(Path::new));
        assert_eq!(host.watched(), [""; 0].map(Path::new));
    }
}
