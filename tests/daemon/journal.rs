// SPDX-License-Identifier: Apache-2.0
//! The daemon with a journal of its own to log to, and where journal and service manager stall.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use super::host::{ETCD, Host, PATIENCE, proc_file};

/// Entries that are kept for journald, and more changes than that between two states.
const KEPT: usize = 256;
const CHANGES: usize = 220;

/// The watchdog's time of a daemon that is started here; see `Host::start`.
const WATCHDOG: Duration = Duration::from_secs(3);

/// What takes the place of journald: its socket.
pub struct Journald {
    socket: UnixDatagram,
    /// Fields by name, of each entry that came.
    pub entries: Vec<BTreeMap<String, String>>,
}

impl Journald {
    /// On a host whose daemon is started after this, as a service whose stderr is the journal.
    pub fn on(host: &mut Host) -> Self {
        host.environment.push(("JOURNAL_STREAM", "8:1"));
        Self::again_on(host)
    }

    /// Where there was one before.
    fn again_on(host: &Host) -> Self {
        let path = host.at("run/systemd/journal/socket");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, entries: Vec::new() }
    }

    /// Reads what came.
    fn read(&mut self) {
        let mut buffer = vec![0; 1 << 18];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let fields = fields(&buffer[..length]);
            // What asks whether there is a journald is empty, and no entry.
            if !fields.is_empty() && !fields.contains_key("FILLER") {
                self.entries.push(fields);
            }
        }
    }

    /// Waits, bounded, for an entry and gives it.
    pub fn until(&mut self, what: &str, is: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.read();
            if let Some(entry) = self.entries.iter().find(|entry| is(&entry["MESSAGE"])) {
                return entry.clone();
            }
            assert!(Instant::now() < end, "no entry: {what}\n{:#?}", self.entries);
            std::thread::yield_now();
        }
    }
}

/// An entry in journald's native protocol.
fn fields(mut bytes: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
        let line = String::from_utf8(bytes[..end].to_vec()).unwrap();
        bytes = &bytes[end + 1..];
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => {
                let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
                let value = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
                assert_eq!(bytes[8 + length], b'\n', "{line}");
                bytes = &bytes[8 + length + 1..];
                (line, value)
            }
        };
        assert_eq!(fields.insert(name.clone(), value), None, "{name} is there twice");
    }
    fields
}

/// Fills a socket's queue, so that who sends to it waits.
fn fill(host: &Host, socket: &str) {
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"FILLER=1\n", host.at(socket)).is_ok() {}
}

/// Both kinds of corrections, the gate, and the time they take.
fn guards(host: &mut Host) {
    let begin = Instant::now();
    host.set_sysctl("kernel/panic", "0");
    host.until("kernel.panic is 10 again", |host| host.sysctl("kernel/panic") == "10");
    let db = format!("{ETCD}/member/snap/db");
    let etcd = host.etcd();
    host.chown(&db, (0, 0));
    host.until("db is etcd's again", |host| host.owner(&db) == etcd);
    answers_a_gate(host);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

fn answers_a_gate(host: &Host) {
    let gate = host.run_in_a_unit(&["gate", "--role", "server"]);
    let words = String::from_utf8_lossy(&gate.stderr).into_owned();
    assert_eq!(gate.status.code(), Some(0), "{words}");
    assert!(!words.contains("by itself"), "the daemon answers: {words}");
}

fn stops_on_sigterm(host: &mut Host) {
    let begin = Instant::now();
    host.signal("TERM");
    assert_eq!(host.ended(), Some(0));
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "it waits a moment for both and no longer: {took:?}");
}

fn guarded() -> (Host, Journald) {
    let mut host = Host::server();
    let journald = Journald::on(&mut host);
    host.make_data_dir();
    host.start();
    host.until("ready", |host| host.status().starts_with("ready"));
    (host, journald)
}

