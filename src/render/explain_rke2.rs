// SPDX-License-Identifier: Apache-2.0
//! What `nodeguard explain rke2` prints, for a person and as JSON.

use serde::Serialize;

use super::terminal::line as escaped;
use crate::model::Origin;
use crate::rke2::explain::Value;

/// RKE2 as this node would start it. The format is the one in the manual; a field that changes its
/// meaning or goes raises `schema`.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    pub schema: u32,
    /// nodeguard's own.
    pub version: &'static str,
    /// The directory that was looked at; `/` for the running host.
    pub root: String,
    pub role: &'static str,
    /// Without the leading `v`; null where none was found.
    pub rke2_version: Option<String>,
    /// The CIS Kubernetes Benchmarks for that version.
    pub cis_benchmarks: Vec<&'static str>,
    pub profiles: Vec<&'static str>,
    pub unit: Unit,
    pub configuration: Configuration,
    /// `RKE2_` variables of the unit, in order; a later one wins.
    pub environment: Vec<Value>,
    pub values: Vec<Value>,
    /// Every other flag that is given, in RKE2's order.
    pub others: Vec<Value>,
    pub etcd: Etcd,
    pub problems: Vec<Problem>,
}

impl Answer {
    pub const SCHEMA: u32 = 1;
}

/// The unit that starts RKE2.
#[derive(Clone, Debug, Serialize)]
pub struct Unit {
    pub name: String,
    /// The unit file and its drop-ins, in the order in which they are applied.
    pub files: Vec<String>,
    /// Null where no unit was found.
    pub binary: Option<String>,
    pub arguments: Vec<String>,
    pub origin: Option<Origin>,
    pub environment_files: Vec<String>,
}

/// Where RKE2 looks for its configuration.
#[derive(Clone, Debug, Serialize)]
pub struct Configuration {
    /// A path or an address; null where the command line names nothing.
    pub path: Option<String>,
    /// What names it; null for the default.
    pub origin: Option<Origin>,
    pub exists: bool,
    /// Those that count, in the order in which they are read.
    pub drop_ins: Vec<String>,
}

/// The etcd of this node.
#[derive(Clone, Debug, Serialize)]
pub struct Etcd {
    pub local: bool,
    pub dir: String,
}

/// What RKE2 refuses or drops.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    pub message: String,
    pub origin: Origin,
}

/// The answer as one line of JSON.
pub fn json(answer: &Answer) -> String {
    // Strings, numbers and lists: there is nothing in it that JSON cannot say.
    serde_json::to_string(answer).unwrap_or_default()
}

/// The answer for a person at a terminal.
pub fn text(answer: &Answer) -> String {
    let mut out = String::new();
    let mut line = |label: &str, text: &str| out += &format!("{label:<14} {text}\n");
    line("role:", answer.role);
    match &answer.rke2_version {
        Some(version) => {
            line("version:", &format!("v{}", escaped(version)));
            line("cis benchmark:", &answer.cis_benchmarks.join(", "));
        }
        None => line("version:", "not known; the newest rules are used"),
    }
    line("profiles:", &answer.profiles.join(", "));
    let unit = &answer.unit;
    line("unit:", &escaped(&unit.name));
    for file in &unit.files {
        line("", &escaped(file));
    }
    if let Some(binary) = &unit.binary {
        let words = std::iter::once(binary).chain(&unit.arguments).map(|word| escaped(word));
        let command = words.collect::<Vec<_>>().join(" ");
        line("command:", &format!("{command}{}", place(unit.origin.as_ref())));
    }
    for (label, file) in labelled("environment:", &unit.environment_files) {
        line(label, &escaped(file));
    }
    let configuration = &answer.configuration;
    let path = configuration.path.as_deref().unwrap_or("none");
    let absent = if configuration.exists { "" } else { ", not there" };
    line(
        "configuration:",
        &format!("{}{}{absent}", escaped(path), place(configuration.origin.as_ref())),
    );
    for file in &configuration.drop_ins {
        line("", &escaped(file));
    }
    let here = if answer.etcd.local { "" } else { "none on this node; it would be in " };
    line("etcd:", &format!("{here}{}", escaped(&answer.etcd.dir)));
    for (title, values) in [
        ("values", &answer.values),
        ("other flags", &answer.others),
        ("variables", &answer.environment),
    ] {
        if !values.is_empty() {
            out += &format!("\n{title}:\n");
            values.iter().for_each(|value| out += &value_text(value));
        }
    }
    if !answer.problems.is_empty() {
        out += "\nproblems:\n";
    }
    for Problem { message, origin } in &answer.problems {
        out += &format!("  {}{}\n", escaped(message), place(Some(origin)));
    }
    out
}

