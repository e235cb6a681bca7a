// SPDX-License-Identifier: Apache-2.0
//! When events of a source are taken: each turn costs a wakeup, and who raises events may raise as
//! many as he likes.

use std::time::{Duration, Instant};

use super::budget::Budget;
use super::limits::{
    BUDGET, LONGEST_QUIET, LONGEST_QUIET_WHILE_SUSPENDED, QUIET_SHARE, QUIET_SHARE_WHILE_SUSPENDED,
    QUIET_WHILE_CONTESTED, QUIET_WHILE_DUE, QUIET_WHILE_SUSPENDED, SHARE, SHORTEST_QUIET,
};

/// Where events come from. Those of the tree are events that another user can raise, as many as he
/// likes: what is root's is listened to apart, and first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Host,
    Tree,
}

/// A turn of the loop that took events of a source.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub from: Source,
    /// How long it took, reading the events included and without a full pass.
    pub took: Duration,
    /// How long it kept a processor busy, counted in the same way.
    pub worked: Duration,
    /// One of its events was about something contested, which was left alone.
    pub held_back: bool,
    /// Its events asked for a full pass and for nothing besides.
    pub only_for_a_pass: bool,
    /// All of the tree is contested and left alone.
    pub tree_is_suspended: bool,
}

/// What is known of the rest of the daemon's work when a turn ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meanwhile {
    /// A full pass was put off.
    pub(super) due: bool,
    /// Something is contested.
    pub(super) contested: bool,
}

/// The pace of one source of events.
#[derive(Debug)]
pub(super) struct Listening {
    budget: Budget,
    /// Until then no events are taken.
    until: Option<Instant>,
}

impl Listening {
    pub(super) fn new(now: Instant) -> Self {
        Self { budget: Budget::full(BUDGET, SHARE, now), until: None }
    }

    /// Until when no events are taken, if that is not over.
    pub(super) fn quiet(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }

    pub(super) fn turn_ended(&mut self, turn: &Turn, meanwhile: Meanwhile, now: Instant) {
        // What one turn cost is not paid for in many to come: who made it dear may be gone.
        let spent = self.budget.spend_within(turn.worked, LONGEST_QUIET, now);
        let quiet = quiet_after(turn, meanwhile).max(spent);
        self.until = (quiet >= SHORTEST_QUIET).then(|| now + quiet);
    }
}

/// How long no events are taken because those of this turn changed nothing.
fn quiet_after(turn: &Turn, meanwhile: Meanwhile) -> Duration {
    if turn.from == Source::Tree && turn.tree_is_suspended {
        let quiet = turn.took * (QUIET_SHARE_WHILE_SUSPENDED - 1);
        return quiet.clamp(QUIET_WHILE_SUSPENDED, LONGEST_QUIET_WHILE_SUSPENDED);
    }
    let least = if turn.held_back {
        QUIET_WHILE_CONTESTED
    } else if meanwhile.due && turn.only_for_a_pass {
        // It is the wakeup that costs, more than the turn.
        if meanwhile.contested { QUIET_WHILE_DUE } else { SHORTEST_QUIET }
    } else {
        return Duration::ZERO;
    };
    (turn.took * (QUIET_SHARE - 1)).max(least).min(LONGEST_QUIET)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(from: Source, took: Duration) -> Turn {
        let (held_back, only_for_a_pass, tree_is_suspended) = (false, false, false);
        Turn { from, took, worked: took, held_back, only_for_a_pass, tree_is_suspended }
    }

    #[test]
    fn events_that_change_nothing_are_taken_less_often_and_all_others_at_once() {
        let ms = Duration::from_millis;
        let calm = Meanwhile { due: false, contested: false };
        let due = Meanwhile { due: true, contested: false };
        let contested = Meanwhile { due: true, contested: true };
        let held_back = |took| Turn { held_back: true, ..turn(Source::Host, took) };
        let asks = |took| Turn { only_for_a_pass: true, ..turn(Source::Host, took) };
        let suspended = |from, took| Turn { tree_is_suspended: true, ..turn(from, took) };
        for (turn, meanwhile, quiet) in [
            (turn(Source::Tree, ms(10)), contested, ms(0)),
            (asks(ms(10)), calm, ms(0)),
            (asks(Duration::ZERO), due, SHORTEST_QUIET),
            (asks(ms(2)), due, ms(198)),
            (asks(ms(1)), contested, QUIET_WHILE_DUE),
            (held_back(Duration::ZERO), calm, QUIET_WHILE_CONTESTED),
            (held_back(ms(1)), calm, ms(99)),
            (held_back(ms(50)), calm, LONGEST_QUIET),
            (suspended(Source::Tree, Duration::ZERO), calm, QUIET_WHILE_SUSPENDED),
            (suspended(Source::Tree, ms(10)), calm, ms(1990)),
            (suspended(Source::Tree, ms(50)), calm, LONGEST_QUIET_WHILE_SUSPENDED),
            // What root's files are told about is not left alone for the tree's sake.
            (suspended(Source::Host, ms(50)), contested, ms(0)),
        ] {
            assert_eq!(quiet_after(&turn, meanwhile), quiet, "{turn:?} {meanwhile:?}");
        }
    }

    #[test]
    fn a_time_without_events_ends_and_one_that_saves_nothing_does_not_begin() {
        let now = Instant::now();
        let calm = Meanwhile { due: false, contested: false };
        let mut listening = Listening::new(now);
        listening.turn_ended(&turn(Source::Host, Duration::from_millis(1)), calm, now);
        assert_eq!(listening.quiet(now), None);
        let held_back = Turn { held_back: true, ..turn(Source::Host, Duration::ZERO) };
        listening.turn_ended(&held_back, calm, now);
        let until = now + QUIET_WHILE_CONTESTED;
        assert_eq!(listening.quiet(now), Some(until));
        assert_eq!(listening.quiet(until), None);
    }
}
