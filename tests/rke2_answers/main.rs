// SPDX-License-Identifier: Apache-2.0
//! What RKE2 itself made of 1,613 configurations, against what is said here of each of them.
//!
//! `slips.jsonl` and `trees.jsonl` were measured with RKE2 v1.36.4, built from its sources: its main,
//! its command line, k3s's parser of the configuration, yaml.v2, and RKE2's checks of profile and
//! account, with the right kernel values. `slips.jsonl` has slips of the pen in four real
//! configurations, `trees.jsonl` made-up ones with drop-ins, arguments and variables. A row has what
//! RKE2 refused with (`refuses`) or the values that it went on with (`starts`; `x?`: whether RKE2
//! takes it for set). The measurement ends there: what RKE2 and k3s check afterwards is not in it.
//!
//! For each row a tree is made and looked at as `nodeguard check --root` does. Every refusal has to be
//! fatal here. A start may be fatal here only as `exceptions.txt` says, with the class of its code;
//! values have to be equal, and nothing may be left unread. NODEGUARD_BLESS=1 writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use nodeguard::controls::rke2_config::observe::{Node, observe};
use nodeguard::controls::rke2_config::version::VersionCache;
use nodeguard::controls::rke2_config::{Facts, judge};
use nodeguard::model::{Code, Finding, Severity};
use nodeguard::rke2::given;
use nodeguard::system::root::Root;
use serde_json::{Value, json};

const CONFIG: &str = "etc/rancher/rke2/config.yaml";

/// Starts of RKE2's that are fatal here: the row, the code, and its class.
const EXCEPTIONS: &str = "exceptions.txt";

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rke2_answers"))
}

/// The class of a code that is fatal although the measured RKE2 went on.
fn class(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::ConfigIgnored | Code::ProfileIgnored => {
            "starts without the profile that its configuration asks for"
        }
        Code::DataDirInvalid | Code::DataDirRelative | Code::EtcdArgUnsupported => {
            "starts and loses or hides etcd's data"
        }
        Code::DisableEtcdWithoutServer | Code::FlagConflict => {
            "RKE2 refuses: k3s, behind where the measurement ends"
        }
        _ => return None,
    })
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn build(row: &Value, root: &Path) {
    let write = |path: &str, content: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let role = row["role"].as_str().unwrap();
    let arguments: String = (row["args"].as_array().into_iter().flatten())
        .map(|word| format!(" {}", quoted(&word.as_str().unwrap().replace('%', "%%"))))
        .collect();
    let unit = format!(
        "[Service]\nEnvironmentFile=-/etc/default/%N\nExecStart=/usr/local/bin/rke2 \
         {role}{arguments}\n"
    );
    write(&format!("usr/local/lib/systemd/system/rke2-{role}.service"), unit.as_bytes());
    let wants = "etc/systemd/system/multi-user.target.wants";
    write(&format!("{wants}/rke2-{role}.service"), b"");
    let variables: String = (row["env"].as_object().into_iter().flatten())
        .map(|(name, value)| format!("{name}={}\n", quoted(value.as_str().unwrap())))
        .collect();
    write(&format!("etc/default/rke2-{role}"), variables.as_bytes());
    if !row["config.yaml"].is_null() {
        write(CONFIG, &bytes(&row["config.yaml"]));
    }
    for (name, file) in row["config.yaml.d"].as_object().into_iter().flatten() {
        write(&format!("{CONFIG}.d/{name}"), &bytes(file));
    }
}

/// A file is a text, or where it is no UTF-8 its bytes in base 64.
fn bytes(file: &Value) -> Vec<u8> {
    let Some(encoded) = file["base64"].as_str() else {
        return file.as_str().unwrap().into();
    };
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut held, mut bits) = (Vec::new(), 0u32, 0);
    for b in encoded.bytes().filter(|&b| b != b'=') {
        held = held << 6 | u32::try_from(digits.iter().position(|&d| d == b).unwrap()).unwrap();
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    out
}

struct Judged {
    findings: Vec<Finding>,
    node: Node,
}

impl Judged {
    fn of(row: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        build(row, dir.path());
        let root = Root::image(dir.path()).unwrap();
        let node = observe(&root, &mut VersionCache::default(), None, false);
        let facts = Facts {
            config: &node.config,
            version: node.version.as_ref(),
            role: node.role,
            units: node.units,
            joined: node.joined,
            place: node.place.as_ref(),
        };
        let findings = judge(&facts).into_iter().map(|planned| planned.finding).collect();
        Self { findings, node }
    }

