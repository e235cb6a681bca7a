// SPDX-License-Identifier: Apache-2.0
//! Whatever is done to the data directory, in whatever order and by how many at once: a second
//! after the last of it everything below is right.
//!
//! What is done comes from a seed, which is printed; `NODEGUARD_SEED` does it again (the threads
//! still meet as chance has it). `NODEGUARD_ROUNDS` (5) is how often.

#[path = "../daemon/host.rs"]
#[allow(dead_code)] // the daemon's own tests use all of it
mod host;
#[path = "../attack/right.rs"]
mod right;
mod splitmix;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use host::{ETCD, Host};
use right::wrong;
use splitmix::Random;

/// After the last change, on an idle machine.
const SECOND: Duration = Duration::from_secs(1);

/// What is added to that on a slow or busy machine, in looks at the same tree by a bare loop of the
/// test's own, the slowest of those made meanwhile: a full pass may be under way when the last
/// change comes, the next one waits nine times as long as that took, and looks itself.
const LOOKS: u32 = 11;

const THREADS: u64 = 4;

/// See `BURST` in `src/pace/limits.rs`.
const MADE_AGAIN: usize = 150;

/// Changes by each thread in one go. Many at once end in looks at everything; after few, it is
/// every single event that counts.
const CHANGES: [usize; 11] = [12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 1000];

/// One of those who change the tree.
struct Changer {
    random: Random,
    top: PathBuf,
    /// Root's, on the same file system.
    outside: PathBuf,
    /// Makes the names unique that must be.
    count: u64,
    id: u64,
}

impl Changer {
    fn dir(&mut self) -> PathBuf {
        let mut path = self.top.clone();
        for _ in 0..self.random.below(4) {
            path.push(format!("d{}", self.random.below(3)));
        }
        path
    }

    fn file(&mut self) -> PathBuf {
        self.dir().join(format!("f{}", self.random.below(6)))
    }

    fn unique(&mut self, dir: &Path, word: &str) -> PathBuf {
        self.count += 1;
        dir.join(format!("{word}-{}-{}", self.id, self.count))
    }

    /// Something of root's that is made outside and moved in.
    fn made_outside(&mut self) -> PathBuf {
        let dir = self.unique(&self.outside.clone(), "made");
        fs::create_dir_all(dir.join("d1/d2")).unwrap();
        for file in ["f1", "d1/f2", "d1/d2/f3"] {
            fs::write(dir.join(file), "x").unwrap();
        }
        dir
    }

