// SPDX-License-Identifier: Apache-2.0
//! What somebody costs who never gives up: the daemon's share of a processor while an object is
//! contested and its rival is as busy as it can be.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::host::{ETCD, Host, TLS};
use crate::parameters::busy;

/// A rival's move, and whether the daemon has answered it.
type Rival = (&'static str, fn(&Host), fn(&Host) -> bool);

const RIVALS: [Rival; 3] = [
    (
        "a kernel parameter",
        |host| host.set_sysctl("kernel/panic", "0"),
        |host| host.sysctl("kernel/panic") == "10",
    ),
    ("a file of etcd's", |host| take(&db(host)), |host| is_etcds(host, &db(host))),
    ("a TLS file", |host| take(&ca(host)), |host| is_etcds(host, &ca(host))),
];

pub fn cost(time: Duration) {
    println!("CPU while contested, the rival without a pause for {:.0} s", time.as_secs_f64());
    for (name, wrong, is_right) in RIVALS {
        let mut host = Host::server();
        host.start();
        host.make_data_dir();
        host.until("guarded", |host| is_etcds(host, &ca(host)) && is_etcds(host, &db(host)));
        while !host.log().contains(" is contested") {
            wrong(&host);
            host.until("an answer", |host| is_right(host) || host.log().contains(" is contested"));
        }
        let (before, begin) = (busy(&host), Instant::now());
        let mut moves = 0_u64;
        while begin.elapsed() < time {
            wrong(&host);
            moves += 1;
        }
        let share = (busy(&host) - before) as f64 / 1e9 / begin.elapsed().as_secs_f64() * 100.0;
        let verdict = if share <= 1.0 { "goal 1 met" } else { "goal 1 MISSED" };
        println!("  {name:<20} {share:>6.2} %  {verdict}   ({moves} moves)");
    }
}

fn db(host: &Host) -> PathBuf {
    host.at(ETCD).join("member/snap/db")
}

fn ca(host: &Host) -> PathBuf {
    host.at(TLS).join("server-ca.crt")
}

fn take(path: &Path) {
    chown(path, Some(0), Some(0)).unwrap();
}

fn is_etcds(host: &Host, path: &Path) -> bool {
    let owner = fs::symlink_metadata(path).ok().map(|m| (m.uid(), m.gid()));
    owner.is_some() && owner == host.etcd()
}
