// SPDX-License-Identifier: Apache-2.0
//! The log: journald's native protocol with structured fields, or plain text on stderr.
//!
//! An [`Entry`] is logged as an event of `tracing`, which has a field for each of journald's. Where
//! the events go is in `log.rs`; entries that have to be on record do not go there but wait for
//! journald themselves (`record.rs`).

mod log;
mod pass;
mod record;

use crate::model::{
    Code, ControlId, Correction, Finding, Named, Severity, State, Writer, escaped, sysctl_path,
};

pub use log::Journal;
pub use pass::PassSpan;
pub use record::{Record, Unrecorded};

/// Bytes of a message; a longer one is cut. Far below what a datagram may hold.
const MESSAGE_LIMIT: usize = 8 * 1024;

/// Makes journald look at the process with this id when it takes the entry.
const OBJECT_PID: &str = "OBJECT_PID";

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
    pub const STATE: &str = "9bd5ab5eaef14739ada13bede76f03fd";
    /// Drift was corrected.
    pub const CORRECTED: &str = "f6611ec6591a4bbfa23408739f1c5fef";
    /// A finding appeared.
    pub const FINDING: &str = "c7be608bb011498ebcce96b899cfcc8f";
    /// Somebody keeps undoing a correction, or stopped.
    pub const CONTESTED: &str = "318740df3b4e41deb32a887fd64cae42";
    /// An override was asked for, taken back, used or not needed.
    pub const OVERRIDE: &str = "46adfef77b164c3e8a724ba46a6e799f";
}

