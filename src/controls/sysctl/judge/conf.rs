// SPDX-License-Identifier: Apache-2.0
//! The text of one sysctl.d file: its assignments, and mending it with every foreign line kept.

use crate::sysctl_d::{self, Loader, value};

/// One assignment of a sysctl.d file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Dotted form, without the `-` prefix.
    pub key: String,
    /// Surrounding white space removed.
    pub value: String,
    /// Counted from 1.
    pub line: u32,
}

/// Kernel values are compared as words: the kernel prints tabs where an operator writes spaces.
pub(crate) fn same_value(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

/// All assignments of a file, in order, as systemd-sysctl reads them at boot.
pub fn parse(text: &str) -> Vec<Entry> {
    sysctl_d::parse(text.as_bytes(), Loader::Systemd)
        .into_iter()
        .filter_map(|setting| {
            Some(Entry { key: setting.dotted(), value: setting.value?, line: setting.line })
        })
        .collect()
}

/// The file's text with every wanted key at its value: wrong assignments are corrected where they
/// stand, missing ones appended below `comment`, everything else is kept byte for byte.
pub fn mend<'a>(
    text: &str,
    wanted: impl IntoIterator<Item = (&'a str, &'a str)>,
    comment: &str,
) -> String {
    // A carriage return stays where it is: taken away from one line after the other, each mending
    // would find the file changed again.
    let mut lines: Vec<String> = text.split_terminator('\n').map(str::to_owned).collect();
    let entries = parse(text);
    let mut missing = Vec::new();
    for (key, value) in wanted {
        let mut found = false;
        for entry in entries.iter().filter(|e| e.key == key) {
            found = true;
            if !value::sets(&entry.value, value, false) {
                let line = &mut lines[entry.line as usize - 1];
                *line = corrected(line, key, value);
            }
        }
        if !found {
            missing.push(format!("{key}={value}"));
        }
    }
    if !missing.is_empty() {
        if !comment.is_empty() && !lines.iter().any(|l| l == comment) {
            lines.push(comment.to_owned());
        }
        lines.extend(missing);
    }
    let mut out = lines.join("\n");
    out.push('\n');
    out
}

/// A line with `key` at `value`. To systemd a carriage return and a NUL end a line as well, so that
/// one line may hold several assignments.
fn corrected(line: &str, key: &str, value: &str) -> String {
    let pieces = line.split_inclusive(['\r', '\0']).map(|piece| {
        let body = piece.trim_end_matches(['\r', '\0']);
        let Some(head) = body.find('=').map(|at| at + 1) else { return piece.to_owned() };
        if parse(body).first().is_none_or(|entry| entry.key != key) {
            return piece.to_owned();
        }
        let space = if body[head..].starts_with(' ') { " " } else { "" };
        // An operator's comment says why, and is worth more than the number.
        let value = value::replaced(&body[head..], value);
        format!("{}{space}{value}{}", &body[..head], &piece[body.len()..])
    });
    pieces.collect()
}

