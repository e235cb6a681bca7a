// SPDX-License-Identifier: Apache-2.0
//! What yaml.v2 refuses of a document that is grammatical: values that do not fit, and aliases that
//! expand to too much or to themselves.
//!
//! It decodes each alias as often as it stands there, and counts. The first thing that it refuses is
//! what it tells, so this goes its way, with the same counts. That is bounded: when a file has no
//! more nodes than [`super::tree::MAX_NODES`], the count of what comes from aliases is refused
//! before some 520,000 steps.

use super::error::{YamlError, line_of};
use super::resolve::{Resolved, short};
use super::tree::{Kind, Node, Scalar, Tree};
use super::work;
use crate::rke2::shown;

/// How many values of the wrong kind are told.
const MISMATCHES_TOLD: usize = 8;

/// What a node is decoded into.
#[derive(Clone, Copy, PartialEq)]
enum Into {
    /// The whole configuration.
    Entries,
    /// One entry of a configuration that is a list.
    Entry,
    /// The name of a field of such an entry.
    Name,
    Anything,
}

/// A collection or an alias that is being decoded, with its next child.
enum Open {
    Alias(usize),
    Sequence {
        node: usize,
        next: usize,
        into: Into,
    },
    Mapping {
        node: usize,
        next: usize,
        into: Into,
    },
    /// A list of mappings to merge, from its end.
    Merges {
        node: usize,
        left: usize,
        into: Into,
    },
}

struct Check<'t> {
    tree: &'t Tree,
    open: Vec<Open>,
    /// The aliases that are being decoded.
    active: Vec<bool>,
    depth: usize,
    steps: u32,
    aliased: u32,
    mismatches: Vec<(usize, String)>,
}

impl Tree {
    /// Whether yaml.v2 decodes it.
    pub(super) fn check(&self) -> Result<(), YamlError> {
        let mut check = Check {
            tree: self,
            open: Vec::new(),
            active: vec![false; self.nodes.len()],
            depth: 0,
            steps: 1, // The document.
            aliased: 0,
            mismatches: Vec::new(),
        };
        check.decode(self.root, Into::Entries)?;
        while let Some(open) = check.open.pop() {
            check.step(open)?;
        }
        check.end()
    }

    /// Whether the configuration is a list, whose mappings yaml.v2 decodes into Go's own.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.nodes[self.root].kind, Kind::Sequence(_))
    }

    fn is_merge(&self, index: usize) -> bool {
        matches!(&self.nodes[index].kind, Kind::Scalar(scalar) if scalar.is_merge())
    }

    /// Whether it names one of the two fields that an entry has.
    pub(super) fn field(&self, index: usize) -> Option<Field> {
        let Kind::Scalar(scalar) = &self.meant(index).kind else { return None };
        let name = match scalar.resolved() {
            Ok(Resolved::Null) | Err(_) => return None,
            Ok(Resolved::Binary(text)) => text,
            Ok(_) => scalar.text.clone(),
        };
        match name.as_str() {
            "key" => Some(Field::Key),
            "value" => Some(Field::Value),
            _ => None,
        }
    }

    /// The pairs of a mapping, each with what it merges where its key is `<<`.
    pub(super) fn pairs(&self, children: &[usize]) -> impl Iterator<Item = Pair> {
        children.chunks_exact(2).map(|pair| match self.is_merge(pair[0]) {
            true => Pair::Merge(pair[1]),
            false => Pair::Entry(pair[0], pair[1]),
        })
    }
}

/// A field of an entry, where the configuration is a list.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Field {
    Key,
    Value,
}

pub(super) enum Pair {
    Entry(usize, usize),
    Merge(usize),
}

