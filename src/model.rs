// SPDX-License-Identifier: Apache-2.0
//! The words of the project as types: controls, findings, actions, outcomes, the report and the
//! node's state. No IO, and no import of any other module of ours.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

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
/// control characters are escaped.
pub fn shown(path: &Path) -> String {
    let mut out = String::new();
    for c in path.to_string_lossy().chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// The same for a command that somebody copies: one word for the shell, whatever is in it.
pub fn quoted(path: &Path) -> String {
    let shown = shown(path);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if shown.chars().all(plain) { shown } else { format!("'{}'", shown.replace('\'', r"'\''")) }
}

/// How much a finding weighs. The order is meant: a later variant weighs more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; the node is as it should be.
    Note,
    /// RKE2 may run, something wants an operator, and we cannot mend it.
    Warning,
    /// Wrong, and we can mend it.
    Drift,
    /// RKE2 would refuse to start, or would start unhardened, and we cannot mend it.
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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

/// One thing wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub control: ControlId,
    /// Stable, kebab-case; what scripts match on.
    pub code: &'static str,
    pub severity: Severity,
    /// The object: a sysctl key, a path, a configuration key.
    pub subject: String,
    pub expected: String,
    pub actual: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// One line for a person; where RKE2 would refuse to start it begins with RKE2's own words.
    pub message: String,
    /// What an operator can do; one command or edit a line.
    pub remedy: String,
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

/// Numeric owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// One change of the host. The enum is closed: what is not here, nodeguard does not do.
///
/// Every action carries the state it expects to find and is refused when the host no longer
/// looks like that (compare-and-set); paths are absolute, below the root the pass works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Replace a regular file of root's atomically (mode 0644), or create it.
    WriteFile {
        path: PathBuf,
        content: Vec<u8>,
        /// The content that is there now; `None`: the file must not exist.
        expect: Option<Vec<u8>>,
    },
    /// Write one kernel parameter. `key` is in dotted form, as in sysctl.d.
    SetSysctl { key: String, value: String, expect: String },
    /// `groupadd`: the group must not exist. `gid`: that one and no other.
    CreateGroup { name: &'static str, gid: Option<u32> },
    /// `useradd`: the user must not exist. With `with_group` its group is made along with it,
    /// without, the group of the same name must exist already. `uid`: that one and no other.
    CreateUser { name: &'static str, with_group: bool, uid: Option<u32> },
    /// `usermod -g`: make `gid` the primary group of a user that now has `expect_gid`.
    SetPrimaryGroup { name: &'static str, gid: u32, expect_gid: u32 },
    /// Give `base/below` and everything below it to `owner` and take the permissions of others
    /// away. `base` is a path that only root can change; `below` is walked component by component
    /// and never through a link. The executor compares entry by entry, changes nothing it must
    /// not change (see `host::tree`) and makes nothing.
    OwnTree { base: PathBuf, below: PathBuf, owner: Owner },
    /// The same for one entry, its children left as they are.
    OwnEntry { base: PathBuf, below: PathBuf, owner: Owner, rule: ModeRule },
}

/// What somebody and we may fight over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// A kernel parameter, dotted.
    Parameter(String),
    /// A file or directory itself, absolute.
    File(PathBuf),
    /// Everything below a directory.
    Tree(PathBuf),
}

impl Object {
    /// As it stands in findings.
    pub fn subject(&self) -> String {
        match self {
            Self::Parameter(key) => key.clone(),
            Self::File(path) => shown(path),
            Self::Tree(path) => format!("{}/*", shown(path)),
        }
    }

    /// Whether a finding or a correction of this subject is about it.
    pub fn is(&self, subject: &str) -> bool {
        match self {
            Self::Parameter(key) => key == subject,
            Self::File(path) | Self::Tree(path) => shown(path) == subject,
        }
    }
}

impl Action {
    /// What it changes; `None` for the account, which nobody fights over.
    pub fn object(&self) -> Option<Object> {
        match self {
            Self::SetSysctl { key, .. } => Some(Object::Parameter(key.clone())),
            Self::WriteFile { path, .. } => Some(Object::File(path.clone())),
            Self::OwnTree { base, below, .. } => Some(Object::Tree(join(base, below))),
            Self::OwnEntry { base, below, .. } => Some(Object::File(join(base, below))),
            Self::CreateGroup { .. } | Self::CreateUser { .. } | Self::SetPrimaryGroup { .. } => {
                None
            }
        }
    }
}

/// `dir/below`, and `dir` itself without a slash behind it where `below` is empty.
pub fn join(dir: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { dir.to_path_buf() } else { dir.join(below) }
}

/// What a file's permissions may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeRule {
    /// Below etcd's data directory: directories 0700 (CIS 1.1.11); files written by their owner
    /// only, without set-id bits. etcd itself makes its `.snap` files 0644: not ours to change.
    EtcdTree,
    /// A TLS key: 0600 (CIS 1.1.21).
    TlsKey,
    /// A TLS certificate: as strict as it is, but written by its owner only (CIS 1.1.20).
    TlsCertificate,
}

impl ModeRule {
    /// The permission bits that an entry with permission bits `mode` should have.
    pub fn wanted(self, directory: bool, mode: u32) -> u32 {
        let mode = mode & 0o7777;
        match (self, directory) {
            (Self::EtcdTree, true) => 0o700,
            (Self::TlsKey, _) => 0o600,
            (Self::EtcdTree, false) | (Self::TlsCertificate, _) => (mode & 0o755) | 0o600,
        }
    }
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Changed and read back; `changes` counts the objects.
    Applied { changes: u64 },
    /// Nothing to do: somebody was faster.
    AlreadyDone,
    /// The host did not look as the action expected; nothing was changed.
    Refused { reason: String },
    /// The host said no.
    Failed { reason: String },
}

/// A change that was made, as it is reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Correction {
    pub control: ControlId,
    pub code: &'static str,
    pub subject: String,
    /// What was found.
    pub from: String,
    /// What it is now.
    pub to: String,
}

