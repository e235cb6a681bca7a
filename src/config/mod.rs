// SPDX-License-Identifier: Apache-2.0
//! nodeguard's own configuration: the text of its files → [`Settings`], each value with the file
//! and line that set it.
//!
//! ```text
//! files ──► order ──► fragment, one a file ──► Settings, or every Problem at once
//! ```
//!
//! Everything here is pure: the bytes were read elsewhere. Whatever is wrong with a file
//! is a [`Problem`]; a configuration counts as a whole or not at all, but for its mode ([`fallback`]) and
//! for codes that are none ([`Gate::left_out`]).

mod fragment;
mod gate;
mod nearest;
mod order;
mod values;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::model::{OperatingMode, Origin, escaped};

use fragment::{Fragment, Said};

pub use fragment::KEYS;
pub use gate::Gate;
pub use nearest::nearest;
pub use order::{is_drop_in, order};
pub use values::duration_text;

/// The base files; of a key that both set the later one's value counts.
pub const BASE: [&str; 2] = ["/usr/lib/nodeguard/nodeguard.toml", "/etc/nodeguard/nodeguard.toml"];

/// The directories of drop-ins. Of two files with the same name the one in the earlier directory
/// counts.
pub const DROP_INS: [&str; 3] = [
    "/etc/nodeguard/nodeguard.toml.d",
    "/run/nodeguard/nodeguard.toml.d",
    "/usr/lib/nodeguard/nodeguard.toml.d",
];

/// Bytes of one file.
pub const MAX_FILE_SIZE: usize = 64 * 1024;

/// Bytes of all files together.
pub const MAX_SIZE: usize = 512 * 1024;

/// Drop-ins of one directory.
pub const MAX_DROP_INS: usize = 128;

/// Entries of such a directory, whatever their names are.
pub const MAX_ENTRIES: usize = 4096;

/// Keys in each of the tables `policy` and `extra`.
const MAX_KEYS: usize = 256;

/// Problems that are told one by one; the rest is counted.
const MAX_PROBLEMS: usize = 32;

/// One file as it was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The path as it is shown to the operator.
    pub path: String,
    /// The bytes, or why the file cannot be used.
    pub content: Result<Vec<u8>, String>,
}

/// A value and who set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    pub value: T,
    pub origin: Origin,
}

impl<T> Setting<T> {
    pub fn built_in(value: T) -> Self {
        Self { value, origin: Origin::file("built-in default") }
    }
}

/// What is done about one kernel parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// It is held at its value.
    #[default]
    Enforce,
    /// It is never written; a wrong value is reported.
    Warn,
    /// It is never written; a wrong value is reported only where RKE2 would not start with it.
    Ignore,
}

impl Policy {
    pub const ALL: [Policy; 3] = [Self::Enforce, Self::Warn, Self::Ignore];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::Ignore => "ignore",
        }
    }
}

/// The whole configuration, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether anything is done about what is found.
    pub mode: Setting<OperatingMode>,
    /// What leaves open whether anything is to be done: until that is mended nothing on the host is
    /// changed, and the gate judges by `mode`.
    pub unclear: Option<Origin>,
    /// How often the kernel parameters are read although no event came.
    pub poll_interval: Setting<Duration>,
    /// Whether it is found out who changed a kernel parameter.
    pub attribution: Setting<bool>,
    pub gate: Gate,
    pub sysctl: Sysctl,
    pub etcd_account: EtcdAccount,
}

/// The table `[sysctl]`. Keys are in dotted form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sysctl {
    pub policy: BTreeMap<String, Setting<Policy>>,
    /// The operator's own parameters, in the order in which they were declared.
    pub extra: Vec<(String, Setting<String>)>,
}

/// The table `[etcd-account]`: numbers that the account must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdAccount {
    pub uid: Option<Setting<u32>>,
    pub gid: Option<Setting<u32>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Setting::built_in(OperatingMode::Enforce),
            unclear: None,
            poll_interval: Setting::built_in(Duration::from_secs(5)),
            attribution: Setting::built_in(false),
            gate: Gate::default(),
            sysctl: Sysctl::default(),
            etcd_account: EtcdAccount::default(),
        }
    }
}

impl Settings {
    /// Whether nothing on the host is changed, whoever asks for it.
    pub fn changes_nothing(&self) -> bool {
        self.mode.value.only_reports() || self.unclear.is_some()
    }
}

/// One thing wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub origin: Origin,
    /// The key, or the file.
    pub subject: String,
    pub expected: String,
    pub actual: String,
    /// What is wrong, without the origin.
    pub message: String,
    pub remedy: String,
}

impl Problem {
    /// `subject` is `actual` and should be `expected`.
    fn wrong(origin: Origin, subject: &str, actual: &str, expected: &str) -> Self {
        let (subject, actual) = (printable(subject), printable(actual));
        Self {
            message: format!("{subject} is {actual}, expected {expected}"),
            remedy: format!("correct {origin}"),
            expected: expected.into(),
            origin,
            subject,
            actual,
        }
    }
}

