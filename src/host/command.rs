// SPDX-License-Identifier: Apache-2.0
//! Running a program of the host's with a deadline.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::FileType;
use rustix::process::{Pid, Signal};

/// Longer than anything we read from a program.
const OUTPUT_LIMIT: u64 = 16 * 1024;

/// But from ourselves, who print a report.
const REPORT_LIMIT: u64 = 8 * 1024 * 1024;

/// Why a program gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{} is {reason}, expected a program that only root can change", .program.display())]
    Untrusted { program: PathBuf, reason: String },
    #[error("cannot start {}: {source}", .program.display())]
    Start {
        program: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} did not end within {} s and was killed", .program.display(), .limit.as_secs())]
    Deadline { program: PathBuf, limit: Duration },
    #[error("{} failed ({status}): {words}", .program.display())]
    Status { program: PathBuf, status: ExitStatus, words: String },
    #[error("cannot wait for {}: {source}", .program.display())]
    Wait {
        program: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Runs `program` with a clean environment and gives what it printed on standard output.
pub(super) fn run<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
    limit: Duration,
) -> Result<String, CommandError> {
    trusted(program)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let ended = supervise(command, program, limit, OUTPUT_LIMIT)?;
    if ended.status.success() {
        return Ok(ended.output);
    }
    let words = ended.errors.trim().replace('\n', "; ");
    Err(CommandError::Status { program: program.into(), status: ended.status, words })
}

/// How a program ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub output: String,
    pub errors: String,
}

/// Runs this very program again, in a process of its own: a system call that never comes back
/// holds up that one and not us, where it would hold up the end of a process with threads.
/// `keeps` stays open in it for as long as it lives.
pub fn run_ourselves(
    arguments: &[&str],
    keeps: Option<OwnedFd>,
    limit: Duration,
) -> Result<Ended, CommandError> {
    // The link leads to the running program also where its file was replaced, as by an upgrade.
    let program = Path::new("/proc/self/exe");
    let mut command = Command::new(program);
    command.arg0("nodeguard").args(arguments);
    command.stdin(keeps.map_or_else(Stdio::null, Stdio::from));
    supervise(command, program, limit, REPORT_LIMIT)
}

fn supervise(
    mut command: Command,
    program: &Path,
    limit: Duration,
    output_limit: u64,
) -> Result<Ended, CommandError> {
    let start = |source| CommandError::Start { program: program.into(), source };
    let child = command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: what it starts is ended with it.
        .process_group(0)
        .spawn()
        .map_err(start)?;
    // What it was given is its own now.
    drop(command);
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // Reading and waiting is done aside, and this thread waits for both, bounded: a program may
    // close its output and stay, or leave a child behind that keeps it open.
    let (sender, receiver) = mpsc::channel();
    let aside = std::thread::Builder::new().spawn(move || {
        let _ = sender.send(outcome(child, output_limit));
    });
    let ended = aside.map_err(start).map(|_| receiver.recv_timeout(limit));
    if !matches!(ended, Ok(Ok(_)))
        && let Some(group) = group
    {
        // Without effect where it has ended meanwhile.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    ended?
        .map_err(|_| CommandError::Deadline { program: program.into(), limit })?
        .map_err(|source| CommandError::Wait { program: program.into(), source })
}

/// Exit status, standard output and standard error, when all three have ended.
fn outcome(mut child: Child, limit: u64) -> std::io::Result<Ended> {
    let errors = child.stderr.take();
    let errors = std::thread::Builder::new().spawn(move || drain(errors, OUTPUT_LIMIT))?;
    let output = drain(child.stdout.take(), limit);
    let status = child.wait()?;
    Ok(Ended { status, output, errors: errors.join().unwrap_or_default() })
}

fn drain(pipe: Option<impl Read>, limit: u64) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What cannot be read is not shown; the exit status decides.
        let _ = (&mut pipe).take(limit).read_to_end(&mut bytes);
        // Beyond the limit it is thrown away, so that the program does not block on a full pipe.
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Refuses a program that somebody besides root could have put there.
fn trusted(program: &Path) -> Result<(), CommandError> {
    let untrusted = |reason: String| CommandError::Untrusted { program: program.into(), reason };
    let stat = rustix::fs::stat(program).map_err(|e| untrusted(format!("unusable ({e})")))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(untrusted("no regular file".into()));
    }
    if stat.st_uid != 0 {
        return Err(untrusted(format!("owned by uid {}", stat.st_uid)));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(untrusted(format!("writable by others (mode {:04o})", stat.st_mode & 0o7777)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_program_that_never_ends_is_given_up_at_the_deadline() {
        let begin = Instant::now();
        let limit = Duration::from_millis(200);
        let result = run(Path::new("/bin/sleep"), ["1000"], limit);
        assert!(matches!(result, Err(CommandError::Deadline { .. })), "{result:?}");
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn neither_a_closed_output_nor_a_child_left_behind_gets_around_the_deadline() {
        for script in ["exec >/dev/null 2>&1; sleep 1000", "sleep 1000 & exit 0"] {
            let begin = Instant::now();
            let result = run(Path::new("/bin/sh"), ["-c", script], Duration::from_millis(200));
            assert!(matches!(result, Err(CommandError::Deadline { .. })), "{script}: {result:?}");
            assert!(begin.elapsed() < Duration::from_secs(10), "{script}");
        }
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let error = run(Path::new("/bin/ls"), ["/no/such/place"], Duration::from_secs(10))
            .expect_err("ls fails");
        assert!(error.to_string().contains("No such file or directory"), "{error}");
    }

    #[test]
    fn more_output_than_the_limit_is_cut_and_does_not_block() {
        let output = run(Path::new("/bin/cat"), ["/proc/kallsyms"], Duration::from_secs(30));
        assert_eq!(output.expect("cat ends").len() as u64, OUTPUT_LIMIT);
    }
}
