// SPDX-License-Identifier: Apache-2.0
//! What others can make large stays small: the daemon's memory under a flood over the bus, and its
//! report when they choose the names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use crate::host::{ETCD, Host, proc_file};

/// Kibibytes that a process had in memory at most.
fn peak(pid: u32) -> u64 {
    let status = proc_file(pid, "status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_flood_over_the_bus_takes_no_memory_and_holds_up_no_correction() {
    let mut host = Host::server();
    host.start_bus();
    host.start();
    host.until("on the bus", |host| host.log().contains("on the bus as"));
    let before = peak(host.pid());
    let socket = host.at("run/dbus/system_bus_socket");
    let flood = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node/flood");
    for kind in ["report", "introspected", "bodies-1m", "long-path"] {
        let mut flood = Command::new("python3")
            .args([flood, kind, "60", "4"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Fewer than make a contest.
        for _ in 0..40 {
            host.set_sysctl("kernel/panic", "0");
            host.until("it is 10 again", |host| host.sysctl("kernel/panic") == "10");
        }
        assert!(flood.wait().unwrap().success(), "{kind}");
        let after = peak(host.pid());
        assert!(after < before + 8 * 1024, "{kind}: {before} KiB before, {after} KiB after");
    }
}

#[test]
fn whatever_names_and_targets_others_choose_a_report_has_64_kib() {
    let mut host = Host::server();
    host.make_data_dir();
    let names = [b"\x1b[2J\"\\".as_slice(), b"\n", b"\xff\xfe", "😀\u{202e}".as_bytes(), b"a b'"];
    for n in 0..60usize {
        let mut name = format!("{n}-").into_bytes();
        while name.len() < 240 {
            name.extend(names[n % names.len()]);
        }
        let target = name.iter().copied().cycle().take(4000).collect::<Vec<_>>();
        let target: Vec<u8> = target.chunks(200).collect::<Vec<_>>().join(&b'/');
        name.truncate(255);
        let path = host.at(&format!("{ETCD}/member")).join(OsStr::from_bytes(&name));
        symlink(OsStr::from_bytes(&target[..4000]), &path).unwrap();
        std::os::unix::fs::lchown(&path, Some(4242), Some(4242)).unwrap();
    }
    host.start();
    host.until("a report", |host| !host.read("/run/nodeguard/report.json").is_empty());
    let report = host.read("/run/nodeguard/report.json");
    assert!(report.len() <= 64 * 1024, "{} bytes", report.len());
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["state"], "fatal");
    let checked = host.run(&["check", "--json", "--role", "server"]);
    assert!(checked.stdout.len() <= 64 * 1024 + 1, "{} bytes", checked.stdout.len());
    assert_eq!(checked.status.code(), Some(78));
}
