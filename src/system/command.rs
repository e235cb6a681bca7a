// SPDX-License-Identifier: Apache-2.0
//! Running a program of the host's with a deadline.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use rustix::fs::FileType;
use rustix::process::{Pid, Signal};

use super::HostError;
use super::root::Root;
use crate::model::limits::REPORT_LIMIT;

/// Longer than anything we read from a program.
const OUTPUT_LIMIT: u64 = 16 * 1024;

/// But from ourselves, who print a report and a line break.
const REPORT: u64 = REPORT_LIMIT as u64 + 1;

/// Half of what is left at most, so that after a program that hangs there is time for the next.
fn in_time(limit: Duration, left: Option<Duration>) -> Duration {
    left.map_or(limit, |left| limit.min(left / 2))
}

/// In whole seconds, but what is shorter as it is.
pub(super) fn seconds(limit: &Duration) -> f64 {
    let tenths = (limit.as_secs_f64() * 10.0).floor() / 10.0;
    if tenths < 10.0 { tenths } else { tenths.floor() }
}

/// Runs `program` with a clean environment and gives what it printed on standard output. It ends
/// within `limit`, and before whoever started this process ends it ([`Root::end_within`]).
pub(crate) fn run<A: AsRef<OsStr>>(
    root: &Root,
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
    limit: Duration,
) -> Result<String, HostError> {
    trusted(program)?;
    let limit = in_time(limit, root.left());
    if limit.is_zero() {
        // Killed as soon as it is started, an account tool would leave its lock behind.
        let errors = String::new();
        return Err(HostError::Deadline { program: program.into(), limit, errors });
    }
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let ended = supervise(command, program, limit, OUTPUT_LIMIT)?;
    if ended.status.success() {
        return Ok(ended.output);
    }
    let words = ended.errors.trim().replace('\n', "; ");
    Err(HostError::Status { program: program.into(), status: ended.status, words })
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
) -> Result<Ended, HostError> {
    // The link leads to the running program also where its file was replaced, as by an upgrade.
    let program = Path::new("/proc/self/exe");
    let mut command = Command::new(program);
    command.arg0("nodeguard").args(arguments);
    command.stdin(keeps.map_or_else(Stdio::null, Stdio::from));
    supervise(command, program, limit, REPORT)
}

fn supervise(
    mut command: Command,
    program: &Path,
    limit: Duration,
    output_limit: u64,
) -> Result<Ended, HostError> {
    let start = |source| HostError::Start { program: program.into(), source };
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
    let errors = Arc::new(Mutex::new(Vec::new()));
    let said = Arc::clone(&errors);
    let aside = std::thread::Builder::new().spawn(move || {
        let _ = sender.send(outcome(child, output_limit, &said));
    });
    let ended = aside.map_err(start).map(|_| receiver.recv_timeout(limit));
    if !matches!(ended, Ok(Ok(_)))
        && let Some(group) = group
    {
        // Without effect where it has ended meanwhile.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    ended?
        .map_err(|_| HostError::Deadline { program: program.into(), limit, errors: text(&errors) })?
        .map_err(|source| HostError::Wait { program: program.into(), source })
}

/// Exit status, standard output and standard error, when all three have ended.
fn outcome(mut child: Child, limit: u64, errors: &Arc<Mutex<Vec<u8>>>) -> std::io::Result<Ended> {
    let (pipe, said) = (child.stderr.take(), Arc::clone(errors));
    let aside = std::thread::Builder::new().spawn(move || drain(pipe, OUTPUT_LIMIT, &said))?;
    let output = Mutex::new(Vec::new());
    drain(child.stdout.take(), limit, &output);
    let status = child.wait()?;
    // A thread that failed has left what it had.
    let _ = aside.join();
    Ok(Ended { status, output: text(&output), errors: text(errors) })
}

fn text(bytes: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

/// What is read is in `bytes` at once, for who does not wait for the end.
fn drain(pipe: Option<impl Read>, limit: u64, bytes: &Mutex<Vec<u8>>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = [0; 4096];
    // What cannot be read is not shown; the exit status decides.
    while let Ok(read @ 1..) = pipe.read(&mut buffer) {
        let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(bytes.len());
        // Beyond the limit it is thrown away, so that the program does not block on a full pipe.
        bytes.extend(&buffer[..read.min(room)]);
    }
}

/// Refuses a program that somebody besides root could have put there.
fn trusted(program: &Path) -> Result<(), HostError> {
    let untrusted = |reason: String| HostError::Untrusted { program: program.into(), reason };
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

    use super::*;
    use std::time::Instant;

    #[test]
    fn a_program_that_never_ends_is_given_up_at_the_deadline() {
        let begin = Instant::now();
        let limit = Duration::from_millis(200);
        let result = run(&Root::host().unwrap(), Path::new("/bin/sleep"), ["1000"], limit);
        assert!(matches!(result, Err(HostError::Deadline { .. })), "{result:?}");
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn neither_a_closed_output_nor_a_child_left_behind_gets_around_the_deadline() {
        for script in ["exec >/dev/null 2>&1; sleep 1000", "sleep 1000 & exit 0"] {
            let begin = Instant::now();
            let result = run(
                &Root::host().unwrap(),
                Path::new("/bin/sh"),
                ["-c", script],
                Duration::from_millis(200),
            );
            assert!(matches!(result, Err(HostError::Deadline { .. })), "{script}: {result:?}");
            assert!(begin.elapsed() < Duration::from_secs(10), "{script}");
        }
    }

    #[test]
    fn what_a_program_said_before_it_was_given_up_is_known() {
        let script = "echo it stands at the lake >&2; exec sleep 1000";
        let result = run(
            &Root::host().unwrap(),
            Path::new("/bin/sh"),
            ["-c", script],
            Duration::from_secs(2),
        );
        let Err(HostError::Deadline { errors, .. }) = result else { panic!("{result:?}") };
        assert_eq!(errors, "it stands at the lake\n");
    }

    #[test]
    fn of_the_time_that_is_left_a_program_gets_half_at_most() {
        let limit = Duration::from_secs(10);
        for (left, expected) in [(None, 10), (Some(30), 10), (Some(6), 3), (Some(0), 0)] {
            let left = left.map(Duration::from_secs);
            assert_eq!(in_time(limit, left), Duration::from_secs(expected), "{left:?}");
        }
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let error = run(
            &Root::host().unwrap(),
            Path::new("/bin/ls"),
            ["/no/such/place"],
            Duration::from_secs(10),
        )
        .expect_err("ls fails");
        assert!(error.to_string().contains("No such file or directory"), "{error}");
    }

    #[test]
    fn more_output_than_the_limit_is_cut_and_does_not_block() {
        let output = run(
            &Root::host().unwrap(),
            Path::new("/bin/cat"),
            ["/proc/kallsyms"],
            Duration::from_secs(30),
        );
        assert_eq!(output.expect("cat ends").len() as u64, OUTPUT_LIMIT);
    }

    #[test]
    fn of_our_own_report_one_byte_more_is_read_than_a_report_has() {
        for (bytes, read) in [(REPORT, REPORT), (REPORT + 1, REPORT), (4 << 20, REPORT)] {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &format!("head -c {bytes} /dev/zero")]);
            let limit = Duration::from_secs(20);
            let ended = supervise(shell, Path::new("/bin/sh"), limit, REPORT).unwrap();
            assert_eq!(ended.output.len() as u64, read, "{bytes}");
            assert!(ended.status.success(), "{bytes}: it is not blocked by what is thrown away");
        }
    }
}
