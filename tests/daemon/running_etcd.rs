// SPDX-License-Identifier: Apache-2.0
//! Whose etcd's files are while an etcd runs and the account has another number by now.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::host::{ETCD, Host, PATIENCE, TLS};

const DB: &str = "member/snap/db";

/// Something that runs as etcd would, with the lock on the database; it ends with the test.
struct Etcd(Child);

impl Etcd {
    fn start(host: &Host, (uid, gid): (u32, u32)) -> Self {
        let db = host.at(&format!("{ETCD}/{DB}"));
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={uid}"), format!("--regid={gid}")]).arg("--clear-groups");
        command.args(["flock", "--no-fork"]).arg(db).args([
            "sh",
            "-c",
            "echo locked; exec sleep 600",
        ]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 7];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).expect("the lock");
        Self(child)
    }

    fn stop(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As configuration management does it: a new file takes the place of the old one.
fn renumber(host: &Host, (uid, gid): (u32, u32)) {
    for (file, entry) in [
        ("etc/passwd", format!("etcd:x:{uid}:{gid}:etcd user:/home/etcd:/sbin/nologin")),
        ("etc/group", format!("etcd:x:{gid}:")),
    ] {
        let text = host.read(file);
        let mut lines: Vec<_> = text.lines().filter(|line| !line.starts_with("etcd:")).collect();
        lines.push(&entry);
        host.write(&format!("{file}.new"), &(lines.join("\n") + "\n"));
        fs::rename(host.at(&format!("{file}.new")), host.at(file)).unwrap();
    }
}

/// Everything below a directory with itself, each before what is in it: the order of RKE2's chown.
fn all_below(path: &Path, out: &mut Vec<std::path::PathBuf>) {
    out.push(path.to_path_buf());
    if path.is_dir() {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        names.iter().for_each(|path| all_below(path, out));
    }
}

fn tree(host: &Host) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    all_below(&host.at(ETCD), &mut out);
    out
}

fn is_whole(host: &Host, (uid, gid): (u32, u32)) -> bool {
    let owner = |path: &std::path::PathBuf| fs::symlink_metadata(path).map(|m| (m.uid(), m.gid()));
    tree(host).iter().all(|path| owner(path).is_ok_and(|owner| owner == (uid, gid)))
        && host.owner(&format!("{TLS}/server-client.key")) == Some((uid, gid))
}

/// What RKE2 does at its start.
fn give_away(host: &Host, (uid, gid): (u32, u32)) {
    let tls = ["server-client.key", "server-ca.crt"].map(|name| host.at(TLS).join(name));
    for path in tree(host).iter().chain(&tls) {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

fn told(host: &Host) -> bool {
    host.read("run/nodeguard/report.json").contains("etcd-process-user")
}

fn guarded() -> (Host, (u32, u32)) {
    let mut host = Host::server();
    host.start();
    let old = host.etcd().unwrap();
    host.make_data_dir();
    host.until("the tree is etcd's", |host| is_whole(host, old));
    (host, old)
}

#[test]
fn a_running_etcd_keeps_its_files_and_its_account_gets_them_when_it_has_ended() {
    let (mut host, old) = guarded();
    let new = (777, 776);
    let etcd = Etcd::start(&host, old);
    renumber(&host, new);
    host.until("it is told", |host| told(host));
    let report = host.read("run/nodeguard/report.json");
    assert!(
        report.contains(&format!("\"expected\":\"777:776\",\"actual\":\"{}:{}\"", old.0, old.1))
    );
    assert!(report.contains("\"state\":\"degraded\""), "{report}");
    assert!(is_whole(&host, old), "nothing was given away");
    for wrong in [(0, 0), new, (1000, 1000)] {
        for file in ["", DB, "member", "member/wal/0.wal"] {
            if (wrong, file) == (new, "") {
                continue; // That is RKE2's chown.
            }
            let path = if file.is_empty() { ETCD.to_owned() } else { format!("{ETCD}/{file}") };
            host.chown(&path, wrong);
            host.until(&format!("{path} is back from {wrong:?}"), |host| is_whole(host, old));
        }
        host.chown(&format!("{TLS}/server-client.key"), wrong);
        host.until(&format!("the key is back from {wrong:?}"), |host| is_whole(host, old));
    }
    let output = host.run(&["apply"]);
    assert_eq!(output.status.code(), Some(2), "a process of its own sees the same: {output:?}");
    assert!(is_whole(&host, old));

    etcd.stop();
    host.signal("HUP");
    host.until("the account has its files", |host| is_whole(host, new));
    host.until("nothing is left to tell", |host| !told(host));
}

#[test]
fn what_rke2_gives_away_is_never_taken_back() {
    let (mut host, mut now) = guarded();
    for n in 0..60 {
        host.write(&format!("{ETCD}/member/snap/{n}.snap"), "x");
    }
    host.until("the tree is etcd's", |host| is_whole(host, now));
    for round in 0..12 {
        let next = (700 + round, 600 + round);
        let etcd = Etcd::start(&host, now);
        renumber(&host, next);
        host.until("it is told", |host| told(host));
        assert!(is_whole(&host, now), "round {round}");
        // Something to mend just then, as near to RKE2's chown as can be.
        for n in 0..20 {
            host.chown(&format!("{ETCD}/member/snap/{n}.snap"), (0, 0));
        }
        give_away(&host, next);
        let took = host.until("all of it is the new number's", |host| is_whole(host, next));
        assert!(took < PATIENCE / 4, "round {round}: {took:?}");
        etcd.stop();
        host.signal("HUP");
        host.until("nothing is left to tell", |host| !told(host));
        assert!(is_whole(&host, next), "and stays so");
        now = next;
    }
}

#[test]
fn roots_etcd_and_one_of_another_group_lose_nothing_and_keep_nothing() {
    let (mut host, old) = guarded();
    let etcd = Etcd::start(&host, (0, 0));
    host.signal("HUP");
    host.until("it is told", |host| told(host));
    give_away(&host, (0, 0));
    host.until("the account has its files", |host| is_whole(host, old));
    etcd.stop();
    let _etcd = Etcd::start(&host, old);
    let new = (old.0, 4242);
    renumber(&host, new);
    host.until("the tree is regrouped", |host| is_whole(host, new));
    host.until("it is told", |host| told(host));
    let report = host.read("run/nodeguard/report.json");
    assert!(report.contains("\"state\":\"ready\""), "{report}");
}
