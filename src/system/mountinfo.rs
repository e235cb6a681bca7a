// SPDX-License-Identifier: Apache-2.0
//! A line of /proc/self/mountinfo (proc(5)).

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

pub(crate) const PATH: &str = "/proc/self/mountinfo";

/// Bytes of all of it. A host with thousands of pods has some ten thousand mounts.
pub(crate) const LIMIT: usize = 64 << 20;

/// One mount. Blanks in names are octal escapes, as the kernel writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) number: u64,
    /// The number of the mount that it is on.
    pub(crate) parent: u64,
    /// `major:minor`
    pub(crate) device: &'a str,
    /// What of the file system is mounted.
    pub(crate) root: &'a str,
    /// Where.
    pub(crate) point: &'a str,
    /// The options of this mount, `noexec` among them.
    pub(crate) flags: &'a str,
    /// The file system's type; `None` where the line is cut.
    pub(crate) kind: Option<&'a str>,
    /// A device, or a name.
    pub(crate) source: Option<&'a str>,
    /// The file system's own options, not those of the mount.
    pub(crate) options: Option<&'a str>,
}

/// The first answer that `look` has about a mount, as far as the limit goes; `None` also where the
/// mounts cannot be read.
pub(crate) fn find<T>(mut look: impl FnMut(Line<'_>) -> Option<T>) -> Option<T> {
    lines(File::open(PATH).ok()?).find_map(|line| look(parse(&line)?))
}

fn lines(list: impl Read) -> impl Iterator<Item = String> {
    let lines = within_the_limit(list).split(b'\n').map_while(Result::ok);
    lines.map(|line| String::from_utf8_lossy(&line).into_owned())
}

fn within_the_limit(list: impl Read) -> impl BufRead {
    BufReader::new(list.take(LIMIT as u64))
}

pub(crate) fn parse(line: &str) -> Option<Line<'_>> {
    let (mount, file_system) = match line.split_once(" - ") {
        Some((mount, file_system)) => (mount, Some(file_system)),
        None => (line, None),
    };
    let mut words = mount.split(' ');
    let number = words.next()?.parse().ok()?;
    let parent = words.next()?.parse().ok()?;
    let (device, root, point) = (words.next()?, words.next()?, words.next()?);
    let flags = words.next().unwrap_or_default();
    // Type, source, options.
    let mut words = file_system.into_iter().flat_map(|words| words.split(' '));
    let (kind, source, options) = (words.next(), words.next(), words.next());
    Some(Line { number, parent, device, root, point, flags, kind, source, options })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart_and_a_cut_one_as_far_as_it_goes() {
        let line =
            "36 35 98:0 /sub /d rw,noatime shared:5 master:1 - ext4 /dev/x rw,errors=remount-ro";
        let cut = Line {
            number: 36,
            parent: 35,
            device: "98:0",
            root: "/sub",
            point: "/d",
            flags: "rw",
            kind: None,
            source: None,
            options: None,
        };
        let whole = Line {
            flags: "rw,noatime",
            kind: Some("ext4"),
            source: Some("/dev/x"),
            options: Some("rw,errors=remount-ro"),
            ..cut
        };
        assert_eq!(parse(line), Some(whole));
        assert_eq!(parse("36 35 98:0 /sub /d rw"), Some(cut));
        for broken in ["", "36 35 98:0 /sub", "x 35 98:0 /sub /d rw - ext4 /dev/x rw"] {
            assert_eq!(parse(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn no_more_is_read_than_the_limit() {
        let list = std::io::repeat(b'x').take(LIMIT as u64 + 1);
        let read = std::io::copy(&mut within_the_limit(list), &mut std::io::sink());
        assert_eq!(read.unwrap(), LIMIT as u64);
        assert_eq!(lines(&b"a\n\xff\n"[..]).collect::<Vec<_>>(), ["a", "\u{fffd}"]);
    }
}
