// SPDX-License-Identifier: Apache-2.0
//! What the kernel makes of the text that a loader writes into a parameter that holds numbers.
//!
//! systemd-sysctl and procps write the right side of a line as it stands. For a parameter of one
//! number the kernel (`proc_get_long` and `proc_dointvec` in kernel/sysctl.c) passes over leading
//! white space, reads digits as C does (`0x` is hexadecimal, a leading zero octal), and wants a
//! space, a tab or a line feed behind them. It never looks at what follows, so that `1 # text`
//! is 1. With anything else behind the digits (`1#text`, `1;`, `0.5`) it refuses the whole
//! text with EINVAL, and the parameter keeps what it had.

/// Bytes of a number that the kernel looks at, its sign among them (`TMPBUFLEN` less one).
const DIGITS: usize = 21;

/// What the kernel passes over before a number: `isspace` of its own `ctype`, ASCII only.
const BEFORE: [char; 6] = [' ', '\t', '\n', '\u{b}', '\u{c}', '\r'];

/// What may stand behind a number.
const BEHIND: [char; 3] = [' ', '\t', '\n'];

/// The first number of a text as the kernel reads it, and the text behind it. `None`: the kernel
/// refuses it.
fn number(text: &str) -> Option<(i128, &str)> {
    let text = text.trim_start_matches(BEFORE);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let bytes = digits.as_bytes();
    let hexadecimal = matches!(bytes, [b'0', b'x' | b'X', digit, ..] if digit.is_ascii_hexdigit());
    let (radix, digits) = match bytes {
        _ if hexadecimal => (16, &digits[2..]),
        [b'0', ..] => (8, digits),
        _ => (10, digits),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (number, behind) = digits.split_at(end);
    // The kernel cannot see what follows so long a number, and refuses it.
    if text.len() - behind.len() >= DIGITS || !(behind.is_empty() || behind.starts_with(BEHIND)) {
        return None;
    }
    let number = u64::from_str_radix(number, radix).ok()?;
    Some((if negative { -i128::from(number) } else { number.into() }, behind))
}

/// What a parameter that holds one `int` is after this text was written to it; `None`: the kernel
/// refuses the text.
pub fn integer(text: &str) -> Option<i32> {
    number(text).and_then(|(number, _)| i32::try_from(number).ok())
}

/// The numbers that a text consists of; `None` where it has anything else in it.
fn numbers(text: &str) -> Option<Vec<i128>> {
    let mut numbers = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (one, behind) = number(rest)?;
        numbers.push(one);
        rest = behind.trim();
    }
    (!numbers.is_empty()).then_some(numbers)
}

/// Whether writing `text` leaves the parameter at `wanted`. `single`: the parameter is known to hold
/// one number, so that whatever stands behind it is not looked at; of any other that holds for
/// what is no further number.
pub fn sets(text: &str, wanted: &str, single: bool) -> bool {
    let same = text.split_whitespace().eq(wanted.split_whitespace());
    if single {
        return match integer(wanted) {
            Some(wanted) => integer(text) == Some(wanted),
            None => same,
        };
    }
    same || numbers(wanted).is_some_and(|wanted| {
        let mut rest = text;
        let taken = wanted.iter().all(|want| match number(rest) {
            Some((one, behind)) => {
                rest = behind;
                one == *want
            }
            None => false,
        });
        taken && is_comment(rest)
    })
}

/// What stands behind the numbers of a value and says nothing to the kernel: `# text`. Empty for a
/// value that is no number, or that the kernel refuses because of it.
pub fn trailing(text: &str, single: bool) -> &str {
    let mut rest = text;
    let mut found = false;
    while let Some((_, behind)) = number(rest) {
        found = true;
        rest = behind.trim_start();
        if single || rest.is_empty() {
            break;
        }
    }
    if found && (single || is_comment(rest)) { rest.trim_end() } else { "" }
}

/// The value without the comment behind it.
pub fn without_comment(text: &str) -> &str {
    let comment = trailing(text, false);
    text.trim_end().strip_suffix(comment).unwrap_or(text).trim()
}

/// `text` with `value` in the place of its numbers. A comment stays, also one that stands so close
/// to the number that the kernel refused the line.
pub fn replaced(text: &str, value: &str) -> String {
    if numbers(value).is_none() {
        return value.to_owned();
    }
    let comment = text.find(['#', ';']).or_else(|| text.find("//")).map_or("", |at| &text[at..]);
    let comment = match comment.trim_end() {
        // `10 seconds`: one word in the place of the number, and words behind it.
        "" => text.trim().split_once(BEHIND).map_or("", |(_, behind)| behind.trim()),
        comment => comment,
    };
    if comment.is_empty() || !is_comment(comment) {
        return value.to_owned();
    }
    format!("{value} {comment}")
}

