// SPDX-License-Identifier: Apache-2.0
//! The name of a unit for a path, and back (systemd.unit(5), "string escaping for inclusion in unit
//! names").

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The name of the unit of a kind (`mount`) for an absolute path without doubled slashes and dots.
pub(crate) fn of_path(path: &Path, kind: &str) -> String {
    let bytes = path.as_os_str().as_bytes();
    let bytes = bytes.strip_prefix(b"/").unwrap_or(bytes);
    if bytes.is_empty() {
        return format!("-.{kind}");
    }
    let mut out = String::with_capacity(bytes.len() + kind.len() + 1);
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if at == 0 => out.push_str("\\x2e"),
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b':' | b'_' | b'.' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('.');
    out.push_str(kind);
    out
}

/// The path that a unit of a kind is for; `None`: the name is of another kind or is no path.
pub(crate) fn path_of(name: &str, kind: &str) -> Option<PathBuf> {
    let stem = name.strip_suffix(kind)?.strip_suffix('.')?;
    if stem.is_empty() || stem.contains('@') {
        return None;
    }
    let mut out = vec![b'/'];
    if stem == "-" {
        return Some(PathBuf::from("/"));
    }
    let mut rest = stem.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        match first {
            b'-' => out.push(b'/'),
            b'\\' => {
                let digits = rest.strip_prefix(b"x")?.get(..2)?;
                out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                rest = &rest[3..];
            }
            byte => out.push(*byte),
        }
    }
    Some(PathBuf::from(OsString::from_vec(out)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `systemd-escape --path` prints.
    #[test]
    fn a_path_has_the_name_that_systemd_gives_it_and_the_name_leads_back() {
        for (path, name) in [
            ("/var/lib/rancher/rke2", "var-lib-rancher-rke2.mount"),
            ("/srv/my-disk", "srv-my\\x2ddisk.mount"),
            ("/a b", "a\\x20b.mount"),
            ("/.hidden/.x", "\\x2ehidden-.x.mount"),
            ("/é", "\\xc3\\xa9.mount"),
            ("/a\\b", "a\\x5cb.mount"),
            ("/a:b_c", "a:b_c.mount"),
            ("/", "-.mount"),
        ] {
            assert_eq!(of_path(Path::new(path), "mount"), name);
            assert_eq!(path_of(name, "mount").as_deref(), Some(Path::new(path)));
        }
        for name in ["x.automount", "x.service", ".mount", "a\\xzz.mount", "a\\x2", "a@b.mount"] {
            assert_eq!(path_of(name, "mount"), None, "{name}");
        }
    }
}
