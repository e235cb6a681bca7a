// SPDX-License-Identifier: Apache-2.0
//! Texts: without quotes, in quotes, and as blocks of lines.

use super::error::YamlError;
use super::names::hex;
use super::reader::Reader;
use super::token::TokenKind;

fn scalar(text: Vec<u8>, plain: bool) -> TokenKind {
    // It is made of whole characters.
    let text = String::from_utf8(text)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    TokenKind::Scalar { text, plain }
}

/// Blanks and line breaks between two words of a text that goes over lines.
#[derive(Default)]
struct Gap {
    blanks: Vec<u8>,
    /// The first line break.
    first: Vec<u8>,
    /// Those after it.
    more: Vec<u8>,
    /// There was a line break, and blanks no longer count.
    on_new_line: bool,
}

impl Gap {
    /// Takes one blank or one line break.
    fn take(&mut self, reader: &mut Reader<'_>) -> Result<(), YamlError> {
        if !reader.is_blank(0) {
            reader.need(2)?;
            if self.on_new_line {
                reader.take_break(&mut self.more);
            } else {
                self.blanks.clear();
                reader.take_break(&mut self.first);
                self.on_new_line = true;
            }
        } else if self.on_new_line {
            reader.skip();
        } else {
            reader.take(&mut self.blanks);
        }
        reader.need(1)
    }

    /// Adds what it means: a single line break is a space, of several the first is dropped.
    fn fold_into(&mut self, text: &mut Vec<u8>) {
        if self.on_new_line {
            fold(&mut self.first, &mut self.more, text);
            self.on_new_line = false;
        } else {
            text.append(&mut self.blanks);
        }
    }
}

fn fold(first: &mut Vec<u8>, more: &mut Vec<u8>, text: &mut Vec<u8>) {
    match first.first() {
        Some(b'\n') if more.is_empty() => text.push(b' '),
        Some(b'\n') => {}
        _ => text.append(first),
    }
    text.append(more);
    first.clear();
}

/// A text without quotes. `indent` is the first column of its further lines; `ended_line` tells
/// that the next token is at the beginning of a line.
pub(super) fn plain(
    reader: &mut Reader<'_>,
    flow: bool,
    indent: isize,
    ended_line: &mut bool,
) -> Result<TokenKind, YamlError> {
    let mut text = Vec::new();
    let mut gap = Gap::default();
    let indent = usize::try_from(indent).unwrap_or(0);
    loop {
        reader.need(4)?;
        if reader.is_document_mark(b'-') || reader.is_document_mark(b'.') || reader.at(0) == b'#' {
            break;
        }
        while !reader.is_blank_or_end(0) {
            let ends = match reader.at(0) {
                b':' => reader.is_blank_or_end(1),
                b',' | b'?' | b'[' | b']' | b'{' | b'}' => flow,
                _ => false,
            };
            if ends {
                break;
            }
            gap.fold_into(&mut text);
            reader.take(&mut text);
            reader.take_letters(&mut text);
            reader.need(2)?;
        }
        if !reader.is_blank(0) && !reader.is_break(0) {
            break;
        }
        while reader.is_blank(0) || reader.is_break(0) {
            if gap.on_new_line && reader.mark.column < indent && reader.at(0) == b'\t' {
                return Err(reader.unscannable("found a tab character that violates indentation"));
            }
            gap.take(reader)?;
        }
        if !flow && reader.mark.column < indent {
            break;
        }
    }
    *ended_line = gap.on_new_line;
    Ok(scalar(text, true))
}

/// A text in single or double quotes.
pub(super) fn quoted(reader: &mut Reader<'_>, single: bool) -> Result<TokenKind, YamlError> {
    let quote = if single { b'\'' } else { b'"' };
    let mut text = Vec::new();
    let mut gap = Gap::default();
    reader.skip();
    loop {
        reader.need(4)?;
        if reader.is_document_mark(b'-') || reader.is_document_mark(b'.') {
            return Err(reader.unscannable("found unexpected document indicator"));
        }
        if reader.is_end(0) {
            return Err(reader.unscannable("found unexpected end of stream"));
        }
        while !reader.is_blank_or_end(0) {
            match reader.at(0) {
                b'\'' if single && reader.at(1) == b'\'' => {
                    text.push(b'\'');
                    reader.skip_many(2);
                }
                sign if sign == quote => break,
                b'\\' if !single && reader.is_break(1) => {
                    reader.need(3)?;
                    reader.skip();
                    reader.skip_break();
                    gap.on_new_line = true;
                    break;
                }
                b'\\' if !single => escape(reader, &mut text)?,
                _ => reader.take(&mut text),
            }
            reader.take_letters(&mut text);
            reader.need(2)?;
        }
        reader.need(1)?;
        if reader.at(0) == quote {
            break;
        }
        while reader.is_blank(0) || reader.is_break(0) {
            gap.take(reader)?;
        }
        gap.fold_into(&mut text);
    }
    reader.skip();
    Ok(scalar(text, false))
}

