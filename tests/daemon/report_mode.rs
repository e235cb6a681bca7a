// SPDX-License-Identifier: Apache-2.0
//! The real daemon and the real gate where they only tell: in report mode of everything, with
//! `[gate] warn` of one code.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use super::contest::cpu_share;
use super::host::{ETCD, Host, TLS};

const FILE: &str = "/etc/nodeguard/nodeguard.toml.d/10-report.toml";
const RKE2: &str = "etc/rancher/rke2/config.yaml";
const GATE: [&str; 3] = ["gate", "--role", "server"];
const CHECK: [&str; 4] = ["check", "--json", "--role", "server"];

/// A server with this as nodeguard's configuration before it ever ran.
fn configured(text: &str) -> Host {
    let host = Host::server();
    fs::create_dir_all(host.at("/etc/nodeguard/nodeguard.toml.d")).unwrap();
    host.write(FILE, text);
    host
}

fn reporting() -> Host {
    configured("mode = \"report\"\n")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// An account as the guide makes it, and etcd's directories with everything in them root's.
fn with_a_tree(host: &Host) {
    host.write("etc/passwd", "root:x:0:0:root:/root:/bin/bash\netcd:x:997:996::/:/sbin/nologin\n");
    host.write("etc/group", "root:x:0:\netcd:x:996:\n");
    host.write("etc/shadow", "root:*:19000:0:99999:7:::\netcd:!:19000::::::\n");
    host.make_data_dir();
}

/// Everything that the host has but what is nodeguard's own in /run, with owner, mode, times of the
/// last change and content.
fn listing(host: &Host) -> BTreeMap<String, String> {
    fn add(top: &Path, path: &Path, out: &mut BTreeMap<String, String>) {
        let meta = fs::symlink_metadata(path).unwrap();
        let name = path.strip_prefix(top).unwrap().display().to_string();
        let left_out = ["run", "log", "tmp", "proc", "dev", "enter", "nodeguard"];
        if left_out.contains(&name.as_str()) {
            return;
        }
        let content = if meta.is_file() { fs::read(path).unwrap() } else { Vec::new() };
        let (uid, gid, mode) = (meta.uid(), meta.gid(), meta.mode());
        let changed = if name.is_empty() { (0, 0) } else { (meta.ctime(), meta.ctime_nsec()) };
        let text = String::from_utf8_lossy(&content).into_owned();
        out.insert(name, format!("{uid}:{gid} {mode:o} {changed:?} {text}"));
        if meta.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                add(top, &entry.unwrap().path(), out);
            }
        }
    }
    let mut out = BTreeMap::new();
    let top = host.at("");
    add(&top, &top, &mut out);
    out
}

fn assert_unchanged(host: &Host, before: &BTreeMap<String, String>) {
    let after = listing(host);
    let differs: Vec<_> = after
        .iter()
        .filter(|(path, now)| before.get(*path) != Some(now))
        .map(|(path, now)| format!("{path}: {now}\n  it was {:?}", before.get(path)))
        .chain(before.keys().filter(|path| !after.contains_key(*path)).cloned())
        .collect();
    assert!(differs.is_empty(), "changed:\n{}", differs.join("\n"));
}

#[test]
fn neither_daemon_nor_apply_nor_gate_changes_anything_and_each_says_what_would_be_done() {
    let mut host = reporting();
    let before = listing(&host);
    host.start();
    let would = "report mode: 6 things would have been corrected, and RKE2 would have been started";
    let apply = host.run(&["apply", "--role", "server"]);
    assert_eq!(apply.status.code(), Some(2), "the judgement's: {apply:?}");
    assert!(said(&apply).contains(&format!("report mode ({FILE}:1): nothing was changed")));
    let text = String::from_utf8_lossy(&apply.stdout).into_owned();
    assert!(text.starts_with("degraded (report mode): server, profile cis\n"), "{text}");
    assert!(text.contains(would), "{text}");
    let gate = host.run_in_a_unit(&GATE);
    assert_eq!(gate.status.code(), Some(0), "{gate:?}");
    for words in [
        would,
        "kernel.panic=0 - expected 10 (report mode: it would be corrected)",
        "missing required: user: unknown user etcd (report mode: it would be corrected)",
    ] {
        assert!(said(&gate).contains(words), "{}", said(&gate));
    }
    host.until("RKE2's status has it", |host| host.status().contains("nodeguard: report mode: 6"));
    let check = host.run(&CHECK);
    assert_eq!(check.status.code(), Some(2));
    let report = json(&check);
    assert_eq!((&report["mode"], &report["state"]), (&"report".into(), &"degraded".into()));
    assert_eq!(report["corrections"], serde_json::json!([]));
    assert!(!report.to_string().contains("nodeguard apply"), "nothing mends it: {report}");
    assert!(report.to_string().contains(&format!("in {FILE}:1")), "{report}");
    host.signal("HUP");
    host.until("it is told", |host| host.log().contains("report mode (/etc/nodeguard"));
    assert!(host.log().contains("drift: invalid kernel parameter value"), "{}", host.log());
    assert!(!host.log().contains(" corrected: "), "{}", host.log());
    let status = host.told.iter().find(|line| line.starts_with("STATUS=degraded (report mode): "));
    assert!(status.is_some(), "{:?}", host.told);
    assert!(host.read("run/nodeguard/report.json").contains("\"mode\":\"report\""));
    assert_unchanged(&host, &before);
    assert!(!host.at("var/lib/nodeguard").exists());
}

