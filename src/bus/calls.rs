// SPDX-License-Identifier: Apache-2.0
//! Which calls are answered, how many at once, and how many are refused. How many bytes a caller may be
//! given is in `allowance.rs`. Pure.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::MAX_REQUESTS;
use super::allowance::{Allowances, Bucket};

/// Calls that are being answered. An answer takes microseconds, so there are so many only while the
/// bus reads slowly, and each of them may be as long as a report, in our memory and before the next
/// signal.
const AT_ONCE: usize = 2;
/// The same of those that ask for a pass. [`MAX_REQUESTS`] of them wait for it, the others are being
/// told that so many wait already. The bus lets root alone ask, and lets nobody wait for more than
/// 128 answers.
const PASSES_AT_ONCE: usize = 128 + MAX_REQUESTS;

/// An answer that took longer to leave waited for the bus. Then nobody is answered for nine times as
/// long, so that signals, which would wait behind the answers, have most of what the bus reads.
const SLOW: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A call that has had no answer for so long, while nothing waits to be written, never gets one.
const LONGEST: Duration = Duration::from_secs(90);

/// Calls that are told that they are not answered, at once and in a second.
const REFUSALS: u64 = 16;
const REFUSALS_FOR_LONG: u64 = 4;

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What can be said at once.
    Short,
    /// A pass.
    Pass,
}

/// What is to become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Answer,
    /// It is told that it is one too many.
    Refuse,
    /// Not even that: the bus lets a caller wait for 128 answers or so, and then holds him up.
    Drop,
}

/// A call that is being answered.
#[derive(Debug)]
struct Open {
    kind: Kind,
    since: Instant,
    /// Whether the caller wants to hear of it.
    wanted: bool,
}

/// The calls that are being answered, and what callers were given lately.
#[derive(Debug)]
pub(super) struct Calls {
    /// By the caller and the serial number that he gave the call.
    open: HashMap<(String, NonZeroU32), Open>,
    allowances: Allowances,
    refusals: Bucket,
    /// Until then nobody is answered.
    silent_until: Instant,
    /// An answer is being written; where that takes long, the others wait for it.
    pub(super) writing: bool,
}

impl Calls {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            open: HashMap::new(),
            allowances: Allowances::new(now),
            refusals: Bucket::full(REFUSALS, REFUSALS_FOR_LONG, now),
            silent_until: now,
            writing: false,
        }
    }

    /// What is to become of a call. One that is to be answered counts until its [`Self::answered`].
    pub(super) fn admit(
        &mut self,
        caller: &str,
        serial: NonZeroU32,
        kind: Kind,
        wanted: bool,
        now: Instant,
    ) -> Verdict {
        let may = match kind {
            // The bus lets root alone ask, and whoever else comes through is told so.
            Kind::Pass => true,
            Kind::Short => {
                let may_speak = wanted && now >= self.silent_until;
                may_speak && self.allowances.allow(caller, now)
            }
        };
        let key = (caller.to_owned(), serial);
        if !may || !self.has_room(kind, now) || self.open.contains_key(&key) {
            return if wanted && self.refusals.take_one(now) {
                Verdict::Refuse
            } else {
                Verdict::Drop
            };
        }
        self.open.insert(key, Open { kind, since: now, wanted });
        Verdict::Answer
    }

    /// Whether the answer of a call is to be sent.
    pub(super) fn is_wanted(&self, caller: &str, serial: NonZeroU32) -> bool {
        // What was refused was never counted, and is told.
        self.open.get(&(caller.to_owned(), serial)).is_none_or(|open| open.wanted)
    }

    /// The answer of a call has left, with so many bytes.
    pub(super) fn answered(&mut self, caller: &str, serial: NonZeroU32, bytes: u64, now: Instant) {
        if let Some(open) = self.open.remove(&(caller.to_owned(), serial))
            && open.kind == Kind::Short
        {
            let took = now.saturating_duration_since(open.since);
            if took > SLOW {
                self.silent_until = now + (took * 9).min(LONGEST_PAUSE);
            }
        }
        self.allowances.charge(caller, bytes, now);
    }

    fn has_room(&mut self, kind: Kind, now: Instant) -> bool {
        let most = match kind {
            Kind::Short => AT_ONCE,
            Kind::Pass => PASSES_AT_ONCE,
        };
        let count = |open: &HashMap<_, Open>| open.values().filter(|o| o.kind == kind).count();
        if count(&self.open) < most {
            return true;
        }
        if !self.writing {
            self.open.retain(|_, open| now.saturating_duration_since(open.since) < LONGEST);
        }
        count(&self.open) < most
    }
}

#[cfg(test)]
mod tests {
    use super::super::allowance::{CALLERS, SHARED, SHARED_FOR_LONG};
    use super::*;

    const REPORT: u64 = 64 * 1024;

