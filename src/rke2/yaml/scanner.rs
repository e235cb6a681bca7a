// SPDX-License-Identifier: Apache-2.0
//! Characters to tokens, with the rules of YAML 1.1 as yaml.v2 has them.
//!
//! What makes this more than a tokenizer: a key is only known to be one when its colon comes. The
//! scanner remembers where one may have begun, holds back what follows, and puts the sign in
//! before it (`KeyPlace`). How far the scanner looks ahead for that decides which of two mistakes
//! is told, so it is not changed for elegance.

use std::collections::{HashMap, VecDeque};

use super::error::YamlError;
use super::names;
use super::reader::{Mark, Reader};
use super::scalars;
use super::token::{Token, TokenKind};
use super::work;

/// The longest key without a `?`, in characters up to its colon.
const MAX_SIMPLE_KEY: usize = 1024;

/// Where a key may have begun.
#[derive(Clone, Copy, Default)]
struct KeyPlace {
    /// It may still be one.
    possible: bool,
    /// Nothing else can stand here.
    required: bool,
    /// The number of the first token of the key.
    token: usize,
    mark: Mark,
}

pub(super) struct Scanner<'a> {
    reader: Reader<'a>,
    queue: VecDeque<Token>,
    /// Tokens handed over so far, which is the number of the first one in `queue`.
    handed: usize,
    /// The first one in `queue` cannot get anything before it any more.
    ready: bool,
    /// The column of the block whose lines are read; -1 outside of all.
    indent: isize,
    /// The columns of the blocks around it.
    indents: Vec<isize>,
    /// One for each bracket that is open, and one for the lines outside of all.
    key_places: Vec<KeyPlace>,
    /// The index in `key_places` by the number of the token. It may be out of date, and yaml.v2
    /// then looks at another place: an entry stays after its place is given up.
    by_token: HashMap<usize, usize>,
    /// A key may begin at the next token.
    key_allowed: bool,
    /// The number of lines, when the end was seen.
    lines: Option<usize>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(bytes),
            queue: VecDeque::new(),
            handed: 0,
            ready: false,
            indent: -1,
            indents: Vec::new(),
            key_places: vec![KeyPlace::default()],
            by_token: HashMap::new(),
            key_allowed: true,
            lines: None,
        }
    }

    /// The next token, which stays the next.
    pub(super) fn peek(&mut self) -> Result<&Token, YamlError> {
        const NOTHING: Token = Token { line: 0, kind: TokenKind::StreamEnd };
        if !self.ready {
            while self.wants_more()? {
                self.fetch()?;
            }
            self.ready = true;
        }
        Ok(self.queue.front().unwrap_or(&NOTHING))
    }

    /// Takes the next token, after [`Self::peek`].
    pub(super) fn next(&mut self) -> Token {
        self.ready = false;
        // It is never asked for again.
        self.by_token.remove(&self.handed);
        self.handed += 1;
        let end = Token { line: 0, kind: TokenKind::StreamEnd };
        self.queue.pop_front().unwrap_or(end)
    }

    /// A refusal of the grammar's, at a token's line. yaml.v2 counts from 0 there.
    pub(super) fn misplaced(&self, line: usize, words: &str) -> YamlError {
        let told = if line == 0 { None } else { Some(line) };
        let last = self.lines.unwrap_or(usize::MAX);
        YamlError::told((line + 1).min(last).max(1), told, words)
    }

    /// Whether something may still come before the first token of the queue.
    fn wants_more(&mut self) -> Result<bool, YamlError> {
        if self.queue.is_empty() {
            return Ok(true);
        }
        let Some(&at) = self.by_token.get(&self.handed) else { return Ok(false) };
        self.is_still_possible(at)
    }

    fn is_still_possible(&mut self, at: usize) -> Result<bool, YamlError> {
        let mark = self.reader.mark;
        // yaml.v2 would end with an error of Go's own where there is none.
        let Some(place) = self.key_places.get_mut(at) else {
            return Err(self.reader.unscannable("index out of range"));
        };
        if !place.possible {
            return Ok(false);
        }
        if place.mark.line < mark.line || place.mark.index + MAX_SIMPLE_KEY < mark.index {
            if place.required {
                return Err(self.reader.unscannable("could not find expected ':'"));
            }
            place.possible = false;
            return Ok(false);
        }
        Ok(true)
    }

    fn in_flow(&self) -> bool {
        self.key_places.len() > 1
    }

    fn place(&self) -> KeyPlace {
        self.key_places.last().copied().unwrap_or_default()
    }

    fn column(&self) -> isize {
        isize::try_from(self.reader.mark.column).unwrap_or(isize::MAX)
    }

    fn push(&mut self, kind: TokenKind) {
        self.push_at(self.reader.mark.line, kind);
    }

    fn push_at(&mut self, line: usize, kind: TokenKind) {
        self.queue.push_back(Token { line, kind });
    }

    /// Puts a token before the one with a number; at the end where that was handed over, which
    /// happens to a key that is an empty list or mapping in brackets.
    fn insert(&mut self, number: usize, line: usize, kind: TokenKind) {
        match number.checked_sub(self.handed).filter(|at| *at <= self.queue.len()) {
            Some(at) => {
                work::count(at.min(self.queue.len() - at));
                self.queue.insert(at, Token { line, kind });
            }
            None => self.push_at(line, kind),
        }
    }

    /// Remembers that a key may begin here.
    fn save_place(&mut self) -> Result<(), YamlError> {
        if !self.key_allowed {
            return Ok(());
        }
        let place = KeyPlace {
            possible: true,
            required: !self.in_flow() && self.indent == self.column(),
            token: self.handed + self.queue.len(),
            mark: self.reader.mark,
        };
        self.give_up_place()?;
        let at = self.key_places.len() - 1;
        self.key_places[at] = place;
        self.by_token.insert(place.token, at);
        Ok(())
    }

    /// No colon can make a key of what began at the last place.
    fn give_up_place(&mut self) -> Result<(), YamlError> {
        let Some(place) = self.key_places.last_mut().filter(|place| place.possible) else {
            return Ok(());
        };
        if place.required {
            return Err(self.reader.unscannable("could not find expected ':'"));
        }
        place.possible = false;
        let token = place.token;
        self.by_token.remove(&token);
        Ok(())
    }

    /// Begins a block where the column is further to the right than the lines above. `number` is
    /// the token that it begins before; at the end of the queue without one.
    fn roll(&mut self, mark: Mark, number: Option<usize>, kind: TokenKind) {
        let column = isize::try_from(mark.column).unwrap_or(isize::MAX);
        if self.in_flow() || self.indent >= column {
            return;
        }
        self.indents.push(self.indent);
        self.indent = column;
        match number {
            Some(number) => self.insert(number, mark.line, kind),
            None => self.push_at(mark.line, kind),
        }
    }

    /// Ends the blocks that are further to the right than a column.
    fn unroll(&mut self, column: isize) {
        if self.in_flow() {
            return;
        }
        while self.indent > column {
            self.push(TokenKind::BlockEnd);
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    /// Adds the next token to the queue.
    fn fetch(&mut self) -> Result<(), YamlError> {
        work::count(1);
        self.skip_to_token()?;
        self.unroll(self.column());
        self.reader.need(4)?;
        if self.reader.is_end(0) {
            return self.fetch_stream_end();
        }
        let first = self.reader.at(0);
        if self.reader.mark.column == 0 && first == b'%' {
            return self.fetch_directive();
        }
        for (sign, kind) in [(b'-', TokenKind::DocumentStart), (b'.', TokenKind::DocumentEnd)] {
            if self.reader.is_document_mark(sign) {
                self.leave_blocks()?;
                self.push(kind);
                self.reader.skip_many(3);
                return Ok(());
            }
        }
        let flow = self.in_flow();
        let stands_alone = self.reader.is_blank_or_end(1);
        match first {
            b'[' => self.fetch_flow_start(TokenKind::FlowSequenceStart),
            b'{' => self.fetch_flow_start(TokenKind::FlowMappingStart),
            b']' => self.fetch_flow_end(TokenKind::FlowSequenceEnd),
            b'}' => self.fetch_flow_end(TokenKind::FlowMappingEnd),
            b',' => {
                self.give_up_place()?;
                self.key_allowed = true;
                self.fetch_sign(TokenKind::FlowEntry);
                Ok(())
            }
            b'-' if stands_alone => self.fetch_block_entry(),
            b'?' if flow || stands_alone => self.fetch_key(),
            b':' if flow || stands_alone => self.fetch_value(),
            b'*' => self.fetch_named(|reader| names::anchor(reader).map(TokenKind::Alias)),
            b'&' => self.fetch_named(|reader| names::anchor(reader).map(TokenKind::Anchor)),
            b'!' => self.fetch_named(names::tag),
            b'|' | b'>' if !flow => self.fetch_block_scalar(first == b'|'),
            b'\'' | b'"' => self.fetch_named(|reader| scalars::quoted(reader, first == b'\'')),
            _ if self.begins_plain(first) => self.fetch_plain(),
            _ => Err(self.reader.unscannable("found character that cannot start any token")),
        }
    }

    fn begins_plain(&self, first: u8) -> bool {
        match first {
            b'-' => !self.reader.is_blank(1),
            b'?' | b':' => !self.in_flow() && !self.reader.is_blank_or_end(1),
            b',' | b'[' | b']' | b'{' | b'}' | b'#' | b'&' | b'*' | b'!' | b'|' | b'>' | b'\''
            | b'"' | b'%' | b'@' | b'`' => false,
            _ => !self.reader.is_blank_or_end(0),
        }
    }

    /// Over blanks, comments and empty lines. A tab counts as a blank only where no key can begin.
    fn skip_to_token(&mut self) -> Result<(), YamlError> {
        loop {
            self.reader.need(1)?;
            if self.reader.mark.column == 0 && self.reader.is_byte_order_mark() {
                self.reader.skip();
            }
            self.reader.need(1)?;
            let tabs = self.in_flow() || !self.key_allowed;
            while self.reader.at(0) == b' ' || (tabs && self.reader.at(0) == b'\t') {
                self.reader.skip();
                self.reader.need(1)?;
            }
            self.reader.skip_comment()?;
            if !self.reader.is_break(0) {
                return Ok(());
            }
            self.reader.need(2)?;
            self.reader.skip_break();
            if !self.in_flow() {
                self.key_allowed = true;
            }
        }
    }

    /// Before what ends all blocks.
    fn leave_blocks(&mut self) -> Result<(), YamlError> {
        self.unroll(-1);
        self.give_up_place()?;
        self.key_allowed = false;
        Ok(())
    }

    fn fetch_stream_end(&mut self) -> Result<(), YamlError> {
        let mark = &mut self.reader.mark;
        if mark.column != 0 {
            mark.column = 0;
            mark.line += 1;
        }
        self.lines = Some(self.reader.mark.line);
        self.leave_blocks()?;
        self.push(TokenKind::StreamEnd);
        Ok(())
    }

    fn fetch_directive(&mut self) -> Result<(), YamlError> {
        self.leave_blocks()?;
        let line = self.reader.mark.line;
        let kind = names::directive(&mut self.reader)?;
        self.push_at(line, kind);
        Ok(())
    }

    /// A sign of one character.
    fn fetch_sign(&mut self, kind: TokenKind) {
        self.push(kind);
        self.reader.skip();
    }

    fn fetch_flow_start(&mut self, kind: TokenKind) -> Result<(), YamlError> {
        self.save_place()?;
        let token = self.handed + self.queue.len();
        self.key_places.push(KeyPlace { token, mark: self.reader.mark, ..KeyPlace::default() });
        self.key_allowed = true;
        self.fetch_sign(kind);
        Ok(())
    }

    fn fetch_flow_end(&mut self, kind: TokenKind) -> Result<(), YamlError> {
        self.give_up_place()?;
        if self.in_flow()
            && let Some(place) = self.key_places.pop()
        {
            self.by_token.remove(&place.token);
        }
        self.key_allowed = false;
        self.fetch_sign(kind);
        Ok(())
    }

    fn fetch_block_entry(&mut self) -> Result<(), YamlError> {
        if !self.in_flow() {
            if !self.key_allowed {
                let words = "block sequence entries are not allowed in this context";
                return Err(self.reader.unscannable(words));
            }
            self.roll(self.reader.mark, None, TokenKind::BlockSequenceStart);
        }
        self.give_up_place()?;
        self.key_allowed = true;
        self.fetch_sign(TokenKind::BlockEntry);
        Ok(())
    }

    fn fetch_key(&mut self) -> Result<(), YamlError> {
        if !self.in_flow() {
            if !self.key_allowed {
                let words = "mapping keys are not allowed in this context";
                return Err(self.reader.unscannable(words));
            }
            self.roll(self.reader.mark, None, TokenKind::BlockMappingStart);
        }
        self.give_up_place()?;
        self.key_allowed = !self.in_flow();
        self.fetch_sign(TokenKind::Key);
        Ok(())
    }

    fn fetch_value(&mut self) -> Result<(), YamlError> {
        let place = self.place();
        if self.is_still_possible(self.key_places.len() - 1)? {
            self.insert(place.token, place.mark.line, TokenKind::Key);
            self.roll(place.mark, Some(place.token), TokenKind::BlockMappingStart);
            if let Some(place) = self.key_places.last_mut() {
                place.possible = false;
            }
            self.by_token.remove(&place.token);
            self.key_allowed = false;
        } else {
            if !self.in_flow() {
                if !self.key_allowed {
                    let words = "mapping values are not allowed in this context";
                    return Err(self.reader.unscannable(words));
                }
                self.roll(self.reader.mark, None, TokenKind::BlockMappingStart);
            }
            self.key_allowed = !self.in_flow();
        }
        self.fetch_sign(TokenKind::Value);
        Ok(())
    }

    /// What may begin a key and is not followed by one.
    fn fetch_named(
        &mut self,
        scan: impl FnOnce(&mut Reader<'a>) -> Result<TokenKind, YamlError>,
    ) -> Result<(), YamlError> {
        self.save_place()?;
        self.key_allowed = false;
        let line = self.reader.mark.line;
        let kind = scan(&mut self.reader)?;
        self.push_at(line, kind);
        Ok(())
    }

    fn fetch_plain(&mut self) -> Result<(), YamlError> {
        let (flow, indent) = (self.in_flow(), self.indent + 1);
        let mut ended_line = false;
        self.fetch_named(|reader| scalars::plain(reader, flow, indent, &mut ended_line))?;
        // The next word stands at the beginning of a line.
        self.key_allowed |= ended_line;
        Ok(())
    }

    fn fetch_block_scalar(&mut self, literal: bool) -> Result<(), YamlError> {
        self.give_up_place()?;
        self.key_allowed = true;
        let line = self.reader.mark.line;
        let kind = scalars::block(&mut self.reader, self.indent, literal)?;
        self.push_at(line, kind);
        Ok(())
    }
}
