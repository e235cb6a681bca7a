// SPDX-License-Identifier: Apache-2.0
//! A YAML document as a tree that no input makes larger than itself.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{
    ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, StrInput, StructureStyle, Tag, options,
};

use super::libyaml;
use super::scalar::{self, Scalar};
use super::shown::HIDDEN;
use super::yaml_error::{YamlError, line_of};

/// The most nodes (keys, values, list items) of one file. A real configuration has a few hundred.
const MAX_NODES: usize = 20_000;

/// The deepest nesting. RKE2's own settings need two levels.
pub(super) const MAX_DEPTH: usize = 64;

/// The document's nodes in one vector, children by index: an alias is its anchor's index, so
/// that no input makes this larger than itself, and nothing is freed recursively.
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

pub(super) struct Node {
    pub(super) line: u32,
    pub(super) kind: Kind,
    pub(super) count: Count,
}

pub(super) enum Kind {
    /// `None` for null.
    Scalar(Option<String>),
    /// An unquoted `<<`.
    Merge,
    Sequence(Vec<usize>),
    /// Keys and values in turn.
    Mapping(Vec<usize>),
}

/// How many steps yaml.v2 would need to decode a node, and how many of them below an alias.
#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    steps: u64,
    aliased: u64,
}

/// A collection whose end has not come.
struct Open {
    line: u32,
    anchor: usize,
    mapping: bool,
    /// In brackets.
    flow: bool,
    children: Vec<usize>,
    count: Count,
}

/// Gathers nodes while the events come.
#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    /// How often an alias stands for a node; counted against the same limit, since a list of a
    /// million aliases is as long as a list of a million words.
    references: usize,
    open: Vec<Open>,
    /// `None` while the anchored node is not complete.
    anchors: HashMap<usize, Option<usize>>,
    root: Option<usize>,
}

impl Builder {
    fn add(&mut self, anchor: usize, node: Node) -> Result<(), YamlError> {
        self.check_limit(node.line)?;
        let count = node.count;
        let index = self.nodes.len();
        self.nodes.push(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Some(index));
        }
        self.attach(index, count);
        Ok(())
    }

    /// What yaml.v2 refuses and the parser does not.
    fn check(&self, text: &str, event: &Event<'_>, span: Span) -> Result<(), &'static str> {
        let start = span.start.byte_offset().unwrap_or_default();
        let before = text.get(..start).unwrap_or_default();
        let parent = self.open.last();
        let is_key = parent.is_some_and(|open| open.mapping && open.children.len() % 2 == 0);
        if let Event::Scalar(_, ScalarStyle::DoubleQuoted, ..) = event {
            libyaml::check_escapes(span.slice(text).unwrap_or_default())?;
        }
        match (parent.filter(|open| open.flow), event) {
            (Some(open), Event::Scalar(value, style, ..)) => {
                if is_key && span.start.line() != span.end.line() {
                    libyaml::check_long_key(before)?;
                }
                let is_plain = *style == ScalarStyle::Plain;
                if is_plain { libyaml::check_flow_plain(value, open.mapping) } else { Ok(()) }
            }
            (Some(_), _) => Ok(()),
            (None, Event::Scalar(_, ScalarStyle::Plain, 0, None)) if span.is_empty() => {
                if is_key {
                    libyaml::check_empty_key(before)
                } else {
                    Ok(())
                }
            }
            (None, _) => libyaml::check_tab(before),
        }
    }

    fn check_limit(&self, line: u32) -> Result<(), YamlError> {
        if self.nodes.len() + self.references < MAX_NODES {
            return Ok(());
        }
        let words = format!("more than {MAX_NODES} keys and values");
        Err(YamlError::limit(Some(line), words))
    }

    fn attach(&mut self, index: usize, count: Count) {
        match self.open.last_mut() {
            Some(parent) => {
                parent.children.push(index);
                parent.count.steps = parent.count.steps.saturating_add(count.steps);
                parent.count.aliased = parent.count.aliased.saturating_add(count.aliased);
            }
            None => self.root = Some(index),
        }
    }

    fn begin(&mut self, line: u32, anchor: usize, mapping: bool, flow: bool) {
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        let count = Count { steps: 1, aliased: 0 };
        self.open.push(Open { line, anchor, mapping, flow, children: Vec::new(), count });
    }

    fn end(&mut self) -> Result<(), YamlError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let kind =
            if open.mapping { Kind::Mapping(open.children) } else { Kind::Sequence(open.children) };
        self.add(open.anchor, Node { line: open.line, kind, count: open.count })
    }

    fn alias(&mut self, id: usize, line: u32) -> Result<(), YamlError> {
        self.check_limit(line)?;
        self.references += 1;
        let index = match self.anchors.get(&id) {
            Some(Some(index)) => *index,
            _ => return Err(YamlError::plain(line, "anchor value contains itself")),
        };
        let steps = self.nodes[index].count.steps;
        let count = Count { steps: steps.saturating_add(1), aliased: steps };
        self.attach(index, count);
        Ok(())
    }
}

