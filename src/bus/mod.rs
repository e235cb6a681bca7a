// SPDX-License-Identifier: Apache-2.0
//! The D-Bus side: `org.nodeguard.NodeGuard1` on the system bus, and the client that asks it.
//!
//! The bus is a window, not a part of the machinery. The main loop publishes a [`Snapshot`]
//! through a watch channel and hands [`Notice`]s over with `try_send`; [`serve_aside`] does the rest
//! in a thread of its own. A bus that is gone, stopped, slow or flooded therefore costs signals,
//! never time; and what others make it bring has limits below zbus (`flow.rs`, `calls.rs`).
//!
//! Nothing that comes in over the bus is a path, a value or a command: a caller can ask for a
//! pass and read what it found, and that is all.

mod allowance;
mod aside;
mod calls;
pub mod client;
mod flow;
mod line;
mod objects;
mod pace;
mod serve;
mod view;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use crate::model::{ControlId, Correction, Finding, Report, Writer};

pub use aside::serve_aside;
pub use serve::serve;

/// The name of the bus itself.
const BUS: &str = "org.freedesktop.DBus";

/// The well-known name, and the name of the interface of the node's object.
pub const NAME: &str = "org.nodeguard.NodeGuard1";
/// The interface of one control's object.
pub const CONTROL_INTERFACE: &str = "org.nodeguard.NodeGuard1.Control";
/// The node's object; those of the controls are below it.
pub const PATH: &str = "/org/nodeguard/NodeGuard1";
/// Where the system bus listens, here and on every distribution with systemd.
pub const SYSTEM_BUS_SOCKET: &str = "/run/dbus/system_bus_socket";

/// How many `Check` and `Reconcile` calls may wait for their pass; further ones are refused.
pub const MAX_REQUESTS: usize = 16;

/// The object path of a control: `etcd-account` is `/org/nodeguard/NodeGuard1/etcd_account`,
/// since a path element has no room for a dash.
pub fn control_path(id: ControlId) -> String {
    format!("{PATH}/{}", id.as_str().replace('-', "_"))
}

/// The bus to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusAddress {
    /// The system bus at [`SYSTEM_BUS_SOCKET`].
    System,
    /// A bus that listens on this unix socket.
    Socket(PathBuf),
}

impl BusAddress {
    /// The system bus, or where `DBUS_SYSTEM_BUS_ADDRESS` says it is.
    ///
    /// Only a `unix:path=` address is taken from there: this program never opens anything but
    /// unix sockets. Whatever else the variable says is handed back as an error.
    pub fn from_environment() -> Result<Self, BadBusAddress> {
        match std::env::var_os("DBUS_SYSTEM_BUS_ADDRESS") {
            None => Ok(Self::System),
            Some(value) => Self::parse(&value.to_string_lossy()),
        }
    }

    fn parse(value: &str) -> Result<Self, BadBusAddress> {
        if value.is_empty() {
            return Ok(Self::System);
        }
        let path = value.strip_prefix("unix:path=").and_then(|rest| rest.split(',').next());
        match path {
            // A percent sign would be an escape and a semicolon a second address. Neither is
            // worth code: nobody's system bus is there.
            Some(path) if path.starts_with('/') && !path.contains(['%', ';']) => {
                Ok(Self::Socket(path.into()))
            }
            _ => Err(BadBusAddress { value: value.into() }),
        }
    }

    /// The socket to connect to, and to watch for the bus's return.
    pub fn socket(&self) -> &Path {
        match self {
            Self::System => Path::new(SYSTEM_BUS_SOCKET),
            Self::Socket(path) => path,
        }
    }
}

impl fmt::Display for BusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.socket().display())
    }
}

/// `DBUS_SYSTEM_BUS_ADDRESS` has a value that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "DBUS_SYSTEM_BUS_ADDRESS={value}: expected unix:path=FILE with an absolute path and no escapes; \
     unset it to use the system bus at {SYSTEM_BUS_SOCKET}"
)]
pub struct BadBusAddress {
    value: String,
}

/// What a caller on the bus asks of the main loop. The sender may be gone by the time the answer
/// is there; then nobody wants it any more.
#[derive(Debug)]
pub enum Request {
    /// A pass that changes nothing.
    Check(oneshot::Sender<Arc<Report>>),
    /// A pass that mends.
    Reconcile(oneshot::Sender<Arc<Report>>),
}

/// What the main loop tells the bus besides the snapshot. Each becomes one signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The node turned ready.
    Ready,
    /// A fatal finding appeared.
    Fatal(Finding),
    /// A change was made.
    Corrected(Correction),
    /// Somebody keeps undoing a correction.
    Contested {
        control: ControlId,
        subject: String,
        /// The value we want.
        ours: String,
        /// The value they keep writing.
        theirs: String,
        /// Who wrote it last, where that is looked for.
        writer: Option<Writer>,
    },
    /// Nobody undoes the correction any more.
    ContestEnded { control: ControlId, subject: String },
}

/// Whether the bus can see us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusStatus {
    /// Connected, and the name is ours.
    Connected,
    /// Not on the bus; one line why, fit for a log. It is tried again.
    Absent { reason: String },
}

