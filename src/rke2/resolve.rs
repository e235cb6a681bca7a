// SPDX-License-Identifier: Apache-2.0
//! RKE2's precedence: command line, then the last drop-in that sets a key, then the file, then the
//! environment, then the default.
//!
//! RKE2 does it by rewriting its own command line: every key becomes `--key=value`, once for
//! each item of a list, and these words go between the subcommand and the unit's own arguments.
//! The last one wins, as on any command line. The same is done here, each word with its origin.

use std::collections::HashMap;
use std::path::PathBuf;

use super::arguments::{self, command_line};
use super::yaml::{self, Value, YamlError};
use super::{
    Config, ConfigPath, FileContent, Inputs, MAX_FILE_SIZE, Problem, ProblemKind, Setting,
    SourceFile, flags, location, meant, scalar, shown,
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
    let words = words(inputs, &mut config.problems);
    Words { words: &words, inputs }.settle(&mut config);
    config.has_no_file = inputs.path.file().is_some()
        && inputs.base.content == FileContent::Absent
        && inputs.drop_ins.is_empty();
    // A file that could not be read may well be the one that sets it, and where RKE2 leaves all of
    // them aside there is more to say than this.
    let aside = |problem: &Problem| problem.kind == ProblemKind::Ignored;
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
    words.into_iter().map(|word| (word.flag.clone(), setting(&word, &word.value))).collect()
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
    let origin = command_line(inputs.arguments_origin.as_ref());
    let (own, refused) = arguments::parse(&inputs.arguments);
    words.extend(own.into_iter().map(|argument| Word {
        flag: flags::canonical(&argument.name).to_owned(),
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
            kind: ProblemKind::InvalidValue,
            origin,
            key: None,
            words: refused,
            expected: "a command line that RKE2 takes".into(),
        });
    }
    words
}