fn is_comment(rest: &str) -> bool {
    !rest.trim_start().starts_with(|c: char| c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 takes each text for kernel.msgmnb, in an ipc namespace of the test's own; that
    /// parameter has no negative numbers, and for those the rule is read from the kernel's source.
    #[test]
    fn a_number_is_what_the_kernel_takes_for_one() {
        for (text, taken) in [
            ("1", Some(1)),
            (" 1", Some(1)),
            ("\t1\t", Some(1)),
            ("\u{b}\u{c}\r1", Some(1)),
            ("-1", Some(-1)),
            ("01", Some(1)),
            ("010", Some(8)),
            ("0x1", Some(1)),
            ("0XfF", Some(255)),
            ("-0x10", Some(-16)),
            ("00", Some(0)),
            ("1 # text", Some(1)),
            ("1\t; text", Some(1)),
            ("1 2", Some(1)),
            ("1 seconds", Some(1)),
            ("1 \u{a0}", Some(1)),
            ("2147483647", Some(2_147_483_647)),
            ("-2147483648", Some(-2_147_483_648)),
            ("00000000000000000001", Some(1)),
            ("2147483648", None),
            ("-2147483649", None),
            ("99999999999999999999", None),
            ("000000000000000000001", None),
            ("0x", None),
            ("0xg", None),
            ("08", None),
            ("1#text", None),
            ("1;", None),
            ("1;text", None),
            ("1,", None),
            ("1.0", None),
            ("1\r", None),
            ("1\u{a0}# text", None),
            ("1_000", None),
            ("0b1", None),
            ("0o1", None),
            ("+1", None),
            ("- 1", None),
            ("--1", None),
            ("-", None),
            ("\"1\"", None),
            ("'1'", None),
            ("= 1", None),
            ("# 1", None),
            ("\u{a0}1", None),
            ("true", None),
            ("１", None),
            ("", None),
            (" ", None),
        ] {
            assert_eq!(integer(text), taken, "{text:?}");
        }
    }

    #[test]
    fn a_value_is_set_by_whatever_the_kernel_takes_for_it() {
        for (text, wanted, single, set) in [
            ("1 # text", "1", true, true),
            ("0x1", "1", true, true),
            ("1 2", "1", true, true),
            ("1 2", "1", false, false),
            ("1 # text", "1", false, true),
            ("1#text", "1", true, false),
            ("1;", "1", false, false),
            ("10", "1", true, false),
            ("4 4 1 7", "4\t4\t1\t7", false, true),
            ("4 4 1 7 # quiet", "4 4 1 7", false, true),
            ("4 4 1", "4 4 1 7", false, false),
            ("4 4 1 7 9", "4 4 1 7", false, false),
            ("4 4 1 7 // quiet", "4 4 1 7", false, true),
            ("|/bin/x # y", "|/bin/x", false, false),
            ("|/bin/x  %p", "|/bin/x %p", false, true),
            ("", "", false, true),
        ] {
            assert_eq!(sets(text, wanted, single), set, "{text:?} {wanted:?} {single}");
        }
    }

    #[test]
    fn what_stands_behind_a_number_is_told_apart_and_kept_by_a_mend() {
        for (text, behind, mended) in [
            ("0", "", "10"),
            ("0 # never", "# never", "10 # never"),
            ("0\t;never ", ";never", "10 ;never"),
            ("0 seconds", "seconds", "10 seconds"),
            ("0#never", "", "10 #never"),
            ("0;never", "", "10 ;never"),
            ("0 // never", "// never", "10 // never"),
            ("# never", "", "10 # never"),
            ("0 1", "1", "10"),
            ("never", "", "10"),
            ("", "", "10"),
        ] {
            assert_eq!(trailing(text, true), behind, "{text:?}");
            assert_eq!(replaced(text, "10"), mended, "{text:?}");
            assert_eq!(integer(&replaced(text, "10")), Some(10), "{text:?}");
        }
        assert_eq!(replaced("|/bin/x # y", "|/bin/z"), "|/bin/z");
        assert_eq!(without_comment("4 4 1 7 # quiet"), "4 4 1 7");
        assert_eq!(without_comment("|/bin/x # y"), "|/bin/x # y");
    }
}
