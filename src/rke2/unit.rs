// SPDX-License-Identifier: Apache-2.0
//! How a unit starts RKE2, read from its files: for where systemd cannot be asked.
//!
//! Only `ExecStart=`, `Environment=` and `EnvironmentFile=` of `[Service]` are looked at. Lists
//! are emptied by an empty assignment, as in systemd. Of the specifiers those are known that
//! the name of the unit answers.

use super::Variable;
use super::env_file::is_name;
use crate::model::Origin;

/// The largest unit file that is read, in bytes.
pub const MAX_SIZE: usize = 1 << 20;

/// All arguments and variables together where nobody raised the limit of the stack (8 MiB): a quarter of that. More
/// is not kept.
pub const MAX_TOGETHER: usize = 2 << 20;

/// The most words of a line, variables and files that are kept.
pub(super) const MAX_ITEMS: usize = 4096;

/// A unit file or one of its drop-ins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitText {
    pub path: String,
    pub content: Vec<u8>,
}

/// A file named by `EnvironmentFile=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentFile {
    /// May hold wildcards.
    pub path: String,
    /// With a leading `-`: it may be absent.
    pub optional: bool,
    pub origin: Origin,
}

/// How a unit starts its service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The binary of the last `ExecStart=`; a service of RKE2's type has one.
    pub binary: Option<String>,
    /// The words after it.
    pub arguments: Vec<String>,
    pub exec_start: Option<Origin>,
    /// From `Environment=`, in order.
    pub environment: Vec<Variable>,
    /// In order; systemd reads them after `environment`, and they win over it.
    pub environment_files: Vec<EnvironmentFile>,
    /// Names from `PassEnvironment=`: variables of systemd's own process.
    pub passed: Vec<(String, Origin)>,
    /// From `UnsetEnvironment=`, applied last: names, or names with the value they must have.
    pub unset: Vec<String>,
    /// The first assignment that was left out, since all of them together are longer than what any
    /// program is started with.
    pub left_out: Option<Origin>,
    /// Bytes of what is kept.
    size: usize,
}

/// Reads the service out of a unit file and its drop-ins, given in the order in which systemd
/// applies them. `unit` is the unit's name with its suffix (`rke2-server.service`).
pub fn parse(unit: &str, texts: &[UnitText]) -> Service {
    let mut service = Service::default();
    each_assignment(texts, "Service]", &mut |key, value, origin| {
        service.assign(unit, key, value, origin);
    });
    service
}

/// What some keys of a section are set to, in the order in which systemd reads it. The section is given
/// with its closing bracket only (`Unit]`).
pub(crate) fn values(
    texts: &[UnitText],
    section: &str,
    keys: &[&str],
) -> Vec<(String, String, Origin)> {
    let mut out = Vec::new();
    each_assignment(texts, section, &mut |key, value, origin| {
        if keys.contains(&key) && out.len() < MAX_ITEMS {
            out.push((key.to_owned(), value.to_owned(), origin.clone()));
        }
    });
    out
}

fn each_assignment(texts: &[UnitText], section: &str, then: &mut dyn FnMut(&str, &str, &Origin)) {
    for text in texts.iter().filter(|text| text.content.len() <= MAX_SIZE) {
        let content = String::from_utf8_lossy(&text.content);
        let mut inside = false;
        each_logical_line(&content, &mut |line, logical| {
            if let Some(name) = logical.strip_prefix('[') {
                inside = name.trim_end() == section;
            } else if inside && let Some((key, value)) = logical.split_once('=') {
                then(key.trim_end(), value.trim(), &Origin::at(&text.path, line));
            }
        });
    }
}

/// What systemd's own configuration files say of variables, given in the order in which it reads
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manager {
    /// `DefaultEnvironment=`: every service gets them.
    pub defaults: Vec<Variable>,
    /// `ManagerEnvironment=`: systemd's own process has them, for `PassEnvironment=`.
    pub own: Vec<Variable>,
}

