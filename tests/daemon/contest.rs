// SPDX-License-Identifier: Apache-2.0
//! Fights: somebody keeps undoing what the daemon corrects.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::host::{ETCD, Host, TLS, proc_file};

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
    let (before, begin) = (cpu_ticks(host.pid()), Instant::now());
    while begin.elapsed() < Duration::from_secs(3) {
        host.set_sysctl("kernel/panic", "0");
    }
    let share = (cpu_ticks(host.pid()) - before) as f64 / begin.elapsed().as_secs_f64();
    println!("figure: CPU while contested, debug build: {share:.1} %");
    assert!(share < 5.0, "{share} % of a processor, in a debug build");
    host.set_sysctl("kernel/panic", "10");
    host.until("the contest ends with the rival", |host| {
        host.log().contains("no longer contested") && host.status().starts_with("ready")
    });
    host.until("the bus has it", |_| ear.heard("Ready").len() == 1);
    let contested = ear.heard("Contested");
    assert_eq!(contested.len(), 1, "{contested:?}");
    for word in ["\"kernel.panic\"", "\"10\"", "\"0\""] {
        assert!(contested[0].contains(word), "both values: {}", contested[0]);
    }
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
    // Something else that only a whole pass mends: it does, and lets the contested file be.
    let key = format!("{TLS}/server-client.key");
    host.chown(&key, (0, 0));
    let before = passes(&host);
    host.until("a whole pass", |host| host.owner(&key) == Some(etcd));
    assert_eq!(passes(&host), before + 1, "{}", host.log());
    assert_eq!(host.owner(&db), Some((0, 0)), "held back from: {}", host.log());
    assert!(host.status().starts_with("degraded"), "not fatal: {}", host.status());
    // RKE2 wants to start: there is no later.
    assert_eq!(host.run(&["gate", "--role", "server"]).status.code(), Some(0));
    assert_eq!(host.owner(&db), Some(etcd));
    host.until("the contest is over", |host| {
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
    let (before, begin) = (cpu_ticks(host.pid()), Instant::now());
    while begin.elapsed() < Duration::from_secs(2) {
        host.chown(&ca, (0, 0));
    }
    let share = (cpu_ticks(host.pid()) - before) as f64 / begin.elapsed().as_secs_f64();
    println!("figure: CPU while a TLS file is contested, debug build: {share:.1} %");
    assert!(share < 8.0, "{share} % of a processor, in a debug build");
    host.until("the contest ends with the rival", |host| {
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
    host.until("mended after its pause", |_| owner() == etcd);
    host.until("the contest is over", |host| {
        host.log().contains("no longer contested") && host.status().starts_with("ready")
    });
    assert_eq!(host.log().matches("is contested").count(), 1, "{}", host.log());
}

/// Processor time used so far, in hundredths of a second.
pub fn cpu_ticks(pid: u32) -> u64 {
    let stat = proc_file(pid, "stat");
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
