// SPDX-License-Identifier: Apache-2.0
//! Random layouts of sysctl.d: what administrators write, and what nobody should.

use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The parameters of the pretended kernel.
pub const KEYS: [&str; 17] = [
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/pid_max",
    "kernel/core_pattern",
    "kernel/keys/root_maxkeys",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/all/forwarding",
    "net/ipv4/conf/default/rp_filter",
    "net/ipv4/conf/eth0/rp_filter",
    "net/ipv4/conf/eth0/forwarding",
    "net/ipv4/conf/eth0.100/rp_filter",
    "net/ipv4/conf/eth0.100/forwarding",
    "net/ipv4/conf/lo/rp_filter",
    "net/ipv4/conf/.0/rp_filter",
];

const DIRECTORIES: [&str; 5] =
    ["etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"];

const NAMES: [&str; 14] = [
    "10-a.conf",
    "50-default.conf",
    "60-rke2-cis.conf",
    "60-rke2-cis.conf",
    "99-stig.conf",
    "99-sysctl.conf",
    "99-sysctl.conf",
    "9.conf",
    "Z.conf",
    "a b.conf",
    "é.conf",
    ".hidden.conf",
    "README",
    "99-stig.conf.bak",
];

const PATTERNS: [&str; 22] = [
    "net.ipv4.conf.*.rp_filter",
    "net/ipv4/conf/*/rp_filter",
    "net.ipv4.conf.*.*",
    "net.ipv4.conf.eth*.rp_filter",
    "net/ipv4/conf/eth0.*/forwarding",
    "net.ipv4.conf.eth0/1*.rp_filter",
    "net.ipv4.conf.eth?.rp_filter",
    "net.ipv4.conf.[!e]*.rp_filter",
    "net.ipv4.conf.[a-e]*.forwarding",
    "net.ipv4.conf.[[:alpha:]]*.rp_filter",
    "net.ipv4.conf.{all,eth0}.rp_filt*",
    "net.ipv4.conf.{all,default}.rp_filter",
    "kernel.pan*",
    "kernel.*",
    "kernel.pani?",
    "kernel.pani[",
    "kernel.pani\\c*",
    "*.panic",
    "*.*",
    "vm/*",
    "kernel.nothing*",
    "/kernel/pan*",
];

const VALUES: [&str; 12] = [
    "0",
    "1",
    "2",
    "10",
    "1000",
    "1 2 3",
    "1\t2",
    "a=b",
    "\"q\"",
    "|/bin/x %p",
    "",
    "10 # not a comment",
];

/// A repeatable source of chance (xorshift64*).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn of<'c>(&mut self, choices: &[&'c str]) -> &'c str {
        choices[self.below(choices.len())]
    }
}

/// What is at a path.
pub enum Entry {
    Text(Vec<u8>),
    Link(String),
    Directory,
}

/// Paths below the root, and what is there.
pub struct Layout(pub Vec<(PathBuf, Entry)>);

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, entry) in &self.0 {
            match entry {
                Entry::Text(text) => {
                    let text = text.escape_ascii().to_string();
                    writeln!(f, "    {}: \"{:.2000}\"", path.display(), text)?;
                }
                Entry::Link(to) => writeln!(f, "    {} -> {to}", path.display())?,
                Entry::Directory => writeln!(f, "    {}/", path.display())?,
            }
        }
        Ok(())
    }
}

pub const CREDENTIAL: &str = "run/credentials/@system/sysctl.extra";

