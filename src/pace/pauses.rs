// SPDX-License-Identifier: Apache-2.0
//! When full passes are made: events may ask for them as often as somebody likes.

use std::time::{Duration, Instant};

use super::Source;
use super::limits::{
    CONTESTED_PASSES_SHARE, FIRST_PASS_PAUSE, LONGEST_CONTESTED_PAUSE, LONGEST_HOST_PAUSE,
    LONGEST_PASS, LONGEST_PASS_PAUSE, LONGEST_TREE_PAUSE, MENDING_PAUSE, PASSES_IN_A_ROW,
    PASSES_SHARE, REGULAR_PASS, REGULAR_PASS_WHILE_WRONG, TELLING_PAUSE,
};

/// What a full pass is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassFor {
    /// Something is to be judged or mended that only a full pass can.
    Judging,
    /// Something came while its object is contested. It may be anything, a link say, which is
    /// nobody's to contest.
    Newcomer,
    /// Something happened on a node that is not ready, which may be its mending.
    Mending,
    /// Something that is not written has another value, which the report is to tell.
    Telling,
}

/// A full pass that ended, with all that was told about it.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub began: Instant,
    /// When it had looked at everything.
    pub looked: Instant,
    /// How long it kept a processor busy.
    pub worked: Duration,
    /// What is to be watched did not change with it; else it is to be repeated.
    pub settled: bool,
}

/// The pauses between full passes.
#[derive(Debug)]
pub(super) struct Pauses {
    /// When a pass that was put off is to be made.
    due: Option<Instant>,
    /// Before this no event of the host starts a pass, and before the other none of the tree.
    host: Instant,
    tree: Instant,
    /// How long the pause after the last pass would be, were it for something contested.
    after_contested: Duration,
    /// The shortest pause after the last pass; it doubles where one pass follows the other.
    doubling: Duration,
    /// When the last one had looked at everything.
    looked: Instant,
}

