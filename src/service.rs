// SPDX-License-Identifier: Apache-2.0
//! What the service manager is told: READY, one line of status, the watchdog, STOPPING.
//!
//! sd-notify's socket waits for a service manager that does not read, so it is used in a thread of
//! its own: what is told waits there, up to a limit, and never here.

use std::io;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::outbox::{Outbox, Transport};

/// Messages kept; of more, the oldest is the least true.
const BACKLOG: usize = 16;

/// Pings in the watchdog's time. A loop that turns more seldom pings whenever it turns.
const PINGS: u32 = 4;

/// A full pass begins with a ping that is no older: what a pass may wait for takes most of the
/// watchdog's time.
const PING_BEFORE_A_PASS: Duration = Duration::from_secs(1);

/// The service manager, if there is one.
#[derive(Debug)]
pub struct Service {
    outbox: Option<Outbox<Message>>,
    status: String,
    /// The watchdog's limit.
    watchdog: Option<Duration>,
    pinged: Option<Instant>,
    /// READY was sent.
    started: bool,
}

/// One message, as it waits to be sent.
#[derive(Debug)]
enum Message {
    Ready,
    Reloading,
    Stopping,
    Status(String),
    Watchdog,
    /// A start may take so much longer from now on.
    ExtendTimeout(Duration),
}

impl Message {
    fn state(&self) -> NotifyState<'_> {
        match self {
            Self::Ready => NotifyState::Ready,
            Self::Reloading => NotifyState::Reloading,
            Self::Stopping => NotifyState::Stopping,
            Self::Status(line) => NotifyState::Status(line),
            Self::Watchdog => NotifyState::Watchdog,
            Self::ExtendTimeout(time) => {
                // More than an hour would have no room, and is no time for a start.
                NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
            }
        }
    }
}

/// Sends to the socket that `NOTIFY_SOCKET` names.
struct Manager;

impl Transport<Message> for Manager {
    fn send(&mut self, message: &Message) -> io::Result<()> {
        sd_notify::notify(&[message.state()])
    }

    fn say_lost(&mut self, count: u64) -> io::Result<()> {
        tracing::warn!("the service manager did not read: {count} messages to it were lost");
        Ok(())
    }
}

impl Service {
    /// By `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`. Fails where there is a service manager
    /// and its thread cannot be started.
    pub fn from_environment() -> io::Result<Self> {
        let outbox = match std::env::var_os("NOTIFY_SOCKET") {
            Some(path) if path.as_encoded_bytes().starts_with(b"/") => {
                Some(Outbox::start("nodeguard-notify", BACKLOG, Manager)?)
            }
            Some(other) => {
                // An abstract name, say.
                tracing::warn!(
                    "NOTIFY_SOCKET is {other:?}: the service manager is told nothing; expected is \
                     an absolute path, as systemd has it"
                );
                None
            }
            None => None,
        };
        // None is what systemd itself makes of zero.
        let watchdog = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
        Ok(Self::telling(outbox, watchdog))
    }

    fn telling(outbox: Option<Outbox<Message>>, watchdog: Option<Duration>) -> Self {
        Self { outbox, status: String::new(), watchdog, pinged: None, started: false }
    }

    /// The first pass has ended, whatever it found.
    pub fn ready(&mut self) {
        self.started = true;
        self.send(Message::Ready);
    }

    pub fn reloading(&mut self) {
        self.send(Message::Reloading);
    }

    pub fn stopping(&mut self) {
        self.send(Message::Stopping);
    }

    /// The line in `systemctl status`; sent when it changes.
    pub fn status(&mut self, line: &str) {
        if self.status != line {
            line.clone_into(&mut self.status);
            // A line break would begin another assignment.
            self.send(Message::Status(line.replace('\n', " ")));
        }
    }

    /// Called on every turn of the main loop, and between the steps of a pass: only a loop that
    /// turns feeds the watchdog. The thread that sends never does so by itself.
    pub fn turned(&mut self) {
        if let Some(limit) = self.watchdog {
            self.ping(limit, limit / PINGS);
        }
    }

