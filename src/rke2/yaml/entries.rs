// SPDX-License-Identifier: Apache-2.0
//! What RKE2 makes of a document that its library decodes: keys, and values as words.

use super::MAX_FILE_SIZE;
use super::check::{Field, Pair};
use super::error::{YamlError, line_of};
use super::tree::{Kind, Tree};
use super::work;

/// The longest text made of a nested structure, which no setting of RKE2 means anyway.
pub(super) const MAX_PRINTED: usize = 200;

/// One key of the document. Keys may repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rke2) struct Entry {
    pub(in crate::rke2) key: String,
    /// The line of the key.
    pub(in crate::rke2) line: u32,
    pub(in crate::rke2) value: Value,
}

impl Entry {
    /// What it takes in memory where it came from `file`, each value with its place.
    pub(in crate::rke2) fn size(&self, file: &str) -> usize {
        /// Bytes that a value takes: the text, the file, the line, and the key once more.
        const EACH: usize = 128;
        let each = EACH + file.len() + self.key.len();
        match &self.value {
            Value::Null => each,
            Value::Text(text) => each + text.len(),
            Value::List(items) => items.iter().map(|item| each + item.text.len()).sum(),
        }
    }
}

/// A value as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rke2) enum Value {
    Null,
    Text(String),
    List(Vec<Item>),
}

/// One item of a list; null is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rke2) struct Item {
    pub(in crate::rke2) text: String,
    pub(in crate::rke2) line: u32,
}

impl Tree {
    /// The entries of a tree that [`Self::check`] found right.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, YamlError> {
        let mut size = 0;
        let mut entries = Vec::new();
        let places: Vec<(Option<usize>, usize, Option<usize>)> = match &self.meant(self.root).kind {
            // What is merged at the top of a configuration is lost: yaml.v2 merges into the list of
            // entries, then replaces that list.
            Kind::Mapping(children) => self
                .pairs(children)
                .filter_map(|pair| match pair {
                    Pair::Entry(key, value) => Some((Some(key), key, Some(value))),
                    Pair::Merge(_) => None,
                })
                .collect(),
            // A list of mappings with a `key` and a `value`, which the type of an entry has as fields.
            Kind::Sequence(items) => {
                let fields = |&item: &usize| {
                    let mut found = (None, item, None);
                    self.fields(item, 0, &mut found);
                    found
                };
                items.iter().map(fields).collect()
            }
            _ => Vec::new(),
        };
        for (key, place, value) in places {
            let line = self.line(place);
            // Aliases share their text in the tree and no longer share it in the entries.
            size += key.map_or(0, |key| self.size(key)) + value.map_or(0, |value| self.size(value));
            if size > 2 * MAX_FILE_SIZE {
                let words = format!("more than {} bytes of values", 2 * MAX_FILE_SIZE);
                return Err(YamlError::BeyondLimits { line: Some(line), words });
            }
            let key = key.map(|key| self.word(key).trim().to_owned()).unwrap_or_default();
            let value = value.map_or(Value::Null, |value| self.value(value));
            entries.push(Entry { key, line, value });
        }
        Ok(entries)
    }

    fn line(&self, index: usize) -> u32 {
        line_of(self.nodes[index].line + 1)
    }

    /// The last `key` and the last `value` of a mapping, with what it merges.
    fn fields(
        &self,
        index: usize,
        depth: usize,
        found: &mut (Option<usize>, usize, Option<usize>),
    ) {
        let Kind::Mapping(children) = &self.meant(index).kind else { return };
        for pair in self.pairs(children) {
            match pair {
                Pair::Entry(key, value) => match self.field(key) {
                    Some(Field::Key) => found.0 = Some(value),
                    Some(Field::Value) => found.2 = Some(value),
                    None => {}
                },
                Pair::Merge(merged) => {
                    for source in self.merged(merged, depth) {
                        self.fields(source, depth + 1, found);
                    }
                }
            }
        }
    }

    /// The mappings that are merged, in yaml.v2's order.
    pub(super) fn merged(&self, value: usize, depth: usize) -> Vec<usize> {
        match &self.nodes[value].kind {
            _ if depth > super::tree::MAX_DEPTH => Vec::new(),
            Kind::Sequence(children) => children.iter().rev().copied().collect(),
            _ => vec![value],
        }
    }

    fn value(&self, index: usize) -> Value {
        match &self.meant(index).kind {
            Kind::Scalar(_) => self.scalar(index).map_or(Value::Null, Value::Text),
            Kind::Sequence(items) => Value::List(
                items
                    .iter()
                    .map(|&item| Item { text: self.word(item), line: self.line(item) })
                    .collect(),
            ),
            _ => Value::Text(self.word(index)),
        }
    }

    /// The bytes that [`Self::value`] would copy.
    fn size(&self, index: usize) -> usize {
        let own = |index: usize| match &self.meant(index).kind {
            Kind::Scalar(scalar) => scalar.text.len(),
            Kind::Sequence(items) => {
                items.first().map_or(0, |&first| match &self.meant(first).kind {
                    Kind::Scalar(scalar) => scalar.text.len(),
                    _ => MAX_PRINTED,
                })
            }
            Kind::Mapping(_) | Kind::Alias { .. } => MAX_PRINTED,
        };
        match &self.meant(index).kind {
            Kind::Sequence(items) => items.iter().map(|&item| own(item)).sum(),
            _ => own(index),
        }
    }

    /// A scalar as Go prints it; `None` for null.
    pub(super) fn scalar(&self, index: usize) -> Option<String> {
        let Kind::Scalar(scalar) = &self.meant(index).kind else { return None };
        work::count(1 + scalar.text.len());
        scalar.resolved().ok()?.print(&scalar.text)
    }

    /// The word that RKE2 makes of one value: of a nested list its first item, of a mapping
    /// what Go prints for it.
    fn word(&self, index: usize) -> String {
        match &self.meant(index).kind {
            Kind::Scalar(_) => self.scalar(index).unwrap_or_default(),
            Kind::Sequence(items) => match items.first() {
                None => String::new(),
                Some(&first) => match &self.meant(first).kind {
                    Kind::Scalar(_) => self.scalar(first).unwrap_or_default(),
                    _ => self.printed(first),
                },
            },
            _ => self.printed(index),
        }
    }

    /// The value of a key of a mapping, of the last one where it repeats.
    pub(in crate::rke2) fn child(&self, mapping: usize, key: &str) -> Option<usize> {
        let Kind::Mapping(children) = &self.meant(mapping).kind else { return None };
        let is_key = |pair: &&[usize]| self.scalar(pair[0]).as_deref() == Some(key);
        children.chunks_exact(2).rfind(is_key).map(|pair| pair[1])
    }

    /// The items of a list.
    pub(in crate::rke2) fn items(&self, list: usize) -> Option<&[usize]> {
        match &self.meant(list).kind {
            Kind::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The same as [`Self::child`] of a scalar, as text.
    pub(in crate::rke2) fn text(&self, mapping: usize, key: &str) -> Option<String> {
        self.scalar(self.child(mapping, key)?)
    }

    /// The node that the document is.
    pub(in crate::rke2) fn top(&self) -> usize {
        self.root
    }
}
