// SPDX-License-Identifier: Apache-2.0
//! RKE2's precedence: command line, then the last drop-in that sets a key, then the file, then the
//! environment, then the default.
//!
//! RKE2 does it by rewriting its own command line: every key becomes `--key=value`, once for
//! each item of a list, and these words go between the subcommand and the unit's own arguments.
//! The last one wins, as on any command line. The same is done here, each word with its origin.

use std::collections::HashMap;

use super::arguments::command_line as command_line_origin;
use super::command_line::{self, WordKind};
use super::words::{Word, Words, setting};
use super::yaml::{self, Value, YamlError};
use super::{
    Config, ConfigPath, FileContent, Inputs, MAX_FILE_SIZE, Problem, ProblemKind, Setting,
    SourceFile, checks, flags, location, meant, shown,
};
use crate::model::Origin;

/// How many drop-ins are read.
pub const MAX_DROP_INS: usize = 256;

/// The largest size of all files together that is read, in bytes.
pub const MAX_TOTAL_SIZE: usize = 4 << 20;

/// What all values together may take in memory, with their places. By anchors a value can stand in
/// a file a thousand times, and `key+` gathers the lists of all files.
const MAX_VALUES: usize = 4 << 20;

/// Keys that RKE2 skips and that are told one by one; the rest is counted.
const UNKNOWN_TOLD: usize = 32;

/// Whether RKE2 reads a file of this name in the drop-in directory; hidden files too, backups not.
pub fn is_drop_in(file_name: &str) -> bool {
    let name = file_name.to_ascii_lowercase();
    name.ends_with(".yaml") || name.ends_with(".yml")
}

/// Resolves the configuration as RKE2 does. What RKE2 would refuse is in
/// [`Config::problems`], and everything else is resolved nevertheless.
pub fn resolve(inputs: &Inputs) -> Config {
    let mut config = Config::unset(inputs.role, inputs.path.clone());
    config.release = inputs.release;
    let words = words(inputs, &mut config.problems);
    let words = Words::new(&words, inputs);
    words.check(&mut config.problems);
    words.settle(&mut config);
    checks::check(&words, inputs, &mut config.problems);
    config.has_no_file = inputs.path.file().is_some()
        && inputs.base.content == FileContent::Absent
        && inputs.drop_ins.is_empty();
    // A file that could not be read may well be the one that sets it, and where RKE2 leaves all of
    // them aside, or refuses the key for its dashes, there is more to say than this.
    let aside = |problem: &Problem| {
        let dashes = problem.key.as_ref().is_some_and(|key| key.starts_with('-'));
        problem.kind == ProblemKind::Ignored || problem.kind == ProblemKind::InvalidValue && dashes
    };
    let whole = !config.is_incomplete() && !config.problems.iter().any(aside);
    if config.profile.is_none() && whole && inputs.path.file().is_some() {
        config.meant = meant::meant(inputs);
    }
    config
}

/// Every flag that files and command line give RKE2, by its long name, in RKE2's order. Of a flag
/// that takes one value the last counts.
pub fn given(inputs: &Inputs) -> Vec<(String, Setting<String>)> {
    let words = words(inputs, &mut Vec::new());
    words.into_iter().map(|word| (word.flag.name.to_owned(), setting(&word, &word.value))).collect()
}

fn words(inputs: &Inputs, problems: &mut Vec<Problem>) -> Vec<Word> {
    let mut words = match &inputs.path {
        ConfigPath::File { .. } => Merged::read(inputs, problems).flatten(inputs, problems),
        ConfigPath::Remote { url, origin } => {
            problems.push(Problem {
                kind: ProblemKind::Remote,
                origin: origin.clone(),
                key: Some("config".into()),
                words: format!("the configuration at {} is not fetched", shown::address(url)),
                expected: "a configuration file on this host".into(),
            });
            Vec::new()
        }
        // RKE2's own complaint comes from its command line, below.
        ConfigPath::Missing { .. } => Vec::new(),
    };
    let origin = command_line_origin(inputs.arguments_origin.as_ref());
    let (own, refused) = command_line::parse(inputs.role, inputs.release, &inputs.arguments);
    words.extend(own.into_iter().map(|argument| Word {
        flag: argument.flag,
        written: format!("--{}", argument.name),
        name: argument.name,
        value: argument.value,
        origin: origin.clone(),
    }));
    if let (ConfigPath::Missing { origin }, None) = (&inputs.path, &refused) {
        problems.push(Problem {
            kind: ProblemKind::Ignored,
            origin: origin.clone(),
            key: Some("config".into()),
            words: "--config is empty".into(),
            expected: "the path of a file, or no --config".into(),
        });
    }
    if let Some(refused) = refused {
        problems.push(Problem {
            kind: ProblemKind::refused(inputs.release, refused.by_list),
            origin,
            key: None,
            words: refused.words,
            expected: refused.expected.into(),
        });
    }
    words
}