    fn fatal(&self) -> Vec<&Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Fatal).collect()
    }

    fn fatal_codes(&self) -> BTreeSet<Code> {
        self.fatal().iter().filter_map(|finding| finding.code.known()).collect()
    }

    fn unread(&self) -> bool {
        let unread = [Code::ConfigUnread, Code::EnvironmentUnread];
        let mut codes = self.findings.iter().filter_map(|finding| finding.code.known());
        codes.any(|code| unread.contains(&code))
    }

    /// The values as the measurement has them.
    fn values(&self) -> Value {
        let config = &self.node.config;
        let given = given(&self.node.inputs);
        let last = |flag: &str| {
            given.iter().rfind(|(name, _)| name == flag).map(|(_, setting)| setting.value.clone())
        };
        let all = |flag: &str| {
            let all: Vec<_> =
                given.iter().filter(|(name, _)| name == flag).map(|(_, s)| &s.value).collect();
            if all.is_empty() { Value::Null } else { json!(all) }
        };
        let mut variables = self.node.inputs.environment.iter();
        let variable = variables.rfind(|variable| variable.name == "RKE2_CONFIG_FILE");
        let file = last("config").or_else(|| variable.map(|variable| variable.value.clone()));
        let profile = config.profile.as_ref().map_or("", |setting| &setting.value);
        let protect = config.protect_kernel_defaults.as_ref().map(|setting| setting.value);
        let text = |setting: &Option<nodeguard::rke2::Setting<String>>| {
            setting.as_ref().map_or(String::new(), |setting| setting.value.clone())
        };
        json!({
            "role": self.node.role.as_str(),
            "config": file.clone().unwrap_or_else(|| format!("/{CONFIG}")),
            "config?": file.is_some(),
            "data-dir": config.data_dir.value,
            "data-dir?": config.data_dir.is_set(),
            "datastore-endpoint": text(&config.datastore_endpoint),
            "datastore-endpoint?": config.datastore_endpoint.is_some(),
            "disable-etcd": config.disable_etcd.value,
            "disable-etcd?": config.disable_etcd.is_set(),
            "etcd-arg": all("etcd-arg"),
            "kubelet-arg": all("kubelet-arg"),
            "profile": profile,
            "profile?": config.profile.is_some(),
            "protect-kernel-defaults": protect.unwrap_or(false),
            "protect-kernel-defaults?": protect.is_some(),
            "selinux": config.selinux.value,
            "selinux?": config.selinux.is_set(),
            "server": text(&config.server),
            "server?": config.server.is_some(),
        })
    }
}

/// What is not as RKE2 has it.
fn differences(row: &Value, judged: &Judged) -> Vec<String> {
    let mut wrong = Vec::new();
    if judged.unread() {
        wrong.push("left unread".to_owned());
    }
    if row["rke2"]["refuses"].is_string() {
        if judged.fatal().is_empty() {
            wrong.push("RKE2 refuses, and nothing is fatal".into());
        }
        return wrong;
    }
    for finding in judged.fatal() {
        if finding.code.known().and_then(class).is_none() {
            wrong.push(format!("RKE2 starts: {}", finding.message));
        }
    }
    // Of a configuration that RKE2 takes for absent nothing is asked.
    let ours = judged.values();
    for (name, value) in row["rke2"]["starts"].as_object().unwrap() {
        if ours[name] != *value {
            wrong.push(format!("{name} is {value}, here {}", ours[name]));
        }
    }
    wrong
}

/// A row, and what came of it.
struct Answer {
    name: String,
    refuses: Option<String>,
    /// What is not as RKE2 has it.
    wrong: Vec<String>,
    fatal: BTreeSet<Code>,
}

impl Answer {
    fn of(name: String, line: &str) -> Self {
        let row: Value = serde_json::from_str(line).unwrap();
        let judged = Judged::of(&row);
        let refuses = row["rke2"]["refuses"].as_str().map(str::to_owned);
        Self { name, refuses, wrong: differences(&row, &judged), fatal: judged.fatal_codes() }
    }
}

fn read(name: &str) -> String {
    fs::read_to_string(directory().join(name)).unwrap_or_default()
}

/// Every row, on as many processors as there are.
fn answers() -> Vec<Answer> {
    let (slips, trees) = (read("slips.jsonl"), read("trees.jsonl"));
    let numbered = |set: &'static str, text| {
        let named = move |(number, line)| (format!("{set} {number}"), line);
        (1..).zip(str::lines(text)).map(named)
    };
    let rows: Vec<_> = numbered("slips", &slips).chain(numbered("trees", &trees)).collect();
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    let share = |rows: &[(String, &str)]| -> Vec<Answer> {
        rows.iter().map(|(name, line)| Answer::of(name.clone(), line)).collect()
    };
    std::thread::scope(|scope| {
        let started: Vec<_> = rows
            .chunks(rows.len().div_ceil(threads))
            .map(|rows| scope.spawn(move || share(rows)))
            .collect();
        started.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn rke2_s_own_answers_are_given_here_too() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut wrong, mut exceptions) = (Vec::new(), String::new());
    for Answer { name, refuses, wrong: found, fatal } in answers() {
        let count = if refuses.is_some() { "refused by RKE2" } else { "started by RKE2" };
        *counts.entry(count).or_default() += 1;
        if !found.is_empty() {
            wrong.push(format!("{name} ({refuses:?}): {}", found.join("; ")));
        } else if refuses.is_none() {
            for (code, class) in fatal.into_iter().filter_map(|code| Some((code, class(code)?))) {
                *classes.entry(class).or_default() += 1;
                writeln!(exceptions, "{name}: {code}: {class}").unwrap();
            }
        }
    }
    let rows: usize = counts.values().sum();
    println!("figure: {rows} configurations: {counts:?}");
    println!("figure: starts that are fatal here, by class: {classes:?}");
    println!("figure: {} rows are wrong", wrong.len());
    if std::env::var_os("NODEGUARD_BLESS").is_some() {
        fs::write(directory().join(EXCEPTIONS), &exceptions).unwrap();
    }
    assert!(wrong.is_empty(), "{} of {rows}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(exceptions, read(EXCEPTIONS), "NODEGUARD_BLESS=1 writes {EXCEPTIONS}");
    assert!(rows >= 1613, "{rows} rows");
}
