// SPDX-License-Identifier: Apache-2.0
//! What the service manager is told: READY, one line of status, the watchdog, STOPPING.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The service manager, if there is one.
#[derive(Debug)]
pub struct Service {
    status: String,
    /// How often the watchdog wants to hear from us; a third of its limit.
    watchdog: Option<Duration>,
    pinged: Instant,
}

impl Service {
    pub fn from_environment() -> Self {
        Self {
            status: String::new(),
            watchdog: sd_notify::watchdog_enabled().map(|limit| limit / 3),
            pinged: Instant::now(),
        }
    }

    /// The first pass has ended, whatever it found.
    pub fn ready(&mut self) {
        send(&[NotifyState::Ready]);
    }

    pub fn reloading(&mut self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            send(&[NotifyState::Reloading, now]);
        }
    }

    pub fn stopping(&mut self) {
        send(&[NotifyState::Stopping]);
    }

    /// The line in `systemctl status`; sent when it changes.
    pub fn status(&mut self, line: &str) {
        if self.status != line {
            line.clone_into(&mut self.status);
            send(&[NotifyState::Status(line)]);
        }
    }

    /// Called on every turn of the main loop: only a loop that turns feeds the watchdog.
    pub fn turned(&mut self) {
        if self.watchdog.is_some_and(|every| self.pinged.elapsed() >= every) {
            self.pinged = Instant::now();
            send(&[NotifyState::Watchdog]);
        }
    }

    /// How often the loop must turn for the watchdog, if there is one.
    pub fn interval(&self) -> Option<Duration> {
        self.watchdog
    }
}

fn send(states: &[NotifyState<'_>]) {
    // Without a service manager there is nobody to tell, and without its socket nobody listens.
    let _ = sd_notify::notify(states);
}