impl Pauses {
    pub(super) fn new(now: Instant) -> Self {
        let (due, after_contested) = (None, Duration::ZERO);
        Self { due, host: now, tree: now, after_contested, doubling: FIRST_PASS_PAUSE, looked: now }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a pass is to be made now; else it is put off.
    pub(super) fn wanted(&mut self, from: Source, wanted: PassFor, now: Instant) -> bool {
        let over = match from {
            Source::Host => self.host,
            Source::Tree => self.tree,
        };
        let after = match wanted {
            PassFor::Judging => Duration::ZERO,
            PassFor::Newcomer => MENDING_PAUSE.max(self.after_contested),
            PassFor::Mending => MENDING_PAUSE,
            PassFor::Telling => TELLING_PAUSE,
        };
        let at = over.max(self.looked + after);
        if now < at {
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
        now >= at
    }

    pub(super) fn begins(&mut self) {
        self.due = None;
    }

    /// `host`, `tree`: whether something of theirs is contested that takes full passes to look at.
    pub(super) fn ended(&mut self, pass: &Ended, host: bool, tree: bool) {
        let Ended { began, looked, worked, settled } = *pass;
        let took = looked.saturating_duration_since(began);
        // As soon as it might: it was waited for.
        let waited_for = began < self.host + FIRST_PASS_PAUSE;
        self.doubling =
            if waited_for { (self.doubling * 2).min(LONGEST_PASS_PAUSE) } else { FIRST_PASS_PAUSE };
        // By processor time; and half of the time at most, where passes wait for a disk or for
        // others on a busy machine.
        let pause = |contested: bool, longest: Duration| {
            let busy = took.max(worked * (PASSES_SHARE - 1)).min(longest);
            let longer =
                took.max(worked * (CONTESTED_PASSES_SHARE - 1)).min(LONGEST_CONTESTED_PAUSE);
            if contested { busy.max(longer) } else { busy }
        };
        self.looked = looked;
        self.host = looked + pause(host, LONGEST_HOST_PAUSE).max(self.doubling);
        self.tree = looked + pause(tree, LONGEST_TREE_PAUSE).max(self.doubling);
        self.after_contested = pause(true, LONGEST_HOST_PAUSE);
        if !settled {
            self.due = Some(self.host);
        }
    }

    /// Whether it is time for a pass although no event came; `well`: nothing is wrong and no event
    /// can be missed.
    pub(super) fn is_regular(&self, well: bool, now: Instant) -> bool {
        let every = if well { REGULAR_PASS } else { REGULAR_PASS_WHILE_WRONG };
        now.saturating_duration_since(self.looked) >= every
    }
}

/// Whether one more pass follows at once, after `made` of them in a row that took so long together;
/// `settled`: what is watched is what the last pass wants to be watched.
pub fn is_repeated(made: usize, took: Duration, settled: bool) -> bool {
    !settled && made < PASSES_IN_A_ROW && took <= LONGEST_PASS
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A pass that begins now and takes so long.
    fn pass(began: Instant, took: Duration) -> Ended {
        Ended { began, looked: began + took, worked: took, settled: true }
    }

    /// From the end of a pass to the next one that a source asks for.
    fn pause_of(pauses: &mut Pauses, from: Source, wanted: PassFor) -> Duration {
        assert!(!pauses.wanted(from, wanted, pauses.looked));
        let due = pauses.due().unwrap();
        assert!(pauses.wanted(from, wanted, due) && !pauses.wanted(from, wanted, due - MS));
        pauses.begins();
        due - pauses.looked
    }

    #[test]
    fn a_pass_is_repeated_at_once_a_few_times_and_not_where_it_took_long() {
        let passes_in_a_row = |took: Duration| {
            (1..).find(|made| !is_repeated(*made, took * *made as u32, false)).unwrap()
        };
        assert_eq!(passes_in_a_row(Duration::ZERO), PASSES_IN_A_ROW);
        assert_eq!(passes_in_a_row(LONGEST_PASS / PASSES_IN_A_ROW as u32), PASSES_IN_A_ROW);
        assert_eq!(passes_in_a_row(LONGEST_PASS), 2);
        assert_eq!(passes_in_a_row(LONGEST_PASS + MS), 1);
        assert!(!is_repeated(1, Duration::ZERO, true));
    }

    #[test]
    fn after_a_pass_that_worked_for_long_the_next_one_waits_and_no_longer_than_its_source_may() {
        let (long, longer) = (MS * 100, MS * 60_000);
        for (took, host, tree, expected) in [
            (MS, false, false, [MS * 9, MS * 9]),
            (long, false, false, [long * 9, long * 9]),
            (longer, false, false, [LONGEST_HOST_PAUSE, LONGEST_TREE_PAUSE]),
            // For something contested of the one source the other one does not wait.
            (MS * 10, true, false, [MS * 3990, MS * 90]),
            (MS * 10, false, true, [MS * 90, MS * 3990]),
            (longer, true, true, [LONGEST_CONTESTED_PAUSE, LONGEST_CONTESTED_PAUSE]),
        ] {
            let now = Instant::now();
            let mut pauses = Pauses::new(now);
            pauses.ended(&pass(now + MS * 1000, took), host, tree);
            let seen = [Source::Host, Source::Tree]
                .map(|from| pause_of(&mut pauses, from, PassFor::Judging));
            assert_eq!(seen, expected, "{took:?} {host} {tree}");
        }
    }

    #[test]
    fn a_pass_that_waits_for_others_takes_half_of_the_time_at_most() {
        let now = Instant::now();
        let mut pauses = Pauses::new(now);
        let waited = Ended { worked: MS, ..pass(now + MS * 1000, MS * 700) };
        pauses.ended(&waited, false, false);
        assert_eq!(pause_of(&mut pauses, Source::Host, PassFor::Judging), MS * 700);
    }

    #[test]
    fn where_one_pass_follows_the_other_the_pause_doubles_and_begins_anew_after_a_calm() {
        let mut now = Instant::now();
        let mut pauses = Pauses::new(now);
        let mut seen = Vec::new();
        for _ in 0..9 {
            pauses.ended(&pass(now, Duration::ZERO), false, false);
            seen.push(pause_of(&mut pauses, Source::Tree, PassFor::Judging));
            now = pauses.tree;
        }
        assert_eq!(seen, [8, 16, 32, 64, 128, 256, 500, 500, 500].map(|n| MS * n));
        pauses.ended(&pass(now + FIRST_PASS_PAUSE, Duration::ZERO), false, false);
        assert_eq!(pause_of(&mut pauses, Source::Tree, PassFor::Judging), FIRST_PASS_PAUSE);
    }

    #[test]
    fn what_is_less_urgent_waits_longer_and_what_is_more_urgent_brings_it_forward() {
        let now = Instant::now();
        let mut pauses = Pauses::new(now);
        pauses.ended(&pass(now + MS * 1000, MS), false, false);
        for (wanted, after) in [
            (PassFor::Judging, MS * 9),
            (PassFor::Mending, MENDING_PAUSE),
            (PassFor::Newcomer, MENDING_PAUSE),
            (PassFor::Telling, TELLING_PAUSE),
        ] {
            assert_eq!(pause_of(&mut pauses, Source::Host, wanted), after, "{wanted:?}");
        }
        // What came while its object is contested waits as its contest does.
        pauses.ended(&pass(now + MS * 9000, MS * 10), false, false);
        assert_eq!(pause_of(&mut pauses, Source::Tree, PassFor::Newcomer), MS * 3990);
        for wanted in [PassFor::Telling, PassFor::Judging, PassFor::Mending] {
            pauses.wanted(Source::Host, wanted, pauses.looked);
        }
        assert_eq!(pauses.due(), Some(pauses.looked + MS * 90));
    }

    #[test]
    fn the_clock_asks_for_a_pass_sooner_where_something_is_wrong() {
        let now = Instant::now();
        let mut pauses = Pauses::new(now);
        for (well, every) in [(true, REGULAR_PASS), (false, REGULAR_PASS_WHILE_WRONG)] {
            assert!(!pauses.is_regular(well, now + every - MS));
            assert!(pauses.is_regular(well, now + every));
        }
        // One that is not the last of its kind is repeated.
        let again = Ended { settled: false, ..pass(now + MS * 1000, MS) };
        pauses.ended(&again, false, false);
        assert_eq!(pauses.due(), Some(pauses.looked + MS * 9));
    }
}
