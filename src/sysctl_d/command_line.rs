// SPDX-License-Identifier: Apache-2.0
//! Kernel parameters on the kernel's own command line. The kernel sets them before any program
//! runs, so every file that names the key wins over them.

use super::key::{Key, simplified};
use super::{Assigned, SetBy};
use crate::model::Origin;

/// Where the running kernel shows it.
const FILE: &str = "/proc/cmdline";

/// Parameters of the kernel's own that set one of /proc/sys (kernel/panic.c).
const OWN: [(&str, &str); 1] = [("panic", "kernel/panic")];

/// The last word that sets this key.
pub(super) fn find(text: &str, key: &Key) -> Option<Assigned> {
    let mut value = None;
    for word in words(text) {
        // What follows is for the first program.
        if word == "--" {
            break;
        }
        let Some((name, to)) = word.split_once('=') else { continue };
        let to = to.trim_matches('"');
        if name == "oops" && to == "panic" && key.path() == "kernel/panic_on_oops" {
            value = Some("1".to_owned());
        }
        let own = OWN.iter().any(|(own, path)| *own == name && *path == key.path());
        let named = name
            .strip_prefix("sysctl")
            .and_then(|rest| rest.strip_prefix(['.', '/']))
            // The kernel takes every dot for a separator.
            .is_some_and(|path| simplified(&path.replace('.', "/")) == key.path());
        if own || named {
            value = Some(to.to_owned());
        }
    }
    let origin = Origin::file(FILE);
    value.map(|value| Assigned {
        value,
        set_by: SetBy::CommandLine,
        origin,
        link_to: None,
        pattern: None,
    })
}

/// Separated by white space, except within double quotes.
fn words(text: &str) -> impl Iterator<Item = String> {
    let mut quoted = false;
    let mut out = vec![String::new()];
    for c in text.chars() {
        quoted ^= c == '"';
        if c.is_whitespace() && !quoted {
            out.push(String::new());
        } else if c != '"'
            && let Some(word) = out.last_mut()
        {
            word.push(c);
        }
    }
    out.into_iter().filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_for_a_key_counts_up_to_the_first_programs_own() {
        for (line, key, want) in [
            ("quiet sysctl.kernel.panic=5", "kernel.panic", Some("5")),
            ("sysctl.kernel/panic=5 sysctl/kernel/panic=6", "kernel.panic", Some("6")),
            ("panic=30 ro", "kernel.panic", Some("30")),
            ("oops=panic", "kernel.panic_on_oops", Some("1")),
            ("\"sysctl.kernel.core_pattern=a b\"", "kernel.core_pattern", Some("a b")),
            ("sysctl.kernel.core_pattern=\"a b\"", "kernel.core_pattern", Some("a b")),
            ("sysctl.kernel.panic", "kernel.panic", None),
            ("sysctlx.kernel.panic=1", "kernel.panic", None),
            ("ro -- sysctl.kernel.panic=5", "kernel.panic", None),
            ("", "kernel.panic", None),
        ] {
            let got = find(line, &Key::parse(key).unwrap()).map(|a| a.value);
            assert_eq!(got.as_deref(), want, "{line:?}");
        }
    }
}
