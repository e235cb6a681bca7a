// SPDX-License-Identifier: Apache-2.0
//! What a scalar means to RKE2's YAML library, and how Go prints it.
//!
//! RKE2 turns every value into a word of a command line, so the text is all that counts: an
//! unquoted `yes` becomes `true` and a bare `0600` becomes `384`.

use super::timestamp::is_timestamp;
use super::tree::Scalar;
use crate::rke2::shown::HIDDEN;

/// A scalar, resolved by YAML 1.1's rules as Go's yaml.v2 implements them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Resolved {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// Recognised, and kept as it was written.
    Timestamp,
    Text,
    /// Text that was written in base64.
    Binary(String),
}

const PREFIX: &str = "tag:yaml.org,2002:";

/// A tag as errors name it.
pub(super) fn short(tag: &str) -> String {
    match tag.strip_prefix(PREFIX) {
        Some(name) => format!("!!{name}"),
        None => tag.to_owned(),
    }
}

impl Resolved {
    /// The tag that yaml.v2 names in its errors.
    pub(super) fn tag(&self) -> &'static str {
        match self {
            Self::Null => "!!null",
            Self::Bool(_) => "!!bool",
            Self::Int(_) => "!!int",
            Self::Float(_) => "!!float",
            Self::Timestamp => "!!timestamp",
            Self::Text => "!!str",
            Self::Binary(_) => "!!binary",
        }
    }

    /// The word RKE2 makes of it; `None` for null. `written` is the scalar's own text.
    pub(super) fn print(self, written: &str) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Bool(value) => Some(value.to_string()),
            Self::Int(value) => Some(value.to_string()),
            Self::Float(value) => Some(print_float(value)),
            Self::Timestamp | Self::Text => Some(written.to_owned()),
            Self::Binary(text) => Some(text),
        }
    }
}

impl Scalar {
    /// What it is: its tag counts first, then its quotes, then its text. `Err` has yaml.v2's words.
    pub(super) fn resolved(&self) -> Result<Resolved, String> {
        if self.tag.is_empty() {
            return Ok(if self.implicit { plain(&self.text) } else { Resolved::Text });
        }
        let name = match self.tag.strip_prefix(PREFIX) {
            Some("binary") => {
                return base64(&self.text)
                    .map(Resolved::Binary)
                    .ok_or_else(|| "!!binary value contains invalid base64 data".to_owned());
            }
            Some(name @ ("bool" | "int" | "float" | "null" | "timestamp")) => name,
            _ => return Ok(Resolved::Text),
        };
        let resolved = match first_kind(&self.text) {
            // Only what is tagged as one is tried.
            Kind::Number if name != "timestamp" => number(&self.text),
            _ => plain(&self.text),
        };
        match resolved {
            // The only conversion there is.
            Resolved::Int(value) if name == "float" && i64::try_from(value).is_ok() => {
                #[allow(clippy::cast_precision_loss)] // As Go converts it.
                Ok(Resolved::Float(value as f64))
            }
            other if other.tag().strip_prefix("!!") == Some(name) => Ok(other),
            // RKE2's library has the value itself here, which may be a token.
            other => Err(format!("cannot decode {} `{HIDDEN}` as a !!{name}", other.tag())),
        }
    }
}

/// What the first character of a scalar lets it be.
enum Kind {
    /// A number or a date.
    Number,
    /// A number that begins with its point.
    Fraction,
    Other,
}

fn first_kind(text: &str) -> Kind {
    match text.as_bytes().first() {
        Some(b'0'..=b'9' | b'+' | b'-') => Kind::Number,
        Some(b'.') => Kind::Fraction,
        _ => Kind::Other,
    }
}

