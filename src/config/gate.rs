// SPDX-License-Identifier: Apache-2.0
//! The table `[gate]`: which codes of findings the operator demotes from fatal to a warning.

use super::nearest::nearest;
use super::{Problem, Setting, printable};
use crate::model::{Code, Finding, Origin, Severity};

/// Codes in `warn`. There are fewer that can be demoted, and not all of them are of this version.
pub(super) const MAX_CODES: usize = 128;

/// Bytes of a word that may be meant for a code.
const LONGEST: usize = 64;

/// The table `[gate]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// Each code once, with the place in which it is demoted.
    pub warn: Vec<Setting<Code>>,
    /// What was named as a code and cannot be demoted. It is left out, and everything else counts: a
    /// code of a newer version must not cost the configuration.
    pub left_out: Vec<Problem>,
}

impl Gate {
    /// What demotes a code.
    pub fn demotes(&self, code: Code) -> Option<&Origin> {
        self.warn.iter().find(|demoted| demoted.value == code).map(|demoted| &demoted.origin)
    }

    /// A fatal finding that the configuration demotes is a warning, which says what it was and which
    /// line demotes it. Its remedy stays, since the node is as it was.
    pub fn demote(&self, finding: &mut Finding) {
        if finding.severity != Severity::Fatal {
            return;
        }
        let Some(origin) = finding.code.known().and_then(|code| self.demotes(code)) else { return };
        finding.severity = Severity::Warning;
        finding.message.push_str(&format!(" (fatal, and demoted to a warning by {origin})"));
        finding.demoted_by = Some(origin.clone());
    }
}

/// A word of `warn` → the code, or why it cannot be demoted.
pub(super) fn code(word: &str, origin: &Origin) -> Result<Code, Box<Problem>> {
    let problem = |actual: String, message: String, expected: &str, remedy: String| Problem {
        origin: origin.clone(),
        subject: "gate.warn".into(),
        expected: expected.into(),
        actual,
        message,
        remedy,
    };
    let shown = printable(word);
    match Code::named(word) {
        Some(code) if code.can_be_demoted() => Ok(code),
        Some(_) => Err(Box::new(problem(
            shown.clone(),
            format!(
                "{shown} in gate.warn is never fatal by itself, and there is nothing to demote"
            ),
            "a code that can be fatal",
            format!("take it out of {origin}"),
        ))),
        None => {
            let demotable = Code::ALL.iter().filter(|code| code.can_be_demoted());
            let meant = (word.len() <= LONGEST)
                .then(|| nearest(word, demotable.map(|code| code.as_str())))
                .flatten();
            let (hint, remedy) = match meant {
                Some(meant) => {
                    (format!(", did you mean {meant}?"), format!("write {meant} in {origin}"))
                }
                None => (
                    ", see nodeguard(8); a newer one may know it".to_owned(),
                    format!("take it out of {origin}, or update nodeguard"),
                ),
            };
            Err(Box::new(problem(
                shown.clone(),
                format!("unknown code {shown} in gate.warn{hint}"),
                meant.unwrap_or("a code of nodeguard(8) that can be fatal"),
                remedy,
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demoted_code_is_a_warning_with_the_line_that_demotes_it_and_all_others_stay_as_they_are() {
        let origin = Origin::at("/etc/nodeguard/nodeguard.toml", 3);
        let warn = vec![Setting { value: Code::EtcdLinkForeign, origin: origin.clone() }];
        let gate = Gate { warn, left_out: Vec::new() };
        let of = |code| {
            let mut finding = Finding::new(code, "x").message("it is wrong").remedy("mend it");
            gate.demote(&mut finding);
            assert!(finding.is_as_its_code_says(), "{finding:?}");
            finding
        };
        let demoted = of(Code::EtcdLinkForeign);
        assert_eq!((demoted.severity, &demoted.demoted_by), (Severity::Warning, &Some(origin)));
        assert_eq!(
            demoted.message,
            "it is wrong (fatal, and demoted to a warning by /etc/nodeguard/nodeguard.toml:3)"
        );
        assert_eq!(demoted.remedy, "mend it");
        let other = of(Code::EtcdDevice);
        assert_eq!((other.severity, other.demoted_by), (Severity::Fatal, None));
        let mut drift = Finding::new(Code::EtcdOwner, "x").severity(Severity::Drift);
        Gate { warn: vec![Setting::built_in(Code::EtcdOwner)], left_out: Vec::new() }
            .demote(&mut drift);
        assert_eq!((drift.severity, drift.demoted_by), (Severity::Drift, None), "it is mended");
    }

    #[test]
    fn each_code_that_is_fatal_by_a_rule_can_be_demoted_and_no_other_word_can() {
        let origin = Origin::at("f", 1);
        for known in Code::ALL {
            let can = !known.when_fatal().rules().is_empty();
            assert_eq!(code(known.as_str(), &origin).is_ok(), can, "{known}");
        }
        for (word, expected) in [
            ("etcd-ovner", "etcd-owner"),
            ("etcd-link-outsde", "etcd-link-outside"),
            ("Etcd-Device", "etcd-device"),
            ("no-such-thing-at-all", "a code of nodeguard(8) that can be fatal"),
            ("", "a code of nodeguard(8) that can be fatal"),
            (&"etcd-owner".repeat(6000), "a code of nodeguard(8) that can be fatal"),
            ("etcd-home", "a code that can be fatal"),
            ("findings-left-out", "a code that can be fatal"),
        ] {
            let problem = code(word, &origin).unwrap_err();
            assert_eq!(problem.expected, expected, "{word}");
            assert!(problem.message.len() < 300 && problem.actual.chars().count() <= 81);
        }
    }
}
