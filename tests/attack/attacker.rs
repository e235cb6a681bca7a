// SPDX-License-Identifier: Apache-2.0
//! What an attacker does who is etcd: a process of its own with etcd's uid and gid, no other group
//! and no capability, working in the data directory.
//!
//! The process is this test program again, told by its environment which attack to run. It says
//! what it did in one line on stdout.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};

use crate::host::{ETCD, Host, PATIENCE};

/// Objects that are swapped. As many as this, so that none of them is corrected so often that the
/// daemon holds back from it: that would end the race.
pub const GROUPS: usize = 64;

/// Steps with one group before it is the next one's turn.
const BURST: usize = 512;

/// Between two steps in which an object is made wrong: with as many in turn, none is so more often
/// than what is never a contest (see `src/pace/limits.rs`), and the race goes on to the end.
const SPOIL_EVERY: Duration = Duration::from_millis(4);

/// Where the swapping happens, below the data directory, if there is one attacker.
pub const ARENA: &str = "member/snap";

/// The canary's directory from an arena: for a link that the daemon, which has the host's directory
/// for its root, reads as the attacker does.
const CANARY: &str = "../../../../../../../../../srv/canary";

/// How long an attack in a loop goes on, if nobody says.
pub const SECONDS: u64 = 3;

/// How long it is to go on, for whoever runs the tests or, in an attacker's process, for that.
pub fn seconds(default: u64) -> u64 {
    let text = std::env::var("NODEGUARD_ATTACK_SECONDS").unwrap_or_else(|_| default.to_string());
    text.parse().expect("NODEGUARD_ATTACK_SECONDS is a number of seconds")
}

/// Whether who spoils rests now, having begun at `since`: four seconds in twenty. A tree that needs
/// mending for a minute without a pause is contested, and the race would be over.
pub fn rests(since: Instant) -> bool {
    since.elapsed().as_secs() % 20 >= 16
}

/// The process's own end.
fn end() -> Instant {
    Instant::now() + Duration::from_secs(seconds(SECONDS))
}

fn enter_arena() {
    std::env::set_current_dir(std::env::var_os("NODEGUARD_ATTACK_ARENA").unwrap()).unwrap();
}

/// A running attacker.
pub struct Attacker {
    /// How long its loop goes on.
    pub lasts: Duration,
    child: Child,
    said: Receiver<String>,
}