/// What the objects on the bus show: the last report and what has been counted since the start.
///
/// The counting is done here and not by the bus task because a watch channel keeps only the
/// newest value: whoever publishes sees every report, whoever reads may not.
#[derive(Clone, Debug)]
pub struct Snapshot {
    report: Arc<Report>,
    state_since: u64,
    corrections: Counts,
    json: OnceLock<String>,
}

impl Snapshot {
    /// What is known before the first pass.
    pub fn starting(now: SystemTime) -> Self {
        Self {
            report: Arc::new(Report::starting()),
            state_since: micros(now),
            corrections: [0; ControlId::ALL.len()],
            json: OnceLock::new(),
        }
    }

    /// After one more pass: `now` becomes the time of the state if the state changed, and the
    /// report's corrections are added up.
    pub fn after(&self, report: Arc<Report>, now: SystemTime) -> Self {
        let made = counted(&report.corrections);
        self.counting(report, made, now)
    }

    /// The same where the report does not have all corrections that were made.
    pub fn counting(&self, report: Arc<Report>, made: Counts, now: SystemTime) -> Self {
        let state_since =
            if report.state == self.report.state { self.state_since } else { micros(now) };
        let mut corrections = self.corrections;
        for (total, more) in corrections.iter_mut().zip(made) {
            *total = total.saturating_add(more);
        }
        Self { report, state_since, corrections, json: OnceLock::new() }
    }

    /// The last report.
    pub fn report(&self) -> &Arc<Report> {
        &self.report
    }

    /// When the state became what it is: CLOCK_REALTIME, microseconds since the epoch.
    pub fn state_since(&self) -> u64 {
        self.state_since
    }

    /// Corrections since the daemon's start, of all controls.
    pub fn corrections(&self) -> u64 {
        self.corrections.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Corrections since the daemon's start, of one control.
    pub fn corrections_of(&self, id: ControlId) -> u64 {
        ControlId::ALL.iter().zip(self.corrections).find(|(c, _)| **c == id).map_or(0, |(_, n)| n)
    }

    /// The report as JSON, made once: anybody may ask for it, any number of times.
    fn json(&self) -> &str {
        self.json.get_or_init(|| json(&self.report))
    }
}

/// A number for each control, in the order of [`ControlId::ALL`].
pub type Counts = [u64; ControlId::ALL.len()];

/// How many corrections were made of each control.
pub fn counted(corrections: &[Correction]) -> Counts {
    ControlId::ALL.map(|id| corrections.iter().filter(|c| c.control == id).count() as u64)
}

/// The report as `check --json` prints it. A report holds strings, numbers and enums only, which
/// JSON can always express; the empty answer exists for the type system.
fn json(report: &Report) -> String {
    serde_json::to_string(report).unwrap_or_default()
}

fn micros(time: SystemTime) -> u64 {
    // A clock before 1970 is a broken clock, and 0 says so well enough.
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros().try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Code, State};

    fn report(state: State, corrected: &[ControlId]) -> Arc<Report> {
        let corrections = corrected
            .iter()
            .map(|control| Correction {
                control: (*control).into(),
                code: Code::SysctlLive.into(),
                subject: "vm.panic_on_oom".into(),
                from: "1".into(),
                to: "0".into(),
                object: None,
                before: None,
                writer: None,
            })
            .collect();
        Arc::new(Report { state, corrections, ..Report::starting() })
    }

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    #[test]
    fn the_state_keeps_its_time_until_it_changes() {
        let first = Snapshot::starting(at(1));
        let ready = first.after(report(State::Ready, &[]), at(2));
        let still = ready.after(report(State::Ready, &[]), at(3));
        let fatal = still.after(report(State::Fatal, &[]), at(4));
        let times = [&first, &ready, &still, &fatal].map(Snapshot::state_since);
        assert_eq!(times, [1_000_000, 2_000_000, 2_000_000, 4_000_000]);
    }

    #[test]
    fn corrections_are_added_up_over_reports_and_by_control() {
        let snapshot = Snapshot::starting(at(1))
            .after(report(State::Ready, &[ControlId::Sysctl, ControlId::Sysctl]), at(2))
            .after(report(State::Ready, &[ControlId::EtcdDataDir]), at(3));
        assert_eq!(snapshot.corrections(), 3);
        assert_eq!(snapshot.corrections_of(ControlId::Sysctl), 2);
        assert_eq!(snapshot.corrections_of(ControlId::EtcdDataDir), 1);
        assert_eq!(snapshot.corrections_of(ControlId::EtcdAccount), 0);
    }

    #[test]
    fn a_bus_address_is_a_unix_socket_file_or_refused() {
        let socket = |p: &str| BusAddress::Socket(p.into());
        assert_eq!(BusAddress::parse("unix:path=/tmp/b").unwrap(), socket("/tmp/b"));
        assert_eq!(BusAddress::parse("unix:path=/tmp/b,guid=1").unwrap(), socket("/tmp/b"));
        assert_eq!(BusAddress::parse("").unwrap(), BusAddress::System);
        for bad in
            ["tcp:host=localhost,port=1", "unix:abstract=x", "unix:path=a", "unix:path=/a%20b"]
        {
            let error = BusAddress::parse(bad).unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("unix:path="), "{error}");
        }
    }

    #[test]
    fn a_control_is_found_under_its_name_with_underscores() {
        assert_eq!(control_path(ControlId::EtcdDataDir), "/org/nodeguard/NodeGuard1/etcd_data_dir");
    }
}
