// SPDX-License-Identifier: Apache-2.0
//! Why a YAML file gives no entries, in the words of RKE2's library.

/// Why a file gives no entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rke2) enum YamlError {
    /// RKE2 refuses it too. `words` are as RKE2's library puts them, with the line as it counts: of
    /// a mistake of grammar it names the line above, and of one on the first line none. `line` is
    /// where the mistake is.
    Invalid { line: Option<u32>, words: String },
    /// RKE2 may take it; it is beyond what is read here.
    BeyondLimits { line: Option<u32>, words: String },
}

impl YamlError {
    /// `line` is where it is, `told` the line in the words.
    pub(super) fn told(line: usize, told: Option<usize>, words: impl std::fmt::Display) -> Self {
        let words = match told {
            Some(told) => format!("yaml: line {told}: {words}"),
            None => format!("yaml: {words}"),
        };
        Self::Invalid { line: Some(line_of(line)), words }
    }

    /// The words have no line.
    pub(super) fn plain(line: usize, words: impl std::fmt::Display) -> Self {
        Self::told(line, None, words)
    }

    pub(super) fn limit(line: usize, words: impl Into<String>) -> Self {
        Self::BeyondLimits { line: Some(line_of(line)), words: words.into() }
    }
}

/// A line for people.
pub(super) fn line_of(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}