impl Attacker {
    /// Starts the attack `name` in `arena`, a directory on the second level below the data
    /// directory, against whatever is at `canary`.
    pub fn start(host: &Host, name: &str, arena: &str, canary: &Path, seconds: u64) -> Self {
        // The directory this test was built in may be closed to etcd.
        let program = host.at("/attacker");
        if !program.exists() {
            std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        }
        let (uid, gid) = host.etcd().expect("the account is there");
        let mut child = Command::new("setpriv")
            .args([format!("--reuid={uid}"), format!("--regid={gid}")])
            .args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"])
            .arg(&program)
            .args(["--exact", "the_attacker", "--ignored", "--nocapture"])
            .env("NODEGUARD_ATTACK", name)
            .env("NODEGUARD_ATTACK_CANARY", canary)
            .env("NODEGUARD_ATTACK_ARENA", arena)
            .env("NODEGUARD_ATTACK_SECONDS", seconds.to_string())
            .current_dir(host.at(ETCD))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv (package util-linux)");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (say, said) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, text)) = line.split_once("attacker: ") {
                    let _ = say.send(text.to_owned());
                }
            }
        });
        Self { lasts: Duration::from_secs(seconds), child, said }
    }

    /// The next thing it says, waited for at most `limit`.
    pub fn says(&self, limit: Duration) -> Option<String> {
        match self.said.recv_timeout(limit) {
            Ok(text) => Some(text),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the attacker died"),
        }
    }

    /// Waits until its preparations are done and the attack proper begins.
    pub fn prepared(self) -> Self {
        assert_eq!(self.says(PATIENCE).as_deref(), Some("prepared"));
        self
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process itself.
pub fn run(name: &str, canary: &Path) {
    assert!(!rustix::process::geteuid().is_root());
    let root = Some(rustix::fs::Uid::ROOT);
    let give_away = rustix::fs::chownat(CWD, ".", root, None, AtFlags::empty());
    assert_eq!(give_away, Err(rustix::io::Errno::PERM), "an attacker without privileges");
    let done = match name {
        "swap" => swap(),
        "exchange" => exchange(),
        "hard-link" => hard_link(canary),
        "special" => special(),
        "mount" => mount(),
        "nest" => nest(),
        "names" => names(),
        "wide" => wide(),
        "flood" => flood(),
        "overflow" => overflow(),
        other => panic!("no such attack: {other}"),
    };
    println!("attacker: done {done}");
}

fn file(name: &str) -> OwnedFd {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(name, flags, Mode::from_raw_mode(0o600)).unwrap()
}

/// Makes what is behind `fd` wrong, in the one way its owner can. While it is root's it is wrong
/// anyway, and not for us to change.
fn spoil(fd: &OwnedFd) {
    let _ = rustix::fs::fchmod(fd, Mode::from_raw_mode(0o666));
}

fn exchanged(a: &str, b: &str) {
    rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
}

/// What to do in one step of a loop.
struct Step {
    /// With which group.
    k: usize,
    count: usize,
    /// Whether to make something wrong in it.
    spoil: bool,
}

/// Calls `act` until the time is over, in bursts for each group, and counts.
fn until_the_end(mut act: impl FnMut(Step)) -> usize {
    println!("attacker: prepared");
    let (began, end, mut spoilt, mut count) = (Instant::now(), end(), Instant::now(), 0);
    while Instant::now() < end {
        let spoil = spoilt.elapsed() >= SPOIL_EVERY && !rests(began);
        if spoil {
            spoilt = Instant::now();
        }
        act(Step { k: count / BURST % GROUPS, count, spoil });
        count += 1;
    }
    count
}

/// A file that turns into a link to a file of root's and back.
fn swap() -> usize {
    enter_arena();
    let target = Path::new(CANARY).join("db");
    assert!(target.exists());
    let mut files = Vec::new();
    for k in 0..GROUPS {
        files.push(file(&format!("f{k}")));
        std::os::unix::fs::symlink(&target, format!("l{k}")).unwrap();
    }
    until_the_end(|Step { k, count, spoil: due }| {
        let (name, link) = (format!("f{k}"), format!("l{k}"));
        if due {
            spoil(&files[k]);
        }
        if count % 16 != 0 {
            exchanged(&name, &link);
            exchanged(&name, &link);
        } else {
            std::fs::remove_file(&name).unwrap();
            std::os::unix::fs::symlink(&target, &name).unwrap();
            std::fs::remove_file(&name).unwrap();
            files[k] = file(&name);
        }
    })
}

/// A directory that turns into a link to a directory of root's, with the same names in it.
fn exchange() -> usize {
    enter_arena();
    assert!(Path::new(CANARY).join("db").exists());
    let mut files = Vec::new();
    for k in 0..GROUPS {
        std::fs::create_dir_all(format!("d{k}/sub")).unwrap();
        files.push([file(&format!("d{k}/db")), file(&format!("d{k}/sub/x"))]);
        std::os::unix::fs::symlink(CANARY, format!("l{k}")).unwrap();
    }
    until_the_end(|Step { k, spoil: due, .. }| {
        if due {
            files[k].iter().for_each(spoil);
        }
        exchanged(&format!("d{k}"), &format!("l{k}"));
        exchanged(&format!("d{k}"), &format!("l{k}"));
    })
}

/// Tries to link to files of root's, then swaps its own for those that were planted as `h…`.
fn hard_link(canary: &Path) -> usize {
    let mut made = 0;
    for name in ["db", "key", "set-id", "sub/x"] {
        made += usize::from(std::fs::hard_link(canary.join(name), format!("mine-{made}")).is_ok());
    }
    println!("attacker: linked {made}");
    enter_arena();
    let files: Vec<_> = (0..GROUPS).map(|k| file(&format!("f{k}"))).collect();
    until_the_end(|Step { k, spoil: due, .. }| {
        if due {
            spoil(&files[k]);
        }
        exchanged(&format!("f{k}"), &format!("h{k}"));
        exchanged(&format!("f{k}"), &format!("h{k}"));
    })
}

/// A file that turns into a fifo, a socket and a device that was planted as `n…`.
fn special() -> usize {
    enter_arena();
    let mut files = Vec::new();
    for k in 0..GROUPS {
        files.push(file(&format!("f{k}")));
        rustix::fs::mknodat(
            CWD,
            format!("p{k}"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o666),
            0,
        )
        .unwrap();
        drop(std::os::unix::net::UnixListener::bind(format!("s{k}")).unwrap());
    }
    until_the_end(|Step { k, spoil: due, .. }| {
        if due {
            spoil(&files[k]);
        }
        for other in ["p", "s", "n"] {
            exchanged(&format!("f{k}"), &format!("{other}{k}"));
            exchanged(&format!("f{k}"), &format!("{other}{k}"));
        }
    })
}

/// Directories `d…` that change places with `m…`, on which the daemon has a mount.
fn mount() -> usize {
    enter_arena();
    let mut files = Vec::new();
    for k in 0..GROUPS {
        std::fs::create_dir_all(format!("d{k}/sub")).unwrap();
        std::fs::create_dir(format!("m{k}")).unwrap();
        files.push([file(&format!("d{k}/db")), file(&format!("d{k}/sub/x"))]);
    }
    until_the_end(|Step { k, spoil: due, .. }| {
        if due {
            files[k].iter().for_each(spoil);
        }
        exchanged(&format!("d{k}"), &format!("m{k}"));
        exchanged(&format!("d{k}"), &format!("m{k}"));
    })
}

/// 4,000 directories, each in the one before, made relative to a descriptor: no path names them.
fn nest() -> usize {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir = rustix::fs::open(".", flags, Mode::empty()).unwrap();
    for _ in 0..4000 {
        rustix::fs::mkdirat(&dir, "deep", Mode::from_raw_mode(0o777)).unwrap();
        dir = rustix::fs::openat(&dir, "deep", flags, Mode::empty()).unwrap();
    }
    println!("attacker: prepared");
    // It moves as a whole, and its far end goes on changing.
    let (end, mut count) = (end(), 0);
    while Instant::now() < end {
        exchanged("deep", "member");
        exchanged("deep", "member");
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(if count % 2 == 0 { 0o777 } else { 0o700 }))
            .unwrap();
        count += 1;
    }
    count
}

