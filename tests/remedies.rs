// SPDX-License-Identifier: Apache-2.0
//! What is said where `apply` could not mend: a remedy for what was in the way, never the command
//! that has just failed. Each obstacle is a real one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CONFIG: &str = "etc/rancher/rke2/config.yaml";

struct Image(tempfile::TempDir);

impl Image {
    fn new() -> Self {
        let image = Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
        image.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        image.write("etc/group", "root:x:0:\n");
        image.write("etc/shadow", "root:*:::::::\n");
        image.write("etc/gshadow", "root:*::\n");
        image.write(CONFIG, "profile: cis\n");
        image.write("etc/sysctl.d/x.conf", "");
        image
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    /// Runs `apply`, after `setup` in a mount namespace of its own.
    fn apply(&self, setup: &str) -> Report {
        let script = format!(
            r#"set -e; I="$1"; {setup}
            exec "$2" apply --json --role server --root "$1""#
        );
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
            .arg(self.0.path())
            .arg(env!("CARGO_BIN_EXE_nodeguard"))
            .output()
            .unwrap();
        Report::of(&output)
    }

    fn chattr(&self, flag: &str, path: &str) -> bool {
        let status = Command::new("chattr").arg(flag).arg(self.at(path)).status().unwrap();
        status.success()
    }
}

#[derive(Debug)]
struct Report(serde_json::Value);

impl Report {
    fn of(output: &Output) -> Self {
        let report = serde_json::from_slice(&output.stdout);
        let report = Self(report.unwrap_or_else(|_| panic!("{output:?}")));
        report.is_told_right();
        report
    }

    fn findings(&self) -> impl Iterator<Item = &serde_json::Value> {
        let controls = self.0["controls"].as_array().unwrap();
        controls.iter().flat_map(|control| control["findings"].as_array().unwrap())
    }

    /// What holds for every report of a pass that mends.
    fn is_told_right(&self) {
        let root = self.0["root"].as_str().unwrap();
        for finding in self.findings() {
            let remedy = finding["remedy"].as_str().unwrap();
            for failed in ["nodeguard apply", "useradd -", "groupadd -", "usermod -", "sysctl -w"] {
                assert!(!remedy.starts_with(failed), "{finding}");
            }
            // The machine that makes the image is not to be changed.
            for word in ["/etc/passwd", "/etc/group", "/etc/login.defs", "/etc/sysctl.d"] {
                let outside =
                    remedy.replace(&format!("{root}/"), "IMAGE/").contains(&format!(" {word}"));
                assert!(!outside || remedy.starts_with("in "), "{finding}");
            }
            let words = format!("{} {}", finding["subject"], finding["message"]);
            // Where programs are is no file of a configuration.
            let words = words.replace("/usr/sbin", "");
            let names_a_file =
                ["/etc/", "/var/", "/usr/", "/run/"].iter().any(|dir| words.contains(dir));
            assert!(!names_a_file || finding["origin"]["file"].is_string(), "{finding}");
        }
    }

