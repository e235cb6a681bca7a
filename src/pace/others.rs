// SPDX-License-Identifier: Apache-2.0
//! The others on the machine of `simulation.rs`, and what is counted there.

#[cfg(test)]
pub(super) mod world {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use super::super::Source;
    use crate::model::Object;

    /// Numbers that a seed brings back (SplitMix64).
    pub struct Random(pub u64);

    impl Random {
        pub fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % limit.max(1)
        }

        pub fn up_to(&mut self, longest: Duration) -> Duration {
            Duration::from_nanos(self.below(longest.as_nanos() as u64))
        }
    }

    /// Something that raises events, and somebody who changes it again and again.
    pub struct Thing {
        pub object: Object,
        pub source: Source,
        /// It has narrow passes; else its events ask for whole ones.
        pub followed: bool,
        /// Changes make it wrong; else they only raise events.
        pub spoils: bool,
        /// From one change to the next, more or less.
        pub every: Duration,
        pub next: Instant,
        /// No more changes from then on.
        pub end: Instant,
        /// Events that nobody has taken.
        pub events: u64,
        /// Since when it is wrong.
        pub wrong: Option<Instant>,
    }

    /// Entries that come into the tree, one after the other, each of them wrong.
    pub struct Crowd {
        pub every: Duration,
        pub next: Instant,
        pub left: u32,
        /// Their numbers, and since when they are wrong.
        pub wrong: BTreeMap<u32, Instant>,
        /// Those whose events nobody has taken.
        pub events: Vec<u32>,
    }

    impl Thing {
        pub fn pass_time(&mut self, now: Instant, random: &mut Random) {
            let last = now.min(self.end);
            if self.next > last {
                return;
            }
            let times = 1 + (last - self.next).as_nanos() / self.every.as_nanos().max(1);
            let times = u32::try_from(times).unwrap_or(u32::MAX);
            self.events += u64::from(times);
            if self.spoils && self.wrong.is_none() {
                self.wrong = Some(self.next);
            }
            self.next += self.every * times + random.up_to(self.every / 2);
            self.next = self.next.max(now + Duration::from_nanos(1));
        }
    }

    impl Crowd {
        /// How many entries the tree has then, of which it had so many before.
        pub fn pass_time(&mut self, now: Instant, mut entries: u32) -> u32 {
            while self.left > 0 && self.next <= now {
                self.wrong.insert(entries, self.next);
                self.events.push(entries);
                entries += 1;
                self.left -= 1;
                self.next += self.every;
            }
            entries
        }
    }

    /// What is counted for each second.
    #[derive(Clone, Copy, Default)]
    pub struct Second {
        pub worked: Duration,
        pub passes: u32,
        pub lines: u32,
        pub contested: bool,
    }

    /// The most of a number in a window of so many seconds, where `only` holds for all of it.
    pub fn most_in(
        seconds: &[Second],
        window: usize,
        only: impl Fn(&Second) -> bool,
        what: impl Fn(&Second) -> f64,
    ) -> f64 {
        let (mut sum, mut length, mut most) = (0.0, 0, 0.0_f64);
        for (number, second) in seconds.iter().enumerate() {
            if !only(second) {
                (sum, length) = (0.0, 0);
                continue;
            }
            sum += what(second);
            length += 1;
            if length > window {
                sum -= what(&seconds[number - window]);
            }
            if length >= window {
                most = most.max(sum);
            }
        }
        most
    }
}
