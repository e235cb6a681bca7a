// SPDX-License-Identifier: Apache-2.0
//! A configuration file as RKE2 sees it: the keys of the first document in their order, each
//! value as text, each with its line.
//!
//! RKE2 reads YAML with Go's yaml.v2, which is libyaml's scanner of YAML 1.1 with habits of its own.
//! Whether a node is hardened hangs on them: a tab on an empty line is an error below a quoted value
//! and none below a plain one, a comment may be glued to a closing quote, a lone carriage return ends a line,
//! duplicate keys are all kept, merge keys dropped. So this is no parser of today's YAML: it takes
//! what yaml.v2 takes, refuses what it refuses, and says so in its words.
//!
//! ```text
//! bytes ──► reader ──► scanner (names, scalars) ──► grammar ──► tree ──► check ──► entries
//! ```
//!
//! Nothing here recurses further than [`tree::MAX_DEPTH`], and each character is looked at a
//! bounded number of times.

mod check;
mod entries;
mod error;
mod grammar;
mod names;
mod print;
mod reader;
mod resolve;
mod scalars;
mod scanner;
mod timestamp;
mod token;
mod tree;
mod work;

pub(super) use entries::{Entry, Value};
pub(super) use error::YamlError;
pub(super) use tree::Tree;

/// The largest configuration file that is read, in bytes.
pub const MAX_FILE_SIZE: usize = 1 << 20;