#[test]
fn a_tree_of_roots_stays_roots_and_a_planted_link_shuts_no_gate() {
    let mut host = reporting();
    with_a_tree(&host);
    host.set_sysctl("fs/protected_hardlinks", "1");
    let link = format!("{ETCD}/member/snap/planted");
    symlink("/etc/shadow", host.at(&link)).unwrap();
    std::os::unix::fs::lchown(host.at(&link), Some(997), None).unwrap();
    let before = listing(&host);
    for with_daemon in [false, true] {
        if with_daemon {
            host.start();
        }
        let gate = host.run_in_a_unit(&GATE);
        let words = said(&gate);
        assert_eq!(gate.status.code(), Some(0), "{words}");
        let because = "RKE2 would not have been started because ";
        assert!(words.contains(because) && words.contains("made by uid 997"), "{words}");
        host.until("RKE2's status has it", |host| {
            host.told
                .iter()
                .any(|line| line.starts_with("STATUS=nodeguard: ") && line.contains(because))
        });
        assert_eq!(host.run(&CHECK).status.code(), Some(78), "the judgement's");
        assert_unchanged(&host, &before);
    }
    let fatal = host.told.iter().any(|line| line.starts_with("STATUS=fatal (report mode): "));
    assert!(fatal, "{:?}", host.told);
}

#[test]
fn a_gate_in_report_mode_opens_where_it_cannot_look() {
    let host = reporting();
    fs::create_dir_all(host.at("run/nodeguard")).unwrap();
    let lock = fs::File::create(host.at("run/nodeguard/gate.lock")).unwrap();
    lock.lock().unwrap();
    let gate = host.run(&["gate", "--role", "server", "--limit", "1"]);
    let words = said(&gate);
    assert_eq!(gate.status.code(), Some(0), "{words}");
    let opened =
        "report mode: RKE2 is started, although another gate's look at this node has not ended";
    assert!(words.contains(opened), "{words}");
    assert!(!words.contains("RKE2 is not started"), "{words}");
    let ask = ["override", "--role", "server", "--reason", "in case"];
    assert_eq!(host.run(&ask).status.code(), Some(0));
    let gate = host.run(&["gate", "--role", "server", "--limit", "1"]);
    assert!(said(&gate).contains("is used up: report mode needs none"), "{}", said(&gate));
}

#[test]
fn drift_is_told_as_it_comes_and_goes_and_never_corrected() {
    let mut host = reporting();
    with_a_tree(&host);
    for (key, value) in [("vm/overcommit_memory", "1"), ("kernel/panic", "10")] {
        host.set_sysctl(key, value);
    }
    host.set_sysctl("kernel/panic_on_oops", "1");
    host.set_sysctl("fs/protected_hardlinks", "1");
    for path in ["", "/config", "/name", "/member", "/member/snap", "/member/wal"] {
        host.chown(&format!("{ETCD}{path}"), (997, 996));
    }
    for path in ["/member/snap/db", "/member/wal/0.wal"] {
        host.chown(&format!("{ETCD}{path}"), (997, 996));
    }
    for path in ["server-client.key", "server-ca.crt"] {
        host.chown(&format!("{TLS}/{path}"), (997, 996));
    }
    for path in ["", "/member", "/member/snap", "/member/wal"] {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(host.at(&format!("{ETCD}{path}")), fs::Permissions::from_mode(0o700))
            .unwrap();
    }
    for path in [format!("{TLS}/server-client.key"), format!("{TLS}/server-ca.key")] {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(host.at(&path), fs::Permissions::from_mode(0o600)).unwrap();
    }
    host.start();
    let report = |host: &Host| host.read("run/nodeguard/report.json");
    host.until("it is looked at", |host| report(host).contains("\"mode\":\"report\""));
    let db = format!("{ETCD}/member/snap/db");
    host.set_sysctl("kernel/panic", "0");
    host.chown(&db, (0, 0));
    host.until("both are told", |host| {
        let report = report(host);
        report.contains("kernel.panic=0 - expected 10 (report")
            && report.contains("snap/db has owner 0:0")
    });
    assert_eq!((host.sysctl("kernel/panic").as_str(), host.owner(&db)), ("0", Some((0, 0))));
    host.set_sysctl("kernel/panic", "10");
    host.chown(&db, (997, 996));
    host.until("both are told to be over", |host| {
        let report = report(host);
        !report.contains("kernel.panic=0") && !report.contains("has owner")
    });
    assert!(!host.log().contains(" corrected: "), "{}", host.log());
}