    fn serial(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n + 1).unwrap()
    }

    /// Calls and has the answer at once; whether it was answered.
    fn ask(calls: &mut Calls, caller: &str, bytes: u64, now: Instant) -> bool {
        let verdict = calls.admit(caller, serial(1), Kind::Short, true, now);
        if verdict == Verdict::Answer {
            calls.answered(caller, serial(1), bytes, now);
        }
        verdict == Verdict::Answer
    }

    #[test]
    fn so_many_calls_are_answered_at_once_and_each_answer_makes_room_for_one() {
        let now = Instant::now();
        let mut calls = Calls::new(now);
        for n in 0..AT_ONCE as u32 {
            let verdict = calls.admit(":1.1", serial(n), Kind::Short, true, now);
            assert_eq!(verdict, Verdict::Answer);
        }
        assert_ne!(calls.admit(":1.2", serial(0), Kind::Short, true, now), Verdict::Answer);
        // A pass waits for a place of its own.
        assert_eq!(calls.admit(":1.2", serial(0), Kind::Pass, true, now), Verdict::Answer);
        calls.answered(":1.1", serial(1), 10, now);
        assert_eq!(calls.admit(":1.3", serial(0), Kind::Short, true, now), Verdict::Answer);
        assert_ne!(calls.admit(":1.3", serial(1), Kind::Short, true, now), Verdict::Answer);
    }

    #[test]
    fn while_the_bus_reads_slowly_most_of_what_it_reads_is_left_to_signals() {
        let mut now = Instant::now();
        let mut calls = Calls::new(now);
        let (begin, mut writing) = (now, Duration::ZERO);
        while now < begin + Duration::from_secs(60) {
            if calls.admit(":1.1", serial(1), Kind::Short, true, now) == Verdict::Answer {
                let took = Duration::from_millis(300);
                now += took;
                writing += took;
                calls.answered(":1.1", serial(1), 100, now);
                assert_eq!(calls.admit(":1.2", serial(1), Kind::Pass, true, now), Verdict::Answer);
                calls.answered(":1.2", serial(1), 100, now);
            }
            now += Duration::from_millis(1);
        }
        assert!(writing <= Duration::from_secs(60) / 9, "{writing:?}");
        // An answer that leaves at once makes nobody wait.
        for n in 0..10 {
            let at = now + LONGEST_PAUSE + SLOW * n;
            assert_eq!(calls.admit(":1.1", serial(1), Kind::Short, true, at), Verdict::Answer);
            calls.answered(":1.1", serial(1), 100, at + SLOW / 2);
        }
    }

    #[test]
    fn a_call_that_never_gets_its_answer_gives_its_place_back_but_not_while_the_bus_is_stalled() {
        let now = Instant::now();
        let mut calls = Calls::new(now);
        for n in 0..AT_ONCE as u32 {
            calls.admit(":1.1", serial(n), Kind::Short, true, now);
        }
        let later = now + LONGEST;
        calls.writing = true;
        assert_ne!(calls.admit(":1.2", serial(0), Kind::Short, true, later), Verdict::Answer);
        calls.writing = false;
        assert_eq!(calls.admit(":1.2", serial(0), Kind::Short, true, later), Verdict::Answer);
    }

    #[test]
    fn what_nobody_waits_for_is_dropped_but_a_pass_is_made_and_not_told() {
        let now = Instant::now();
        let mut calls = Calls::new(now);
        assert_eq!(calls.admit(":1.1", serial(1), Kind::Short, false, now), Verdict::Drop);
        assert_eq!(calls.admit(":1.1", serial(1), Kind::Pass, false, now), Verdict::Answer);
        assert!(!calls.is_wanted(":1.1", serial(1)));
        assert!(calls.is_wanted(":1.1", serial(2)));
    }

    #[test]
    fn one_serial_number_twice_at_once_is_one_call() {
        let now = Instant::now();
        let mut calls = Calls::new(now);
        assert_eq!(calls.admit(":1.1", serial(1), Kind::Short, true, now), Verdict::Answer);
        assert_ne!(calls.admit(":1.1", serial(1), Kind::Short, true, now), Verdict::Answer);
        assert_eq!(calls.admit(":1.2", serial(1), Kind::Short, true, now), Verdict::Answer);
    }

    #[test]
    fn whoever_had_little_is_answered_whatever_the_others_take() {
        let now = Instant::now();
        let mut calls = Calls::new(now);
        let mut flooded = 0;
        for second in 0..60 {
            let at = now + Duration::from_secs(second);
            for n in 0..250 {
                let flooder = format!(":1.{n}");
                while ask(&mut calls, &flooder, REPORT, at) {
                    flooded += REPORT;
                }
            }
            // A reader of every five seconds, and one who comes for the first time.
            if second % 5 == 0 {
                assert!(ask(&mut calls, ":2.1", 1000, at), "{second}");
            }
            assert!(ask(&mut calls, &format!(":3.{second}"), REPORT, at), "{second}");
        }
        // One report each, and the shared allowance.
        assert!(flooded <= 250 * REPORT + SHARED + 61 * SHARED_FOR_LONG + REPORT * 60, "{flooded}");
    }

    #[test]
    fn a_single_heavy_reader_has_the_shared_allowance_for_himself() {
        let now = Instant::now();
        let mut calls = Calls::new(now);
        for second in 0..600 {
            let at = now + Duration::from_secs(second);
            assert!(ask(&mut calls, ":1.1", REPORT, at), "second {second}");
        }
    }

    #[test]
    fn whoever_asks_all_the_time_has_no_more_of_the_shared_allowance_than_flows_in() {
        let now = Instant::now();
        let mut calls = Calls::new(now);
        let mut had = 0;
        for millis in 0..60_000 {
            let at = now + Duration::from_millis(millis);
            // Both are let in before the answer of either is counted.
            let callers: Vec<_> = [":1.1", ":1.2"]
                .into_iter()
                .filter(|caller| {
                    calls.admit(caller, serial(1), Kind::Short, true, at) == Verdict::Answer
                })
                .collect();
            for caller in callers {
                calls.answered(caller, serial(1), REPORT, at);
                had += REPORT;
            }
        }
        assert!(had <= SHARED + 60 * SHARED_FOR_LONG + 4 * REPORT, "{had}");
    }

    #[test]
    fn names_that_come_and_go_take_no_memory_and_share() {
        let now = Instant::now();
        let mut calls = Calls::new(now);
        let mut answered = 0u64;
        for n in 0..100_000 {
            answered += u64::from(ask(&mut calls, &format!(":1.{n}"), REPORT, now));
        }
        assert!(calls.allowances.given.len() <= CALLERS && calls.open.is_empty());
        assert!(answered <= CALLERS as u64 + SHARED / REPORT, "{answered}");
        // It is over when it is over.
        assert!(ask(&mut calls, ":2.1", REPORT, now + Duration::from_secs(600)));
    }

    #[test]
    fn only_so_many_are_told_that_they_are_one_too_many() {
        let now = Instant::now();
        let mut calls = Calls::new(now);
        while ask(&mut calls, ":1.1", REPORT, now) {}
        let mut refused = 1;
        while calls.admit(":1.1", serial(1), Kind::Short, true, now) == Verdict::Refuse {
            refused += 1;
        }
        assert_eq!(refused, REFUSALS);
        let later = now + Duration::from_millis(500);
        assert_eq!(calls.admit(":1.1", serial(1), Kind::Short, false, later), Verdict::Drop);
    }

    #[test]
    fn so_many_passes_are_asked_for_at_once_and_each_answer_makes_room_for_one() {
        let now = Instant::now();
        let mut calls = Calls::new(now);
        let ask = |calls: &mut Calls, n| calls.admit(":1.1", serial(n), Kind::Pass, true, now);
        let most = PASSES_AT_ONCE as u32;
        assert!((0..most).all(|n| ask(&mut calls, n) == Verdict::Answer));
        assert_eq!(ask(&mut calls, most), Verdict::Refuse);
        calls.answered(":1.1", serial(0), 10, now);
        assert_eq!(ask(&mut calls, most), Verdict::Answer);
        assert_eq!(ask(&mut calls, most + 1), Verdict::Refuse);
    }

    #[test]
    fn after_the_slowest_answer_readers_are_answered_again_soon() {
        let begin = Instant::now();
        let mut calls = Calls::new(begin);
        assert_eq!(calls.admit(":1.1", serial(1), Kind::Short, true, begin), Verdict::Answer);
        let end = begin + Duration::from_secs(60);
        calls.answered(":1.1", serial(1), 100, end);
        let soon = end + LONGEST_PAUSE;
        let before = soon - Duration::from_millis(1);
        assert_ne!(calls.admit(":1.2", serial(1), Kind::Short, true, before), Verdict::Answer);
        assert_eq!(calls.admit(":1.2", serial(1), Kind::Short, true, soon), Verdict::Answer);
    }

    #[test]
    fn for_long_so_many_in_a_second_are_told_that_they_are_one_too_many() {
        let begin = Instant::now();
        let mut calls = Calls::new(begin);
        for n in 0..AT_ONCE as u32 {
            calls.admit(":1.1", serial(n), Kind::Short, true, begin);
        }
        let seconds = 60;
        let refused = (0..seconds * 100).filter(|n| {
            let at = begin + Duration::from_millis(n * 10);
            calls.admit(":1.2", serial(0), Kind::Short, true, at) == Verdict::Refuse
        });
        let (refused, most) = (refused.count() as u64, REFUSALS + seconds * REFUSALS_FOR_LONG);
        assert!((most - 1..=most).contains(&refused), "{refused}");
    }
}
