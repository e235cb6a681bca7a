// SPDX-License-Identifier: Apache-2.0
//! How much processor time something may take that others can make work: so much at once, and one
//! part in so many of a processor for long.

use std::time::{Duration, Instant};

/// The processor time of a source of events, or of a thread.
#[derive(Debug)]
pub struct Budget {
    at_once: Duration,
    share: u32,
    left: Duration,
    /// Taken beyond that.
    owed: Duration,
    /// When that was counted.
    counted: Instant,
}

impl Budget {
    /// `at_once`: how much may be taken in one go; `share`: one part in so many of a processor flows
    /// in.
    pub fn full(at_once: Duration, share: u32, now: Instant) -> Self {
        Self { at_once, share, left: at_once, owed: Duration::ZERO, counted: now }
    }

    /// After so much more processor time: how long to pause for it.
    pub fn spend(&mut self, worked: Duration, now: Instant) -> Duration {
        let flown_in = now.saturating_duration_since(self.counted) / self.share;
        self.counted = now;
        // What is overdrawn flows in during the pause.
        let paid = flown_in.min(self.owed);
        self.owed -= paid;
        let left = (self.left + flown_in - paid).min(self.at_once);
        self.left = left.saturating_sub(worked);
        self.owed += worked.saturating_sub(left);
        self.owed * self.share
    }

    /// The same for who pauses no longer than so: what is owed beyond that is not asked for later.
    pub fn spend_within(&mut self, worked: Duration, longest: Duration, now: Instant) -> Duration {
        let pause = self.spend(worked, now).min(longest);
        self.owed = pause / self.share;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::{BUDGET, SHARE};
    use super::*;

    #[test]
    fn a_burst_is_free_and_for_long_it_is_the_share() {
        let begin = Instant::now();
        let mut now = begin;
        let mut budget = Budget::full(BUDGET, SHARE, now);
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
        // After a pause it is full again, and no fuller.
        now += Duration::from_secs(1000);
        assert_eq!(budget.spend(BUDGET, now), Duration::ZERO);
        assert!(budget.spend(turn, now) > Duration::ZERO);
    }

    #[test]
    fn what_one_dear_turn_cost_is_over_with_the_longest_rest() {
        let longest = Duration::from_secs(1);
        let mut now = Instant::now();
        let mut budget = Budget::full(BUDGET, SHARE, now);
        now += Duration::from_secs(60);
        let pause = budget.spend_within(Duration::from_secs(60), longest, now);
        assert_eq!(pause, longest);
        assert_eq!(budget.spend_within(Duration::ZERO, longest, now + pause), Duration::ZERO);
    }
}