#[test]
fn who_changes_parameters_and_files_without_end_keeps_neither_processor_nor_journal_busy() {
    let mut host = reporting();
    with_a_tree(&host);
    host.set_sysctl("fs/protected_hardlinks", "1");
    host.start();
    let lines = |host: &Host| host.log().lines().count();
    let db = format!("{ETCD}/member/snap/db");
    let mut turn = 0;
    let before = lines(&host);
    let share = cpu_share(&host, Duration::from_secs(3), || {
        turn += 1;
        host.set_sysctl("kernel/panic", if turn % 2 == 0 { "0" } else { "10" });
        host.chown(&db, if turn % 2 == 0 { (0, 0) } else { (997, 996) });
    });
    let told = lines(&host) - before;
    println!("figure: {share:.1} % of a processor and {told} lines for {turn} changes of each");
    assert!(share < 10.0, "{share} % of a processor, in a debug build");
    assert!(told <= 30, "{told} lines in three seconds: {}", host.log());
    // Nothing that comes makes turns for ever.
    let quiet =
        cpu_share(&host, Duration::from_secs(2), || std::thread::sleep(Duration::from_millis(10)));
    assert!(quiet < 5.0, "{quiet} % of a processor with nothing to do");
    assert!(!host.log().contains(" corrected: "), "{}", host.log());
}

#[test]
fn the_switch_to_enforce_corrects_at_once_and_back_again_nothing_is_corrected() {
    let mut host = reporting();
    host.start();
    assert_eq!(host.etcd(), None);
    host.write(FILE, "mode = \"enforce\"\n");
    host.signal("HUP");
    host.until("it is mended", |host| host.etcd().is_some() && host.sysctl("kernel/panic") == "10");
    host.until("ready", |host| host.status().starts_with("ready: server"));
    assert!(host.log().contains("enforce mode (/etc/nodeguard"), "{}", host.log());
    host.write(FILE, "mode = \"report\"\n");
    host.until("the mode is back", |host| host.status().starts_with("ready (report mode): server"));
    host.set_sysctl("kernel/panic", "0");
    host.until("it is told", |host| host.status().starts_with("degraded (report mode): invalid"));
    assert_eq!(host.sysctl("kernel/panic"), "0");
}

#[test]
fn a_first_start_with_an_error_elsewhere_keeps_to_the_mode_that_the_files_name() {
    let mut host = configured("mode = \"report\"\npol-interval = \"7s\"\n");
    let before = listing(&host);
    host.start();
    assert_eq!(host.run(&GATE).status.code(), Some(0));
    let report = host.read("run/nodeguard/report.json");
    assert!(
        report.contains("did you mean poll-interval") && report.contains("\"mode\":\"report\"")
    );
    assert_unchanged(&host, &before);
}

#[test]
fn where_a_file_cannot_be_used_nothing_is_changed_and_the_gate_is_shut_on_what_nobody_mends() {
    for mode in [0o664, 0o644] {
        let mut host = configured("mode = \"report\"\n");
        match mode {
            0o664 => host.chown(FILE, (0, 1000)),
            _ => host.write(FILE, "mode = \"audit\"\n"),
        }
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(host.at(FILE), fs::Permissions::from_mode(mode)).unwrap();
        let before = listing(&host);
        for with_daemon in [false, true] {
            if with_daemon {
                host.start();
            }
            let gate = host.run(&GATE);
            let words = said(&gate);
            assert_eq!(gate.status.code(), Some(78), "{words}");
            assert!(words.contains("unknown user etcd (not corrected because of "), "{words}");
            assert!(words.contains("nothing on this host is corrected until then"), "{words}");
            assert_unchanged(&host, &before);
        }
        let report = host.read("run/nodeguard/report.json");
        assert!(report.contains("\"mode\":\"enforce\""), "{report}");
        let apply = host.run(&["apply", "--role", "server"]);
        assert!(said(&apply).contains("leaves the mode open: nothing was changed"), "{apply:?}");
        assert_unchanged(&host, &before);
        // Once it is whole it is in force.
        fs::remove_file(host.at(FILE)).unwrap();
        host.write(FILE, "mode = \"enforce\"\n");
        host.signal("HUP");
        host.until("it is mended", |host| host.etcd().is_some());
        // A file that others can write turns nothing off on a node where it was in force.
        fs::set_permissions(host.at(FILE), fs::Permissions::from_mode(0o666)).unwrap();
        host.signal("HUP");
        host.until("it is seen", |host| host.log().contains("the last whole configuration stays"));
        host.set_sysctl("kernel/panic", "0");
        host.until("it is mended", |host| host.sysctl("kernel/panic") == "10");
        assert_eq!(host.run(&GATE).status.code(), Some(0));
    }
}

