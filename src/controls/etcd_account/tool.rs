// SPDX-License-Identifier: Apache-2.0
//! Changing the account database, by the distribution's own tools: they know its locks,
//! subordinate ids, SELinux contexts and audit.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use super::image;
use super::locks::{self, Lock};
use crate::system::root::Root;
use crate::system::{command, obstacle};

/// For one tool, with the wait for a lock. They wait up to 15 s for one themselves.
const DEADLINE: Duration = Duration::from_secs(20);

/// Where the distributions have them; PATH is not asked.
const DIRECTORIES: [&str; 2] = ["/usr/sbin", "/sbin"];

/// One of `useradd`, `groupadd`, `usermod`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    pub name: &'static str,
    /// Whether it looks for the account in the files only: it would refuse to make one that NSS
    /// has from somewhere else.
    pub files_only: bool,
}

/// Runs a tool on the database below `root`. The error says what went wrong in the tool's own
/// words.
pub(crate) fn run(root: &Root, tool: Tool, arguments: &[&str]) -> Result<(), String> {
    let name = tool.name;
    let Some(program) =
        DIRECTORIES.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
    else {
        return Err(format!("no {name} in /usr/sbin, expected shadow-utils (package passwd)"));
    };
    // The tools would try for fifteen seconds, and then speak of a lock.
    if is_read_only(root) {
        return Err(format!("/etc is on a read-only file system: no {name} can change it"));
    }
    if !root.is_live() {
        return image::run(root, &program, name, arguments, DEADLINE);
    }
    // With any prefix the tools read the files themselves. A single slash would be none to them,
    // and two are the same directory.
    let prefix: &[&str] = if tool.files_only { &["--prefix", "//"] } else { &[] };
    let begin = Instant::now();
    let patience = begin + locks::PATIENCE;
    loop {
        locks::wait(root, patience)?;
        let arguments = prefix.iter().chain(arguments);
        let left = DEADLINE.saturating_sub(begin.elapsed());
        let Err(e) = command::run(root, &program, arguments, left) else { return Ok(()) };
        let words = e.to_string();
        if !words.contains("cannot lock") {
            return Err(words);
        }
        // Somebody was faster between our look and the tool's: its end is waited for as well.
        let taken = matches!(locks::look(root), Lock::Held { .. });
        if !taken || Instant::now() >= patience {
            return Err(words);
        }
    }
}

fn is_read_only(root: &Root) -> bool {
    root.open(Path::new("/etc"), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
        .is_ok_and(|etc| obstacle::is_read_only(&etc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_waits_longer_than_all_that_a_pass_may_wait_for() {
        let unit = include_str!("../../../systemd/nodeguard.service");
        let seconds = |key: &str| {
            let value = unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            Duration::from_secs(value.trim_end_matches('s').parse().unwrap())
        };
        // A group, a user, and the user again or its primary group; a look before each round of
        // actions and after each, of which there are at most four.
        let pass = DEADLINE * 3
            + super::super::elsewhere::DEADLINE * 5
            + crate::controls::rke2_config::version::VERSION_LIMIT;
        assert!(pass < seconds("WatchdogSec="), "{pass:?}");
        assert!(pass < seconds("TimeoutStartSec="), "{pass:?}");
    }
}
