// SPDX-License-Identifier: Apache-2.0
//! A nested value as Go's `fmt.Sprint` prints it, to a length that no setting of RKE2 has.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::check::Pair;
use super::entries::MAX_PRINTED;
use super::resolve::Resolved;
use super::tree::{Kind, MAX_DEPTH, Tree};
use super::work;

impl Tree {
    pub(super) fn printed(&self, index: usize) -> String {
        let mut out = String::new();
        self.print(index, 0, &mut out);
        out
    }

    fn print(&self, index: usize, depth: usize, out: &mut String) {
        if out.len() > MAX_PRINTED || depth > MAX_DEPTH {
            if !out.ends_with('…') {
                out.push('…');
            }
            return;
        }
        match &self.meant(index).kind {
            Kind::Scalar(_) => {
                let text = self.scalar(index);
                let text = text.as_deref().unwrap_or("<nil>");
                match text.char_indices().nth(MAX_PRINTED) {
                    Some((end, _)) => {
                        out.push_str(&text[..end]);
                        out.push('…');
                    }
                    None => out.push_str(text),
                }
            }
            Kind::Sequence(items) => {
                print_all(out, ("[", "]"), items, |&item, out| self.print(item, depth + 1, out));
            }
            Kind::Mapping(children) if self.is_list() => {
                let mut pairs = Vec::new();
                self.go_map(children, 0, &mut pairs);
                print_all(out, ("map[", "]"), &pairs, |&(key, value), out| {
                    self.print(key, depth + 1, out);
                    out.push(':');
                    self.print(value, depth + 1, out);
                });
            }
            Kind::Mapping(children) => {
                // As at the top, what is merged is lost.
                let entry = |pair| match pair {
                    Pair::Entry(key, value) => Some((key, value)),
                    Pair::Merge(_) => None,
                };
                // As many as can be printed.
                let pairs: Vec<_> =
                    self.pairs(children).filter_map(entry).take(MAX_PRINTED).collect();
                print_all(out, ("[", "]"), &pairs, |&(key, value), out| {
                    out.push('{');
                    self.print(key, depth + 1, out);
                    out.push(' ');
                    self.print(value, depth + 1, out);
                    out.push('}');
                });
            }
            Kind::Alias { .. } => {}
        }
    }

    /// The entries of one of Go's maps, as Go prints them: each key once, in their order.
    fn go_map(&self, children: &[usize], depth: usize, entries: &mut Vec<(usize, usize)>) {
        for pair in self.pairs(children) {
            work::count(1);
            match pair {
                Pair::Entry(key, value) => entries.push((key, value)),
                Pair::Merge(value) => {
                    for source in self.merged(value, depth) {
                        if let Kind::Mapping(children) = &self.meant(source).kind {
                            self.go_map(children, depth + 1, entries);
                        }
                    }
                }
            }
        }
        if depth == 0 {
            let mut keyed: Vec<(Key<'_>, (usize, usize))> =
                entries.iter().map(|&entry| (self.key(entry.0), entry)).collect();
            // The sort is stable, so the last one of equal keys is the one that counts.
            keyed.sort_by(|(a, _), (b, _)| a.order(b));
            keyed.reverse();
            keyed.dedup_by(|(a, _), (b, _)| a.is_same(b));
            keyed.reverse();
            *entries = keyed.into_iter().map(|(_, entry)| entry).collect();
        }
    }

    fn key(&self, index: usize) -> Key<'_> {
        let Kind::Scalar(scalar) = &self.meant(index).kind else { return Key::Nothing };
        match scalar.resolved() {
            Ok(Resolved::Null) | Err(_) => Key::Nothing,
            Ok(Resolved::Bool(value)) => Key::Bool(value),
            Ok(Resolved::Int(value)) => Key::Int(value),
            Ok(Resolved::Float(value)) => Key::Float(value),
            Ok(Resolved::Binary(text)) => Key::Text(text.into()),
            Ok(Resolved::Timestamp | Resolved::Text) => Key::Text(scalar.text.as_str().into()),
        }
    }
}

fn print_all<T>(
    out: &mut String,
    (begin, end): (&str, &str),
    items: &[T],
    mut print: impl FnMut(&T, &mut String),
) {
    out.push_str(begin);
    for (position, item) in items.iter().enumerate() {
        // No loop goes on when it is long enough, or each of the levels above would add its own.
        if out.len() > MAX_PRINTED {
            if !out.ends_with('…') {
                out.push('…');
            }
            break;
        }
        if position > 0 {
            out.push(' ');
        }
        print(item, out);
    }
    out.push_str(end);
}

/// A key of one of Go's maps. Keys of different types are ordered by where the linker put the
/// types; this is the order that Go 1.26 gives.
enum Key<'t> {
    Nothing,
    Text(Cow<'t, str>),
    Int(i128),
    Float(f64),
    Bool(bool),
}

impl Key<'_> {
    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => self.rank().cmp(&other.rank()).then(a.cmp(b)),
            (Self::Float(a), Self::Float(b)) => match (a.is_nan(), b.is_nan()) {
                (false, false) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
                (a, b) => b.cmp(&a),
            },
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Text(_) => 1,
            // A type of its own.
            Self::Int(value) if i64::try_from(*value).is_err() => 2,
            Self::Int(_) => 3,
            Self::Float(_) => 4,
            Self::Bool(_) => 5,
        }
    }

    /// Whether one takes the place of the other. What is not a number is never the same as anything.
    fn is_same(&self, other: &Self) -> bool {
        let is_nan = matches!(self, Self::Float(value) if value.is_nan());
        !is_nan && self.order(other) == Ordering::Equal
    }
}
