// SPDX-License-Identifier: Apache-2.0
//! Attacks on the guard by the user it guards for: a process with etcd's uid works in the data
//! directory while the real daemon, as root, keeps that directory etcd's.
//!
//! In every one of them: nothing outside the tree changes, the daemon neither dies nor hangs nor
//! grows, and goes on with the rest of its work. Loops last `NODEGUARD_ATTACK_SECONDS`; without that
//! 3, and the race between check and use 60.

mod attacker;
mod canary;
#[path = "../daemon/host.rs"]
#[allow(dead_code)] // the daemon's own tests use all of it
mod host;
mod ordeal;
mod right;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use attacker::{ARENA, Attacker, GROUPS, STRANGE};
use host::{ETCD, proc_file};
use ordeal::{Ordeal, RootAtWork};

/// No test: the process of an attacker, started by the tests.
#[test]
#[ignore = "the attacker's process, which the other tests start"]
fn the_attacker() {
    let Ok(name) = std::env::var("NODEGUARD_ATTACK") else { return };
    let canary = std::env::var_os("NODEGUARD_ATTACK_CANARY").unwrap();
    attacker::run(&name, Path::new(&canary));
}

/// `a0`, `a1` … with `rest` behind each.
fn numbered(letter: &str, rest: &str) -> Vec<String> {
    (0..GROUPS).map(|k| format!("{letter}{k}{rest}")).collect()
}

/// Corrections that the log shows one by one: that there was a race at all.
fn corrections(ordeal: &Ordeal) -> usize {
    ordeal.host.log().matches(" corrected: ").count()
}

/// How long the attackers of the race between check and use go on.
const RACE_SECONDS: u64 = 60;

/// Each in a directory of its own.
const RACERS: [(&str, &str); 3] =
    [("swap", "member/snap"), ("exchange", "member/exchange"), ("hard-link", "member/linked")];

/// A file swapped for a link to one of root's, a directory for a link to one of root's with the same
/// names in it, a file for one of root's that was linked into the tree: all of them without a pause
/// and at once, so that a minute of each takes a minute.
#[test]
fn what_is_swapped_between_check_and_use_for_a_whole_minute_leads_nowhere() {
    let mut ordeal = Ordeal::new();
    let etcd = ordeal.host.etcd().unwrap();
    for (_, arena) in RACERS {
        let arena = ordeal.in_tree(arena);
        fs::create_dir_all(&arena).unwrap();
        std::os::unix::fs::chown(&arena, Some(etcd.0), Some(etcd.1)).unwrap();
    }
    let [in_swap, in_exchange, in_linked] = RACERS.map(|(_, arena)| ordeal.in_tree(arena));
    // What the kernel refuses to etcd under fs.protected_hardlinks=1 is planted by root instead.
    for (n, name) in numbered("h", "").iter().enumerate() {
        let target = ["db", "key", "set-id", "sub/x"][n % 4];
        fs::hard_link(ordeal.canary.dir.join(target), in_linked.join(name)).unwrap();
    }
    ordeal.canary.look();
    ordeal.host.until("fatal", |host| host.status().starts_with("fatal"));
    let seconds = attacker::seconds(RACE_SECONDS);
    let attackers = RACERS.map(|(name, arena)| ordeal.attack_in(arena, name, seconds));
    let linked = attackers[2].says(host::PATIENCE);
    if fs::read_to_string("/proc/sys/fs/protected_hardlinks").unwrap().trim() == "1" {
        // The one that everybody may write anyway is no protected one.
        assert_eq!(linked.as_deref(), Some("linked 1"));
    }
    let attackers = attackers.map(Attacker::prepared);
    let names = [numbered("d", "/db"), numbered("d", "/sub/x"), numbered("d", "/sub")].concat();
    let before = corrections(&ordeal);
    let root = [
        RootAtWork::on(in_swap, numbered("f", "")),
        RootAtWork::on(in_exchange, names),
        RootAtWork::on(in_linked, numbered("f", "")),
    ];

    let swaps = ordeal.endure_all(&attackers);

    let taken = root.map(RootAtWork::stop);
    let corrected = corrections(&ordeal) - before;
    println!(
        "figure: swaps {swaps:?}, files that were root's meanwhile {taken:?}, corrections by the daemon {corrected}"
    );
    assert!(swaps.iter().all(|n| *n > 1000), "no race: swaps {swaps:?}");
    assert!(taken.iter().all(|n| *n > 20), "nothing to correct: {taken:?}");
    assert!(corrected > 20, "no race: {corrected} corrections");
    assert!(ordeal.host.status().starts_with("fatal"), "{}", ordeal.host.status());
    ordeal.right_in_the_end();
    let arenas = RACERS.map(|(_, arena)| arena);
    ordeal.ready_without(&[&arenas[..], &["mine-0", "mine-1", "mine-2", "mine-3"]].concat());
}