    /// Called where the loop begins a full pass.
    pub fn pass_begins(&mut self) {
        if let Some(limit) = self.watchdog {
            self.ping(limit, PING_BEFORE_A_PASS.min(limit / PINGS));
        }
    }

    fn ping(&mut self, limit: Duration, every: Duration) {
        if self.pinged.is_none_or(|at| at.elapsed() >= every) {
            self.pinged = Some(Instant::now());
            self.send(Message::Watchdog);
            if !self.started {
                // A first pass over a large tree may take longer than a start usually may.
                self.send(Message::ExtendTimeout(limit));
            }
        }
    }

    /// How often the loop must turn for the watchdog, if there is one.
    pub fn interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 3)
    }

    fn send(&self, message: Message) {
        if let Some(outbox) = &self.outbox {
            outbox.put(message);
        }
    }
}

/// Waits a moment for a service manager that has not read everything.
impl Drop for Service {
    fn drop(&mut self) {
        if let Some(outbox) = &self.outbox {
            outbox.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::path::{Path, PathBuf};

    /// A service manager at a place of its own: what sd-notify does, which takes the place from the
    /// environment of the whole process. sd-notify itself has tests/daemon.
    struct At(PathBuf);

    impl Transport<Message> for At {
        fn send(&mut self, message: &Message) -> io::Result<()> {
            let socket = UnixDatagram::unbound()?;
            socket.connect(&self.0)?;
            socket.send(message.state().to_string().as_bytes()).map(drop)
        }

        fn say_lost(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }

    fn service(path: &Path) -> Service {
        let outbox = Outbox::start("test", BACKLOG, At(path.to_path_buf())).unwrap();
        Service::telling(Some(outbox), Some(Duration::from_secs(30)))
    }

    #[test]
    fn a_manager_that_does_not_read_costs_no_time_and_hears_the_latest_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut service = service(&path);
        for n in 0..1000 {
            service.status(&format!("line {n}\nREADY=1"));
        }
        let kept = service.outbox.as_ref().unwrap().kept().0;
        assert_eq!(kept, BACKLOG, "the manager's queue is full");
        service.ready();
        let mut last = String::new();
        let mut buffer = [0; 256];
        while last != "READY=1" {
            let n = manager.recv(&mut buffer).unwrap();
            last = String::from_utf8_lossy(&buffer[..n]).into_owned();
        }
        service.outbox.as_ref().unwrap().flush();
        manager.set_nonblocking(true).unwrap();
        assert!(manager.recv(&mut buffer).is_err(), "READY=1 was the last one");
    }

    #[test]
    fn a_status_is_one_assignment_and_is_sent_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut service = service(&path);
        let told = |service: &Service| {
            service.outbox.as_ref().unwrap().flush();
            let mut got = Vec::new();
            let mut buffer = [0; 256];
            while let Ok(n) = manager.recv(&mut buffer) {
                got.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
            }
            got
        };
        service.status("fatal: one\nREADY=1");
        service.status("fatal: one\nREADY=1");
        service.turned();
        service.turned();
        assert_eq!(
            told(&service),
            ["STATUS=fatal: one READY=1", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=30000000"]
        );
        service.ready();
        service.pinged = None;
        service.turned();
        assert_eq!(told(&service), ["READY=1", "WATCHDOG=1"], "it has started");
    }

    #[test]
    fn the_watchdog_hears_of_turns_at_a_quarter_of_its_time_and_of_nothing_without_turns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut service = service(&path);
        service.ready();
        service.turned();
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
        service.pinged = ago(7);
        service.turned();
        service.pinged = ago(8);
        service.turned();
        service.turned();
        service.pass_begins();
        service.pinged = ago(2);
        service.pass_begins();
        service.outbox.as_ref().unwrap().flush();
        manager.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut got = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(n) = manager.recv(&mut buffer) {
            got.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
        }
        assert_eq!(got, ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]);
    }
}