impl Layout {
    pub fn random(chance: &mut Chance) -> Self {
        let mut entries: Vec<(PathBuf, Entry)> = Vec::new();
        // Few words at a time, so that lines meet.
        let mut some = |all: &[&'static str]| -> Vec<&'static str> {
            (0..1 + chance.below(4)).map(|_| chance.of(all)).collect()
        };
        let words = Words { keys: some(&KEYS), patterns: some(&PATTERNS), values: some(&VALUES) };
        // A system with a /lib of its own, as there were until Debian 12.
        let directories: &[&str] = if chance.one_in(10) { &DIRECTORIES } else { &DIRECTORIES[..4] };
        for _ in 0..1 + chance.below(9) {
            let path = Path::new(chance.of(directories)).join(chance.of(&NAMES));
            if entries.iter().any(|(known, _)| *known == path) {
                continue;
            }
            let entry = match chance.below(24) {
                0 | 1 => Entry::Link("/dev/null".into()),
                2 => Entry::Link("nowhere.conf".into()),
                3 => Entry::Link("../../etc/sysctl.conf".into()),
                4 => Entry::Link("/etc/sysctl.conf".into()),
                5 => Entry::Link(format!("/etc/sysctl.d/{}", chance.of(&NAMES[..5]))),
                6 => Entry::Directory,
                7 => Entry::Text(Vec::new()),
                _ => Entry::Text(text(chance, &words)),
            };
            // A link to itself is read differently by every version.
            if matches!(&entry, Entry::Link(to) if Path::new("/").join(&path) == Path::new(to)) {
                continue;
            }
            entries.push((path, entry));
        }
        if chance.one_in(2) {
            entries.push(("etc/sysctl.conf".into(), Entry::Text(text(chance, &words))));
        }
        if chance.one_in(6) {
            entries.push((CREDENTIAL.into(), Entry::Text(text(chance, &words))));
        }
        let layout = Self(entries);
        if layout.has_a_circle() { Self::random(chance) } else { layout }
    }

    /// Links of `/etc/sysctl.d` that lead round in a circle.
    fn has_a_circle(&self) -> bool {
        self.0.iter().any(|(start, _)| {
            let mut at = start.clone();
            for _ in 0..self.0.len() + 1 {
                match self.0.iter().find(|(path, _)| *path == at) {
                    Some((_, Entry::Link(to))) if to.starts_with("/etc/sysctl.d/") => {
                        at = PathBuf::from(&to[1..]);
                    }
                    _ => return false,
                }
            }
            true
        })
    }

    /// Puts the layout below `root`, from which an earlier one is taken away.
    pub fn install(&self, root: &Path) {
        for directory in DIRECTORIES.iter().chain(&["etc", "run/credentials/@system"]) {
            let path = root.join(directory);
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
        }
        fs::create_dir_all(root.join("etc/sysctl.d")).unwrap();
        for (path, entry) in &self.0 {
            let path = root.join(path);
            match entry {
                Entry::Text(text) => fs::write(&path, text).unwrap(),
                Entry::Link(to) => symlink(to, &path).unwrap(),
                Entry::Directory => fs::create_dir(&path).unwrap(),
            }
        }
    }

    /// Whether /lib is not the same as /usr/lib.
    pub fn has_own_lib(&self) -> bool {
        self.0.iter().any(|(path, _)| path.starts_with("lib"))
    }

    pub fn has_credential(&self) -> bool {
        self.0.iter().any(|(path, _)| path.as_os_str().as_bytes() == CREDENTIAL.as_bytes())
    }
}

/// What the lines of one layout are made of.
struct Words {
    keys: Vec<&'static str>,
    patterns: Vec<&'static str>,
    values: Vec<&'static str>,
}

fn text(chance: &mut Chance, words: &Words) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..chance.below(9) {
        line(chance, words, &mut out);
        out.extend(match chance.below(12) {
            0 => &b"\r\n"[..],
            1 => b"\n\n",
            2 => b"\r",
            3 if chance.one_in(3) => b"\0",
            _ => b"\n",
        });
    }
    if chance.one_in(4) {
        // No line end at the end.
        line(chance, words, &mut out);
    }
    out
}

fn line(chance: &mut Chance, words: &Words, out: &mut Vec<u8>) {
    let line = match chance.below(24) {
        0 => "# kernel.panic = 77".to_owned(),
        1 => " ; kernel.panic = 77".to_owned(),
        2 => format!("{} 7", spelt(chance, words)),
        3 => "=7".to_owned(),
        4 => "-".to_owned(),
        5 if chance.one_in(8) => format!("#{}", "x".repeat(100_000)),
        6 => {
            // Bytes that are no text, or that look like space.
            let odd: [&[u8]; 4] = [b"\xff", b"\xef\xbb\xbf", b"\x0b", b"\xa0"];
            out.extend(odd[chance.below(odd.len())]);
            format!("{}=7", spelt(chance, words))
        }
        7 | 8 => format!("-{}", spelt(chance, words)),
        9 => format!("-{}", chance.of(&words.patterns)),
        10..=14 => {
            let pattern = chance.of(&words.patterns);
            assignment(chance, pattern, words)
        }
        15 => {
            // Patterns that meet the same parameters, one of them twice.
            let (a, b) = (chance.of(&words.values), chance.of(&words.values));
            let pairs = ["kernel.pan*=A\nkernel.*=B\nkernel.pan*=A", "*.panic=A\n*/*=B\n*.panic=A"];
            chance.of(&pairs).replace('A', a).replace('B', b)
        }
        _ => {
            let key = spelt(chance, words);
            assignment(chance, &key, words)
        }
    };
    out.extend(line.as_bytes());
}

fn assignment(chance: &mut Chance, key: &str, words: &Words) -> String {
    let before = chance.of(&["", "", "", " ", "\t"]);
    let prefix = chance.of(&["", "", "", "", "-", "-", "- ", "--"]);
    let equals = chance.of(&["=", " = ", "= ", "\t=\t", "  =", "=="]);
    let after = chance.of(&["", "", " ", "\t ", "\x0c"]);
    format!("{before}{prefix}{key}{equals}{}{after}", chance.of(&words.values))
}

/// A parameter in one of the spellings that people use, or nearly.
fn spelt(chance: &mut Chance, words: &Words) -> String {
    let key = chance.of(&words.keys);
    let dotted: String = key
        .chars()
        .map(|c| match c {
            '/' => '.',
            '.' => '/',
            c => c,
        })
        .collect();
    match chance.below(16) {
        0..=2 => key.to_owned(),
        3 => format!("/{key}"),
        4 => key.replacen('/', "//", 1),
        5 => dotted.replacen('.', "..", 1),
        6 => key.replace('/', "."),
        7 => format!("/proc/sys/{key}"),
        8 => key.replacen('/', "/./", 1),
        9 => format!("{dotted}."),
        _ => dotted,
    }
}