#[test]
fn fifos_sockets_and_devices_are_neither_opened_nor_changed() {
    let mut ordeal = Ordeal::new();
    for name in numbered("n", "") {
        let device = ordeal.in_tree(ARENA).join(name);
        let mut mknod = Command::new("mknod");
        mknod.args(["-m", "666"]).arg(&device).args(["c", "1", "3"]);
        assert!(mknod.status().unwrap().success());
    }
    let attacker = ordeal.attack("special").prepared();
    let root = RootAtWork::on(ordeal.in_tree(ARENA), numbered("f", ""));

    let swaps = ordeal.endure(&attacker);

    assert!(swaps > 500 && root.stop() > 20 && corrections(&ordeal) > 20);
    for name in numbered("n", "") {
        let device = fs::symlink_metadata(ordeal.in_tree(ARENA).join(&name)).unwrap();
        assert_eq!((device.uid(), device.gid(), device.mode()), (0, 0, 0o020_666), "{name}");
    }
    for name in numbered("p", "").iter().chain(&numbered("s", "")) {
        let special = fs::symlink_metadata(ordeal.in_tree(ARENA).join(name)).unwrap();
        assert_eq!(Some((special.uid(), special.gid())), ordeal.host.etcd(), "{name}");
    }
    ordeal.right_in_the_end();
    ordeal.ready_without(&[ARENA]);
}

#[test]
fn a_bind_mount_of_a_directory_of_roots_is_not_entered() {
    let mut ordeal = Ordeal::new();
    let attacker = ordeal.attack("mount").prepared();
    let pid = ordeal.host.pid().to_string();
    // In the daemon's mount namespace; the attacker, who is in another, can move the mount points.
    for name in numbered("m", "") {
        let status = Command::new("nsenter")
            .args(["--target", &pid, "--mount", "--", "mount", "--bind"])
            .arg(&ordeal.canary.dir)
            .arg(ordeal.in_tree(ARENA).join(name))
            .status();
        // One that is just changing places with its neighbour may be missed.
        let _ = status.expect("nsenter (package util-linux)");
    }
    let mounted = proc_file(ordeal.host.pid(), "mountinfo").matches("/srv/canary").count();
    assert!(mounted > GROUPS / 2, "{mounted} mounts");
    let names = [numbered("d", "/db"), numbered("d", "/sub/x")].concat();
    let root = RootAtWork::on(ordeal.in_tree(ARENA), names);

    let swaps = ordeal.endure(&attacker);

    assert!(swaps > 1000 && root.stop() > 20 && corrections(&ordeal) > 20);
    ordeal.host.signal("HUP");
    ordeal.host.until("it is seen", |host| {
        host.read("/run/nodeguard/report.json").contains("is a bind mount")
    });
    ordeal.host.until("degraded", |host| host.status().starts_with("degraded"));
    ordeal.ready_without(&[ARENA]);
}

#[test]
fn four_thousand_levels_cost_neither_memory_nor_descriptors() {
    let mut ordeal = Ordeal::new();
    let attacker = ordeal.attack("nest").prepared();

    assert!(ordeal.endure(&attacker) > 100);

    let open = fs::read_dir(format!("/proc/{}/fd", ordeal.host.pid())).unwrap().count();
    assert!(open < 64, "{open} descriptors are open");
    ordeal.host.until("it is said", |host| host.status().contains("nested deeper"));
    // The two may have changed places when it ended.
    let deep = if ordeal.in_tree("deep/snap").exists() { "member" } else { "deep" };
    ordeal.ready_without(&[deep]);
}

#[test]
fn names_made_to_be_misread_are_entries_like_all_others() {
    let mut ordeal = Ordeal::new();
    let attacker = ordeal.attack("names").prepared();

    assert!(ordeal.endure(&attacker) > 100);

    ordeal.right_in_the_end();
    ordeal.host.signal("HUP");
    ordeal.host.until("the links are seen", |host| host.status().starts_with("fatal"));
    let check = ordeal.host.run(&["check", "--json"]);
    let report = nodeguard::render::parse(&String::from_utf8_lossy(&check.stdout)).unwrap();
    let links =
        report.findings().filter(|f| f.code == nodeguard::model::Code::EtcdLinkForeign).count();
    assert_eq!(links, STRANGE.len());
    ordeal.ready_without(&[ARENA]);

    // One alone, so that it is the one the service manager is told about.
    let (link, etcd) = (ordeal.in_tree("x\nMAINPID=1\nSTOPPING=1"), ordeal.host.etcd().unwrap());
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(etcd.0), Some(etcd.1)).unwrap();
    ordeal.host.until("fatal", |host| host.status().starts_with("fatal"));
    assert!(ordeal.host.status().contains("MAINPID=1"), "{}", ordeal.host.status());
    for line in &ordeal.host.told {
        let known = ["STATUS=", "READY=1", "RELOADING=1", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC="];
        assert!(known.iter().any(|word| line.starts_with(word)), "told: {line:?}");
    }
}

