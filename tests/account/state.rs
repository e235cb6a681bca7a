// SPDX-License-Identifier: Apache-2.0
//! One state of the account: a root of its own, the files in it, and what the real program with
//! the real shadow-utils makes of it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::host::Host;

const FILES: [&str; 2] = ["etc/passwd", "etc/group"];

/// What a state is made of; the order of the calls does not matter.
#[derive(Default)]
pub struct State {
    pub name: &'static str,
    /// Appended to a file that is there, or a file of its own.
    lines: Vec<(&'static str, String)>,
    directories: Vec<(&'static str, u32, u32)>,
    removed: Vec<&'static str>,
    links: Vec<(&'static str, &'static str)>,
    no_profile: bool,
    /// Shell that runs in the program's mount namespace, before it; it makes the state a running
    /// host's and not an image's.
    enter: Option<&'static str>,
    live: bool,
    /// Whether the program runs once more, on a host without what `enter` did.
    again: bool,
}

pub fn state(name: &'static str) -> State {
    State { name, ..State::default() }
}

impl State {
    pub fn line(self, file: &'static str, line: &str) -> Self {
        self.file(file, &format!("{line}\n"))
    }

    /// A file with exactly this in it.
    pub fn file(mut self, file: &'static str, text: &str) -> Self {
        self.lines.push((file, text.to_owned()));
        self
    }

    pub fn passwd(self, line: &str) -> Self {
        self.line("etc/passwd", line)
    }

    pub fn group(self, line: &str) -> Self {
        self.line("etc/group", line)
    }

    pub fn shadow(self, line: &str) -> Self {
        self.line("etc/shadow", line)
    }

    /// The user and the group as the guide makes them.
    pub fn whole(self) -> Self {
        self.passwd("etcd:x:997:996:etcd user:/home/etcd:/sbin/nologin").group("etcd:x:996:")
    }

    /// Lines of `[etcd-account]`.
    pub fn pinned(self, text: &str) -> Self {
        self.line("etc/nodeguard/nodeguard.toml", &format!("[etcd-account]\n{text}"))
    }

    pub fn directory(mut self, path: &'static str, uid: u32, gid: u32) -> Self {
        self.directories.push((path, uid, gid));
        self
    }

    pub fn without(mut self, path: &'static str) -> Self {
        self.removed.push(path);
        self
    }

    pub fn link(mut self, path: &'static str, target: &'static str) -> Self {
        self.links.push((path, target));
        self
    }

    pub fn without_a_profile(mut self) -> Self {
        self.no_profile = true;
        self
    }

    pub fn live(mut self) -> Self {
        self.live = true;
        self
    }

    pub fn enter(mut self, script: &'static str) -> Self {
        self.enter = Some(script);
        self.live()
    }

    pub fn then_again(mut self) -> Self {
        self.again = true;
        self
    }

    /// Makes the root.
    pub fn make(&self) -> Made {
        let made = if self.live { Made::Host(Box::new(Host::server())) } else { Made::image() };
        fs::write(made.at("etc/group"), "root:x:0:\nusers:x:100:\n").unwrap();
        if self.no_profile {
            fs::write(made.at("etc/rancher/rke2/config.yaml"), "").unwrap();
        }
        for (file, line) in &self.lines {
            let path = made.at(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = fs::read_to_string(&path).unwrap_or_default();
            fs::write(path, text + line).unwrap();
        }
        for path in &self.removed {
            fs::remove_file(made.at(path)).unwrap();
        }
        for (path, uid, gid) in &self.directories {
            fs::create_dir_all(made.at(path)).unwrap();
            std::os::unix::fs::chown(made.at(path), Some(*uid), Some(*gid)).unwrap();
        }
        for (path, target) in &self.links {
            std::os::unix::fs::symlink(target, made.at(path)).unwrap();
        }
        if let Some(script) = self.enter {
            fs::write(made.at("enter"), script).unwrap();
        }
        made
    }

    /// Checks, applies, checks, and writes down what was seen.
    pub fn play(&self) -> String {
        let made = self.make();
        let mut out = format!("## {}\n", self.name);
        let before = made.files();
        for line in before.lines().filter(|line| !line.contains(":root:x:0:")) {
            writeln!(out, "before {line}").unwrap();
        }
        for (file, text) in self.lines.iter().filter(|(file, _)| !FILES.contains(file)) {
            writeln!(
                out,
                "before {file}:{}",
                text.trim_end_matches(['\n', '\0']).replace('\n', "; ")
            )
            .unwrap();
        }
        for (path, uid, gid) in &self.directories {
            writeln!(out, "before {path}/ of {uid}:{gid}").unwrap();
        }
        for (path, target) in &self.links {
            writeln!(out, "before {path} -> {target}").unwrap();
        }
        let check = Seen::of(&made.run("check"));
        assert_eq!(before, made.files(), "{}: check changes nothing", self.name);
        let apply = Seen::of(&made.run("apply"));
        self.write(&mut out, &made, check.code, &apply);
        if self.again {
            fs::remove_file(made.at("enter")).unwrap();
            let again = Seen::of(&made.run("apply"));
            self.write(&mut out, &made, apply.code, &again);
        }
        let left = made.files();
        let last = Seen::of(&made.run("apply"));
        assert_eq!(left, made.files(), "{}: what is done is done", self.name);
        if last.code == Some(0) {
            assert_eq!(Seen::of(&made.run("check")).code, Some(0), "{}: check agrees", self.name);
        }
        out.push('\n');
        made.redact(&out)
    }

    fn write(&self, out: &mut String, made: &Made, before: Option<i32>, seen: &Seen) {
        let code = |code: Option<i32>| code.map_or("killed".to_owned(), |code| code.to_string());
        writeln!(out, "exit   {} -> {}", code(before), code(seen.code)).unwrap();
        for line in made.files().lines().filter(|line| line.contains("etcd")) {
            writeln!(out, "after  {line}").unwrap();
        }
        for line in &seen.lines {
            writeln!(out, "{line}").unwrap();
        }
        // The one rule: RKE2 looks for the two names in the two files, and starts with them.
        let starts = FILES.iter().all(|file| made.rke2_finds_etcd(file)) || self.no_profile;
        assert_eq!(seen.code == Some(78), !starts, "{}: {seen:?}", self.name);
    }
}

/// A root with a state in it.
pub enum Made {
    Image(tempfile::TempDir),
    Host(Box<Host>),
}

impl Made {
    fn image() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
            ("etc/shadow", "root:*:19000:0:99999:7:::\n"),
            ("etc/gshadow", "root:*::\n"),
            ("etc/rancher/rke2/config.yaml", "profile: cis\n"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self::Image(dir)
    }

    pub fn host(&self) -> &Host {
        match self {
            Self::Host(host) => host,
            Self::Image(_) => panic!("an image is no running host"),
        }
    }

    pub fn at(&self, path: &str) -> PathBuf {
        match self {
            Self::Image(dir) => dir.path().join(path),
            Self::Host(host) => host.at(path),
        }
    }

    pub fn run(&self, command: &str) -> Output {
        let arguments = [command, "--json", "--role", "server"];
        match self {
            Self::Host(host) => host.run(&arguments),
            Self::Image(dir) => Command::new(env!("CARGO_BIN_EXE_nodeguard"))
                .args(arguments)
                .arg("--root")
                .arg(dir.path())
                .output()
                .unwrap(),
        }
    }

    /// Both files, each line with its file's name before it.
    fn files(&self) -> String {
        let mut out = String::new();
        for file in FILES {
            let text = fs::read_to_string(self.at(file)).unwrap_or_default();
            for line in text.lines() {
                writeln!(out, "{}:{line}", file.trim_start_matches("etc/")).unwrap();
            }
        }
        out
    }

    /// As Go's os/user does without cgo: the least that counts as an entry.
    fn rke2_finds_etcd(&self, file: &str) -> bool {
        let text = fs::read_to_string(self.at(file)).unwrap_or_default();
        let fields = if file == "etc/passwd" { 7 } else { 4 };
        let mut lines = text.lines().map(|line| line.trim().split(':').collect::<Vec<_>>());
        lines
            .any(|line| line[0] == "etcd" && line.len() >= fields && line[2].parse::<u32>().is_ok())
    }

    /// Without what differs from one run to the next.
    fn redact(&self, text: &str) -> String {
        let text = text.replace(self.at("").to_str().unwrap().trim_end_matches('/'), "DIR");
        // shadow-utils name their temporary files by their process id.
        let mut parts = text.split("/etc/passwd.");
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            let pid = if rest.len() < part.len() { "PID" } else { "" };
            write!(out, "/etc/passwd.{pid}{rest}").unwrap();
        }
        out
    }
}

/// What the program said of the account.
#[derive(Debug)]
pub struct Seen {
    pub code: Option<i32>,
    pub lines: Vec<String>,
}

impl Seen {
    pub fn of(output: &Output) -> Self {
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let mut lines = Vec::new();
        for correction in report["corrections"].as_array().unwrap() {
            if correction["control"] == "etcd-account" {
                lines.push(format!("mended {}", word(&correction["code"])));
            }
        }
        for control in report["controls"].as_array().unwrap() {
            for finding in control["findings"].as_array().unwrap() {
                if finding["code"] == "profile-missing" {
                    continue;
                }
                let origin = &finding["origin"];
                let place = match (origin["file"].as_str(), &origin["line"]) {
                    (Some(file), serde_json::Value::Null) => format!(" [{file}]"),
                    (Some(file), line) => format!(" [{file}:{line}]"),
                    _ => String::new(),
                };
                lines.push(format!(
                    "{} {}{place}\n       {}\n       > {}",
                    word(&finding["severity"]),
                    word(&finding["code"]),
                    word(&finding["message"]),
                    word(&finding["remedy"]).replace('\n', "\n       > "),
                ));
            }
        }
        Self { code: output.status.code(), lines }
    }
}

/// Where etcd's data is.
pub const DATA: &str = "var/lib/rancher/rke2/server/db/etcd";

/// A lock file as shadow-utils write it.
pub fn lock(path: &Path, pid: u32) {
    fs::write(path, format!("{pid}\0")).unwrap();
}
