// SPDX-License-Identifier: Apache-2.0
//! Anchors, aliases, tags and directives.

use super::error::YamlError;
use super::reader::Reader;
use super::token::TokenKind;

/// The name behind a `&` or a `*`.
pub(super) fn anchor(reader: &mut Reader<'_>) -> Result<String, YamlError> {
    reader.skip();
    reader.need(1)?;
    let name = word(reader)?;
    let ends = reader.is_blank_or_end(0)
        || matches!(reader.at(0), b'?' | b':' | b',' | b']' | b'}' | b'%' | b'@' | b'`');
    if name.is_empty() || !ends {
        return Err(reader.unscannable("did not find expected alphabetic or numeric character"));
    }
    Ok(String::from_utf8_lossy(&name).into_owned())
}

fn word(reader: &mut Reader<'_>) -> Result<Vec<u8>, YamlError> {
    let mut name = Vec::new();
    while reader.is_word() {
        reader.take(&mut name);
        reader.need(1)?;
    }
    Ok(name)
}

/// `!<uri>`, `!suffix`, `!handle!suffix` or `!` alone.
pub(super) fn tag(reader: &mut Reader<'_>) -> Result<TokenKind, YamlError> {
    reader.need(2)?;
    let (handle, suffix) = if reader.at(1) == b'<' {
        reader.skip_many(2);
        let uri = uri(reader, &[])?;
        if reader.at(0) != b'>' {
            return Err(reader.unscannable("did not find the expected '>'"));
        }
        reader.skip();
        (Vec::new(), uri)
    } else {
        let handle = tag_handle(reader, false)?;
        if handle.len() > 1 && handle.ends_with(b"!") {
            let suffix = uri(reader, &[])?;
            (handle, suffix)
        } else {
            let suffix = uri(reader, &handle)?;
            // A `!` alone is a tag without a handle.
            if suffix.is_empty() { (suffix, b"!".to_vec()) } else { (b"!".to_vec(), suffix) }
        }
    };
    reader.need(1)?;
    if !reader.is_blank_or_end(0) {
        return Err(reader.unscannable("did not find expected whitespace or line break"));
    }
    Ok(TokenKind::Tag { handle, suffix })
}

/// `!`, `!!` or `!name!`; in a node's tag also `!name`, of which the name is no handle.
fn tag_handle(reader: &mut Reader<'_>, in_directive: bool) -> Result<Vec<u8>, YamlError> {
    reader.need(1)?;
    if reader.at(0) != b'!' {
        return Err(reader.unscannable("did not find expected '!'"));
    }
    let mut handle = Vec::new();
    reader.take(&mut handle);
    reader.need(1)?;
    handle.append(&mut word(reader)?);
    if reader.at(0) == b'!' {
        reader.take(&mut handle);
    } else if in_directive && handle != b"!" {
        return Err(reader.unscannable("did not find expected '!'"));
    }
    Ok(handle)
}

/// The rest of a tag, behind what was read of it with its `!`.
fn uri(reader: &mut Reader<'_>, head: &[u8]) -> Result<Vec<u8>, YamlError> {
    let mut uri = head.get(1..).unwrap_or_default().to_vec();
    let mut is_there = !head.is_empty();
    reader.need(1)?;
    while reader.is_word() || b";/?:@&=+$,.!~*'()[]%".contains(&reader.at(0)) {
        if reader.at(0) == b'%' {
            escaped(reader, &mut uri)?;
        } else {
            reader.take(&mut uri);
        }
        reader.need(1)?;
        is_there = true;
    }
    if is_there { Ok(uri) } else { Err(reader.unscannable("did not find expected tag URI")) }
}

/// One character as `%41`.
fn escaped(reader: &mut Reader<'_>, uri: &mut Vec<u8>) -> Result<(), YamlError> {
    let mut left = None;
    while left != Some(0) {
        reader.need(3)?;
        let digits = (hex(reader.at(1)), hex(reader.at(2)));
        let (b'%', (Some(high), Some(low))) = (reader.at(0), digits) else {
            return Err(reader.unscannable("did not find URI escaped octet"));
        };
        let octet = u8::try_from(high << 4 | low).unwrap_or_default();
        left = match (left, octet) {
            (None, 0..=0x7f) => Some(0),
            (None, 0xc0..=0xdf) => Some(1),
            (None, 0xe0..=0xef) => Some(2),
            (None, 0xf0..=0xf7) => Some(3),
            (None, _) => {
                return Err(reader.unscannable("found an incorrect leading UTF-8 octet"));
            }
            (Some(left), 0x80..=0xbf) => Some(left - 1),
            (Some(_), _) => {
                return Err(reader.unscannable("found an incorrect trailing UTF-8 octet"));
            }
        };
        uri.push(octet);
        reader.skip_many(3);
    }
    Ok(())
}

/// The value of a hexadecimal digit.
pub(super) fn hex(digit: u8) -> Option<u32> {
    char::from(digit).to_digit(16)
}

/// `%YAML` or `%TAG`, to the end of its line.
pub(super) fn directive(reader: &mut Reader<'_>) -> Result<TokenKind, YamlError> {
    reader.skip();
    reader.need(1)?;
    let name = word(reader)?;
    if name.is_empty() {
        return Err(reader.unscannable("could not find expected directive name"));
    }
    if !reader.is_blank_or_end(0) {
        return Err(reader.unscannable("found unexpected non-alphabetical character"));
    }
    let kind = match name.as_slice() {
        b"YAML" => version(reader)?,
        b"TAG" => tag_directive(reader)?,
        _ => return Err(reader.unscannable("found unknown directive name")),
    };
    reader.skip_rest_of_line()?;
    Ok(kind)
}

fn version(reader: &mut Reader<'_>) -> Result<TokenKind, YamlError> {
    reader.need(1)?;
    reader.skip_blanks()?;
    let major = number(reader)?;
    if reader.at(0) != b'.' {
        return Err(reader.unscannable("did not find expected digit or '.' character"));
    }
    reader.skip();
    let minor = number(reader)?;
    Ok(TokenKind::Version { major, minor })
}

/// A number of one or two digits.
fn number(reader: &mut Reader<'_>) -> Result<u8, YamlError> {
    let mut value = None;
    let mut digits = 0;
    reader.need(1)?;
    while reader.at(0).is_ascii_digit() {
        digits += 1;
        if digits > 2 {
            return Err(reader.unscannable("found extremely long version number"));
        }
        value = Some(value.unwrap_or(0) * 10 + (reader.at(0) - b'0'));
        reader.skip();
        reader.need(1)?;
    }
    value.ok_or_else(|| reader.unscannable("did not find expected version number"))
}

fn tag_directive(reader: &mut Reader<'_>) -> Result<TokenKind, YamlError> {
    reader.need(1)?;
    reader.skip_blanks()?;
    let handle = tag_handle(reader, true)?;
    reader.need(1)?;
    if !reader.is_blank(0) {
        return Err(reader.unscannable("did not find expected whitespace"));
    }
    reader.skip_blanks()?;
    let prefix = uri(reader, &[])?;
    reader.need(1)?;
    if !reader.is_blank_or_end(0) {
        return Err(reader.unscannable("did not find expected whitespace or line break"));
    }
    Ok(TokenKind::TagDirective { handle, prefix })
}
