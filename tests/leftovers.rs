// SPDX-License-Identifier: Apache-2.0
//! `apply` killed a thousand times, anywhere: the next pass leaves no file of ours behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};

const KILLS: u32 = 1000;

/// Where something of ours is written.
const DIRECTORIES: [&str; 4] = ["etc", "etc/sysctl.d", "run/nodeguard", "var/lib/nodeguard"];

const DROP_IN: &str = "etc/sysctl.d/60-rke2-cis.conf";

fn apply(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nodeguard"));
    command.args(["apply", "--role", "agent", "--root"]).arg(root);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn leftovers(root: &Path) -> Vec<PathBuf> {
    let directories = DIRECTORIES.iter().map(|dir| root.join(dir)).filter(|dir| dir.exists());
    let entries = directories.flat_map(|dir| fs::read_dir(dir).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_str().unwrap().contains(".nodeguard.")).collect()
}

/// A number that differs from one to the next, for a moment at which to kill.
fn scattered(n: u32, below: u128) -> u128 {
    u128::from(u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % below.max(1)
}

#[test]
fn a_thousand_kills_leave_no_file_of_ours_behind_after_the_next_pass() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (path, text) in [
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/rancher/rke2/config.yaml", "profile: cis\n"),
        (DROP_IN, ""),
        // Files of ours elsewhere, as a process that is dead left them.
        ("run/nodeguard/.report.json.nodeguard.4194303", "x"),
        ("run/nodeguard/.override-server.nodeguard.4194303", "x"),
        ("var/lib/nodeguard/.rke2-version.json.nodeguard.1", "x"),
        ("etc/.passwd.nodeguard.17", "x"),
        // And what is not ours.
        ("etc/sysctl.d/.other.conf.swp", "x"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let wrong = "kernel.panic=1\n";
    // The quickest of some: on a machine that is busy later more of them are killed, not fewer.
    let whole = (0..5)
        .map(|_| {
            fs::write(root.join(DROP_IN), wrong).unwrap();
            let began = Instant::now();
            assert!(apply(root).status().unwrap().success());
            began.elapsed().as_micros()
        })
        .min()
        .unwrap();
    assert_eq!(leftovers(root), Vec::<PathBuf>::new(), "what was there before");
    let (mut left, mut killed) = (0, 0);
    for n in 0..KILLS {
        fs::write(root.join(DROP_IN), wrong).unwrap();
        let mut child = apply(root).spawn().unwrap();
        let micros = u64::try_from(scattered(n, whole * 5 / 4)).unwrap();
        pause(Duration::from_micros(micros));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        left += u32::from(!leftovers(root).is_empty());
        // Each of them as the next pass finds it, or several at once.
        if n % 3 == 0 {
            assert!(apply(root).status().unwrap().success());
            assert_eq!(leftovers(root), Vec::<PathBuf>::new(), "after kill {n}");
        }
    }
    assert!(apply(root).status().unwrap().success());
    assert_eq!(leftovers(root), Vec::<PathBuf>::new());
    // A pass that has nothing to write takes it away as well.
    fs::write(root.join("etc/sysctl.d/.60-rke2-cis.conf.nodeguard.1"), "x").unwrap();
    assert!(apply(root).status().unwrap().success());
    assert_eq!(leftovers(root), Vec::<PathBuf>::new());
    assert!(root.join("etc/sysctl.d/.other.conf.swp").exists());
    println!("figure: {killed} of {KILLS} killed before their end, {left} looks met a leftover");
    assert!(killed > KILLS / 4 && left > 0, "nothing was tried: {killed} killed, {left} left");
}

/// Until the moment, without a file descriptor that could end it.
fn pause(time: Duration) {
    let tv_nsec = i64::from(time.subsec_nanos());
    let time = Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap(), tv_nsec };
    let none: &mut [PollFd<'_>] = &mut [];
    let _ = poll(none, Some(&time));
}
