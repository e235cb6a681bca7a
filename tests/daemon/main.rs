// SPDX-License-Identifier: Apache-2.0
//! The real daemon on a host of its own: real inotify, real useradd, real D-Bus.

mod add_control;
mod bounds;
mod contest;
mod gate;
mod host;
mod journal;
mod links;
mod own_config;
mod report_mode;
mod running_etcd;
mod ways;
mod writers;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use host::{ETCD, Host, TLS, proc_file};

#[test]
fn a_stock_server_is_ready_after_the_first_pass_and_everything_is_as_the_guide_says() {
    let mut host = Host::server();
    assert_eq!(host.sysctl("vm/overcommit_memory"), "0");
    assert_eq!(host.etcd(), None);

    host.start();

    host.until("a status", |host| !host.status().is_empty());
    assert!(host.status().starts_with("ready: server, profile cis"), "{}", host.status());
    for (key, value) in [
        ("vm/overcommit_memory", "1"),
        ("vm/panic_on_oom", "0"),
        ("kernel/panic", "10"),
        ("kernel/panic_on_oops", "1"),
        ("fs/protected_hardlinks", "1"),
    ] {
        assert_eq!(host.sysctl(key), value, "{key}");
    }
    let drop_in = host.read("/etc/sysctl.d/60-rke2-cis.conf");
    assert!(drop_in.contains("kernel.panic=10\n"), "{drop_in}");
    assert!(drop_in.contains("kernel.keys.root_maxbytes=25000000\n"), "{drop_in}");
    let passwd = host.read("/etc/passwd");
    let line = passwd.lines().find(|line| line.starts_with("etcd:")).unwrap();
    assert!(line.contains(":etcd user:") && line.ends_with(":/sbin/nologin"), "{line}");
    assert!(host.read("/etc/group").contains("etcd:"));
    assert!(!host.at("/var/lib/rancher").exists(), "the data dir is never made");
    assert!(host.read("/run/nodeguard/report.json").contains("\"state\":\"ready\""));
}

#[test]
fn a_kernel_value_that_somebody_changes_is_set_back_and_said() {
    let mut host = Host::server();
    host.start();

    host.set_sysctl("kernel/panic", "0");

    host.until("kernel.panic is 10 again", |host| host.sysctl("kernel/panic") == "10");
    host.until("it is logged", |host| host.log().contains("kernel.panic corrected: 0 -> 10"));
}

#[test]
fn its_own_code_stays_in_memory_and_where_the_host_allows_that_to_nobody_it_is_said() {
    let mut host = Host::server();
    host.start();
    host.until("ready", |host| host.status().starts_with("ready"));
    assert!(!host.log().contains("in memory"), "{}", host.log());
    // Name and flags of each mapping, see proc_pid_smaps(5): lo is locked, lf only what is used.
    let maps = proc_file(host.pid(), "smaps");
    let mut mappings = Vec::new();
    let mut name = String::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("VmFlags:") => mappings.push((name.clone(), words.collect::<Vec<_>>())),
            Some(word) if !word.ends_with(':') => name = words.nth(4).unwrap_or("").into(),
            _ => {}
        }
    }
    let is_locked = |flags: &[&str]| flags.contains(&"lo") && flags.contains(&"lf");
    let (code, rest): (Vec<_>, Vec<_>) =
        mappings.into_iter().partition(|(name, _)| name.ends_with("/nodeguard"));
    assert!(!code.is_empty() && code.iter().all(|(_, flags)| is_locked(flags)), "{code:?}");
    let later = rest.iter().filter(|(name, flags)| name.is_empty() && !flags.contains(&"lo"));
    assert!(later.count() > 0, "what is allocated later counts against no limit: {rest:?}");

    let mut host = Host::server();
    host.wrapped = "prlimit --memlock=65536 setpriv --bounding-set=-ipc_lock";
    host.start();
    host.until("that is said", |host| {
        host.log().contains("cannot keep its own code in memory: Cannot allocate memory")
    });
    host.set_sysctl("kernel/panic", "0");
    host.until("kernel.panic is 10 again", |host| host.sysctl("kernel/panic") == "10");
}