/// A value with its place.
struct Piece {
    text: String,
    origin: Origin,
}

/// What a key holds while file after file is merged.
enum Held {
    Null(Origin),
    Text(Piece),
    List(Vec<Piece>),
}

impl Held {
    fn of(value: Value, file: &str, line: u32) -> Self {
        match value {
            Value::Null => Self::Null(Origin::at(file, line)),
            Value::Text(text) => Self::Text(Piece { text, origin: Origin::at(file, line) }),
            Value::List(items) => Self::List(
                items
                    .into_iter()
                    .map(|item| Piece { text: item.text, origin: Origin::at(file, item.line) })
                    .collect(),
            ),
        }
    }

    /// For `key+`: a scalar becomes a list of one, null a list of none.
    fn into_list(self) -> Vec<Piece> {
        match self {
            Self::Null(_) => Vec::new(),
            Self::Text(piece) => vec![piece],
            Self::List(pieces) => pieces,
        }
    }
}

/// All files merged into one, keys in the order in which they first appeared.
#[derive(Default)]
struct Merged {
    keys: Vec<(String, Held)>,
    places: HashMap<String, usize>,
    /// What the values take, in bytes.
    size: usize,
}

impl Merged {
    fn read(inputs: &Inputs, problems: &mut Vec<Problem>) -> Self {
        let mut merged = Self::default();
        if let Some((directory, reason)) = &inputs.drop_in_dir_error {
            let mut problem = unreadable(directory, reason);
            problem.expected = "a directory that root can read".into();
            problems.push(problem);
        }
        merged.read_file(&inputs.base, problems);
        for file in selected(inputs, problems) {
            if file.content == FileContent::Absent {
                // A dangling link, most likely. RKE2 takes "no such file" from any of its files
                // for "there is no configuration", and starts without one.
                problems.push(Problem {
                    kind: ProblemKind::Ignored,
                    origin: Origin::file(&file.path),
                    key: None,
                    words: format!("open {}: no such file or directory", file.path),
                    expected: "a file, or no entry of that name".into(),
                });
                return Self::default();
            }
            merged.read_file(file, problems);
        }
        merged
    }

    fn read_file(&mut self, file: &SourceFile, problems: &mut Vec<Problem>) {
        if self.size > MAX_VALUES {
            // Said already, of the file that was too much.
            return;
        }
        if let (Some(words), false) =
            (location::refused(&file.path), file.content == FileContent::Absent)
        {
            return problems.push(Problem {
                kind: ProblemKind::Misnamed,
                origin: Origin::file(&file.path),
                key: None,
                words,
                expected: "a name without `%` and control characters".into(),
            });
        }
        let bytes = match &file.content {
            FileContent::Absent => return,
            FileContent::Unreadable(reason) => {
                problems.push(unreadable(&file.path, reason));
                return;
            }
            FileContent::TooLarge => {
                let words = format!(
                    "larger than {MAX_FILE_SIZE} bytes, or all files together than {MAX_TOTAL_SIZE}"
                );
                problems.push(beyond_limits(Origin::file(&file.path), words));
                return;
            }
            FileContent::Bytes(bytes) => bytes,
        };
        let origin = |line: Option<u32>| Origin { file: file.path.clone(), line };
        match yaml::parse(bytes) {
            Ok(entries) => {
                for entry in entries {
                    self.size = self.size.saturating_add(entry.size(&file.path));
                    if self.size > MAX_VALUES {
                        let words = format!("more than {MAX_VALUES} bytes of values in all files");
                        return problems.push(beyond_limits(origin(Some(entry.line)), words));
                    }
                    self.set(&entry.key, Held::of(entry.value, &file.path, entry.line));
                }
            }
            Err(YamlError::Invalid { line, words }) => problems.push(Problem {
                kind: ProblemKind::InvalidYaml,
                origin: origin(line),
                key: None,
                words,
                expected: "a YAML mapping of RKE2's flags, one `key: value` a line".into(),
            }),
            Err(YamlError::BeyondLimits { line, words }) => {
                problems.push(beyond_limits(origin(line), words));
            }
        }
    }

    fn set(&mut self, key: &str, held: Held) {
        let (key, appends) = match key.strip_suffix('+') {
            Some(key) => (key, true),
            None => (key, false),
        };
        let Some(&place) = self.places.get(key) else {
            self.places.insert(key.to_owned(), self.keys.len());
            self.keys.push((key.to_owned(), held));
            return;
        };
        let old = &mut self.keys[place].1;
        if appends {
            let mut pieces = std::mem::replace(old, Held::List(Vec::new())).into_list();
            pieces.extend(held.into_list());
            *old = Held::List(pieces);
        } else {
            *old = held;
        }
    }

