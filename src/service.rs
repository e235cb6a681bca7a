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
            Some(_) => Some(Outbox::start("nodeguard-notify", BACKLOG, Manager)?),
            None => None,
        };
        Ok(Self::telling(outbox, sd_notify::watchdog_enabled()))
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
        let Some(limit) = self.watchdog else { return };
        if self.pinged.is_none_or(|at| at.elapsed() >= limit / PINGS) {
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
