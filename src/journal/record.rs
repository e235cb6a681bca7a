// SPDX-License-Identifier: Apache-2.0
//! Entries that have to be on record, as those about an override: waited for, unlike all others.
//!
//! By hand, since `tracing-journald` does not say whether journald took what it was sent.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Entry;

const SOCKET: &str = "/run/systemd/journal/socket";

/// journald for what has to be on record, whoever typed it: waited for, with one limit for all.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    end: Instant,
}

/// Why an entry is not on record.
#[derive(Debug, thiserror::Error)]
#[error("the journal ({}) did not take the entry: {source}", .path.display())]
pub struct Unrecorded {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

impl Record {
    /// How long a caller waits who has no limit of his own.
    pub const LIMIT: Duration = Duration::from_secs(1);

    /// All entries together wait no longer than `limit`.
    pub fn within(limit: Duration) -> Self {
        Self::to(SOCKET, limit)
    }

    fn to(path: impl Into<PathBuf>, limit: Duration) -> Self {
        Self { path: path.into(), end: Instant::now() + limit }
    }

    /// Returns when journald has the entry. Where there is no journald nothing can be on record.
    pub fn log(&self, entry: &Entry) -> Result<(), Unrecorded> {
        let result = match self.send(&entry.native()) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        };
        result.map_err(|source| Unrecorded { path: self.path.clone(), source })
    }

    fn send(&self, bytes: &[u8]) -> std::io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        let left = self.end.saturating_duration_since(Instant::now());
        // No time at all would mean no limit.
        if left.is_zero() {
            socket.set_nonblocking(true)?;
        } else {
            socket.set_write_timeout(Some(left))?;
        }
        socket.send_to(bytes, &self.path).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Priority;

    #[test]
    fn an_entry_of_record_waits_for_a_journald_that_is_behind_and_says_when_that_was_in_vain() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let entry = Entry::new(Priority::Notice, "of record");
        let record = |limit| Record::to(path.clone(), limit).log(&entry);
        record(Duration::from_secs(1)).expect("without a journald there is no record");

        let journald = UnixDatagram::bind(&path).unwrap();
        let behind = UnixDatagram::unbound().unwrap();
        behind.set_nonblocking(true).unwrap();
        while behind.send_to(b"x", &path).is_ok() {}
        let begin = Instant::now();
        let error = record(Duration::from_millis(200)).expect_err("journald takes nothing");
        assert!(error.to_string().contains("did not take the entry"), "{error}");
        let waited = begin.elapsed();
        assert!(waited >= Duration::from_millis(100), "{waited:?}");
        assert!(waited < Duration::from_secs(5), "{waited:?}");

        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| record(Duration::from_secs(20)));
            let mut buffer = [0; 4096];
            loop {
                let read = journald.recv(&mut buffer).unwrap();
                if buffer[..read].starts_with(b"MESSAGE=of record\n") {
                    break;
                }
            }
            waiting.join().unwrap().expect("it was taken in the end");
        });
    }
}