    /// One change. It may fail, since what it wants to change may just have gone.
    fn change(&mut self) -> std::io::Result<()> {
        match self.random.below(100) {
            0..20 => {
                let file = self.file();
                fs::create_dir_all(file.parent().unwrap())?;
                fs::write(file, "x")
            }
            20..35 => {
                let dir = self.dir();
                fs::create_dir_all(&dir)?;
                fs::write(dir.join("leaf"), "x")
            }
            35..50 => chown(self.file(), Some(0), Some(0)),
            50..55 => chown(self.dir(), Some(0), Some(0)),
            55..62 => {
                let mode = [0o666, 0o4755, 0o400, 0o777][self.random.below(4)];
                fs::set_permissions(self.file(), fs::Permissions::from_mode(mode))
            }
            62..66 => {
                let mode = [0o755, 0o2770, 0o500][self.random.below(3)];
                fs::set_permissions(self.dir(), fs::Permissions::from_mode(mode))
            }
            66..74 => {
                // As a defragmentation does.
                let (file, new) = (self.file(), self.unique(&self.top.clone(), "new"));
                fs::write(&new, "x")?;
                fs::rename(new, file)
            }
            74..80 => fs::rename(self.dir(), self.dir()),
            80..85 => {
                let out = self.unique(&self.outside.clone(), "moved");
                fs::rename(self.dir().join("d1"), &out)?;
                chown(out.join("leaf"), Some(0), Some(0))?;
                fs::rename(out, self.dir())
            }
            85..90 => {
                let (from, to) = (self.made_outside(), self.dir());
                let to = self.unique(&to, "in");
                fs::rename(from, to)
            }
            90..94 => fs::remove_file(self.file()),
            94..99 => fs::remove_dir_all(self.dir().join("d0")),
            _ if self.random.below(8) > 0 => fs::write(self.file(), "x"),
            _ => {
                // As a restore does; seldom, since it takes away what the others work on.
                let old = self.unique(self.top.clone().parent().unwrap(), "etcd-old");
                let new = self.made_outside();
                fs::rename(&self.top, old)?;
                fs::rename(new, &self.top)
            }
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text}")))
}

/// Waits until the tree is right and asserts that it did not take longer than a second.
fn right_soon(host: &mut Host, context: &str) -> Duration {
    let (top, etcd) = (host.at(ETCD), host.etcd().unwrap());
    let (mut left, mut slowest) = (Vec::new(), Duration::ZERO);
    let start = Instant::now();
    host.until("all is right, or too late", |_| {
        let began = Instant::now();
        left = wrong(&top, etcd);
        slowest = slowest.max(began.elapsed());
        left.is_empty() || start.elapsed() > SECOND + slowest * LOOKS
    });
    let took = start.elapsed();
    assert!(
        left.is_empty(),
        "{context}: wrong after {took:?}, and a bare look takes {slowest:?}: {left:#?}\nlog:\n{}",
        host.log()
    );
    took
}

/// All threads make their changes; gives how many of them could be made.
fn change_at_once(host: &Host, seed: u64, nonce: u64, changes: usize) -> usize {
    let outside = host.at("/var/lib/rancher/rke2/server/db/outside");
    fs::create_dir_all(&outside).unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|id| {
            let mut changer = Changer {
                random: Random::new(seed ^ (nonce << 32) ^ (id << 56)),
                top: host.at(ETCD),
                outside: outside.clone(),
                count: nonce << 32,
                id,
            };
            std::thread::spawn(move || (0..changes).filter(|_| changer.change().is_ok()).count())
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).sum()
}

#[test]
fn after_any_changes_by_several_at_once_everything_is_soon_right() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("NODEGUARD_SEED").unwrap_or(now.as_micros() as u64);
    let rounds = number("NODEGUARD_ROUNDS").unwrap_or(5);
    println!("seed {seed} (NODEGUARD_SEED={seed} does it again)");
    let mut host = Host::server();
    host.start();
    host.make_data_dir();
    right_soon(&mut host, "at the start");
    for round in 0..rounds {
        let (mut all, mut longest) = (0, Duration::ZERO);
        for (step, changes) in CHANGES.into_iter().enumerate() {
            let nonce = (round << 8) + step as u64;
            all += change_at_once(&host, seed, nonce, changes);
            let took = right_soon(&mut host, &format!("seed {seed}, round {round}, step {step}"));
            longest = longest.max(took);
        }
        println!("figure: round {round}: {all} changes, right {} ms after", longest.as_millis());
        assert!(all > 500, "most of it failed: {all} changes");
    }
    host.until("ready", |host| host.status().starts_with("ready"));
}

#[test]
fn no_leaf_is_lost_when_trees_are_made_in_one_go() {
    let mut host = Host::server();
    host.start();
    host.make_data_dir();
    right_soon(&mut host, "at the start");
    for n in 0..500 {
        let dir = host.at(ETCD).join(format!("t{n}/a/b/c"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("leaf"), "x").unwrap();
    }

    let took = right_soon(&mut host, "500 trees");

    println!("figure: 500 trees, right {} ms after the last", took.as_millis());
}

#[test]
fn a_tree_made_and_removed_again_and_again_is_right_in_the_end() {
    let mut host = Host::server();
    host.start();
    host.make_data_dir();
    right_soon(&mut host, "at the start");
    let top = host.at(ETCD).join("again");
    // Fewer than somebody needs who is said to contest it, for then it is held back from.
    for n in 0..MADE_AGAIN {
        fs::create_dir_all(top.join("a/b/c")).unwrap();
        fs::write(top.join("a/b/c/leaf"), "x").unwrap();
        if n + 1 < MADE_AGAIN {
            fs::remove_dir_all(&top).unwrap();
        }
    }

    let took = right_soon(&mut host, "the last one");

    println!("figure: made {MADE_AGAIN} times, right {} ms after the last", took.as_millis());
}

#[test]
fn trees_that_are_filled_while_they_are_found_are_right_one_by_one() {
    let mut host = Host::server();
    host.start();
    host.make_data_dir();
    right_soon(&mut host, "at the start");
    let mut longest = Duration::ZERO;
    for n in 0..100 {
        let dir = host.at(ETCD).join(format!("t{n}/a/b/c"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("leaf"), "x").unwrap();
        longest = longest.max(right_soon(&mut host, &format!("tree {n}")));
    }
    println!("figure: 100 trees, the slowest right after {} ms", longest.as_millis());
}