impl Check<'_> {
    fn decode(&mut self, index: usize, into: Into) -> Result<(), YamlError> {
        self.count(index)?;
        let mut index = index;
        if let Kind::Alias { anchor, target } = &self.tree.nodes[index].kind {
            if self.active[index] {
                let line = self.tree.nodes[index].line;
                let words = format!("anchor '{}' value contains itself", shown::name(anchor));
                return Err(YamlError::plain(line + 1, words));
            }
            self.active[index] = true;
            self.depth += 1;
            self.open.push(Open::Alias(index));
            index = *target;
            self.count(index)?;
        }
        let node = &self.tree.nodes[index];
        match (&node.kind, into) {
            (Kind::Scalar(scalar), _) => self.scalar(node, scalar, into)?,
            (Kind::Sequence(_), Into::Entries) => {
                self.open.push(Open::Sequence { node: index, next: 0, into: Into::Entry });
            }
            (Kind::Sequence(_), Into::Anything) => {
                self.open.push(Open::Sequence { node: index, next: 0, into });
            }
            (Kind::Sequence(_), _) => self.mismatch(node, "!!seq".into(), into),
            (Kind::Mapping(_), Into::Name) => self.mismatch(node, "!!map".into(), into),
            (Kind::Mapping(_), _) => self.open.push(Open::Mapping { node: index, next: 0, into }),
            // An alias has no anchor.
            (Kind::Alias { .. }, _) => {}
        }
        Ok(())
    }

    /// yaml.v2's own protection against aliases that expand without end.
    fn count(&mut self, index: usize) -> Result<(), YamlError> {
        const LOW: f64 = 400_000.0;
        const HIGH: f64 = 4_000_000.0;
        work::count(1);
        self.steps = self.steps.saturating_add(1);
        if self.depth > 0 {
            self.aliased = self.aliased.saturating_add(1);
        }
        if self.aliased <= 100 || self.steps <= 1000 {
            return Ok(());
        }
        let (aliased, steps) = (f64::from(self.aliased), f64::from(self.steps));
        let share = ((steps - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
        if aliased / steps <= 0.99 - 0.89 * share {
            return Ok(());
        }
        let line = self.tree.nodes[index].line;
        Err(YamlError::plain(line + 1, "document contains excessive aliasing"))
    }

    fn scalar(&mut self, node: &Node, scalar: &Scalar, into: Into) -> Result<(), YamlError> {
        let resolved = scalar.resolved().map_err(|words| YamlError::plain(node.line + 1, words))?;
        let fits = matches!(into, Into::Name | Into::Anything) || resolved == Resolved::Null;
        if !fits {
            let tag = match short(&scalar.tag) {
                tag if tag.is_empty() => resolved.tag().to_owned(),
                tag if is_shown(&tag) => tag,
                _ => format!("!{}", shown::HIDDEN),
            };
            // Where RKE2's library has the value itself, which may be a token.
            let what = match tag.as_str() {
                "!!map" | "!!seq" if scalar.text.is_empty() => tag,
                "!!map" | "!!seq" => format!("{tag}{}", shown::HIDDEN),
                _ => format!("{tag} `{}`", shown::beginning(&scalar.text)),
            };
            self.mismatch(node, what, into);
        }
        Ok(())
    }

    /// Goes on with a collection, whose place on the stack is kept while it is not at its end.
    fn step(&mut self, open: Open) -> Result<(), YamlError> {
        match open {
            Open::Alias(node) => {
                self.active[node] = false;
                self.depth -= 1;
            }
            Open::Sequence { node, next, into } => {
                if let Some(child) = self.child(node, next) {
                    self.open.push(Open::Sequence { node, next: next + 1, into });
                    self.decode(child, into)?;
                }
            }
            Open::Mapping { node, next, into } => self.pair(node, next, into)?,
            Open::Merges { node, left, into } => {
                if let Some(left) = left.checked_sub(1)
                    && let Some(child) = self.child(node, left)
                {
                    self.open.push(Open::Merges { node, left, into });
                    self.merge_one(child, into)?;
                }
            }
        }
        Ok(())
    }

    fn child(&self, node: usize, at: usize) -> Option<usize> {
        match &self.tree.nodes[node].kind {
            Kind::Sequence(children) | Kind::Mapping(children) => children.get(at).copied(),
            _ => None,
        }
    }

    /// A key or a value of a mapping.
    fn pair(&mut self, node: usize, next: usize, into: Into) -> Result<(), YamlError> {
        let Some(child) = self.child(node, next) else { return Ok(()) };
        let is_key = next.is_multiple_of(2);
        if is_key && self.tree.is_merge(child) {
            self.open.push(Open::Mapping { node, next: next + 2, into });
            return match self.child(node, next + 1) {
                Some(value) => self.merge(value, into),
                None => Ok(()),
            };
        }
        self.open.push(Open::Mapping { node, next: next + 1, into });
        let key = if is_key { child } else { self.child(node, next - 1).unwrap_or(child) };
        match into {
            Into::Entry if is_key => self.decode(child, Into::Name),
            // Whatever else is there is not looked at.
            Into::Entry if self.tree.field(key).is_none() => Ok(()),
            _ if is_key => self.decode(child, Into::Anything),
            _ => {
                let is_scalar = matches!(self.tree.meant(key).kind, Kind::Scalar(_));
                if self.tree.is_list() && !is_scalar {
                    let line = self.tree.nodes[key].line;
                    let words = format!("invalid map key: {}", shown::HIDDEN);
                    return Err(YamlError::plain(line + 1, words));
                }
                self.decode(child, Into::Anything)
            }
        }
    }

    fn merge(&mut self, value: usize, into: Into) -> Result<(), YamlError> {
        match &self.tree.nodes[value].kind {
            Kind::Sequence(children) => {
                self.open.push(Open::Merges { node: value, left: children.len(), into });
                Ok(())
            }
            _ => self.merge_one(value, into),
        }
    }

    fn merge_one(&mut self, value: usize, into: Into) -> Result<(), YamlError> {
        if matches!(self.tree.meant(value).kind, Kind::Mapping(_)) {
            return self.decode(value, into);
        }
        let line = self.tree.nodes[value].line;
        let words = "map merge requires map or sequence of maps as the value";
        Err(YamlError::plain(line + 1, words))
    }

    fn mismatch(&mut self, node: &Node, what: String, into: Into) {
        let into = match into {
            Into::Entries => "yaml.MapSlice",
            Into::Entry => "yaml.MapItem",
            Into::Name => "string",
            Into::Anything => return,
        };
        if self.mismatches.len() < MISMATCHES_TOLD {
            let line = node.line + 1;
            let words = format!("line {line}: cannot unmarshal {what} into {into}");
            self.mismatches.push((line, words));
        }
    }

    fn end(self) -> Result<(), YamlError> {
        let Some((line, _)) = self.mismatches.first() else { return Ok(()) };
        let line = Some(line_of(*line));
        let told: Vec<&str> = self.mismatches.iter().map(|(_, words)| words.as_str()).collect();
        let words = format!("yaml: unmarshal errors: {}", told.join(", "));
        Err(YamlError::Invalid { line, words })
    }
}

/// Whether a tag is a name. It may be anything, in escapes even what no terminal should get.
fn is_shown(tag: &str) -> bool {
    let name = tag.trim_start_matches('!');
    shown::name(name) == name
}
