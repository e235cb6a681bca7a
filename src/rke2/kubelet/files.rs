// SPDX-License-Identifier: Apache-2.0
//! Files of kind `KubeletConfiguration`: what they say of the field, merged as the kubelet merges them, and
//! what it refuses of them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::yaml::{self, Value, YamlError};
use super::super::{FileContent, Problem, ProblemKind, Release, Setting, SourceFile, shown};
use super::{MAX_FILES, MAX_SIZE, MAX_TOTAL};
use crate::model::Origin;

const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";
const KIND: &str = "KubeletConfiguration";
const FIELD: &str = "protectKernelDefaults";

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
}
