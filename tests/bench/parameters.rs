// SPDX-License-Identifier: Apache-2.0
//! Kernel parameters: drift to value right again against a bare loop on the held descriptors, and
//! what the guard costs when nothing happens. On plain files, never on this machine's parameters.

use std::fs::File;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

use crate::host::{ETCD, Host, proc_file};
use crate::{Latencies, print_ratio, print_row};

const RIGHT: [(&str, &str); 7] = [
    ("fs/protected_hardlinks", "1"),
    ("vm/panic_on_oom", "0"),
    ("vm/overcommit_memory", "1"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Between two writes: with as many parameters in turn none is wrong more often than an accident
/// would make it (see `src/pace/limits.rs`).
const REST: Duration = Duration::from_millis(16);

pub fn drift(writes: usize) {
    println!("kernel parameter drift to value right again, {writes} writes each (µs)");
    println!("  {:<34} {:>9} {:>9} {:>9}", "", "p50", "p99", "max");
    let bare = {
        let dir = tempfile::tempdir().unwrap();
        for (key, value) in RIGHT {
            let path = dir.path().join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{value}\n")).unwrap();
        }
        bare_loop(dir.path());
        measure(dir.path(), writes)
    };
    print_row("bare loop on the held descriptors", &bare);
    let guarded = |settings: &str| {
        let mut host = Host::server();
        std::fs::create_dir_all(host.at("/etc/nodeguard")).unwrap();
        host.write("/etc/nodeguard/nodeguard.toml", settings);
        host.start();
        host.until("ready", |host| host.status().starts_with("ready"));
        let latencies = measure(&host.at("stock"), writes);
        assert!(!host.log().contains("contested"), "what was measured was no accident");
        latencies
    };
    let ours = guarded("");
    print_row("nodeguard", &ours);
    let named = guarded("attribution = true\n");
    print_row("nodeguard, who did it is looked for", &named);
    print_ratio("p50 against the bare loop", ours.at(0.5) / bare.at(0.5), Some(5.0));
    print_ratio("p99 against the bare loop", ours.at(0.99) / bare.at(0.99), Some(10.0));
    print_ratio("p50, who did it is looked for", named.at(0.5) / bare.at(0.5), None);
}

/// Writes wrong values in turn and measures how long each stays.
fn measure(dir: &Path, writes: usize) -> Latencies {
    let open = |path: PathBuf| File::options().read(true).write(true).open(path).unwrap();
    let files: Vec<_> =
        RIGHT.iter().map(|(key, value)| (open(dir.join(key)), format!("{value}\n"))).collect();
    let mut latencies = Vec::with_capacity(writes);
    for n in 0..writes {
        let (file, right) = &files[n % files.len()];
        let mut wrong = vec![b'7'; right.len() - 1];
        wrong.push(b'\n');
        let begin = Instant::now();
        file.write_all_at(&wrong, 0).unwrap();
        let mut now = [0; 32];
        loop {
            let n = file.read_at(&mut now, 0).unwrap();
            if now[..n] == *right.as_bytes() {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "{right} is not set again");
        }
        latencies.push(begin.elapsed());
        let rest = begin + REST;
        while Instant::now() < rest {
            std::thread::yield_now();
        }
    }
    latencies.sort();
    Latencies(latencies)
}

/// The least that could undo it: one event, one read, one write.
fn bare_loop(dir: &Path) {
    let inotify = inotify::init(CreateFlags::CLOEXEC).unwrap();
    let mut held = Vec::new();
    for (key, value) in RIGHT {
        let path = dir.join(key);
        let watch = inotify::add_watch(&inotify, &path, WatchFlags::MODIFY).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        held.push((watch, file, format!("{value}\n")));
    }
    std::thread::spawn(move || {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            let Some((_, file, right)) = held.iter().find(|(wd, ..)| *wd == event.wd()) else {
                continue;
            };
            let mut now = [0; 32];
            if file.read_at(&mut now, 0).is_ok_and(|n| now[..n] != *right.as_bytes()) {
                let _ = file.write_all_at(right.as_bytes(), 0);
            }
        }
    });
}

/// What etcd does all day: appends to its log and to its database.
const WRITES_A_SECOND: u32 = 500;

/// What the poll of the held descriptors costs: an idle daemon does nothing else, and neither does one
/// whose etcd writes.
pub fn idle(time: Duration) {
    for (name, settings, writes) in [
        ("", "", false),
        (", who did it is looked for", "attribution = true\n", false),
        (", etcd writes 500 times a second", "", true),
    ] {
        let mut host = Host::server();
        std::fs::create_dir_all(host.at("/etc/nodeguard")).unwrap();
        host.write("/etc/nodeguard/nodeguard.toml", settings);
        host.make_data_dir();
        host.start_bus();
        // As in the unit.
        host.start_with_watchdog(Some("60000000"));
        host.until("ready", |host| host.status().starts_with("ready"));
        // What the start still had to say is over.
        pass(Duration::from_secs(8));
        let (wakeups, busy, begin) = (wakeups(&host), busy(&host), Instant::now());
        let written = if writes { write(&host, time) } else { pass(time) };
        let minutes = begin.elapsed().as_secs_f64() / 60.0;
        let wakeups = (self::wakeups(&host) - wakeups) as f64 / minutes;
        let share = (self::busy(&host) - busy) as f64 / 1e9 / (minutes * 60.0);
        println!("idle for {:.0} s, the poll every 5 s{name}", time.as_secs_f64());
        if written > 0 {
            println!("  {:.0} writes a second", f64::from(written) / (minutes * 60.0));
        }
        println!(
            "  wakeups of all threads a minute {wakeups:.0} (goal: 30), CPU {:.5} %",
            share * 100.0
        );
    }
}

/// Lets time pass; nothing is written meanwhile.
fn pass(time: Duration) -> u32 {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|t| !t.is_zero()) {
        std::thread::park_timeout(left);
    }
    0
}

/// As etcd: each write is on the disk before the next, in a file of the log and in the database. How
/// many there were.
fn write(host: &Host, time: Duration) -> u32 {
    let mut files = ["member/wal/0.wal", "member/snap/db"]
        .map(|name| File::options().append(true).open(host.at(ETCD).join(name)).unwrap());
    let (begin, mut written) = (Instant::now(), 0);
    while begin.elapsed() < time {
        let file = &mut files[written as usize % 2];
        file.write_all(&[b'x'; 512]).unwrap();
        file.sync_data().unwrap();
        written += 1;
        let due = begin + Duration::from_secs(1) * written / WRITES_A_SECOND;
        if let Some(left) = due.checked_duration_since(Instant::now()) {
            pass(left);
        }
    }
    written
}

/// Wakeups of all threads.
fn wakeups(host: &Host) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", host.pid())).unwrap();
    let of = |task: std::fs::DirEntry| -> u64 {
        let status = proc_file(host.pid(), &format!("task/{}/status", task.file_name().display()));
        let line = status.lines().find(|l| l.starts_with("voluntary_ctxt_switches")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    tasks.map(|task| of(task.unwrap())).sum()
}

/// Nanoseconds on a processor.
pub fn busy(host: &Host) -> u64 {
    proc_file(host.pid(), "schedstat").split_whitespace().next().unwrap().parse().unwrap()
}
