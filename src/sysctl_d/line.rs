// SPDX-License-Identifier: Apache-2.0
//! The lines of one file.

use super::Loader;
use super::key::{separated, simplified, swapped};

/// One line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The parameter's path below /proc/sys, or a glob of such paths.
    pub path: String,
    /// The same before repeated separators were taken out.
    pub(super) raw: String,
    /// `None` where the line is a lone `-key`.
    pub value: Option<String>,
    /// Counted from 1.
    pub line: u32,
}

impl Setting {
    /// The path as `sysctl` prints it: dots separate, a slash is a literal dot.
    pub fn dotted(&self) -> String {
        swapped(&self.path)
    }

    /// A pattern for several parameters, to both readers.
    pub fn is_glob(&self) -> bool {
        self.path.contains(['*', '?', '['])
    }
}

/// The lines of a file that say something, in order.
pub fn parse(text: &[u8], loader: Loader) -> Vec<Setting> {
    let mut out = Vec::new();
    for (number, line) in (1..).zip(text.split(|b| *b == b'\n')) {
        match loader {
            // A carriage return or a NUL ends a line for systemd wherever it stands.
            Loader::Systemd => out.extend(
                line.split(|b| *b == b'\r' || *b == 0)
                    .filter_map(|piece| systemd(&String::from_utf8_lossy(piece), number)),
            ),
            // A string ends at a NUL.
            Loader::Procps | Loader::NewerProcps => {
                let line = line.split(|b| *b == 0).next().unwrap_or_default();
                out.extend(procps(&String::from_utf8_lossy(line), number));
            }
        }
    }
    out
}

/// How many lines may say something, to any of the readers: what must be kept in memory for a file.
pub fn count(text: &[u8]) -> usize {
    let says = |line: &&[u8]| {
        let first = line.iter().find(|b| !b.is_ascii_whitespace());
        first.is_some_and(|b| !b"#;".contains(b))
    };
    text.split(|b| b"\n\r\0".contains(b)).filter(says).count()
}

fn systemd(line: &str, number: u32) -> Option<Setting> {
    let space = [' ', '\t'];
    let line = line.trim_matches(space);
    if line.is_empty() || line.starts_with(['#', ';']) {
        return None;
    }
    let (key, value) = match line.split_once('=') {
        // A leading `-` means "a failure to write is none".
        Some((key, value)) => {
            (key.strip_prefix('-').unwrap_or(key), Some(value.trim_matches(space).to_owned()))
        }
        None => (line.strip_prefix('-')?, None),
    };
    setting(&separated(key.trim_matches(space)), value, number)
}

fn procps(line: &str, number: u32) -> Option<Setting> {
    let space = [' ', '\t', '\r', '\u{b}', '\u{c}'];
    let line = line.trim_start_matches(space);
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (key, value) = match line.split_once('=') {
        Some((key, value)) => {
            (key.strip_prefix('-').unwrap_or(key), Some(value.trim_matches(space).to_owned()))
        }
        None => (line.strip_prefix('-')?, None),
    };
    let key = key.trim_end_matches(space);
    // A second one is overlooked, too.
    let key = key.strip_prefix('-').unwrap_or(key);
    let path = separated(key);
    // No parameter is a directory.
    if path.ends_with('/') || path.ends_with("/.") {
        return None;
    }
    setting(&path, value, number)
}

fn setting(raw: &str, value: Option<String>, line: u32) -> Option<Setting> {
    let path = simplified(raw);
    (!path.is_empty()).then(|| Setting { path, raw: raw.to_owned(), value, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, loader: Loader) -> Vec<(u32, String, Option<String>)> {
        parse(text.as_bytes(), loader).into_iter().map(|s| (s.line, s.path, s.value)).collect()
    }

    #[test]
    fn an_ordinary_line_means_the_same_to_both() {
        for (line, want) in [
            ("kernel.panic=10", Some(("kernel/panic", Some("10")))),
            ("  kernel.panic =  10  ", Some(("kernel/panic", Some("10")))),
            ("-kernel.panic=10", Some(("kernel/panic", Some("10")))),
            ("kernel/panic = 10\r", Some(("kernel/panic", Some("10")))),
            ("kernel..panic = 10", Some(("kernel/panic", Some("10")))),
            ("net/ipv4/conf/eth0.1/x=1", Some(("net/ipv4/conf/eth0.1/x", Some("1")))),
            ("net.ipv4.conf.eth0/1.x=1", Some(("net/ipv4/conf/eth0.1/x", Some("1")))),
            (
                "kernel.core_pattern=|/bin/x %p=1",
                Some(("kernel/core_pattern", Some("|/bin/x %p=1"))),
            ),
            ("kernel.panic=", Some(("kernel/panic", Some("")))),
            ("-kernel.panic", Some(("kernel/panic", None))),
            ("# kernel.panic=10", None),
            (" ; kernel.panic=10", None),
            ("kernel.panic", None),
            ("=10", None),
            ("-", None),
            ("", None),
        ] {
            for loader in [Loader::Systemd, Loader::Procps] {
                let got = read(line, loader);
                let got = got.first().map(|(_, path, value)| (path.as_str(), value.as_deref()));
                assert_eq!(got, want, "{line:?} {loader:?}");
            }
        }
    }

    #[test]
    fn odd_lines_differ_as_the_programs_do() {
        for (line, systemd, procps) in [
            ("a.b=1\rc.d=2", vec!["a/b", "c/d"], vec!["a/b"]),
            ("a.b=1\0c.d=2", vec!["a/b", "c/d"], vec!["a/b"]),
            ("--a.b=1", vec!["-a/b"], vec!["a/b"]),
            ("- a.b=1", vec!["a/b"], vec![" a/b"]),
            ("a.b.=1", vec!["a/b"], vec![]),
            ("\u{b}a.b=1", vec!["\u{b}a/b"], vec!["a/b"]),
        ] {
            let paths = |loader| -> Vec<String> {
                parse(line.as_bytes(), loader).into_iter().map(|s| s.path).collect()
            };
            assert_eq!(paths(Loader::Systemd), systemd, "{line:?}");
            assert_eq!(paths(Loader::Procps), procps, "{line:?}");
        }
    }

    #[test]
    fn lines_are_counted_as_an_editor_counts_them() {
        let text = "# one\r\nkernel.panic=10\r\n\r\nvm.x=0\rvm.y=1\nvm.z=2";
        let lines: Vec<u32> = read(text, Loader::Systemd).iter().map(|s| s.0).collect();
        assert_eq!(lines, [2, 4, 4, 5]);
    }

    #[test]
    fn bytes_that_are_no_text_spoil_their_line_only() {
        let got = parse(b"\xff\xfe.x=1\nkernel.panic=\xff\nvm.x=1", Loader::Systemd);
        assert_eq!(got.len(), 3);
        assert_eq!((got[2].path.as_str(), got[2].line), ("vm/x", 3));
    }
}
