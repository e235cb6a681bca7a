// SPDX-License-Identifier: Apache-2.0
//! Lines of a sysctl.d file that name a parameter and set nothing: `key: value`, `sysctl -w
//! key=value`, a key alone. No loader says more of them than a line in a log.

use super::Loader;
use super::glob;
use super::key::{Key, separated, simplified};
use super::line;

/// Characters of a line that are shown.
const SHOWN: usize = 120;

/// A line that names a parameter and does not set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misread {
    /// Counted from 1.
    pub line: u32,
    /// As it is written, its beginning.
    pub text: String,
}

/// The lines that name one of `keys`, or are a letter away from it, and that systemd-sysctl takes for
/// something else; each with the place of the key. A comment is none.
pub fn misread(text: &[u8], keys: &[Key]) -> Vec<(usize, Misread)> {
    let mut out = Vec::new();
    for (number, line) in (1..).zip(text.split(|b| *b == b'\n')) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let named = named(line);
        if named.is_empty() {
            continue;
        }
        let settings = line::parse(line.as_bytes(), Loader::Systemd);
        for (at, key) in keys.iter().enumerate() {
            let key = key.path();
            let bears = |path: &str| path == key || glob::matches(path, key, Loader::Systemd);
            if named.iter().any(|word| is_meant(word, key))
                && !settings.iter().any(|setting| bears(&setting.path))
            {
                let text = line.chars().take(SHOWN).collect();
                out.push((at, Misread { line: number, text }));
            }
        }
    }
    out
}

/// The words of a line that may be the name of a parameter. Of an assignment whose left side is a
/// name or a pattern it is that alone.
fn named(line: &str) -> Vec<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/-*?[]{},!".contains(c);
    match line.split_once('=').map(|(name, _)| name.trim_end_matches([' ', '\t'])) {
        Some(name) if name.chars().all(plain) => vec![name],
        // Not what is in a comment.
        _ => words(line.split(['#', ';']).next().unwrap_or_default()).collect(),
    }
}

/// Runs of what the names of parameters consist of.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "._/-".contains(c)))
        .map(|word| word.trim_matches(['-', '.']))
        .filter(|word| word.contains(['.', '/']))
}

/// The path below /proc/sys that a word names.
pub(super) fn path(word: &str) -> String {
    let word = word.strip_prefix("/proc/sys/").unwrap_or(word);
    simplified(&separated(word))
}

fn is_meant(word: &str, key: &str) -> bool {
    // Nothing that is much longer or shorter is a slip, and comparing takes as long as both are.
    if word.len().abs_diff(key.len()) > "/proc/sys/".len() + 1 {
        return false;
    }
    let path = path(word).replace('-', "_").to_ascii_lowercase();
    let key = key.replace('-', "_");
    path == key || path.len().abs_diff(key.len()) <= 1 && strsim::osa_distance(&path, &key) <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, key: &str) -> Vec<u32> {
        let found = misread(text.as_bytes(), &[Key::parse(key).unwrap()]);
        found.into_iter().map(|(_, misread)| misread.line).collect()
    }

    #[test]
    fn a_line_that_names_the_parameter_and_sets_nothing_is_told() {
        for line in [
            "vm.overcommit_memory: 1",
            "vm.overcommit_memory:1",
            "  - vm.overcommit_memory: \"1\"",
            "sysctl -w vm.overcommit_memory=1",
            "/usr/sbin/sysctl -q -w vm.overcommit_memory=1",
            "sudo sysctl vm.overcommit_memory=1",
            "export vm.overcommit_memory=1",
            "echo 1 > /proc/sys/vm/overcommit_memory",
            "/proc/sys/vm/overcommit_memory = 1",
            "vm.overcommit_memory",
            "vm.overcommit_memory 1",
            "vm/overcommit_memory\t1",
            "\"vm.overcommit_memory\" = 1",
            "vm.overcommit_memory := 1",
            "vm.overcommit_memory\u{a0}= 1",
            "\u{feff}vm.overcommit_memory = 1",
            "vm.overcommit-memory = 1",
            "vm.overcommit_memoy = 1",
            "VM.overcommit_memory = 1",
            "{\"vm.overcommit_memory\": 1}",
        ] {
            assert_eq!(told(&format!("a.b=1\n{line}\n"), "vm.overcommit_memory"), [2], "{line:?}");
        }
    }

    #[test]
    fn what_sets_it_or_takes_it_back_or_is_about_another_one_is_not_told() {
        for line in [
            "vm.overcommit_memory=1",
            " -vm.overcommit_memory = 1 # x: y",
            "-vm.overcommit_memory",
            "vm/overcommit_memory == 1",
            "vm.overcommit_*=1",
            "vm.overcommit_memory=0;",
            "# vm.overcommit_memory: 1",
            "; sysctl -w vm.overcommit_memory=1",
            "vm.swappiness=1 # and not vm.overcommit_memory",
            "vm.overcommit_ratio: 1",
            "vm.overcommit_memory_extra: 1",
            "vm: overcommit_memory",
            "",
        ] {
            assert_eq!(told(line, "vm.overcommit_memory"), [0; 0], "{line:?}");
        }
    }

    #[test]
    fn of_a_line_no_more_is_shown_than_the_limit() {
        let text = format!("kernel.panic: {}", "9".repeat(1 << 16));
        let key = Key::parse("kernel.panic").unwrap();
        let found = misread(text.as_bytes(), &[key]);
        assert_eq!(found[0].1.text.chars().count(), SHOWN);
    }
}