    /// The remedy and the file of a finding.
    fn of_code(&self, code: &str) -> (String, String) {
        let finding = self.findings().find(|finding| finding["code"] == code);
        let finding = finding.unwrap_or_else(|| panic!("no {code}: {self:?}"));
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        (text(&finding["remedy"]), text(&finding["origin"]["file"]))
    }
}

const USER: &str = "etcd-user-missing";
const DROP_IN: &str = "sysctl-dropin";

#[test]
fn a_used_up_range_of_numbers_is_named_with_the_way_out() {
    let image = Image::new();
    image.write(
        "etc/login.defs",
        "SYS_UID_MIN 600\n# x\nSYS_UID_MAX 601\nSYS_GID_MIN 600\nSYS_GID_MAX 601\n",
    );
    let people = |n: u32| format!("u{n}:x:{n}:{n}::/:/bin/false\n");
    let passwd = ["root:x:0:0:root:/root:/bin/sh\n", &people(600), &people(601)].concat();
    image.write("etc/passwd", &passwd);
    let (remedy, file) = image.apply("").of_code(USER);
    let root = image.0.path().display();
    assert!(
        remedy.starts_with(&format!(
            "edit {root}/etc/nodeguard/nodeguard.toml: [etcd-account] with uid = "
        )),
        "{remedy}"
    );
    assert!(
        remedy.contains(&format!("or edit {root}/etc/login.defs line 3: SYS_UID_MAX above 601")),
        "{remedy}"
    );
    assert!(!remedy.contains("gid"), "its range has room: {remedy}");
    assert_eq!(file, "/etc/login.defs");
    // What is said helps.
    let uid = remedy.split("uid = ").nth(1).unwrap().lines().next().unwrap().to_owned();
    image.write("etc/nodeguard/nodeguard.toml", &format!("[etcd-account]\nuid = {uid}\n"));
    let report = image.apply("");
    assert_ne!(report.0["state"], "fatal", "{report:?}");
    assert!(
        fs::read_to_string(image.at("etc/passwd")).unwrap().contains(&format!("etcd:x:{uid}:"))
    );
}

#[test]
fn a_range_that_is_none_is_told() {
    let image = Image::new();
    image.write(
        "etc/login.defs",
        "SYS_UID_MIN 700\nSYS_UID_MAX 600\nSYS_GID_MIN 700\nSYS_GID_MAX 800\n",
    );
    let (remedy, file) = image.apply("").of_code(USER);
    assert!(
        remedy.contains(
            "etc/login.defs line 2: SYS_UID_MIN is 700, and SYS_UID_MAX must not be less"
        ),
        "{remedy}"
    );
    assert_eq!(file, "/etc/login.defs");
}

#[test]
fn what_is_immutable_is_named() {
    let image = Image::new();
    if !image.chattr("+i", CONFIG) {
        panic!("the file system of {} has no attributes", env!("CARGO_TARGET_TMPDIR"));
    }
    image.chattr("-i", CONFIG);
    for path in ["etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc"] {
        image.chattr("+i", path);
        let report = image.apply("");
        image.chattr("-i", path);
        let (remedy, file) = report.of_code(USER);
        let place = image.0.path().display();
        assert_eq!(remedy, format!("in {place}: chattr -i /{path}"), "{report:?}");
        assert_eq!(file, format!("/{path}"));
    }
    fs::remove_file(image.at("etc/sysctl.d/60-rke2-cis.conf")).unwrap();
    image.chattr("+i", "etc/sysctl.d");
    let report = image.apply("");
    image.chattr("-i", "etc/sysctl.d");
    let (remedy, _) = report.of_code(DROP_IN);
    assert_eq!(remedy, format!("chattr -i {}", image.at("etc/sysctl.d").display()));

    let drop_in = "etc/sysctl.d/60-rke2-cis.conf";
    for (set, clear) in [("+i", "-i"), ("+a", "-a")] {
        image.write(drop_in, "kernel.panic=1\n");
        image.chattr(set, drop_in);
        let report = image.apply("");
        image.chattr(clear, drop_in);
        let (remedy, file) = report.of_code(DROP_IN);
        assert_eq!(remedy, format!("chattr {clear} {}", image.at(drop_in).display()));
        assert_eq!(file, format!("/{drop_in}"));
    }
}

#[test]
fn an_immutable_entry_of_etcds_is_named() {
    let image = Image::new();
    image.apply("");
    let db = "var/lib/rancher/rke2/server/db/etcd/member/snap/db";
    image.write(db, "");
    for path in [db, "var/lib/rancher/rke2/server/db/etcd/member"] {
        image.chattr("+i", path);
        let report = image.apply("");
        image.chattr("-i", path);
        let (remedy, _) = report.of_code("etcd-immutable");
        let place = image.0.path().display();
        assert_eq!(remedy, format!("in {place}: chattr -i /{path}"), "{report:?}");
        Command::new("chown").args(["-R", "0:0"]).arg(image.at("var")).status().unwrap();
    }
}

#[test]
fn what_cannot_be_written_is_told_by_what_makes_it_so() {
    let whole = r#"mount --bind "$I" "$I"; mount -o remount,bind,ro "$I";"#;
    let disk = r#"cp -a "$I/etc" "$I/copy"; mount -t tmpfs x "$I/etc"; cp -a "$I/copy/." "$I/etc"; mount -o remount,ro "$I/etc";"#;
    let full = r#"cp -a "$I/etc" "$I/copy"; mount -t tmpfs -o size=64k x "$I/etc"; cp -a "$I/copy/." "$I/etc"; dd if=/dev/zero of="$I/etc/fill" bs=1k 2>/dev/null || :;"#;
    for (setup, words) in [
        (whole, "mount -o remount,bind,rw $(findmnt -no TARGET -T "),
        (disk, "mount -o remount,rw $(findmnt -no TARGET -T "),
        (full, "make room on the file system of "),
    ] {
        let image = Image::new();
        let report = image.apply(setup);
        for code in [USER, DROP_IN] {
            let (remedy, _) = report.of_code(code);
            let etc = image.at("etc");
            assert!(remedy.starts_with(&format!("{words}{}", etc.display())), "{code}: {remedy}");
        }
    }
}

#[test]
fn a_lock_and_a_missing_tool_have_remedies_of_their_own() {
    let image = Image::new();
    image.write("etc/group.lock", "");
    let (remedy, file) = image.apply("").of_code(USER);
    assert!(
        remedy.starts_with(&format!("rm {}", image.at("etc/group.lock").display())),
        "{remedy}"
    );
    assert_eq!(file, "/etc/group.lock");

    let image = Image::new();
    let (remedy, _) = image.apply("mount -t tmpfs x /usr/sbin; ").of_code(USER);
    assert!(remedy.starts_with("install the package that has useradd on this machine"), "{remedy}");
}

#[test]
fn a_look_at_an_image_sends_nobody_to_the_machine_that_makes_it() {
    let image = Image::new();
    image.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\netcd:x:997:997::/:/bin/bash\n");
    let output = Command::new(env!("CARGO_BIN_EXE_nodeguard"))
        .args(["check", "--json", "--role", "server", "--root"])
        .arg(image.0.path())
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let report = Report(report);
    let place = image.0.path().display();
    for finding in report.findings() {
        let remedy = finding["remedy"].as_str().unwrap();
        let mends = remedy == format!("nodeguard apply --root {place} mends it");
        assert!(mends || remedy.starts_with(&format!("in {place}: ")), "{finding}");
    }
    let (shell, _) = report.of_code("etcd-login-shell");
    assert_eq!(shell, format!("in {place}: usermod -s /sbin/nologin etcd"));
}

#[test]
fn etcd_is_said_to_be_locked_out_only_where_it_is() {
    let image = Image::new();
    image.apply("");
    let top = "var/lib/rancher/rke2/server/db/etcd";
    let passwd = fs::read_to_string(image.at("etc/passwd")).unwrap();
    let etcd = passwd.lines().find(|line| line.starts_with("etcd:")).unwrap();
    let uid = etcd.split(':').nth(2).unwrap();
    let sh = |script: &str| {
        let status = Command::new("sh").args(["-ec", script, "sh"]).arg(image.at(top)).status();
        assert!(status.unwrap().success(), "{script}");
    };
    image.write(&format!("{top}/member/snap/db"), "");
    image.write(&format!("{top}/member/wal/0.wal"), "");
    fs::create_dir(image.at(&format!("{top}/lost+found"))).unwrap();
    for (change, code, locked_out) in [
        ("chown 0:0 \"$1/lost+found\"", "etcd-owner", false),
        ("chmod 0755 \"$1\"", "etcd-mode", false),
        ("chmod 0750 \"$1\"", "etcd-mode", false),
        ("chmod 0666 \"$1/member/snap/db\"", "etcd-mode", false),
        ("chmod 0400 \"$1/member/snap/db\"", "etcd-mode", true),
        ("chown 0:0 \"$1/member/snap/db\"", "etcd-owner", true),
        ("chown :0 \"$1/member/snap/db\"", "etcd-owner", false),
        ("chown 0:0 \"$1/member/wal/0.wal\"", "etcd-owner", true),
        ("chown 0:0 \"$1/lost+found\" \"$1/member/snap/db\"", "etcd-owner", true),
        ("echo >\"$1/backup\"; chown 0:0 \"$1/backup\"", "etcd-owner", false),
    ] {
        sh(&format!(
            "chown -R {uid}:{uid} \"$1\"; find \"$1\" -type d -exec chmod 700 {{}} +; find \"$1\" -type f -exec chmod 600 {{}} +; {change}"
        ));
        let output = Command::new(env!("CARGO_BIN_EXE_nodeguard"))
            .args(["check", "--json", "--role", "server", "--root"])
            .arg(image.0.path())
            .output()
            .unwrap();
        let report = Report(serde_json::from_slice(&output.stdout).unwrap());
        let finding = report.findings().find(|finding| finding["code"] == code);
        let message = finding.unwrap_or_else(|| panic!("{change}: {report:?}"))["message"].as_str();
        let said = message.unwrap().contains("etcd could not");
        assert_eq!(said, locked_out, "{change}: {message:?}");
    }
    assert!(Path::new("/usr/sbin/useradd").exists());
}
