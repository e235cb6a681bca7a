// SPDX-License-Identifier: Apache-2.0
//! What `nodeguard explain CODE` prints, for a person and as JSON.

use serde::Serialize;

use crate::model::{Code, ControlId, Rule, Severity};

/// The whole answer. The format is the one in the manual; a field that changes its meaning or
/// goes raises `schema`.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    pub schema: u32,
    /// nodeguard's own.
    pub version: &'static str,
    /// The codes, in the order in which they were asked for.
    pub codes: Vec<Explained>,
}

/// One code, with all that is known of it without a node.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    pub code: &'static str,
    pub controls: &'static [ControlId],
    pub cis_ids: &'static [&'static str],
    /// The usual one first.
    pub severities: &'static [Severity],
    /// By what it can be fatal; empty where it cannot, or where it counts others.
    pub fatal: &'static [Rule],
    pub cause: &'static str,
    pub remedy: &'static str,
}

impl Answer {
    pub const SCHEMA: u32 = 1;

    pub fn new(codes: &[Code]) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let explained = |code: &Code| Explained {
            code: code.as_str(),
            controls: code.controls(),
            cis_ids: code.cis_ids(),
            severities: code.severities(),
            fatal: code.when_fatal().rules(),
            cause: code.cause(),
            remedy: code.remedy(),
        };
        Self { schema: Self::SCHEMA, version, codes: codes.iter().map(explained).collect() }
    }
}

/// The answer as one line of JSON.
pub fn json(answer: &Answer) -> String {
    // Strings, numbers and closed enums: there is nothing in it that JSON cannot say.
    serde_json::to_string(answer).unwrap_or_default()
}

/// The answer for a person at a terminal.
pub fn text(answer: &Answer) -> String {
    answer.codes.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn one(explained: &Explained) -> String {
    let Explained { code, controls, cis_ids, severities, fatal, cause, remedy } = explained;
    let controls: Vec<_> = controls.iter().map(|c| format!("{c} ({})", c.title())).collect();
    let severities: Vec<_> = severities.iter().map(|severity| severity.as_str()).collect();
    let mut out = format!("{code}\n");
    for (label, value) in [
        ("control:", controls.join(", ").as_str()),
        ("CIS:", cis_ids.join(", ").as_str()),
        ("severity:", severities.join(", ").as_str()),
        ("means:", cause),
        ("to do:", remedy),
    ] {
        if !value.is_empty() {
            out += &format!("  {label:<10}  {}\n", wrapped(value, "              "));
        }
    }
    for rule in *fatal {
        out += &format!("  {:<10}  {}\n", "fatal:", wrapped(&sentence(rule), "              "));
    }
    out
}

/// A rule by which a code is fatal, for a person.
pub fn sentence(rule: &Rule) -> String {
    let Rule { class, rule, versions, source } = rule;
    format!("{}. {rule} (RKE2: {versions}; {source})", class.words())
}

/// The column at which a sentence is wrapped.
const WIDTH: usize = 80;

/// The words of a text in lines, with `indent` before each line but the first.
fn wrapped(text: &str, indent: &str) -> String {
    let mut out = String::new();
    let mut column = indent.len();
    for word in text.split(' ') {
        let length = word.chars().count();
        if out.is_empty() {
            column += length;
        } else if column + 1 + length <= WIDTH {
            out.push(' ');
            column += 1 + length;
        } else {
            out += &format!("\n{indent}");
            column = indent.len() + length;
        }
        out += word;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        let codes = [Code::EtcdOwner, Code::ConfigRemote, Code::Contested, Code::EtcdLinkOutside];
        Answer { version: "0.0.0", ..Answer::new(&codes) }
    }

    #[test]
    fn the_json_format_is_the_golden_one() {
        let pretty: serde_json::Value = serde_json::from_str(&json(&answer())).unwrap();
        insta::assert_snapshot!(
            "explain_code.json",
            serde_json::to_string_pretty(&pretty).unwrap()
        );
    }

    #[test]
    fn the_text_format_is_the_golden_one() {
        insta::assert_snapshot!("explain_code.txt", text(&answer()));
    }

    #[test]
    fn no_line_about_any_code_is_wider_than_a_terminal_of_old() {
        let long = |line: &str| line.chars().count() > WIDTH;
        let all = text(&Answer::new(Code::ALL));
        assert_eq!(all.lines().filter(|line| long(line)).collect::<Vec<_>>(), [""; 0]);
    }
}
