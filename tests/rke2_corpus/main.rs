// SPDX-License-Identifier: Apache-2.0
//! Whole trees with an RKE2 configuration in them, and what RKE2 makes of each: role, every value
//! with its origin, every finding. The cases are in the `.txt` files beside this one; their form:
//!
//! ```text
//! == What the case shows, a sentence.
//! -- agent                     the agent's unit is there and enabled; `no-unit`: none is
//! -- said server               the role the gate names
//! -- version v1.28.1+rke2r1    of RKE2; v1.34.1+rke2r1 by default, `found`: what the tree shows
//! >> config                    a file and its lines; `a -> b` a link, `dir/` a directory,
//! profile: cis                 `>>e` one with escapes (\r \n \t \u{feff}) and no final newline
//! <<                           what is expected
//! role = server
//! ```
//!
//! `config` is /etc/rancher/rke2/config.yaml, `config.d/` its drop-ins, `env` the environment file
//! /etc/default/rke2-server and `unit` rke2-server.service; `CONFIG`, `ENV` and `UNIT` in what is
//! expected. NODEGUARD_BLESS=1 writes down what comes out; read the difference.

#[path = "../rke2/mod.rs"]
mod rke2;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use nodeguard::controls::rke2_config::observe::observe;
use nodeguard::controls::rke2_config::version::VersionCache;
use nodeguard::controls::rke2_config::{Facts, judge};
use nodeguard::model::Role;
use nodeguard::rke2::parse_version;
use nodeguard::system::root::Root;

const CONFIG: &str = "/etc/rancher/rke2/config.yaml";
const ENV: &str = "/etc/default/rke2-server";
const UNIT_DIR: &str = "/usr/local/lib/systemd/system";
const UNIT: &str = "/usr/local/lib/systemd/system/rke2-server.service";

/// As many lines as matter of the unit in RKE2's tarball.
fn unit(role: &str) -> String {
    format!(
        "[Unit]\nDescription=Rancher Kubernetes Engine v2 ({role})\n\n[Service]\nType=notify\n\
         EnvironmentFile=-/etc/default/%N\nEnvironmentFile=-/etc/sysconfig/%N\n\
         EnvironmentFile=-/usr/local/lib/systemd/system/%N.env\nKillMode=process\n\
         ExecStartPre=-/sbin/modprobe overlay\nExecStart=/usr/local/bin/rke2 {role}\n"
    )
}

#[derive(Debug, Default)]
struct Case {
    name: String,
    /// All lines but those that are expected, to be written down again.
    given: String,
    options: Vec<String>,
    files: Vec<(String, String)>,
    expected: String,
}

fn parse(text: &str) -> (String, Vec<Case>) {
    let mut head = String::new();
    let mut cases: Vec<Case> = Vec::new();
    let mut expecting = false;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches('\n');
        if let Some(name) = bare.strip_prefix("== ") {
            cases.push(Case { name: name.into(), given: line.into(), ..Case::default() });
            expecting = false;
            continue;
        }
        let Some(case) = cases.last_mut() else {
            head += line;
            continue;
        };
        if bare == "<<" {
            expecting = true;
        } else if expecting {
            case.expected += line;
        } else {
            case.given += line;
            if let Some(option) = bare.strip_prefix("-- ") {
                case.options.push(option.into());
            } else if bare.starts_with(">>") {
                case.files.push((bare.into(), String::new()));
            } else if let Some((_, content)) = case.files.last_mut() {
                *content += line;
            }
        }
    }
    (head, cases)
}

/// The path of a file in the tree.
fn place(name: &str) -> String {
    match name.split_once('/') {
        Some(("config.d", rest)) => format!("{CONFIG}.d/{rest}"),
        _ => match name.trim_end_matches('/') {
            "config" => CONFIG.into(),
            "config.d" => format!("{CONFIG}.d"),
            "env" => ENV.into(),
            "unit" => UNIT.into(),
            _ => name.into(),
        },
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.trim_end_matches('\n');
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend(before.as_bytes());
        let (bytes, left) = match after.as_bytes()[0] {
            b'n' => (b"\n".to_vec(), &after[1..]),
            b'r' => (b"\r".to_vec(), &after[1..]),
            b't' => (b"\t".to_vec(), &after[1..]),
            b'x' => (vec![u8::from_str_radix(&after[1..3], 16).unwrap()], &after[3..]),
            _ => panic!("unknown escape in {text:?}"),
        };
        out.extend(bytes);
        rest = left;
    }
    out.extend(rest.as_bytes());
    out
}