#[test]
fn a_first_start_with_a_mode_that_was_plainly_meant_for_enforce_enforces() {
    let mut host = configured("mode = \"Enforced\"\n");
    host.start();
    assert!(host.etcd().is_some());
    host.write(RKE2, "profile: cis-1.99\n");
    assert_eq!(host.run(&GATE).status.code(), Some(78));
}

#[test]
fn a_daemon_that_knows_the_mode_from_before_its_files_were_broken_tells_the_gate() {
    let mut host = reporting();
    host.write(RKE2, "profile: cis-1.99\n");
    host.start();
    host.write(FILE, "mode = \n");
    host.until("it is seen", |host| host.log().contains("the last whole configuration stays"));
    let before = listing(&host);
    let gate = host.run(&GATE);
    let words = said(&gate);
    assert_eq!(gate.status.code(), Some(0), "{words}");
    assert!(
        words.contains("would not have been started because invalid value provided"),
        "{words}"
    );
    assert_unchanged(&host, &before);
}

#[test]
fn a_demoted_code_opens_the_gate_with_the_line_that_demotes_it_and_our_own_hand_stays_out() {
    let demotes = "[gate]\nwarn = [\"etcd-link-foreign\", \"no-such-code\"]\n";
    for with_daemon in [false, true] {
        let mut host = configured("");
        with_a_tree(&host);
        if with_daemon {
            host.start();
        }
        assert_eq!(host.run(&GATE).status.code(), Some(0));
        let link = format!("{ETCD}/member/snap/planted");
        symlink("/etc/shadow", host.at(&link)).unwrap();
        std::os::unix::fs::lchown(host.at(&link), Some(997), None).unwrap();
        assert_eq!(host.run(&GATE).status.code(), Some(78));

        host.write(FILE, demotes);
        let gate = host.run_in_a_unit(&GATE);
        let words = said(&gate);
        assert_eq!(gate.status.code(), Some(0), "{words}");
        let by = format!("(fatal, and demoted to a warning by {FILE}:2)");
        assert!(words.contains(&by), "{words}");
        assert!(
            words.contains("what they lead to, anywhere on this host, will be etcd's"),
            "{words}"
        );
        assert!(words.contains("RKE2 is started, although "), "{words}");
        host.until("RKE2's status has it", |host| {
            host.told.iter().any(|line| line.contains("nodeguard: RKE2 is started, although "))
        });
        let check = host.run(&CHECK);
        assert_eq!(check.status.code(), Some(2), "degraded");
        let report = json(&check);
        assert!(report.to_string().contains("unknown code no-such-code in gate.warn"), "{report}");
        let tree =
            report["controls"].as_array().unwrap().iter().find(|c| c["id"] == "etcd-data-dir");
        let finding = &tree.unwrap()["findings"][0];
        assert_eq!(
            (&finding["code"], &finding["severity"]),
            (&"etcd-link-foreign".into(), &"warning".into())
        );
        assert_eq!(finding["demoted_by"], serde_json::json!({"file": FILE, "line": 2}));
        assert_eq!(host.owner("etc/shadow"), Some((0, 0)), "our own hand stays out of it");
        assert_eq!(host.owner(&link).map(|o| o.0), Some(997), "and lets the link be");

        // Everything else is as it was: mended, and fatal.
        host.set_sysctl("kernel/panic", "0");
        assert_eq!(host.run(&GATE).status.code(), Some(0));
        assert_eq!(host.sysctl("kernel/panic"), "10");
        host.write(RKE2, "profile: cis-1.99\n");
        assert_eq!(host.run(&GATE).status.code(), Some(78));
    }
}
