// SPDX-License-Identifier: Apache-2.0
//! Values of flags as Go's packages strconv and time read them.

use super::flags::Kind;
use super::scalar;

/// Why a value is none of its kind, in the words of Go's package flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Syntax,
    Range,
}

impl Refusal {
    /// As the flag's error ends.
    pub(super) fn of_flag(self) -> &'static str {
        match self {
            Self::Syntax => "parse error",
            Self::Range => "value out of range",
        }
    }

    /// As the error of strconv ends.
    pub(super) fn of_number(self) -> &'static str {
        match self {
            Self::Syntax => "invalid syntax",
            Self::Range => "value out of range",
        }
    }
}

/// Whether a flag of this kind takes the value.
pub(super) fn check(kind: Kind, value: &str) -> Result<(), Refusal> {
    match kind {
        Kind::Text | Kind::List => Ok(()),
        Kind::Bool => scalar::parse_bool(value).map(|_| ()).ok_or(Refusal::Syntax),
        Kind::Int => int(value),
        // Go's package flag has one word for whatever is wrong with a duration.
        Kind::Duration => {
            if is_duration(value) {
                Ok(())
            } else {
                Err(Refusal::Syntax)
            }
        }
    }
}

/// What a flag of this kind takes, for an operator.
pub(super) fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false",
        Kind::Int => "a whole number",
        Kind::Duration => "a number with its unit, such as 10m or 1h30m",
        Kind::Text | Kind::List => "a value",
    }
}

/// `strconv.ParseInt` with base 0 and 64 bits.
fn int(text: &str) -> Result<(), Refusal> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (base, digits) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (16, &unsigned[2..]),
        [b'0', b'b' | b'B', _, ..] => (2, &unsigned[2..]),
        [b'0', b'o' | b'O', _, ..] => (8, &unsigned[2..]),
        [b'0', _, ..] => (8, &unsigned[1..]),
        _ => (10, unsigned),
    };
    let digit = |b: u8| char::from(b).to_digit(base).map(u64::from);
    let mut value: u64 = 0;
    let mut any = false;
    let mut out_of_range = false;
    for b in digits.bytes().filter(|&b| b != b'_') {
        let digit = digit(b).ok_or(Refusal::Syntax)?;
        any = true;
        match value.checked_mul(u64::from(base)).and_then(|value| value.checked_add(digit)) {
            Some(next) => value = next,
            // Go stops here, whatever follows; but a bad underscore has been looked for before.
            None => {
                out_of_range = true;
                break;
            }
        }
    }
    if !any || !out_of_range && !are_underscores_right(unsigned) {
        return Err(Refusal::Syntax);
    }
    let limit = i64::MAX as u64 + u64::from(text.starts_with('-'));
    if out_of_range || value > limit { Err(Refusal::Range) } else { Ok(()) }
}

/// An underscore stands between digits, or between a base's prefix and a digit.
fn are_underscores_right(unsigned: &str) -> bool {
    let (rest, prefix, hex) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', rest @ ..] => (rest, true, true),
        [b'0', b'b' | b'B' | b'o' | b'O', rest @ ..] => (rest, true, false),
        all => (all, false, false),
    };
    let mut before = if prefix { Some(true) } else { None };
    for &b in rest {
        // What stands before: a digit, an underscore, or nothing.
        before = match (before, b) {
            (Some(true), b'_') => Some(false),
            (_, b'_') => return false,
            (_, b) if is_digit(b, hex) => Some(true),
            _ => return false,
        };
    }
    before != Some(false)
}

fn is_digit(b: u8, hex: bool) -> bool {
    b.is_ascii_digit() || hex && b.is_ascii_hexdigit()
}

