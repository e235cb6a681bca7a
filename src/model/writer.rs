// SPDX-License-Identifier: Apache-2.0
//! Who changed something, and how far that is known.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who changed a kernel parameter, as far as it could be seen. Nothing in it is guessed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// Who wrote it since it was last looked at; with more than one, one of them it was.
    pub processes: Vec<Process>,
    /// Who else may have been it, or why nobody can be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// A process as /proc shows it. Control characters in the names are escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub comm: String,
    /// The program's file; absent where the kernel does not show it to us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// The systemd unit; absent for what runs outside of every unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

impl Writer {
    /// Nobody can be named, because of this.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self { processes: Vec::new(), unknown: Some(reason.into()) }
    }

    /// The one process that it certainly was.
    pub fn certain(&self) -> Option<&Process> {
        match (&self.processes[..], &self.unknown) {
            ([process], None) => Some(process),
            _ => None,
        }
    }
}

impl fmt::Display for Writer {
    /// The second half of a sentence: `written by sysctl[812] (/usr/sbin/sysctl) of a.service`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.processes.iter().map(ToString::to_string).collect();
        match (&names[..], &self.unknown) {
            ([], None) => f.write_str("writer unknown"),
            ([], Some(reason)) => write!(f, "writer unknown: {reason}"),
            ([one], None) => write!(f, "written by {one}"),
            (names, None) => write!(f, "written by one of {}", names.join(", ")),
            (names, Some(more)) => {
                write!(f, "written by one of {}, or by another: {more}", names.join(", "))
            }
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.comm, self.pid)?;
        if let Some(exe) = &self.exe {
            write!(f, " ({exe})")?;
        }
        match &self.unit {
            Some(unit) => write!(f, " of {unit}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_named_only_where_it_is_certain_and_else_it_is_said_why_not() {
        let process = |pid, unit: Option<&str>| Process {
            pid,
            comm: "sysctl".into(),
            exe: unit.map(|_| "/usr/sbin/sysctl".into()),
            unit: unit.map(Into::into),
        };
        let writer = |processes, unknown: Option<&str>| Writer {
            processes,
            unknown: unknown.map(Into::into),
        };
        let one = process(812, Some("a.service"));
        let other = process(9, None);
        for (writer, certain, said) in [
            (
                writer(vec![one.clone()], None),
                true,
                "written by sysctl[812] (/usr/sbin/sysctl) of a.service",
            ),
            (
                writer(vec![other.clone(), one.clone()], None),
                false,
                "written by one of sysctl[9], sysctl[812] (/usr/sbin/sysctl) of a.service",
            ),
            (
                writer(vec![other], Some("pid 7 ended")),
                false,
                "written by one of sysctl[9], or by another: pid 7 ended",
            ),
            (Writer::unknown("it ended"), false, "writer unknown: it ended"),
        ] {
            assert_eq!(writer.to_string(), said);
            assert_eq!(writer.certain().is_some(), certain);
        }
    }
}