#[test]
fn names_made_to_be_misread_are_shown_escaped() {
    let mut ordeal = Ordeal::new();
    ordeal.endure(&ordeal.attack("names").prepared());
    ordeal.host.signal("HUP");
    ordeal.host.until("the links are seen", |host| host.status().starts_with("fatal"));

    // On a terminal of root's, and in a log of plain lines.
    for text in [ordeal.host.log().into_bytes(), ordeal.host.run(&["check"]).stdout] {
        let control = text.iter().find(|byte| byte.is_ascii_control() && **byte != b'\n');
        assert_eq!(control, None, "{}", text.escape_ascii());
        let forged = text.split(|byte| *byte == b'\n').find(|line| line == b"nodeguard: forged");
        assert_eq!(forged, None, "{}", text.escape_ascii());
    }
}

#[test]
fn thirty_thousand_directories_cost_bounded_memory_and_are_said_and_then_it_is_quiet() {
    let mut ordeal = Ordeal::new();
    // While it looks at all of them it looks at nothing else; a debug build takes seconds for it.
    ordeal.sysctl_limit = Duration::from_secs(6);
    let attacker = ordeal.attack("wide").prepared();

    assert_eq!(ordeal.endure(&attacker), 30_000);

    ordeal.host.until("it is said", |host| host.status().contains("more than 4096 directories"));
    ordeal.right_in_the_end();
    // A watch that is set and taken back is an event: they must not add up to one pass after the
    // other, more than 16,384 of them being an overflow.
    ordeal.at_rest();
    let etcd = ordeal.in_tree("");
    for entry in fs::read_dir(etcd).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().len() == 100 {
            fs::remove_dir(path).unwrap();
        }
    }
    ordeal.ready_without(&[]);
}

#[test]
fn a_flood_of_events_holds_up_nothing() {
    let mut ordeal = Ordeal::new();
    let attacker = ordeal.attack("flood").prepared();

    assert!(ordeal.endure(&attacker) > 10);

    assert!(corrections(&ordeal) > 20);
    ordeal.right_in_the_end();
    ordeal.host.until("ready", |host| host.status().starts_with("ready"));
}

#[test]
fn a_gate_that_asks_during_a_flood_of_events_is_answered() {
    let mut ordeal = Ordeal::new();
    ordeal.host.start_bus();
    ordeal.host.until("on the bus", |host| host.log().contains("on the bus as"));
    let attacker = ordeal.attack("flood").prepared();

    let asked = Instant::now();
    let gate = ordeal.host.run(&["gate", "--role", "server"]);

    println!("figure: the gate was answered after {} ms", asked.elapsed().as_millis());
    assert_eq!(attacker.says(Duration::ZERO), None, "it was answered before the flood was over");
    let words = String::from_utf8_lossy(&gate.stderr).into_owned();
    assert!(!words.contains("the gate looks by itself"), "the daemon did not answer: {words}");
}

#[test]
fn what_is_lost_with_an_overflowing_queue_is_found_by_a_look_at_everything() {
    let mut ordeal = Ordeal::new();
    let db = format!("{ETCD}/{ARENA}/db");
    let etcd = ordeal.host.etcd();
    // No look at everything is still to come from what happened before.
    ordeal.host.told.clear();
    ordeal.host.signal("HUP");
    ordeal.host.until("a reload", |host| host.told.iter().any(|line| line == "READY=1"));
    // It does not read its events until they are too many.
    ordeal.host.signal("STOP");
    let attacker = ordeal.attack("overflow").prepared();
    let said = attacker.says(host::PATIENCE).unwrap();
    assert!(said.starts_with("done "), "{said}");
    ordeal.host.chown(&db, (0, 0));
    fs::create_dir_all(ordeal.in_tree("late/a/b")).unwrap();
    fs::write(ordeal.in_tree("late/a/b/leaf"), "x").unwrap();
    ordeal.host.set_sysctl("kernel/panic", "0");
    assert_eq!(ordeal.host.owner(&db), Some((0, 0)));

    ordeal.host.signal("CONT");

    let took = ordeal.host.until("db is etcd's again", |host| host.owner(&db) == etcd);
    println!("figure: mended {} ms after {said} events", took.as_millis());
    ordeal.right_in_the_end();
    ordeal.host.until("kernel.panic is 10", |host| host.sysctl("kernel/panic") == "10");
    ordeal.host.until("ready", |host| host.status().starts_with("ready"));
}
