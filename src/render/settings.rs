// SPDX-License-Identifier: Apache-2.0
//! nodeguard's own configuration as it is in force: as TOML that could be its only file, each
//! value with its origin beside it, and as JSON.

use serde::Serialize;

use super::terminal::line as escaped;
use crate::config::{Problem, Setting, Settings, Source, duration_text};
use crate::model::{OperatingMode, Origin, misleads};

/// Raised when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// For people, and for a file.
pub fn text(sources: &[Source], settings: &Settings) -> String {
    let mut rows = Rows::default();
    for source in sources {
        rows.0.push((format!("# {}", source.path), None));
    }
    rows.set("mode", &quote(settings.mode.value.as_str()), &settings.mode);
    rows.set(
        "poll-interval",
        &quote(&duration_text(settings.poll_interval.value)),
        &settings.poll_interval,
    );
    rows.set("attribution", &settings.attribution.value.to_string(), &settings.attribution);
    if !settings.gate.warn.is_empty() {
        rows.table("gate");
        rows.0.push(("warn = [".into(), None));
        for code in &settings.gate.warn {
            rows.entry(&quote(code.value.as_str()), code);
        }
        rows.0.push(("]".into(), None));
    }
    if !settings.sysctl.policy.is_empty() {
        rows.table("sysctl.policy");
        for (key, policy) in &settings.sysctl.policy {
            rows.set(&quote(key), &quote(policy.value.as_str()), policy);
        }
    }
    if !settings.sysctl.extra.is_empty() {
        rows.table("sysctl.extra");
        for (key, value) in &settings.sysctl.extra {
            rows.set(&quote(key), &quote(&value.value), value);
        }
    }
    let ids = [("uid", &settings.etcd_account.uid), ("gid", &settings.etcd_account.gid)];
    let ids: Vec<_> = ids.iter().filter_map(|(name, id)| Some((name, id.as_ref()?))).collect();
    if !ids.is_empty() {
        rows.table("etcd-account");
        for (name, id) in ids {
            rows.set(name, &id.value.to_string(), id);
        }
    }
    rows.text()
}

/// Lines, each with what stands beside it.
#[derive(Default)]
struct Rows(Vec<(String, Option<String>)>);

impl Rows {
    fn set<T>(&mut self, key: &str, value: &str, setting: &Setting<T>) {
        self.0.push((format!("{key} = {value}"), Some(setting.origin.to_string())));
    }

    fn entry<T>(&mut self, value: &str, setting: &Setting<T>) {
        self.0.push((format!("  {value},"), Some(setting.origin.to_string())));
    }

    fn table(&mut self, name: &str) {
        self.0.push((String::new(), None));
        self.0.push((format!("[{name}]"), None));
    }

    fn text(&self) -> String {
        /// Beyond this the origins are not aligned: one long value must not push all others away.
        const WIDEST: usize = 48;
        let lines = self.0.iter().filter(|(_, origin)| origin.is_some());
        let widths = lines.map(|(line, _)| line.chars().count());
        let width = widths.filter(|width| *width <= WIDEST).max().unwrap_or_default();
        let mut out = String::new();
        for (line, origin) in &self.0 {
            match origin {
                Some(origin) => {
                    let (line, origin) = (escaped(line), escaped(origin));
                    out.push_str(&format!("{line:width$}  # {origin}\n"));
                }
                None => out.push_str(&format!("{}\n", escaped(line))),
            }
        }
        out
    }
}

/// A TOML string. What a terminal must not get is escaped as TOML has it, so that it can be read
/// again.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\\' | '"' => out.extend(['\\', c]),
            '\t' => out.push_str("\\t"),
            c if misleads(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    files: Vec<&'a str>,
    settings: Values<'a>,
    errors: Vec<Error<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Values<'a> {
    mode: Value<'a, OperatingMode>,
    poll_interval: Value<'a, String>,
    attribution: Value<'a, bool>,
    gate: GateValues<'a>,
    sysctl: SysctlValues<'a>,
    etcd_account: AccountValues<'a>,
}

#[derive(Serialize)]
struct GateValues<'a> {
    warn: Vec<Value<'a, &'static str>>,
}

#[derive(Serialize)]
struct SysctlValues<'a> {
    policy: Vec<Parameter<'a>>,
    extra: Vec<Parameter<'a>>,
}

#[derive(Serialize)]
struct AccountValues<'a> {
    uid: Option<Value<'a, u32>>,
    gid: Option<Value<'a, u32>>,
}

#[derive(Serialize)]
struct Value<'a, T> {
    value: T,
    origin: &'a Origin,
}

#[derive(Serialize)]
struct Parameter<'a> {
    key: &'a str,
    value: &'a str,
    origin: &'a Origin,
}

#[derive(Serialize)]
struct Error<'a> {
    origin: &'a Origin,
    subject: &'a str,
    expected: &'a str,
    actual: &'a str,
    message: &'a str,
    remedy: &'a str,
}

impl<'a, T: Copy> From<&'a Setting<T>> for Value<'a, T> {
    fn from(setting: &'a Setting<T>) -> Self {
        Self { value: setting.value, origin: &setting.origin }
    }
}

/// The configuration as JSON, for programs.
pub fn json(sources: &[Source], settings: &Settings, problems: &[Problem]) -> String {
    let policy = settings.sysctl.policy.iter().map(|(key, policy)| Parameter {
        key,
        value: policy.value.as_str(),
        origin: &policy.origin,
    });
    let extra = settings.sysctl.extra.iter().map(|(key, value)| Parameter {
        key,
        value: &value.value,
        origin: &value.origin,
    });
    let warn = settings
        .gate
        .warn
        .iter()
        .map(|code| Value { value: code.value.as_str(), origin: &code.origin });
    let document = Document {
        schema: SCHEMA,
        files: sources.iter().map(|source| source.path.as_str()).collect(),
        settings: Values {
            mode: (&settings.mode).into(),
            poll_interval: Value {
                value: duration_text(settings.poll_interval.value),
                origin: &settings.poll_interval.origin,
            },
            attribution: (&settings.attribution).into(),
            gate: GateValues { warn: warn.collect() },
            sysctl: SysctlValues { policy: policy.collect(), extra: extra.collect() },
            etcd_account: AccountValues {
                uid: settings.etcd_account.uid.as_ref().map(Value::from),
                gid: settings.etcd_account.gid.as_ref().map(Value::from),
            },
        },
        errors: problems.iter().chain(&settings.gate.left_out).map(Error::from).collect(),
    };
    // Strings, numbers and nothing that could fail.
    serde_json::to_string(&document).unwrap_or_default()
}

impl<'a> From<&'a Problem> for Error<'a> {
    fn from(problem: &'a Problem) -> Self {
        let Problem { origin, subject, expected, actual, message, remedy } = problem;
        Self { origin, subject, expected, actual, message, remedy }
    }
}
