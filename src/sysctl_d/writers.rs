// SPDX-License-Identifier: Apache-2.0
//! Files besides sysctl.d whose lines write kernel parameters: tmpfiles.d, udev's rules, cron, and
//! what is run at boot. They are found for `nodeguard explain`, which names who may have set a value;
//! nothing is judged by them, since when they are applied is not known.

use super::Loader;
use super::glob;
use super::key::Key;
use super::misread;

/// What kind of file it is, which says how its lines are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// tmpfiles.d(5): lines of type `w` below /proc/sys.
    Tmpfiles,
    /// udev(7): `SYSCTL{key}="value"`, and programs of `RUN`.
    Udev,
    /// Commands of a shell: a crontab, a script, `ExecStart=` of a unit.
    Commands,
}

/// Where such files are: directories, in each those whose names have this ending, and files.
pub const PLACES: [(Kind, &str, &str); 17] = [
    (Kind::Tmpfiles, "/etc/tmpfiles.d/", ".conf"),
    (Kind::Tmpfiles, "/run/tmpfiles.d/", ".conf"),
    (Kind::Tmpfiles, "/usr/local/lib/tmpfiles.d/", ".conf"),
    (Kind::Tmpfiles, "/usr/lib/tmpfiles.d/", ".conf"),
    (Kind::Udev, "/etc/udev/rules.d/", ".rules"),
    (Kind::Udev, "/run/udev/rules.d/", ".rules"),
    (Kind::Udev, "/usr/local/lib/udev/rules.d/", ".rules"),
    (Kind::Udev, "/usr/lib/udev/rules.d/", ".rules"),
    (Kind::Commands, "/etc/cron.d/", ""),
    (Kind::Commands, "/etc/cron.hourly/", ""),
    (Kind::Commands, "/etc/cron.daily/", ""),
    (Kind::Commands, "/etc/cron.weekly/", ""),
    (Kind::Commands, "/etc/cron.monthly/", ""),
    (Kind::Commands, "/etc/systemd/system/", ".service"),
    (Kind::Commands, "/etc/profile.d/", ".sh"),
    (Kind::Commands, "/etc/rc.d/", "rc.local"),
    (Kind::Commands, "/etc/init.d/", "boot.local"),
];

/// The same, of which only one file is looked at.
pub const FILES: [&str; 4] =
    ["/etc/crontab", "/etc/rc.local", "/var/spool/cron/crontabs/root", "/var/spool/cron/root"];

/// A line that writes a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Counted from 1.
    pub line: u32,
    /// What it writes, where the line says so by itself.
    pub value: Option<String>,
}

/// The lines of a file that write `key`.
pub fn writes(kind: Kind, text: &[u8], key: &Key) -> Vec<Write> {
    let lines = (1..).zip(text.split(|b| *b == b'\n'));
    lines
        .filter_map(|(number, line)| {
            let line = String::from_utf8_lossy(line);
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                return None;
            }
            let value = match kind {
                Kind::Tmpfiles => tmpfiles(line, key),
                Kind::Udev => udev(line, key),
                Kind::Commands => command(line, key),
            };
            value.map(|value| Write { line: number, value })
        })
        .collect()
}

/// `w /proc/sys/kernel/panic - - - - 10`
fn tmpfiles(line: &str, key: &Key) -> Option<Option<String>> {
    let mut rest = line;
    let mut field = || {
        let (field, behind) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        rest = behind.trim_start();
        field.trim_matches(['"', '\''])
    };
    let kind = field();
    // It may be one of files that are made, too.
    if !kind.starts_with(['w', 'f', 'F']) {
        return None;
    }
    let path = field().strip_prefix("/proc/sys/")?;
    if !glob::matches(path, key.path(), Loader::Systemd) {
        return None;
    }
    for _ in 0..4 {
        field();
    }
    let value = rest.trim().trim_matches(['"', '\'']);
    Some((!value.is_empty()).then(|| value.to_owned()))
}

/// `…, SYSCTL{kernel/panic}="10"`; `==` would ask for it.
fn udev(line: &str, key: &Key) -> Option<Option<String>> {
    for (at, _) in line.match_indices('{') {
        let Some((name, rest)) = line[at + 1..].split_once('}') else { break };
        let rest = rest.trim_start();
        let assigned = rest.strip_prefix(['=', '+', ':']).filter(|_| !rest.starts_with("=="));
        let named = match name.strip_prefix("[sysctl/") {
            Some(name) if line[..at].ends_with("ATTR") => name.replace(']', ""),
            None if line[..at].ends_with("SYSCTL") => name.to_owned(),
            _ => continue,
        };
        if let Some(value) = assigned.filter(|_| misread::path(&named) == key.path()) {
            let value = value.trim_start_matches(['=', ' ', '\t']).strip_prefix('"');
            return Some(value.and_then(|value| value.split('"').next()).map(str::to_owned));
        }
    }
    line.contains("RUN").then(|| command(line, key)).flatten()
}

