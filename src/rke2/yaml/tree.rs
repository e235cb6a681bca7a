// SPDX-License-Identifier: Apache-2.0
//! A YAML document as a tree that no input makes larger than itself.

/// The most nodes (keys, values, list items) of one file. A real configuration has a few hundred.
pub(super) const MAX_NODES: usize = 20_000;

/// The deepest nesting. RKE2's own settings need two levels.
pub(super) const MAX_DEPTH: usize = 64;

/// The document's nodes in one vector, children by index, so that nothing is freed recursively.
pub(in crate::rke2) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) root: usize,
}

pub(super) struct Node {
    /// From 0.
    pub(super) line: usize,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Scalar(Scalar),
    Sequence(Vec<usize>),
    /// Keys and values in turn.
    Mapping(Vec<usize>),
    /// Another node once more.
    Alias {
        anchor: String,
        target: usize,
    },
}

pub(super) struct Scalar {
    pub(super) text: String,
    /// The tag with its prefix; empty without one.
    pub(super) tag: String,
    /// The text alone says what it is.
    pub(super) implicit: bool,
}

impl Scalar {
    /// A key that merges what it has as its value.
    pub(super) fn is_merge(&self) -> bool {
        self.text == "<<" && (self.implicit || self.tag == "tag:yaml.org,2002:merge")
    }
}

impl Tree {
    /// The node that is meant: an alias is what it stands for.
    pub(super) fn meant(&self, index: usize) -> &Node {
        let node = &self.nodes[index];
        match node.kind {
            Kind::Alias { target, .. } => &self.nodes[target],
            _ => node,
        }
    }
}
