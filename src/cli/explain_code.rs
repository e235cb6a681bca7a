// SPDX-License-Identifier: Apache-2.0
//! `nodeguard explain CODE...`: what a code of a finding means and what to do. No node is looked at.

use super::{CliError, Exit, out};
use crate::model::Code;
use crate::render::explain_code::{self, Answer};
use crate::sysctl_d::BadKey;

/// Codes that are offered for a word that is none.
const OFFERED: usize = 4;

/// The codes that were asked for; `None`: not all words are codes.
pub(super) fn asked(words: &[String]) -> Option<Vec<Code>> {
    if words.is_empty() {
        return None;
    }
    words.iter().map(|word| Code::named(word)).collect()
}

pub(super) fn run(codes: &[Code], json: bool) -> Result<Exit, CliError> {
    let answer = Answer::new(codes);
    if json {
        out(&format!("{}\n", explain_code::json(&answer)));
    } else {
        out(&explain_code::text(&answer));
    }
    Ok(Exit::Ok)
}

/// Why a word is neither a kernel parameter nor, beside one, a code.
pub(super) fn neither(word: &str, key: BadKey) -> CliError {
    // A word with a separator was meant for a parameter.
    if word.contains(['.', '/']) {
        return CliError::Key(key);
    }
    let near = near(word);
    let code = if Code::named(word).is_some() {
        "it is the code of a finding, and codes are explained without parameters beside them".into()
    } else if near.is_empty() {
        "nor is it the code of a finding; nodeguard(8) lists them".to_owned()
    } else {
        format!("nor is it the code of a finding, did you mean {}?", near.join(", "))
    };
    CliError::Word { key, code }
}

/// The codes that are most like a word, or have it as a part; the most alike first.
fn near(word: &str) -> Vec<&'static str> {
    // Who mistypes, mistypes a letter in three at most.
    let limit = (word.chars().count() / 3).max(1);
    let part = |name: &str| name.split('-').any(|part| part == word);
    let mut near: Vec<(usize, &str)> = Code::ALL
        .iter()
        .map(|code| code.as_str())
        // Nothing that is much longer can be meant, and comparing takes as long as both are.
        .filter(|name| word.len() <= 2 * name.len())
        .map(|name| (strsim::osa_distance(word, name), name))
        .filter(|(distance, name)| *distance <= limit || part(name))
        .collect();
    near.sort_unstable();
    near.into_iter().take(OFFERED).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_and_a_part_of_a_name_lead_to_the_codes_that_were_meant_and_to_no_more_than_a_few() {
        for (word, meant) in [
            ("etcd-ovner", &["etcd-owner"][..]),
            ("owner", &["etcd-owner", "etcd-tls-owner"]),
            ("etcd_mode", &["etcd-mode", "etcd-home"]),
            ("sysctl-value", &["sysctl-live"]),
            ("sysctl-dropins", &["sysctl-dropin"]),
            ("nothing-of-ours", &[]),
            ("", &[]),
        ] {
            assert_eq!(near(word), meant, "{word}");
        }
        assert_eq!(near("etcd").len(), OFFERED);
        assert_eq!(near(&"x".repeat(100_000)), Vec::<&str>::new());
    }
}
