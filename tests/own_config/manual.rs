// SPDX-License-Identifier: Apache-2.0
//! nodeguard.toml(5) names the tables, keys, defaults and limits that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nodeguard::config::{self, KEYS, Policy, Settings, duration_text};

use super::{file, resolve};

/// The section KEYS as plain text, a line for each line of the source.
fn section() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/man/nodeguard.toml.5");
    let text = fs::read_to_string(path).unwrap();
    let text = text.replace("\\-", "-").replace("\\(dq", "\"");
    let from = text.split("\n.SH KEYS\n").nth(1).expect("a section KEYS");
    from.split("\n.SH ").next().unwrap().to_owned()
}

/// What the section has of a table or key: its title, and what is said below it.
fn entries() -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut table = String::new();
    let text = section();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix(".SS [") {
            title.trim_end_matches(']').clone_into(&mut table);
            out.push((table.clone(), String::new()));
        } else if [".TP", ".TQ"].contains(&line) {
            let name = lines.next().and_then(|line| line.strip_prefix(".B ")).expect("a name");
            let below = if table.is_empty() { String::new() } else { format!("{table}.") };
            out.push((format!("{below}{name}"), String::new()));
        } else if let Some((_, said)) = out.last_mut() {
            // Without the requests for type faces.
            let plain = match line.strip_prefix('.') {
                Some(request) => request.split_once(' ').map_or("", |(_, words)| words),
                None => line,
            };
            *said += &format!("{plain} ");
        }
    }
    out
}

fn said_of(key: &str) -> String {
    let found = entries().into_iter().find(|(title, _)| title == key);
    found.unwrap_or_else(|| panic!("nodeguard.toml(5) has no entry {key}")).1
}

#[test]
fn each_key_has_its_entry_and_there_is_no_other() {
    let is_table = |key: &str| KEYS.iter().any(|other| other.starts_with(&format!("{key}.")));
    let keys: BTreeSet<String> =
        KEYS.into_iter().filter(|key| !is_table(key)).map(str::to_owned).collect();
    let told: Vec<String> = entries().into_iter().map(|(title, _)| title).collect();
    // What a key can be has entries of its own, in quotes.
    let named = told.iter().filter(|title| !title.contains('"'));
    let told: BTreeSet<String> = named.filter(|title| !is_table(title)).cloned().collect();
    assert_eq!(told, keys);
}

#[test]
fn each_policy_has_its_entry_and_there_is_no_other() {
    let told: BTreeSet<String> = entries()
        .into_iter()
        .filter_map(|(title, _)| Some(title.strip_prefix("sysctl.policy.\"")?.replace('"', "")))
        .collect();
    let all: BTreeSet<String> = Policy::ALL.iter().map(|p| p.as_str().to_owned()).collect();
    assert_eq!(told, all);
    let default = said_of(&format!("sysctl.policy.\"{}\"", Policy::default().as_str()));
    assert!(default.contains("The default."), "{default}");
}

#[test]
fn defaults_and_limits_are_told_as_they_are() {
    let settings = Settings::default();
    let interval = said_of("poll-interval");
    let default = duration_text(settings.poll_interval.value);
    assert!(interval.contains(&format!("the default is \"{default}\"")), "{interval}");
    assert!(interval.contains("from 1s to 5min"), "{interval}");
    let attribution = said_of("attribution");
    let default = settings.attribution.value;
    assert!(attribution.contains(&format!("{default} , the default.")), "{attribution}");
    let account = said_of("etcd-account.gid");
    assert!(account.contains("from 1 to 4294967294, and not 65535"), "{account}");
    for (text, taken) in [
        ("poll-interval = '1s'", true),
        ("poll-interval = '0s'", false),
        ("poll-interval = '5min'", true),
        ("poll-interval = '301s'", false),
        ("etcd-account.uid = 1", true),
        ("etcd-account.uid = 0", false),
        ("etcd-account.gid = 4294967294", true),
        ("etcd-account.gid = 4294967295", false),
        ("etcd-account.gid = 65535", false),
    ] {
        assert_eq!(resolve(&[file("f", text)]).is_ok(), taken, "{text}");
    }
}

#[test]
fn the_files_are_told_in_the_order_in_which_they_are_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/man/nodeguard.toml.5");
    let text = fs::read_to_string(path).unwrap();
    let synopsis = text.split("\n.SH ").find(|section| section.starts_with("SYNOPSIS\n")).unwrap();
    let told: Vec<&str> = synopsis.lines().filter_map(|line| line.strip_prefix(".I ")).collect();
    let drop_ins = config::DROP_INS.iter().rev().map(|dir| format!("{dir}/*.toml"));
    let mut read: Vec<String> = config::BASE.iter().map(|file| (*file).to_owned()).collect();
    read.extend(drop_ins);
    assert_eq!(told, read);
}
