// SPDX-License-Identifier: Apache-2.0
//! A configuration file as RKE2 sees it: the keys of the first document in their order, each
//! value as text, each with its line.
//!
//! Built on parser events and not on deserialization, because RKE2's YAML library (Go's yaml.v2)
//! differs from today's YAML in ways that decide whether a node is hardened: YAML 1.1 booleans
//! and octals, duplicate keys all kept, merge keys dropped, quoted scalars never converted.

use super::tree::{Kind, MAX_DEPTH, Node, Tree};
use super::yaml_error::{YamlError, line_of};
use super::{scalar, shown};

/// The largest configuration file that is read, in bytes.
pub const MAX_FILE_SIZE: usize = 1 << 20;

/// Lines of quoted text without indentation that are read; each is one more attempt.
const MAX_UNINDENTED: usize = 64;

/// The longest text made of a nested structure, which no setting of RKE2 means anyway.
const MAX_PRINTED: usize = 200;

/// One key of the document. Keys may repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// The line of the key.
    pub(super) line: u32,
    pub(super) value: Value,
}

impl Entry {
    /// What it takes in memory where it came from `file`, each value with its place.
    pub(super) fn size(&self, file: &str) -> usize {
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
pub(super) enum Value {
    Null,
    Text(String),
    List(Vec<Item>),
}

/// One item of a list; null is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) text: String,
    pub(super) line: u32,
}

/// Reads the first document of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Entry>, YamlError> {
    if bytes.len() > MAX_FILE_SIZE {
        return Err(YamlError::limit(None, format!("larger than {MAX_FILE_SIZE} bytes")));
    }
    let mut text = decode(bytes)?;
    for _ in 0..=MAX_UNINDENTED {
        match Tree::read(&text) {
            Ok(Some((tree, root))) => return tree.entries(root),
            Ok(None) => return Ok(Vec::new()),
            Err(YamlError::Unindented { line }) => {
                let Some(start) = start_of(&text, line) else {
                    return Err(YamlError::at(line, "found unexpected end of stream"));
                };
                text.insert(start, ' ');
            }
            Err(error) => return Err(error),
        }
    }
    Err(YamlError::limit(None, format!("more than {MAX_UNINDENTED} lines of quoted text")))
}

/// Where a line begins that has something on it.
fn start_of(text: &str, line: u32) -> Option<usize> {
    let before = usize::try_from(line).ok()?.checked_sub(2)?;
    let (newline, _) = text.match_indices('\n').nth(before)?;
    (newline + 1 < text.len()).then_some(newline + 1)
}

