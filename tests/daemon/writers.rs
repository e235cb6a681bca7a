// SPDX-License-Identifier: Apache-2.0
//! Who changed a kernel parameter: named, or said why not.

use std::collections::HashSet;
use std::process::Command;

use crate::host::Host;

fn attributing() -> Host {
    let host = Host::server();
    std::fs::create_dir_all(host.at("/etc/nodeguard")).unwrap();
    host.write("/etc/nodeguard/nodeguard.toml", "attribution = true\n");
    host
}

/// The lines of the log about corrections of a key, the first pass's left out.
fn corrections(host: &Host, key: &str) -> Vec<String> {
    let begin = format!("nodeguard: {key} corrected: ");
    host.log().lines().filter(|line| line.starts_with(&begin)).skip(1).map(str::to_owned).collect()
}

/// Writes in one write, without truncating, and ends at once.
fn short_lived(host: &Host, key: &str, value: &str) -> u32 {
    let line = format!("printf '{value}\\n' 1<>\"{}\"", host.at(&format!("stock/{key}")).display());
    let mut child = Command::new("sh").args(["-c", &line]).spawn().unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    pid
}

#[test]
fn a_writer_that_is_still_there_is_named_in_the_log_and_in_the_report() {
    let mut host = attributing();
    host.start();

    host.set_sysctl("kernel/panic", "0");

    host.until("it is logged", |host| corrections(host, "kernel.panic").len() == 1);
    let me = std::process::id();
    let line = corrections(&host, "kernel.panic").remove(0);
    assert!(line.contains("corrected: 0 -> 10; written by ") && line.contains(&format!("[{me}]")));
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
    assert!(line.contains(&format!("written by {}[{me}]", comm.trim())), "{line}");
    let exe = std::env::current_exe().unwrap();
    assert!(line.contains(exe.to_str().unwrap()), "{line}");
    host.until("it is reported", |host| {
        let report = host.read("/run/nodeguard/report.json");
        report.contains(&format!("\"pid\":{me}")) && report.contains("\"before\":\"10\"")
    });
}

#[test]
fn a_check_over_the_bus_tells_what_was_corrected_lately_as_every_report_does() {
    let mut host = attributing();
    host.start_bus();
    host.start();
    host.set_sysctl("kernel/panic", "0");
    host.until("it is logged", |host| corrections(host, "kernel.panic").len() == 1);

    let answer = host.inside(
        "busctl --json=short call org.nodeguard.NodeGuard1 /org/nodeguard/NodeGuard1 \
         org.nodeguard.NodeGuard1 Check",
    );

    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap_or_else(|e| {
        panic!("{e}: {answer:?}");
    });
    let report = answer["data"][0].as_str().unwrap();
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    assert_eq!(report["corrections"], serde_json::json!([]), "it changes nothing");
    let last = report["recent"].as_array().unwrap().last().unwrap();
    assert_eq!(last["subject"], "kernel.panic");
    assert_eq!(last["writer"]["processes"][0]["pid"], std::process::id());
}

#[test]
fn a_writer_that_ended_is_named_or_said_to_be_gone_and_never_taken_for_another() {
    let mut host = attributing();
    host.start();
    let mut named = 0;
    for n in 1..=40 {
        let pid = short_lived(&host, "kernel/panic", "0");
        host.until("it is logged", |host| corrections(host, "kernel.panic").len() == n);
        let line = corrections(&host, "kernel.panic").remove(n - 1);
        let gone = format!("writer unknown: it ended before it could be looked at (pid {pid})");
        let is_named = line.contains(&format!("written by sh[{pid}]"));
        // The value may be read and corrected before the kernel tells of the write.
        let unseen = line.contains("writer unknown: no write was seen yet");
        assert!(is_named || unseen || line.contains(&gone), "{line}");
        named += usize::from(is_named);
    }
    println!("{named} of 40 writers that ended at once were named");
}

