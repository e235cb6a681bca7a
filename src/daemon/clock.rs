// SPDX-License-Identifier: Apache-2.0
//! The daemon's tick. A timerfd and not the runtime's timer, which wakes two or three times for
//! each tick to put it into a finer slot: an idle daemon does nothing else.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

pub(super) struct Clock {
    timer: AsyncFd<OwnedFd>,
}

impl Clock {
    /// The first tick comes after `every`. Needs a running tokio runtime.
    pub(super) fn new(every: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let every = Timespec {
            tv_sec: i64::try_from(every.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: every.subsec_nanos().into(),
        };
        let spec = Itimerspec { it_interval: every, it_value: every };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
        // See `watch/inotify.rs`: an OwnedFd keeps its descriptor.
        #[allow(deprecated)]
        Ok(Self { timer: AsyncFd::new(timer)? })
    }

    /// Those that were missed are one. Cancellation safe.
    pub(super) async fn tick(&self) -> io::Result<()> {
        loop {
            let mut guard = self.timer.readable().await?;
            let read = rustix::io::read(guard.get_inner(), &mut [0u8; 8]);
            guard.clear_ready();
            match read {
                Ok(_) => return Ok(()),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_come_again_and_again_and_missed_ones_are_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let every = Duration::from_millis(300);
            let clock = Clock::new(every).unwrap();
            let begin = std::time::Instant::now();
            clock.tick().await.unwrap();
            assert!(begin.elapsed() >= every);
            while begin.elapsed() < every * 7 / 2 {
                std::hint::spin_loop();
            }
            clock.tick().await.unwrap();
            let soon = tokio::time::timeout(Duration::ZERO, clock.tick()).await;
            assert!(soon.is_err(), "the ones that were missed came one by one");
            clock.tick().await.unwrap();
        });
    }
}
