// SPDX-License-Identifier: Apache-2.0
//! Tokens to the tree of the first document, without recursion.

use std::collections::HashMap;

use super::error::YamlError;
use super::scanner::Scanner;
use super::token::TokenKind;
use super::tree::{Kind, MAX_DEPTH, MAX_NODES, Node, Scalar, Tree};
use super::work;
use crate::rke2::shown;

/// A collection whose end has not come.
struct Open {
    node: usize,
    at: Place,
}

/// What comes next in it.
#[derive(Clone, Copy)]
enum Place {
    BlockEntry,
    /// A list whose lines begin where the key above it does.
    IndentlessEntry,
    BlockKey,
    BlockValue,
    FlowEntry {
        first: bool,
    },
    FlowKey {
        first: bool,
    },
    FlowValue,
    /// The value of a key in brackets that had no colon.
    FlowNoValue,
    /// A single key and value in a list in brackets.
    PairKey,
    PairValue,
    PairEnd,
}

/// Where a node stands, which says what it may be.
#[derive(Clone, Copy, PartialEq)]
enum Context {
    Flow,
    Block,
    /// Also a list without indentation of its own.
    BlockOrIndentless,
}

struct Grammar<'a> {
    scanner: Scanner<'a>,
    nodes: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<String, usize>,
    /// Prefixes by the handle that stands for them.
    handles: HashMap<Vec<u8>, Vec<u8>>,
}

impl Tree {
    /// The first document; `None` of a file without one.
    pub(in crate::rke2) fn read(bytes: &[u8]) -> Result<Option<Self>, YamlError> {
        let mut grammar = Grammar {
            scanner: Scanner::new(bytes),
            nodes: Vec::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            handles: HashMap::new(),
        };
        if !grammar.document()? {
            return Ok(None);
        }
        // yaml.v2 makes sure that the document has ended, and looks no further.
        grammar.scanner.peek()?;
        Ok(Some(Self { nodes: grammar.nodes, root: 0 }))
    }
}