/// Resolves an unquoted scalar.
fn plain(text: &str) -> Resolved {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Resolved::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Resolved::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" => return Resolved::Float(f64::INFINITY),
        _ => {}
    }
    match first_kind(text) {
        Kind::Number if is_timestamp(text) => Resolved::Timestamp,
        Kind::Number => number(text),
        Kind::Fraction => match fraction(text) {
            Some(value) => Resolved::Float(value),
            None => Resolved::Text,
        },
        Kind::Other => Resolved::Text,
    }
}

fn number(text: &str) -> Resolved {
    match text {
        "+.inf" | "+.Inf" | "+.INF" => return Resolved::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Resolved::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let plain: String = text.chars().filter(|&c| c != '_').collect();
    if let Some(value) = integer(&plain).or_else(|| signed_binary(&plain)) {
        return Resolved::Int(value);
    }
    finite(&plain).map_or(Resolved::Text, Resolved::Float)
}

/// An integer of at most 64 bits, with Go's prefixes: `0x`, `0b`, `0o`, and a bare `0` for octal.
fn integer(plain: &str) -> Option<i128> {
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain),
    };
    let signed = digits.len() != plain.len();
    let prefix = digits.get(..2).map(str::to_ascii_lowercase);
    let (base, digits) = match prefix.as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some(two) if two.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    // `from_str_radix` takes a sign of its own, which would let `--1` and `0x-1` pass.
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from_str_radix(digits, base).ok()?;
    let value = if negative { -value } else { value };
    // An unsigned number of 64 bits is taken only without a sign.
    let max = if signed { i128::from(i64::MAX) } else { i128::from(u64::MAX) };
    (i128::from(i64::MIN)..=max).contains(&value).then_some(value)
}

/// yaml.v2 also takes a sign behind the `0b`.
fn signed_binary(plain: &str) -> Option<i128> {
    let rest = plain.strip_prefix("0b").filter(|rest| rest.starts_with(['+', '-']))?;
    i64::from_str_radix(rest, 2).ok().map(i128::from)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    if let Some(exponent) = exponent
        && !all_digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))
    {
        return false;
    }
    match mantissa.split_once('.') {
        None => all_digits(mantissa),
        Some(("", fraction)) => all_digits(fraction),
        Some((whole, fraction)) => {
            all_digits(whole) && (fraction.is_empty() || all_digits(fraction))
        }
    }
}

