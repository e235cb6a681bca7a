// SPDX-License-Identifier: Apache-2.0
//! The gate where something hangs, and where an operator overrides it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::host::{ETCD, Host, proc_file};

const GATE: [&str; 3] = ["gate", "--role", "server"];
const SOCKET: &str = "/run/nodeguard/gate.sock";
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
    let asleep = |gate: &Child| {
        // utime and the rest stand still in a process that waits in epoll.
        proc_file(gate.id(), "wchan").contains("ep_poll")
            || proc_file(gate.id(), "stat").contains(") S ")
    };
    let mut looks = 0;
    host.until("every gate waits", |_| {
        looks = if gates.iter().all(asleep) { looks + 1 } else { 0 };
        looks > 1000
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

/// Something that only the daemon sees: `enter` is what its mount namespace gets before it starts.
fn daemon_with(host: &mut Host, enter: &str) {
    host.write("enter", enter);
    host.start();
    fs::remove_file(host.at("enter")).unwrap();
}

#[test]
fn the_socket_is_roots_alone_and_one_that_is_gone_or_left_behind_is_made_anew() {
    let mut host = Host::server();
    fs::create_dir_all(host.at("run/nodeguard")).unwrap();
    drop(UnixListener::bind(host.at(SOCKET)).unwrap());
    host.start_with_watchdog(Some("300000"));
    let meta = fs::symlink_metadata(host.at(SOCKET)).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o600, 0, 0));
    assert_eq!(fs::metadata(host.at("run/nodeguard")).unwrap().mode() & 0o7777, 0o755);
    asks_the_daemon(&host);

    host.signal("STOP");
    fs::remove_file(host.at(SOCKET)).unwrap();
    looks_by_itself(&host, "No such file or directory");
    host.signal("CONT");
    host.until("the daemon listens again", |host| host.at(SOCKET).exists());
    asks_the_daemon(&host);

    // As a second daemon, since ended, leaves it.
    fs::remove_file(host.at(SOCKET)).unwrap();
    drop(UnixListener::bind(host.at(SOCKET)).unwrap());
    host.until("the daemon listens again", |host| {
        !words(&host.run(&GATE)).contains("the gate looks by itself")
    });

    host.signal("KILL");
    host.ended();
    assert!(host.at(SOCKET).exists());
    looks_by_itself(&host, "Connection refused");
    host.start();
    asks_the_daemon(&host);
}

#[test]
fn a_socket_is_not_made_where_somebody_else_can_put_another() {
    let mut host = Host::server();
    fs::create_dir_all(host.at("run/nodeguard")).unwrap();
    chown(host.at("run/nodeguard"), Some(65534), None).unwrap();
    host.start();
    host.until("that is said", |host| {
        host.log().contains("/run/nodeguard is owned by uid 65534, expected a directory that only")
    });
    assert!(!host.at(SOCKET).exists());
    looks_by_itself(&host, "does not listen");
}

#[test]
fn around_an_upgrade_the_gate_looks_by_itself() {
    let mut host = Host::server();
    host.start();
    asks_the_daemon(&host);
    // As dpkg does: another file under the same name; the daemon runs what it was started from.
    let program = host.at("nodeguard");
    fs::copy(&program, host.at("nodeguard.new")).unwrap();
    fs::rename(host.at("nodeguard.new"), &program).unwrap();
    looks_by_itself(&host, "runs another build");
    host.signal("TERM");
    host.ended();
    host.start();
    asks_the_daemon(&host);
}

