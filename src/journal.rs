// SPDX-License-Identifier: Apache-2.0
//! The log: journald's native protocol with structured fields, or plain text on stderr.
//!
//! Our own few lines and no library, because a stalled journald must not stall the guard: every
//! send is non-blocking, what journald does not take is kept up to a limit, and what exceeds
//! that is counted and said when it is back.

use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::model::{ControlId, Correction, Finding, Severity, State};

const SOCKET: &str = "/run/systemd/journal/socket";

/// Entries kept while journald does not take any.
const BACKLOG: usize = 256;

/// Of one entry; a longer message is cut. Far below what a datagram may hold.
const MESSAGE_LIMIT: usize = 8 * 1024;

/// syslog's levels, as journald has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
}

/// What kind of entry it is: stable, for `journalctl MESSAGE_ID=…`. See `packaging/`.
pub mod message_id {
    /// The node's state changed.
    pub const STATE: &str = "1a0ce3c0b1f94d3da5f6a7f24ac9f9a1";
    /// Drift was corrected.
    pub const CORRECTED: &str = "5d0b4cc9a9c34a6b9c0f7d8e27c1a3b2";
    /// A finding appeared.
    pub const FINDING: &str = "8c7be2d5f3a1406e9d2c64b0e15f78d3";
    /// Somebody keeps undoing a correction, or stopped.
    pub const CONTESTED: &str = "c2e9f7704b6d4f1aa3d85be1906c47e4";
}

/// One entry.
#[derive(Clone, Debug)]
pub struct Entry {
    priority: Priority,
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Entry {
    pub fn new(priority: Priority, message: impl Into<String>) -> Self {
        Self { priority, message: message.into(), fields: Vec::new() }
    }

    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// A change that was made.
    pub fn corrected(correction: &Correction) -> Self {
        let word = match correction.code {
            "etcd-owner" | "etcd-tls-owner" => " owner",
            "etcd-mode" | "etcd-tls-mode" => " mode",
            _ => "",
        };
        let Correction { control, code, subject, from, to } = correction;
        Self::new(Priority::Notice, format!("{subject}{word} corrected: {from} -> {to}"))
            .field("MESSAGE_ID", message_id::CORRECTED)
            .about(*control, code, subject)
            .field("NODEGUARD_ACTUAL", from)
            .field("NODEGUARD_EXPECTED", to)
    }

    /// A finding that was not there before.
    pub fn finding(finding: &Finding) -> Self {
        let priority = match finding.severity {
            Severity::Fatal => Priority::Error,
            Severity::Warning | Severity::Drift => Priority::Warning,
            Severity::Note => Priority::Info,
        };
        let origin = finding.origin.as_ref().map(|o| format!(" [{o}]")).unwrap_or_default();
        let text = format!("{}: {}{origin}; {}", finding.severity, finding.message, finding.remedy);
        let entry = Self::new(priority, text)
            .field("MESSAGE_ID", message_id::FINDING)
            .about(finding.control, finding.code, &finding.subject)
            .field("NODEGUARD_SEVERITY", finding.severity.as_str())
            .field("NODEGUARD_ACTUAL", &finding.actual)
            .field("NODEGUARD_EXPECTED", &finding.expected)
            .field("NODEGUARD_REMEDY", &finding.remedy);
        match &finding.origin {
            Some(origin) => entry.field("NODEGUARD_ORIGIN", origin.to_string()),
            None => entry,
        }
    }

    /// The node's state changed.
    pub fn state(from: State, to: State, status: &str) -> Self {
        let priority = match to {
            State::Fatal => Priority::Error,
            State::Degraded => Priority::Warning,
            State::Starting | State::Ready => Priority::Notice,
        };
        Self::new(priority, status.to_owned())
            .field("MESSAGE_ID", message_id::STATE)
            .field("NODEGUARD_STATE", to.as_str())
            .field("NODEGUARD_STATE_BEFORE", from.as_str())
    }

    fn about(self, control: ControlId, code: &str, subject: &str) -> Self {
        self.field("NODEGUARD_CONTROL", control.as_str())
            .field("NODEGUARD_CODE", code)
            .field("NODEGUARD_SUBJECT", subject)
    }

    /// journald's native protocol: `NAME=value`, or with the length in front where the value has
    /// line breaks.
    fn native(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.message.len() + 256);
        push_field(&mut out, "MESSAGE", &self.message);
        push_field(&mut out, "PRIORITY", &(self.priority as u8).to_string());
        push_field(&mut out, "SYSLOG_IDENTIFIER", "nodeguard");
        for (name, value) in &self.fields {
            push_field(&mut out, name, value);
        }
        out
    }
}

fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    let mut end = value.len().min(MESSAGE_LIMIT);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let value = &value[..end];
    out.extend(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend((value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend(value.as_bytes());
    out.push(b'\n');
}

/// Where the log goes.
#[derive(Debug)]
pub struct Journal {
    /// `None`: stderr.
    socket: Option<UnixDatagram>,
    path: PathBuf,
    backlog: VecDeque<Entry>,
    lost: u64,
}

impl Journal {
    /// journald if stderr is connected to it, as it is for a service, else stderr.
    pub fn open() -> Self {
        let journald = std::env::var_os("JOURNAL_STREAM").and_then(|_| Self::to(SOCKET).ok());
        journald.unwrap_or(Self {
            socket: None,
            path: PathBuf::new(),
            backlog: VecDeque::new(),
            lost: 0,
        })
    }

    fn to(path: impl Into<PathBuf>) -> std::io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some(socket), path: path.into(), backlog: VecDeque::new(), lost: 0 })
    }

    /// Logs, or keeps the entry for later. Never blocks on journald.
    pub fn log(&mut self, entry: Entry) {
        if self.socket.is_none() {
            // Nobody to tell if even this fails.
            let _ = writeln!(std::io::stderr().lock(), "nodeguard: {}", entry.message);
            return;
        }
        if self.backlog.len() == BACKLOG {
            self.backlog.pop_front();
            self.lost += 1;
        }
        self.backlog.push_back(entry);
        self.flush();
    }

    /// Sends what is kept, as far as journald takes it.
    pub fn flush(&mut self) {
        let Some(socket) = &self.socket else { return };
        while let Some(entry) = self.backlog.front() {
            if socket.send_to(&entry.native(), &self.path).is_err() {
                return;
            }
            self.backlog.pop_front();
        }
        if self.lost > 0 {
            let text = format!("{} log entries were lost while journald was away", self.lost);
            let entry = Entry::new(Priority::Warning, text);
            if socket.send_to(&entry.native(), &self.path).is_ok() {
                self.lost = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_journalds_native_protocol_and_a_line_break_cannot_forge_a_field() {
        let entry = Entry::new(Priority::Notice, "one\nPRIORITY=0").field("NODEGUARD_CODE", "x");
        let bytes = entry.native();
        let mut expected = b"MESSAGE\n".to_vec();
        expected.extend(14u64.to_le_bytes());
        expected.extend(b"one\nPRIORITY=0\nPRIORITY=5\nSYSLOG_IDENTIFIER=nodeguard\n");
        expected.extend(b"NODEGUARD_CODE=x\n");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn the_fields_of_each_kind_of_entry_are_the_golden_ones() {
        let finding = Finding {
            control: ControlId::Rke2Config,
            code: "profile-invalid",
            severity: Severity::Fatal,
            subject: "profile".into(),
            expected: "cis".into(),
            actual: "cis-1.6".into(),
            origin: Some(crate::model::Origin::at("/etc/rancher/rke2/config.yaml", 1)),
            message: "invalid value provided for --profile flag".into(),
            remedy: "set profile: cis".into(),
        };
        let correction = Correction {
            control: ControlId::EtcdDataDir,
            code: "etcd-owner",
            subject: "/d/member/snap/db".into(),
            from: "0:0".into(),
            to: "997:997".into(),
        };
        let entries = [
            Entry::finding(&finding),
            Entry::corrected(&correction),
            Entry::state(State::Ready, State::Fatal, "fatal: invalid value"),
        ];
        let text: Vec<_> = entries
            .iter()
            .map(|entry| String::from_utf8_lossy(&entry.native()).into_owned())
            .collect();
        insta::assert_snapshot!("entries", text.join("\n"));
    }

    #[test]
    fn a_huge_value_is_cut_at_a_character() {
        let entry = Entry::new(Priority::Info, "ä".repeat(MESSAGE_LIMIT));
        let bytes = entry.native();
        assert!(bytes.len() < MESSAGE_LIMIT + 200);
        assert!(std::str::from_utf8(&bytes).is_ok());
    }

    #[test]
    fn while_journald_is_away_entries_are_kept_to_a_limit_and_the_rest_is_counted_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mut journal = Journal::to(path.clone()).unwrap();
        for n in 0..BACKLOG + 3 {
            journal.log(Entry::new(Priority::Info, n.to_string()));
        }
        assert_eq!((journal.backlog.len(), journal.lost), (BACKLOG, 3));
        let journald = UnixDatagram::bind(&path).unwrap();
        journald.set_nonblocking(true).unwrap();
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        // A datagram socket takes few entries before it is read.
        while !journal.backlog.is_empty() || journal.lost > 0 {
            journal.flush();
            while let Ok(n) = journald.recv(&mut buffer) {
                received.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
            }
        }
        assert_eq!(received.len(), BACKLOG + 1);
        assert!(received[0].starts_with("MESSAGE=3\n"), "the oldest three are the lost ones");
        assert!(received[BACKLOG].starts_with("MESSAGE=3 log entries were lost"));
    }
}