#[test]
fn an_entry_has_the_golden_fields_and_those_of_the_library() {
    let (host, mut journald) = guarded();
    host.set_sysctl("kernel/panic", "0");
    let is_it = |message: &str| message == "kernel.panic corrected: 0 -> 10";
    journald.entries.clear();
    // The first pass corrected it too.
    let mut entry = journald.until("of the correction", is_it);
    if !entry.contains_key("OLDVALUE") {
        journald.entries.clear();
        entry = journald.until("of the second correction", is_it);
    }
    for name in ["CODE_FILE", "CODE_LINE", "TARGET"] {
        assert!(entry.remove(name).is_some(), "{name}: {entry:?}");
    }
    let expected = [
        ("MESSAGE", "kernel.panic corrected: 0 -> 10"),
        ("PRIORITY", "5"),
        ("SYSLOG_IDENTIFIER", "nodeguard"),
        ("MESSAGE_ID", "f6611ec6591a4bbfa23408739f1c5fef"),
        ("NODEGUARD_CONTROL", "sysctl"),
        ("NODEGUARD_CODE", "sysctl-live"),
        ("NODEGUARD_SUBJECT", "kernel.panic"),
        ("NODEGUARD_ACTUAL", "0"),
        ("NODEGUARD_EXPECTED", "10"),
        ("SYSCTL", "/proc/sys/kernel/panic"),
        ("OLDVALUE", "10"),
        ("NEWVALUE", "0"),
        ("OURVALUE", "10"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(entry, BTreeMap::from(expected));
    assert_eq!(host.log(), "", "nothing on stderr, which is the journal as well");
}

#[test]
fn a_journald_that_stalls_holds_up_nothing_and_what_is_lost_is_counted_and_said() {
    let (mut host, mut journald) = guarded();
    // The last one of the start.
    journald.until("no bus", |message| message.starts_with("not on the bus"));
    journald.entries.clear();
    fill(&host, "run/systemd/journal/socket");
    guards(&mut host);
    let pings = |host: &Host| host.told.iter().filter(|line| *line == "WATCHDOG=1").count();
    let (mut before, mut last) = (pings(&host), Instant::now());
    for n in 0..CHANGES {
        let (profile, state) = if n % 2 == 0 { ("wrong", "fatal") } else { ("cis", "ready") };
        host.write("/etc/rancher/rke2/config.yaml", &format!("profile: {profile}\n"));
        host.signal("HUP");
        host.until(state, |host| host.status().starts_with(state));
        if pings(&host) > before {
            (before, last) = (pings(&host), Instant::now());
        }
        assert!(last.elapsed() < WATCHDOG, "the watchdog is fed: {:?}", last.elapsed());
    }
    guards(&mut host);

    let lost = journald.until("the loss", |message| message.contains("were lost while journald"));
    assert_eq!(lost["PRIORITY"], "4");
    let count: usize = lost["MESSAGE"].split(' ').next().unwrap().parse().unwrap();
    assert_eq!(lost["MESSAGE"], format!("{count} log entries were lost while journald was away"));
    // A finding and the state, then the state again; and the corrections.
    let logged = CHANGES / 2 * 3 + 4;
    let came = journald.entries.iter().position(|entry| *entry == lost).unwrap();
    assert_eq!((came, count), (KEPT, logged - KEPT), "what is kept comes first");
    assert!(journald.entries[came - 1]["MESSAGE"].contains("/db owner corrected"), "the latest");
    stops_on_sigterm(&mut host);
}

#[test]
fn a_journald_that_is_away_gets_what_was_kept_when_it_is_back() {
    let mut host = Host::server();
    let gone = Journald::on(&mut host);
    drop(gone);
    host.start();
    host.set_sysctl("kernel/panic", "0");
    host.until("kernel.panic is 10 again", |host| host.sysctl("kernel/panic") == "10");
    host.until("ready", |host| host.status().starts_with("ready"));
    let mut journald = Journald::again_on(&host);
    journald.until("the state", |message| message.starts_with("ready"));
    let all: Vec<_> = journald.entries.iter().map(|entry| entry["MESSAGE"].clone()).collect();
    assert!(!all.iter().any(|message| message.contains("lost")), "{all:?}");
}

#[test]
fn a_service_manager_that_stalls_holds_up_nothing_and_hears_the_latest_later() {
    let (mut host, mut journald) = guarded();
    host.until("all of the start", |host| host.told.iter().any(|line| line == "WATCHDOG=1"));
    host.stalled = true;
    fill(&host, "run/notify");
    guards(&mut host);
    // More messages than are kept: each reload has two.
    for _ in 0..20 {
        host.signal("HUP");
        answers_a_gate(&host);
    }
    guards(&mut host);
    // A gate that tells the service manager why it is shut.
    host.write("/etc/rancher/rke2/config.yaml", "profile: wrong\n");
    let begin = Instant::now();
    let gate = host.run_in_a_unit(&["gate", "--role", "server"]);
    assert_eq!(gate.status.code(), Some(78), "{gate:?}");
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(5), "{took:?}");

    host.stalled = false;
    host.told.clear();
    host.until("the latest", |host| host.status().starts_with("fatal"));
    journald.until("the loss", |message| {
        let rest = message.strip_prefix("the service manager did not read: ");
        rest.is_some_and(|rest| rest.ends_with(" messages to it were lost"))
    });
    let gate = host.run_in_a_unit(&["gate", "--role", "server"]);
    assert_eq!(gate.status.code(), Some(78), "{gate:?}");
    host.until("the gate's words", |host| host.status().starts_with("nodeguard: "));
    stops_on_sigterm(&mut host);
    host.until("STOPPING=1", |host| host.told.iter().any(|line| line == "STOPPING=1"));
}

#[test]
fn where_both_stall_the_node_is_guarded_all_the_same() {
    let (mut host, _journald) = guarded();
    host.stalled = true;
    fill(&host, "run/notify");
    fill(&host, "run/systemd/journal/socket");
    for _ in 0..3 {
        guards(&mut host);
    }
    stops_on_sigterm(&mut host);
}

#[test]
fn the_level_of_the_log_is_the_operators_and_a_wrong_word_is_said() {
    let log = |level: &'static str| {
        let mut host = Host::server();
        host.environment.push(("NODEGUARD_LOG", level));
        host.start();
        host.set_sysctl("kernel/panic", "0");
        host.until("kernel.panic is 10 again", |host| host.sysctl("kernel/panic") == "10");
        host.signal("TERM");
        assert_eq!(host.ended(), Some(0));
        host.log()
    };
    assert_eq!(log("err"), "");
    let debug = log("debug");
    assert!(debug.contains("nodeguard: a pass took "), "{debug}");
    assert!(debug.contains("NODEGUARD_PASS_MODE=apply NODEGUARD_PASS_STATE=ready"), "{debug}");
    assert!(debug.contains("corrected: 0 -> 10 NODEGUARD_PASS_MODE="), "{debug}");
    let wrong = log("loud");
    assert!(
        wrong.contains("NODEGUARD_LOG is \"loud\" and counts as info; expected is err"),
        "{wrong}"
    );
    assert!(wrong.contains("kernel.panic corrected: 0 -> 10\n"), "{wrong}");
    assert!(!wrong.contains("a pass took"), "{wrong}");
}

