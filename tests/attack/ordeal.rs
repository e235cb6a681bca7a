// SPDX-License-Identifier: Apache-2.0
//! The daemon under attack: what must hold all the time, and what it costs.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};

use crate::attacker::{self, ARENA, Attacker};
use crate::canary::Canary;
use crate::host::{ETCD, Host, proc_file};
use crate::right::wrong;

/// See [`Ordeal::sysctl_limit`].
const SYSCTL_LIMIT: Duration = Duration::from_secs(2);

/// The daemon's own watchdog, as the host sets it.
const WATCHDOG: Duration = Duration::from_secs(3);

/// Memory of a debug build, at its highest ever.
const MEMORY_LIMIT_KIB: u64 = 24 * 1024;

/// Between two looks at the daemon.
const PAUSE: Duration = Duration::from_millis(150);

/// Provocations of the daemon in a time that loops last. Few enough to be no fight, even where it
/// is a full pass that answers each: that is another test.
const PROVOCATIONS: u32 = 20;

/// The ticks of /proc, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// The pace of root's programs at work.
const BETWEEN_ENTRIES: Duration = Duration::from_millis(4);

/// A host with a guarded data directory and a canary beside it.
pub struct Ordeal {
    pub host: Host,
    pub canary: Canary,
    /// A kernel parameter must be right again after so long, whatever goes on in the tree.
    pub sysctl_limit: Duration,
    etcd: (u32, u32),
    /// To be the only attack on this machine: they are measured.
    _alone: fs::File,
}

impl Ordeal {
    pub fn new() -> Self {
        let alone = fs::File::create(concat!(env!("CARGO_TARGET_TMPDIR"), "/attack.lock")).unwrap();
        alone.lock().unwrap();
        let mut host = Host::server();
        host.make_data_dir();
        host.start();
        host.until("ready", |host| host.status().starts_with("ready"));
        let etcd = host.etcd().unwrap();
        assert_eq!(wrong(&host.at(ETCD), etcd), Vec::<String>::new());
        let canary = Canary::plant(&host);
        Self { host, canary, sysctl_limit: SYSCTL_LIMIT, etcd, _alone: alone }
    }

    /// One attacker, for a short time.
    pub fn attack(&self, name: &str) -> Attacker {
        self.attack_in(ARENA, name, attacker::seconds(attacker::SECONDS))
    }

    pub fn attack_in(&self, arena: &str, name: &str, seconds: u64) -> Attacker {
        Attacker::start(&self.host, name, arena, &self.canary.dir, seconds)
    }

    /// Lets `attacker` work and, until it is done, provokes the daemon and looks at it. Prints what
    /// it cost. Gives the attacker's count.
    pub fn endure(&mut self, attacker: &Attacker) -> usize {
        self.endure_all(std::slice::from_ref(attacker))[0]
    }

    /// The same with several at once.
    pub fn endure_all(&mut self, attackers: &[Attacker]) -> Vec<usize> {
        let every = attackers.iter().map(|attacker| attacker.lasts).max().unwrap() / PROVOCATIONS;
        let began = Instant::now();
        let cpu = self.cpu();
        let (mut worst, mut mended, mut longest_gap) = (Duration::ZERO, 0, Duration::ZERO);
        let (mut fed, mut provoked) = (Instant::now(), None::<Instant>);
        self.host.told.clear();
        let mut done: Vec<usize> = Vec::new();
        loop {
            // They end at about the same time.
            if let Some(said) = attackers[done.len()].says(PAUSE) {
                done.push(said.strip_prefix("done ").expect(&said).parse().unwrap());
                if done.len() == attackers.len() {
                    break;
                }
            }
            let provoke = provoked.is_none_or(|at| at.elapsed() >= every);
            if provoke {
                provoked = Some(Instant::now());
                self.host.set_sysctl("kernel/panic", "0");
            }
            let took = self.host.until("kernel.panic is 10", |host| {
                if host.told.iter().any(|line| line == "WATCHDOG=1") {
                    longest_gap = longest_gap.max(fed.elapsed());
                    fed = Instant::now();
                    host.told.retain(|line| line.starts_with("STATUS="));
                }
                host.sysctl("kernel/panic") == "10"
            });
            (worst, mended) = (worst.max(took), mended + u32::from(provoke));
        }
        let lasted = began.elapsed();
        longest_gap = longest_gap.max(fed.elapsed());
        let share = 100.0 * (self.cpu() - cpu) / lasted.as_secs_f64();
        let memory = self.memory_kib();
        println!(
            "figure: {done:?} steps in {:.1} s; CPU {share:.0} %, memory {memory} KiB at most, \
             sysctl mended {mended} times in {} ms at most, watchdog fed every {} ms at least",
            lasted.as_secs_f64(),
            worst.as_millis(),
            longest_gap.as_millis(),
        );
        assert!(worst <= self.sysctl_limit, "a kernel parameter was wrong for {worst:?}");
        assert!(longest_gap <= WATCHDOG, "the watchdog was not fed for {longest_gap:?}");
        self.unharmed();
        done
    }

