// SPDX-License-Identifier: Apache-2.0
//! Files of root's and the directories on the way to them: what happens to them is seen, whoever
//! else may write there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::host::Host;

const RKE2: &str = "/etc/rancher/rke2";
const CONFIG: &str = "/etc/rancher/rke2/config.yaml";
const BROKEN: &str = "profile: [\n";
const GOOD: &str = "profile: cis\n";

fn started() -> Host {
    let mut host = Host::server();
    host.start();
    host.until("ready", |host| host.status().starts_with("ready"));
    host
}

/// Writes a file and waits until its content is judged.
fn write(host: &mut Host, text: &str) {
    host.write(CONFIG, text);
    judged(host, text);
}

fn judged(host: &mut Host, text: &str) {
    let state = if text == GOOD { "ready" } else { "fatal" };
    host.until(state, |host| host.status().starts_with(state));
}

#[test]
fn a_file_edited_in_place_replaced_or_deleted_is_seen() {
    let mut host = started();
    write(&mut host, BROKEN);
    host.write("/etc/rancher/rke2/.config.yaml.swp", GOOD);
    fs::rename(host.at("/etc/rancher/rke2/.config.yaml.swp"), host.at(CONFIG)).unwrap();
    judged(&mut host, GOOD);
    write(&mut host, BROKEN);
    fs::remove_file(host.at(CONFIG)).unwrap();
    host.until("not fatal", |host| !host.status().starts_with("fatal"));
}

#[test]
fn a_directory_that_is_renamed_or_deleted_and_made_again_is_watched_again() {
    let mut host = started();
    for _ in 0..3 {
        fs::rename(host.at(RKE2), host.at("/etc/rancher/old")).unwrap();
        fs::create_dir(host.at(RKE2)).unwrap();
        write(&mut host, BROKEN);
        write(&mut host, GOOD);
        fs::remove_dir_all(host.at("/etc/rancher")).unwrap();
        fs::create_dir_all(host.at(RKE2)).unwrap();
        write(&mut host, BROKEN);
        write(&mut host, GOOD);
    }
}

#[test]
fn what_another_user_may_write_is_watched_as_well_and_however_much_he_writes_nothing_waits() {
    let mut host = started();
    host.chown(RKE2, (1000, 1000));
    host.signal("HUP");
    host.until("a pass", |host| host.told.iter().any(|line| line == "RELOADING=1"));
    write(&mut host, BROKEN);
    write(&mut host, GOOD);

    // Four of them are what it took to hold up a call of the library for good.
    let over = Arc::new(AtomicBool::new(false));
    let flooders: Vec<_> = ["1", "2", "3", "4"]
        .map(|name| (host.at(RKE2).join(name), over.clone()))
        .map(|(file, over)| {
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    fs::write(&file, "").unwrap();
                    for mode in [0o600, 0o640] {
                        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
                    }
                }
            })
        })
        .into();
    for _ in 0..3 {
        host.set_sysctl("kernel/panic", "0");
        host.until("kernel.panic is 10 again", |host| host.sysctl("kernel/panic") == "10");
        // Another directory to watch.
        fs::create_dir(host.at("/etc/rancher/rke2/config.yaml.d")).unwrap();
        host.write("/etc/rancher/rke2/config.yaml.d/x.yaml", BROKEN);
        judged(&mut host, BROKEN);
        fs::remove_dir_all(host.at("/etc/rancher/rke2/config.yaml.d")).unwrap();
        judged(&mut host, GOOD);
    }
    over.store(true, Ordering::Relaxed);
    flooders.into_iter().for_each(|flooder| flooder.join().unwrap());
}
