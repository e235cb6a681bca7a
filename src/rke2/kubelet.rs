// SPDX-License-Identifier: Apache-2.0
//! What the kubelet that RKE2 starts makes of `protect-kernel-defaults`: RKE2's `kubelet-arg`, merged
//! into a command line, and files of kind `KubeletConfiguration`.
//!
//! From v1.32 on RKE2 hands the kubelet a directory of its own, `agent/etc/kubelet.conf.d` in the
//! data directory, with its defaults as the first file, and copies what `config=` and
//! `config-dir=` name into it. Before that both were handed on. Either way a later file wins over an
//! earlier one, and the command line over all of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::yaml::{self, Value, YamlError};
use super::{
    FileContent, Problem, ProblemKind, Release, Setting, SourceFile, Variable, scalar, shown,
};
use crate::model::Origin;

/// RKE2's own directory of drop-ins, below its data directory.
pub const DROP_IN_DIR: &str = "agent/etc/kubelet.conf.d";

/// What RKE2 writes there before each start of the kubelet: its defaults.
pub const DEFAULTS: &str = "00-rke2-defaults.conf";

/// As what RKE2 copies the file of `config=` there.
pub const COPIED_FILE: &str = "10-cli-config.conf";

/// As what RKE2 copies the directory of `config-dir=` there.
pub const COPIED_DIR: &str = "20-cli-config-dir";

/// How the name of a drop-in of the kubelet's ends.
pub const SUFFIX: &str = ".conf";

/// The first minor version of RKE2 with a directory of drop-ins.
const FIRST_WITH_DROP_INS: u64 = 32;

/// The first one whose kubelet has the flag `config-dir`.
const FIRST_WITH_DIR: u64 = 28;

/// The first one whose kubelet takes it without asking for the variable.
const FIRST_WITHOUT_VARIABLE: u64 = 30;
const DIR_VARIABLE: &str = "KUBELET_CONFIG_DROPIN_DIR_ALPHA";

/// Files of the kubelet's that are read.
pub const MAX_FILES: usize = 256;

/// The largest of them that is read, in bytes.
pub const MAX_SIZE: usize = 256 << 10;

/// What all of them together may have, in bytes.
pub const MAX_TOTAL: usize = 1 << 20;

const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";
const KIND: &str = "KubeletConfiguration";
const FIELD: &str = "protectKernelDefaults";
const FLAG: &str = "protect-kernel-defaults";

/// What all `kubelet-arg` together say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `protect-kernel-defaults` on the kubelet's command line, which wins over every file.
    pub protect: Option<Setting<bool>>,
    /// `--config` on that command line.
    pub file: Option<Setting<String>>,
    /// `--config-dir` on it, where it is another than RKE2's own directory.
    pub dir: Option<Setting<String>>,
    /// The file that RKE2 copies into its own directory.
    pub copied_file: Option<Setting<String>>,
    /// The directory that it copies there.
    pub copied_dir: Option<Setting<String>>,
    /// What RKE2 or the kubelet refuses.
    pub problems: Vec<Problem>,
}

/// A value of the kubelet's command line and the argument that it comes from. RKE2's own value, which
/// is its directory, is `None`.
type Given<'a> = (Option<&'a str>, &'a Setting<String>);

/// Whether this RKE2 has a directory of drop-ins for the kubelet.
pub fn has_drop_ins(version: Option<&semver::Version>) -> bool {
    version.is_none_or(|version| version.major > 1 || version.minor >= FIRST_WITH_DROP_INS)
}

/// Why the kubelet of an old RKE2 does not start with this `config-dir`. It has the environment of
/// RKE2, which is `None` where it is not known.
pub fn refused_dir(
    dir: &Setting<String>,
    version: &semver::Version,
    environment: Option<&[Variable]>,
) -> Option<Problem> {
    let is_set = |environment: &[Variable]| environment.iter().any(|v| v.name == DIR_VARIABLE);
    match version.minor {
        _ if version.major > 1 => None,
        ..FIRST_WITH_DIR => {
            let words = "failed to parse kubelet flag: unknown flag: --config-dir".to_owned();
            Some(refused(dir, words, "no config-dir, which the kubelet has from v1.28 on"))
        }
        // An empty one is none.
        ..FIRST_WITHOUT_VARIABLE
            if !dir.value.is_empty() && environment.is_some_and(|all| !is_set(all)) =>
        {
            let words = format!(
                "flag config-dir specified but environment variable {DIR_VARIABLE} not set, cannot \
                 start kubelet"
            );
            Some(refused(dir, words, "no config-dir, or the variable in RKE2's environment"))
        }
        _ => None,
    }
}