    /// The words of the command line, without the keys that the subcommand does not know.
    fn flatten(self, inputs: &Inputs, problems: &mut Vec<Problem>) -> Vec<Word> {
        let mut words = Vec::new();
        let (mut unknown, mut misspelt, mut bad) = (0, 0, false);
        for (key, held) in self.keys {
            let pieces = match held {
                Held::Null(origin) => vec![Piece { text: String::new(), origin }],
                Held::Text(piece) => vec![piece],
                Held::List(pieces) => pieces,
            };
            let argument = |value: &str| {
                let dashes = if key.len() == 1 { "-" } else { "--" };
                format!("{dashes}{key}={value}")
            };
            // RKE2 looks for the name behind all dashes and before the first equals sign.
            let bare = argument("");
            let name = bare.trim_start_matches('-').split('=').next().unwrap_or_default();
            if flags::in_file(inputs.role, inputs.release, name).is_none() {
                if let Some(first) = pieces.first() {
                    let problem = unknown_key(inputs, &key, first.origin.clone());
                    // One that matters is told however many others come before it.
                    let count = match problem.kind {
                        ProblemKind::Misspelt => &mut misspelt,
                        _ => &mut unknown,
                    };
                    *count += 1;
                    if *count <= UNKNOWN_TOLD {
                        problems.push(problem);
                    }
                }
                continue;
            }
            for piece in pieces {
                let argument = argument(piece.text.trim());
                match command_line::take(&argument) {
                    WordKind::Flag { name, value } => {
                        let flag = flags::in_file(inputs.role, inputs.release, name);
                        words.extend(flag.map(|flag| Word {
                            flag,
                            name: name.to_owned(),
                            written: key.clone(),
                            value: value.unwrap_or_default().to_owned(),
                            origin: piece.origin,
                        }));
                    }
                    // RKE2 stops at the first.
                    WordKind::Bad { words } if !std::mem::replace(&mut bad, true) => {
                        let shown = shown::name(&key).to_owned();
                        problems.push(Problem {
                            kind: ProblemKind::InvalidValue,
                            origin: piece.origin,
                            key: Some(shown),
                            words,
                            expected: format!("`{name}`, without dashes"),
                        });
                    }
                    WordKind::Bad { .. } | WordKind::End => {}
                }
            }
        }
        for (kind, count) in [(ProblemKind::UnknownKey, unknown), (ProblemKind::Misspelt, misspelt)]
        {
            let last = problems.iter_mut().rfind(|problem| problem.kind == kind);
            if let (Some(last), more @ 1..) = (last, count.saturating_sub(UNKNOWN_TOLD)) {
                last.words += &format!(" (and {more} more such keys)");
            }
        }
        words
    }
}

/// The drop-ins that RKE2 reads, in its order.
fn selected<'a>(inputs: &'a Inputs, problems: &mut Vec<Problem>) -> Vec<&'a SourceFile> {
    let name = |file: &'a SourceFile| file.path.rsplit('/').next().unwrap_or_default();
    let mut files: Vec<&SourceFile> =
        inputs.drop_ins.iter().filter(|file| is_drop_in(name(file))).collect();
    files.sort_by(|a, b| name(a).as_bytes().cmp(name(b).as_bytes()));
    if files.len() > MAX_DROP_INS {
        let directory = inputs.path.drop_in_dir().unwrap_or_default();
        let words = format!("{} files; only the first {MAX_DROP_INS} are read", files.len());
        problems.push(beyond_limits(Origin::file(directory), words));
        files.truncate(MAX_DROP_INS);
    }
    files
}

fn unreadable(path: &str, reason: &str) -> Problem {
    Problem {
        kind: ProblemKind::Unreadable,
        origin: Origin::file(path),
        key: None,
        words: format!("{path}: {reason}"),
        expected: "readable by root".into(),
    }
}

fn beyond_limits(origin: Origin, words: String) -> Problem {
    let expected = format!(
        "at most {MAX_DROP_INS} drop-ins of at most {MAX_FILE_SIZE} bytes each, not deeply nested"
    );
    Problem::beyond_limits(origin, words, expected)
}

fn unknown_key(inputs: &Inputs, key: &str, origin: Origin) -> Problem {
    let shown = shown::name(key).to_owned();
    let (kind, expected) = match flags::meant(inputs.role, key) {
        Some(meant) => (ProblemKind::Misspelt, format!("`{meant}`")),
        None => (ProblemKind::UnknownKey, format!("a flag of `rke2 {}`", subcommand(inputs))),
    };
    let dashes = if key.len() == 1 { "-" } else { "--" };
    Problem {
        kind,
        origin,
        words: format!("Unknown flag {dashes}{shown} found in config.yaml, skipping"),
        key: Some(shown),
        expected,
    }
}

fn subcommand(inputs: &Inputs) -> &'static str {
    match inputs.role {
        crate::model::Role::Agent => "agent",
        _ => "server",
    }
}
