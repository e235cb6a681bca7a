// SPDX-License-Identifier: Apache-2.0
//! The scripts that people call, on a machine that has nothing: what they refuse, they refuse
//! before they change anything.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Those that people call.
const CALLED: [&str; 12] = [
    ".ci/run",
    "packaging/build",
    "packaging/check",
    "packaging/repo",
    "tests/all",
    "tests/bench/node",
    "tests/bench/run",
    "tests/demo",
    "tests/fuzz/run",
    "tests/node/image",
    "tests/node/run",
    "tests/setup",
];

/// Those of them that build something with Rust first of all.
const BUILD: [&str; 7] = [
    ".ci/run",
    "packaging/build",
    "tests/all",
    "tests/bench/run",
    "tests/demo",
    "tests/fuzz/run",
    "tests/setup",
];

/// What Cargo.toml names.
const NEEDED: &str = env!("CARGO_PKG_RUST_VERSION");

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A PATH with the small tools of a script and with programs that only write down that they were
/// called, which is what the scripts must not do.
struct Machine {
    dir: TempDir,
}

impl Machine {
    /// `cargo` and `rustc` say that they are of this version; without one there is neither.
    fn with_rust(version: Option<&str>) -> Self {
        let machine = Self { dir: TempDir::new().unwrap() };
        for name in [
            "awk", "bash", "basename", "cat", "cut", "date", "dirname", "env", "find", "grep",
            "head", "id", "mkdir", "mktemp", "realpath", "rm", "sed", "sh", "sort", "tail", "tr",
        ] {
            let file = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(name));
            let file =
                file.iter().find(|file| file.exists()).unwrap_or_else(|| panic!("no {name}"));
            symlink(file, machine.path().join(name)).unwrap();
        }
        for name in
            ["apt-get", "git", "mmdebstrap", "qemu-system-x86_64", "rustup", "systemd-nspawn"]
        {
            machine.program(name, "");
        }
        if let Some(version) = version {
            for name in ["cargo", "rustc"] {
                let says = format!("[ \"$1\" = --version ] && echo '{name} {version}' && exit\n");
                machine.program(name, &says);
            }
        }
        machine
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn program(&self, name: &str, before: &str) {
        let file = self.path().join(name);
        fs::write(&file, format!("#!/bin/sh\n{before}echo {name} \"$@\" >>\"$CALLED\"\nexit 1\n"))
            .unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, script: &str, arguments: &[&str]) -> Output {
        Command::new(repository().join(script))
            .args(arguments)
            // From somewhere else: scripts find their own way.
            .current_dir(self.path())
            .env_clear()
            .env("PATH", self.path())
            .env("HOME", self.path())
            .env("CALLED", self.path().join("called"))
            .env("NODEGUARD_TEST_CACHE", self.path().join("cache"))
            .output()
            .unwrap()
    }

