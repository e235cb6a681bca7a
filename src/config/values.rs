// SPDX-License-Identifier: Apache-2.0
//! What single values may be. Each check gives the value, or what was expected instead.

use std::time::Duration;

use super::Policy;
use super::nearest::nearest;
use crate::model::OperatingMode;

const DURATION: &str = "a duration from 1s to 5min, such as \"5s\"";
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Longer than the name of any kernel parameter.
const KEY_LIMIT: usize = 128;

/// The kernel takes a page at most.
const VALUE_LIMIT: usize = 1024;

/// Kernel parameters of namespaces that the service has of its own.
const OWN_UTS: [&str; 2] = ["kernel.hostname", "kernel.domainname"];

/// How often something is done.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let seconds = match &text[digits.len()..] {
        "s" => 1,
        "min" => 60,
        _ => return Err(DURATION.into()),
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DURATION.into());
    }
    let duration = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(seconds));
    match duration.map(Duration::from_secs) {
        Some(duration) if (SHORTEST..=LONGEST).contains(&duration) => Ok(duration),
        _ => Err(DURATION.into()),
    }
}

/// A duration as [`duration`] reads it.
pub fn duration_text(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

pub(super) fn policy(text: &str) -> Result<Policy, String> {
    let names = Policy::ALL.map(Policy::as_str);
    Policy::ALL.into_iter().find(|policy| policy.as_str() == text).ok_or_else(|| {
        let meant = nearest(text, names).map(|name| format!("; did you mean \"{name}\"?"));
        format!("\"enforce\", \"warn\" or \"ignore\"{}", meant.unwrap_or_default())
    })
}

pub(super) fn mode(text: &str) -> Result<OperatingMode, String> {
    OperatingMode::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or_else(|| {
        let meant = meant_mode(text).map(|mode| format!("; did you mean \"{mode}\"?"));
        format!("\"enforce\" or \"report\"{}", meant.unwrap_or_default())
    })
}

/// The mode that a word says, or was meant for; `None`: neither.
pub(super) fn meant_mode(text: &str) -> Option<OperatingMode> {
    let word = text.trim().to_ascii_lowercase();
    let of = |name: &str| OperatingMode::ALL.into_iter().find(|mode| mode.as_str() == name);
    // With an ending: "enforcing" is another program's word for it.
    if word.starts_with("enforc") {
        Some(OperatingMode::Enforce)
    } else if word.starts_with("report") {
        Some(OperatingMode::Report)
    } else {
        nearest(&word, OperatingMode::ALL.map(OperatingMode::as_str)).and_then(of)
    }
}

/// A number of a user or a group.
pub(super) fn id(number: Option<u64>) -> Result<u32, String> {
    // -1, in 32 bits and in the 16 bits of old file systems, means "none".
    const NONE: [u32; 2] = [u16::MAX as u32, u32::MAX];
    number
        .and_then(|number| u32::try_from(number).ok())
        .filter(|id| *id > 0 && !NONE.contains(id))
        .ok_or_else(|| "a number from 1 to 4294967294, and not 65535".into())
}

/// The name of one kernel parameter of this host.
pub(super) fn key(key: &str) -> Result<(), String> {
    let plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    let expected = if key.contains(['*', '?', '[', ']']) {
        "the name of one kernel parameter: patterns are not for here, name each"
    } else if key.contains('/') {
        "the name of a kernel parameter with dots, such as vm.max_map_count"
    } else if key == "net" || key.starts_with("net.") {
        "a parameter outside net: the service runs in a network namespace of its own, where it \
         does not see the host's, and those belong to the CNI"
    } else if OWN_UTS.contains(&key) {
        "a parameter that the service can see: it runs with a host name of its own \
         (ProtectHostname=)"
    } else if key.len() > KEY_LIMIT
        || !key.contains('.')
        || key.starts_with('-')
        || !key.split('.').all(plain)
    {
        "the name of a kernel parameter, such as vm.max_map_count"
    } else {
        return Ok(());
    };
    Err(expected.into())
}

/// The value of a kernel parameter: words, with the white space around them taken away.
pub(super) fn value(text: &str) -> Result<String, String> {
    let text = text.trim();
    let whole = !text.is_empty()
        && text.len() <= VALUE_LIMIT
        && text.chars().all(|c| c == '\t' || !c.is_control());
    if whole { Ok(text.to_owned()) } else { Err(format!("one line of 1 to {VALUE_LIMIT} bytes")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_seconds_or_minutes_within_bounds() {
        for (text, seconds) in [("1s", 1), ("5s", 5), ("300s", 300), ("1min", 60), ("5min", 300)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "5",
            "0s",
            "301s",
            "6min",
            "5 s",
            "-5s",
            "+5s",
            "5S",
            "1.5s",
            "5m",
            "1h",
            "5s5s",
            "é5s",
            "5é",
            "99999999999999999999s",
            "18446744073709551615min",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_names_one_parameter_that_the_service_can_see() {
        for text in ["vm.max_map_count", "kernel.keys.root_maxkeys", "fs.inotify.max_user_watches"]
        {
            assert_eq!(key(text), Ok(()), "{text}");
        }
        for (text, reason) in [
            ("net.ipv4.ip_forward", "network namespace"),
            ("net", "network namespace"),
            ("kernel.hostname", "host name of its own"),
            ("vm.*", "patterns"),
            ("vm/max_map_count", "with dots"),
            ("kernel.../../etc/passwd", "with dots"),
            ("kernel..panic", "such as"),
            (".panic", "such as"),
            ("kernel.", "such as"),
            ("panic", "such as"),
            ("", "such as"),
            ("-vm.swappiness", "such as"),
            ("vm.max map", "such as"),
            ("vm.é", "such as"),
        ] {
            let got = key(text).unwrap_err();
            assert!(got.contains(reason), "{text}: {got}");
        }
        assert!(key(&format!("vm.{}", "x".repeat(200))).is_err(), "too long");
    }

    #[test]
    fn an_id_is_one_that_an_account_can_have() {
        for (number, right) in [
            (Some(1), true),
            (Some(999), true),
            (Some(52034), true),
            (Some(4_294_967_294), true),
            (Some(0), false),
            (Some(65_535), false),
            (Some(4_294_967_295), false),
            (Some(1 << 32), false),
            (None, false),
        ] {
            assert_eq!(id(number).is_ok(), right, "{number:?}");
        }
    }

    #[test]
    fn a_value_is_one_line() {
        assert_eq!(value(" 4  4\t1 7 "), Ok("4  4\t1 7".into()));
        for text in ["", "  ", "1\n2", "\u{1b}[2J", "\0", &"x".repeat(VALUE_LIMIT + 1)] {
            assert!(value(text).is_err(), "{text:?}");
        }
    }
}