impl Case {
    fn option(&self, name: &str) -> Option<&str> {
        let mut words = self.options.iter().filter_map(|option| option.split_once(' '));
        words.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    fn has(&self, flag: &str) -> bool {
        self.options.iter().any(|option| option == flag)
    }

    fn build(&self, root: &Path) {
        let at = |path: &str| -> PathBuf {
            let path = root.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        if !self.has("no-unit") {
            for role in ["server", "agent"] {
                fs::write(at(&format!("{UNIT_DIR}/rke2-{role}.service")), unit(role)).unwrap();
            }
            let role = if self.has("agent") { "agent" } else { "server" };
            fs::write(
                at(&format!("/etc/systemd/system/multi-user.target.wants/rke2-{role}.service")),
                "",
            )
            .unwrap();
        }
        for (head, content) in &self.files {
            let escaped = head.starts_with(">>e ");
            let name = head.trim_start_matches(">>e ").trim_start_matches(">> ");
            if let Some((link, target)) = name.split_once(" -> ") {
                std::os::unix::fs::symlink(target, at(&place(link))).unwrap();
            } else if name.ends_with('/') {
                fs::create_dir_all(at(&place(name))).unwrap();
            } else if escaped {
                fs::write(at(&place(name)), unescaped(content)).unwrap();
            } else {
                fs::write(at(&place(name)), content).unwrap();
            }
        }
    }

    /// What comes of the tree.
    fn outcome(&self) -> String {
        let dir = tempfile::tempdir().unwrap();
        self.build(dir.path());
        let root = Root::image(dir.path()).unwrap();
        let said = match self.option("said") {
            Some("server") => Some(Role::Server),
            Some("agent") => Some(Role::Agent),
            Some(other) => panic!("{}: no role {other}", self.name),
            None => None,
        };
        let node = observe(&root, &mut VersionCache::default(), said, false);
        let version = match self.option("version") {
            Some("found") => node.version.clone(),
            other => parse_version(other.unwrap_or("v1.34.1+rke2r1")).ok(),
        };
        let facts = Facts {
            config: &node.config,
            version: version.as_ref(),
            role: node.role,
            units: node.units,
            place: None,
        };
        let mut out = format!("role = {}\n", node.role);
        if self.option("version") == Some("found") {
            let found = version.as_ref().map_or("none".into(), ToString::to_string);
            writeln!(out, "version = {found}").unwrap();
        }
        if !node.config.runs_local_etcd() {
            out += "no etcd here\n";
        }
        let mut values = node.config.clone();
        values.problems.clear();
        for line in rke2::described(&values) {
            writeln!(out, "{line}").unwrap();
        }
        for planned in judge(&facts) {
            let finding = planned.finding;
            let origin = finding.origin.map(|origin| format!(" @ {origin}")).unwrap_or_default();
            let severity = finding.severity.as_str();
            writeln!(out, "{severity}: {} {}{origin}", finding.code, finding.subject).unwrap();
        }
        out.replace(CONFIG, "CONFIG").replace(ENV, "ENV").replace(UNIT, "UNIT")
    }
}

/// The form of the cases is text, and so are the names in it.
#[test]
fn names_that_are_no_text_are_read_and_those_that_are_no_address_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    for (name, profile, fatal) in [
        (&b"50-h\xe4rtung.yaml"[..], Some("etcd"), false),
        (b"\xff.YML", Some("etcd"), false),
        (b"\xff\xfe.txt", Some("cis"), false),
        ("50-h\u{e4}rtung.yaml".as_bytes(), Some("etcd"), false),
        (b"50 %20.yaml", Some("etcd"), false),
        (b"50#a.yaml", Some("etcd"), false),
        (b"50-%\xff.yaml", Some("cis"), true),
        (b"50\n.yaml", Some("cis"), true),
        (b"\x1b[31m.yaml", Some("cis"), true),
        (b"50\x7f.yaml", Some("cis"), true),
        (b"100%.yaml", Some("cis"), true),
        (b"100%.yaml.bak", Some("cis"), false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("etc/rancher/rke2/config.yaml.d");
        fs::create_dir_all(&below).unwrap();
        fs::write(dir.path().join("etc/rancher/rke2/config.yaml"), "profile: cis\n").unwrap();
        fs::write(below.join(OsStr::from_bytes(name)), "profile: etcd\n").unwrap();
        let root = Root::image(dir.path()).unwrap();
        let node = observe(&root, &mut VersionCache::default(), Some(Role::Server), false);
        let got = node.config.profile().map(|profile| profile.value.as_str());
        let shown = String::from_utf8_lossy(name);
        assert_eq!(got, profile, "{shown:?}");
        let words: Vec<_> = node.config.problems.iter().map(|problem| &problem.words).collect();
        assert_eq!(words.len(), usize::from(fatal), "{shown:?}: {words:?}");
        let refused = |word: &&String| word.starts_with("failed to parse config location /etc/");
        assert!(words.iter().all(refused), "{shown:?}: {words:?}");
    }
}

#[test]
fn every_tree_is_what_rke2_makes_of_it() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rke2_corpus");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|suffix| suffix == "txt"));
    files.sort();
    let bless = std::env::var_os("NODEGUARD_BLESS").is_some();
    let (mut count, mut wrong, mut names) = (0, Vec::new(), std::collections::BTreeSet::new());
    for file in files {
        let (head, cases) = parse(&fs::read_to_string(&file).unwrap());
        let mut blessed = head;
        for case in cases {
            let outcome = case.outcome();
            assert!(names.insert(case.name.clone()), "twice: {}", case.name);
            count += 1;
            write!(blessed, "{}<<\n{outcome}\n", case.given).unwrap();
            if outcome.trim() != case.expected.trim() {
                wrong
                    .push(format!("== {}\nexpected:\n{}got:\n{outcome}", case.name, case.expected));
            }
        }
        if bless {
            fs::write(&file, blessed.trim_end().to_owned() + "\n").unwrap();
        }
    }
    println!("figure: {count} configuration trees");
    assert!(bless || wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 120, "{count} trees");
}
