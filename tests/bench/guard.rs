// SPDX-License-Identifier: Apache-2.0
//! The guard against its neighbours, in one run on one machine: the ratio is what counts.
//!
//! Drift: a file of etcd's is given to root, and its owner is read until it is etcd's again; the
//! same for the real daemon, for a bare inotify loop that does nothing else, and for the shell
//! loop around `inotifywait -m -r` that operators write. Walks: whole processes, `nodeguard check`
//! and `nodeguard apply` against coreutils' `chown -R --from` and `chown -R`.

mod contest;
#[path = "../daemon/host.rs"]
#[allow(dead_code)]
mod host;
mod parameters;

use std::ffi::CString;
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use host::{ETCD, Host, proc_file};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

const OWNER: (u32, u32) = (52034, 52035);

/// Files that are made wrong in turn, so that none is wrong more often than an accident would make
/// it (see `src/pace/limits.rs`).
const FILES: usize = 40;

fn main() {
    let number = |name: &str, default: usize| {
        std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let events = number("NODEGUARD_BENCH_EVENTS", 2000);
    let largest = number("NODEGUARD_BENCH_ENTRIES", 100_000);
    parameters::drift(events);
    parameters::idle(Duration::from_secs(number("NODEGUARD_BENCH_IDLE", 60) as u64));
    drift(events);
    contest::cost(Duration::from_secs(number("NODEGUARD_BENCH_CONTEST", 30) as u64));
    growth(largest);
}

// ---- drift ----------------------------------------------------------------------------------

struct Latencies(Vec<Duration>);

impl Latencies {
    fn at(&self, share: f64) -> f64 {
        let index = ((self.0.len() - 1) as f64 * share).round() as usize;
        self.0[index].as_secs_f64() * 1e6
    }
}

/// Makes files wrong in turn and measures how long each stays so.
fn measure(dir: &Path, right: (u32, u32), events: usize) -> Latencies {
    let mut latencies = Vec::with_capacity(events);
    for n in 0..events {
        let path = dir.join(format!("member/snap/f{}", n % FILES));
        let begin = Instant::now();
        chown(&path, Some(0), Some(0)).unwrap();
        loop {
            let metadata = fs::symlink_metadata(&path).unwrap();
            if (metadata.uid(), metadata.gid()) == right {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "{} stays root's", path.display());
        }
        latencies.push(begin.elapsed());
        // The next one comes when this one is over, as drift does.
        let rest = Instant::now() + Duration::from_millis(4);
        while Instant::now() < rest {
            std::thread::yield_now();
        }
    }
    latencies.sort();
    Latencies(latencies)
}

fn make_files(dir: &Path, owner: (u32, u32)) {
    fs::create_dir_all(dir.join("member/snap")).unwrap();
    fs::create_dir_all(dir.join("member/wal")).unwrap();
    for n in 0..FILES {
        fs::write(dir.join(format!("member/snap/f{n}")), "x").unwrap();
    }
    let ids = format!("{}:{}", owner.0, owner.1);
    assert!(Command::new("chown").arg("-R").arg(ids).arg(dir).status().unwrap().success());
}

fn drift(events: usize) {
    println!("owner drift to owner right again, {events} events each (µs)");
    println!("  {:<34} {:>9} {:>9} {:>9}", "", "p50", "p99", "max");
    let bare = {
        let dir = tempfile::tempdir().unwrap();
        make_files(dir.path(), OWNER);
        bare_loop(dir.path());
        measure(dir.path(), OWNER, events)
    };
    print_row("bare inotify loop", &bare);
    let ours = {
        let mut host = Host::server();
        host.start();
        let etcd = host.etcd().unwrap();
        make_files(&host.at(ETCD), etcd);
        let last = format!("{ETCD}/member/wal");
        // The mode shows that the walk has been here and the watches are set.
        host.until("guarded", |host| {
            fs::metadata(host.at(&last)).is_ok_and(|m| m.mode() & 0o777 == 0o700)
        });
        measure(&host.at(ETCD), etcd, events)
    };
    print_row("nodeguard", &ours);
    let shell = {
        let dir = tempfile::tempdir().unwrap();
        make_files(dir.path(), OWNER);
        let _shell = shell_loop(dir.path());
        measure(dir.path(), OWNER, events)
    };
    print_row("inotifywait -m -r, shell loop", &shell);
    print_ratio("p50 against the bare loop", ours.at(0.5) / bare.at(0.5), Some(5.0));
    print_ratio("p99 against the bare loop", ours.at(0.99) / bare.at(0.99), Some(10.0));
    print_ratio("p50 against the shell loop", ours.at(0.5) / shell.at(0.5), None);
}

/// The least that could undo it: one directory, one event, one stat, one chown.
fn bare_loop(dir: &Path) {
    let snap = dir.join("member/snap");
    let inotify = inotify::init(CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&inotify, &snap, WatchFlags::ATTRIB).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            let Some(name) = event.file_name().map(CString::from) else { continue };
            let path = snap.join(name.to_str().unwrap());
            if fs::symlink_metadata(&path).is_ok_and(|m| (m.uid(), m.gid()) != OWNER) {
                let _ = chown(&path, Some(OWNER.0), Some(OWNER.1));
            }
        }
    });
}

struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = Command::new("pkill").args(["-P", &self.0.id().to_string()]).status();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn shell_loop(dir: &Path) -> Stopped {
    let line = format!(
        "inotifywait -m -r -e attrib -e create -e moved_to --format %w%f {} 2>{}/ready | \
         while read -r f; do [ ! -O \"$f\" ] || chown {}:{} \"$f\"; done",
        dir.display(),
        dir.display(),
        OWNER.0,
        OWNER.1
    );
    let child = Command::new("bash").args(["-c", &line]).stdin(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    while !fs::read_to_string(dir.join("ready")).is_ok_and(|t| t.contains("established")) {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "inotifywait (inotify-tools) is missing"
        );
        std::thread::yield_now();
    }
    Stopped(child)
}

// ---- walks ----------------------------------------------------------------------------------

/// Fifty files a directory, as in a data dir with many snapshots.
fn make_tree(dir: &Path, entries: usize) {
    let mut made = 0;
    let mut n = 0;
    while made < entries {
        let below = dir.join(format!("member/d{n}"));
        fs::create_dir_all(&below).unwrap();
        for file in 0..49.min(entries - made) {
            let path = below.join(format!("f{file}"));
            fs::File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)
                .unwrap();
        }
        made += 50;
        n += 1;
    }
}

fn timed(runs: usize, mut before: impl FnMut(), mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            before();
            let begin = Instant::now();
            run();
            begin.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// What a tree of some size takes.
struct Walked {
    entries: usize,
    /// Milliseconds.
    check: f64,
    apply: f64,
    /// Memory of the daemon, MiB.
    resident: f64,
    peak: f64,
}

/// From a thousand entries to `largest`, each ten times the one before.
fn growth(largest: usize) {
    let sizes = std::iter::successors(Some(1000), |n| Some(n * 10));
    let walked: Vec<_> = sizes.take_while(|n| *n <= largest).map(walks).collect();
    println!("growth (ms, and MiB of the daemon that repaired it while it ran; goals 4, 10)");
    println!(
        "  {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "entries", "check", "", "apply", "", "resident", "peak"
    );
    for (n, now) in walked.iter().enumerate() {
        let before = &walked[n.saturating_sub(1)];
        println!(
            "  {:>9} {:>9.1} {:>8.1}x {:>9.1} {:>8.1}x {:>9.1} {:>9.1}",
            now.entries,
            now.check,
            now.check / before.check,
            now.apply,
            now.apply / before.apply,
            now.resident,
            now.peak,
        );
    }
}

fn walks(entries: usize) -> Walked {
    // As an image, so that both are one process and nothing else.
    let mut host = Host::server();
    let root = host.at("/").to_str().unwrap().to_owned();
    let nodeguard = |command: &str| {
        let status = Command::new(env!("CARGO_BIN_EXE_nodeguard"))
            .args([command, "--role", "server", "--root", &root])
            .stdout(Stdio::null())
            .status();
        assert_eq!(status.unwrap().code(), Some(0), "{command}");
    };
    nodeguard("apply");
    let (uid, gid) = host.etcd().unwrap();
    let dir: PathBuf = host.at(ETCD);
    make_tree(&dir, entries);
    let ids = format!("{uid}:{gid}");
    let chown_all = |arguments: &[&str]| {
        let status = Command::new("chown").arg("-R").args(arguments).arg(&dir).status();
        assert!(status.unwrap().success());
    };
    let apply = || nodeguard("apply");
    apply();
    let runs = if entries > 100_000 { 3 } else { 7 };
    let check = timed(runs, || (), || nodeguard("check"));
    let from = timed(runs, || (), || chown_all(&["--from=0:0", &ids]));
    let repair = timed(runs, || chown_all(&["0:0"]), apply);
    let chown_r = timed(runs, || chown_all(&["0:0"]), || chown_all(&[&ids]));
    println!("{entries} entries (ms, whole processes, median of {runs})");
    println!("  all right:  nodeguard check {check:>9.1}   chown -R --from {from:>9.1}");
    println!("  all wrong:  nodeguard apply {repair:>9.1}   chown -R        {chown_r:>9.1}");
    print_ratio("check against chown -R --from", check / from, Some(0.7));
    print_ratio("apply against chown -R", repair / chown_r, Some(1.0));

    host.start();
    chown_all(&["0:0"]);
    let begin = Instant::now();
    let mut pending = vec![dir];
    while let Some(path) = pending.pop() {
        let is_right = |path: &Path| {
            fs::symlink_metadata(path).is_ok_and(|m| (m.uid(), m.gid()) == (uid, gid))
        };
        while !is_right(&path) {
            assert!(begin.elapsed() < REPAIR_LIMIT, "{} stays root's", path.display());
            std::thread::yield_now();
        }
        let entries = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap());
        pending.extend(entries.filter(|e| e.file_type().unwrap().is_dir()).map(|e| e.path()));
    }
    let status = proc_file(host.pid(), "status");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    };
    let (resident, peak) = (field("VmRSS:"), field("VmHWM:"));
    Walked { entries, check, apply: repair, resident, peak }
}

/// For the daemon to make a tree right that was made wrong under it.
const REPAIR_LIMIT: Duration = Duration::from_secs(300);

fn print_row(name: &str, l: &Latencies) {
    println!("  {name:<34} {:>9.0} {:>9.0} {:>9.0}", l.at(0.5), l.at(0.99), l.at(1.0));
}

fn print_ratio(name: &str, ratio: f64, goal: Option<f64>) {
    let verdict = match goal {
        Some(goal) if ratio <= goal => format!("goal {goal} met"),
        Some(goal) => format!("goal {goal} MISSED"),
        None => String::new(),
    };
    println!("  => {name:<34} {ratio:>6.2}x  {verdict}");
}