#[test]
fn the_data_dir_is_guarded_from_before_it_exists_until_after_it_came_back() {
    let mut host = Host::server();
    host.start();
    let etcd = host.etcd();
    for _ in 0..2 {
        host.make_data_dir();
        for file in ["", "member", "member/snap/db", "member/wal/0.wal", "config"] {
            let path = format!("{ETCD}/{file}");
            host.until(&path, |host| host.owner(&path) == etcd);
        }
        for file in ["server-client.key", "server-ca.crt"] {
            let path = format!("{TLS}/{file}");
            host.until(&path, |host| host.owner(&path) == etcd);
        }
        for file in ["client.key", "server-ca.key", ""] {
            assert_eq!(host.owner(&format!("{TLS}/{file}")), Some((0, 0)), "{file} stays root's");
        }
        let db = format!("{ETCD}/member/snap/db");
        for _ in 0..20 {
            host.chown(&db, (0, 0));
            host.until("db is etcd's again", |host| host.owner(&db) == etcd);
        }
        let fresh = format!("{ETCD}/member/snap/db.tmp.1");
        host.write(&fresh, "defragmented");
        fs::rename(host.at(&fresh), host.at(&db)).unwrap();
        host.until("a replaced db is etcd's", |host| host.owner(&db) == etcd);

        fs::remove_dir_all(host.at("/var/lib/rancher")).unwrap();
        host.until("the daemon saw it go", |host| !host.at("/var/lib/rancher").exists());
    }
    assert!(!host.at("/var/lib/rancher").exists(), "and made nothing in its place");
}

#[test]
fn a_tree_that_is_moved_away_is_left_alone_and_its_successor_is_guarded() {
    let mut host = Host::server();
    host.start();
    let etcd = host.etcd();
    host.make_data_dir();
    let db = format!("{ETCD}/member/snap/db");
    host.until("guarded", |host| host.owner(&db) == etcd);

    let old = format!("{ETCD}-old-1");
    fs::rename(host.at(ETCD), host.at(&old)).unwrap();
    host.make_data_dir();
    host.until("the successor is etcd's", |host| host.owner(&db) == etcd);
    let moved = format!("{old}/member/snap/db");
    host.chown(&moved, (0, 0));
    // A correction elsewhere shows that the daemon has seen what came before it.
    host.chown(&db, (0, 0));
    host.until("the successor is guarded", |host| host.owner(&db) == etcd);
    assert_eq!(host.owner(&moved), Some((0, 0)));
}

#[test]
fn a_broken_configuration_turns_it_fatal_and_the_mend_turns_it_ready_by_itself() {
    let mut host = Host::server();
    host.start();
    host.until("ready", |host| host.status().starts_with("ready"));

    host.write("/etc/rancher/rke2/config.yaml", "profile: cis\nprotect-kernel-defaults: false\n");
    host.until("fatal", |host| host.status().starts_with("fatal"));
    assert!(
        host.status().contains("--protect-kernel-defaults must be true when using --profile=cis")
            && host.status().contains("/etc/rancher/rke2/config.yaml:2"),
        "{}",
        host.status()
    );

    host.write("/etc/rancher/rke2/config.yaml", "profile: cis\n");
    host.until("ready", |host| host.status().starts_with("ready"));
    fs::create_dir(host.at("/etc/rancher/rke2/config.yaml.d")).unwrap();
    host.write("/etc/rancher/rke2/config.yaml.d/x.YML", "profile: [\n");
    host.until("fatal", |host| host.status().starts_with("fatal"));
    assert!(host.status().contains("x.YML"), "{}", host.status());
    fs::remove_file(host.at("/etc/rancher/rke2/config.yaml.d/x.YML")).unwrap();
    host.until("ready", |host| host.status().starts_with("ready"));
}

#[test]
fn the_gate_asks_the_daemon_and_without_daemon_or_bus_looks_by_itself() {
    let mut host = Host::server();
    let gate = host.run(&["gate", "--role", "server"]);
    let words = String::from_utf8_lossy(&gate.stderr).into_owned();
    assert_eq!(gate.status.code(), Some(0), "{words}");
    assert!(words.contains("the gate looks by itself"), "{words}");
    assert!(host.etcd().is_some(), "and mends");

    host.start_bus();
    host.start();
    host.until("on the bus", |host| host.log().contains("on the bus as"));
    let gate = host.run(&["gate", "--role", "server"]);
    let words = String::from_utf8_lossy(&gate.stderr).into_owned();
    assert_eq!(gate.status.code(), Some(0), "{words}");
    assert!(!words.contains("by itself"), "{words}");

    host.write("/etc/rancher/rke2/config.yaml", "profile: cis-1.99\n");
    let gate = host.run(&["gate", "--role", "server"]);
    let words = String::from_utf8_lossy(&gate.stderr).into_owned();
    assert_eq!(gate.status.code(), Some(78), "{words}");
    assert!(words.contains("invalid value provided for --profile flag"), "{words}");
    assert!(words.contains("/etc/rancher/rke2/config.yaml:1"), "{words}");
}