fn labelled<'a>(
    label: &'a str,
    lines: &'a [String],
) -> impl Iterator<Item = (&'a str, &'a String)> {
    lines.iter().enumerate().map(move |(at, text)| (if at == 0 { label } else { "" }, text))
}

fn value_text(value: &Value) -> String {
    let Value { flag, value, written, origin } = value;
    let flag = escaped(flag);
    let Some(value) = value else { return format!("  {flag} (not set)\n") };
    let value = if value.is_empty() { "\"\"".into() } else { escaped(value) };
    let Some(origin) = origin else { return format!("  {flag} = {value} (default)\n") };
    let as_written = match written {
        Some(written) if *written != flag => format!(" as {}", escaped(written)),
        _ => String::new(),
    };
    format!("  {flag} = {value} ({}{as_written})\n", escaped(&origin.to_string()))
}

fn place(origin: Option<&Origin>) -> String {
    origin.map(|origin| format!(" ({})", escaped(&origin.to_string()))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(flag: &str, value: &str, written: &str, origin: Option<Origin>) -> Value {
        let written = origin.is_some().then(|| written.to_owned());
        Value { flag: flag.into(), value: Some(value.into()), written, origin }
    }

    /// Every kind of thing that an answer can say.
    fn everything() -> Answer {
        let config = "/etc/rancher/rke2/config.yaml";
        let unit = "/usr/local/lib/systemd/system/rke2-server.service";
        let env = "/etc/default/rke2-server";
        let at = |file: &str, line| Some(Origin::at(file, line));
        Answer {
            schema: Answer::SCHEMA,
            version: "0.0.0",
            root: "/".into(),
            role: "server",
            rke2_version: Some("1.34.1+rke2r1".into()),
            cis_benchmarks: vec!["1.8", "1.12"],
            profiles: vec!["cis", "etcd"],
            unit: Unit {
                name: "rke2-server.service".into(),
                files: vec![unit.into(), "/etc/systemd/system/service.d/10.conf".into()],
                binary: Some("/usr/local/bin/rke2".into()),
                arguments: vec!["server".into(), "--token=(secret)".into()],
                origin: at(unit, 24),
                environment_files: vec![env.into(), "/etc/sysconfig/rke2-server".into()],
            },
            configuration: Configuration {
                path: Some(config.into()),
                origin: at(env, 2),
                exists: false,
                drop_ins: vec![format!("{config}.d/50-rancher.yaml")],
            },
            environment: vec![Value {
                written: None,
                ..value("RKE2_CIS_PROFILE", "cis", "", at(env, 1))
            }],
            values: vec![
                value("profile", "cis", "RKE2_CIS_PROFILE", at(env, 1)),
                value("data-dir", "/var/lib/rancher/rke2", "", None),
                Value { flag: "server".into(), value: None, written: None, origin: None },
                value("selinux", "true", "--selinux", Some(Origin::file("command line"))),
                value("etcd-arg", "", "etcd-arg", at(config, 9)),
            ],
            others: vec![value("tls-san", "a\u{1b}b", "tls-san", at(config, 4))],
            etcd: Etcd { local: false, dir: "/var/lib/rancher/rke2/server/db/etcd".into() },
            problems: vec![Problem {
                message: "Unknown flag --x found in config.yaml, skipping".into(),
                origin: Origin::at(config, 7),
            }],
        }
    }

    #[test]
    fn the_json_format_is_the_golden_one() {
        let pretty: serde_json::Value = serde_json::from_str(&json(&everything())).unwrap();
        let pretty = serde_json::to_string_pretty(&pretty).unwrap();
        insta::assert_snapshot!("explain_rke2.json", pretty);
    }

    #[test]
    fn the_text_format_is_the_golden_one_and_cannot_write_to_the_terminal() {
        let text = text(&everything());
        assert!(!text.contains('\u{1b}'), "{text}");
        insta::assert_snapshot!("explain_rke2.txt", text);
    }
}
