// SPDX-License-Identifier: Apache-2.0
//! The fanotify group: marks, and the events that it tells.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

use super::process::{self, Proof, Ticks};
use super::received::Received;

/// Events of one drain. Each costs a descriptor or two while it is looked at; who writes more is
/// not told apart any more.
const EVENTS: usize = 512;

/// struct fanotify_event_metadata, of fixed layout (fanotify(7)).
const METADATA: usize = 24;
const METADATA_VERSION: u8 = 3;
const QUEUE_OVERFLOW: u64 = 0x4000;
/// The record with a pidfd: a header of four bytes, then the descriptor.
const INFO_PIDFD: u8 = 4;

/// CAP_SYS_ADMIN's bit in the masks of /proc/PID/status.
const SYS_ADMIN: u32 = 21;

/// Why nobody can be named.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueueError {
    #[error("attribution is on but the unit lacks CAP_SYS_ADMIN")]
    NoCapability,
    #[error(
        "attribution is on but the unit's system call filter or a security module refuses \
         fanotify_init: {0}"
    )]
    Refused(Errno),
    #[error("attribution is on but fanotify does not work here: fanotify_init: {0}")]
    NoFanotify(Errno),
    #[error("attribution is on but {path} cannot be marked: fanotify_mark: {errno}")]
    Mark { path: PathBuf, errno: Errno },
    #[error("attribution is on but its events cannot be read: {0}")]
    Read(Errno),
}

/// A group, nothing but inode marks in it.
#[derive(Debug)]
pub(super) struct Queue {
    group: Fanotify,
    /// The kernel says by pidfd which process an event is about (Linux 5.15).
    pidfds: bool,
    /// When the queue was last seen empty; where there are no pidfds.
    emptied: Ticks,
}

/// One write, by somebody else.
#[derive(Debug)]
pub(super) struct Event {
    /// Device and inode of the file that was written.
    pub(super) inode: (u64, u64),
    pub(super) pid: u32,
    pub(super) proof: Proof,
}

/// What one drain read.
#[derive(Debug)]
pub(super) struct Drained {
    pub(super) events: Vec<Event>,
    /// Nothing was left out.
    pub(super) complete: bool,
}

impl Queue {
    pub(super) fn open() -> Result<Self, QueueError> {
        // A group of the content class is told before inotify: whoever is woken by inotify finds
        // the event here. No permission event is asked for, so no writer ever waits for us.
        let flags = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK;
        let opened = EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC | EventFFlags::O_NONBLOCK;
        let (group, pidfds) = match Fanotify::init(flags | InitFlags::FAN_REPORT_PIDFD, opened) {
            Err(Errno::EINVAL) => (Fanotify::init(flags, opened), false),
            group => (group, true),
        };
        let group = group.map_err(|e| match e {
            Errno::EPERM if !process::has_capability(SYS_ADMIN) => QueueError::NoCapability,
            Errno::EPERM | Errno::EACCES => QueueError::Refused(e),
            e => QueueError::NoFanotify(e),
        })?;
        Ok(Self { group, pidfds, emptied: process::uptime() })
    }

    /// Marks a file, and gives its device and inode; `None` where there is no such file.
    pub(super) fn mark(&self, path: &Path) -> Result<Option<(u64, u64)>, QueueError> {
        let failed = |errno| QueueError::Mark { path: path.to_owned(), errno };
        let (flags, mask) = (MarkFlags::FAN_MARK_ADD, MaskFlags::FAN_MODIFY);
        // The path is absolute: the directory does not count.
        match self.group.mark(flags, mask, &self.group, Some(path)) {
            Ok(()) => {}
            Err(Errno::ENOENT) => return Ok(None),
            Err(e) => return Err(failed(e)),
        }
        let stat = rustix::fs::stat(path).map_err(|e| failed(Errno::from_raw(e.raw_os_error())))?;
        Ok(Some((stat.st_dev, stat.st_ino)))
    }

