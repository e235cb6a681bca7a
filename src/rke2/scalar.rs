// SPDX-License-Identifier: Apache-2.0
//! What a plain YAML scalar means to RKE2's YAML library, and how Go prints it.
//!
//! RKE2 turns every value into a word of a command line, so the text is all that counts: an
//! unquoted `yes` becomes `true` and a bare `0600` becomes `384`.

/// A plain scalar, resolved by YAML 1.1's rules as Go's yaml.v2 implements them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// Recognised, and kept as it was written.
    Timestamp,
    Text,
}

impl Scalar {
    /// The tag that yaml.v2 names in its errors.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::Null => "!!null",
            Self::Bool(_) => "!!bool",
            Self::Int(_) => "!!int",
            Self::Float(_) => "!!float",
            Self::Timestamp => "!!timestamp",
            Self::Text => "!!str",
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
        }
    }
}

/// Resolves an unquoted scalar.
pub(super) fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Scalar::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Scalar::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes().first() {
        Some(b'.') => finite(text).map_or(Scalar::Text, Scalar::Float),
        Some(b'0'..=b'9' | b'+' | b'-') => number(text),
        _ => Scalar::Text,
    }
}

fn number(text: &str) -> Scalar {
    if is_timestamp(text) {
        return Scalar::Timestamp;
    }
    let plain: String = text.chars().filter(|&c| c != '_').collect();
    if let Some(value) = integer(&plain) {
        return Scalar::Int(value);
    }
    if is_float(&plain)
        && let Some(value) = finite(&plain)
    {
        return Scalar::Float(value);
    }
    Scalar::Text
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
    // Go's parser refuses what does not fit; Rust's gives infinity. A `.` at the front keeps the
    // words `inf` and `nan` out.
    if !is_float(text) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Whether it looks like a date: those are kept as written, where a bare `2026-01-02` is no
/// integer anyway. Only the shape is looked at; every other reading gives the same text.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 7 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-'
}

/// As Go's `fmt.Sprint` prints a `float64`.
fn print_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if value != 0.0 && !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => format!("{value}"),
    }
}

/// Go's `strconv.ParseBool`.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
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
            ("1e-5", "1e-05"),
            ("0.0001", "0.0001"),
            (".5", "0.5"),
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
            ("inf", "inf"),
            ("infinity", "infinity"),
            ("+inf", "+inf"),
            ("0", "0"),
            ("-0", "0"),
            ("-0.0", "-0"),
        ] {
            assert_eq!(resolve(written).print(written).as_deref(), Some(expected), "{written}");
        }
    }

    #[test]
    fn null_has_no_text() {
        for written in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(resolve(written), Scalar::Null, "{written}");
        }
        assert_eq!(resolve("nUll"), Scalar::Text);
    }

    #[test]
    fn a_boolean_flag_takes_go_s_words_and_no_others() {
        for word in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parse_bool(word), Some(true), "{word}");
        }
        for word in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(word), Some(false), "{word}");
        }
        for word in ["yes", "no", "on", "", "tRue", " true", "2"] {
            assert_eq!(parse_bool(word), None, "{word}");
        }
    }
}