fn finite(text: &str) -> Option<f64> {
    // Go's parser refuses what does not fit; Rust's gives infinity.
    if !is_float(text) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// A number that begins with its point, where each underscore has a digit on both sides.
fn fraction(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let digit_at = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let separates = |at: usize| at > 0 && digit_at(at - 1) && digit_at(at + 1);
    if !(0..bytes.len()).filter(|&at| bytes[at] == b'_').all(separates) {
        return None;
    }
    finite(&text.replace('_', ""))
}

/// As Go's `fmt.Sprint` prints a `float64`.
fn print_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let shortest = format!("{value:e}");
    let Some((mantissa, exponent)) = shortest.split_once('e') else { return shortest };
    // Of two shortest ones that are equally near, Go takes the even one, as Rust does where it is
    // told the number of digits.
    let nearest = |text: &str, even: String| {
        if even.parse() == Ok(value) { even } else { text.to_owned() }
    };
    let decimals = |text: &str| text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    match exponent.parse::<i32>() {
        Ok(exponent) if value != 0.0 && !(-4..6).contains(&exponent) => {
            let digits = decimals(mantissa);
            let text = nearest(&shortest, format!("{value:.digits$e}"));
            let mantissa = text.split_once('e').map_or(mantissa, |(mantissa, _)| mantissa);
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => {
            let text = format!("{value}");
            let digits = decimals(&text);
            nearest(&text, format!("{value:.digits$}"))
        }
    }
}

/// The text that base64 stands for. Line breaks in it do not count.
fn base64(text: &str) -> Option<String> {
    let digits: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    if !digits.len().is_multiple_of(4) {
        return None;
    }
    let padding = digits.iter().rev().take(2).take_while(|&&b| b == b'=').count();
    let digits = &digits[..digits.len() - padding];
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    for group in digits.chunks(4) {
        let mut bits: u32 = 0;
        for &digit in group {
            bits = bits << 6 | sextet(digit)?;
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn sextet(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_scalar_becomes_the_word_go_prints() {
        for (written, expected) in [
            ("cis", "cis"),
            ("yes", "true"),
            ("Off", "false"),
            ("y", "true"),
            ("yEs", "yEs"),
            ("0600", "384"),
            ("0o600", "384"),
            ("0x1F", "31"),
            ("0b101", "5"),
            ("-0b101", "-5"),
            ("0b-101", "-5"),
            ("0b+1_1", "3"),
            ("-0b-1", "-0b-1"),
            ("08", "8"),
            ("089.5", "89.5"),
            ("1_000", "1000"),
            ("+12", "12"),
            ("--12", "--12"),
            ("-0x-1", "-0x-1"),
            ("1.0", "1"),
            ("1.50", "1.5"),
            ("1.", "1"),
            ("1e3", "1000"),
            ("100000.0", "100000"),
            ("1e6", "1e+06"),
            ("1234567.5", "1.2345675e+06"),
            ("1e21", "1e+21"),
            ("123456723456789.123", "1.2345672345678912e+14"),
            ("5e-324", "5e-324"),
            ("1e-5", "1e-05"),
            ("0.0001", "0.0001"),
            (".5", "0.5"),
            (".1_0", "0.1"),
            (".1_", ".1_"),
            ("._1", "._1"),
            (".1__0", ".1__0"),
            ("1_._5", "1.5"),
            (".", "."),
            (".inf", "+Inf"),
            ("-.inf", "-Inf"),
            (".nan", "NaN"),
            ("1e999", "1e999"),
            ("18446744073709551615", "18446744073709551615"),
            ("+18446744073709551615", "1.8446744073709552e+19"),
            ("18446744073709551616", "1.8446744073709552e+19"),
            ("2026-01-02", "2026-01-02"),
            ("1.6.2", "1.6.2"),
            ("1:30", "1:30"),
            ("inf", "inf"),
            ("infinity", "infinity"),
            ("+inf", "+inf"),
            ("0", "0"),
            ("-0", "0"),
            ("-0.0", "-0"),
        ] {
            assert_eq!(plain(written).print(written).as_deref(), Some(expected), "{written}");
        }
    }

    #[test]
    fn null_has_no_text() {
        for written in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(plain(written), Resolved::Null, "{written}");
        }
        assert_eq!(plain("nUll"), Resolved::Text);
    }

    #[test]
    fn base64_is_read_as_gos_standard_encoding_reads_it() {
        for (written, expected) in [
            ("Y2lz", Some("cis")),
            ("Y2l\nz", Some("cis")),
            ("Y2k=", Some("ci")),
            ("Yw==", Some("c")),
            ("Yx==", Some("c")),
            ("", Some("")),
            ("Y2l", None),
            ("Y2k", None),
            ("Y===", None),
            ("Y2lz====", None),
            ("Y2 z", None),
            ("Y=lz", None),
        ] {
            assert_eq!(base64(written).as_deref(), expected, "{written}");
        }
    }

    #[test]
    fn dates_are_those_of_gos_layouts() {
        for written in [
            "2001-1-2",
            "2024-02-29",
            "2001-01-02T3:4:5Z",
            "2001-01-02t03:04:05.678+24:60",
            "2001-01-02  3:4:5,6",
        ] {
            assert!(is_timestamp(written), "{written}");
        }
        for written in [
            "2001-",
            "2001-00-",
            "2001-13-01",
            "2023-02-29",
            "2001-1-2T3:4:5",
            "2001-1-2 3:4:5Z",
            "2001-1-2 24:0:0",
            "2001-1-2x",
            "201-1-2",
        ] {
            assert!(!is_timestamp(written), "{written}");
        }
    }
}
