// SPDX-License-Identifier: Apache-2.0
//! The numbers of login.defs(5), as shadow-utils read them, and what of an image's file they are
//! given: the ranges that they choose a number from, and only such ones as are safe for them.
//!
//! They keep a list with one byte for each number up to the greatest one, and do not check what it
//! takes: after `UID_MIN 0`, or a greatest number of 4294967295, the list has no room at all and
//! they write beside it, as root, in places that the image's /etc/passwd names.

use crate::model::Origin;

/// The greatest number that a range for system accounts may have.
pub(crate) const MOST: u64 = 1 << 20;

/// The ends of the ranges for system accounts.
const RANGES: [&str; 4] = ["SYS_UID_MIN", "SYS_UID_MAX", "SYS_GID_MIN", "SYS_GID_MAX"];

/// Where those end that have no end of their own: one below.
const PEOPLE: [&str; 2] = ["UID_MIN", "GID_MIN"];

/// One assignment.
pub(crate) struct Assignment {
    pub key: String,
    pub value: u64,
    pub origin: Origin,
}

impl Assignment {
    /// Whether the tools would write beside their list, or make a huge one.
    pub fn is_unsafe(&self) -> bool {
        let key = self.key.as_str();
        RANGES.contains(&key) && self.value > MOST || PEOPLE.contains(&key) && self.value == 0
    }
}

pub(crate) fn parse(path: &str, content: &[u8]) -> Vec<Assignment> {
    let text = String::from_utf8_lossy(content);
    (1..)
        .zip(text.lines())
        .filter_map(|(line, text)| {
            let (key, value) = text.trim().split_once([' ', '\t'])?;
            let value = number(value.trim().trim_matches('"'))?;
            Some(Assignment { key: key.to_owned(), value, origin: Origin::at(path, line) })
        })
        .collect()
}

/// As C has numbers: `0x` is hexadecimal, and a 0 in front octal.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    u64::from_str_radix(digits, radix).ok()
}

/// What the tools are given in the place of such a file: its ranges in words of ours, since they
/// read some lines differently than we do. Of the other settings none is about an account of the
/// system without a home. The error names the line that they must not be given.
pub(crate) fn for_the_tools(path: &str, content: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = String::new();
    for set in parse(path, content) {
        let Assignment { key, value, origin } = &set;
        if set.is_unsafe() {
            let most = if PEOPLE.contains(&key.as_str()) {
                "1 or more".into()
            } else {
                format!("{MOST} at most")
            };
            return Err(format!("{origin}: {key} is {value}, expected {most}"));
        }
        if RANGES.contains(&key.as_str()) {
            out.push_str(&format!("{key} {value}\n"));
        } else if PEOPLE.contains(&key.as_str()) {
            // Only that what is below belongs to the system counts here.
            out.push_str(&format!("{key} {}\n", (*value).min(MOST)));
        }
    }
    Ok(out.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(content: &str) -> Result<String, String> {
        for_the_tools("/etc/login.defs", content.as_bytes())
            .map(|given| String::from_utf8(given).unwrap())
    }

    #[test]
    fn the_tools_are_given_ranges_and_nothing_else() {
        let defs = "# SYS_UID_MIN 5\n\tSYS_UID_MIN\t100\nSYS_UID_MAX \"0x1f4\"\nSYS_GID_MAX 0764\n\
                    UID_MIN 2000000000\nGID_MIN 1000\nUID_MAX 4294967295\nMAIL_DIR /var/mail\n\
                    CREATE_HOME yes\nSYS_GID_MIN many\nSYS_UID_MAX 400\n";
        let expected = "SYS_UID_MIN 100\nSYS_UID_MAX 500\nSYS_GID_MAX 500\nUID_MIN 1048576\n\
                        GID_MIN 1000\nSYS_UID_MAX 400\n";
        assert_eq!(given(defs).unwrap(), expected);
        // They cut a line after 1023 bytes, and take what follows for another one.
        let long = format!("#{}SYS_UID_MAX 4294967295\n", " ".repeat(1022));
        assert_eq!(given(&long).unwrap(), "");
    }

    #[test]
    fn a_range_that_they_write_beside_is_refused_with_its_line() {
        for (line, part) in [
            ("SYS_UID_MAX 4294967295", "SYS_UID_MAX is 4294967295, expected 1048576 at most"),
            ("SYS_GID_MAX 0xffffffff", "SYS_GID_MAX is 4294967295"),
            ("SYS_UID_MAX 4294967294", "SYS_UID_MAX is 4294967294"),
            ("SYS_GID_MIN 4294967301", "SYS_GID_MIN is 4294967301"),
            ("UID_MIN 0", "UID_MIN is 0, expected 1 or more"),
            ("GID_MIN 000", "GID_MIN is 0"),
        ] {
            let refused = given(&format!("# x\n{line}\n")).unwrap_err();
            assert!(refused.starts_with(&format!("/etc/login.defs:2: {part}")), "{refused}");
        }
        // As C, but of a negative number it makes a huge one: that is not given to them either.
        assert_eq!(given("SYS_UID_MAX -1\n").unwrap(), "");
    }
}