#[test]
fn guarding_goes_on_while_the_bus_is_away_and_the_daemon_comes_back_to_it() {
    let mut host = Host::server();
    host.start();
    host.set_sysctl("kernel/panic", "0");
    host.until("corrected without a bus", |host| host.sysctl("kernel/panic") == "10");

    host.start_bus();
    host.until("on the bus", |host| host.log().contains("on the bus as"));
    let status = host.run(&["status"]);
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    assert!(String::from_utf8_lossy(&status.stderr).is_empty(), "{status:?}");

    host.stop_bus();
    host.until("it is noticed", |host| host.log().contains("not on the bus"));
    host.set_sysctl("kernel/panic", "3");
    host.until("corrected without a bus", |host| host.sysctl("kernel/panic") == "10");
    let status = host.run(&["status"]);
    assert!(String::from_utf8_lossy(&status.stderr).contains("does not answer"), "{status:?}");

    let times = |host: &Host| host.log().matches("on the bus as").count();
    let before = times(&host);
    host.start_bus();
    host.until("on the bus again", |host| times(host) > before);
}

#[test]
fn it_stops_on_sigterm_says_so_and_rolls_nothing_back() {
    let mut host = Host::server();
    host.start();
    host.signal("TERM");
    assert_eq!(host.ended(), Some(0));
    host.until("STOPPING=1", |host| host.told.iter().any(|line| line == "STOPPING=1"));
    assert_eq!(host.sysctl("kernel/panic"), "10");
    assert!(host.etcd().is_some());
}

#[test]
fn the_watchdog_is_fed_and_a_reload_looks_again() {
    let mut host = Host::server();
    host.start();
    host.until("WATCHDOG=1", |host| host.told.iter().any(|line| line == "WATCHDOG=1"));
    host.told.clear();
    host.signal("HUP");
    host.until("RELOADING=1", |host| host.told.iter().any(|line| line == "RELOADING=1"));
    host.until("READY=1", |host| host.told.iter().any(|line| line == "READY=1"));
}

#[test]
fn an_account_that_is_deleted_while_it_runs_is_made_again() {
    let mut host = Host::server();
    host.start();
    assert!(host.etcd().is_some());
    for file in ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"] {
        let kept: String = host
            .read(file)
            .lines()
            .filter(|l| !l.starts_with("etcd:"))
            .map(|l| format!("{l}\n"))
            .collect();
        host.write(&format!("{file}.new"), &kept);
        fs::rename(host.at(&format!("{file}.new")), host.at(file)).unwrap();
    }
    host.until("the account is back", |host| host.etcd().is_some());
}

#[test]
fn a_data_dir_on_a_disk_that_is_unmounted_and_mounted_again_is_guarded_again() {
    let mut host = Host::server();
    host.start();
    let etcd = host.etcd();
    let db = format!("{ETCD}/member/snap/db");
    host.inside("mkdir -p /var/lib/rancher && mount -t tmpfs tmpfs /var/lib/rancher");
    let make = format!("mkdir -p {ETCD}/member/snap && touch {db}");
    host.inside(&make);
    host.until("guarded", |host| host.inside_owner(&db) == etcd);
    host.inside("umount /var/lib/rancher");
    host.inside(&format!("mount -t tmpfs tmpfs /var/lib/rancher && {make}"));
    host.until("guarded again", |host| host.inside_owner(&db) == etcd);
    host.inside(&format!("chown root:root {db}"));
    host.until("and again", |host| host.inside_owner(&db) == etcd);
}