impl Tree {
    /// The tree of the first document and the index of its root; `None` for an empty file.
    pub(super) fn read(text: &str) -> Result<Option<(Self, usize)>, YamlError> {
        let options = options! {
            emit_comments: false,
            emit_anchor_events: true,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        libyaml::check_prologue(text).map_err(|(line, words)| YamlError::plain(line, words))?;
        let mut builder = Builder::default();
        let parser: Parser<'_, StrInput<'_>> = Parser::new_from_str_with_options(text, options);
        for next in parser {
            let (event, span) = match next {
                // yaml.v2 does not look far beyond the first value: a bracket too many at the
                // end is no error.
                Err(error) if builder.root.is_some() && libyaml::is_overlooked(error.kind()) => {
                    break;
                }
                // The same on the line of that value's end, which the parser has not told yet.
                Err(error)
                    if matches!(error.kind(), ErrorKind::MisplacedFlowCollectionEnd)
                        && text.trim_start().starts_with('{') =>
                {
                    let end = error.marker().byte_offset().unwrap_or_default();
                    return match text.get(..end) {
                        Some(before) if end > 0 => Self::read(before),
                        _ => Err(YamlError::scanned(text, &error)),
                    };
                }
                Err(error) => return Err(YamlError::scanned(text, &error)),
                Ok(_) if builder.root.is_some() => break,
                Ok(next) => next,
            };
            let line = line_of(span.start.line());
            if event.is_node() {
                builder.check(text, &event, span).map_err(|words| YamlError::at(line, words))?;
            }
            match event {
                Event::DocumentStart(_, version) => libyaml::check_version(version.as_ref())
                    .map_err(|words| YamlError::plain(line, words))?,
                Event::DocumentEnd | Event::StreamEnd => break,
                Event::Scalar(text, style, anchor, tag) => {
                    let kind = scalar_kind(&text, style, tag.as_deref(), line)?;
                    let count = Count { steps: 1, aliased: 0 };
                    builder.add(anchor, Node { line, kind, count })?;
                }
                Event::SequenceStart(style, anchor, _) => {
                    builder.begin(line, anchor, false, style == StructureStyle::Flow);
                }
                Event::MappingStart(style, anchor, _) => {
                    builder.begin(line, anchor, true, style == StructureStyle::Flow);
                }
                Event::SequenceEnd | Event::MappingEnd => builder.end()?,
                Event::Alias(id) => builder.alias(id, line)?,
                Event::Anchor(_, name) => {
                    libyaml::check_anchor(&name).map_err(|words| YamlError::at(line, words))?
                }
                _ => {}
            }
        }
        Ok(builder.root.map(|root| (Self { nodes: builder.nodes }, root)))
    }
}

impl Count {
    /// yaml.v2's own protection against alias bombs.
    pub(super) fn is_excessive(self) -> bool {
        const LOW: f64 = 400_000.0;
        const HIGH: f64 = 4_000_000.0;
        if self.aliased <= 100 || self.steps <= 1000 {
            return false;
        }
        #[allow(clippy::cast_precision_loss)] // A ratio; the last digits do not count.
        let (aliased, steps) = (self.aliased as f64, self.steps as f64);
        let share = ((steps - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
        aliased / steps > 0.99 - 0.89 * share
    }
}

/// What a scalar is to yaml.v2, which looks at the tag first, then at the quotes.
fn scalar_kind(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    line: u32,
) -> Result<Kind, YamlError> {
    let plain = style == ScalarStyle::Plain;
    let resolved = match tag {
        None if !plain => return Ok(Kind::Scalar(Some(text.to_owned()))),
        None if text == "<<" => return Ok(Kind::Merge),
        None => scalar::resolve(text),
        Some(tag) if tag.original() == "!" && plain => scalar::resolve(text),
        Some(tag) => match tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref() {
            Some("merge") if text == "<<" => return Ok(Kind::Merge),
            Some(wanted @ ("bool" | "int" | "float" | "null" | "timestamp")) => {
                tagged(text, wanted, line)?
            }
            Some("binary") => {
                return Err(YamlError::limit(Some(line), "!!binary values are not read"));
            }
            _ => Scalar::Text,
        },
    };
    Ok(Kind::Scalar(resolved.print(text)))
}

fn tagged(text: &str, wanted: &str, line: u32) -> Result<Scalar, YamlError> {
    let resolved = scalar::resolve(text);
    let fits = match resolved {
        // The only conversion there is.
        Scalar::Int(value) if wanted == "float" => {
            #[allow(clippy::cast_precision_loss)] // As Go converts it.
            return Ok(Scalar::Float(value as f64));
        }
        other => other.tag().trim_start_matches('!') == wanted,
    };
    if fits {
        return Ok(resolved);
    }
    // Where RKE2's library has the value itself, which may be a token.
    let words = format!("cannot decode {} `{HIDDEN}` as a !!{wanted}", resolved.tag());
    Err(YamlError::plain(line, words))
}

impl YamlError {
    /// What the parser met in `text`.
    pub(super) fn scanned(text: &str, error: &ScanError) -> Self {
        let line = line_of(error.marker().line());
        match error.kind() {
            ErrorKind::RecursionLimitExceeded => {
                Self::limit(Some(line), format!("nested more than {MAX_DEPTH} levels deep"))
            }
            ErrorKind::InvalidQuotedScalarIndent => Self::Unindented { line },
            // yaml.v2 takes it; the parser used here knows no other way than to refuse it.
            ErrorKind::CommentNotSeparated => Self::limit(Some(line), error.info()),
            ErrorKind::TabInPlainScalar => {
                // The mark is where the scalar begins, the tab is on a line below.
                let is_indented_by_tab =
                    |line: &str| line.trim_start_matches(' ').starts_with('\t');
                let first = error.marker().line().saturating_sub(1);
                let below = text.lines().skip(first).position(is_indented_by_tab);
                Self::at(line.saturating_add(line_of(below.unwrap_or(0))), error.info())
            }
            _ => Self::at(line, error.info()),
        }
    }
}
