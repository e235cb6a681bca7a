// SPDX-License-Identifier: Apache-2.0
//! The text of one file → what it sets. TOML, read into its tree with the place of every value,
//! so that each wrong one is told with its line, and all at once.

use std::collections::BTreeSet;
use std::iter;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::gate::{self, MAX_CODES};
use super::nearest::nearest;
use super::{MAX_FILE_SIZE, Policy, Problem, Setting, printable, values};
use crate::model::{Code, OperatingMode, Origin};

/// Every key there is, in full.
pub const KEYS: [&str; 11] = [
    "mode",
    "poll-interval",
    "attribution",
    "gate",
    "gate.warn",
    "sysctl",
    "sysctl.policy",
    "sysctl.extra",
    "etcd-account",
    "etcd-account.uid",
    "etcd-account.gid",
];

/// Syntax errors that are told of one file; a text that is no TOML at all has one in every line.
const SYNTAX_ERRORS: usize = 64;

/// What one file sets.
#[derive(Debug, Default)]
pub(super) struct Fragment {
    pub(super) mode: Option<Setting<OperatingMode>>,
    pub(super) poll_interval: Option<Setting<Duration>>,
    pub(super) attribution: Option<Setting<bool>>,
    pub(super) warn: Option<Vec<Setting<Code>>>,
    /// What `warn` has besides; see [`super::Gate`].
    pub(super) left_out: Vec<Problem>,
    pub(super) policy: Vec<(String, Setting<Policy>)>,
    pub(super) extra: Vec<(String, Setting<String>)>,
    pub(super) uid: Option<Setting<u32>>,
    pub(super) gid: Option<Setting<u32>>,
}

/// Reads the file `path`; what is wrong goes to `problems`. `fixed`: see [`super::resolve`].
pub(super) fn read(
    path: &str,
    bytes: &[u8],
    fixed: &[(&str, &str)],
    problems: &mut Vec<Problem>,
) -> Fragment {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= MAX_FILE_SIZE => text,
        Ok(_) => {
            let limit = format!("at most {MAX_FILE_SIZE} bytes");
            problems.push(Problem::wrong(Origin::file(path), path, "too large", &limit));
            return Fragment::default();
        }
        Err(e) => {
            let good = bytes.get(..e.valid_up_to()).unwrap_or_default();
            let line = 1 + good.iter().filter(|b| **b == b'\n').count();
            let origin = Origin::at(path, u32::try_from(line).unwrap_or(u32::MAX));
            problems.push(Problem::wrong(origin, path, "not UTF-8", "a TOML file in UTF-8"));
            return Fragment::default();
        }
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader::of(path, text, fixed);
    for error in errors.into_iter().take(SYNTAX_ERRORS) {
        reader.syntax(error.span().unwrap_or(0..0), error.message());
    }
    // What the parser made of a broken line says nothing more about it.
    let broken: BTreeSet<_> = reader.found.iter().map(|problem| problem.origin.clone()).collect();
    let syntax = reader.found.len();
    reader.top(document.get_ref());
    let mut later = reader.found.split_off(syntax);
    later.retain(|problem| !broken.contains(&problem.origin));
    reader.found.extend(later);
    reader.found.sort_by_key(|problem| problem.origin.line);
    problems.extend(reader.found);
    reader.fragment
}

/// What a file says about the mode, whatever else is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    Mode(Setting<OperatingMode>),
    /// It names the key, and a value that means neither mode; or nobody can tell what it says.
    Unclear(Origin),
}

/// A word that was plainly meant for one of the modes is taken for that one.
pub(super) fn mode(path: &str, bytes: &[u8]) -> Said {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_FILE_SIZE)
    else {
        return Said::Unclear(Origin::file(path));
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    let reader = Reader::of(path, text, &[]);
    if let Some((key, value)) = meant_for_the_mode(document.get_ref()) {
        let origin = reader.at(key.span().start);
        return match value.get_ref().as_str().and_then(values::meant_mode) {
            Some(value) => Said::Mode(Setting { value, origin }),
            None => Said::Unclear(origin),
        };
    }
    // What is no TOML may be lost to the parser.
    let lost = |line: &str| {
        let word = line.trim_start().split(|c: char| !c.is_ascii_alphanumeric()).next();
        word.is_some_and(is_the_mode)
    };
    let line = (1..).zip(text.lines()).find(|(_, line)| !errors.is_empty() && lost(line));
    line.map_or(Said::Nothing, |(number, _)| Said::Unclear(Origin::at(path, number)))
}

fn is_the_mode(key: &str) -> bool {
    nearest(&key.to_ascii_lowercase(), ["mode"]).is_some()
}

