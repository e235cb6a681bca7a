// SPDX-License-Identifier: Apache-2.0
//! Fights: how often one object is corrected before we call it contested and hold back.
//!
//! Each object has a token bucket. Who empties it keeps undoing our corrections, so the object is
//! contested: it is looked at again after a pause that doubles from a second to minutes, and the
//! contest ends when such a look finds it right. Pure: the clock is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Corrections of one object in a row before it is contested.
const BURST: f64 = 200.0;

/// Corrections of one object a second that are never a contest.
const REFILL: f64 = 10.0;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Objects that have a bucket at a time.
const OBJECTS: usize = 256;

/// Every object that was corrected lately.
#[derive(Debug, Default)]
pub struct Pacing {
    objects: HashMap<String, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
    contest: Option<Contest>,
}

#[derive(Debug)]
struct Contest {
    pause: Duration,
    until: Instant,
}

/// What to do about one object now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Go,
    /// It is contested and its pause is not over.
    HoldBack,
    /// So many objects were corrected lately that there is no room for one more: looking at
    /// everything at once is cheaper than at each.
    Crowded,
}

/// What a correction, or the lack of one, changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    None,
    /// The object is contested from now on.
    Began,
    /// It no longer is.
    Ended,
}

impl Pacing {
    /// Whether to look at an object now.
    pub fn verdict(&mut self, object: &str, now: Instant) -> Verdict {
        if let Some(bucket) = self.objects.get(object) {
            let held = bucket.contest.as_ref().is_some_and(|contest| now < contest.until);
            return if held { Verdict::HoldBack } else { Verdict::Go };
        }
        if self.objects.len() >= OBJECTS {
            self.objects.retain(|_, bucket| {
                bucket.refill(now);
                bucket.contest.is_some() || bucket.tokens < BURST
            });
        }
        if self.objects.len() >= OBJECTS { Verdict::Crowded } else { Verdict::Go }
    }

    /// The object was found wrong.
    pub fn corrected(&mut self, object: &str, now: Instant) -> Change {
        let bucket = self.objects.entry(object.to_owned()).or_insert(Bucket {
            tokens: BURST,
            filled: now,
            contest: None,
        });
        bucket.refill(now);
        bucket.tokens = (bucket.tokens - 1.0).max(0.0);
        match &mut bucket.contest {
            Some(contest) => {
                contest.pause = (contest.pause * 2).min(LONGEST_PAUSE);
                contest.until = now + contest.pause;
                Change::None
            }
            None if bucket.tokens < 1.0 => {
                bucket.contest = Some(Contest { pause: FIRST_PAUSE, until: now + FIRST_PAUSE });
                Change::Began
            }
            None => Change::None,
        }
    }

    /// The object was found right.
    pub fn right(&mut self, object: &str, now: Instant) -> Change {
        let Some(bucket) = self.objects.get_mut(object) else { return Change::None };
        if bucket.contest.as_ref().is_some_and(|contest| now >= contest.until) {
            self.objects.remove(object);
            return Change::Ended;
        }
        Change::None
    }

    /// Contested objects whose pause is over.
    pub fn due(&self, now: Instant) -> Vec<String> {
        let over = |b: &Bucket| b.contest.as_ref().is_some_and(|contest| now >= contest.until);
        self.objects.iter().filter(|(_, b)| over(b)).map(|(object, _)| object.clone()).collect()
    }
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + elapsed * REFILL).min(BURST);
        self.filled = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_burst_is_corrected_and_a_fight_is_contested_with_one_change() {
        let start = Instant::now();
        let mut pacing = Pacing::default();
        let changes: Vec<_> = (0..1000).map(|_| pacing.corrected("kernel.panic", start)).collect();
        assert_eq!(changes.iter().filter(|c| **c == Change::Began).count(), 1);
        assert_eq!(changes.iter().position(|c| *c == Change::Began), Some(199));
        assert_eq!(pacing.verdict("kernel.panic", start), Verdict::HoldBack);
        assert_eq!(pacing.verdict("vm.panic_on_oom", start), Verdict::Go, "others are not held");
    }

    #[test]
    fn drift_as_often_as_ten_times_a_second_is_never_a_contest() {
        let start = Instant::now();
        let mut pacing = Pacing::default();
        for n in 0..10_000 {
            assert_eq!(pacing.corrected("x", after(start, f64::from(n) * 0.1)), Change::None);
        }
    }

    #[test]
    fn the_pause_doubles_to_minutes_and_ends_with_the_rival() {
        let mut now = Instant::now();
        let mut pacing = Pacing::default();
        while pacing.corrected("x", now) != Change::Began {}
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let mut pause = 0;
            while pacing.verdict("x", now) == Verdict::HoldBack {
                now += Duration::from_secs(1);
                pause += 1;
            }
            pauses.push(pause);
            assert_eq!(pacing.due(now), ["x"]);
            assert_eq!(pacing.corrected("x", now), Change::None);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(pacing.right("x", now), Change::None, "right, but too early to say");
        assert_eq!(pacing.right("x", after(now, 300.0)), Change::Ended);
        assert_eq!(pacing.corrected("x", after(now, 301.0)), Change::None, "a fresh start");
    }

    #[test]
    fn any_number_of_objects_takes_bounded_memory_and_makes_room_when_it_is_calm() {
        let start = Instant::now();
        let mut pacing = Pacing::default();
        let mut crowded = 0;
        for n in 0..20_000 {
            let object = format!("f{n}");
            match pacing.verdict(&object, start) {
                Verdict::Go => assert_eq!(pacing.corrected(&object, start), Change::None),
                Verdict::Crowded => crowded += 1,
                Verdict::HoldBack => panic!("{object} was never contested"),
            }
        }
        assert_eq!((pacing.objects.len(), crowded), (OBJECTS, 20_000 - OBJECTS));
        assert_eq!(pacing.verdict("one more", after(start, 1.0)), Verdict::Go);
        assert!(pacing.objects.is_empty());
    }
}
