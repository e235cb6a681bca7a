// SPDX-License-Identifier: Apache-2.0
//! The account `etcd` in every state it can be met in: the real program and the real shadow-utils
//! in a root of its own each. What each state becomes, with exit code and words, is in
//! `snapshots/`; that RKE2 starts exactly where the program does not say fatal is asserted for
//! each.

#[path = "../daemon/host.rs"]
#[allow(dead_code)]
mod host;
mod state;
mod states;

use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use host::{Host, PATIENCE, proc_file};
use state::{Seen, lock, state};

#[test]
fn every_state_of_the_account_is_mended_or_told_with_the_reason() {
    let states = states::all();
    let next = AtomicUsize::new(0);
    let seen = Mutex::new(vec![String::new(); states.len()]);
    // The programs wait for locks and processes: more at once than there are processors.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(state) = states.get(index) else { break };
                    let text = state.play();
                    seen.lock().unwrap()[index] = text;
                }
            });
        }
    });
    println!("{} account states", states.len());
    assert!(states.len() >= 40, "the table was found");
    insta::assert_snapshot!("states", seen.into_inner().unwrap().concat());
}

/// Somebody who holds a lock, ended with the test.
struct Holder(Child);

impl Holder {
    fn new() -> Self {
        let mut command = std::process::Command::new("sleep");
        Self(command.arg("600").stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, seen: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !seen() {
        assert!(Instant::now() < end, "waited in vain for: {what}");
        std::thread::yield_now();
    }
}

fn waits_by_inotify(pid: u32) -> bool {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"));
    entries.into_iter().flatten().flatten().any(|entry| {
        std::fs::read_link(entry.path()).is_ok_and(|to| to.ends_with("anon_inode:inotify"))
    })
}

#[test]
fn a_lock_is_waited_for_until_its_holder_ends_and_then_the_account_is_made() {
    for path in ["etc/passwd.lock", "etc/group.lock", "etc/shadow.lock"] {
        let made = state("locked").live().make();
        let holder = Holder::new();
        lock(&made.at(path), holder.0.id());
        let child = made.host().spawn(&["apply", "--json", "--role", "server"]);
        until("the program waits", || waits_by_inotify(child.id()));
        assert_eq!(made.host().etcd(), None);
        // Its file stays: that of a dead one is for the tools to take away.
        drop(holder);
        let output = child.wait_with_output().unwrap();
        assert_eq!(Seen::of(&output).code, Some(0), "{path}: {output:?}");
        assert_eq!(made.host().etcd(), Some((999, 999)), "{path}");
        assert!(!made.at(path).exists(), "{path}");
    }
}

#[test]
fn a_lock_that_is_not_given_back_is_told_with_its_holder_and_left_alone() {
    let made = state("locked").live().make();
    let holder = Holder::new();
    lock(&made.at("etc/passwd.lock"), holder.0.id());
    let seen = Seen::of(&made.run("apply"));
    assert_eq!(seen.code, Some(78), "{seen:?}");
    let words = format!(
        "missing required: user: unknown user etcd (/etc/passwd.lock is held by process {} (sleep))",
        holder.0.id()
    );
    assert!(seen.lines[0].contains(&words), "{seen:?}");
    assert!(made.at("etc/passwd.lock").exists());
}

#[test]
fn the_lock_of_the_c_library_is_waited_for_by_the_tools_themselves() {
    use std::os::unix::fs::MetadataExt;
    let made = state("locked").live().make();
    let path = made.at("etc/.pwd.lock");
    let file = std::fs::File::create(&path).unwrap();
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let child = made.host().spawn(&["apply", "--json", "--role", "server"]);
    let inode = format!(":{} ", file.metadata().unwrap().ino());
    until("useradd waits", || {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|line| line.contains("->") && line.contains(&inode))
    });
    drop(file);
    let output = child.wait_with_output().unwrap();
    assert_eq!(Seen::of(&output).code, Some(0), "{output:?}");
    assert_eq!(made.host().etcd(), Some((999, 999)));
}

#[test]
fn an_account_that_is_deleted_beside_the_daemon_comes_back_with_the_same_numbers() {
    let mut host = Host::server();
    host.write("etc/passwd", "root:x:0:0:root:/root:/bin/bash\netcd:x:611:612:e:/:/sbin/nologin\n");
    host.write("etc/group", "root:x:0:\netcd:x:612:\n");
    host.start();
    assert_eq!(host.etcd(), Some((611, 612)));
    let group = |host: &Host| host.read("etc/group").contains("etcd:x:612:");
    // No data directory tells the numbers here: the daemon knows them from its last look.
    for line in ["userdel -f etcd", "sed -i /^etcd:/d /etc/passwd", "groupdel -f etcd"] {
        let pid = host.pid();
        host.inside(line);
        host.until(line, |host| host.etcd() == Some((611, 612)) && group(host));
        assert_eq!(host.pid(), pid);
        assert!(proc_file(pid, "comm").starts_with("nodeguard"), "the daemon lives");
    }
    // Somebody was given its number meanwhile: it is not taken from them, nor shared.
    host.inside("sed -i 's/^etcd:x:611:612:.*/thief:x:611:100::\\/:\\/bin\\/false/' /etc/passwd");
    host.until("an account with a number of its own", |host| {
        host.etcd().is_some_and(|(uid, gid)| uid != 611 && gid == 612)
    });
}