#[test]
fn with_several_writers_at_once_nobody_is_accused_alone() {
    let mut host = attributing();
    host.start();
    let path = host.at("stock/kernel/panic");
    // The daemon cannot run meanwhile, so all of them come between two looks.
    host.signal("STOP");
    let mut pids = HashSet::new();
    for value in ["0", "1", "2"] {
        pids.insert(short_lived(&host, "kernel/panic", value));
    }
    let line = format!("exec 3<>'{}'; printf '3\\n' >&3; echo; read -r _", path.display());
    let mut waiting = Command::new("sh")
        .args(["-c", &line])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut wrote = [0];
    std::io::Read::read_exact(waiting.stdout.as_mut().unwrap(), &mut wrote).unwrap();

    host.signal("CONT");

    host.until("it is logged", |host| corrections(host, "kernel.panic").len() == 1);
    let line = corrections(&host, "kernel.panic").remove(0);
    assert!(line.contains(&format!("written by one of sh[{}]", waiting.id())), "{line}");
    assert!(line.contains("or by another: it ended before it could be looked at"), "{line}");
    for pid in pids {
        assert!(line.contains(&pid.to_string()), "{line}");
    }
    drop(waiting.stdin.take());
    waiting.wait().unwrap();
}

#[test]
fn a_flood_of_writers_is_bounded_and_said_and_the_next_one_is_named_again() {
    let mut host = attributing();
    host.start();
    host.signal("STOP");
    let path = host.at("stock/kernel/panic");
    let line = format!("for n in $(seq 700); do (printf '0\\n' 1<>'{}'); done", path.display());
    assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
    host.signal("CONT");
    host.until("it is logged", |host| corrections(host, "kernel.panic").len() == 1);
    let line = corrections(&host, "kernel.panic").remove(0);
    assert!(line.contains("there were more writes than are told apart"), "{line}");
    assert!(line.len() < 600, "{line}");
    let open = std::fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap().count();
    assert!(open < 40, "{open} descriptors are open");

    host.set_sysctl("kernel/panic", "5");
    host.until("it is logged", |host| corrections(host, "kernel.panic").len() == 2);
    let line = corrections(&host, "kernel.panic").remove(1);
    let me = format!("[{}]", std::process::id());
    assert!(line.contains("5 -> 10; written by ") && line.contains(&me), "{line}");
}

#[test]
fn without_the_capability_it_says_so_and_the_guard_is_as_quick() {
    let mut host = attributing();
    host.wrapped = "setpriv --bounding-set -sys_admin";
    host.start();
    let reason = "attribution is on but the unit lacks CAP_SYS_ADMIN";
    host.until("the note", |host| host.log().contains(reason));
    host.until("ready all the same", |host| host.status().starts_with("ready"));

    host.set_sysctl("kernel/panic", "0");

    host.until("it is logged", |host| corrections(host, "kernel.panic").len() == 1);
    let line = corrections(&host, "kernel.panic").remove(0);
    assert!(line.ends_with(&format!("writer unknown: {reason}")), "{line}");
    assert!(host.read("/run/nodeguard/report.json").contains("attribution-unavailable"));
}

#[test]
fn one_capability_is_enough_for_name_and_unit_and_what_it_does_not_show_is_left_out() {
    let mut host = attributing();
    host.wrapped =
        "setpriv --bounding-set -all,+sys_admin,+sys_chroot,+chown,+fowner,+dac_override";
    host.start();

    host.set_sysctl("kernel/panic", "0");

    host.until("it is logged", |host| corrections(host, "kernel.panic").len() == 1);
    let line = corrections(&host, "kernel.panic").remove(0);
    let me = std::process::id();
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
    assert!(line.contains(&format!("written by {}[{me}]", comm.trim())), "{line}");
    let exe = std::env::current_exe().unwrap();
    assert!(!line.contains(exe.to_str().unwrap()), "this test has every capability: {line}");
}

#[test]
fn it_is_off_until_it_is_wanted_and_a_change_of_the_configuration_is_enough() {
    let mut host = Host::server();
    std::fs::create_dir_all(host.at("/etc/nodeguard")).unwrap();
    host.start();
    host.set_sysctl("kernel/panic", "0");
    host.until("it is logged", |host| corrections(host, "kernel.panic").len() == 1);
    assert!(corrections(&host, "kernel.panic")[0].ends_with("0 -> 10"), "{}", host.log());

    for (n, (setting, said)) in [("true", "written by "), ("false", "0 -> 10")].iter().enumerate() {
        host.write("/etc/nodeguard/nodeguard.toml", &format!("attribution = {setting}\n"));
        host.signal("HUP");
        host.told.clear();
        host.until("READY=1", |host| host.told.iter().any(|line| line == "READY=1"));
        host.set_sysctl("kernel/panic", "0");
        host.until("it is logged", |host| corrections(host, "kernel.panic").len() == n + 2);
        assert!(corrections(&host, "kernel.panic")[n + 1].contains(said), "{}", host.log());
    }
}
