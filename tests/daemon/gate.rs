// SPDX-License-Identifier: Apache-2.0
//! The gate where something hangs, and where an operator overrides it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::process::Output;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::host::{ETCD, Host, proc_file};

const GATE: [&str; 3] = ["gate", "--role", "server"];
const CONFIG: &str = "etc/rancher/rke2/config.yaml";

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the gate with a limit in seconds, and says whether it kept it.
fn gate_within(host: &Host, limit: &str) -> (Option<i32>, String) {
    let began = Instant::now();
    let output = host.run(&["gate", "--role", "server", "--limit", limit]);
    let most = Duration::from_secs(limit.parse::<u64>().unwrap() + 3);
    assert!(began.elapsed() < most, "{:?}: {}", began.elapsed(), words(&output));
    (output.status.code(), words(&output))
}

/// The daemon's word is enough: READY came after it listens.
fn asks_the_daemon(host: &Host) {
    let gate = host.run(&GATE);
    assert_eq!(gate.status.code(), Some(0), "{}", words(&gate));
    assert!(!words(&gate).contains("the gate looks by itself"), "{}", words(&gate));
}

/// It opens all the same, by its own look, and says why.
fn looks_by_itself(host: &Host, because: &str) {
    let gate = host.run(&GATE);
    let said = words(&gate);
    assert_eq!(gate.status.code(), Some(0), "{said}");
    assert!(said.contains(because) && said.contains("the gate looks by itself"), "{said}");
}

#[test]
fn a_daemon_that_is_stopped_costs_half_the_limit_and_the_gate_looks_by_itself() {
    let mut host = Host::server();
    host.start();
    asks_the_daemon(&host);
    host.signal("STOP");
    let (code, said) = gate_within(&host, "4");
    host.signal("CONT");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("no answer within 1500 ms"), "{said}");
}

#[test]
fn a_look_that_hangs_is_left_and_the_gate_asks_to_be_tried_again() {
    let host = Host::server();
    // A file system that nobody answers for.
    host.write(
        "enter",
        r#"exec 9<>/dev/fuse
mkdir -p "$root/var/lib/rancher/rke2/server"
mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 hangs "$root/var/lib/rancher/rke2/server"
"#,
    );
    let (code, said) = gate_within(&host, "2");
    assert_eq!(code, Some(75), "{said}");
    assert!(said.contains("a file system, a program it asked"), "{said}");
    assert!(!said.contains("RKE2 is not started: fix the above"), "{said}");

    fs::remove_file(host.at("enter")).unwrap();
    let (code, said) = gate_within(&host, "20");
    assert_eq!(code, Some(0), "what hung is gone, and so is its lock: {said}");
}

#[test]
fn a_program_that_hangs_is_ended_with_the_look_that_started_it_and_the_gate_knows_its_answer() {
    let host = Host::server();
    fs::create_dir_all(host.at("opt/rke2/bin")).unwrap();
    let rke2 = host.at("opt/rke2/bin/rke2");
    fs::write(&rke2, "#!/bin/sh\necho $$ >/tmp/asked\nexec sleep 1000\n").unwrap();
    fs::set_permissions(&rke2, fs::Permissions::from_mode(0o755)).unwrap();
    let (code, said) = gate_within(&host, "6");
    assert_eq!(code, Some(0), "{said}");
    let pid = host.read("tmp/asked").trim().parse().expect("it was asked for its version");
    assert_eq!(proc_file(pid, "cmdline"), "", "what hung is gone");
}