/// Reads `kubelet-arg` in its order, as RKE2 makes a command line of it: `name+=value` goes behind
/// the values that are there, `name-=value` before them; the last one counts. `drop_ins`:
/// [`has_drop_ins`].
pub fn arguments(given: &[Setting<String>], drop_ins: bool) -> Arguments {
    let mut found = Arguments::default();
    let mut line: BTreeMap<&str, VecDeque<Given<'_>>> = BTreeMap::new();
    let mut words = given.iter().peekable();
    while let Some(word) = words.next() {
        let argument = word.value.strip_prefix("--").unwrap_or(&word.value);
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (argument, None),
        };
        if drop_ins && ["config", "config-dir"].contains(&name) {
            // Without `=` its value is the next argument.
            let value = value.or_else(|| words.next().map(|next| next.value.as_str()));
            let Some(value) = value.filter(|value| !value.is_empty()) else {
                let words = format!(
                    "failed to start kubelet: prepare user configuration drop-ins: value required \
                     for kubelet-arg --{name}"
                );
                found.problems.push(refused(word, words, "the path of a file or directory"));
                continue;
            };
            let place =
                if name == "config" { &mut found.copied_file } else { &mut found.copied_dir };
            *place = Some(Setting { value: value.to_owned(), ..word.clone() });
            continue;
        }
        let bare = name.trim_end_matches(['-', '+']);
        let values = line.entry(bare).or_default();
        if drop_ins && bare == "config-dir" && values.is_empty() {
            values.push_back((None, word));
        }
        let value = (Some(value.unwrap_or("true")), word);
        if name.ends_with('-') { values.push_front(value) } else { values.push_back(value) }
    }
    // The kubelet is given them in the order of their names, and takes an underscore for a dash.
    for (name, values) in &line {
        let name = name.trim_start_matches("--").replace('_', "-");
        for (value, word) in values {
            let setting = value.map(|value| Setting { value: value.into(), ..(*word).clone() });
            match name.as_str() {
                FLAG => match scalar::parse_bool(value.unwrap_or_default()) {
                    Some(value) => {
                        let Setting { key, origin, .. } = (*word).clone();
                        found.protect = Some(Setting { value, key, origin });
                    }
                    None => {
                        let value = shown::boolean(value.unwrap_or_default());
                        let words = format!(
                            "failed to parse kubelet flag: invalid argument {value:?} for \
                             \"--{FLAG}\" flag: strconv.ParseBool: parsing {value:?}: invalid syntax"
                        );
                        found.problems.push(refused(word, words, "true or false"));
                    }
                },
                "config" => found.file = setting.filter(|file| !file.value.is_empty()),
                "config-dir" => found.dir = setting,
                _ => {}
            }
        }
    }
    found
}

fn refused(word: &Setting<String>, words: String, expected: &str) -> Problem {
    Problem {
        kind: ProblemKind::InvalidValue,
        origin: word.origin.clone().unwrap_or_else(|| Origin::file("command line")),
        key: Some(word.key.clone()),
        words,
        expected: expected.into(),
    }
}

/// What the kubelet's files say, and what it refuses of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub protect: Option<Setting<bool>>,
    pub problems: Vec<Problem>,
}