/// Names that are made to be misread.
pub const STRANGE: [&[u8]; 9] = [
    b"new\nline",
    b"x\nMAINPID=1\nSTOPPING=1",
    b"\nnodeguard: forged",
    b"not utf-8 \xff\xfe\x80",
    b"\x1b[2J\x1b[31mescape\x07",
    b"-rf",
    b" ",
    b"%s%n$(reboot)`reboot`;'\"",
    &[b'a'; 255],
];

fn names() -> usize {
    use std::os::unix::ffi::OsStrExt;
    enter_arena();
    let strange: Vec<_> = STRANGE.iter().map(|n| std::ffi::OsStr::from_bytes(n)).collect();
    for name in &strange {
        std::fs::create_dir(name).unwrap();
        for inner in &strange {
            std::fs::write(Path::new(name).join(inner), "x").unwrap();
        }
    }
    std::fs::create_dir("links").unwrap();
    for name in &strange {
        std::os::unix::fs::symlink(
            Path::new("..").join(CANARY).join(name),
            Path::new("links").join(name),
        )
        .unwrap();
    }
    until_the_end(|Step { count, .. }| {
        let dir = Path::new(strange[count % strange.len()]);
        let name = dir.join(strange[count / strange.len() % strange.len()]);
        let mode = Mode::from_raw_mode(if count % 2 == 0 { 0o666 } else { 0o600 });
        rustix::fs::chmodat(CWD, name, mode, AtFlags::empty()).unwrap();
    })
}

/// 20,000 directories with long names, side by side.
fn wide() -> usize {
    println!("attacker: prepared");
    for n in 0..30_000 {
        std::fs::create_dir(format!("{n:0100}")).unwrap();
    }
    30_000
}

/// Events without an end: modes that are right and modes that are wrong, renames of files and of
/// directories with something in them.
fn flood() -> usize {
    enter_arena();
    // Fewer than the hints that the daemon keeps in a turn: all of them are looked at.
    let files: Vec<_> = (0..500).map(|n| file(&format!("{n:0100}"))).collect();
    std::fs::create_dir("d").unwrap();
    (0..200).for_each(|n| drop(file(&format!("d/{n}"))));
    until_the_end(|Step { count, .. }| {
        for (n, fd) in files.iter().enumerate() {
            let right = (count + n) % 97 != 0;
            let mode = if !right { 0o666 } else { 0o600 + u32::from(count % 2 == 0) * 0o44 };
            rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)).unwrap();
        }
        let name = format!("{:0100}", count % 500);
        std::fs::rename(&name, "aside").unwrap();
        std::fs::rename("aside", &name).unwrap();
        std::fs::rename("d", "e").unwrap();
        std::fs::rename("e", "d").unwrap();
    })
}

/// More events than the kernel's queue takes, no two alike in a row, and about few files that are
/// all right: none of them is a reason to look at more.
fn overflow() -> usize {
    enter_arena();
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let events = limit.trim().parse::<usize>().unwrap() + 1000;
    let files: Vec<_> = (0..2).map(|n| file(&format!("f{n}"))).collect();
    println!("attacker: prepared");
    for n in 0..events {
        let mode = Mode::from_raw_mode(if n % 4 < 2 { 0o600 } else { 0o644 });
        rustix::fs::fchmod(&files[n % files.len()], mode).unwrap();
    }
    events
}