/// `sysctl -w kernel.panic=10`, `echo 10 > /proc/sys/kernel/panic`; a line that only reads it is none.
fn command(line: &str, key: &Key) -> Option<Option<String>> {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    for spelling in [key.dotted(), key.path().to_owned()] {
        for (at, _) in line.match_indices(&spelling) {
            let (before, behind) = (&line[..at], &line[at + spelling.len()..]);
            if before.ends_with(of_a_name) || behind.starts_with(of_a_name) {
                continue;
            }
            if let Some(value) = behind.trim_start_matches(['"', '\'', ' ']).strip_prefix('=') {
                let value = value.trim_start_matches([' ', '"', '\'', '\\']);
                let end = value.find(|c: char| c.is_whitespace() || "\"';\\&|".contains(c));
                return Some(Some(value[..end.unwrap_or(value.len())].to_owned()));
            }
            let Some(before) = before.strip_suffix("/proc/sys/") else { continue };
            let before = before.trim_end_matches([' ', '\t', '"', '\'']);
            if before.ends_with('>') || before.split_whitespace().any(|word| word == "tee") {
                return Some(echoed(before));
            }
        }
    }
    None
}

/// What `echo` says in `echo 10 >`.
fn echoed(before: &str) -> Option<String> {
    let (_, words) = before.rsplit_once("echo ")?;
    let value = words.split(['>', '|']).next().unwrap_or_default();
    let value = value.trim().trim_start_matches("-n ").trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: Kind, line: &str) -> Option<Option<String>> {
        let text = format!("# kernel.panic=5\n{line}\n");
        let writes = writes(kind, text.as_bytes(), &Key::parse("kernel.panic").unwrap());
        assert!(writes.iter().all(|write| write.line == 2), "{line:?}: {writes:?}");
        writes.into_iter().next().map(|write| write.value)
    }

    #[test]
    fn lines_that_write_the_parameter_are_found_with_what_they_write() {
        let value = |value: &str| Some(Some(value.to_owned()));
        for (kind, line, want) in [
            (Kind::Tmpfiles, "w /proc/sys/kernel/panic - - - - 10", value("10")),
            (Kind::Tmpfiles, "w+! /proc/sys/kernel/panic 0644 root root - 10", value("10")),
            (Kind::Tmpfiles, "w-\t/proc/sys/kernel/pan*\t- - - -\t5", value("5")),
            (Kind::Tmpfiles, "w /proc/sys/kernel/panic", Some(None)),
            (Kind::Tmpfiles, "d /proc/sys/kernel/panic - - - - 10", None),
            (Kind::Tmpfiles, "w /proc/sys/kernel/panic_on_oops - - - - 1", None),
            (Kind::Tmpfiles, "w /sys/kernel/mm/ksm/run - - - - 1", None),
            (Kind::Udev, r#"ACTION=="add", SYSCTL{kernel/panic}="5""#, value("5")),
            (Kind::Udev, r#"SUBSYSTEM=="module", SYSCTL{kernel.panic} = "5""#, value("5")),
            (Kind::Udev, r#"ATTR{[sysctl/kernel/panic]}="5""#, value("5")),
            (Kind::Udev, r#"ACTION=="add", SYSCTL{kernel/panic}=="5", NAME="x""#, None),
            (Kind::Udev, r#"RUN+="/sbin/sysctl -w kernel.panic=5""#, value("5")),
            (Kind::Udev, r#"RUN+="/bin/sh -c 'echo 5 > /proc/sys/kernel/panic'""#, value("5")),
            (Kind::Udev, r#"NAME="kernel.panic=5""#, None),
            (Kind::Commands, "@reboot root sysctl -w kernel.panic=5", value("5")),
            (Kind::Commands, "*/5 * * * * root /sbin/sysctl -q kernel.panic=0 && true", value("0")),
            (Kind::Commands, "echo 0 > /proc/sys/kernel/panic", value("0")),
            (Kind::Commands, "echo '0' | sudo tee /proc/sys/kernel/panic", value("0")),
            (Kind::Commands, "printf 0 >/proc/sys/kernel/panic", Some(None)),
            (Kind::Commands, "ExecStart=/sbin/sysctl -w \"kernel.panic=0\"", value("0")),
            (Kind::Commands, "sysctl -n kernel.panic", None),
            (Kind::Commands, "cat /proc/sys/kernel/panic > /tmp/x", None),
            (Kind::Commands, "sysctl -w kernel.panic_on_oops=0", None),
        ] {
            assert_eq!(found(kind, line), want, "{line:?}");
        }
    }
}