/// `file`: the one of `--config`. `drop_ins`: those of the directory in the kubelet's order, each
/// merged into what came before. `release`: the one that is there.
pub fn read(file: Option<&SourceFile>, drop_ins: &[SourceFile], release: Release) -> Outcome {
    let mut outcome = Outcome::default();
    // By the spelling of the field, since of drop-ins it is found whatever the case of its letters.
    let mut fields: BTreeMap<String, (Field, Origin)> = BTreeMap::new();
    let files = file.map(|file| (file, false)).into_iter();
    for (file, is_drop_in) in files.chain(drop_ins.iter().map(|file| (file, true))) {
        let FileContent::Bytes(bytes) = &file.content else {
            outcome.problems.extend(unread(file, is_drop_in));
            continue;
        };
        match document(bytes, is_drop_in) {
            Ok(Document { found, foreign }) => {
                if let Some((line, words)) = foreign {
                    let origin = Origin { file: file.path.clone(), line };
                    let words = failed(file, is_drop_in, &words);
                    let kind = ProblemKind::refused(release, true);
                    outcome.problems.push(Problem { kind, ..invalid(origin, words) });
                    if kind != ProblemKind::Unlisted {
                        continue;
                    }
                }
                for (name, field, line) in found {
                    match field {
                        Field::Null => drop(fields.remove(&name)),
                        field => drop(fields.insert(name, (field, Origin::at(&file.path, line)))),
                    }
                }
            }
            Err(YamlError::BeyondLimits { line, words }) => {
                let origin = Origin { file: file.path.clone(), line };
                outcome.problems.push(beyond(origin, words));
            }
            Err(YamlError::Invalid { line, words }) => {
                let origin = Origin { file: file.path.clone(), line };
                outcome.problems.push(invalid(origin, failed(file, is_drop_in, &words)));
            }
        }
    }
    for (field, origin) in fields.into_values() {
        match field {
            Field::Bool(value) => {
                outcome.protect = Some(Setting { value, key: FIELD.into(), origin: Some(origin) });
            }
            Field::Other(kind) => {
                let words = format!(
                    "failed to unmarshal merged JSON into kubelet configuration: json: cannot \
                     unmarshal {kind} into Go struct field {KIND}.{FIELD} of type bool"
                );
                outcome.problems.push(invalid(origin, words));
            }
            Field::Null => {}
        }
    }
    outcome
}

/// What a file that was not read means.
fn unread(file: &SourceFile, is_drop_in: bool) -> Option<Problem> {
    let reason = match &file.content {
        FileContent::Absent => "no such file or directory",
        FileContent::Unreadable(reason) => reason,
        FileContent::TooLarge => {
            let words = format!(
                "more than {MAX_SIZE} bytes, or all such files together than {MAX_TOTAL} bytes"
            );
            return Some(beyond(Origin::file(&file.path), words));
        }
        FileContent::Bytes(_) => return None,
    };
    let words = format!("open {}: {reason}", file.path);
    Some(invalid(Origin::file(&file.path), failed(file, is_drop_in, &words)))
}

fn beyond(origin: Origin, words: String) -> Problem {
    let expected =
        format!("at most {MAX_FILES} files of the kubelet's of at most {MAX_SIZE} bytes");
    Problem::beyond_limits(origin, words, expected)
}

fn failed(file: &SourceFile, is_drop_in: bool, words: &str) -> String {
    let what = if is_drop_in { "dropin" } else { "config" };
    format!("failed to load kubelet {what} file, path: {}, error: {words}", file.path)
}

fn invalid(origin: Origin, words: String) -> Problem {
    Problem {
        kind: ProblemKind::InvalidValue,
        origin,
        key: None,
        words,
        expected: format!("apiVersion: {API_VERSION}, kind: {KIND}, {FIELD}: true or false"),
    }
}

/// What a file has in the field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Bool(bool),
    Null,
    /// As Go names its kind.
    Other(&'static str),
}

/// What a file has.
#[derive(Debug)]
struct Document {
    /// The field, by each of its spellings, with its line.
    found: Vec<(String, Field, u32)>,
    /// What a kubelet says that does not know this kind of file, and the line.
    foreign: Option<(Option<u32>, String)>,
}

fn document(bytes: &[u8], is_drop_in: bool) -> Result<Document, YamlError> {
    let refused = |line, words| Err(YamlError::Invalid { line, words });
    if bytes.is_empty() {
        return refused(None, "kubelet config file was empty".into());
    }
    let entries = yaml::parse(bytes)?;
    let mut seen = BTreeSet::new();
    let (mut kind, mut version) = ("", "");
    let mut found = Vec::new();
    for entry in &entries {
        // Decoding is strict, and lenient once more for the one file of `--config`.
        if !seen.insert(&entry.key) && is_drop_in {
            let key = shown::key(&entry.key);
            let words = format!("strict decoding error: key {key:?} already set in map");
            return refused(Some(entry.line), words);
        }
        let is_field =
            if is_drop_in { entry.key.eq_ignore_ascii_case(FIELD) } else { entry.key == FIELD };
        match (&entry.value, entry.key.as_str()) {
            (Value::Text(text), "kind") => kind = text,
            (Value::Text(text), "apiVersion") => version = text,
            (value, key) if is_field => {
                found.push((key.to_owned(), field(value, key, bytes, entry.line), entry.line));
            }
            _ => {}
        }
    }
    if kind.is_empty() {
        return refused(None, "Object 'Kind' is missing".into());
    }
    let foreign = ((kind, version) != (KIND, API_VERSION)).then(|| {
        let (kind, version) = (name(kind), name(version));
        let group = if version.contains('/') { "" } else { "/" };
        let words = format!("unknown apiVersion/kind: {group}{version}, Kind={kind}");
        let line =
            entries.iter().find(|entry| ["kind", "apiVersion"].contains(&entry.key.as_str()));
        (line.map(|entry| entry.line), words)
    });
    Ok(Document { found, foreign })
}

