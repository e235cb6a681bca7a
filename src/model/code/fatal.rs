// SPDX-License-Identifier: Apache-2.0
//! Why a finding can be fatal: one of four things that RKE2 does, by a rule of RKE2's, kubelet's or
//! the kernel's that somebody can look up. What does none of the four is no more than a warning, or
//! the gate would be shut where RKE2 starts and is well.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Severity;

/// What RKE2 does on such a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FatalClass {
    /// It does not come up: RKE2 itself, its kubelet, its etcd or systemd refuses.
    Refuses,
    /// It starts without the profile that its configuration asks for.
    Unhardened,
    /// It starts, and loses or hides etcd's data.
    LosesData,
    /// It gives a file away that is not in etcd's tree.
    GivesAway,
}

impl FatalClass {
    pub const ALL: [Self; 4] = [Self::Refuses, Self::Unhardened, Self::LosesData, Self::GivesAway];

    /// The stable name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuses => "refuses",
            Self::Unhardened => "unhardened",
            Self::LosesData => "loses-data",
            Self::GivesAway => "gives-away",
        }
    }

    /// The same for a person, as the beginning of a sentence about RKE2.
    pub fn words(self) -> &'static str {
        match self {
            Self::Refuses => "RKE2 does not come up",
            Self::Unhardened => "RKE2 starts without the profile that it is to have",
            Self::LosesData => "RKE2 starts, and loses or hides etcd's data",
            Self::GivesAway => "RKE2 gives away a file outside of etcd's directory",
        }
    }
}

impl fmt::Display for FatalClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FatalClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One rule by which a code is fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    pub class: FatalClass,
    /// What RKE2, its kubelet, the kernel or systemd does, in a sentence.
    pub rule: &'static str,
    /// The versions of RKE2 that it holds for: `all`, or from which on or until when.
    pub versions: &'static str,
    /// Where it is written: a file of a source, with its function if it is long, or a manual page.
    pub source: &'static str,
}

/// Whether and by what a code can be fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFatal {
    Never,
    /// By any of these.
    By(&'static [Rule]),
    /// It counts findings that have no place of their own, and weighs as much as the worst of them:
    /// the rule is theirs.
    AsCounted,
}

impl WhenFatal {
    /// The rules; none of its own has what only counts.
    pub fn rules(self) -> &'static [Rule] {
        match self {
            Self::By(rules) => rules,
            Self::Never | Self::AsCounted => &[],
        }
    }

    /// Whether a code with these severities can be fatal if, and only if, it has rules, and all of each.
    pub(super) const fn fits(self, severities: &[Severity]) -> bool {
        let mut fatal = false;
        let mut n = 0;
        while n < severities.len() {
            fatal = fatal || matches!(severities[n], Severity::Fatal);
            n += 1;
        }
        match self {
            Self::Never => !fatal,
            Self::AsCounted => fatal,
            Self::By(rules) => {
                let mut whole = !rules.is_empty();
                let mut n = 0;
                while n < rules.len() {
                    let Rule { class: _, rule, versions, source } = &rules[n];
                    whole = whole && !rule.is_empty() && !versions.is_empty() && !source.is_empty();
                    n += 1;
                }
                fatal && whole
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_can_be_fatal_needs_a_whole_rule_and_no_other_has_one() {
        const WHOLE: Rule = Rule {
            class: FatalClass::Refuses,
            rule: "It ends.",
            versions: "all",
            source: "a/b.go",
        };
        const PART: Rule = Rule { source: "", ..WHOLE };
        let fatal = [Severity::Warning, Severity::Fatal];
        for (when, of_fatal, of_others) in [
            (WhenFatal::Never, false, true),
            (WhenFatal::AsCounted, true, false),
            (WhenFatal::By(&[]), false, false),
            (WhenFatal::By(&[WHOLE]), true, false),
            (WhenFatal::By(&[WHOLE, PART]), false, false),
        ] {
            assert_eq!(when.fits(&fatal), of_fatal, "{when:?}");
            assert_eq!(when.fits(&fatal[..1]), of_others, "{when:?}");
        }
    }
}
