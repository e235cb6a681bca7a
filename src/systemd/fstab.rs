// SPDX-License-Identifier: Apache-2.0
//! fstab(5) as systemd-fstab-generator reads it: which lines make a mount, and what pulls it in.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use super::order;

/// Where it is.
pub(crate) const PATH: &str = "/etc/fstab";

/// Bytes of it that are read. One that names a thousand mounts has some hundred thousand.
pub(crate) const LIMIT: usize = 1 << 20;

/// Options with which the generator makes an automount unit; the first is the old name of the other.
const AUTOMOUNT: [&str; 2] = ["comment=systemd.automount", "x-systemd.automount"];

/// A line that mounts something at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Counted from 1.
    pub(crate) number: u32,
    /// A device, `LABEL=` and the like, a directory for a bind mount, a name.
    pub(crate) what: String,
    /// As it is written, without doubled slashes and dots.
    pub(crate) place: PathBuf,
    pub(crate) kind: String,
    options: Vec<String>,
}

impl Line {
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }

    /// The values of an option that may be there several times.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter_map(move |option| option.strip_prefix(name)?.strip_prefix('='))
    }

    /// systemd mounts it when somebody looks into it.
    pub(crate) fn is_automount(&self) -> bool {
        AUTOMOUNT.iter().any(|option| self.has(option))
    }

    /// It is not to be mounted at boot. Of `auto` and `noauto` the last one counts.
    pub(crate) fn is_noauto(&self) -> bool {
        let auto = self.options.iter().rev().find_map(|option| match option.as_str() {
            "noauto" => Some(false),
            "auto" => Some(true),
            _ => None,
        });
        auto == Some(false)
    }

    /// systemd makes it by itself: at boot, or when somebody looks into it, for which `noauto` counts
    /// nothing. A line that names units which pull it in is left to these, whatever else it says.
    pub(crate) fn is_promised(&self) -> bool {
        let pulled = ["x-systemd.wanted-by", "x-systemd.required-by"];
        let mut by = pulled.iter().flat_map(|name| self.values(name)).peekable();
        self.is_automount()
            || match by.peek() {
                Some(_) => by.any(order::pulls_in),
                None => !self.is_noauto(),
            }
    }

    /// It shows a directory of another file system once more.
    pub(crate) fn is_bind(&self) -> bool {
        is_bind(self.options.iter().map(String::as_str))
    }

    /// The units that it is mounted after, and paths whose mounts these are.
    pub(crate) fn after(&self) -> impl Iterator<Item = &str> {
        ["after", "requires", "requires-mounts-for", "wants-mounts-for"].iter().flat_map(|name| {
            let options = self.options.iter().filter_map(|it| it.strip_prefix("x-systemd."));
            options.filter_map(move |it| it.strip_prefix(name)?.strip_prefix('='))
        })
    }
}

pub(crate) fn is_bind<'a>(mut options: impl Iterator<Item = &'a str>) -> bool {
    options.any(|option| matches!(option, "bind" | "rbind"))
}

/// The lines that mount something, in their order. Swap, what has no path, and lines that only change
/// how a mount is shared are left out, as the generator leaves them out; so is the root directory.
pub(crate) fn parse(content: &[u8]) -> Vec<Line> {
    (1u32..)
        .zip(content.split(|&b| b == b'\n'))
        .filter_map(|(number, line)| {
            let mut words =
                line.split(|b| matches!(b, b' ' | b'\t' | b'\r')).filter(|word| !word.is_empty());
            let what = words.next().filter(|word| !word.starts_with(b"#"))?;
            let place = plain(Path::new(&OsString::from_vec(unescaped(words.next()?))))?;
            let text = |word: Option<&[u8]>| {
                String::from_utf8_lossy(&unescaped(word.unwrap_or_default())).into_owned()
            };
            let (what, kind) = (text(Some(what)), text(words.next()));
            let options = options(&text(words.next()));
            let shares = |option: &String| {
                matches!(
                    option.trim_start_matches('r'),
                    "shared" | "slave" | "private" | "unbindable"
                )
            };
            let mounts = kind != "none"
                || is_bind(options.iter().map(String::as_str))
                || !options.iter().any(shares);
            let line = Line { number, what, place, kind, options };
            let counts = mounts && !matches!(line.kind.as_str(), "swap" | "autofs");
            counts.then_some(line)
        })
        .collect()
}