#[test]
fn what_the_daemon_sees_otherwise_than_rke2_is_not_what_opens_or_shuts_the_gate() {
    let unit = |environment: &str, arguments: &str| {
        format!(
            "[Service]\nEnvironment={environment}\nExecStart=/usr/local/bin/rke2 server {arguments}\n"
        )
    };
    let file = |path: &str| (path.to_owned(), "profile: cis\n".to_owned());
    let hidden = |dir: &str| format!("mount -t tmpfs tmpfs \"$root{dir}\"\n");
    let etcd = "/srv/rke2/server/db/etcd";
    for (what, unit, files, enter, path) in [
        (
            "a configuration below /tmp, by the environment",
            unit("RKE2_CONFIG_FILE=/tmp/rke2.yaml", ""),
            vec![file("tmp/rke2.yaml")],
            hidden("/tmp"),
            "/tmp",
        ),
        (
            "a configuration below /tmp, by an argument",
            unit("", "--config /tmp/deep/er/rke2.yaml"),
            vec![file("tmp/deep/er/rke2.yaml")],
            hidden("/tmp"),
            "/tmp",
        ),
        (
            "a drop-in of RKE2's, itself hidden by another file",
            unit("", ""),
            vec![
                ("etc/rancher/rke2/config.yaml.d/10.yaml".into(), "node-label: a\n".into()),
                ("other".into(), String::new()),
            ],
            "mount --bind \"$root/other\" \"$root/etc/rancher/rke2/config.yaml.d/10.yaml\"\n"
                .into(),
            "/etc/rancher/rke2/config.yaml.d/10.yaml",
        ),
        (
            "an environment file below /home",
            "[Service]\nEnvironmentFile=/home/env\nExecStart=/usr/local/bin/rke2 server\n".into(),
            vec![("home/env".into(), "RKE2_NODE_NAME=a\n".into())],
            hidden("/home"),
            "/home",
        ),
        (
            "a link into what is hidden",
            unit("", ""),
            vec![file("home/conf/config.yaml"), ("link".into(), "/home/conf".into())],
            hidden("/home"),
            "/etc/rancher/rke2",
        ),
        (
            "a data dir that is hidden",
            unit("", "--data-dir /srv/rke2"),
            vec![(format!("{etcd}/name"), String::new())],
            hidden("/srv"),
            "/srv",
        ),
        (
            "a mount below the data dir that did not reach the daemon",
            unit("", "--data-dir /srv/rke2"),
            vec![(format!("{etcd}/member/snap/db"), String::new())],
            hidden(&format!("{etcd}/member/snap")),
            etcd,
        ),
        ("all of /etc/rancher", unit("", ""), vec![], hidden("/etc/rancher"), "/etc/rancher"),
        (
            "RKE2's unit",
            unit("", ""),
            vec![],
            hidden("/usr/local/lib/systemd/system"),
            "/usr/local/lib/systemd/system",
        ),
    ] {
        let mut host = Host::server();
        let in_etc = path != "/usr/local/lib/systemd/system";
        let dir = if in_etc { "etc/systemd/system" } else { "run/systemd/system" };
        let enter = match in_etc {
            true => enter,
            false => {
                fs::create_dir_all(host.at(dir)).unwrap();
                hidden("/run/systemd/system")
            }
        };
        let path = if in_etc { path } else { "/run/systemd/system" };
        host.write(&format!("{dir}/rke2-server.service"), &unit);
        for (name, text) in files {
            if name == "link" {
                fs::remove_dir_all(host.at("etc/rancher/rke2")).unwrap();
                symlink(text, host.at("etc/rancher/rke2")).unwrap();
                continue;
            }
            fs::create_dir_all(host.at(&name).parent().unwrap()).unwrap();
            host.write(&name, &text);
        }
        for dir in ["home", "srv"] {
            fs::create_dir_all(host.at(dir)).unwrap();
        }
        daemon_with(&mut host, &enter);
        let check = |host: &Host| host.run(&["check", "--role", "server"]).status.code();

        looks_by_itself(&host, &format!("the daemon sees another {path} than the gate"));
        assert_eq!(check(&host), Some(0), "{what}");
        host.until("the daemon says what it does not see", |host| {
            host.read("run/nodeguard/report.json").contains("hidden-from-service")
        });
        assert!(!host.status().starts_with("ready"), "{what}: {}", host.status());
        let report = host.read("run/nodeguard/report.json");
        assert!(report.contains(&format!("\"subject\":\"{path}\"")), "{what}: {report}");

        // What is fatal out there is fatal, whatever the daemon sees.
        fs::remove_file(host.at("etc/passwd")).unwrap();
        fs::create_dir(host.at("etc/passwd")).unwrap();
        let gate = host.run(&GATE);
        assert_eq!(gate.status.code(), Some(78), "{what}: {}", words(&gate));
        assert_eq!(check(&host), Some(78), "{what}");
    }
}

#[test]
fn what_the_daemon_sees_again_is_no_finding_any_more() {
    let mut host = Host::server();
    host.write(
        "etc/systemd/system/rke2-server.service",
        "[Service]\nExecStart=/usr/local/bin/rke2 server --config /tmp/rke2.yaml\n",
    );
    host.write("tmp/rke2.yaml", "profile: cis\n");
    daemon_with(&mut host, "mount -t tmpfs tmpfs \"$root/tmp\"\n");
    let told = |host: &mut Host| host.read("run/nodeguard/report.json").contains("hidden-from");
    looks_by_itself(&host, "the daemon sees another /tmp");
    host.until("the daemon says what it does not see", told);
    // By hand, nothing is hidden.
    let check = host.run(&["check", "--role", "server"]);
    assert_eq!(check.status.code(), Some(0), "{check:?}");

    host.signal("TERM");
    host.ended();
    daemon_with(&mut host, "mount -t tmpfs tmpfs \"$root/tmp\"\n");
    host.until("another daemon in the same sandbox says it too", told);

    host.signal("TERM");
    host.ended();
    host.start();
    host.until("one that sees it says so no more", |host| !told(host));
    asks_the_daemon(&host);
    assert!(!host.at("run/nodeguard/hidden.json").exists());
}

#[test]
fn a_daemon_that_is_not_let_mend_what_the_gate_can_is_no_reason_to_stay_shut() {
    let mut host = Host::server();
    // As with ProtectSystem=full: the account cannot be made.
    daemon_with(
        &mut host,
        "mount --bind -o ro \"$root/etc\" \"$root/etc\"\nmount -o remount,bind,ro \"$root/etc\"\n",
    );
    host.until("the daemon says that it cannot", |host| host.status().starts_with("fatal"));
    looks_by_itself(&host, "the daemon finds this node fatal");
    assert!(host.etcd().is_some());
    host.until("the daemon sees what the gate did", |host| !host.status().starts_with("fatal"));
}

#[test]
fn a_configuration_that_changes_while_the_gate_is_answered_is_looked_at_again() {
    let mut host = Host::server();
    host.start();
    for n in 0..20 {
        // As an operator's editor does, at any moment of the question.
        let gate = host.spawn(&GATE);
        let text = if n % 2 == 0 { "profile: cis-1.99\n" } else { "profile: cis\n" };
        host.write("etc/rancher/rke2/new", text);
        fs::rename(host.at("etc/rancher/rke2/new"), host.at(CONFIG)).unwrap();
        let gate = gate.wait_with_output().unwrap();
        assert!([Some(0), Some(78)].contains(&gate.status.code()), "{}", words(&gate));
        let code = if n % 2 == 0 { Some(78) } else { Some(0) };
        let gate = host.run(&GATE);
        assert_eq!(gate.status.code(), code, "{}", words(&gate));
    }
}