    /// Reads what there is, to a limit. Our own writes are left out.
    pub(super) fn drain(&mut self) -> Result<Drained, QueueError> {
        let own = std::process::id();
        let mut drained = Drained { events: Vec::new(), complete: true };
        let mut buffer = [0u8; 4096];
        let mut read = 0;
        while read < EVENTS {
            let n = match rustix::io::read(&self.group, &mut buffer) {
                Ok(0) | Err(rustix::io::Errno::AGAIN) => {
                    if !self.pidfds {
                        self.emptied = process::uptime();
                    }
                    return Ok(drained);
                }
                Ok(n) => n,
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(QueueError::Read(Errno::from_raw(e.raw_os_error()))),
            };
            for raw in parse(&buffer[..n]) {
                read += 1;
                if raw.mask & QUEUE_OVERFLOW != 0 {
                    drained.complete = false;
                }
                let proof = match raw.pidfd {
                    Some(number) if number >= 0 => Proof::Pidfd(Received(number)),
                    // FAN_NOPIDFD: it has ended, and nobody else has its number.
                    Some(-1) => Proof::Ended,
                    Some(_) | None => Proof::OlderThan(self.emptied),
                };
                let Some(file) = (raw.fd >= 0).then(|| Received(raw.fd)) else { continue };
                let Ok(stat) = rustix::fs::stat(format!("/proc/self/fd/{}", file.number())) else {
                    continue;
                };
                let pid = u32::try_from(raw.pid).unwrap_or_default();
                if pid != own {
                    let inode = (stat.st_dev, stat.st_ino);
                    drained.events.push(Event { inode, pid, proof });
                }
            }
        }
        drained.complete = false;
        Ok(drained)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Raw {
    mask: u64,
    fd: RawFd,
    pid: i32,
    pidfd: Option<RawFd>,
}

/// The events in what one read gave. What is cut short is not there: the kernel does that never.
fn parse(mut bytes: &[u8]) -> Vec<Raw> {
    let mut events = Vec::new();
    while let Some(raw) = parse_one(bytes) {
        let (event, length) = raw;
        events.push(event);
        bytes = &bytes[length..];
    }
    events
}

fn parse_one(bytes: &[u8]) -> Option<(Raw, usize)> {
    let number = |at: usize| Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let length = usize::try_from(number(0)?).ok()?;
    let records = usize::from(u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?));
    if *bytes.get(4)? != METADATA_VERSION || length < METADATA || bytes.len() < length {
        return None;
    }
    let bytes = &bytes[..length];
    let number = |at: usize| Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let mut raw = Raw {
        mask: u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?),
        fd: number(16)?,
        pid: number(20)?,
        pidfd: None,
    };
    let mut at = records;
    while at + 4 <= length {
        let size = usize::from(u16::from_ne_bytes(bytes.get(at + 2..at + 4)?.try_into().ok()?));
        if bytes[at] == INFO_PIDFD {
            raw.pidfd = number(at + 4);
        }
        at += size.max(4);
    }
    Some((raw, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(fd: RawFd, pid: i32, records: &[&[u8]]) -> Vec<u8> {
        let tail: Vec<u8> = records.concat();
        let mut bytes = u32::try_from(METADATA + tail.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend([METADATA_VERSION, 0]);
        bytes.extend(u16::try_from(METADATA).unwrap().to_ne_bytes());
        bytes.extend(2u64.to_ne_bytes());
        bytes.extend(fd.to_ne_bytes());
        bytes.extend(pid.to_ne_bytes());
        bytes.extend(tail);
        bytes
    }

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0];
        bytes.extend(u16::try_from(4 + body.len()).unwrap().to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn events_are_read_with_the_pidfd_wherever_its_record_stands() {
        let pidfd = record(INFO_PIDFD, &9i32.to_ne_bytes());
        let other = record(1, &[7; 20]);
        let bytes = [event(5, 100, &[&pidfd]), event(6, 101, &[&other, &pidfd]), event(-1, 0, &[])]
            .concat();
        let raw = |fd, pid, pidfd| Raw { mask: 2, fd, pid, pidfd };
        assert_eq!(parse(&bytes), [raw(5, 100, Some(9)), raw(6, 101, Some(9)), raw(-1, 0, None)]);
    }

    #[test]
    fn what_is_no_event_ends_the_reading_and_not_the_program() {
        let whole = event(5, 100, &[&record(INFO_PIDFD, &9i32.to_ne_bytes())]);
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), [], "cut at {cut}");
        }
        let mut zero = whole.clone();
        zero[..4].fill(0);
        let mut version = whole.clone();
        version[4] = 2;
        // A record of length 0 must not be read for ever.
        let empty = event(5, 100, &[&[INFO_PIDFD, 0, 0, 0]]);
        assert_eq!((parse(&zero), parse(&version)), (vec![], vec![]));
        let next = [empty, event(6, 101, &[])].concat();
        assert_eq!(parse(&next).iter().map(|raw| raw.pidfd).collect::<Vec<_>>(), [None, None]);
    }
}