/// Reads the first document of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Entry>, YamlError> {
    if bytes.len() > MAX_FILE_SIZE {
        let words = format!("larger than {MAX_FILE_SIZE} bytes");
        return Err(YamlError::BeyondLimits { line: None, words });
    }
    match Tree::read(bytes)? {
        None => Ok(Vec::new()),
        Some(tree) => {
            tree.check()?;
            tree.entries()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::tree::{MAX_DEPTH, MAX_NODES};
    use super::*;
    use crate::rke2::shown::HIDDEN;

    /// What RKE2 v1.36.4 made of whole files: the words that it refused with, or its arguments.
    const ANSWERS: &str = include_str!("../../../tests/rke2_yaml/answers.jsonl");

    /// What yaml.v2 v2.4.0 makes of documents, measured with Go 1.26: words, or keys and values as
    /// k3s's parser takes them. Among them are those where the parser that nodeguard had before
    /// made something else of them.
    const MEASURED: &str = include_str!("../../../tests/rke2_yaml/measured.jsonl");

    struct Row {
        name: String,
        bytes: Vec<u8>,
        expected: serde_json::Value,
    }

    fn rows(text: &str) -> Vec<Row> {
        let row = |line: &str| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let hex = |hex: &str| -> Vec<u8> {
                let pairs = (0..hex.len()).step_by(2);
                pairs.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
            };
            let bytes = match &row["hex"] {
                serde_json::Value::String(digits) => hex(digits),
                _ => row["config.yaml"].as_str().unwrap().into(),
            };
            let kind = row["kind"].as_str().unwrap();
            let name = format!("{kind}: {:?}", String::from_utf8_lossy(&bytes));
            Row { name, bytes, expected: row["rke2"].clone() }
        };
        text.lines().map(row).collect()
    }

    /// On one line, and with what is not shown of a file not shown.
    fn as_told(words: &str, hidden: bool) -> String {
        let words = match words.strip_prefix("yaml: unmarshal errors:\n  ") {
            Some(errors) => format!("yaml: unmarshal errors: {}", errors.replace("\n  ", ", ")),
            None => words.to_owned(),
        };
        if !hidden {
            return words;
        }
        // Values stand in backticks, anchors in quotes, and one stands at the end.
        let hide = |words: &str, sign: char| {
            let parts = words.split(sign).enumerate();
            let kept = parts.map(|(at, part)| if at % 2 == 0 { part } else { HIDDEN });
            kept.collect::<Vec<_>>().join(&sign.to_string())
        };
        let words = hide(&words, '`');
        if let Some(at) = words.find("invalid map key: ") {
            return words[..at].to_owned();
        }
        // So do tags that are no names.
        if let Some((before, after)) = words.split_once("cannot unmarshal !")
            && let Some((tag, value)) = after.split_once(" `")
            && !tag.starts_with('!')
        {
            return format!("{before}!{HIDDEN} `{value}");
        }
        for tag in ["!!map", "!!seq"] {
            if let Some((before, after)) = words.split_once(&format!("cannot unmarshal {tag}"))
                && let Some((_, into)) = after.split_once(" into ")
            {
                return format!("{before}{tag} into {into}");
            }
        }
        if words.contains("anchor '") { hide(&words, '\'') } else { words }
    }

    /// Whether the words are the same to the letter.
    fn compare_words(row: &Row, expected: &str, error: &YamlError) -> Result<bool, String> {
        let YamlError::Invalid { line, words } = error else {
            return Err(format!("{}: {error:?}, RKE2: {expected}", row.name));
        };
        if as_told(words, true) != as_told(expected, true) {
            return Err(format!("{}: {words}, RKE2: {expected}", row.name));
        }
        let told = words.strip_prefix("yaml: line ").and_then(|rest| rest.split_once(':'));
        if let (Some((told, _)), Some(line)) = (told, line) {
            let told: u32 = told.parse().unwrap();
            // Of a mistake of grammar yaml.v2 tells the line above.
            if told.abs_diff(*line) > 1 {
                return Err(format!("{}: {words}, but line {line}", row.name));
            }
        }
        Ok(*words == as_told(expected, false))
    }

    /// The arguments that k3s makes of entries.
    fn arguments(entries: &[Entry]) -> Vec<String> {
        let mut keys: Vec<(&str, Vec<String>)> = Vec::new();
        for entry in entries {
            let (key, appends) = match entry.key.strip_suffix('+') {
                Some(key) => (key, true),
                None => (entry.key.as_str(), false),
            };
            let values = match &entry.value {
                Value::Null => vec![String::new()],
                Value::Text(text) => vec![text.trim().to_owned()],
                Value::List(items) => items.iter().map(|item| item.text.trim().into()).collect(),
            };
            match keys.iter_mut().find(|(known, _)| *known == key) {
                Some((_, old)) if appends => old.extend(values),
                Some((_, old)) => *old = values,
                None => keys.push((key, values)),
            }
        }
        let dashes = |key: &str| if key.len() == 1 { "-" } else { "--" };
        let words = keys.iter().flat_map(|(key, values)| {
            values.iter().map(move |value| format!("{}{key}={value}", dashes(key)))
        });
        words.collect()
    }

    fn flag(argument: &str) -> &str {
        argument.trim_start_matches('-').split('=').next().unwrap()
    }

    #[test]
    fn every_file_is_refused_or_read_as_rke2_did() {
        let rows = rows(ANSWERS);
        let list = |row: &Row| -> Option<Vec<String>> {
            let words = row.expected.as_array()?.iter();
            Some(words.map(|word| word.as_str().unwrap().to_owned()).collect())
        };
        // RKE2 leaves out what is no flag of its own.
        let known: BTreeSet<String> =
            rows.iter().filter_map(list).flatten().map(|word| flag(&word).to_owned()).collect();
        let (mut wrong, mut refused, mut to_the_letter, mut read) = (Vec::new(), 0, 0, 0);
        for row in &rows {
            match (list(row), parse(&row.bytes)) {
                (None, Err(error)) => {
                    match compare_words(row, row.expected.as_str().unwrap(), &error) {
                        Ok(same) => to_the_letter += u32::from(same),
                        Err(words) => wrong.push(words),
                    }
                    refused += 1;
                }
                (Some(expected), Ok(entries)) => {
                    let mut given = arguments(&entries);
                    given.retain(|word| known.contains(flag(word)));
                    if given != expected {
                        wrong.push(format!("{}: {given:?}, RKE2: {expected:?}", row.name));
                    }
                    read += 1;
                }
                (_, ours) => wrong.push(format!("{}: {ours:?}, RKE2: {}", row.name, row.expected)),
            }
        }
        println!(
            "figure: {refused} refused, {to_the_letter} of them word for word, {read} read; {} wrong",
            wrong.len()
        );
        assert_eq!((refused + read, wrong), (295, Vec::new()));
    }

    #[test]
    fn every_document_is_refused_or_read_as_yaml_v2_does() {
        let rows = rows(MEASURED);
        let (mut wrong, mut refused, mut to_the_letter, mut read) = (Vec::new(), 0, 0, 0);
        for row in &rows {
            match (row.expected.as_str(), parse(&row.bytes)) {
                (Some(expected), Err(error)) => {
                    match compare_words(row, expected, &error) {
                        Ok(same) => to_the_letter += u32::from(same),
                        Err(words) => wrong.push(words),
                    }
                    refused += 1;
                }
                (None, Ok(entries)) => {
                    let entry = |entry: &Entry| {
                        let value = match &entry.value {
                            Value::Null => serde_json::Value::Null,
                            Value::Text(text) => text.trim().into(),
                            Value::List(items) => {
                                items.iter().map(|item| item.text.trim()).collect()
                            }
                        };
                        serde_json::json!([entry.key, value])
                    };
                    let ours: serde_json::Value = entries.iter().map(entry).collect();
                    if ours != row.expected {
                        wrong.push(format!("{}: {ours}, yaml.v2: {}", row.name, row.expected));
                    }
                    read += 1;
                }
                (_, ours) => wrong.push(format!("{}: {ours:?}, {}", row.name, row.expected)),
            }
        }
        println!(
            "figure: {refused} refused, {to_the_letter} of them word for word, {read} read; {} wrong",
            wrong.len()
        );
        assert!(rows.len() > 700 && wrong.is_empty(), "{wrong:#?}");
    }

    /// Long enough to tell what grows faster than the file, and an eighth of what may be read.
    const LONG: usize = MAX_FILE_SIZE / 8;

    fn filled(head: &str, unit: &str, tail: &str) -> String {
        let count = (LONG - head.len() - tail.len()) / unit.len();
        format!("{head}{}{tail}", unit.repeat(count))
    }

    #[test]
    fn no_file_costs_more_than_a_few_steps_for_each_byte() {
        let numbered = |unit: &dyn Fn(usize) -> String, count: usize| -> String {
            (0..count).map(unit).collect()
        };
        // What aliases expand to is bounded by itself.
        let expanding = [
            ("aliases", filled("a: &a x\nb: [", "*a, ", "]\n")),
            ("merges", format!("m: &m {{a: 1}}\n{}", "<<: *m\n".repeat(5000))),
            ("chain", numbered(&|n| format!("a{n}: &a{n} [*a{}]\n", n.saturating_sub(1)), 6000)),
            (
                "expansion",
                format!(
                    "{}a: &a [{}]\nb: [{}]\n",
                    "k: v\n".repeat(8000),
                    "x, ".repeat(1000),
                    "*a, ".repeat(1000)
                ),
            ),
            (
                "maps of Go's",
                format!(
                    "- value: &b {{{}}}\n{}",
                    numbered(&|n| format!("k{n}: v, "), 4000),
                    "- value: *b\n".repeat(100)
                ),
            ),
        ];
        for (name, text) in expanding {
            work::counted();
            drop(parse(text.as_bytes()));
            let (steps, allowed) = (work::counted(), 4 * text.len() + 600_000);
            assert!(steps <= allowed, "{name}: {steps} steps, {allowed} allowed");
        }
        let mut cases = vec![
            ("anchors", numbered(&|n| format!("k: &a{n} v\n"), 9000)),
            ("tag directives", numbered(&|n| format!("%TAG !{n}! x\n"), 9000)),
        ];
        for (name, head, unit, tail) in [
            ("brackets", "a: ", "[", ""),
            ("braces", "a: ", "{a: ", ""),
            ("brackets as keys", "a: [", "[[[[[[[[[[]:]:]:]:]:]:]:]:]:]:x,", "]"),
            ("dashes", "", "- ", ""),
            ("questions", "", "? ", ""),
            ("flow", "a: [", "x,", "]"),
            ("keys", "", "a:\n", ""),
            ("keys in braces", "{", "a: b,", "}"),
            ("no key", "", "a:", ""),
            ("words", "a: ", "x\n  ", "\n"),
            ("empty lines", "a: x", "\n", "  y\n"),
            ("blanks", "a: x", " ", "y\n"),
            ("one word", "a: ", "x", "\n"),
            ("separators", "a: x", "\u{2028}", "  y\n"),
            ("quoted lines", "a: '", "x\n", "'\n"),
            ("quoted and open", "a: '", "x\n", ""),
            ("escapes", "a: \"", "\\x41", "\"\n"),
            ("escaped lines", "a: \"", "\\\n", "\"\n"),
            ("literal", "a: |\n", "  x\n", ""),
            ("folded", "a: >\n", "  x\n\n", ""),
            ("literal and empty", "a: |\n", "  \n", ""),
            ("comments", "", "#\n", "a: b\n"),
            ("empty", "", "\n", ""),
            ("byte order mark", "\u{feff}\u{feff}", "\n", ""),
            ("tag", "a: !", "x", " y\n"),
            ("address of a tag", "a: !<", "%41", "> y\n"),
            ("anchor", "a: &", "x", " y\n"),
            ("number", "a: ", "1_", "\n"),
            ("binary", "a: !!binary ", "AAAA", "\n"),
            ("documents", "a: b\n", "---\n", ""),
        ] {
            cases.push((name, filled(head, unit, tail)));
        }
        let mut most = (0.0, "");
        for (name, text) in &cases {
            work::counted();
            drop(parse(text.as_bytes()));
            let steps = work::counted();
            assert!(steps <= 4 * text.len(), "{name}: {steps} steps for {} bytes", text.len());
            #[allow(clippy::cast_precision_loss)] // A figure for people.
            let each = steps as f64 / text.len() as f64;
            if each > most.0 {
                most = (each, name);
            }
        }
        println!(
            "figure: at most {:.1} steps for a byte ({}), {} kinds",
            most.0,
            most.1,
            cases.len()
        );
    }

    #[test]
    fn more_nodes_or_levels_than_the_limits_are_told_as_that() {
        let list = |count: usize| format!("a: [{}]", "x,".repeat(count));
        // The mapping, its key and the list are nodes too.
        assert!(parse(list(MAX_NODES - 3).as_bytes()).is_ok());
        let nested = |depth: usize| format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
        for text in [list(MAX_NODES - 2), nested(MAX_DEPTH)] {
            let refused = parse(text.as_bytes());
            assert!(matches!(refused, Err(YamlError::BeyondLimits { .. })), "{refused:?}");
        }
    }

    #[test]
    fn of_many_mistakes_the_first_ones_are_told() {
        let Err(YamlError::Invalid { line, words }) = parse("- a\n".repeat(1000).as_bytes()) else {
            panic!("a list of words is no configuration");
        };
        assert_eq!((line, words.matches("cannot unmarshal").count()), (Some(1), 8));
    }

    #[test]
    fn of_a_nested_value_no_more_is_printed_than_the_limit() {
        const LIMIT: usize = entries::MAX_PRINTED;
        // A key is no longer in YAML.
        let long = "y".repeat(1000);
        let nested = "[".repeat(MAX_DEPTH - 3) + &long + &"]".repeat(MAX_DEPTH - 3);
        for value in [
            format!("{{a: [{}]}}", "x, ".repeat(5000)),
            format!("{{{}}}", (0..5000).map(|n| format!("k{n}: v, ")).collect::<String>()),
            format!("{{{long}: {long}}}"),
            format!("{{a: {nested}}}"),
        ] {
            for (head, tail) in [("key: ", ""), ("- {key: key, value: ", "}")] {
                let entries = parse(format!("{head}{value}{tail}\n").as_bytes()).unwrap();
                let Value::Text(text) = &entries[0].value else { panic!("{entries:?}") };
                // The last word is cut by itself, and what is open is closed.
                let length = text.chars().count();
                assert!(length <= 2 * LIMIT + 3 * MAX_DEPTH, "{length}: {text}");
                assert!(text.contains('…'), "{text}");
            }
        }
    }
}