/// Reads them.
pub fn manager(texts: &[UnitText]) -> Manager {
    let variables = |wanted: &str| {
        let mut manager = Service::default();
        each_assignment(texts, "Manager]", &mut |key, value, origin| {
            if key == wanted {
                manager.assign("", "Environment", value, origin);
            }
        });
        manager.environment
    };
    Manager { defaults: variables("DefaultEnvironment"), own: variables("ManagerEnvironment") }
}

/// The variables of an environment as a process has it, `NAME=value` each.
pub fn assignments<'a>(texts: impl IntoIterator<Item = &'a str>, origin: &Origin) -> Vec<Variable> {
    let variable = |text: &str| {
        let (name, value) = text.split_once('=')?;
        let origin = origin.clone();
        is_name(name).then(|| Variable { name: name.into(), value: value.into(), origin })
    };
    texts.into_iter().filter_map(variable).take(MAX_ITEMS).collect()
}

/// Takes out what `UnsetEnvironment=` names.
pub fn unset(environment: &mut Vec<Variable>, unset: &[String]) {
    environment.retain(|variable| {
        !unset.iter().any(|word| match word.split_once('=') {
            Some((name, value)) => variable.name == name && variable.value == value,
            None => variable.name == *word,
        })
    });
}

impl Service {
    /// Whether there is room for what an assignment says. What was emptied or replaced counts as
    /// well: nobody writes that much.
    fn takes(&mut self, words: &[String], origin: &Origin) -> bool {
        let size = words.iter().map(|word| word.len() + 1).sum::<usize>();
        self.size = self.size.saturating_add(size);
        let fits = self.size <= MAX_TOGETHER;
        if !fits {
            self.left_out.get_or_insert_with(|| origin.clone());
        }
        fits
    }

    fn assign(&mut self, unit: &str, key: &str, value: &str, origin: &Origin) {
        const KEYS: [&str; 5] =
            ["ExecStart", "Environment", "PassEnvironment", "UnsetEnvironment", "EnvironmentFile"];
        if !KEYS.contains(&key) {
            return;
        }
        let words = match key {
            // A path with blanks is one.
            "EnvironmentFile" => vec![expand(unit, value)],
            _ => expanded(unit, value),
        };
        if !self.takes(&words, origin) {
            return;
        }
        match key {
            "ExecStart" => {
                let mut words = words.into_iter();
                // `-`, `@`, `:`, `+` and `!` change how it is run, not what is run.
                let binary = words
                    .next()
                    .map(|word| word.trim_start_matches(['-', '@', ':', '+', '!']).to_owned());
                self.binary = binary.filter(|binary| !binary.is_empty());
                self.arguments = words.take(MAX_ITEMS).collect();
                self.exec_start = self.binary.is_some().then(|| origin.clone());
            }
            "Environment" if value.is_empty() => self.environment.clear(),
            "Environment" => {
                for word in words {
                    let Some((name, value)) = word.split_once('=') else { continue };
                    if is_name(name) && self.environment.len() < MAX_ITEMS {
                        self.environment.push(Variable {
                            name: name.to_owned(),
                            value: value.to_owned(),
                            origin: origin.clone(),
                        });
                    }
                }
            }
            "PassEnvironment" if value.is_empty() => self.passed.clear(),
            "PassEnvironment" => {
                let room = MAX_ITEMS.saturating_sub(self.passed.len());
                for name in words.into_iter().filter(|name| is_name(name)).take(room) {
                    // Named twice it is passed once.
                    if !self.passed.iter().any(|(known, _)| *known == name) {
                        self.passed.push((name, origin.clone()));
                    }
                }
            }
            "UnsetEnvironment" if value.is_empty() => self.unset.clear(),
            "UnsetEnvironment" => {
                let room = MAX_ITEMS.saturating_sub(self.unset.len());
                self.unset.extend(words.into_iter().take(room));
            }
            "EnvironmentFile" if value.is_empty() => self.environment_files.clear(),
            "EnvironmentFile" if self.environment_files.len() < MAX_ITEMS => {
                let value = words.concat();
                let (optional, path) = match value.strip_prefix('-') {
                    Some(path) => (true, path),
                    None => (false, value.as_str()),
                };
                let path = path.trim_start().to_owned();
                // systemd refuses the line otherwise.
                if path.starts_with('/') {
                    let origin = origin.clone();
                    self.environment_files.push(EnvironmentFile { path, optional, origin });
                }
            }
            _ => {}
        }
    }
}

