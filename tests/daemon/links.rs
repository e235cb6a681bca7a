// SPDX-License-Identifier: Apache-2.0
//! Links of the operator's in and above etcd's data directory.

use std::fs;
use std::os::unix::fs::symlink;

use super::host::{ETCD, Host};

const CONFIG: &str = "/etc/rancher/rke2/config.yaml";

/// A server with an account, and etcd's data as RKE2 and etcd left it.
fn server() -> Host {
    let host = Host::server();
    host.make_data_dir();
    let output = host.run(&["apply", "--role", "server"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    host
}

/// Moves something away and puts a link to it in its place.
fn move_away(host: &Host, from: &str, to: &str, link: &str) {
    fs::create_dir_all(host.at(to).parent().unwrap()).unwrap();
    fs::rename(host.at(from), host.at(to)).unwrap();
    symlink(link, host.at(from)).unwrap();
}

/// The exit code of a check and what it said.
fn check(host: &Host) -> (Option<i32>, String) {
    let output = host.run(&["check", "--role", "server"]);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_log_on_another_disk_is_fatal_but_where_etcds_pod_has_that_disk() {
    for (link, mount) in [
        ("/disk/wal", "/disk:/disk"),
        ("../../../../../../../../disk/wal", "/disk/wal:/disk/wal:rw"),
    ] {
        let host = server();
        move_away(&host, &format!("{ETCD}/member/wal"), "/disk/wal", link);
        let (code, said) = check(&host);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("etcd starts without its log"), "{said}");
        assert_eq!(host.run(&["gate", "--role", "server"]).status.code(), Some(78));
        assert!(fs::symlink_metadata(host.at(ETCD).join("member/wal")).unwrap().is_symlink());

        host.write(CONFIG, &format!("profile: cis\netcd-extra-mount: {mount}:ro\n"));
        if mount.ends_with(":rw") {
            host.write(CONFIG, "profile: cis\netcd-extra-mount:\n- /disk/wal:/disk/wal:ro\n");
        }
        assert_eq!(check(&host).0, Some(78), "it cannot be written there");
        host.write(CONFIG, &format!("profile: cis\netcd-extra-mount:\n- {mount}\n"));
        let (code, said) = check(&host);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("note: ") && said.contains("is a link of root's to"), "{said}");
    }
}

#[test]
fn a_link_that_stays_in_the_data_dir_is_a_note() {
    let host = server();
    move_away(&host, &format!("{ETCD}/member/wal"), &format!("{ETCD}/log/wal"), "../log/wal");
    assert_eq!(host.run(&["apply", "--role", "server"]).status.code(), Some(0));
    let (code, said) = check(&host);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("note: "), "{said}");
}

#[test]
fn the_data_dir_itself_as_a_link_is_fatal_with_both_ways_out_and_a_directory_above_may_be_one() {
    let host = server();
    move_away(&host, ETCD, "/disk/etcd", "/disk/etcd");
    let (code, said) = check(&host);
    assert_eq!(code, Some(78), "{said}");
    for part in [
        &*format!("{ETCD} is a link to /disk/etcd: RKE2's own chown does not go through it"),
        &*format!("where:  {ETCD}"),
        &*format!("mount --bind /disk/etcd {ETCD}"),
        "set data-dir",
    ] {
        assert!(said.contains(part), "{part}\nin: {said}");
    }
    fs::remove_dir_all(host.at("/disk/etcd")).unwrap();
    let (code, said) = check(&host);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("a link to /disk/etcd, where no directory is"), "{said}");

    for above in ["server/db", "server", ""] {
        let host = server();
        let path = format!("/var/lib/rancher/rke2/{above}");
        let path = path.trim_end_matches('/');
        move_away(&host, path, "/disk/moved", "/disk/moved");
        let db = format!("/disk/moved{}/member/snap/db", &ETCD[path.len()..]);
        host.chown(&db, (0, 0));
        assert_eq!(host.run(&["apply", "--role", "server"]).status.code(), Some(0), "{above}");
        assert_eq!(host.owner(&db), host.etcd(), "{above}");
    }
}
