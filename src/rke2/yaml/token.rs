// SPDX-License-Identifier: Apache-2.0
//! The words and signs that a YAML file is made of.

/// One of them, with its line, from 0.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    StreamEnd,
    /// `%YAML 1.1`.
    Version {
        major: u8,
        minor: u8,
    },
    /// `%TAG ! prefix`.
    TagDirective {
        handle: Vec<u8>,
        prefix: Vec<u8>,
    },
    DocumentStart,
    DocumentEnd,
    /// Lines begin further to the right than those above.
    BlockSequenceStart,
    BlockMappingStart,
    /// They no longer do.
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    /// `- `.
    BlockEntry,
    /// `,`.
    FlowEntry,
    /// `? `, or where a key without it begins.
    Key,
    /// `: `.
    Value,
    Alias(String),
    Anchor(String),
    Tag {
        handle: Vec<u8>,
        suffix: Vec<u8>,
    },
    Scalar {
        text: String,
        plain: bool,
    },
}
