// SPDX-License-Identifier: Apache-2.0
//! How much processor time the events of one source may take.

use std::time::{Duration, Instant};

use super::limits::{BUDGET, SHARE};

/// The processor time of one source of events.
#[derive(Debug)]
pub(super) struct Budget {
    /// What its turns may still take at once.
    left: Duration,
    /// When that was counted.
    counted: Instant,
}

impl Budget {
    pub(super) fn full(now: Instant) -> Self {
        Self { left: BUDGET, counted: now }
    }

    /// After a turn that took so much processor time: how long the next one has to wait for it.
    pub(super) fn spend(&mut self, worked: Duration, now: Instant) -> Duration {
        let flown_in = now.saturating_duration_since(self.counted) / SHARE;
        self.counted = now;
        let left = (self.left + flown_in).min(BUDGET);
        self.left = left.saturating_sub(worked);
        worked.saturating_sub(left) * (SHARE - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_for_long_the_turns_of_a_source_have_their_share() {
        let begin = Instant::now();
        let mut now = begin;
        let mut budget = Budget::full(now);
        assert_eq!(budget.spend(BUDGET, now), Duration::ZERO);
        let turn = Duration::from_millis(3);
        let mut worked = Duration::ZERO;
        while now < begin + Duration::from_secs(100) {
            now += turn;
            worked += turn;
            now += budget.spend(turn, now);
        }
        let share = worked.as_secs_f64() / (now - begin).as_secs_f64();
        assert!((0.09..=0.101).contains(&share), "{share}");
    }
}
