// SPDX-License-Identifier: Apache-2.0
//! A file's bytes as characters with their lines and columns.
//!
//! yaml.v2 decodes a file in pieces of 512 bytes, as far as its scanner has come. What follows the
//! first document may therefore hold bytes that are no text and never be seen; a control character
//! further up is told before a mistake that stands between the two. Both decide whether RKE2
//! starts, so the pieces here are the same.

use super::error::YamlError;
use super::work;

/// The bytes of one piece.
const PIECE: usize = 512;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A place in the text. Lines and columns begin with 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// In characters from the beginning.
    pub(super) index: usize,
    pub(super) line: usize,
    pub(super) column: usize,
}

#[derive(Clone, Copy)]
enum Encoding {
    Utf8,
    Utf16(fn([u8; 2]) -> u16),
}

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    encoding: Encoding,
    /// What has been decoded of `bytes`.
    decoded: usize,
    /// The piece being decoded.
    piece: std::ops::Range<usize>,
    /// Nothing is left to be read in.
    at_end: bool,
    /// All characters decoded, as UTF-8, and a NUL for each look beyond the end.
    text: Vec<u8>,
    /// Where the next character begins in `text`.
    next: usize,
    /// Characters between `next` and the end of `text`.
    unread: usize,
    /// Where `next` was when a piece was last asked for.
    base: usize,
    pub(super) mark: Mark,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        // yaml.v2 reads an empty file as an empty line.
        let bytes = if bytes.is_empty() { b"\n" } else { bytes };
        let (encoding, decoded) = match bytes {
            [0xff, 0xfe, ..] => (Encoding::Utf16(u16::from_le_bytes), 2),
            [0xfe, 0xff, ..] => (Encoding::Utf16(u16::from_be_bytes), 2),
            [0xef, 0xbb, 0xbf, ..] => (Encoding::Utf8, 3),
            _ => (Encoding::Utf8, 0),
        };
        Self {
            bytes,
            encoding,
            decoded,
            piece: 0..bytes.len().min(PIECE),
            // To tell the first three bytes it asks once more where there are fewer.
            at_end: bytes.len() < 3,
            text: Vec::with_capacity(bytes.len() + 8),
            next: 0,
            unread: 0,
            base: 0,
            mark: Mark::default(),
        }
    }

    /// Makes sure that so many characters can be looked at.
    pub(super) fn need(&mut self, count: usize) -> Result<(), YamlError> {
        if self.unread >= count { Ok(()) } else { self.read_on(count) }
    }

    fn read_on(&mut self, count: usize) -> Result<(), YamlError> {
        self.base = self.next;
        let mut first = true;
        while self.unread < count {
            if !first || self.decoded == self.piece.end {
                self.next_piece();
            }
            first = false;
            while self.decoded < self.piece.end {
                self.read_ascii();
                let Some((value, width)) = self.decode().map_err(|words| self.refuse(words))?
                else {
                    break;
                };
                if !is_allowed(value) {
                    return Err(self.refuse("control characters are not allowed"));
                }
                self.decoded += width;
                self.unread += 1;
                self.text.extend_from_slice(value.encode_utf8(&mut [0; 4]).as_bytes());
            }
            if self.at_end {
                self.text.push(0);
                self.unread += 1;
                break;
            }
        }
        Ok(())
    }

    /// Decodes what needs no decoding. It is only faster than one by one.
    fn read_ascii(&mut self) {
        if matches!(self.encoding, Encoding::Utf8) {
            let piece = &self.bytes[self.decoded..self.piece.end];
            let is_plain = |byte: &&u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
            let count = piece.iter().take_while(is_plain).count();
            self.text.extend_from_slice(&piece[..count]);
            self.decoded += count;
            self.unread += count;
        }
    }

    fn next_piece(&mut self) {
        let is_full = self.decoded == self.piece.start && self.piece.len() == PIECE;
        if is_full || self.at_end {
            return;
        }
        let end = self.bytes.len().min(self.decoded + PIECE);
        self.at_end = self.piece.end == self.bytes.len();
        self.piece = self.decoded..end;
    }

    /// The next character and how many bytes it is long; `None` where its end is in the next piece.
    fn decode(&self) -> Result<Option<(char, usize)>, &'static str> {
        let piece = &self.bytes[self.decoded..self.piece.end];
        match self.encoding {
            Encoding::Utf8 => utf8(piece, self.at_end),
            Encoding::Utf16(unit) => utf16(piece, unit, self.at_end),
        }
    }

    fn refuse(&self, words: &str) -> YamlError {
        let newlines = self.text.iter().filter(|&&byte| byte == b'\n').count();
        YamlError::plain(newlines + 1, words)
    }

    /// A byte that is so far ahead; 0 beyond the end.
    pub(super) fn at(&self, ahead: usize) -> u8 {
        self.text.get(self.next + ahead).copied().unwrap_or(0)
    }

    fn starts_with(&self, ahead: usize, bytes: &[u8]) -> bool {
        self.text.get(self.next + ahead..).is_some_and(|rest| rest.starts_with(bytes))
    }

    pub(super) fn is_end(&self, ahead: usize) -> bool {
        self.at(ahead) == 0
    }

    pub(super) fn is_blank(&self, ahead: usize) -> bool {
        matches!(self.at(ahead), b' ' | b'\t')
    }

    /// YAML 1.1 has five line breaks: CR, LF, U+0085, U+2028 and U+2029.
    pub(super) fn is_break(&self, ahead: usize) -> bool {
        match self.at(ahead) {
            b'\r' | b'\n' => true,
            0xc2 => self.at(ahead + 1) == 0x85,
            0xe2 => self.at(ahead + 1) == 0x80 && matches!(self.at(ahead + 2), 0xa8 | 0xa9),
            _ => false,
        }
    }

    pub(super) fn is_break_or_end(&self, ahead: usize) -> bool {
        self.is_break(ahead) || self.is_end(ahead)
    }

    pub(super) fn is_blank_or_end(&self, ahead: usize) -> bool {
        self.is_blank(ahead) || self.is_break_or_end(ahead)
    }

    /// A letter of a name: of an anchor, a directive or the handle of a tag.
    pub(super) fn is_word(&self) -> bool {
        let byte = self.at(0);
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
    }

    /// `---` or `...` alone at the beginning of a line.
    pub(super) fn is_document_mark(&self, sign: u8) -> bool {
        self.mark.column == 0 && self.starts_with(0, &[sign; 3]) && self.is_blank_or_end(3)
    }

    /// Whether yaml.v2 takes what comes for a byte order mark: it looks where the last piece was
    /// asked for, and not where it has come to.
    pub(super) fn is_byte_order_mark(&self) -> bool {
        self.text.get(self.base..).is_some_and(|rest| rest.starts_with(BYTE_ORDER_MARK))
    }

    /// Goes on by one character.
    pub(super) fn skip(&mut self) {
        self.mark.index += 1;
        self.mark.column += 1;
        self.pass(1, width(self.at(0)));
    }

    pub(super) fn skip_many(&mut self, count: usize) {
        for _ in 0..count {
            self.skip();
        }
    }

    /// Takes one character over.
    pub(super) fn take(&mut self, out: &mut Vec<u8>) {
        let end = self.text.len().min(self.next + width(self.at(0)));
        out.extend_from_slice(self.text.get(self.next..end).unwrap_or_default());
        self.skip();
    }

    /// Takes letters and digits over, which end nothing, up to the last characters of the piece. It
    /// is only faster than one by one.
    pub(super) fn take_letters(&mut self, out: &mut Vec<u8>) {
        let rest = self.text.get(self.next..).unwrap_or_default();
        let most = self.unread.saturating_sub(4).min(rest.len());
        let count = rest[..most].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        out.extend_from_slice(&rest[..count]);
        self.mark.index += count;
        self.mark.column += count;
        self.pass(count, count);
    }

    /// Goes on behind a line break. Two characters have to be there.
    pub(super) fn skip_break(&mut self) {
        let is_pair = self.starts_with(0, b"\r\n");
        if !is_pair && !self.is_break(0) {
            return;
        }
        let (characters, bytes) = if is_pair { (2, 2) } else { (1, width(self.at(0))) };
        self.mark.index += characters;
        self.mark.column = 0;
        self.mark.line += 1;
        self.pass(characters, bytes);
    }

    /// Takes a line break over: as LF, or one of Unicode's own as it is.
    pub(super) fn take_break(&mut self, out: &mut Vec<u8>) {
        if !self.is_break(0) {
            return;
        }
        if self.at(0) == 0xe2 {
            out.extend_from_slice(&[0xe2, 0x80, self.at(2)]);
        } else {
            out.push(b'\n');
        }
        self.skip_break();
    }

    pub(super) fn skip_blanks(&mut self) -> Result<(), YamlError> {
        while self.is_blank(0) {
            self.skip();
            self.need(1)?;
        }
        Ok(())
    }

    /// A comment to the end of its line, where there is one.
    pub(super) fn skip_comment(&mut self) -> Result<(), YamlError> {
        if self.at(0) != b'#' {
            return Ok(());
        }
        while !self.is_break_or_end(0) {
            self.skip();
            self.need(1)?;
        }
        Ok(())
    }

    /// Behind a directive or the head of a block scalar: blanks, a comment, and the line's end.
    pub(super) fn skip_rest_of_line(&mut self) -> Result<(), YamlError> {
        self.need(1)?;
        self.skip_blanks()?;
        self.skip_comment()?;
        if !self.is_break_or_end(0) {
            return Err(self.unscannable("did not find expected comment or line break"));
        }
        if self.is_break(0) {
            self.need(2)?;
            self.skip_break();
        }
        Ok(())
    }

    fn pass(&mut self, characters: usize, bytes: usize) {
        work::count(bytes);
        self.next += bytes;
        self.unread = self.unread.saturating_sub(characters);
    }

    /// A refusal of the scanner's. yaml.v2 names no line where it is the first.
    pub(super) fn unscannable(&self, words: &str) -> YamlError {
        let Mark { line, column, .. } = self.mark;
        // The line behind the last line break is none.
        let own = if self.is_end(0) && column == 0 { line } else { line + 1 };
        let told = if line == 0 { None } else { Some(line + 1) };
        YamlError::told(own.max(1), told, words)
    }
}

