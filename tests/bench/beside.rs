// SPDX-License-Identifier: Apache-2.0
//! How long a wrong owner lasts, below a directory that a guard watches and below one that a bare
//! inotify loop watches, in turn: whatever else the machine does meanwhile, it does to both. The loop
//! is a process of its own, as the guard is: in the one that measures it would have everything that
//! it needs in the processor's caches already.
//!
//! `beside DIR UID:GID COUNT [OTHER]`, in a booted node; see `tests/node/flood.sh`. Makes files in DIR,
//! which is guarded, and in a directory of its own. Prints a line for each of the two. OTHER is one that
//! `beside --loop OTHER UID:GID` watches already, as a service with the guard's own sandbox, say.

use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

type Owner = (u32, u32);

/// So many that none is wrong more often than an accident would make it (see `src/pace/limits.rs`).
const FILES: usize = 40;
/// Longer, and the correction is lost.
const LIMIT: Duration = Duration::from_secs(20);
/// Drift comes now and then.
const PAUSE: Duration = Duration::from_millis(20);
/// The other directory.
const BARE: &str = "/var/tmp/beside";
/// The argument that makes the program the loop.
const LOOP: &str = "--loop";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, dir, owner] = arguments.as_slice()
        && word == LOOP
    {
        watch(Path::new(dir), owner_of(owner).unwrap());
        return ExitCode::SUCCESS;
    }
    let parsed = match arguments.as_slice() {
        [dir, word, count, other @ ..] => owner_of(word)
            .zip(count.parse().ok())
            .map(|(o, n): (_, usize)| (dir, word, o, n, other)),
        _ => None,
    };
    let Some((dir, word, owner, count, other)) = parsed else {
        eprintln!("beside: expected DIR UID:GID COUNT [OTHER]; tests/bench/bus runs it in a node");
        return ExitCode::from(64);
    };
    let (guarded, bare) = (PathBuf::from(dir), PathBuf::from(BARE));
    let other = other.first().map(PathBuf::from);
    let _ = fs::remove_dir_all(&bare);
    fs::create_dir(&bare).unwrap();
    for dir in [&guarded, &bare].into_iter().chain(&other) {
        for n in 0..FILES {
            fs::write(file(dir, n), "x").unwrap();
            chown(file(dir, n), Some(owner.0), Some(owner.1)).unwrap();
        }
    }
    let _loop = bare_loop(word);
    let [mut ours, mut its, mut others] = [(); 3].map(|()| Latencies::default());
    for n in 0..count {
        ours.measure(&file(&guarded, n), owner);
        its.measure(&file(&bare, n), owner);
        if let Some(other) = &other {
            others.measure(&file(other, n), owner);
        }
    }
    println!("ours {}\nbare {}", ours.line(), its.line());
    if other.is_some() {
        println!("sandboxed {}", others.line());
    }
    for n in 0..FILES {
        let _ = fs::remove_file(file(&guarded, n));
    }
    ExitCode::SUCCESS
}

fn owner_of(word: &str) -> Option<Owner> {
    let (uid, gid) = word.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

fn file(dir: &Path, n: usize) -> PathBuf {
    dir.join(format!("beside-{}", n % FILES))
}

#[derive(Default)]
struct Latencies {
    taken: Vec<Duration>,
    lost: usize,
}

impl Latencies {
    fn measure(&mut self, path: &Path, right: Owner) {
        // Told by the kernel as the guard is: to look again and again would take a processor from
        // all the others, and to look now and then would be as slow as what is measured.
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&inotify, path, WatchFlags::ATTRIB).unwrap();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let begin = Instant::now();
        chown(path, Some(0), Some(0)).unwrap();
        loop {
            let metadata = fs::symlink_metadata(path).unwrap();
            if (metadata.uid(), metadata.gid()) == right {
                self.taken.push(begin.elapsed());
                break;
            }
            let Some(left) = LIMIT.checked_sub(begin.elapsed()) else {
                self.lost += 1;
                break;
            };
            let mut told = [PollFd::new(&inotify, PollFlags::IN)];
            poll(&mut told, Some(&left.try_into().unwrap())).unwrap();
            let mut events = Reader::new(&inotify, &mut buffer);
            while events.next().is_ok() {}
        }
        std::thread::sleep(PAUSE);
    }

    fn line(&mut self) -> String {
        self.taken.sort();
        let at = |share: f64| {
            let index = (self.taken.len().saturating_sub(1)) as f64 * share;
            self.taken.get(index.round() as usize).map_or(f64::NAN, |t| t.as_secs_f64() * 1e3)
        };
        format!(
            "n={} lost={} p50_ms={:.3} p99_ms={:.3} max_ms={:.3}",
            self.taken.len(),
            self.lost,
            at(0.5),
            at(0.99),
            at(1.0)
        )
    }
}

/// Ended when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The loop, which watches when this returns.
fn bare_loop(owner: &str) -> Ended {
    let mut child = Command::new("/proc/self/exe")
        .args([LOOP, BARE, owner])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "watching\n");
    Ended(child)
}

/// The least that could undo it: one directory, one event, one stat, one chown.
fn watch(dir: &Path, owner: Owner) {
    let inotify = inotify::init(CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&inotify, dir, WatchFlags::ATTRIB).unwrap();
    println!("watching");
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(&inotify, &mut buffer);
    while let Ok(event) = reader.next() {
        let Some(name) = event.file_name().map(CString::from) else { continue };
        let path = dir.join(name.to_str().unwrap());
        if fs::symlink_metadata(&path).is_ok_and(|m| (m.uid(), m.gid()) != owner) {
            let _ = chown(&path, Some(owner.0), Some(owner.1));
        }
    }
}