/// One entry.
#[derive(Clone, Debug)]
pub struct Entry {
    priority: Priority,
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Entry {
    /// The message is for people: journalctl hides one with control characters, and stderr may be
    /// a terminal, so they are escaped; line breaks stay. Fields have the data as it is.
    pub fn new(priority: Priority, message: impl AsRef<str>) -> Self {
        Self { priority, message: printable(message.as_ref()), fields: Vec::new() }
    }

    /// What a person reads of it.
    pub fn message(&self) -> &str {
        &self.message
    }

    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// A change that was made.
    pub fn corrected(correction: &Correction) -> Self {
        let aspect = correction.code.known().map_or("", Code::aspect);
        let space = if aspect.is_empty() { "" } else { " " };
        let Correction { control, code, subject, from, to, object: _, before, writer } = correction;
        let mut text = format!("{subject}{space}{aspect} corrected: {from} -> {to}");
        if let Some(writer) = writer {
            text += &format!("; {writer}");
        }
        // One line, whatever lines the value has.
        let mut entry = Self::new(Priority::Notice, escaped(&text))
            .field("MESSAGE_ID", message_id::CORRECTED)
            .about(control, code, subject)
            .field("NODEGUARD_ACTUAL", from)
            .field("NODEGUARD_EXPECTED", to);
        if *code == Code::SysctlLive {
            entry = entry.values(subject, before.as_deref(), from, to);
        }
        match writer {
            Some(writer) => entry.written_by(writer),
            None => entry,
        }
    }

    /// The fields that systemd-networkd's monitor of kernel parameters has.
    fn values(self, key: &str, old: Option<&str>, new: &str, ours: &str) -> Self {
        let entry = self.field("SYSCTL", sysctl_path(key).to_string_lossy());
        let entry = match old {
            Some(old) => entry.field("OLDVALUE", old),
            None => entry,
        };
        entry.field("NEWVALUE", new).field("OURVALUE", ours)
    }

    /// Whoever it certainly was in journald's own fields for the object of an entry; from
    /// `OBJECT_PID` journald adds more (systemd.journal-fields(7)).
    fn written_by(self, writer: &Writer) -> Self {
        let mut entry = self.field("NODEGUARD_WRITER", writer.to_string());
        let Some(process) = writer.certain() else { return entry };
        entry =
            entry.field(OBJECT_PID, process.pid.to_string()).field("OBJECT_COMM", &process.comm);
        if let Some(exe) = &process.exe {
            entry = entry.field("OBJECT_EXE", exe);
        }
        match &process.unit {
            Some(unit) => entry.field("OBJECT_SYSTEMD_UNIT", unit),
            None => entry,
        }
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
        let contested = finding.code == Code::Contested;
        let kind = if contested { message_id::CONTESTED } else { message_id::FINDING };
        let mut entry = Self::new(priority, text)
            .field("MESSAGE_ID", kind)
            .about(&finding.control, &finding.code, &finding.subject)
            .field("NODEGUARD_SEVERITY", finding.severity.as_str())
            .field("NODEGUARD_ACTUAL", &finding.actual)
            .field("NODEGUARD_EXPECTED", &finding.expected)
            .field("NODEGUARD_REMEDY", &finding.remedy);
        if contested && finding.control == ControlId::Sysctl {
            entry = entry.values(&finding.subject, None, &finding.actual, &finding.expected);
        }
        match &finding.origin {
            Some(origin) => entry.field("NODEGUARD_ORIGIN", origin.to_string()),
            None => entry,
        }
    }

    /// About an operator's override: asked for, used, not needed.
    pub fn overriding(priority: Priority, text: String, by: &str, reason: &str) -> Self {
        Self::override_withdrawn(priority, text)
            .field("NODEGUARD_OVERRIDE_BY", by)
            .field("NODEGUARD_OVERRIDE_REASON", reason)
    }

    /// One that was taken back: nobody's any more.
    pub fn override_withdrawn(priority: Priority, text: String) -> Self {
        Self::new(priority, text).field("MESSAGE_ID", message_id::OVERRIDE)
    }

    /// The node's state changed. What is wrong has entries of its own; `ready` says what is right.
    pub fn state(from: State, to: State, ready: &str) -> Self {
        let priority = match to {
            State::Fatal => Priority::Error,
            State::Degraded => Priority::Warning,
            State::Starting | State::Ready => Priority::Notice,
        };
        let message = match to {
            State::Ready => ready.to_owned(),
            _ => format!("the node is {to}, it was {from}"),
        };
        Self::new(priority, message)
            .field("MESSAGE_ID", message_id::STATE)
            .field("NODEGUARD_STATE", to.as_str())
            .field("NODEGUARD_STATE_BEFORE", from.as_str())
    }

    fn about(self, control: &Named<ControlId>, code: &Named<Code>, subject: &str) -> Self {
        self.field("NODEGUARD_CONTROL", control.as_str())
            .field("NODEGUARD_CODE", code.as_str())
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
    let value = cut(value);
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

/// Every field that an entry may have. An event of `tracing` has all its fields from the beginning;
/// those without a value are not there for whoever takes it.
macro_rules! event {
    ($level:ident, $entry:expr, $($field:ident)+) => {
        tracing::event!(
            tracing::Level::$level,
            message = $entry.message.as_str(),
            $($field = $entry.value(stringify!($field))),+
        )
    };
}

/// One for each level, since the level of an event is known when the program is built.
macro_rules! event_of_level {
    ($entry:expr, $($field:ident)+) => {
        match $entry.priority {
            Priority::Error => event!(ERROR, $entry, $($field)+),
            Priority::Warning => event!(WARN, $entry, $($field)+),
            Priority::Notice => event!(INFO, $entry, $($field)+),
            Priority::Info => event!(DEBUG, $entry, $($field)+),
        }
    };
}

impl Entry {
    /// Logs it: see [`Journal`].
    fn emit(&self) {
        event_of_level!(self,
            MESSAGE_ID
            NODEGUARD_CONTROL NODEGUARD_CODE NODEGUARD_SUBJECT NODEGUARD_SEVERITY
            NODEGUARD_ACTUAL NODEGUARD_EXPECTED NODEGUARD_REMEDY NODEGUARD_ORIGIN
            NODEGUARD_STATE NODEGUARD_STATE_BEFORE
            NODEGUARD_OVERRIDE_BY NODEGUARD_OVERRIDE_REASON
            NODEGUARD_WRITER OBJECT_PID OBJECT_COMM OBJECT_EXE OBJECT_SYSTEMD_UNIT
            SYSCTL OLDVALUE NEWVALUE OURVALUE
        );
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str())
    }
}

/// A value as it is sent: what is too long is cut, at a character.
fn cut(value: &str) -> &str {
    let mut end = value.len().min(MESSAGE_LIMIT);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

/// A message with its control characters escaped; line breaks stay.
fn printable(message: &str) -> String {
    let lines: Vec<_> = message.split('\n').map(escaped).collect();
    lines.join("\n")
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

    /// An entry of each kind.
    pub(super) fn entries() -> Vec<Entry> {
        let finding = Finding::new(Code::ProfileInvalid, "profile")
            .expected("cis")
            .actual("cis-1.6")
            .origin(crate::model::Origin::at("/etc/rancher/rke2/config.yaml", 1))
            .message("invalid value provided for --profile flag")
            .remedy("set profile: cis");
        let correction = Correction {
            control: ControlId::EtcdDataDir.into(),
            code: Code::EtcdOwner.into(),
            subject: "/d/member/snap/db".into(),
            from: "0:0".into(),
            to: "997:997".into(),
            object: None,
            before: None,
            writer: None,
        };
        let written = crate::model::fixture::written();
        let nobody = Correction {
            before: None,
            writer: Some(Writer::unknown("it ended before it could be looked at (pid 812)")),
            ..written.clone()
        };
        let contested = Finding::new(Code::Contested, "kernel.panic")
            .expected("10")
            .actual("0")
            .message("kernel.panic is contested")
            .remedy("stop one of the two");
        vec![
            Entry::finding(&finding),
            Entry::finding(&contested),
            Entry::corrected(&correction),
            Entry::corrected(&written),
            Entry::corrected(&nobody),
            Entry::state(State::Ready, State::Fatal, "fatal: invalid value"),
            Entry::overriding(Priority::Error, "OVERRIDDEN by alice".into(), "alice", "a ticket"),
            Entry::override_withdrawn(Priority::Notice, "it was taken back".into()),
        ]
    }

    #[test]
    fn the_fields_of_each_kind_of_entry_are_the_golden_ones() {
        let text: Vec<_> = entries()
            .iter()
            .map(|entry| String::from_utf8_lossy(&entry.native()).into_owned())
            .collect();
        insta::assert_snapshot!("entries", text.join("\n"));
    }

    #[test]
    fn a_huge_value_is_cut_at_a_character() {
        let entry = Entry::new(Priority::Info, "ä".repeat(MESSAGE_LIMIT));
        assert!(cut(&entry.message).len() <= MESSAGE_LIMIT);
        let bytes = entry.native();
        assert!(bytes.len() < MESSAGE_LIMIT + 200);
        assert!(std::str::from_utf8(&bytes).is_ok());
    }
}
