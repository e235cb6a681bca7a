// SPDX-License-Identifier: Apache-2.0
//! The words of the project as types: controls, findings, actions, outcomes, the report and the
//! node's state. No IO, and no import of any other module of ours.

mod action;
mod code;
mod finding;
pub mod limits;
mod mode;
mod name;
mod obstacle;
mod report;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use action::{Action, Depth, ModeRule, Object, Outcome, Owner, join};
pub use code::{Code, Contest, FatalClass, Rule, WhenFatal};
pub use finding::Finding;
pub use mode::OperatingMode;
pub use name::{Name, Named};
pub use obstacle::{LockState, NumberRange, Obstacle, ParameterObstacle, ReadOnly};
pub use report::{ControlReport, Recent, Report};
pub use writer::{Process, Writer};

/// One requirement on the host, as CIS uses the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlId {
    /// RKE2's configuration: a profile that this RKE2 knows, and no conflict with it.
    Rke2Config,
    /// The kernel parameters and the sysctl.d drop-in behind them.
    Sysctl,
    /// The user and the group `etcd`.
    EtcdAccount,
    /// Owner and mode of etcd's data directory, and of the TLS files etcd reads.
    EtcdDataDir,
    /// nodeguard's own configuration files.
    NodeguardConfig,
}

impl ControlId {
    /// Every control, in the order in which they are judged and printed.
    pub const ALL: [ControlId; 5] = [
        Self::Rke2Config,
        Self::Sysctl,
        Self::EtcdAccount,
        Self::EtcdDataDir,
        Self::NodeguardConfig,
    ];

    /// The stable name used in JSON, on D-Bus, in the journal and in the manual.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rke2Config => "rke2-config",
            Self::Sysctl => "sysctl",
            Self::EtcdAccount => "etcd-account",
            Self::EtcdDataDir => "etcd-data-dir",
            Self::NodeguardConfig => "nodeguard-config",
        }
    }

    /// One line for a person.
    pub fn title(self) -> &'static str {
        match self {
            Self::Rke2Config => "RKE2 configuration",
            Self::Sysctl => "kernel parameters",
            Self::EtcdAccount => "etcd user and group",
            Self::EtcdDataDir => "etcd data directory",
            Self::NodeguardConfig => "nodeguard's own configuration",
        }
    }

    /// The CIS Kubernetes Benchmark recommendations this control serves.
    pub fn cis_ids(self) -> &'static [&'static str] {
        match self {
            Self::Rke2Config | Self::Sysctl => &["4.2.6"],
            Self::EtcdAccount => &["1.1.12"],
            Self::EtcdDataDir => &["1.1.11", "1.1.12"],
            Self::NodeguardConfig => &[],
        }
    }
}

impl fmt::Display for ControlId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A path as it is shown to people: whoever may name files must not write to root's terminal, so
/// control characters are escaped; nor may he make a report long, so a long one is cut.
pub fn shown(path: &Path) -> String {
    let mut shown = escaped(&path.to_string_lossy());
    limits::cut(&mut shown, limits::PATH_LIMIT);
    shown
}

/// A text with its control characters escaped.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if misleads(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Whether a character is none to be printed: a control character, or one that has a terminal show
/// what follows in another order or on another line.
pub fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A path for a command that somebody copies: one word for the shell, which means this very file
/// and no other, whatever is in its name. So it is never cut; see `engine::bounds` for what becomes
/// of a remedy that is too long.
pub fn quoted(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/._-+,:@%".contains(b);
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(plain) && !text.is_empty() => text.to_owned(),
        Ok(text) if !text.chars().any(misleads) => format!("'{}'", text.replace('\'', r"'\''")),
        // What a terminal must not get is spelled, as bash, zsh and ksh read it.
        _ => {
            let mut word = String::from("$'");
            for byte in bytes {
                match byte {
                    b'\'' | b'\\' => word.extend(['\\', char::from(*byte)]),
                    b' '..=b'~' => word.push(char::from(*byte)),
                    _ => word.push_str(&format!("\\{byte:03o}")),
                }
            }
            word + "'"
        }
    }
}

/// The file of a kernel parameter. In sysctl.d's dotted form a slash stands for a literal dot.
pub fn sysctl_path(key: &str) -> PathBuf {
    let swapped = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    Path::new("/proc/sys").join(key.chars().map(swapped).collect::<String>())
}

/// How much a finding weighs. The order is meant: a later variant weighs more. One that another
/// version wrote and this one does not know is read as fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; the node is as it should be.
    Note,
    /// RKE2 may run, something wants an operator, and we cannot mend it.
    Warning,
    /// Wrong, and we can mend it.
    Drift,
    /// RKE2 would do one of the four things of [`FatalClass`], and we cannot mend it.
    #[serde(other)]
    Fatal,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Drift => "drift",
            Self::Fatal => "fatal",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// A file's path, or what else set the value (`environment RKE2_CIS_PROFILE`).
    pub file: String,
    /// Counted from 1; absent where the whole file is meant or it is no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