/// The key itself, else one that is written alike or stands in a table, as it does where it is put at
/// the end of a file.
fn meant_for_the_mode<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Option<(&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>)> {
    let inside = |(_, value): (_, &'t Spanned<DeValue<'i>>)| {
        value.get_ref().as_table().and_then(meant_for_the_mode)
    };
    let exact = table.iter().find(|(key, _)| key.get_ref() == "mode");
    let alike = || table.iter().find(|(key, _)| is_the_mode(key.get_ref()));
    exact.or_else(alike).or_else(|| table.iter().find_map(inside))
}

struct Reader<'a> {
    path: &'a str,
    /// Where each line starts.
    line_starts: Vec<usize>,
    fixed: &'a [(&'a str, &'a str)],
    fragment: Fragment,
    found: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn of(path: &'a str, text: &str, fixed: &'a [(&'a str, &'a str)]) -> Self {
        // What is missing at the end is missing in the last line: the end itself starts none.
        let breaks =
            text.match_indices('\n').map(|(at, _)| at + 1).filter(|start| *start < text.len());
        let line_starts = iter::once(0).chain(breaks).collect();
        Self { path, line_starts, fixed, fragment: Fragment::default(), found: Vec::new() }
    }

    /// The line that a byte is in.
    fn at(&self, offset: usize) -> Origin {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        Origin::at(self.path, u32::try_from(line).unwrap_or(u32::MAX))
    }

    fn syntax(&mut self, span: Range<usize>, message: &str) {
        let origin = self.at(span.start);
        let message = printable(message.lines().next().unwrap_or("not TOML"));
        if self.found.iter().any(|known| known.origin == origin) {
            return;
        }
        self.found.push(Problem {
            subject: self.path.into(),
            expected: "TOML".into(),
            actual: message.clone(),
            message: format!("this is not TOML: {message}"),
            remedy: format!("correct {origin}"),
            origin,
        });
    }

    fn wrong(&mut self, offset: usize, subject: &str, actual: &str, expected: &str) {
        self.found.push(Problem::wrong(self.at(offset), subject, actual, expected));
    }

    fn unknown(&mut self, offset: usize, key: &str) {
        let parts = |key: &'static str| key.rsplit_once('.').unwrap_or(("", key));
        let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
        let beside = KEYS.into_iter().filter(|known| parts(known).0 == table);
        let meant = nearest(name, beside.map(|known| parts(known).1)).map(|meant| {
            if table.is_empty() { meant.to_owned() } else { format!("{table}.{meant}") }
        });
        // The right word in the wrong table.
        let elsewhere = || KEYS.into_iter().find(|known| parts(known).1 == name).map(str::to_owned);
        let meant = meant.or_else(elsewhere);
        let key = printable(key);
        let hint = meant.as_ref().map_or_else(
            || ", see nodeguard.toml(5)".to_owned(),
            |meant| format!(", did you mean {meant}?"),
        );
        let origin = self.at(offset);
        self.found.push(Problem {
            message: format!("unknown key {key}{hint}"),
            remedy: meant.as_ref().map_or_else(
                || format!("remove it from {origin}"),
                |meant| format!("write {meant} in {origin}"),
            ),
            expected: meant.unwrap_or_else(|| "a key of nodeguard.toml(5)".into()),
            actual: key.clone(),
            subject: key,
            origin,
        });
    }

    fn top(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "mode" => self.fragment.mode = self.mode(value),
                "gate" => self.table("gate", value, Self::gate),
                "poll-interval" => self.fragment.poll_interval = self.duration(value),
                "attribution" => self.fragment.attribution = self.boolean("attribution", value),
                "sysctl" => self.table("sysctl", value, Self::sysctl),
                "etcd-account" => self.table("etcd-account", value, Self::account),
                other => self.unknown(key.span().start, other),
            }
        }
    }

    fn table(
        &mut self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        read: impl FnOnce(&mut Self, &DeTable<'_>),
    ) {
        match value.get_ref().as_table() {
            Some(table) => read(self, table),
            None => self.wrong(
                value.span().start,
                name,
                &described(value.get_ref()),
                &format!("a table: [{name}]"),
            ),
        }
    }

    fn gate(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "warn" => self.warn(value),
                other => self.unknown(key.span().start, &format!("gate.{other}")),
            }
        }
    }

    /// A list of codes. What is no list, and no text in it, is an error like any other; a text that
    /// is no code that can be demoted is left out alone.
    fn warn(&mut self, value: &Spanned<DeValue<'_>>) {
        let DeValue::Array(array) = value.get_ref() else {
            let actual = described(value.get_ref());
            return self.wrong(value.span().start, "gate.warn", &actual, "a list of codes");
        };
        if array.len() > MAX_CODES {
            let (actual, expected) =
                (format!("{} codes", array.len()), format!("at most {MAX_CODES}"));
            return self.wrong(value.span().start, "gate.warn", &actual, &expected);
        }
        let mut codes: Vec<Setting<Code>> = Vec::new();
        for entry in array.iter() {
            let offset = entry.span().start;
            let Some(word) = entry.get_ref().as_str() else {
                let actual = described(entry.get_ref());
                self.wrong(offset, "an entry of gate.warn", &actual, "the code of a finding");
                continue;
            };
            let origin = self.at(offset);
            match gate::code(word, &origin) {
                Ok(code) if codes.iter().any(|known| known.value == code) => {}
                Ok(value) => codes.push(Setting { value, origin }),
                Err(problem) => self.fragment.left_out.push(*problem),
            }
        }
        self.fragment.warn = Some(codes);
    }

    fn sysctl(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "policy" => self.table("sysctl.policy", value, Self::policies),
                "extra" => self.table("sysctl.extra", value, Self::extras),
                other => self.unknown(key.span().start, &format!("sysctl.{other}")),
            }
        }
    }

    fn account(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "uid" => self.fragment.uid = self.id("etcd-account.uid", value),
                "gid" => self.fragment.gid = self.id("etcd-account.gid", value),
                other => self.unknown(key.span().start, &format!("etcd-account.{other}")),
            }
        }
    }

    fn policies(&mut self, table: &DeTable<'_>) {
        for (key, value) in self.parameters("sysctl.policy", table) {
            let name = format!("the policy for {key}");
            let checked =
                value.get_ref().as_str().map_or_else(|| values::policy(""), values::policy);
            if let Some(setting) = self.checked(&name, &value, checked) {
                self.fragment.policy.push((key, setting));
            }
        }
    }

    fn extras(&mut self, table: &DeTable<'_>) {
        for (key, value) in self.parameters("sysctl.extra", table) {
            let checked = match value.get_ref() {
                DeValue::String(text) => values::value(text),
                DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                    .map(|number| number.to_string())
                    .map_err(|_| "a number of 64 bits".into()),
                _ => Err("a string or an integer".into()),
            };
            let Some(setting) = self.checked(&key, &value, checked) else { continue };
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let fixed = self.fixed.iter().find(|(known, _)| *known == key);
            match fixed {
                Some((_, wanted)) if words(wanted) != words(&setting.value) => {
                    let expected = format!("{wanted}: nothing else will do for RKE2");
                    self.wrong(value.span().start, &key, &setting.value, &expected);
                }
                _ => self.fragment.extra.push((key, setting)),
            }
        }
    }

    /// The kernel parameters of a table in the order of the file. `kernel.panic` without quotes is
    /// a table in a table to TOML, and means the same here.
    fn parameters<'i>(
        &mut self,
        name: &str,
        table: &DeTable<'i>,
    ) -> Vec<(String, Spanned<DeValue<'i>>)> {
        let mut flat = Vec::new();
        flatten("", table, &mut flat);
        flat.sort_by_key(|(_, offset, _)| *offset);
        let mut seen = BTreeSet::new();
        let mut out = Vec::new();
        for (key, offset, value) in flat {
            if let Err(expected) = values::key(&key) {
                let actual = format!("\"{key}\"");
                self.wrong(offset, &format!("a key of {name}"), &actual, &expected);
            } else if !seen.insert(key.clone()) {
                self.wrong(offset, &key, "there twice", &format!("once in {name}"));
            } else {
                out.push((key, value));
            }
        }
        out
    }

    fn mode(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Setting<OperatingMode>> {
        let checked = value.get_ref().as_str().map_or_else(|| values::mode(""), values::mode);
        self.checked("mode", value, checked)
    }

    fn duration(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Setting<Duration>> {
        let checked =
            value.get_ref().as_str().map_or_else(|| values::duration(""), values::duration);
        self.checked("poll-interval", value, checked)
    }

    fn boolean(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Setting<bool>> {
        let checked = value.get_ref().as_bool().ok_or_else(|| "true or false".into());
        self.checked(name, value, checked)
    }

    fn id(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Setting<u32>> {
        let number = value.get_ref().as_integer();
        let number = number.and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok());
        self.checked(name, value, values::id(number))
    }

    fn checked<T>(
        &mut self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        checked: Result<T, String>,
    ) -> Option<Setting<T>> {
        let offset = value.span().start;
        match checked {
            Ok(good) => Some(Setting { value: good, origin: self.at(offset) }),
            Err(expected) => {
                self.wrong(offset, name, &described(value.get_ref()), &expected);
                None
            }
        }
    }
}

fn flatten<'i>(
    prefix: &str,
    table: &DeTable<'i>,
    out: &mut Vec<(String, usize, Spanned<DeValue<'i>>)>,
) {
    for (key, value) in table {
        let full = if prefix.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{prefix}.{}", key.get_ref())
        };
        match value.get_ref() {
            DeValue::Table(inner) => flatten(&full, inner, out),
            _ => out.push((full, value.span().start, value.clone())),
        }
    }
}

/// A value as it is told to the operator.
fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "an array".into(),
        DeValue::Table(_) => "a table".into(),
    }
}