/// An absolute path without doubled slashes and dots; `None` for others and for the root directory.
pub(crate) fn plain(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::from("/");
    for component in path.strip_prefix("/").ok()?.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (out != Path::new("/")).then_some(out)
}

/// Options at commas, but not at those between double quotes, as in a context of SELinux.
pub(crate) fn options(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(String::new()),
            c => {
                if let Some(option) = out.last_mut() {
                    option.push(c);
                }
            }
        }
    }
    out.retain(|option| !option.is_empty());
    out
}

/// `\040` and its kind are single characters.
pub(crate) fn unescaped(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, behind @ ..] = rest {
        let octal = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                Some(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'))
            }
            _ => None,
        };
        let (byte, next) = match (octal, rest) {
            (Some(byte), _) => (byte, &rest[4..]),
            (None, [b'\\', b'\\', next @ ..]) => (b'\\', next),
            _ => (*first, behind),
        };
        out.push(byte);
        rest = next;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Option<Line> {
        let mut lines = parse(line.as_bytes());
        assert!(lines.len() <= 1);
        lines.pop()
    }

    #[test]
    fn a_line_mounts_something_as_the_generator_has_it() {
        let place = |line| one(line).map(|line| line.place.display().to_string());
        for (line, expected) in [
            ("/dev/sdb1 /var/lib/rancher ext4 defaults 0 2", Some("/var/lib/rancher")),
            ("  LABEL=etcd\t/srv//data/./x/  xfs", Some("/srv/data/x")),
            ("UUID=0-1 /my\\040disk\\011a\\134b ext4 nofail", Some("/my disk\ta\\b")),
            ("/a /b none bind", Some("/b")),
            ("/a /b none rbind,nofail", Some("/b")),
            ("tmpfs /t tmpfs\r", Some("/t")),
            ("/dev/sdb1 /x", Some("/x")),
            ("# /dev/sdb1 /x ext4 defaults", None),
            ("   #/dev/sdb1 /x ext4 defaults", None),
            ("", None),
            ("/dev/sdb1", None),
            ("/dev/sdb2 none swap sw", None),
            ("/dev/sdb2 swap swap sw", None),
            ("/swapfile /x swap sw", None),
            ("/dev/sda1 / ext4 defaults", None),
            ("/dev/sda1 relative ext4", None),
            ("/dev/sda1 /a/../b ext4", None),
            ("none /x none rshared", None),
            ("x /x autofs", None),
        ] {
            assert_eq!(place(line).as_deref(), expected, "{line:?}");
        }
    }

    #[test]
    fn a_line_is_promised_unless_nothing_pulls_it_in() {
        for (options, promised) in [
            ("defaults", true),
            ("", true),
            ("nofail", true),
            ("noauto", false),
            ("nofail,noauto", false),
            ("noauto,auto", true),
            ("auto,noauto", false),
            ("noauto,x-systemd.automount", true),
            ("noauto,comment=systemd.automount", true),
            ("noauto,x-systemd.wanted-by=multi-user.target", true),
            ("noauto,x-systemd.required-by=rke2-server.service", true),
            ("x-systemd.wanted-by=backup.service", false),
            ("noauto,x-systemd.wanted-by=backup.service", false),
            (
                "noauto,x-systemd.required-by=backup.service,x-systemd.wanted-by=local-fs.target",
                true,
            ),
            ("noauto,x-systemd.wanted-by=late.target", false),
            ("context=\"a,noauto\"", true),
        ] {
            let line = one(&format!("/dev/x /x ext4 {options}")).unwrap();
            assert_eq!(line.is_promised(), promised, "{options}");
        }
        let line = one("/a /x none bind,x-systemd.after=rke2-server.service,x-systemd.requires=/y");
        let line = line.unwrap();
        assert!(line.is_bind() && !line.is_automount());
        assert_eq!(line.after().collect::<Vec<_>>(), ["rke2-server.service", "/y"]);
    }

    #[test]
    fn an_octal_escape_is_a_character_and_anything_else_stays() {
        for (word, expected) in [
            ("a\\040b", "a b"),
            ("\\0401", " 1"),
            ("\\\\040", "\\040"),
            ("\\8", "\\8"),
            ("\\40", "\\40"),
            ("\\477", "\\477"),
            ("x\\", "x\\"),
        ] {
            assert_eq!(unescaped(word.as_bytes()), expected.as_bytes(), "{word}");
        }
    }
}