impl Grammar<'_> {
    /// Whether there is a document.
    fn document(&mut self) -> Result<bool, YamlError> {
        use TokenKind::{DocumentEnd, DocumentStart, StreamEnd, TagDirective, Version};
        let content = match self.scanner.peek()?.kind {
            StreamEnd => return Ok(false),
            Version { .. } | TagDirective { .. } | DocumentStart => {
                self.directives()?;
                let token = self.scanner.peek()?;
                if token.kind != DocumentStart {
                    let line = token.line;
                    let words = "did not find expected <document start>";
                    return Err(self.scanner.misplaced(line, words));
                }
                self.scanner.next();
                !matches!(
                    self.scanner.peek()?.kind,
                    Version { .. } | TagDirective { .. } | DocumentStart | DocumentEnd | StreamEnd
                )
            }
            _ => {
                self.directives()?;
                true
            }
        };
        if content {
            self.node(Context::Block)?
        } else {
            self.nothing_here()?
        }
        while let Some(at) = self.open.last().map(|open| open.at) {
            self.step(at)?;
        }
        Ok(true)
    }

    fn directives(&mut self) -> Result<(), YamlError> {
        let mut has_version = false;
        loop {
            let token = self.scanner.peek()?;
            let line = token.line;
            match &token.kind {
                TokenKind::Version { .. } if has_version => {
                    return Err(self.scanner.misplaced(line, "found duplicate %YAML directive"));
                }
                TokenKind::Version { major: 1, minor: 1 } => has_version = true,
                TokenKind::Version { .. } => {
                    return Err(self.scanner.misplaced(line, "found incompatible YAML document"));
                }
                TokenKind::TagDirective { handle, prefix } => {
                    if self.handles.insert(handle.clone(), prefix.clone()).is_some() {
                        let words = "found duplicate %TAG directive";
                        return Err(self.scanner.misplaced(line, words));
                    }
                }
                _ => break,
            }
            self.scanner.next();
        }
        for (handle, prefix) in [("!", "!"), ("!!", "tag:yaml.org,2002:")] {
            self.handles.entry(handle.into()).or_insert_with(|| prefix.into());
        }
        Ok(())
    }

    /// One step in the innermost collection.
    fn step(&mut self, at: Place) -> Result<(), YamlError> {
        work::count(1);
        match at {
            Place::BlockEntry => self.block_entry(),
            Place::IndentlessEntry => self.indentless_entry(),
            Place::BlockKey => self.block_key(),
            Place::BlockValue => self.block_value(),
            Place::FlowEntry { first } => self.flow_entry(first),
            Place::FlowKey { first } => self.flow_key(first),
            Place::FlowValue => self.flow_value(),
            Place::FlowNoValue => {
                self.go_to(Place::FlowKey { first: false });
                self.nothing_here()
            }
            Place::PairKey => self.pair_key(),
            Place::PairValue => self.pair_value(),
            Place::PairEnd => {
                self.scanner.peek()?;
                self.open.pop();
                Ok(())
            }
        }
    }

    fn go_to(&mut self, place: Place) {
        if let Some(open) = self.open.last_mut() {
            open.at = place;
        }
    }

    /// Ends the innermost collection with its closing token.
    fn close(&mut self) {
        self.scanner.next();
        self.open.pop();
    }

    /// Whether the next token is one of a few.
    fn is_next(&mut self, kinds: &[TokenKind]) -> Result<bool, YamlError> {
        Ok(kinds.contains(&self.scanner.peek()?.kind))
    }

    fn misplaced<T>(&mut self, words: &str) -> Result<T, YamlError> {
        let line = self.scanner.peek()?.line;
        Err(self.scanner.misplaced(line, words))
    }

    fn block_entry(&mut self) -> Result<(), YamlError> {
        use TokenKind::{BlockEnd, BlockEntry};
        if self.is_next(&[BlockEntry])? {
            let line = self.scanner.next().line;
            if self.is_next(&[BlockEntry, BlockEnd])? {
                return self.nothing(line);
            }
            return self.node(Context::Block);
        }
        if self.is_next(&[BlockEnd])? {
            self.close();
            return Ok(());
        }
        self.misplaced("did not find expected '-' indicator")
    }

    fn indentless_entry(&mut self) -> Result<(), YamlError> {
        use TokenKind::{BlockEnd, BlockEntry, Key, Value};
        if !self.is_next(&[BlockEntry])? {
            self.open.pop();
            return Ok(());
        }
        let line = self.scanner.next().line;
        if self.is_next(&[BlockEntry, Key, Value, BlockEnd])? {
            return self.nothing(line);
        }
        self.node(Context::Block)
    }

    fn block_key(&mut self) -> Result<(), YamlError> {
        use TokenKind::{BlockEnd, Key, Value};
        if self.is_next(&[Key])? {
            let line = self.scanner.next().line;
            self.go_to(Place::BlockValue);
            if self.is_next(&[Key, Value, BlockEnd])? {
                return self.nothing(line);
            }
            return self.node(Context::BlockOrIndentless);
        }
        if self.is_next(&[BlockEnd])? {
            self.close();
            return Ok(());
        }
        self.misplaced("did not find expected key")
    }

    fn block_value(&mut self) -> Result<(), YamlError> {
        use TokenKind::{BlockEnd, Key, Value};
        if !self.is_next(&[Value])? {
            self.go_to(Place::BlockKey);
            return self.nothing_here();
        }
        let line = self.scanner.next().line;
        self.go_to(Place::BlockKey);
        if self.is_next(&[Key, Value, BlockEnd])? {
            return self.nothing(line);
        }
        self.node(Context::BlockOrIndentless)
    }

    fn flow_entry(&mut self, first: bool) -> Result<(), YamlError> {
        use TokenKind::{FlowEntry, FlowSequenceEnd, Key};
        if !first && !self.is_next(&[FlowSequenceEnd])? {
            if !self.is_next(&[FlowEntry])? {
                return self.misplaced("did not find expected ',' or ']'");
            }
            self.scanner.next();
        }
        self.go_to(Place::FlowEntry { first: false });
        if self.is_next(&[FlowSequenceEnd])? {
            self.close();
            return Ok(());
        }
        if self.is_next(&[Key])? {
            let line = self.scanner.next().line;
            let node = self.add(line, Kind::Mapping(Vec::new()))?;
            return self.begin(line, node, Place::PairKey);
        }
        self.node(Context::Flow)
    }

    fn pair_key(&mut self) -> Result<(), YamlError> {
        use TokenKind::{FlowEntry, FlowSequenceEnd, Value};
        self.go_to(Place::PairValue);
        if self.is_next(&[Value, FlowEntry, FlowSequenceEnd])? {
            // yaml.v2 takes the token away, whichever it is: `[? ]` is not closed by it.
            let line = self.scanner.next().line;
            return self.nothing(line);
        }
        self.node(Context::Flow)
    }

    fn pair_value(&mut self) -> Result<(), YamlError> {
        use TokenKind::{FlowEntry, FlowSequenceEnd, Value};
        self.scanner.peek()?;
        self.go_to(Place::PairEnd);
        if self.is_next(&[Value])? {
            self.scanner.next();
            if !self.is_next(&[FlowEntry, FlowSequenceEnd])? {
                return self.node(Context::Flow);
            }
        }
        self.nothing_here()
    }

    fn flow_key(&mut self, first: bool) -> Result<(), YamlError> {
        use TokenKind::{FlowEntry, FlowMappingEnd, Key, Value};
        if !first && !self.is_next(&[FlowMappingEnd])? {
            if !self.is_next(&[FlowEntry])? {
                return self.misplaced("did not find expected ',' or '}'");
            }
            self.scanner.next();
        }
        if self.is_next(&[FlowMappingEnd])? {
            self.close();
            return Ok(());
        }
        if self.is_next(&[Key])? {
            self.scanner.next();
            self.go_to(Place::FlowValue);
            if self.is_next(&[Value, FlowEntry, FlowMappingEnd])? {
                return self.nothing_here();
            }
        } else {
            self.go_to(Place::FlowNoValue);
        }
        self.node(Context::Flow)
    }

    fn flow_value(&mut self) -> Result<(), YamlError> {
        use TokenKind::{FlowEntry, FlowMappingEnd, Value};
        let has_value = self.is_next(&[Value])?;
        self.go_to(Place::FlowKey { first: false });
        if has_value {
            self.scanner.next();
            if !self.is_next(&[FlowEntry, FlowMappingEnd])? {
                return self.node(Context::Flow);
            }
        }
        self.nothing_here()
    }

    /// A node that is not written, where the next token is.
    fn nothing_here(&mut self) -> Result<(), YamlError> {
        let line = self.scanner.peek()?.line;
        self.nothing(line)
    }

    fn nothing(&mut self, line: usize) -> Result<(), YamlError> {
        let nothing = Scalar { text: String::new(), tag: String::new(), implicit: true };
        self.add(line, Kind::Scalar(nothing)).map(drop)
    }

    /// A node with its anchor and its tag: a whole one, or the beginning of a collection.
    fn node(&mut self, context: Context) -> Result<(), YamlError> {
        use TokenKind as T;
        let token = self.scanner.peek()?;
        let line = token.line;
        if let T::Alias(_) = token.kind {
            return self.alias();
        }
        let (mut anchor, mut tag) = (None, None);
        loop {
            match self.scanner.peek()?.kind {
                T::Anchor(_) if anchor.is_none() => {
                    if let T::Anchor(name) = self.scanner.next().kind {
                        anchor = Some(name);
                    }
                }
                T::Tag { .. } if tag.is_none() => {
                    let token = self.scanner.next();
                    if let T::Tag { handle, suffix } = token.kind {
                        tag = Some((token.line, handle, suffix));
                    }
                }
                _ => break,
            }
        }
        let tag = match tag {
            Some((line, handle, suffix)) => self.whole_tag(line, &handle, &suffix)?,
            None => String::new(),
        };
        let block = context != Context::Flow;
        let token = self.scanner.peek()?;
        let (kind, at) = match &token.kind {
            T::BlockEntry if context == Context::BlockOrIndentless => {
                (Kind::Sequence(Vec::new()), Some(Place::IndentlessEntry))
            }
            T::Scalar { .. } => {
                let T::Scalar { text, plain } = self.scanner.next().kind else { return Ok(()) };
                let implicit = (tag.is_empty() && plain) || tag == "!";
                (Kind::Scalar(Scalar { text, tag, implicit }), None)
            }
            T::FlowSequenceStart => {
                (Kind::Sequence(Vec::new()), Some(Place::FlowEntry { first: true }))
            }
            T::FlowMappingStart => {
                (Kind::Mapping(Vec::new()), Some(Place::FlowKey { first: true }))
            }
            T::BlockSequenceStart if block => (Kind::Sequence(Vec::new()), Some(Place::BlockEntry)),
            T::BlockMappingStart if block => (Kind::Mapping(Vec::new()), Some(Place::BlockKey)),
            _ if anchor.is_some() || !tag.is_empty() => {
                let implicit = tag.is_empty();
                (Kind::Scalar(Scalar { text: String::new(), tag, implicit }), None)
            }
            _ => return self.misplaced("did not find expected node content"),
        };
        let node = self.add(line, kind)?;
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, node);
        }
        match at {
            None => Ok(()),
            // It has no token of its own.
            Some(at @ Place::IndentlessEntry) => self.begin(line, node, at),
            Some(at) => {
                self.scanner.next();
                self.begin(line, node, at)
            }
        }
    }

    fn alias(&mut self) -> Result<(), YamlError> {
        let token = self.scanner.next();
        let TokenKind::Alias(anchor) = token.kind else { return Ok(()) };
        let Some(&target) = self.anchors.get(&anchor) else {
            // It may be a value that begins with an asterisk.
            let words = format!("unknown anchor '{}' referenced", shown::name(&anchor));
            return Err(YamlError::plain(token.line + 1, words));
        };
        self.add(token.line, Kind::Alias { anchor, target }).map(drop)
    }

    fn whole_tag(&self, line: usize, handle: &[u8], suffix: &[u8]) -> Result<String, YamlError> {
        let prefix: &[u8] = match self.handles.get(handle) {
            _ if handle.is_empty() => &[],
            Some(prefix) => prefix,
            None => return Err(self.scanner.misplaced(line, "found undefined tag handle")),
        };
        let tag = [prefix, suffix].concat();
        Ok(String::from_utf8_lossy(&tag).into_owned())
    }

    /// Adds a node to the innermost collection.
    fn add(&mut self, line: usize, kind: Kind) -> Result<usize, YamlError> {
        let node = self.nodes.len();
        if node >= MAX_NODES {
            let words = format!("more than {MAX_NODES} keys and values");
            return Err(YamlError::limit(line + 1, words));
        }
        self.nodes.push(Node { line, kind });
        if let Some(open) = self.open.last()
            && let Kind::Sequence(children) | Kind::Mapping(children) =
                &mut self.nodes[open.node].kind
        {
            children.push(node);
        }
        Ok(node)
    }

    fn begin(&mut self, line: usize, node: usize, at: Place) -> Result<(), YamlError> {
        if self.open.len() >= MAX_DEPTH {
            let words = format!("nested more than {MAX_DEPTH} levels deep");
            return Err(YamlError::limit(line + 1, words));
        }
        self.open.push(Open { node, at });
        Ok(())
    }
}
