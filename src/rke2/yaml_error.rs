// SPDX-License-Identifier: Apache-2.0
//! Why a YAML file gives no entries, in the words of RKE2's library.

/// Why a file gives no entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum YamlError {
    /// RKE2 refuses it too. `words` are as RKE2's library puts them.
    Invalid { line: Option<u32>, words: String },
    /// A quoted scalar goes on without indentation. yaml.v2 takes that, the parser used here not;
    /// [`super::yaml::parse`] indents the line, since blanks at the start of such a line mean nothing.
    Unindented { line: u32 },
    /// RKE2 may take it; it is beyond what is read here.
    BeyondLimits { line: Option<u32>, words: String },
}

impl YamlError {
    pub(super) fn at(line: u32, words: impl std::fmt::Display) -> Self {
        Self::Invalid { line: Some(line), words: format!("yaml: line {line}: {words}") }
    }

    pub(super) fn plain(line: u32, words: impl std::fmt::Display) -> Self {
        Self::Invalid { line: Some(line), words: format!("yaml: {words}") }
    }

    pub(super) fn mismatch(line: u32, what: impl std::fmt::Display, into: &str) -> Self {
        let words = format!(
            "yaml: unmarshal errors: line {line}: cannot unmarshal {what} into yaml.{into}"
        );
        Self::Invalid { line: Some(line), words }
    }

    pub(super) fn limit(line: Option<u32>, words: impl Into<String>) -> Self {
        Self::BeyondLimits { line, words: words.into() }
    }
}

/// The line of a mark, for people.
pub(super) fn line_of(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}
