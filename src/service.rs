// SPDX-License-Identifier: Apache-2.0
//! What the service manager is told: READY, one line of status, the watchdog, STOPPING.
//!
//! sd_notify(3)'s protocol on a socket that never blocks: a service manager that does not read must
//! not hold up the guard. What it does not take is kept, up to a limit, and sent on a later turn.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// Messages kept; of more, the oldest is the least true.
const BACKLOG: usize = 16;

/// The watchdog hears from us at most so often; a pass begins right after it did.
const PING_EVERY: Duration = Duration::from_secs(1);

/// The service manager, if there is one.
#[derive(Debug)]
pub struct Service {
    socket: Option<(UnixDatagram, SocketAddr)>,
    backlog: VecDeque<String>,
    status: String,
    /// The watchdog's limit.
    watchdog: Option<Duration>,
    pinged: Option<Instant>,
    /// READY was sent.
    started: bool,
}

impl Service {
    /// By `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_environment() -> Self {
        let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        Self {
            socket: std::env::var_os("NOTIFY_SOCKET").and_then(|name| open(&name)),
            backlog: VecDeque::new(),
            status: String::new(),
            watchdog: number("WATCHDOG_USEC").filter(|_| ours).map(Duration::from_micros),
            pinged: None,
            started: false,
        }
    }

    /// The first pass has ended, whatever it found.
    pub fn ready(&mut self) {
        self.started = true;
        self.send("READY=1".into());
    }

    pub fn reloading(&mut self) {
        self.send("RELOADING=1".into());
    }

    pub fn stopping(&mut self) {
        self.send("STOPPING=1".into());
    }

    /// The line in `systemctl status`; sent when it changes.
    pub fn status(&mut self, line: &str) {
        if self.status != line {
            line.clone_into(&mut self.status);
            // A line break would begin another assignment.
            self.send(format!("STATUS={}", line.replace('\n', " ")));
        }
    }

    /// Called on every turn of the main loop, and between the steps of a pass: only a loop that
    /// turns feeds the watchdog.
    pub fn turned(&mut self) {
        let due = self.pinged.is_none_or(|at| at.elapsed() >= PING_EVERY);
        if let (Some(limit), true) = (self.watchdog, due) {
            self.pinged = Some(Instant::now());
            self.send("WATCHDOG=1".into());
            if !self.started {
                // A first pass over a large tree may take longer than a start usually may.
                self.send(format!("EXTEND_TIMEOUT_USEC={}", limit.as_micros()));
            }
        }
    }

    /// How often the loop must turn for the watchdog, if there is one.
    pub fn interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 3)
    }

    fn send(&mut self, message: String) {
        let Some((socket, address)) = &self.socket else { return };
        if self.backlog.len() == BACKLOG {
            self.backlog.pop_front();
        }
        self.backlog.push_back(message);
        while let Some(message) = self.backlog.front() {
            if socket.send_to_addr(message.as_bytes(), address).is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }
}

/// A path, or a name in the abstract namespace after an `@`.
fn open(name: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest).ok()?,
        _ => SocketAddr::from_pathname(name).ok()?,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(socket: Option<(UnixDatagram, SocketAddr)>) -> Service {
        Service {
            socket,
            backlog: VecDeque::new(),
            status: String::new(),
            watchdog: Some(Duration::from_secs(30)),
            pinged: None,
            started: false,
        }
    }

    #[test]
    fn a_manager_that_does_not_read_costs_no_time_and_hears_the_latest_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut service = service(open(path.as_os_str()));
        for n in 0..1000 {
            service.status(&format!("line {n}\nREADY=1"));
        }
        assert_eq!(service.backlog.len(), BACKLOG, "the manager's queue is full");
        let mut last = String::new();
        let mut buffer = [0; 256];
        while !service.backlog.is_empty() {
            while let Ok(n) = manager.recv(&mut buffer) {
                last = String::from_utf8_lossy(&buffer[..n]).into_owned();
            }
            service.ready();
        }
        while let Ok(n) = manager.recv(&mut buffer) {
            last = String::from_utf8_lossy(&buffer[..n]).into_owned();
        }
        assert_eq!(last, "READY=1");
    }

    #[test]
    fn a_status_is_one_assignment_and_is_sent_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut service = service(open(path.as_os_str()));
        service.status("fatal: one\nREADY=1");
        service.status("fatal: one\nREADY=1");
        service.turned();
        service.turned();
        let mut got = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(n) = manager.recv(&mut buffer) {
            got.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
        }
        assert_eq!(
            got,
            ["STATUS=fatal: one READY=1", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=30000000"]
        );
        service.ready();
        service.pinged = None;
        service.turned();
        let mut got = Vec::new();
        while let Ok(n) = manager.recv(&mut buffer) {
            got.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
        }
        assert_eq!(got, ["READY=1", "WATCHDOG=1"], "it has started");
    }
}
