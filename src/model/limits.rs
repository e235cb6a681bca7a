// SPDX-License-Identifier: Apache-2.0
//! How long what others name may be where we repeat it. A path has up to 4,096 bytes, each of which
//! may take six to be written, and whoever makes a file or a link names it.

/// Bytes of a report as JSON. All surfaces keep to it: the bus, /run, and what a gate reads.
pub const REPORT_LIMIT: usize = 64 * 1024;

/// Bytes of a path, as it is shown.
pub const PATH_LIMIT: usize = 256;

/// Bytes of JSON that a byte of text takes at most: a control character.
const WIDEST: usize = 6;

/// The bytes that `text` takes as a string of JSON, without the quotes.
pub fn written(text: &str) -> usize {
    text.chars().map(written_char).sum()
}

fn written_char(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        c if u32::from(c) < 0x20 => WIDEST,
        c => c.len_utf8(),
    }
}

/// Leaves of `text` as much of its beginning as takes `limit` bytes of JSON with the count of the rest
/// behind it. One that is short enough, as nearly all are, is left as it is, and not copied.
pub fn cut(text: &mut String, limit: usize) {
    /// What the count may take: `…(+4,294,967,295 bytes)`.
    const COUNT: usize = 32;
    if text.len() <= limit / WIDEST || written(text) <= limit {
        return;
    }
    let mut room = limit.saturating_sub(COUNT);
    let mut end = 0;
    for c in text.chars() {
        let Some(left) = room.checked_sub(written_char(c)) else { break };
        room = left;
        end += c.len_utf8();
    }
    let rest = text.len() - end;
    text.truncate(end);
    text.push_str(&format!("…(+{} bytes)", grouped(rest)));
}

/// 1234567 as 1,234,567.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_text_takes_is_what_it_takes_in_json() {
        for text in ["", "plain", "a\"b\\c", "\u{1b}[2J\n\t", "ä€😀\u{202e}", "\u{7f}\0"] {
            let json = serde_json::to_string(text).unwrap().len() - 2;
            let counted = written(text);
            assert!(counted >= json && counted <= json * 3, "{text:?}: {counted}, {json}");
        }
    }

    #[test]
    fn a_text_within_its_limit_is_left_and_a_longer_one_ends_with_what_is_missing() {
        let cut = |text: &str, limit| {
            let mut text = text.to_owned();
            cut(&mut text, limit);
            text
        };
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut(&"x".repeat(4096), 256), format!("{}…(+3,872 bytes)", "x".repeat(224)));
        for (c, limit) in [('"', 256), ('\u{1b}', 256), ('😀', 256), ('a', 33), ('a', 1)] {
            let long: String = std::iter::repeat_n(c, 5000).collect();
            let short = cut(&long, limit);
            assert!(written(&short) <= limit.max(32), "{c:?}: {short}");
            let kept = short.split('…').next().unwrap();
            let missing = grouped(long.len() - kept.len());
            assert!(long.starts_with(kept) && short.ends_with(&format!("(+{missing} bytes)")));
        }
    }
}
