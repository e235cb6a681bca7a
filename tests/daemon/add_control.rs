// SPDX-License-Identifier: Apache-2.0
//! A control costs what CONTRIBUTING.md says it costs: a change that adds one is applied to a copy of
//! the source, built, and seen in the JSON, on D-Bus, in the manual and by the daemon's own eyes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::Host;

const CHANGE: &str = include_str!("add_control.patch");

/// Every file that the change touches; `nodeguard.8` is the manual's table, and the rest are its own
/// folder, its line among the controls, and its names in the enums of the model.
const TOUCHED: [&str; 8] = [
    "packaging/man/nodeguard.8",
    "src/controls/login_banner/facts.rs",
    "src/controls/login_banner/judge.rs",
    "src/controls/login_banner/mod.rs",
    "src/controls/mod.rs",
    "src/model/code/login_banner.rs",
    "src/model/code/mod.rs",
    "src/model/mod.rs",
];

#[test]
fn a_change_that_adds_a_control_touches_its_folder_its_names_and_nothing_else() {
    let touched: BTreeSet<&str> =
        CHANGE.lines().filter_map(|line| line.strip_prefix("+++ b/")).collect();
    assert_eq!(touched, BTreeSet::from(TOUCHED));
    // It changes names and lists that are there, line by line, and takes nothing away but those.
    let removed: Vec<&str> =
        CHANGE.lines().filter(|line| line.starts_with('-') && !line.starts_with("---")).collect();
    assert!(removed.len() <= 2, "{removed:#?}");

    // On the file system of the build, so that links can be made.
    let copy = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    copy_source(copy.path());
    let patched = Command::new("patch")
        .args(["--strip=1", "--batch", "--quiet", "--input"])
        .arg(repository().join("tests/daemon/add_control.patch"))
        .current_dir(copy.path())
        .output()
        .expect("patch (package patch)");
    let said = String::from_utf8_lossy(&patched.stdout).into_owned();
    assert!(patched.status.success(), "make the change anew with `git diff`: {said}");
    let program = build(copy.path());

    let mut host = Host::server();
    fs::copy(&program, host.at("nodeguard")).unwrap();
    fs::write(host.at("/etc/issue.net"), "").unwrap();
    let check = host.run(&["check", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    let control = |report: &serde_json::Value| {
        let controls = report["controls"].as_array().unwrap();
        controls.iter().find(|control| control["id"] == "login-banner").cloned()
    };
    let found = control(&report).expect("the control is in the JSON");
    assert_eq!(found["findings"][0]["code"], "login-banner-missing", "{found}");
    assert_eq!(found["state"], "ready", "a note");
    let manual = fs::read_to_string(copy.path().join("packaging/man/nodeguard.8")).unwrap();
    assert!(manual.contains("login\\-banner\\-missing"));
    let explained = host.run(&["explain", "login-banner-missing"]);
    assert!(String::from_utf8_lossy(&explained.stdout).contains("/etc/issue.net"));

    host.start_bus();
    host.start();
    let object = "/org/nodeguard/NodeGuard1/login_banner";
    let introspect = format!("busctl introspect org.nodeguard.NodeGuard1 {object} 2>&1");
    host.until("its object on the bus", |host| {
        host.inside(&introspect).contains("org.nodeguard.NodeGuard1.Control")
    });
    // The daemon watches the file because of what the control said.
    fs::write(host.at("/etc/issue.net"), "This is ours.\n").unwrap();
    host.until("the note is gone", |host| {
        let report = host.read("/run/nodeguard/report.json");
        serde_json::from_str(&report)
            .ok()
            .and_then(|report| control(&report))
            .is_some_and(|control| control["findings"].as_array().is_some_and(Vec::is_empty))
    });
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a build of the program needs.
fn copy_source(to: &Path) {
    let parts = ["src", "systemd", "packaging", "tests", "Cargo.toml", "Cargo.lock"];
    let copied = Command::new("cp")
        .arg("--archive")
        .args(parts.map(|part| repository().join(part)))
        .arg(to)
        .status()
        .unwrap();
    assert!(copied.success());
}

/// Builds the copy and gives the program. What it depends on is linked to as it was built for these
/// tests; only the program itself is compiled.
fn build(copy: &Path) -> PathBuf {
    let debug = Path::new(env!("CARGO_BIN_EXE_nodeguard")).parent().unwrap();
    let target = copy.join("target");
    for part in ["build", "deps", ".fingerprint"] {
        link_all(&debug.join(part), &target.join("debug").join(part));
    }
    let built = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--offline", "--quiet", "--bin", "nodeguard"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(copy)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join("debug/nodeguard")
}

/// But for what is this program's own, which is nothing to the copy.
fn link_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let (from, to) = (entry.path(), to.join(&name));
        if name.trim_start_matches("lib").starts_with("nodeguard") {
        } else if entry.file_type().unwrap().is_dir() {
            link_all(&from, &to);
        } else {
            fs::hard_link(from, to).unwrap();
        }
    }
}