fn width(first: u8) -> usize {
    match first {
        0..=0xbf => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0.. => 4,
    }
}

/// What may stand in a YAML file.
fn is_allowed(value: char) -> bool {
    matches!(value,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}'
        | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn utf8(bytes: &[u8], at_end: bool) -> Result<Option<(char, usize)>, &'static str> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let (width, bits) = match first {
        0..=0x7f => return Ok(Some((char::from(first), 1))),
        0xc0..=0xdf => (2, first & 0x1f),
        0xe0..=0xef => (3, first & 0x0f),
        0xf0..=0xf7 => (4, first & 0x07),
        _ => return Err("invalid leading UTF-8 octet"),
    };
    let Some(rest) = bytes.get(1..width) else {
        return if at_end { Err("incomplete UTF-8 octet sequence") } else { Ok(None) };
    };
    let mut value = u32::from(bits);
    for &byte in rest {
        if byte & 0xc0 != 0x80 {
            return Err("invalid trailing UTF-8 octet");
        }
        value = value << 6 | u32::from(byte & 0x3f);
    }
    let least = [0x80, 0x800, 0x10000][width - 2];
    if value < least {
        return Err("invalid length of a UTF-8 sequence");
    }
    let value = char::from_u32(value).ok_or("invalid Unicode character")?;
    Ok(Some((value, width)))
}

fn utf16(
    bytes: &[u8],
    unit: fn([u8; 2]) -> u16,
    at_end: bool,
) -> Result<Option<(char, usize)>, &'static str> {
    let unit = |at: usize| Some(u32::from(unit([*bytes.get(at)?, *bytes.get(at + 1)?])));
    let Some(first) = unit(0) else {
        return if at_end { Err("incomplete UTF-16 character") } else { Ok(None) };
    };
    if first & 0xfc00 == 0xdc00 {
        return Err("unexpected low surrogate area");
    }
    if first & 0xfc00 != 0xd800 {
        return Ok(char::from_u32(first).map(|value| (value, 2)));
    }
    let Some(second) = unit(2) else {
        return if at_end { Err("incomplete UTF-16 surrogate pair") } else { Ok(None) };
    };
    if second & 0xfc00 != 0xdc00 {
        return Err("expected low surrogate area");
    }
    let value = 0x10000 + ((first & 0x3ff) << 10) + (second & 0x3ff);
    Ok(char::from_u32(value).map(|value| (value, 4)))
}
