// SPDX-License-Identifier: Apache-2.0
//! Fights: somebody keeps undoing what the daemon corrects.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::host::{CONTEST, ETCD, Host, TLS, proc_file};

/// Undoes every correction until the daemon holds back.
fn fight(host: &mut Host, subject: &str, wrong: impl Fn(&Host), is_right: impl Fn(&Host) -> bool) {
    let said = format!("{subject} is contested");
    let mut rounds = 0;
    while !host.log().contains(&said) {
        wrong(host);
        host.until("an answer", |host| is_right(host) || host.log().contains(&said));
        rounds += 1;
        assert!(rounds < 5000, "never contested:\n{}", host.log());
    }
}

/// Every signal on the host's bus, in a file.
struct Ear {
    child: Child,
    heard: PathBuf,
}

impl Ear {
    fn listen(host: &mut Host) -> Self {
        let heard = host.at("heard");
        let child = Command::new("dbus-monitor")
            .arg("--address")
            .arg(format!("unix:path={}", host.at("run/dbus/system_bus_socket").display()))
            .arg("type='signal',interface='org.nodeguard.NodeGuard1'")
            .stdout(fs::File::create(&heard).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-monitor (package dbus-bin)");
        let ear = Self { child, heard };
        // Its own name is the first thing it hears.
        host.until("the ear hears", |_| !ear.heard("NameAcquired").is_empty());
        ear
    }

    /// The signals of one name, each with its arguments.
    fn heard(&self, member: &str) -> Vec<String> {
        let text = fs::read_to_string(&self.heard).unwrap();
        let member = format!("member={member}\n");
        text.split("signal time=").filter(|s| s.contains(&member)).map(str::to_owned).collect()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_contest_is_told_once_when_it_begins_and_once_when_it_ends_and_costs_no_processor() {
    let mut host = Host::server();
    host.start_bus();
    host.start();
    host.until("on the bus", |host| host.log().contains("on the bus"));
    let ear = Ear::listen(&mut host);
    fight(
        &mut host,
        "kernel.panic",
        |host| host.set_sysctl("kernel/panic", "0"),
        |host| host.sysctl("kernel/panic") == "10",
    );
    host.until("degraded", |host| host.status().starts_with("degraded"));
    assert!(host.status().contains("kernel.panic is contested"), "{}", host.status());
    // The rival as busy as it can be: the daemon must not be.
    let share = cpu_share(&host, Duration::from_secs(3), || {
        host.set_sysctl("kernel/panic", "0");
    });
    println!("figure: CPU while contested, debug build: {share:.1} %");
    assert!(share < 5.0, "{share} % of a processor, in a debug build");
    host.set_sysctl("kernel/panic", "10");
    host.until_within(CONTEST, "the contest ends with the rival", |host| {
        host.log().contains("no longer contested") && host.status().starts_with("ready")
    });
    host.until("the bus has it", |_| ear.heard("Ready").len() == 1);
    let contested = ear.heard("Contested");
    assert_eq!(contested.len(), 1, "{contested:?}");
    for word in ["\"kernel.panic\"", "\"10\"", "\"0\""] {
        assert!(contested[0].contains(word), "both values: {}", contested[0]);
    }
    let ended = ear.heard("ContestEnded");
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert!(ended[0].contains("\"kernel.panic\""), "{}", ended[0]);
    let log = host.log();
    assert_eq!(log.matches("kernel.panic is contested").count(), 1, "{log}");
    assert_eq!(log.matches("kernel.panic is no longer contested").count(), 1, "{log}");
}

#[test]
fn a_whole_pass_leaves_what_is_contested_alone_and_a_gate_does_not() {
    let mut host = Host::server();
    host.start();
    let etcd = host.etcd().unwrap();
    host.make_data_dir();
    let db = format!("{ETCD}/member/snap/db");
    host.until("guarded", |host| host.owner(&db) == Some(etcd));
    let right = |host: &Host| host.owner(&db) == Some(etcd);
    fight(&mut host, &db, |host| host.chown(&db, (0, 0)), right);
    host.chown(&db, (0, 0));
    host.until("degraded", |host| host.status().starts_with("degraded"));
    let passes = |host: &Host| host.log().matches("owner corrected").count();
    // Something else that only a full pass mends: it does, and lets the contested file be. Where its
    // pause has just ended it is corrected as well, and has a pause twice as long before the next try.
    let key = format!("{TLS}/server-client.key");
    let held_back = (0..6).any(|_| {
        host.chown(&db, (0, 0));
        let before = passes(&host);
        host.chown(&key, (0, 0));
        // The log comes after the correction.
        host.until("a full pass", |host| host.owner(&key) == Some(etcd) && passes(host) > before);
        passes(&host) == before + 1 && host.owner(&db) == Some((0, 0))
    });
    assert!(held_back, "{}", host.log());
    assert!(host.status().starts_with("degraded"), "not fatal: {}", host.status());
    // RKE2 wants to start: there is no later.
    assert_eq!(host.run(&["gate", "--role", "server"]).status.code(), Some(0));
    assert_eq!(host.owner(&db), Some(etcd));
    host.until_within(CONTEST, "the contest is over", |host| {
        host.log().contains("no longer contested") && host.status().starts_with("ready")
    });
}

#[test]
fn a_file_without_narrow_passes_can_be_contested_too() {
    let mut host = Host::server();
    host.start_bus();
    host.start();
    let etcd = host.etcd().unwrap();
    host.make_data_dir();
    let ca = format!("{TLS}/server-ca.crt");
    host.until("guarded", |host| host.owner(&ca) == Some(etcd));
    let right = |host: &Host| host.owner(&ca) == Some(etcd);
    fight(&mut host, &ca, |host| host.chown(&ca, (0, 0)), right);
    host.until("degraded", |host| host.status().starts_with("degraded"));
    let share = cpu_share(&host, Duration::from_secs(2), || {
        host.chown(&ca, (0, 0));
    });
    println!("figure: CPU while a TLS file is contested, debug build: {share:.1} %");
    assert!(share < 8.0, "{share} % of a processor, in a debug build");
    host.until_within(CONTEST, "the contest ends with the rival", |host| {
        host.log().contains("no longer contested") && host.status().starts_with("ready")
    });
    assert_eq!(host.owner(&ca), Some(etcd));
    let log = host.log();
    assert_eq!(log.matches("is contested").count(), 1, "{log}");
}

#[test]
fn a_name_that_is_no_text_is_contested_and_recovers_like_any_other() {
    let mut host = Host::server();
    host.start();
    let etcd = host.etcd().unwrap();
    host.make_data_dir();
    let path = host.at(ETCD).join(OsStr::from_bytes(b"member/snap/\xff\n"));
    fs::write(&path, "x").unwrap();
    let owner = {
        let path = path.clone();
        move || {
            use std::os::unix::fs::MetadataExt;
            let metadata = fs::symlink_metadata(&path).unwrap();
            (metadata.uid(), metadata.gid())
        }
    };
    host.until("guarded", |_| owner() == etcd);
    let shown = format!("{ETCD}/member/snap/\u{fffd}\\n");
    fight(&mut host, &shown, |_| chown(&path, Some(0), Some(0)).unwrap(), |_| owner() == etcd);
    chown(&path, Some(0), Some(0)).unwrap();
    host.until_within(CONTEST, "mended after its pause", |_| owner() == etcd);
    host.until_within(CONTEST, "the contest is over", |host| {
        host.log().contains("no longer contested") && host.status().starts_with("ready")
    });
    assert_eq!(host.log().matches("is contested").count(), 1, "{}", host.log());
}

/// Processor time used so far, in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = proc_file(pid, "stat");
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Share of a processor, in percent: what the daemon takes while somebody does `what` over and over.
pub fn cpu_share(host: &Host, time: Duration, mut what: impl FnMut()) -> f64 {
    let (before, begin) = (cpu_ticks(host.pid()), Instant::now());
    while begin.elapsed() < time {
        what();
    }
    (cpu_ticks(host.pid()) - before) as f64 / begin.elapsed().as_secs_f64()
}

/// Sets a mode again whenever it was corrected, until it is dropped: how many corrections it takes
/// does not depend on who is the quicker one.
struct Rival {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Rival {
    fn over(path: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777 != 0o666 {
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn of_two_names_that_are_shown_alike_the_one_still_contested_is_still_told() {
    let mut host = Host::server();
    host.start();
    let etcd = host.etcd().unwrap();
    host.make_data_dir();
    let snap = host.at(ETCD).join("member/snap");
    let paths = [snap.join("x\n"), snap.join("x\\n")];
    for path in &paths {
        fs::write(path, "x").unwrap();
    }
    let right = |path: &PathBuf| {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::symlink_metadata(path).unwrap();
        (metadata.uid(), metadata.gid()) == etcd && metadata.mode() & 0o777 == 0o644
    };
    host.until("guarded", |_| paths.iter().all(right));
    let [first, second] = paths.clone().map(Rival::over);
    host.until_within(CONTEST, "both contested", |host| host.status().contains("and 1 more"));
    drop(first);
    host.until_within(CONTEST, "one is over", |host| host.log().contains("no longer contested"));
    host.until("told", |host| {
        host.read("run/nodeguard/report.json").matches("contested").count() > 0
    });
    assert!(host.status().starts_with("degraded"), "{}", host.status());
    drop(second);
}

#[test]
fn a_planted_link_stays_fatal_however_often_it_is_planted() {
    let mut host = Host::server();
    host.start();
    let etcd = host.etcd().unwrap();
    host.make_data_dir();
    let (link, made) = (host.at(ETCD).join("member/snap/l"), host.at("/var/lib/l"));
    host.until("guarded", |host| host.owner(&format!("{ETCD}/member/snap/db")) == Some(etcd));
    for _ in 0..400 {
        symlink("/etc/precious", &made).unwrap();
        lchown(&made, Some(etcd.0), Some(etcd.1)).unwrap();
        fs::rename(&made, &link).unwrap();
        std::thread::sleep(Duration::from_millis(3));
        host.until("it goes on", |_| true);
    }
    host.until("fatal", |host| host.status().starts_with("fatal"));
    assert!(!host.log().contains("is contested"), "nothing was undone: {}", host.log());
    fs::remove_file(&link).unwrap();
    host.until("ready again", |host| host.status().starts_with("ready"));
}

#[test]
fn a_large_directory_that_is_moved_about_for_ever_costs_a_part_of_a_processor_only() {
    let mut host = Host::server();
    host.start();
    let etcd = host.etcd().unwrap();
    let member = host.at(ETCD).join("member");
    let (a, b) = (member.join("a"), member.join("b"));
    fs::create_dir_all(&a).unwrap();
    for n in 0..10_000 {
        fs::write(a.join(format!("{n}")), "").unwrap();
    }
    host.until("guarded", |host| host.owner(&format!("{ETCD}/member/a/9999")) == Some(etcd));
    host.until("ready", |host| host.status().starts_with("ready"));
    let share = cpu_share(&host, Duration::from_secs(4), || {
        fs::rename(&a, &b).unwrap();
        fs::rename(&b, &a).unwrap();
    });
    println!("figure: CPU while 10,000 files are moved about, debug build: {share:.1} %");
    assert!(share < 40.0, "{share} % of a processor, in a debug build");
    let gate = Instant::now();
    assert_eq!(host.run(&["gate", "--role", "server"]).status.code(), Some(0));
    assert!(gate.elapsed() < Duration::from_secs(5), "{:?}", gate.elapsed());
}

#[test]
fn who_contests_files_of_the_tree_does_not_delay_the_kernel_parameters() {
    let mut host = Host::server();
    host.start();
    let snap = host.at(ETCD).join("member/snap");
    host.make_data_dir();
    let etcd = host.etcd().unwrap();
    let files: Vec<_> = (0..4).map(|n| snap.join(format!("{n}.snap"))).collect();
    files.iter().for_each(|file| fs::write(file, "").unwrap());
    host.until("guarded", |host| host.owner(&format!("{ETCD}/member/snap/db")) == Some(etcd));
    // What the same takes beside somebody who is as busy and contests nothing.
    let beside = host.at("beside");
    fs::write(&beside, "").unwrap();
    let alone = beside_somebody(&mut host, &|| chown(&beside, Some(0), Some(0)).unwrap(), |_| ());
    let undo = |always: bool| {
        use std::os::unix::fs::MetadataExt;
        for file in &files {
            if always || fs::symlink_metadata(file).unwrap().uid() != 0 {
                chown(file, Some(0), Some(0)).unwrap();
            }
        }
    };
    // He undoes what is corrected until that is a contest, and then raises as many events as he can.
    let contested = AtomicBool::new(false);
    let took = beside_somebody(&mut host, &|| undo(contested.load(Ordering::Relaxed)), |host| {
        host.until_within(CONTEST, "a contest", |host| host.log().contains("snap is contested"));
        contested.store(true, Ordering::Relaxed);
    });
    println!(
        "figure: parameter drift while files are contested, debug build: {took:?}, else {alone:?}"
    );
    // That the tree's pauses are not the host's is in `src/pace/days.rs`.
    assert!(took[7] < alone[7] * 10 + Duration::from_millis(50), "{took:?}, else {alone:?}");
}

/// How long it takes to correct a parameter, sorted, while somebody does `what` over and over; from
/// `begin` on.
fn beside_somebody(
    host: &mut Host,
    what: &(dyn Fn() + Sync),
    begin: impl FnOnce(&mut Host),
) -> Vec<Duration> {
    let over = AtomicBool::new(false);
    /// Also where a test fails: its threads are waited for.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let _end = End(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                what();
            }
        });
        begin(host);
        let mut took: Vec<_> = (0..15)
            .map(|_| {
                std::thread::sleep(Duration::from_millis(37));
                host.set_sysctl("kernel/panic", "0");
                host.until("right again", |host| host.sysctl("kernel/panic") == "10")
            })
            .collect();
        took.sort();
        took
    })
}

#[test]
fn a_rival_too_slow_for_a_contest_does_not_fill_the_journal() {
    let mut host = Host::server();
    host.start();
    for _ in 0..100 {
        host.set_sysctl("kernel/panic", "0");
        host.until("right again", |host| host.sysctl("kernel/panic") == "10");
    }
    // Corrected elsewhere, so that all of the above was told.
    host.set_sysctl("vm/panic_on_oom", "1");
    host.until("it is logged", |host| host.log().contains("vm.panic_on_oom corrected: 1 -> 0"));
    let log = host.log();
    assert_eq!(log.matches("kernel.panic corrected").count(), 60, "{log}");
    assert!(!log.contains("is contested"), "{log}");
}

#[test]
fn events_of_what_is_right_cost_a_part_of_a_processor_only() {
    let mut host = Host::server();
    host.start();
    host.make_data_dir();
    let etcd = host.etcd().unwrap();
    host.until("guarded", |host| host.owner(&format!("{ETCD}/member/snap/db")) == Some(etcd));
    host.until("ready", |host| host.status().starts_with("ready"));
    let mode = |file: &str, mode| {
        fs::set_permissions(host.at(ETCD).join(file), fs::Permissions::from_mode(mode)).unwrap();
    };
    // Two files in turn, or the kernel would make one event of all.
    let share = cpu_share(&host, Duration::from_secs(6), || {
        for bits in [0o600, 0o640] {
            mode("member/snap/db", bits);
            mode("member/wal/0.wal", bits);
        }
    });
    println!("figure: CPU while right files raise events, debug build: {share:.1} %");
    assert!(share < 50.0, "{share} % of a processor, in a debug build");
    assert!(!host.log().contains("contested"), "{}", host.log());
}