#[test]
fn a_service_manager_with_an_abstract_name_is_told_nothing_and_that_is_said() {
    let mut host = Host::server();
    host.environment.push(("NOTIFY_SOCKET", "@nodeguard-test"));
    let daemon = host.spawn_in_a_unit(&["run"]);
    host.until("kernel.panic is 10", |host| host.sysctl("kernel/panic") == "10");
    host.until("it has a report", |host| host.read("run/nodeguard/report.json").contains("ready"));
    let pid = daemon.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    let ended = daemon.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{words}");
    assert!(words.contains("NOTIFY_SOCKET is \"@nodeguard-test\": the service manager"), "{words}");
}

/// The names of a process's threads as the kernel has them: it keeps fifteen characters.
pub fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let name =
        |task: fs::DirEntry| proc_file(pid, &format!("task/{}/comm", task.file_name().display()));
    let mut names: Vec<_> = tasks.map(|task| name(task.unwrap()).trim().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn of_many_corrections_at_once_a_few_are_logged_and_the_latest_are_in_the_report() {
    let mut host = Host::server();
    host.make_data_dir();
    host.start();
    let etcd = host.etcd().unwrap();
    let files: Vec<String> = (0..20).map(|n| format!("{ETCD}/member/wal/{n}.tmp")).collect();
    for file in &files {
        host.write(file, "x");
        host.until("it is etcd's", |host| host.owner(file) == Some(etcd));
    }
    host.until("all of them are told", |host| recent(host).len() == 16);
    let before = host.log().len();
    // All of it is there when it looks again.
    host.signal("STOP");
    files.iter().for_each(|file| host.chown(file, (0, 0)));
    host.signal("CONT");
    for file in &files {
        host.until("it is etcd's again", |host| host.owner(file) == Some(etcd));
    }
    host.until("the rest is counted", |host| host.log()[before..].contains(" more corrections"));
    let log = host.log()[before..].to_owned();
    let lines = log.lines().filter(|line| line.contains(".tmp owner corrected: ")).count();
    assert_eq!(lines, 8, "{log}");
    assert!(log.contains("and 12 more corrections"), "{log}");
    let recent = recent(&host);
    assert_eq!(recent.len(), 16);
    let told: BTreeSet<&str> = recent.iter().map(|it| it["subject"].as_str().unwrap()).collect();
    assert_eq!(told.len(), 16, "{told:?}");
}

/// What the report remembers.
fn recent(host: &Host) -> Vec<serde_json::Value> {
    let report: serde_json::Value =
        serde_json::from_str(&host.read("/run/nodeguard/report.json")).unwrap();
    report["recent"].as_array().cloned().unwrap_or_default()
}

#[test]
fn status_waits_three_seconds_for_a_bus_that_does_not_answer_and_looks_itself_then() {
    let host = Host::server();
    let _deaf =
        std::os::unix::net::UnixListener::bind(host.at("run/dbus/system_bus_socket")).unwrap();
    let begin = std::time::Instant::now();
    let status = host.run(&["status"]);
    let (took, said) = (begin.elapsed(), String::from_utf8_lossy(&status.stderr).into_owned());
    assert!(said.contains("the service does not answer"), "{status:?}");
    assert!(took >= Duration::from_secs(3) && took < PATIENCE, "{took:?}");
    assert!(String::from_utf8_lossy(&status.stdout).contains("kernel.panic"), "{status:?}");
}
