// SPDX-License-Identifier: Apache-2.0
//! Random layouts of sysctl.d: what administrators write, and what nobody should.

use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The parameters of the pretended kernel.
pub const KEYS: [&str; 16] = [
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
];

const DIRECTORIES: [&str; 4] =
    ["etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d"];

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

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<'c>(&mut self, choices: &[&'c str]) -> &'c str {
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
        // Few parameters at a time, so that lines meet.
        let keys: Vec<&str> = (0..1 + chance.below(4)).map(|_| chance.of(&KEYS)).collect();
        for _ in 0..1 + chance.below(9) {
            let path = Path::new(chance.of(&DIRECTORIES)).join(chance.of(&NAMES));
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
                _ => Entry::Text(text(chance, &keys)),
            };
            // A link to itself is read differently by every version.
            if matches!(&entry, Entry::Link(to) if Path::new("/").join(&path) == Path::new(to)) {
                continue;
            }
            entries.push((path, entry));
        }
        if chance.one_in(2) {
            entries.push(("etc/sysctl.conf".into(), Entry::Text(text(chance, &keys))));
        }
        if chance.one_in(6) {
            entries.push((CREDENTIAL.into(), Entry::Text(text(chance, &keys))));
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

    pub fn has_credential(&self) -> bool {
        self.0.iter().any(|(path, _)| path.as_os_str().as_bytes() == CREDENTIAL.as_bytes())
    }
}

fn text(chance: &mut Chance, keys: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..chance.below(9) {
        line(chance, keys, &mut out);
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
        line(chance, keys, &mut out);
    }
    out
}

fn line(chance: &mut Chance, keys: &[&str], out: &mut Vec<u8>) {
    let line = match chance.below(24) {
        0 => "# kernel.panic = 77".to_owned(),
        1 => " ; kernel.panic = 77".to_owned(),
        2 => format!("{} 7", spelt(chance, keys)),
        3 => "=7".to_owned(),
        4 => "-".to_owned(),
        5 if chance.one_in(8) => format!("#{}", "x".repeat(100_000)),
        6 => {
            // Bytes that are no text, or that look like space.
            let odd: [&[u8]; 4] = [b"\xff", b"\xef\xbb\xbf", b"\x0b", b"\xa0"];
            out.extend(odd[chance.below(odd.len())]);
            format!("{}=7", spelt(chance, keys))
        }
        7 | 8 => format!("-{}", spelt(chance, keys)),
        9 => format!("-{}", chance.of(&PATTERNS)),
        10..=13 => assignment(chance, chance_pattern),
        _ => {
            let keys = keys.to_vec();
            assignment(chance, move |chance| spelt(chance, &keys))
        }
    };
    out.extend(line.as_bytes());
}

fn chance_pattern(chance: &mut Chance) -> String {
    chance.of(&PATTERNS).to_owned()
}

fn assignment(chance: &mut Chance, key: impl Fn(&mut Chance) -> String) -> String {
    let before = chance.of(&["", "", "", " ", "\t"]);
    let prefix = chance.of(&["", "", "", "", "-", "-", "- ", "--"]);
    let equals = chance.of(&["=", " = ", "= ", "\t=\t", "  =", "=="]);
    let after = chance.of(&["", "", " ", "\t ", "\x0c"]);
    format!("{before}{prefix}{}{equals}{}{after}", key(chance), chance.of(&VALUES))
}

/// A parameter in one of the spellings that people use, or nearly.
fn spelt(chance: &mut Chance, keys: &[&str]) -> String {
    let key = keys[chance.below(keys.len())];
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