#[test]
fn one_gate_looks_at_a_time_and_the_other_waits_within_its_limit() {
    let host = Host::server();
    fs::create_dir_all(host.at("run/nodeguard")).unwrap();
    let lock = fs::File::create(host.at("run/nodeguard/gate.lock")).unwrap();
    lock.lock().unwrap();
    let (code, said) = gate_within(&host, "1");
    assert_eq!(code, Some(75), "{said}");
    assert!(said.contains("another gate's look"), "{said}");
    assert_eq!(host.etcd(), None, "nothing was looked at");
    lock.unlock().unwrap();
    let (code, said) = gate_within(&host, "20");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_daemon_that_cannot_read_what_systemd_passes_to_rke2_is_not_believed() {
    let mut host = Host::server();
    host.write(
        "etc/systemd/system/rke2-server.service",
        "[Service]\nPassEnvironment=RKE2_CIS_PROFILE\nExecStart=/usr/local/bin/rke2 server\n",
    );
    // As in its sandbox: the kernel shows systemd's environment to its equals only.
    host.wrapped = "setpriv --bounding-set=-sys_ptrace";
    host.start();
    // The gate can read it. The machine's own may be closed to its root as well.
    host.wrapped = "";
    host.write("environ", "RKE2_CIS_PROFILE=cis\0");
    host.write("enter", r#"mount --bind "$root/environ" "$root/proc/1/environ""#);
    host.until("the daemon says what it cannot read", |host| {
        host.read("run/nodeguard/report.json").contains("environment-unread")
    });
    let report = host.read("run/nodeguard/report.json");
    assert!(report.contains("RKE2_CIS_PROFILE of systemd's own cannot be read"), "{report}");
    assert!(report.contains("Permission denied"), "{report}");
    let gate = host.run(&GATE);
    let said = words(&gate);
    assert_eq!(gate.status.code(), Some(0), "{said}");
    assert!(said.contains("the daemon does not know all that RKE2 gets"), "{said}");
    assert!(said.contains("the gate looks by itself"), "{said}");

    host.wrapped = "setpriv --bounding-set=-sys_ptrace";
    fs::remove_file(host.at("enter")).unwrap();
    let gate = host.run(&GATE);
    assert_eq!(gate.status.code(), Some(75), "nobody could read it: {}", words(&gate));
    assert!(words(&gate).contains("RKE2_CIS_PROFILE of systemd's own"), "{}", words(&gate));
}

#[test]
fn gates_that_queue_get_one_pass_together() {
    const GATES: usize = 12;
    let mut host = Host::server();
    host.start();
    asks_the_daemon(&host);
    let seen = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&seen, host.at(CONFIG), WatchFlags::OPEN).unwrap();
    let opened = || {
        let mut buffer = [0u8; 4096];
        let mut bytes = 0;
        while let Ok(n) = rustix::io::read(&seen, &mut buffer) {
            bytes += n;
        }
        // An event about the watched file itself has no name behind it.
        bytes / 16
    };
    assert_eq!(host.run(&GATE).status.code(), Some(0));
    let one = opened();
    assert!(one > 0, "a pass reads the configuration");
    // inotify puts equal events together when nobody reads between them, so each is read.
    host.signal("STOP");
    let gates: Vec<_> = (0..GATES).map(|_| host.spawn(&GATE)).collect();
    host.until("every gate has asked", |host| {
        let sockets = fs::read_to_string("/proc/net/unix").unwrap();
        let name = format!(" {SOCKET}");
        // Those that wait to be taken have the name of the socket too.
        let waiting = sockets.lines().filter(|line| line.ends_with(&name)).count();
        waiting > GATES && gates.iter().all(|gate| is_asleep(gate.id())) && !host.told.is_empty()
    });
    opened();
    host.signal("CONT");
    let mut passes = 0;
    let mut gates: Vec<_> = gates.into_iter().map(Some).collect();
    host.until("every gate is answered", |_| {
        passes += opened();
        for gate in &mut gates {
            if gate.as_mut().is_some_and(|gate| gate.try_wait().unwrap().is_some()) {
                let output = gate.take().unwrap().wait_with_output().unwrap();
                assert_eq!(output.status.code(), Some(0), "{output:?}");
                assert!(!words(&output).contains("looks by itself"), "{}", words(&output));
            }
        }
        gates.iter().all(Option::is_none)
    });
    passes += opened();
    println!("figure: {GATES} gates at once, answered with {} passes", passes.div_ceil(one));
    assert!(passes <= one * GATES / 3, "{passes} reads, {one} for one gate");
}

#[test]
fn an_override_lets_one_start_through_says_so_everywhere_and_is_used_up() {
    for with_daemon in [false, true] {
        let mut host = Host::server();
        host.write(CONFIG, "profile: cis-1.99\n");
        if with_daemon {
            host.start();
        }
        assert_eq!(host.run(&GATE).status.code(), Some(78));

        let asked = host.run(&["override", "--role", "server", "--reason", "the vendor waits"]);
        assert_eq!(asked.status.code(), Some(0), "{asked:?}");
        assert_eq!(words(&asked).matches("the vendor waits").count(), 1, "{asked:?}");
        let check = |host: &Host| {
            let output = host.run(&["check", "--json", "--role", "server"]);
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(check(&host).contains("\"override-pending\""), "{}", check(&host));
        let agent = host.run(&["gate", "--role", "agent"]);
        assert_eq!(agent.status.code(), Some(78), "another role's gate: {}", words(&agent));

        let gate = host.run(&GATE);
        let said = words(&gate);
        assert_eq!(gate.status.code(), Some(0), "{said}");
        assert!(said.contains("invalid value provided for --profile flag"), "{said}");
        assert!(said.contains("overridden: profile-invalid"), "{said}");
        assert!(said.contains("OVERRIDDEN by") && said.contains("the vendor waits"), "{said}");
        let found = check(&host);
        assert!(found.contains("\"override-used\""), "{found}");
        assert!(!found.contains("\"override-pending\""), "{found}");
        if with_daemon {
            host.until("the daemon tells", |host| {
                host.read("run/nodeguard/report.json").contains("override-used")
            });
            assert!(host.log().contains("RKE2 was started by an override"), "{}", host.log());
        }

        let gate = host.run(&GATE);
        assert_eq!(gate.status.code(), Some(78), "the next start: {}", words(&gate));
        assert!(
            check(&host).contains("\"override-used\""),
            "RKE2 still runs from it: {}",
            check(&host)
        );
        host.write(CONFIG, "profile: cis\n");
        let gate = host.run(&GATE);
        assert_eq!(gate.status.code(), Some(0), "{}", words(&gate));
        assert!(words(&gate).contains("the start by an override is over"), "{}", words(&gate));
        assert!(!words(&gate).contains("RKE2 runs from a start"), "{}", words(&gate));
        assert!(!check(&host).contains("override"), "{}", check(&host));
    }
}

#[test]
fn an_override_that_cannot_be_put_on_record_is_none() {
    let host = Host::server();
    host.write(CONFIG, "profile: cis-1.99\n");
    let ask = ["override", "--role", "server", "--reason", "in case"];
    assert_eq!(host.run(&ask).status.code(), Some(0), "before journald stands still");
    fs::create_dir_all(host.at("run/systemd/journal")).unwrap();
    let socket = host.at("run/systemd/journal/socket");
    let _journald = UnixDatagram::bind(&socket).unwrap();
    let flood = UnixDatagram::unbound().unwrap();
    flood.set_nonblocking(true).unwrap();
    while flood.send_to(b"x", &socket).is_ok() {}
    let gate = host.run(&GATE);
    assert_eq!(gate.status.code(), Some(0), "the word is good: {}", words(&gate));
    assert!(words(&gate).contains("this is not on record"), "{}", words(&gate));

    let asked = host.run(&ask);
    assert_eq!(asked.status.code(), Some(1), "{}", words(&asked));
    assert!(words(&asked).contains("did not take the entry"), "{}", words(&asked));
    assert!(!host.at("run/nodeguard/override-server").exists(), "{}", words(&asked));
    assert_eq!(host.run(&GATE).status.code(), Some(78));
}

#[test]
fn an_override_that_is_not_needed_is_used_up_and_one_taken_back_is_gone() {
    let host = Host::server();
    let ask = ["override", "--role", "server", "--reason", "in case"];
    assert_eq!(host.run(&ask).status.code(), Some(0));
    let gate = host.run(&GATE);
    assert_eq!(gate.status.code(), Some(0), "{}", words(&gate));
    assert!(words(&gate).contains("was not needed"), "{}", words(&gate));
    host.write(CONFIG, "profile: cis-1.99\n");
    assert_eq!(host.run(&GATE).status.code(), Some(78));

    assert_eq!(host.run(&ask).status.code(), Some(0));
    let back = host.run(&["override", "--role", "server", "--withdraw"]);
    assert_eq!(back.status.code(), Some(0), "{}", words(&back));
    assert_eq!(host.run(&GATE).status.code(), Some(78));
}

#[test]
fn an_override_of_what_leads_out_of_the_tree_says_what_rke2_will_do() {
    let host = Host::server();
    host.make_data_dir();
    assert_eq!(host.run(&GATE).status.code(), Some(0));
    symlink("/etc/shadow", host.at(&format!("{ETCD}/member/snap/planted"))).unwrap();
    rustix::fs::chownat(
        rustix::fs::CWD,
        host.at(&format!("{ETCD}/member/snap/planted")),
        Some(rustix::fs::Uid::from_raw(host.etcd().unwrap().0)),
        None,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
    assert_eq!(host.run(&GATE).status.code(), Some(78));
    let ask = ["override", "--role", "server", "--reason", "it is mine"];
    assert_eq!(host.run(&ask).status.code(), Some(0));
    let gate = host.run(&GATE);
    let said = words(&gate);
    assert_eq!(gate.status.code(), Some(0), "{said}");
    assert!(said.contains("what they lead to, anywhere on this host, will be etcd's"), "{said}");
    assert_eq!(host.owner("etc/shadow"), Some((0, 0)), "our own hand stays out of it");
}

#[test]
fn an_override_opens_the_gate_where_nothing_can_be_looked_at() {
    let host = Host::server();
    let ask = ["override", "--role", "server", "--reason", "the disk hangs"];
    assert_eq!(host.run(&ask).status.code(), Some(0));
    let lock = fs::File::create(host.at("run/nodeguard/gate.lock")).unwrap();
    lock.lock().unwrap();
    let (code, said) = gate_within(&host, "1");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("OVERRIDDEN by") && said.contains("not-looked-at"), "{said}");
    assert!(said.contains("what they lead to, anywhere on this host, will be etcd's"), "{said}");
    let (code, said) = gate_within(&host, "1");
    assert_eq!(code, Some(75), "{said}");
}