/// A `\` and what stands behind it.
fn escape(reader: &mut Reader<'_>, text: &mut Vec<u8>) -> Result<(), YamlError> {
    let (meant, digits): (&str, usize) = match reader.at(1) {
        b'0' => ("\0", 0),
        b'a' => ("\x07", 0),
        b'b' => ("\x08", 0),
        b't' | b'\t' => ("\t", 0),
        b'n' => ("\n", 0),
        b'v' => ("\x0b", 0),
        b'f' => ("\x0c", 0),
        b'r' => ("\r", 0),
        b'e' => ("\x1b", 0),
        b' ' => (" ", 0),
        b'"' => ("\"", 0),
        b'\'' => ("'", 0),
        b'\\' => ("\\", 0),
        b'N' => ("\u{85}", 0),
        b'_' => ("\u{a0}", 0),
        b'L' => ("\u{2028}", 0),
        b'P' => ("\u{2029}", 0),
        b'x' => ("", 2),
        b'u' => ("", 4),
        b'U' => ("", 8),
        _ => return Err(reader.unscannable("found unknown escape character")),
    };
    reader.skip_many(2);
    text.extend_from_slice(meant.as_bytes());
    if digits == 0 {
        return Ok(());
    }
    reader.need(digits)?;
    let mut value: u32 = 0;
    for ahead in 0..digits {
        let Some(digit) = hex(reader.at(ahead)) else {
            return Err(reader.unscannable("did not find expected hexdecimal number"));
        };
        value = value << 4 | digit;
    }
    let Some(meant) = char::from_u32(value) else {
        return Err(reader.unscannable("found invalid Unicode character escape code"));
    };
    text.extend_from_slice(meant.encode_utf8(&mut [0; 4]).as_bytes());
    reader.skip_many(digits);
    Ok(())
}

/// What becomes of the line breaks at the end.
#[derive(Clone, Copy, PartialEq)]
enum Chomping {
    Strip,
    Clip,
    Keep,
}

/// A block of lines behind `|` or `>`. `outer` is the column of the block around it.
pub(super) fn block(
    reader: &mut Reader<'_>,
    outer: isize,
    literal: bool,
) -> Result<TokenKind, YamlError> {
    reader.skip();
    let (chomping, increment) = block_header(reader)?;
    let outer = usize::try_from(outer).ok();
    // 0 where the first line that holds something decides.
    let mut indent = increment.map_or(0, |more| outer.unwrap_or(0) + more);
    let (mut text, mut first, mut more) = (Vec::new(), Vec::new(), Vec::new());
    block_breaks(reader, outer, &mut indent, &mut more)?;
    reader.need(1)?;
    let mut began_blank = false;
    while reader.mark.column == indent && !reader.is_end(0) {
        let begins_blank = reader.is_blank(0);
        if literal || began_blank || begins_blank || first.first() != Some(&b'\n') {
            text.append(&mut first);
            text.append(&mut more);
        } else {
            fold(&mut first, &mut more, &mut text);
        }
        began_blank = begins_blank;
        while !reader.is_break_or_end(0) {
            reader.take(&mut text);
            reader.take_letters(&mut text);
            reader.need(1)?;
        }
        reader.need(2)?;
        reader.take_break(&mut first);
        block_breaks(reader, outer, &mut indent, &mut more)?;
    }
    if chomping != Chomping::Strip {
        text.append(&mut first);
    }
    if chomping == Chomping::Keep {
        text.append(&mut more);
    }
    Ok(scalar(text, false))
}

/// What stands behind the `|` or `>` on its line.
fn block_header(reader: &mut Reader<'_>) -> Result<(Chomping, Option<usize>), YamlError> {
    fn chomping(reader: &mut Reader<'_>) -> Option<Chomping> {
        let chomping = match reader.at(0) {
            b'+' => Chomping::Keep,
            b'-' => Chomping::Strip,
            _ => return None,
        };
        reader.skip();
        Some(chomping)
    }
    reader.need(1)?;
    let mut chomp = chomping(reader);
    reader.need(1)?;
    let mut increment = None;
    if reader.at(0).is_ascii_digit() {
        if reader.at(0) == b'0' {
            return Err(reader.unscannable("found an indentation indicator equal to 0"));
        }
        increment = Some(usize::from(reader.at(0) - b'0'));
        reader.skip();
        reader.need(1)?;
        chomp = chomp.or_else(|| chomping(reader));
    }
    reader.skip_rest_of_line()?;
    Ok((chomp.unwrap_or(Chomping::Clip), increment))
}

/// The empty lines before a line of a block, and its indentation.
fn block_breaks(
    reader: &mut Reader<'_>,
    outer: Option<usize>,
    indent: &mut usize,
    breaks: &mut Vec<u8>,
) -> Result<(), YamlError> {
    let mut deepest = 0;
    loop {
        reader.need(1)?;
        while (*indent == 0 || reader.mark.column < *indent) && reader.at(0) == b' ' {
            reader.skip();
            reader.need(1)?;
        }
        deepest = deepest.max(reader.mark.column);
        if (*indent == 0 || reader.mark.column < *indent) && reader.at(0) == b'\t' {
            let words = "found a tab character where an indentation space is expected";
            return Err(reader.unscannable(words));
        }
        if !reader.is_break(0) {
            break;
        }
        reader.need(2)?;
        reader.take_break(breaks);
    }
    if *indent == 0 {
        *indent = deepest.max(outer.map_or(0, |outer| outer + 1)).max(1);
    }
    Ok(())
}
