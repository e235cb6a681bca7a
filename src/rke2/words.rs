// SPDX-License-Identifier: Apache-2.0
//! The command line that RKE2 makes of its files and its arguments, with what the environment adds:
//! what each flag comes to, and what RKE2 refuses while it reads them.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use super::flags::{self, Flag, Kind};
use super::{Config, Inputs, Problem, ProblemKind, Setting, Variable, scalar, shown, values};
use crate::model::Origin;

/// One word of the command line that RKE2 makes for itself.
pub(super) struct Word {
    pub(super) flag: &'static Flag,
    /// The flag's name as it was used, without dashes.
    pub(super) name: String,
    /// The key or flag as the operator wrote it.
    pub(super) written: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// The whole command line, and what the environment adds where it says nothing.
pub(super) struct Words<'a> {
    words: &'a [Word],
    inputs: &'a Inputs,
    environment: HashMap<&'a str, &'a Variable>,
}

impl<'a> Words<'a> {
    pub(super) fn new(words: &'a [Word], inputs: &'a Inputs) -> Self {
        // Where two have a name, the later one counts.
        let environment = inputs.environment.iter().map(|v| (v.name.as_str(), v)).collect();
        Self { words, inputs, environment }
    }

    pub(super) fn settle(&self, config: &mut Config) {
        config.profile = self.text("profile");
        if let Some(directory) = self.text("data-dir") {
            let Setting { value, key, origin } = directory;
            config.data_dir = Setting { value: PathBuf::from(value), key, origin };
        }
        config.datastore_endpoint = self.text("datastore-endpoint");
        config.server = self.text("server");
        let is_given =
            |flag: &str| self.text(flag).is_some_and(|setting| !setting.value.is_empty());
        config.has_token = is_given("token") || is_given("token-file");
        config.protect_kernel_defaults = self.boolean("protect-kernel-defaults");
        if let Some(setting) = self.boolean("disable-etcd") {
            config.disable_etcd = setting;
        }
        if let Some(setting) = self.boolean("selinux") {
            config.selinux = setting;
        }
        config.give_kubelet(self.list("kubelet-arg"));
        config.etcd_args = self.list("etcd-arg");
        config.etcd_extra_mounts = self.list("etcd-extra-mount");
    }