/// One word of the command line that RKE2 makes for itself.
struct Word {
    /// The flag's long name.
    flag: String,
    /// The flag's name as it was used, without dashes.
    name: String,
    /// The key or flag as the operator wrote it.
    written: String,
    value: String,
    origin: Origin,
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
        let (mut unknown, mut misspelt) = (0, 0);
        for (key, held) in self.keys {
            let pieces = match held {
                Held::Null(origin) => vec![Piece { text: String::new(), origin }],
                Held::Text(piece) => vec![piece],
                Held::List(pieces) => pieces,
            };
            if !flags::is_known(inputs.role, &key) {
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
            words.extend(pieces.into_iter().map(|piece| Word {
                flag: flags::canonical(&key).to_owned(),
                name: key.clone(),
                written: key.clone(),
                value: piece.text.trim().to_owned(),
                origin: piece.origin,
            }));
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

/// The whole command line, and what the environment adds where it says nothing.
struct Words<'a> {
    words: &'a [Word],
    inputs: &'a Inputs,
}

impl Words<'_> {
    fn settle(&self, config: &mut Config) {
        self.check_forms(&mut config.problems);
        config.profile = self.text("profile");
        if let Some(directory) = self.text("data-dir") {
            let Setting { value, key, origin } = directory;
            config.data_dir = Setting { value: PathBuf::from(value), key, origin };
        }
        config.datastore_endpoint = self.text("datastore-endpoint");
        config.server = self.text("server");
        config.protect_kernel_defaults =
            self.boolean("protect-kernel-defaults", &mut config.problems);
        if let Some(setting) = self.boolean("disable-etcd", &mut config.problems) {
            config.disable_etcd = setting;
        }
        if let Some(setting) = self.boolean("selinux", &mut config.problems) {
            config.selinux = setting;
        }
        let given = self.all("kubelet-arg").map(|word| setting(word, &word.value)).collect();
        config.give_kubelet(given);
        config.etcd_args = self.all("etcd-arg").map(|word| setting(word, &word.value)).collect();
        let mounts = self.all("etcd-extra-mount").map(|word| setting(word, &word.value));
        config.etcd_extra_mounts = mounts.collect();
        if config.etcd_extra_mounts.is_empty() {
            config.etcd_extra_mounts.extend(self.variable("etcd-extra-mount"));
        }
    }

    /// Whether the subcommand has the flag at all: the environment cannot give an agent a
    /// server's flag.
    fn all(&self, flag: &str) -> impl DoubleEndedIterator<Item = &Word> {
        self.words.iter().filter(move |word| word.flag == flag)
    }

    fn variable(&self, flag: &str) -> Option<Setting<String>> {
        if !flags::is_known(self.inputs.role, flag) {
            return None;
        }
        let name = flags::variable(flag)?;
        let variable =
            self.inputs.environment.iter().rev().find(|variable| variable.name == name)?;
        Some(Setting {
            value: variable.value.clone(),
            key: name.to_owned(),
            origin: Some(variable.origin.clone()),
        })
    }

    fn text(&self, flag: &str) -> Option<Setting<String>> {
        match self.all(flag).next_back() {
            Some(word) => Some(setting(word, &word.value)),
            None => self.variable(flag),
        }
    }

    /// Every word for a boolean flag must be one, not only the last; RKE2 names the first that is none.
    fn boolean(&self, flag: &str, problems: &mut Vec<Problem>) -> Option<Setting<bool>> {
        let mut last = None;
        let (mut seen, mut told) = (false, false);
        for word in self.all(flag) {
            seen = true;
            match scalar::parse_bool(&word.value) {
                Some(value) => last = Some(setting(word, &value)),
                None if std::mem::replace(&mut told, true) => {}
                None => problems.push(invalid_bool(
                    &word.written,
                    &word.origin,
                    format!(
                        "invalid boolean value {:?} for -{}: parse error",
                        shown::boolean(&word.value),
                        word.name
                    ),
                )),
            }
        }
        if seen {
            return last;
        }
        let variable = self.variable(flag)?;
        let origin = variable.origin.clone()?;
        match scalar::parse_bool(&variable.value) {
            Some(value) => Some(Setting { value, key: variable.key, origin: Some(origin) }),
            // A variable that is there and empty sets the flag to false.
            None if variable.value.is_empty() => {
                Some(Setting { value: false, key: variable.key, origin: Some(origin) })
            }
            None => {
                let (value, name) = (shown::boolean(&variable.value), &variable.key);
                let words = format!(
                    "could not parse {value:?} as bool value from environment variable \
                     \"{name}\" for flag {flag}: strconv.ParseBool: parsing {value:?}: invalid \
                     syntax"
                );
                problems.push(invalid_bool(name, &origin, words));
                None
            }
        }
    }

    /// RKE2 refuses `d` beside `data-dir`.
    fn check_forms(&self, problems: &mut Vec<Problem>) {
        for flag in flags::RESOLVED {
            let short = self.all(flag).find(|word| word.name != flag);
            let long = self.all(flag).find(|word| word.name == flag);
            if let (Some(short), Some(_)) = (short, long) {
                problems.push(Problem {
                    kind: ProblemKind::InvalidValue,
                    origin: short.origin.clone(),
                    key: Some(short.written.clone()),
                    words: format!("Cannot use two forms of the same flag: {} {flag}", short.name),
                    expected: format!("`{flag}` alone"),
                });
            }
        }
    }
}

fn setting<T: ToOwned + ?Sized>(word: &Word, value: &T) -> Setting<T::Owned> {
    Setting {
        value: value.to_owned(),
        key: word.written.clone(),
        origin: Some(word.origin.clone()),
    }
}

fn invalid_bool(key: &str, origin: &Origin, words: String) -> Problem {
    Problem {
        kind: ProblemKind::InvalidValue,
        origin: origin.clone(),
        key: Some(key.to_owned()),
        words,
        expected: "true or false".into(),
    }
}