/// Lines with their continuations joined, without comments and empty ones; each with the number
/// of its first line.
fn each_logical_line(content: &str, then: &mut dyn FnMut(u32, &str)) {
    let mut pending: Option<(u32, String)> = None;
    for (number, line) in (1u32..).zip(content.lines()) {
        let trimmed = line.trim_start();
        // A comment between the parts of a continued line is left out and does not end it.
        if trimmed.starts_with(['#', ';']) || (pending.is_none() && trimmed.is_empty()) {
            continue;
        }
        let (start, mut text) = pending.take().unwrap_or((number, String::new()));
        match line.strip_suffix('\\') {
            Some(part) => {
                text.push_str(part);
                text.push(' ');
                pending = Some((start, text));
            }
            None => {
                text.push_str(line);
                then(start, text.trim());
            }
        }
    }
    if let Some((start, text)) = pending {
        then(start, text.trim());
    }
}

/// A value as words, by systemd's quoting: single and double quotes, and C escapes in both and
/// outside.
pub(super) fn words(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (_, '\\') => unescape(&mut chars, word.get_or_insert_default()),
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (None, c) if c.is_ascii_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
        if words.len() >= MAX_ITEMS {
            return words;
        }
    }
    words.extend(word);
    words
}

/// What stands behind a backslash, as in C; one that means nothing stays as it is.
fn unescape(chars: &mut std::str::Chars<'_>, out: &mut String) {
    let Some(c) = chars.next() else { return out.push('\\') };
    let (digits, radix) = match c {
        'x' => (2, 16),
        'u' => (4, 16),
        'U' => (8, 16),
        '0'..='7' => (3, 8),
        _ => (0, 0),
    };
    if digits > 0 {
        // An octal number begins with the character itself.
        let rest = chars.as_str();
        let behind = if radix == 8 { digits - 1 } else { digits };
        let number = rest.get(..behind).and_then(|text| {
            let text = if radix == 8 { format!("{c}{text}") } else { text.to_owned() };
            let plain = text.chars().all(|digit| digit.is_digit(radix));
            plain.then(|| u32::from_str_radix(&text, radix).ok()).flatten()
        });
        if let Some(found) = number.and_then(char::from_u32).filter(|found| *found != '\0') {
            *chars = rest[behind..].chars();
            return out.push(found);
        }
    }
    match c {
        'a' => out.push('\u{7}'),
        'b' => out.push('\u{8}'),
        'f' => out.push('\u{c}'),
        'n' => out.push('\n'),
        'r' => out.push('\r'),
        't' => out.push('\t'),
        'v' => out.push('\u{b}'),
        's' => out.push(' '),
        '\\' | '"' | '\'' => out.push(c),
        other => out.extend(['\\', other]),
    }
}

/// The words of a value with their specifiers, as many as a program could be started with.
fn expanded(unit: &str, value: &str) -> Vec<String> {
    let mut size = 0;
    let words = words(value).into_iter().map(|word| expand(unit, &word));
    // One too many, so that it is known.
    words
        .take_while(|word| {
            let fits = size <= MAX_TOGETHER;
            size += word.len() + 1;
            fits
        })
        .collect()
}

/// The specifiers that a unit's name answers; others stay as they are.
fn expand(unit: &str, text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let prefix = stem.split_once('@').map_or(stem, |(prefix, _)| prefix);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '%') {
            (_, false) => out.push(c),
            _ => match chars.next() {
                Some('%') => out.push('%'),
                Some('n') => out.push_str(unit),
                Some('N') => out.push_str(stem),
                Some('p') => out.push_str(prefix),
                Some(other) => out.extend(['%', other]),
                None => out.push('%'),
            },
        }
    }
    out
}
/// How one of RKE2's two units is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitFacts {
    pub installed: bool,
    pub enabled: bool,
    pub active: bool,
}

impl UnitFacts {
    /// Enabled or active: what decides the node's role.
    pub fn counts(self) -> bool {
        self.enabled || self.active
    }
}