/// `time.ParseDuration`: a sign, then numbers with a fraction and a unit, or a bare zero; together no
/// more than 64 bits of nanoseconds.
fn is_duration(text: &str) -> bool {
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let Some((nanoseconds, left)) = one_duration(rest) else { return false };
        rest = left;
        sum = match sum.checked_add(nanoseconds) {
            Some(sum) if sum <= 1 << 63 => sum,
            _ => return false,
        };
    }
    negative || sum < 1 << 63
}

/// The nanoseconds of the first number with its unit, and what follows it.
fn one_duration(text: &str) -> Option<(u64, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at(digits(text));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let unit: u64 = match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let mut value: u64 = 0;
    for b in whole.bytes() {
        value = value.checked_mul(10)?.checked_add(u64::from(b - b'0'))?;
        if value > 1 << 63 {
            return None;
        }
    }
    let value = value.checked_mul(unit).filter(|value| *value <= 1 << 63)?;
    // Digits beyond what fits are left out, as Go does.
    let (mut part, mut scale): (u64, u64) = (0, 1);
    for b in fraction.bytes() {
        let Some(next) = part.checked_mul(10).and_then(|p| p.checked_add(u64::from(b - b'0')))
        else {
            break;
        };
        let Some(tenfold) = scale.checked_mul(10) else { break };
        (part, scale) = (next, tenfold);
    }
    let part = u128::from(part) * u128::from(unit) / u128::from(scale);
    let value = value.checked_add(u64::try_from(part).ok()?)?;
    (value <= 1 << 63).then_some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_read_in_the_base_that_its_prefix_names() {
        for text in [
            "0",
            "5",
            "-5",
            "+5",
            "0x1F",
            "0X1f",
            "0b101",
            "0o17",
            "017",
            "00",
            "1_000",
            "0x_1",
            "0x1_f",
            "0_7",
            "0b_1",
            "9223372036854775807",
            "-9223372036854775808",
        ] {
            assert_eq!(check(Kind::Int, text), Ok(()), "{text}");
        }
        for text in [
            "",
            "x",
            "-",
            "+",
            "5,",
            "5m",
            "1.0",
            "1e3",
            " 5",
            "5 ",
            "08",
            "0x",
            "0b2",
            "1__0",
            "_1",
            "1_",
            "0x1__f",
            "0_",
            "0x_",
            "--5",
            "6444\u{200b}",
            "[{a 6444}]",
            "${PORT}",
        ] {
            assert_eq!(check(Kind::Int, text), Err(Refusal::Syntax), "{text}");
        }
        for text in [
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "0xffffffffffffffff",
        ] {
            assert_eq!(check(Kind::Int, text), Err(Refusal::Range), "{text}");
        }
    }

    #[test]
    fn a_duration_has_a_unit() {
        for text in [
            "0",
            "-0",
            "+0",
            "10m",
            "1h30m",
            "1.5h",
            ".5s",
            "5.s",
            "300ms",
            "1us",
            "1\u{b5}s",
            "1\u{3bc}s",
            "-1m",
            "9223372036854775807ns",
            "-9223372036854775808ns",
            "0.9223372036854775807s",
            "0.100000000000000000000h",
        ] {
            assert_eq!(check(Kind::Duration, text), Ok(()), "{text}");
        }
        for text in [
            "",
            "10",
            "5min",
            "1d",
            "1h 30m",
            " 1h",
            "1H",
            ".s",
            "-.s",
            ".",
            "m",
            "--1m",
            "+-1m",
            "1hm",
            "9223372036854775808ns",
            "9223372036854775.808us9999999h",
            "3000000h",
            "10m,",
        ] {
            assert_eq!(check(Kind::Duration, text), Err(Refusal::Syntax), "{text}");
        }
    }

    #[test]
    fn text_may_be_anything() {
        for kind in [Kind::Text, Kind::List] {
            assert_eq!(check(kind, ""), Ok(()));
            assert_eq!(check(kind, "[]"), Ok(()));
        }
        assert_eq!(check(Kind::Bool, ""), Err(Refusal::Syntax));
    }
}
