// SPDX-License-Identifier: Apache-2.0
//! How much processor time the bus's thread may take: where it has taken more, it pauses before it reads
//! again, and the bus makes those wait who send.

use std::time::{Duration, Instant};

use crate::pace::Budget;
use crate::processor::worked;

/// Processor time that this thread may take at once, and the share of a processor that it may take
/// for long. Beyond that it reads more slowly, and the bus makes those wait who send.
const BUDGET: Duration = Duration::from_millis(500);
const SHARE: u32 = 4;

/// How much processor time reading may take.
#[derive(Debug)]
pub(super) struct Pace {
    budget: Budget,
    /// The processor time of this thread when that was counted.
    worked: Duration,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { budget: Budget::full(BUDGET, SHARE, Instant::now()), worked: worked() }
    }

    /// Waits where this thread has worked too much.
    pub(super) async fn keep(&mut self) {
        let pause = self.spend(worked(), Instant::now());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    /// How long to pause before the next read.
    fn spend(&mut self, worked: Duration, now: Instant) -> Duration {
        let taken = worked.saturating_sub(self.worked);
        self.worked = worked;
        self.budget.spend(taken, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_more_than_its_share_rests_until_it_is_its_share() {
        let begin = Instant::now();
        let at = |millis: u64| begin + Duration::from_millis(millis);
        let mut pace = Pace { budget: Budget::full(BUDGET, SHARE, begin), worked: Duration::ZERO };
        // A burst is free.
        assert_eq!(pace.spend(Duration::from_millis(400), at(400)), Duration::ZERO);
        let mut now = 400;
        let mut worked = 400;
        for _ in 0..1000 {
            // Works without a pause but for those it is told to make.
            (now, worked) = (now + 2, worked + 2);
            let pause = pace.spend(Duration::from_millis(worked), at(now));
            now += u64::try_from(pause.as_millis()).unwrap();
        }
        // The share over all, less what was left of the burst.
        let share = (worked - 600) as f64 / (now - 400) as f64;
        assert!((0.9..=1.1).contains(&(share * f64::from(SHARE))), "{share}");
    }
}