/// The files, the least important first, → the configuration, or everything that is wrong with
/// it. `fixed`: kernel parameters whose value is not the operator's to choose, with that value.
pub fn resolve(sources: &[Source], fixed: &[(&str, &str)]) -> Result<Settings, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut more = 0;
    let mut left_out = 0;
    let mut settings = Settings::default();
    for source in sources {
        match &source.content {
            Ok(bytes) => {
                let fragment = fragment::read(&source.path, bytes, fixed, &mut problems);
                merge(&mut settings, fragment);
                let unusable = &mut settings.gate.left_out;
                left_out += unusable.len().saturating_sub(MAX_PROBLEMS);
                unusable.truncate(MAX_PROBLEMS);
            }
            Err(reason) => problems.push(Problem {
                origin: Origin::file(&source.path),
                subject: source.path.clone(),
                expected: "a readable file of root's".into(),
                actual: reason.clone(),
                message: format!("{} cannot be used: {reason}", source.path),
                remedy: format!("correct {}, or take it away", source.path),
            }),
        }
        more += problems.len().saturating_sub(MAX_PROBLEMS);
        problems.truncate(MAX_PROBLEMS);
    }
    for (table, count) in
        [("policy", settings.sysctl.policy.len()), ("extra", settings.sysctl.extra.len())]
    {
        if count > MAX_KEYS {
            let origin = Origin::file(sources.last().map_or("", |source| source.path.as_str()));
            let (actual, expected) =
                (format!("more than {MAX_KEYS} keys"), format!("at most {MAX_KEYS}"));
            problems.push(Problem::wrong(origin, &format!("sysctl.{table}"), &actual, &expected));
        }
    }
    if problems.is_empty() {
        count(&mut settings.gate.left_out, left_out);
        return Ok(settings);
    }
    // Everything that is wrong at once.
    problems.append(&mut settings.gate.left_out);
    more += left_out + problems.len().saturating_sub(MAX_PROBLEMS);
    problems.truncate(MAX_PROBLEMS);
    count(&mut problems, more);
    Err(problems)
}

/// Tells with the last problem that is told how many more there are.
fn count(problems: &mut [Problem], more: usize) {
    if let (Some(last), true) = (problems.last_mut(), more > 0) {
        last.message.push_str(&format!(" (and {more} more errors)"));
    }
}

/// What is in force where the files are wrong and none was read whole before: what is built in, but in
/// the mode that they name. Whoever wrote that nothing is to be changed meant it, whatever else is wrong.
///
/// A file that cannot be used may say so as well, and so may a mode that is neither of the two: then
/// nothing is changed, and the gate is as in the mode that is built in. Only a file that is read and
/// counts for more opens it.
pub fn fallback(sources: &[Source]) -> Settings {
    let said = |source: &Source| match &source.content {
        Ok(bytes) => fragment::mode(&source.path, bytes),
        Err(_) => Said::Unclear(Origin::file(&source.path)),
    };
    let mut settings = Settings::default();
    for said in sources.iter().map(said) {
        match said {
            Said::Nothing => {}
            Said::Mode(mode) => settings.mode = mode,
            Said::Unclear(origin) => {
                settings.mode = Settings::default().mode;
                settings.unclear = Some(origin);
            }
        }
    }
    if settings.mode.value.only_reports() {
        settings.unclear = None;
    }
    settings
}

fn merge(settings: &mut Settings, fragment: Fragment) {
    fn set<T>(old: &mut T, new: Option<T>) {
        if let Some(new) = new {
            *old = new;
        }
    }
    set(&mut settings.mode, fragment.mode);
    set(&mut settings.poll_interval, fragment.poll_interval);
    set(&mut settings.attribution, fragment.attribution);
    set(&mut settings.etcd_account.uid, fragment.uid.map(Some));
    set(&mut settings.etcd_account.gid, fragment.gid.map(Some));
    set(&mut settings.gate.warn, fragment.warn);
    // What an earlier file has wrong is to be told all the same.
    settings.gate.left_out.extend(fragment.left_out);
    // One more than may be, so that it is seen that there are too many.
    for (key, policy) in fragment.policy {
        let known = settings.sysctl.policy.contains_key(&key);
        if known || settings.sysctl.policy.len() <= MAX_KEYS {
            settings.sysctl.policy.insert(key, policy);
        }
    }
    for (key, value) in fragment.extra {
        let extra = &mut settings.sysctl.extra;
        // Another value in the place of the first: a later file changes what, not when.
        match extra.iter().position(|(known, _)| *known == key) {
            Some(at) => extra[at].1 = value,
            None if extra.len() <= MAX_KEYS => extra.push((key, value)),
            None => {}
        }
    }
}

/// Text of a file as it is shown: no control characters, and not without end.
fn printable(text: &str) -> String {
    const LONGEST: usize = 80;
    let escaped = escaped(text);
    let mut characters = escaped.chars();
    let mut out: String = characters.by_ref().take(LONGEST).collect();
    if characters.next().is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_value_no_more_is_shown_than_the_limit_and_that_it_goes_on_is() {
        assert_eq!(printable(&"x".repeat(80)), "x".repeat(80));
        for long in ["x".repeat(81), "é".repeat(100_000), "\u{1b}".repeat(80)] {
            let shown = printable(&long);
            assert_eq!((shown.chars().count(), shown.ends_with('…')), (81, true), "{shown}");
        }
    }
}
