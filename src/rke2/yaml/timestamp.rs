// SPDX-License-Identifier: Apache-2.0
//! Whether a text is a date to yaml.v2, which keeps it as it is written all the same. It matters
//! where the text is tagged as one, and in what is said of a file that is no mapping.

/// `2001-1-2`, and the same with a time of day in one of three forms. Go's `time.Parse` is more
/// generous than its layouts: a fraction may begin with a comma, and blanks may be many.
pub(super) fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 4
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && is_date_and_time(text).is_some()
}

fn is_date_and_time(text: &str) -> Option<()> {
    let (year, rest) = text.split_at_checked(4)?;
    let year: u32 = year.parse().ok()?;
    let (month, rest) = number(rest.strip_prefix('-')?)?;
    if !(1..=12).contains(&month) {
        return None;
    }
    let (day, rest) = number(rest.strip_prefix('-')?)?;
    let rest = match rest.chars().next() {
        None => "",
        Some('T' | 't') => time_of_day(&rest[1..]).and_then(zone)?,
        Some(' ') => time_of_day(rest.trim_start_matches(' '))?,
        Some(_) => return None,
    };
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (rest.is_empty() && (1..=days).contains(&day)).then_some(())
}

/// One or two digits, and the rest.
fn number(text: &str) -> Option<(u32, &str)> {
    let digits = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    Some((text.get(..digits)?.parse().ok()?, &text[digits..]))
}

/// Hour, minute, second and perhaps a fraction; gives the rest.
fn time_of_day(text: &str) -> Option<&str> {
    let (hour, rest) = number(text)?;
    let (minute, rest) = number(rest.strip_prefix(':')?)?;
    let (second, rest) = number(rest.strip_prefix(':')?)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let Some(fraction) = rest.strip_prefix(['.', ',']) else { return Some(rest) };
    let after = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    Some(if after.len() == fraction.len() { rest } else { after })
}

/// `Z` or `+hh:mm`; gives the rest.
fn zone(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some(rest);
    }
    let rest = text.strip_prefix(['+', '-'])?;
    let (hour, rest) = two_digits(rest)?;
    let (minute, rest) = two_digits(rest.strip_prefix(':')?)?;
    // Go lets these two pass.
    (hour <= 24 && minute <= 60).then_some(rest)
}

fn two_digits(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(2)?;
    let all = digits.bytes().all(|b| b.is_ascii_digit());
    if all { Some((digits.parse().ok()?, rest)) } else { None }
}