    /// What was called although it should not have been, and the directory that should not be there.
    fn done(&self) -> Option<String> {
        if self.path().join("cache").exists() {
            return Some("made its cache".into());
        }
        fs::read_to_string(self.path().join("called")).ok()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The scripts of the repository: what begins with `#!` and a shell's name, and what is sourced.
fn scripts() -> Vec<PathBuf> {
    fn look(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                look(&path, found);
            } else if let Ok(text) = fs::read_to_string(&path)
                && (text.starts_with("#!") || path.extension().is_some_and(|ext| ext == "sh"))
            {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for dir in [".ci", "packaging", "tests"] {
        look(&repository().join(dir), &mut found);
    }
    assert!(found.len() > CALLED.len(), "{found:?}");
    found
}

#[test]
fn help_is_printed_and_nothing_is_done() {
    // Not even where there is no Rust: who asks for help may be about to learn what it takes.
    for machine in [Machine::with_rust(None), Machine::with_rust(Some("1.70.0 (x 2023-06-01)"))] {
        for script in CALLED.iter().chain(&["tests/sysctl_d/programs", "tests/sysctl_d/tuned"]) {
            for word in ["--help", "-h"] {
                let output = machine.run(script, &[word]);
                let said = text(&output.stdout);
                let errors = text(&output.stderr);
                assert_eq!(output.status.code(), Some(0), "{script} {word}: {said}{errors}");
                assert_eq!(machine.done(), None, "{script} {word}");
                assert_eq!(errors, "", "{script} {word}");
                assert!(said.lines().count() > 2, "{script} {word} printed: {said}");
                let of = if *script == ".ci/run" { "tests/all" } else { script };
                let named = said.contains(of) || of == "tests/bench/node";
                assert!(named, "{script} {word} does not name {of}: {said}");
                assert!(!said.contains("set -"), "{script} {word} printed its code: {said}");
            }
        }
    }
}

#[test]
fn what_is_unknown_is_refused_before_anything_is_done() {
    let machine = Machine::with_rust(Some("99.0.0 (x 2030-01-01)"));
    for script in CALLED {
        for word in ["--no-such-option", "--", "-x", "no-such-word", ""] {
            let output = machine.run(script, &[word]);
            let errors = text(&output.stderr);
            assert_eq!(output.status.code(), Some(64), "{script} '{word}': {errors}");
            assert_eq!(machine.done(), None, "{script} '{word}'");
            assert!(errors.contains(&format!("'{word}'")), "{script} '{word}': {errors}");
        }
    }
    for (script, arguments) in [
        ("tests/setup", &["demo", "all"][..]),
        ("tests/setup", &["demo", "--help"]),
        ("packaging/build", &["--quick", "quick"]),
        ("packaging/build", &["--version"]),
        ("packaging/build", &["--version", "--quick"]),
        ("packaging/build", &["--target"]),
        ("packaging/build", &["--target", "aarch64"]),
        ("packaging/check", &["--twice", "once"]),
        ("packaging/repo", &[]),
        ("packaging/repo", &["./repository", "nodeguard.tar"]),
        ("packaging/repo", &["./repository", "no-such-file.deb"]),
        ("tests/bench/run", &["--no-node", "--no-such-option"]),
        ("tests/node/image", &["trixie", "no-such-form"]),
        ("tests/node/image", &["trixie", "qemu", "more"]),
        ("tests/node/run", &["--on"]),
        ("tests/node/run", &["--on", "no-such-kind"]),
        ("tests/sysctl_d/programs", &["sid"]),
        ("tests/sysctl_d/tuned", &[]),
        ("tests/sysctl_d/tuned", &["/no/such/directory"]),
    ] {
        let output = machine.run(script, arguments);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{script} {arguments:?}: {errors}");
        assert_eq!(machine.done(), None, "{script} {arguments:?}");
    }
}

#[test]
fn too_old_a_rust_is_told_at_once_with_the_version_that_is_needed() {
    let minor: u32 = NEEDED.strip_prefix("1.").unwrap().parse().unwrap();
    for old in [
        "1.70.0 (ec8a8a0ca 2023-04-25)".to_owned(),
        format!("1.{}.1 (x 2025-01-01)", minor - 1),
        format!("1.{}.0-nightly (x 2025-01-01)", minor - 1),
        "1.9.0".to_owned(),
        "0.99.0".to_owned(),
    ] {
        let machine = Machine::with_rust(Some(&old));
        let found = old.split([' ', '-']).next().unwrap();
        for script in BUILD {
            let output = machine.run(script, &[]);
            let errors = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{script} with {old}: {errors}");
            assert_eq!(machine.done(), None, "{script} with {old}");
            for part in [&format!("Rust {NEEDED} or newer"), found, "rustup"] {
                assert!(errors.contains(part), "{script} with {old} does not say {part}: {errors}");
            }
            assert_eq!(text(&output.stdout), "", "{script} with {old}");
        }
    }
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    assert!(readme.contains(&format!("Rust {NEEDED} or newer")), "README.md names another Rust");
    // An old compiler beside a new cargo, as where RUSTUP_TOOLCHAIN or a distribution's package is.
    let machine = Machine::with_rust(Some("99.0.0 (x 2030-01-01)"));
    machine.program("rustc", "[ \"$1\" = --version ] && echo 'rustc 1.63.0' && exit\n");
    let output = machine.run("packaging/build", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("rustc is 1.63.0"), "{}", text(&output.stderr));
}

#[test]
fn no_rust_at_all_is_told_at_once() {
    let machine = Machine::with_rust(None);
    for script in BUILD {
        let output = machine.run(script, &[]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{script}: {errors}");
        assert_eq!(machine.done(), None, "{script}");
        assert!(errors.contains("cargo is not on PATH"), "{script}: {errors}");
        assert!(errors.contains("https://rustup.rs"), "{script}: {errors}");
    }
    // rustup's cargo where no toolchain was chosen: its own words are passed on.
    let machine = Machine::with_rust(Some("1.95.0"));
    machine.program("cargo", "echo 'error: rustup could not choose a version' >&2; exit 1\n");
    let output = machine.run("tests/all", &[]);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(errors.contains("rustup could not choose a version"), "{errors}");
}

#[test]
fn a_newer_rust_is_good_enough_however_it_is_counted() {
    for new in [NEEDED, "1.100.0", "2.0.0", "1.95.0-nightly (x 2026-01-01)"] {
        let machine = Machine::with_rust(Some(new));
        // The next thing that is missing on this machine is the linker.
        let output = machine.run("packaging/build", &[]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{new}: {errors}");
        assert!(errors.contains("apt-get install gcc"), "{new}: {errors}");
        assert_eq!(machine.done(), None, "{new}");
    }
}

#[test]
fn no_script_names_the_host_of_a_mirror() {
    // Hosts that are meant to be written down: where Rust is to be had, documentation, and the
    // nodes' own addresses.
    let known = BTreeSet::from(["rustup.rs", "127.0.0.1", "10.0.0.1", "www.debian.org"]);
    let mut unknown = Vec::new();
    for script in scripts() {
        let text = fs::read_to_string(&script).unwrap();
        for part in text.split("://").skip(1) {
            let host: String = part
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
                .collect();
            if !host.is_empty() && host.contains('.') && !known.contains(host.as_str()) {
                unknown.push(format!("{}: {host}", script.display()));
            }
        }
        // A mirror without its scheme.
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-')) {
            let hosts =
                [".debian.org", ".debian.net", ".ubuntu.com", ".crates.io", ".rust-lang.org"];
            if hosts.iter().any(|host| word.ends_with(host)) && !known.contains(word) {
                unknown.push(format!("{}: {word}", script.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn a_quick_package_is_not_taken_for_the_real_one() {
    let dir = TempDir::new().unwrap();
    let packages = dir.path().join("packages");
    fs::create_dir(&packages).unwrap();
    let newest_of = |format: &str, quick: &str| {
        // agent.sh looks into the build directory of this repository as well, so that is hidden.
        let lines = format!(
            ". '{0}/tests/node/lib.sh'; . '{0}/tests/node/agent.sh'; repo={1}; agent_{format}",
            repository().display(),
            dir.path().join("none").display()
        );
        let output = Command::new("bash")
            .args(["-c", &lines])
            .env("CARGO_TARGET_DIR", dir.path())
            .env("NODEGUARD_QUICK", quick)
            .output()
            .unwrap();
        let said = text(&output.stdout);
        match output.status.code() {
            Some(0) => said.trim_end().rsplit('/').next().unwrap().to_owned(),
            _ => text(&output.stderr),
        }
    };
    let make = |name: &str, age: u64| {
        let file = fs::File::create(packages.join(name)).unwrap();
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
        file.set_modified(time).unwrap();
    };
    let here = Command::new("dpkg").arg("--print-architecture").output().unwrap();
    let here = text(&here.stdout).trim_end().to_owned();
    let cpu = std::env::consts::ARCH;

    make(&format!("nodeguard_0.1.0~quick_{here}.deb"), 1);
    make(&format!("nodeguard-0.1.0~quick-1.{cpu}.rpm"), 1);
    for format in ["deb", "rpm"] {
        let said = newest_of(format, "");
        assert!(said.contains("make one with packaging/build\n"), "{format}: {said}");
    }
    make(&format!("nodeguard_0.1.0-1_{here}.deb"), 100);
    make(&format!("nodeguard_0.1.0+test1_{here}.deb"), 0);
    make(&format!("nodeguard_0.1.0+test1~quick_{here}.deb"), 0);
    make("nodeguard_0.1.0-1_sparc.deb", 0);
    make(&format!("nodeguard-0.1.0-1.{cpu}.rpm"), 100);
    make(&format!("nodeguard-0.1.0+test1-1.{cpu}.rpm"), 0);
    make("nodeguard-0.1.0-1.sparc.rpm", 0);
    assert_eq!(newest_of("deb", ""), format!("nodeguard_0.1.0-1_{here}.deb"));
    assert_eq!(newest_of("deb", "1"), format!("nodeguard_0.1.0~quick_{here}.deb"));
    assert_eq!(newest_of("rpm", ""), format!("nodeguard-0.1.0-1.{cpu}.rpm"));
    assert_eq!(newest_of("rpm", "1"), format!("nodeguard-0.1.0~quick-1.{cpu}.rpm"));
}