    /// Nothing outside was changed, and the daemon is the one it was.
    pub fn unharmed(&self) {
        assert_eq!(self.canary.changed(), Vec::<String>::new(), "changed outside the tree");
        assert_eq!(proc_file(self.host.pid(), "comm").trim(), "nodeguard", "{}", self.host.log());
        let memory = self.memory_kib();
        assert!(memory < MEMORY_LIMIT_KIB, "{memory} KiB");
    }

    /// What is left after an attack is mended: everything that may be changed is etcd's.
    pub fn right_in_the_end(&mut self) {
        let (top, etcd) = (self.host.at(ETCD), self.etcd);
        self.host.until("all is right again", |_| wrong(&top, etcd).is_empty());
        self.unharmed();
    }

    /// And once the operator took it away, the node is ready by itself.
    pub fn ready_without(&mut self, what: &[&str]) {
        for path in what {
            // coreutils enters any depth.
            let status = Command::new("rm").arg("-rf").arg(self.in_tree(path)).status();
            assert!(status.unwrap().success());
        }
        self.host.until("ready by itself", |host| host.status().starts_with("ready"));
        self.unharmed();
    }

    pub fn in_tree(&self, below: &str) -> PathBuf {
        self.host.at(ETCD).join(below)
    }

    fn memory_kib(&self) -> u64 {
        let status = proc_file(self.host.pid(), "status");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect(&status);
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Waits until the daemon does nothing for some time, as it must when nobody does anything.
    pub fn at_rest(&mut self) {
        let (mut since, mut cpu) = (Instant::now(), self.cpu());
        let pid = self.host.pid();
        self.host.until("it is at rest", |_| {
            let now = cpu_of(pid);
            if now > cpu {
                (since, cpu) = (Instant::now(), now);
            }
            since.elapsed() > Duration::from_millis(1500)
        });
    }

    /// Seconds of processor time.
    fn cpu(&self) -> f64 {
        cpu_of(self.host.pid())
    }
}

fn cpu_of(pid: u32) -> f64 {
    let stat = proc_file(pid, "stat");
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / TICKS_PER_SECOND
}

/// Root's own programs while the attack goes on: a restore, a defragmentation. They keep making
/// entries root's, so that there is something to correct; never through a link themselves.
pub struct RootAtWork {
    stop: Sender<()>,
    thread: Option<JoinHandle<u64>>,
}

impl RootAtWork {
    pub fn on(arena: PathBuf, names: Vec<String>) -> Self {
        let (stop, stopped) = channel();
        let began = Instant::now();
        let thread = std::thread::spawn(move || {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let arena = rustix::fs::open(&arena, flags, Mode::empty()).unwrap();
            let mut given = 0;
            // So slowly that no entry is contested: the daemon would hold back from it.
            for name in names.iter().cycle() {
                if stopped.recv_timeout(BETWEEN_ENTRIES) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                given += u64::from(!attacker::rests(began) && take(&arena, name));
            }
            given
        });
        Self { stop, thread: Some(thread) }
    }

    /// How many entries it took.
    pub fn stop(mut self) -> u64 {
        let _ = self.stop.send(());
        self.thread.take().unwrap().join().unwrap()
    }
}

fn take(arena: &OwnedFd, name: &str) -> bool {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(fd) = rustix::fs::openat2(arena, name, flags, Mode::empty(), resolve) else {
        return false;
    };
    let stat = rustix::fs::fstat(&fd).unwrap();
    let plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    // The file that has several names is the canary's.
    plain && stat.st_nlink == 1 && stat.st_uid != 0 && {
        rustix::fs::chownat(&fd, "", Some(Uid::ROOT), Some(Gid::ROOT), AtFlags::EMPTY_PATH)
            .unwrap();
        true
    }
}