impl Origin {
    pub fn file(file: impl Into<String>) -> Self {
        Self { file: file.into(), line: None }
    }

    pub fn at(file: impl Into<String>, line: u32) -> Self {
        Self { file: file.into(), line: Some(line) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{}", self.file, line),
            None => f.write_str(&self.file),
        }
    }
}

/// What a judgement asks for: a finding, and the actions that would mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub finding: Finding,
    /// In the order in which they must run; empty where we cannot mend it.
    pub actions: Vec<Action>,
    /// What the finding weighs when it is still there after its actions ran.
    pub unmended: Severity,
}

impl Planned {
    /// A finding that no action of ours mends.
    pub fn only(finding: Finding) -> Self {
        let unmended = finding.severity;
        Self { finding, actions: Vec::new(), unmended }
    }
}

/// A change that was made, as it is reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    #[serde(default)]
    pub control: Named<ControlId>,
    pub code: Named<Code>,
    pub subject: String,
    /// What was found.
    pub from: String,
    /// What it is now.
    pub to: String,
    /// What was changed; `None`: nobody fights over it.
    #[serde(skip)]
    pub object: Option<Object>,
    /// What it was before somebody changed it, where that was seen (kernel parameters).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Who changed it; absent where nobody looks for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<Writer>,
}

/// The state of the node, or of one control. What we do not know must not open a gate: one that another version
/// wrote and this one does not know is read as fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No pass has ended yet.
    Starting,
    Ready,
    /// RKE2 may run, something wants attention.
    Degraded,
    /// RKE2 would refuse to start, or would do harm: see [`FatalClass`].
    #[serde(other)]
    Fatal,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Fatal => "fatal",
        }
    }

    /// The state that these findings make. There is no other way to a state.
    pub fn of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        match findings.into_iter().map(|f| f.severity).max() {
            None | Some(Severity::Note) => Self::Ready,
            Some(Severity::Warning | Severity::Drift) => Self::Degraded,
            Some(Severity::Fatal) => Self::Fatal,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What RKE2 runs as on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Server,
    Agent,
    /// No unit is enabled and no gate has asked yet.
    #[serde(other)]
    Unknown,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Agent => "agent",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
pub mod fixture;

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_key_names_one_file_and_a_slash_in_it_is_a_literal_dot() {
        assert_eq!(sysctl_path("kernel.panic"), PathBuf::from("/proc/sys/kernel/panic"));
        assert_eq!(
            sysctl_path("net.ipv4.conf.eth0/1.rp_filter"),
            PathBuf::from("/proc/sys/net/ipv4/conf/eth0.1/rp_filter")
        );
    }

    #[test]
    fn a_name_can_neither_write_to_a_terminal_nor_leave_its_word_in_a_command() {
        for (name, as_shown, as_quoted) in [
            ("/d/member/snap/db", "/d/member/snap/db", "/d/member/snap/db"),
            ("/d/a b", "/d/a b", "'/d/a b'"),
            ("/d/x;$(reboot)", "/d/x;$(reboot)", "'/d/x;$(reboot)'"),
            ("/d/it's", "/d/it's", r"'/d/it'\''s'"),
            ("/d/\u{1b}[2J\nfatal", r"/d/\u{1b}[2J\nfatal", r"$'/d/\033[2J\012fatal'"),
            ("/d/\u{1b}'\\1", r"/d/\u{1b}'\1", r"$'/d/\033\'\\1'"),
        ] {
            assert_eq!(shown(Path::new(name)), as_shown);
            assert_eq!(quoted(Path::new(name)), as_quoted);
        }
    }

    #[test]
    fn a_quoted_name_means_that_very_file_to_a_shell_whatever_bytes_it_has() {
        let all: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
        let names = [&all[..], b"a\xff\x31", b"\\x41", b"$'x'", "\u{202e}txt".as_bytes(), b" "];
        for name in names {
            let word = quoted(Path::new(std::ffi::OsStr::from_bytes(name)));
            assert!(!word.chars().any(misleads), "{word}");
            let line = format!("printf %s {word}");
            let said = std::process::Command::new("bash").args(["-c", &line]).output().unwrap();
            assert_eq!(said.stdout, name, "{word}");
        }
    }

    #[test]
    fn a_long_name_is_shown_in_part_and_quoted_as_a_whole() {
        let path = format!("/d/{}", "\u{1b}x".repeat(2000));
        let path = Path::new(&path);
        assert!(shown(path).len() <= limits::PATH_LIMIT);
        assert!(shown(path).ends_with(" bytes)"), "{}", shown(path));
        assert!(quoted(path).len() > 4000);
    }
}