    /// What RKE2 refuses before it looks at any value by itself: variables first, then each word,
    /// then two names of one flag.
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        for flag in flags::of(self.inputs.role, self.inputs.release) {
            problems.extend(self.variable_of(flag).and_then(|set| self.check_variable(flag, set)));
        }
        let mut told = HashSet::new();
        for word in self.words {
            let Err(refusal) = values::check(word.flag.kind, &word.value) else { continue };
            // RKE2 stops at the first; a second one of the same flag is mended with it.
            if !told.insert(word.flag.name) {
                continue;
            }
            let (value, name) = (shown::boolean(&word.value), &word.name);
            let words = match word.flag.kind {
                Kind::Bool => format!("invalid boolean value {value:?} for -{name}: parse error"),
                _ => format!("invalid value {value:?} for flag -{name}: {}", refusal.of_flag()),
            };
            problems.push(Problem {
                kind: ProblemKind::InvalidValue,
                origin: word.origin.clone(),
                key: Some(shown::key(&word.written)),
                words,
                expected: values::expected(word.flag.kind).into(),
            });
        }
        self.check_forms(problems);
    }

    fn check_variable(&self, flag: &Flag, variable: &Variable) -> Option<Problem> {
        // Of one that is there and empty a boolean is false; so is a number, since the second
        // version of the library, not set.
        let empty = variable.value.is_empty();
        if empty && (flag.kind == Kind::Bool || self.inputs.release.has_second_cli()) {
            return None;
        }
        let refusal = values::check(flag.kind, &variable.value).err()?;
        let (value, name) = (shown::boolean(&variable.value), &variable.name);
        let (kind, function) = match flag.kind {
            Kind::Bool => ("bool", "strconv.ParseBool"),
            Kind::Int => ("int", "strconv.ParseInt"),
            _ => ("duration", "time"),
        };
        let cause = match flag.kind {
            Kind::Duration => format!("{function}: invalid duration {value:?}"),
            _ => format!("{function}: parsing {value:?}: {}", refusal.of_number()),
        };
        let flag_name = flag.name;
        let words = if self.inputs.release.has_second_cli() {
            format!(
                "could not parse {value:?} as {kind} value from environment variable {name:?} for \
                 flag {flag_name}: {cause}"
            )
        } else {
            format!("could not parse {value} as {kind} value for flag {flag_name}: {cause}")
        };
        Some(Problem {
            kind: ProblemKind::InvalidValue,
            origin: variable.origin.clone(),
            key: Some(name.clone()),
            words,
            expected: values::expected(flag.kind).into(),
        })
    }

    fn all(&self, flag: &str) -> impl DoubleEndedIterator<Item = &Word> {
        self.words.iter().filter(move |word| word.flag.name == flag)
    }

    /// The variable that stands in for a flag: the first of them that is there. The environment
    /// cannot give a subcommand a flag that it does not have.
    fn variable_of(&self, flag: &Flag) -> Option<&'a Variable> {
        flag.variables.iter().find_map(|name| self.environment.get(name).copied())
    }

    fn variable(&self, flag: &str) -> Option<Setting<String>> {
        let flag = flags::in_file(self.inputs.role, self.inputs.release, flag)?;
        let variable = self.variable_of(flag)?;
        Some(Setting {
            value: variable.value.clone(),
            key: variable.name.clone(),
            origin: Some(variable.origin.clone()),
        })
    }

    /// The value of a flag that takes one; of one that takes several, whether it is set at all.
    pub(super) fn text(&self, flag: &str) -> Option<Setting<String>> {
        match self.all(flag).next_back() {
            Some(word) => Some(setting(word, &word.value)),
            None => self.variable(flag),
        }
    }

    /// Every value of a flag that takes several. The first version of the library takes a variable
    /// apart at its commas; RKE2 tells the second one not to. Both leave out the white space around
    /// a value.
    pub(super) fn list(&self, flag: &str) -> Vec<Setting<String>> {
        let given: Vec<_> = self.all(flag).map(|word| setting(word, word.value.trim())).collect();
        let Some(variable) = self.variable(flag).filter(|_| given.is_empty()) else { return given };
        let part = |value: &str| Setting { value: value.trim().to_owned(), ..variable.clone() };
        if self.inputs.release.has_second_cli() {
            vec![part(&variable.value)]
        } else {
            variable.value.split(',').map(part).collect()
        }
    }

    /// The value of a flag whose last word for it, or else its variable, is a boolean.
    pub(super) fn boolean(&self, flag: &str) -> Option<Setting<bool>> {
        let mut words = self.all(flag).peekable();
        if words.peek().is_some() {
            let valid = |word: &Word| Some(setting(word, &scalar::parse_bool(&word.value)?));
            return words.filter_map(valid).next_back();
        }
        let Setting { value, key, origin } = self.variable(flag)?;
        let value = if value.is_empty() { Some(false) } else { scalar::parse_bool(&value) };
        value.map(|value| Setting { value, key, origin })
    }

    /// RKE2 refuses `d` beside `data-dir`.
    fn check_forms(&self, problems: &mut Vec<Problem>) {
        let long = |word: &&Word| word.name == word.flag.name;
        let mut by_long_name: HashSet<&str> =
            self.words.iter().filter(long).map(|word| word.flag.name).collect();
        for word in self.words.iter().filter(|word| word.name == word.flag.short) {
            let (short, long) = (&word.name, word.flag.name);
            if by_long_name.remove(long) {
                problems.push(Problem {
                    kind: ProblemKind::InvalidValue,
                    origin: word.origin.clone(),
                    key: Some(word.written.clone()),
                    words: format!("Cannot use two forms of the same flag: {short} {long}"),
                    expected: format!("`{long}` alone"),
                });
            }
        }
    }
}

pub(super) fn setting<T: ToOwned + ?Sized>(word: &Word, value: &T) -> Setting<T::Owned> {
    Setting {
        value: value.to_owned(),
        key: word.written.clone(),
        origin: Some(word.origin.clone()),
    }
}