/// UTF-8, or UTF-16 with a byte order mark, without control characters: as libyaml reads.
fn decode(bytes: &[u8]) -> Result<String, YamlError> {
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest)?,
        _ => utf8(bytes)?,
    };
    let allowed = |c: char| {
        matches!(c,
            '\t' | '\n' | '\r' | '\u{20}'..='\u{7e}' | '\u{85}' | '\u{a0}'..='\u{d7ff}'
            | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
    };
    match text.char_indices().find(|&(_, c)| !allowed(c)) {
        None => Ok(text),
        Some((offset, _)) => {
            let line = line_at(&text.as_bytes()[..offset]);
            Err(YamlError::plain(line, "control characters are not allowed"))
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<String, YamlError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| {
        let line = line_at(&bytes[..error.valid_up_to()]);
        YamlError::plain(line, "invalid leading UTF-8 octet")
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, YamlError> {
    let pairs = bytes.chunks_exact(2);
    let whole = pairs.remainder().is_empty();
    let units = pairs.map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units)
        .collect::<Result<String, _>>()
        .ok()
        .filter(|_| whole)
        .ok_or_else(|| YamlError::plain(1, "incomplete UTF-16 character"))
}

fn line_at(before: &[u8]) -> u32 {
    line_of(before.iter().filter(|&&b| b == b'\n').count() + 1)
}

impl Tree {
    fn entries(&self, root: usize) -> Result<Vec<Entry>, YamlError> {
        let node = &self.nodes[root];
        if node.count.is_excessive() {
            return Err(YamlError::plain(node.line, "document contains excessive aliasing"));
        }
        let children = match &node.kind {
            Kind::Mapping(children) => children,
            Kind::Scalar(None) => return Ok(Vec::new()),
            Kind::Sequence(items) => return self.items_as_entries(items),
            Kind::Merge | Kind::Scalar(Some(_)) => {
                return Err(YamlError::mismatch(node.line, self.described(root), "MapSlice"));
            }
        };
        let mut entries = Vec::with_capacity(children.len() / 2);
        let mut size = 0;
        for pair in children.chunks_exact(2) {
            let (key, value) = (&self.nodes[pair[0]], &self.nodes[pair[1]]);
            if matches!(key.kind, Kind::Merge) {
                // yaml.v2 merges into the list of keys, then replaces that list: whatever is
                // merged at the top of a configuration is lost.
                self.check_merge(value)?;
                continue;
            }
            // Aliases share their text in the tree and no longer share it in the entries.
            size += self.size(pair[0]) + self.size(pair[1]);
            if size > 2 * MAX_FILE_SIZE {
                let words = format!("more than {} bytes of values", 2 * MAX_FILE_SIZE);
                return Err(YamlError::limit(Some(key.line), words));
            }
            entries.push(Entry {
                key: self.text(pair[0]).trim().to_owned(),
                line: key.line,
                value: self.value(pair[1]),
            });
        }
        Ok(entries)
    }

    /// A list at the top is a list of `key` and `value` to yaml.v2, which has the same type for
    /// its items as for the entries of a mapping.
    fn items_as_entries(&self, items: &[usize]) -> Result<Vec<Entry>, YamlError> {
        let mut entries = Vec::with_capacity(items.len());
        for &item in items {
            let node = &self.nodes[item];
            let mut entry = Entry { key: String::new(), line: node.line, value: Value::Null };
            match &node.kind {
                Kind::Scalar(None) => {}
                Kind::Mapping(children) => {
                    for pair in children.chunks_exact(2) {
                        match self.text(pair[0]).as_str() {
                            "key" => entry.key = self.text(pair[1]).trim().to_owned(),
                            "value" => entry.value = self.value(pair[1]),
                            _ => {}
                        }
                    }
                }
                _ => return Err(YamlError::mismatch(node.line, self.described(item), "MapItem")),
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// A node as yaml.v2 names it in an error.
    fn described(&self, index: usize) -> String {
        let text = match &self.nodes[index].kind {
            Kind::Sequence(_) => return "!!seq".into(),
            Kind::Mapping(_) => return "!!map".into(),
            Kind::Merge => "<<",
            Kind::Scalar(text) => text.as_deref().unwrap_or_default(),
        };
        // Where RKE2's library has the value itself, which may be a token.
        let shown = shown::beginning(text);
        format!("{} `{shown}`", scalar::resolve(text).tag())
    }

    fn check_merge(&self, value: &Node) -> Result<(), YamlError> {
        let is_mapping = |node: &Node| matches!(node.kind, Kind::Mapping(_));
        let fits = match &value.kind {
            Kind::Sequence(items) => items.iter().all(|&item| is_mapping(&self.nodes[item])),
            _ => is_mapping(value),
        };
        if fits {
            return Ok(());
        }
        let words = "map merge requires map or sequence of maps as the value";
        Err(YamlError::plain(value.line, words))
    }

    fn value(&self, index: usize) -> Value {
        match &self.nodes[index].kind {
            Kind::Scalar(None) => Value::Null,
            Kind::Sequence(items) => Value::List(
                items
                    .iter()
                    .map(|&item| Item { text: self.text(item), line: self.nodes[item].line })
                    .collect(),
            ),
            _ => Value::Text(self.text(index)),
        }
    }

    /// The bytes that [`Self::value`] would copy.
    fn size(&self, index: usize) -> usize {
        let own = |index: usize| match &self.nodes[index].kind {
            Kind::Scalar(text) => text.as_ref().map_or(0, String::len),
            Kind::Sequence(items) => {
                items.first().map_or(0, |&first| match &self.nodes[first].kind {
                    Kind::Scalar(Some(text)) => text.len(),
                    _ => MAX_PRINTED,
                })
            }
            Kind::Merge | Kind::Mapping(_) => MAX_PRINTED,
        };
        match &self.nodes[index].kind {
            Kind::Sequence(items) => items.iter().map(|&item| own(item)).sum(),
            _ => own(index),
        }
    }

    /// The word that RKE2 makes of one value: of a nested list its first item, of a mapping
    /// what Go prints for it.
    fn text(&self, index: usize) -> String {
        match &self.nodes[index].kind {
            Kind::Scalar(text) => text.clone().unwrap_or_default(),
            Kind::Merge => "<<".into(),
            Kind::Sequence(items) => match items.first() {
                None => String::new(),
                Some(&first) => match &self.nodes[first].kind {
                    Kind::Scalar(text) => text.clone().unwrap_or_default(),
                    _ => self.printed(first),
                },
            },
            Kind::Mapping(_) => self.printed(index),
        }
    }

    fn printed(&self, index: usize) -> String {
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
        // No loop goes on when it is long enough, or each of the levels above would add its own.
        let is_short = |out: &String| out.len() <= MAX_PRINTED;
        match &self.nodes[index].kind {
            Kind::Scalar(text) => {
                out.extend(text.as_deref().unwrap_or("<nil>").chars().take(MAX_PRINTED));
            }
            Kind::Merge => out.push_str("<<"),
            Kind::Sequence(items) => {
                out.push('[');
                for (position, &item) in items.iter().enumerate() {
                    if !is_short(out) {
                        break;
                    }
                    if position > 0 {
                        out.push(' ');
                    }
                    self.print(item, depth + 1, out);
                }
                out.push(']');
            }
            Kind::Mapping(children) => {
                out.push('[');
                for (position, pair) in children.chunks_exact(2).enumerate() {
                    if !is_short(out) {
                        break;
                    }
                    if position > 0 {
                        out.push(' ');
                    }
                    out.push('{');
                    self.print(pair[0], depth + 1, out);
                    out.push(' ');
                    self.print(pair[1], depth + 1, out);
                    out.push('}');
                }
                out.push(']');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_quoted_text_without_indentation_are_read_to_a_limit() {
        let text = |lines: usize| format!("a: \"x\n{}\"\n", "y\n".repeat(lines));
        assert_eq!(parse(text(MAX_UNINDENTED).as_bytes()).unwrap().len(), 1);
        let refused = parse(text(MAX_UNINDENTED + 1).as_bytes());
        assert!(matches!(refused, Err(YamlError::BeyondLimits { .. })), "{refused:?}");
    }

    #[test]
    fn of_a_nested_value_no_more_is_printed_than_the_limit() {
        // A key is no longer in YAML.
        let long = "y".repeat(1000);
        let nested = "[".repeat(MAX_DEPTH - 2) + &long + &"]".repeat(MAX_DEPTH - 2);
        for value in [
            format!("{{a: [{}]}}", "x, ".repeat(5000)),
            format!("{{{}}}", (0..5000).map(|n| format!("k{n}: v, ")).collect::<String>()),
            format!("{{{long}: {long}}}"),
            format!("{{a: {nested}}}"),
        ] {
            let entries = parse(format!("key: {value}\n").as_bytes()).unwrap();
            let Value::Text(text) = &entries[0].value else { panic!("{entries:?}") };
            // The last word is cut by itself, and what is open is closed.
            let length = text.chars().count();
            assert!(length <= 2 * MAX_PRINTED + 2 * MAX_DEPTH, "{length}: {text}");
        }
    }
}