#[test]
fn data_that_outlived_its_system_gets_an_account_with_its_ids_and_is_not_changed() {
    let mut host = Host::server();
    host.make_data_dir();
    let status = std::process::Command::new("chown")
        .args(["-R", "811:812"])
        .arg(host.at("/var/lib/rancher/rke2/server/db/etcd"))
        .status();
    assert!(status.unwrap().success());

    host.start();

    assert_eq!(host.etcd(), Some((811, 812)));
    assert_eq!(host.owner(&format!("{ETCD}/member/snap/db")), Some((811, 812)));
    assert!(!host.log().contains("/db/etcd owner corrected"), "{}", host.log());
}

#[test]
fn data_of_an_owner_that_is_taken_is_given_to_etcd_with_one_line() {
    let mut host = Host::server();
    host.write("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nother:x:811:811::/:/bin/sh\n");
    host.make_data_dir();
    let status = std::process::Command::new("chown")
        .args(["-R", "811:811"])
        .arg(host.at("/var/lib/rancher/rke2/server/db/etcd"))
        .status();
    assert!(status.unwrap().success());

    host.start();

    let etcd = host.etcd();
    assert_ne!(etcd.unwrap().0, 811);
    assert_eq!(host.owner(&format!("{ETCD}/member/snap/db")), etcd);
    let lines = host.log().lines().filter(|line| line.contains("/db/etcd owner corrected")).count();
    assert_eq!(lines, 1, "{}", host.log());
}

#[test]
fn what_a_link_leads_to_is_never_changed_and_the_gate_stays_shut() {
    let mut host = Host::server();
    host.start();
    let etcd = host.etcd().unwrap();
    host.write("/etc/precious", "p");
    host.make_data_dir();
    let link = format!("{ETCD}/member/snap/link");
    host.until("guarded", |host| host.owner(&format!("{ETCD}/member/snap/db")) == Some(etcd));
    symlink("/etc/precious", host.at(&link)).unwrap();
    std::os::unix::fs::lchown(host.at(&link), Some(etcd.0), Some(etcd.1)).unwrap();
    host.until("fatal", |host| host.status().starts_with("fatal"));
    assert!(host.status().contains("member/snap/link"), "{}", host.status());
    assert_eq!(host.owner("/etc/precious"), Some((0, 0)));
    assert_eq!(host.run(&["gate", "--role", "server"]).status.code(), Some(78));
    fs::remove_file(host.at(&link)).unwrap();
    host.until("ready by itself", |host| host.status().starts_with("ready"));
    assert_eq!(host.run(&["gate", "--role", "server"]).status.code(), Some(0));
}

#[test]
fn what_etcd_writes_wakes_nobody() {
    use std::io::Write;
    let mut host = Host::server();
    host.start();
    let etcd = host.etcd();
    host.make_data_dir();
    let wal = format!("{ETCD}/member/wal/0.wal");
    host.until("guarded", |host| host.owner(&wal) == etcd);
    // What the guard's own change and the tree's making still had to say is over.
    host.until("it is quiet", |host| {
        let before = host.wakeups();
        std::thread::sleep(Duration::from_millis(100));
        host.wakeups() == before
    });
    let before = host.wakeups();
    let mut file = fs::File::options().append(true).open(host.at(&wal)).unwrap();
    for n in 0..2000 {
        file.write_all(b"record").unwrap();
        if n % 100 == 0 {
            file.sync_data().unwrap();
        }
    }
    drop(file);
    let woken = host.wakeups() - before;
    // The clock's own ticks may fall into it.
    assert!(woken <= 3, "{woken} wakeups for 2000 writes");
}

#[test]
fn an_idle_daemon_is_small() {
    let mut host = Host::server();
    host.make_data_dir();
    let mut journald = journal::Journald::on(&mut host);
    host.start_bus();
    host.start();
    journald.until("the bus", |message| message.starts_with("on the bus as"));
    let status = proc_file(host.pid(), "status");
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    // A debug build; the release build is measured in the node.
    assert!(field("VmRSS:") < 32 * 1024, "{status}");
    // One that guards, and one for each that may stall: the bus, the journal, the service manager. The
    // kernel has 15 bytes for a name, and a thread takes its own when it runs first.
    let names = ["nodeguard", "nodeguard-bus", "nodeguard-journ", "nodeguard-notif"];
    host.until("these threads and no others", |host| journal::threads(host.pid()) == names);
}
