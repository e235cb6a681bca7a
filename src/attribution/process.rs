// SPDX-License-Identifier: Apache-2.0
//! From a process id to a name, a program and a unit, with the certainty that it is still the
//! process that is meant.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::received::Received;
use crate::model::{Process, shown};

/// Bytes that are read of a file in /proc.
const FILE_LIMIT: u64 = 4096;

/// Since boot, in hundredths of a second, as /proc/PID/stat has them.
pub(super) type Ticks = u64;

/// What shows that a process id still means the process that wrote.
#[derive(Debug)]
pub(super) enum Proof {
    /// Its fdinfo names the process id as long as nobody else can have it.
    Pidfd(Received),
    /// The pidfd names no process any more: the writer has ended.
    Ended,
    /// The kernel gives no pidfd. Who is older than this was there before the write.
    OlderThan(Ticks),
}

/// Why a writer has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    Ended,
    TooYoung,
    Outside,
}

impl Missed {
    pub(super) const ALL: [Self; 3] = [Self::Ended, Self::TooYoung, Self::Outside];
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "it ended before it could be looked at",
            Self::TooYoung => {
                "it is so young that this kernel, older than 5.15, does not tell whether it is \
                 the one that wrote"
            }
            Self::Outside => "it is outside of this pid namespace",
        })
    }
}

/// Looks at the process that wrote. Reads nothing that waits for that process: its memory, and so
/// its command line and environment, is left alone.
pub(super) fn look(pid: u32, proof: &Proof) -> Result<Process, Missed> {
    if pid == 0 {
        return Err(Missed::Outside);
    }
    if let Proof::OlderThan(moment) = proof {
        let started = started(pid).ok_or(Missed::Ended)?;
        if started >= *moment {
            return Err(Missed::TooYoung);
        }
    }
    let comm = read(pid, "comm");
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok().map(|exe| shown(&exe));
    let unit = read(pid, "cgroup").and_then(|text| unit(&text));
    // Afterwards, so that all of it was of one process.
    let same = match proof {
        Proof::Pidfd(fd) => pidfd_means(fd, pid),
        Proof::Ended => false,
        Proof::OlderThan(moment) => started(pid).is_some_and(|started| started < *moment),
    };
    match comm {
        Some(comm) if same => {
            let comm = shown(Path::new(comm.trim_end_matches('\n')));
            Ok(Process { pid, comm, exe, unit })
        }
        _ => Err(Missed::Ended),
    }
}

/// A process that has ended keeps its number until its parent has heard of it; then the field is
/// -1 for good.
fn pidfd_means(fd: &Received, pid: u32) -> bool {
    let text = text(Path::new(&format!("/proc/self/fdinfo/{}", fd.number())));
    let number = text.as_deref().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("Pid:")).map(|rest| rest.trim().to_owned())
    });
    number == Some(pid.to_string())
}

/// When a process was started.
pub(super) fn started(pid: u32) -> Option<Ticks> {
    // The name is in parentheses and may have any of those in it.
    read(pid, "stat")?.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// The time since boot.
pub(super) fn uptime() -> Ticks {
    let text = text(Path::new("/proc/uptime")).unwrap_or_default();
    let seconds = text.split_whitespace().next().unwrap_or_default();
    // Always two decimals.
    seconds.replace('.', "").parse().unwrap_or_default()
}

/// Whether this process has a capability.
pub(super) fn has_capability(bit: u32) -> bool {
    let status = text(Path::new("/proc/self/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << bit) != 0)
}

fn read(pid: u32, name: &str) -> Option<String> {
    text(&Path::new("/proc").join(pid.to_string()).join(name))
}

fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(FILE_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The unit in a /proc/PID/cgroup: in systemd's own hierarchy, the first name below the slices.
fn unit(text: &str) -> Option<String> {
    let systemds = |line: &&str| line.contains(":name=systemd:");
    let path = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
    // Where both hierarchies are mounted (hybrid), it is the named one that has the units.
    let line =
        text.lines().find(systemds).or_else(|| text.lines().find(|l| l.starts_with("0::")))?;
    let path = path(line)?;
    // The kernel marks the group of a unit that has ended behind its path.
    let path = path.strip_suffix(" (deleted)").unwrap_or(&path);
    let name = path.split('/').find(|name| !name.is_empty() && !name.ends_with(".slice"))?;
    // systemd puts a line before names that the kernel has another meaning for.
    let name = name.strip_prefix('_').unwrap_or(name);
    let kinds = [".service", ".scope", ".socket", ".mount", ".swap"];
    kinds.iter().any(|kind| name.ends_with(kind)).then(|| shown(Path::new(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_first_name_below_the_slices_in_either_hierarchy() {
        for (text, expected) in [
            ("0::/system.slice/tuned.service\n", Some("tuned.service")),
            ("0::/system.slice/system-a.slice/a@b.service/sub\n", Some("a@b.service")),
            ("0::/user.slice/user-1000.slice/session-3.scope\n", Some("session-3.scope")),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n",
                Some("user@1000.service"),
            ),
            (
                "12:pids:/x\n1:name=systemd:/system.slice/cron.service\n0::/other\n",
                Some("cron.service"),
            ),
            ("0::/system.slice/a.service (deleted)\n", Some("a.service")),
            ("1:name=systemd:/\n0::/system.slice/a.service\n", None),
            (
                "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-ab.scope\n",
                Some("cri-containerd-ab.scope"),
            ),
            ("0::/kubepods/burstable/pod1/ab\n", None),
            ("0::/init.scope\n", Some("init.scope")),
            ("0::/system.slice/_cpu.service\n", Some("cpu.service")),
            ("0::/system.slice/a\u{1b}b.service\n", Some("a\\u{1b}b.service")),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(unit(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn without_a_pidfd_only_who_was_there_before_the_last_look_is_believed() {
        let me = std::process::id();
        let started = started(me).unwrap();
        assert_eq!(look(me, &Proof::OlderThan(started + 1)).unwrap().pid, me);
        assert_eq!(look(me, &Proof::OlderThan(started)), Err(Missed::TooYoung));
        assert_eq!(look(me, &Proof::Ended), Err(Missed::Ended));
        assert_eq!(look(0, &Proof::Ended), Err(Missed::Outside));
        assert!(started <= uptime());
    }

    #[test]
    fn no_more_of_a_file_is_read_than_the_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "x".repeat(10 * FILE_LIMIT as usize)).unwrap();
        assert_eq!(text(file.path()).unwrap().len() as u64, FILE_LIMIT);
    }
}