/// Of the node, or of one control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No pass has ended yet.
    Starting,
    Ready,
    /// RKE2 may run, something wants attention.
    Degraded,
    /// RKE2 would refuse to start, or would start unhardened.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Server,
    Agent,
    /// No unit is enabled and no gate has asked yet.
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

/// One control's part of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlReport {
    pub id: ControlId,
    pub title: &'static str,
    pub cis_ids: &'static [&'static str],
    pub state: State,
    pub findings: Vec<Finding>,
}

/// The result of one pass over the controls; immutable. Every surface prints this and nothing of
/// its own making.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Of this format; raised when a field changes its meaning or goes.
    pub schema: u32,
    /// nodeguard's own.
    pub version: &'static str,
    /// Seconds since the epoch, when the pass ended.
    pub time: u64,
    /// The directory the pass worked on; `/` for the running host.
    pub root: String,
    pub state: State,
    pub role: Role,
    /// RKE2's `profile`; empty where none is set.
    pub profile: String,
    /// Without the leading `v`; empty where no RKE2 was found.
    pub rke2_version: String,
    /// In the order of [`ControlId::ALL`].
    pub controls: Vec<ControlReport>,
    /// What this pass changed.
    pub corrections: Vec<Correction>,
}

impl Report {
    pub const SCHEMA: u32 = 1;

    /// The report of a daemon that has not ended a pass.
    pub fn starting() -> Self {
        Self {
            schema: Self::SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            time: 0,
            root: "/".into(),
            state: State::Starting,
            role: Role::Unknown,
            profile: String::new(),
            rke2_version: String::new(),
            controls: Vec::new(),
            corrections: Vec::new(),
        }
    }

    /// All findings, in the order of the controls.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.controls.iter().flat_map(|c| &c.findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_neither_write_to_a_terminal_nor_leave_its_word_in_a_command() {
        for (name, as_shown, as_quoted) in [
            ("/d/member/snap/db", "/d/member/snap/db", "/d/member/snap/db"),
            ("/d/a b", "/d/a b", "'/d/a b'"),
            ("/d/x;$(reboot)", "/d/x;$(reboot)", "'/d/x;$(reboot)'"),
            ("/d/it's", "/d/it's", r"'/d/it'\''s'"),
            ("/d/\u{1b}[2J\nfatal", r"/d/\u{1b}[2J\nfatal", r"'/d/\u{1b}[2J\nfatal'"),
        ] {
            assert_eq!(shown(Path::new(name)), as_shown);
            assert_eq!(quoted(Path::new(name)), as_quoted);
        }
    }
}
