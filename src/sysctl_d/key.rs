// SPDX-License-Identifier: Apache-2.0
//! The name of a kernel parameter, in both of its spellings.

use std::fmt;

/// Longer than any path below /proc/sys.
const LIMIT: usize = 1024;

/// A kernel parameter as a path below /proc/sys, such as `net/ipv4/conf/eth0.100/rp_filter`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// Why a word is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{}' is no kernel parameter: {reason}; expected a name such as vm.overcommit_memory or \
     net/ipv4/conf/eth0.100/rp_filter",
    .word.escape_debug()
)]
pub struct BadKey {
    word: String,
    reason: &'static str,
}

impl Key {
    /// A key in either spelling, as sysctl.d(5) has it: if the first separator is a slash, dots
    /// are literal, else slashes are.
    ///
    /// A word without a separator is refused: no parameter is called so, and commands may give
    /// such words a meaning of their own.
    pub fn parse(word: &str) -> Result<Self, BadKey> {
        let bad = |reason| Err(BadKey { word: word.chars().take(80).collect(), reason });
        if word.len() > LIMIT {
            return bad("it is too long");
        }
        if !word.contains(['.', '/']) {
            return bad("it has no dot and no slash");
        }
        if word.contains(['*', '?', '[']) {
            return bad("it is a pattern, not one parameter");
        }
        if word.chars().any(|c| c.is_control() || c.is_whitespace() || c == '=') {
            return bad("it contains what no name contains");
        }
        let path = separated(word);
        let path = path.strip_prefix('/').unwrap_or(&path);
        let path = path.strip_prefix("proc/sys/").unwrap_or(path);
        if path.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            return bad("a part of it is empty");
        }
        Ok(Self(path.to_owned()))
    }

    /// The path below /proc/sys.
    pub fn path(&self) -> &str {
        &self.0
    }

    /// As `sysctl` prints it: dots separate, a slash is a literal dot.
    pub fn dotted(&self) -> String {
        swapped(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.dotted())
    }
}

/// With slashes as separators, whichever came first in `text`.
pub(super) fn separated(text: &str) -> String {
    match text.find(['.', '/']) {
        Some(at) if text[at..].starts_with('.') => swapped(text),
        _ => text.to_owned(),
    }
}

/// Dots for slashes and slashes for dots.
pub(super) fn swapped(text: &str) -> String {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    text.chars().map(swap).collect()
}

/// Without empty components and `.`, as a lookup of the path has it.
pub(super) fn simplified(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_one_parameter_and_a_literal_dot_survives() {
        for (word, path, dotted) in [
            ("kernel.panic", "kernel/panic", "kernel.panic"),
            ("kernel/panic", "kernel/panic", "kernel.panic"),
            ("/proc/sys/kernel/panic", "kernel/panic", "kernel.panic"),
            ("net/ipv4/conf/eth0.1/x", "net/ipv4/conf/eth0.1/x", "net.ipv4.conf.eth0/1.x"),
            ("net.ipv4.conf.eth0/1.x", "net/ipv4/conf/eth0.1/x", "net.ipv4.conf.eth0/1.x"),
        ] {
            let key = Key::parse(word).unwrap();
            assert_eq!((key.path(), key.dotted().as_str()), (path, dotted), "{word}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_reason() {
        let long = "a.".repeat(LIMIT);
        for (word, reason) in [
            ("rke2", "no dot"),
            ("", "no dot"),
            ("net.ipv4.conf.*.x", "pattern"),
            ("kernel..panic", "empty"),
            ("kernel/../vm/x", "empty"),
            ("kernel.panic=1", "no name contains"),
            ("kernel.pa nic", "no name contains"),
            ("kernel.\u{1b}[2J", "pattern"),
            (&long, "too long"),
        ] {
            let error = Key::parse(word).unwrap_err().to_string();
            assert!(error.contains(reason), "{word:?}: {error}");
            assert!(!error.contains('\u{1b}') && error.len() < 400, "{error:?}");
        }
    }
}