/// The file's text without its assignments of some keys.
pub fn without(text: &str, unwanted: impl Fn(&str) -> bool) -> String {
    let entries = parse(text);
    let goes = |number: u32| entries.iter().any(|e| e.line == number && unwanted(&e.key));
    let kept = (1..).zip(text.split_terminator('\n')).filter(|(number, _)| !goes(*number));
    kept.flat_map(|(_, line)| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_as_sysctl_d_has_it() {
        for (line, want) in [
            ("kernel.panic=10", Some(("kernel.panic", "10"))),
            ("  kernel.panic =  10  ", Some(("kernel.panic", "10"))),
            ("-kernel.panic=10", Some(("kernel.panic", "10"))),
            ("kernel/panic = 10", Some(("kernel.panic", "10"))),
            ("net/ipv4/conf/eth0.1/rp_filter=1", Some(("net.ipv4.conf.eth0/1.rp_filter", "1"))),
            ("net.ipv4.conf.eth0/1.rp_filter=1", Some(("net.ipv4.conf.eth0/1.rp_filter", "1"))),
            ("kernel.core_pattern=|/bin/x %p=1", Some(("kernel.core_pattern", "|/bin/x %p=1"))),
            ("kernel.panic=", Some(("kernel.panic", ""))),
            ("# kernel.panic=10", None),
            ("; kernel.panic=10", None),
            ("kernel.panic", None),
            ("=10", None),
            ("", None),
        ] {
            let got = parse(line);
            let got = got.first().map(|e| (e.key.as_str(), e.value.as_str()));
            assert_eq!(got, want, "{line:?}");
        }
    }

    #[test]
    fn lines_are_counted_from_one_and_carriage_returns_are_no_part_of_a_value() {
        let entries = parse("# one\r\nkernel.panic=10\r\n\r\nvm.panic_on_oom=0");
        let got: Vec<_> = entries.iter().map(|e| (e.line, e.value.as_str())).collect();
        assert_eq!(got, [(2, "10"), (4, "0")]);
    }

    #[test]
    fn taking_a_key_away_takes_every_line_that_sets_it_and_no_other() {
        let text = "# kernel.panic\nkernel.panic=1\n-kernel/panic = 2\nkernel.panic_on_oops=1";
        let got = without(text, |key| key == "kernel.panic");
        assert_eq!(got, "# kernel.panic\nkernel.panic_on_oops=1\n");
        assert_eq!(without(text, |_| false), format!("{text}\n"));
    }

    #[test]
    fn mending_corrects_in_place_appends_what_is_missing_and_keeps_the_rest() {
        let text = "# ours\nkernel.panic = 0\nvm.swappiness=1\n-kernel.panic=5\n";
        let got = mend(text, [("kernel.panic", "10"), ("vm.panic_on_oom", "0")], "# added");
        assert_eq!(
            got,
            "# ours\nkernel.panic = 10\nvm.swappiness=1\n-kernel.panic=10\n# added\nvm.panic_on_oom=0\n"
        );
        let again = mend(&got, [("kernel.panic", "10"), ("vm.panic_on_oom", "0")], "# added");
        assert_eq!(again, got, "mending twice changes nothing more");
    }

    #[test]
    fn a_mend_keeps_the_comment_behind_a_value_that_it_changes_or_leaves() {
        for (line, mended) in [
            ("kernel.panic=0 # reboot", "kernel.panic=10 # reboot"),
            ("kernel.panic = 10 # reboot", "kernel.panic = 10 # reboot"),
            ("kernel.panic=0x0a\t; as hex", "kernel.panic=0x0a\t; as hex"),
            ("kernel.panic = 0#reboot", "kernel.panic = 10 #reboot"),
            ("-kernel/panic=0; never\r", "-kernel/panic=10 ; never\r"),
            ("kernel.panic=0 seconds", "kernel.panic=10 seconds"),
            ("kernel.panic=5 10", "kernel.panic=10"),
            ("kernel.panic=", "kernel.panic=10"),
        ] {
            let once = mend(line, [("kernel.panic", "10")], "");
            assert_eq!(once, format!("{mended}\n"), "{line:?}");
            assert_eq!(mend(&once, [("kernel.panic", "10")], ""), once, "{line:?}");
        }
    }

    #[test]
    fn mending_twice_changes_nothing_more_whatever_ends_a_line() {
        for text in [
            "a\r",
            "a\r\n",
            "a\r\r\n\r",
            "kernel.panic=0\r\nb\r\n",
            "=\rkernel.panic=0",
            "\n\n",
            "",
        ] {
            let once = mend(text, [("kernel.panic", "10")], "# added");
            assert_eq!(mend(&once, [("kernel.panic", "10")], "# added"), once, "{text:?}");
            assert_eq!(parse(&once).last().map(|e| e.value.as_str()), Some("10"), "{text:?}");
        }
    }
}
