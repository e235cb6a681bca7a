// SPDX-License-Identifier: Apache-2.0
//! What somebody costs who never gives up: the daemon's share of a processor while an object is
//! contested and its rival is as busy as it can be.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::host::{ETCD, Host, TLS};
use crate::parameters::busy;

/// What is contested, a rival's move, and whether the daemon has answered it.
type Rival = (&'static str, fn(&Host) -> String, fn(&Host), fn(&Host) -> bool);

const RIVALS: [Rival; 4] = [
    (
        "a kernel parameter",
        |_| "kernel.panic".into(),
        |host| host.set_sysctl("kernel/panic", "0"),
        |host| host.sysctl("kernel/panic") == "10",
    ),
    (
        "a file of etcd's",
        |_| format!("{ETCD}/member/snap/db"),
        |host| take(&db(host)),
        |host| is_etcds(host, &db(host)),
    ),
    (
        "a TLS file",
        |_| format!("{TLS}/server-ca.crt"),
        |host| take(&ca(host)),
        |host| is_etcds(host, &ca(host)),
    ),
    (
        "the whole tree",
        |_| format!("{ETCD}/*"),
        |host| (0..MANY).for_each(|n| take(&one_of_many(host, n))),
        |host| {
            is_etcds(host, &one_of_many(host, 0)) && is_etcds(host, &one_of_many(host, MANY - 1))
        },
    ),
];

/// More entries than are looked at one by one.
const MANY: usize = 1000;

/// A tree is contested when it needed full passes for half a minute to a minute; a loaded machine
/// makes that longer.
const UNTIL_CONTESTED: Duration = Duration::from_secs(150);

pub fn cost(time: Duration) {
    println!("CPU while contested, the rival without a pause for {:.0} s", time.as_secs_f64());
    for (name, object, wrong, is_right) in RIVALS {
        let mut host = Host::server();
        host.start();
        host.make_data_dir();
        (0..MANY).for_each(|n| fs::write(one_of_many(&host, n), "x").unwrap());
        let last = one_of_many(&host, MANY - 1);
        host.until("guarded", |host| {
            [&ca(host), &db(host), &last].into_iter().all(|path| is_etcds(host, path))
        });
        let said = format!("{} is contested", object(&host));
        let begin = Instant::now();
        while !host.log().contains(&said) {
            assert!(begin.elapsed() < UNTIL_CONTESTED, "{name} is not contested:\n{}", host.log());
            wrong(&host);
            host.until("an answer", |host| is_right(host) || host.log().contains(&said));
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

fn one_of_many(host: &Host, n: usize) -> PathBuf {
    host.at(ETCD).join(format!("member/snap/{n}.snap"))
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