/// A kind or a version; a file that is none of the kubelet's may have a secret there.
fn name(text: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || "./-".contains(c);
    if text.len() <= 64 && text.chars().all(plain) { text } else { shown::HIDDEN }
}

fn field(value: &Value, key: &str, bytes: &[u8], line: u32) -> Field {
    match value {
        Value::Null => Field::Null,
        Value::List(_) => Field::Other("array"),
        Value::Text(text) => match text.as_str() {
            _ if is_string(bytes, key, line) => Field::Other("string"),
            "true" => Field::Bool(true),
            "false" => Field::Bool(false),
            text if text.starts_with("[{") => Field::Other("object"),
            text if text.parse::<f64>().is_ok() => Field::Other("number"),
            _ => Field::Other("string"),
        },
    }
}

/// Whether the value of a key is written as a string, with quotes or as a block: `"true"` is none of
/// JSON's truths.
fn is_string(bytes: &[u8], key: &str, line: u32) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let before = usize::try_from(line).unwrap_or_default().saturating_sub(1);
    let start = match before {
        0 => 0,
        lines => text.match_indices('\n').nth(lines - 1).map_or(text.len(), |(at, _)| at + 1),
    };
    let Some(at) = text[start..].find(key) else { return false };
    let behind = text[start + at + key.len()..].trim_start_matches(['"', '\'', ' ', '\t']);
    let Some(value) = behind.strip_prefix(':') else { return false };
    let value = value.trim_start();
    value.starts_with(['"', '\'', '|', '>']) || value.starts_with("!!str")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(arguments: &[&str]) -> Vec<Setting<String>> {
        (1..)
            .zip(arguments)
            .map(|(line, argument)| Setting {
                value: (*argument).into(),
                key: "kubelet-arg".into(),
                origin: Some(Origin::at("config.yaml", line)),
            })
            .collect()
    }

    #[test]
    fn the_flag_is_what_the_kubelet_is_given_last() {
        for (list, protect, refusals) in [
            (&["protect-kernel-defaults=true"][..], Some((true, 1)), 0),
            (&["--protect-kernel-defaults=true"], Some((true, 1)), 0),
            (&["protect-kernel-defaults"], Some((true, 1)), 0),
            (
                &["protect-kernel-defaults=true", "protect-kernel-defaults=false"],
                Some((false, 2)),
                0,
            ),
            (&["protect-kernel-defaults+=true"], Some((true, 1)), 0),
            (
                &["protect-kernel-defaults=false", "protect-kernel-defaults+=true"],
                Some((true, 2)),
                0,
            ),
            (
                &["protect-kernel-defaults=false", "protect-kernel-defaults-=true"],
                Some((false, 1)),
                0,
            ),
            (&["protect-kernel-defaults-=true"], Some((true, 1)), 0),
            (
                &["protect_kernel_defaults=true", "protect-kernel-defaults=false"],
                Some((true, 1)),
                0,
            ),
            (&["protect-kernel-defaults=T"], Some((true, 1)), 0),
            (&["protect-kernel-defaults=yes"], None, 1),
            (&["protect-kernel-defaults="], None, 1),
            (&["protect-kernel-defaults=on", "protect-kernel-defaults=true"], Some((true, 2)), 1),
            (&["max-pods=200"], None, 0),
            (&["protect-kernel-defaults-x=true"], None, 0),
        ] {
            for drop_ins in [true, false] {
                let found = arguments(&given(list), drop_ins);
                let line = |setting: &Setting<bool>| setting.origin.as_ref().unwrap().line.unwrap();
                let got = found.protect.as_ref().map(|setting| (setting.value, line(setting)));
                assert_eq!((got, found.problems.len()), (protect, refusals), "{list:?}");
            }
        }
    }

    #[test]
    fn files_are_copied_by_a_new_rke2_and_handed_on_by_an_old_one() {
        let values = |list: &[&str], drop_ins| {
            let found = arguments(&given(list), drop_ins);
            let text = |setting: Option<Setting<String>>| setting.map(|setting| setting.value);
            assert!(found.problems.is_empty(), "{list:?}: {:?}", found.problems);
            [found.copied_file, found.copied_dir, found.file, found.dir].map(text)
        };
        let some = |text: &str| Some(text.to_owned());
        let both = ["config=/a", "config-dir=/b"];
        assert_eq!(values(&both, true), [some("/a"), some("/b"), None, None]);
        assert_eq!(values(&both, false), [None, None, some("/a"), some("/b")]);
        assert_eq!(values(&["config", "/a"], true), [some("/a"), None, None, None]);
        assert_eq!(values(&["config=/a", "--config=/c"], true), [some("/c"), None, None, None]);
        assert_eq!(values(&["config+=/a"], true), [None, None, some("/a"), None]);
        assert_eq!(values(&["config-dir+=/b"], true), [None, None, None, some("/b")]);
        assert_eq!(values(&["config-dir-=/b"], true), [None, None, None, None]);
        for list in [&["config="][..], &["config-dir"]] {
            assert_eq!(arguments(&given(list), true).problems.len(), 1, "{list:?}");
        }
    }

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.into(), content: FileContent::Bytes(text.into()) }
    }

    const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

    /// What several drop-ins with these lines make of the field, or the words of the kubelet.
    fn merged(lines: &[&str]) -> Result<Option<(bool, String)>, String> {
        let files: Vec<_> = (0..)
            .zip(lines)
            .map(|(n, lines)| file(&format!("{n}.conf"), &format!("{HEAD}{lines}\n")))
            .collect();
        let outcome = read(None, &files, Release::newest());
        match outcome.problems.first() {
            Some(problem) => Err(format!("{} @ {}", problem.words, problem.origin)),
            None => Ok(outcome.protect.map(|set| (set.value, set.origin.unwrap().to_string()))),
        }
    }

    #[test]
    fn the_last_file_that_has_the_field_counts() {
        let set = |value, at: &str| Ok(Some((value, at.to_owned())));
        for (files, want) in [
            (&["protectKernelDefaults: true"][..], set(true, "0.conf:3")),
            (&["protectKernelDefaults: yes"], set(true, "0.conf:3")),
            (&["protectKernelDefaults:\n  on"], set(true, "0.conf:3")),
            (&["ProtectKernelDefaults: true"], set(true, "0.conf:3")),
            (&["protectKernelDefaults: true", "maxPods: 1"], set(true, "0.conf:3")),
            (
                &["protectKernelDefaults: true", "x: 1\nprotectKernelDefaults: false"],
                set(false, "1.conf:4"),
            ),
            (&["protectKernelDefaults: true", "protectKernelDefaults: null"], Ok(None)),
            (
                &["protectKernelDefaults: \"x\"", "protectKernelDefaults: true"],
                set(true, "1.conf:3"),
            ),
            (&["evictionHard:\n  memory.available: 5%"], Ok(None)),
        ] {
            assert_eq!(merged(files), want, "{files:?}");
        }
        let json = format!(
            "{{\"kind\": \"{KIND}\", \"apiVersion\": \"{API_VERSION}\",\n\"{FIELD}\": true}}"
        );
        let outcome = read(None, &[file("x.conf", &json)], Release::newest());
        assert_eq!(outcome.protect.unwrap().origin, Some(Origin::at("x.conf", 2)));
    }

    #[test]
    fn what_the_kubelet_refuses_is_said_in_its_words_and_with_the_line() {
        for (lines, words) in [
            ("protectKernelDefaults: \"yes\"", "cannot unmarshal string into Go struct field"),
            ("protectKernelDefaults: 'true'", "cannot unmarshal string into Go struct field"),
            ("protectKernelDefaults: maybe", "cannot unmarshal string into Go struct field"),
            ("protectKernelDefaults: 1", "cannot unmarshal number into Go struct field"),
            ("protectKernelDefaults: [true]", "cannot unmarshal array into Go struct field"),
            ("maxPods: 1\nmaxPods: 2", "key \"maxPods\" already set in map"),
            ("s3cret/w+rd: 1\ns3cret/w+rd: 2", "key \"(not shown)\" already set in map"),
            ("a: b: c", "mapping values are not allowed in this context"),
        ] {
            let got = merged(&[lines]).unwrap_err();
            assert!(got.contains(words), "{lines:?}: {got}");
            assert!(got.contains("@ 0.conf:"), "{lines:?}: {got}");
        }
        for (text, words) in [
            ("", "was empty"),
            ("# nothing\n", "Object 'Kind' is missing"),
            ("protectKernelDefaults: true\n", "Object 'Kind' is missing"),
            (
                "kind: KubeletConfiguration\n",
                "unknown apiVersion/kind: /, Kind=KubeletConfiguration",
            ),
            (
                "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1\n",
                "unknown apiVersion/kind: kubelet.config.k8s.io/v1, Kind=KubeletConfiguration",
            ),
            ("kind: Kubelet\napiVersion: v1\n", "unknown apiVersion/kind: /v1, Kind=Kubelet"),
        ] {
            let problems = read(None, &[file("x.conf", text)], Release::newest()).problems;
            assert!(problems[0].words.contains(words), "{text:?}: {problems:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_refused_and_one_beyond_the_limits_is_not_judged() {
        for (content, kind) in [
            (FileContent::Absent, ProblemKind::InvalidValue),
            (FileContent::Unreadable("Is a directory".into()), ProblemKind::InvalidValue),
            (FileContent::TooLarge, ProblemKind::BeyondLimits),
        ] {
            let file = SourceFile { path: "/x".into(), content };
            let newest = Release::newest();
            assert_eq!(read(Some(&file), &[], newest).problems[0].kind, kind);
            assert_eq!(read(None, &[file], newest).problems[0].kind, kind);
        }
    }

    #[test]
    fn a_kind_of_file_that_no_known_kubelet_takes_is_refused_by_those_alone() {
        let text = "apiVersion: kubelet.config.k8s.io/v1\nkind: KubeletConfiguration\n\
                    protectKernelDefaults: true\n";
        let (files, newer) = ([file("x.conf", text)], Release::unknown());
        for outcome in [read(None, &files, newer), read(Some(&files[0]), &[], newer)] {
            let kinds: Vec<_> = outcome.problems.iter().map(|problem| problem.kind).collect();
            assert_eq!(kinds, [ProblemKind::Unlisted]);
            assert!(outcome.protect.is_some_and(|setting| setting.value), "it may well take it");
        }
        let outcome = read(None, &files, Release::newest());
        assert_eq!(outcome.problems[0].kind, ProblemKind::InvalidValue);
        assert_eq!(outcome.protect, None);
        // What has no kind is none of any kubelet's.
        let outcome = read(None, &[file("x.conf", "a: b\n")], newer);
        assert_eq!(outcome.problems[0].kind, ProblemKind::InvalidValue);
    }

    #[test]
    fn an_old_kubelet_has_no_directory_or_asks_for_a_variable() {
        let origin = Origin::at("/etc/default/rke2-server", 1);
        let variable = Variable { name: DIR_VARIABLE.into(), value: String::new(), origin };
        let (set, unset) = (&[variable][..], &[][..]);
        let (unknown, needs) = (Some("unknown flag"), Some("environment variable"));
        for (version, value, environment, words) in [
            ("v1.27.16+rke2r1", "/x", Some(set), unknown),
            ("v1.27.16+rke2r1", "", None, unknown),
            ("v1.28.0+rke2r1", "/x", Some(unset), needs),
            ("v1.28.0+rke2r1", "/x", Some(set), None),
            ("v1.28.0+rke2r1", "/x", None, None),
            ("v1.28.0+rke2r1", "", Some(unset), None),
            ("v1.29.15+rke2r1", "/x", Some(unset), needs),
            ("v1.30.0+rke2r1", "/x", Some(unset), None),
            ("v2.1.0+rke2r1", "/x", Some(unset), None),
        ] {
            let version = crate::rke2::parse_version(version).unwrap();
            let dir = &given(&[value])[0];
            let problem = refused_dir(dir, &version, environment);
            assert_eq!(problem.is_some(), words.is_some(), "{version} {value:?}");
            let told = problem.is_none_or(|problem| problem.words.contains(words.unwrap()));
            assert!(told, "{version} {value:?}");
        }
        let version = |text| crate::rke2::parse_version(text).ok();
        assert!(has_drop_ins(version("v2.1.0+rke2r1").as_ref()));
        assert!(!has_drop_ins(version("v1.31.9+rke2r1").as_ref()));
    }
}
