// SPDX-License-Identifier: Apache-2.0
//! How often the daemon does what somebody else can make it do: correct one object, make a full
//! pass, take events, write lines to the journal. Pure: the clock is an argument, and each number is
//! in [`limits`].
//!
//! The daemon asks [`Pace`] before it acts and tells it what it did. Days of it, with rivals of any
//! speed, pass in seconds in `simulation.rs` and `days.rs`.

mod bucket;
mod budget;
mod contest;
pub mod limits;
mod pauses;
mod quota;
mod source;

use std::collections::BTreeSet;
use std::time::Instant;

use contest::Contests;
use pauses::Pauses;
use quota::Quota;
use source::{Listening, Meanwhile};

use crate::model::Object;

pub use bucket::Cost;
pub use budget::Budget;
pub use contest::{Change, Verdict};
pub use pauses::{Ended, PassFor, is_repeated};
pub use source::{Source, Turn};

/// The pace of everything that somebody else can make the daemon do.
#[derive(Debug)]
pub struct Pace {
    contests: Contests,
    pauses: Pauses,
    host: Listening,
    tree: Listening,
    quota: Quota,
    /// A contest began or ended since the last full pass.
    unreported: bool,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Self {
            contests: Contests::default(),
            pauses: Pauses::new(now),
            host: Listening::new(now),
            tree: Listening::new(now),
            quota: Quota::default(),
            unreported: false,
        }
    }

    /// Whether an object may be looked at and corrected now.
    pub fn may_correct(&mut self, object: &Object, now: Instant) -> Verdict {
        self.contests.verdict(object, now)
    }

    /// The object was found wrong, and corrected or not.
    pub fn corrected(&mut self, object: &Object, cost: Cost, now: Instant) -> Change {
        let change = self.contests.corrected(object, cost, now);
        self.noted(change)
    }

    /// The object was found correct.
    pub fn found_correct(&mut self, object: &Object, now: Instant) -> Change {
        let change = self.contests.found_correct(object, now);
        self.noted(change)
    }

    fn noted(&mut self, change: Change) -> Change {
        self.unreported |= change != Change::None;
        change
    }

    /// Contested objects that are left alone for now.
    pub fn suspended(&self, now: Instant) -> BTreeSet<Object> {
        self.contests.suspended(now)
    }

    /// Contested objects that are to be looked at again, since their pause is over.
    pub fn to_try_again(&self, now: Instant) -> Vec<Object> {
        self.contests.due(now)
    }

    /// An event of this source asks for a full pass. Whether it is to be made at once; else it is put
    /// off, and [`Pace::next_pass`] says until when.
    pub fn pass_wanted(&mut self, from: Source, wanted: PassFor, now: Instant) -> bool {
        self.pauses.wanted(from, wanted, now)
    }

    /// When the pass that was put off is to be made, if there is one.
    pub fn next_pass(&self) -> Option<Instant> {
        self.pauses.due()
    }

    /// Whether the clock asks for a full pass; `well`: nothing is wrong and no event can be missed.
    pub fn pass_is_due(&self, well: bool, now: Instant) -> bool {
        self.unreported || self.pauses.is_regular(well, now)
    }

    /// A full pass begins, whoever asked for it: no other one need come.
    pub fn pass_begins(&mut self) {
        self.pauses.begins();
        self.unreported = false;
    }

    /// A full pass ended. `needs_passes` tells whose events ask for the passes by which a contested
    /// object is looked at; `None`: it has narrow ones of its own.
    pub fn pass_ended(&mut self, pass: &Ended, needs_passes: impl Fn(&Object) -> Option<Source>) {
        let of = |source| self.contests.contested().any(|o| needs_passes(o) == Some(source));
        let (host, tree) = (of(Source::Host), of(Source::Tree));
        self.pauses.ended(pass, host, tree);
    }

    /// Until when no events of a source are taken, if that is not over.
    pub fn quiet(&self, source: Source, now: Instant) -> Option<Instant> {
        match source {
            Source::Host => self.host.quiet(now),
            Source::Tree => self.tree.quiet(now),
        }
    }

    /// A turn that took events ended.
    pub fn turn_ended(&mut self, turn: &Turn, now: Instant) {
        let contested = self.contests.contested().next().is_some();
        let meanwhile = Meanwhile { due: self.pauses.due().is_some(), contested };
        let listening = match turn.from {
            Source::Host => &mut self.host,
            Source::Tree => &mut self.tree,
        };
        listening.turn_ended(turn, meanwhile, now);
    }

    /// Whether one more correction of `subject` gets a line of its own; `file`: of an entry of the
    /// guarded tree.
    pub fn may_be_told(&mut self, subject: &str, file: bool, now: Instant) -> bool {
        self.quota.take(subject, file, now)
    }

    /// Subjects whose period is over, and how many of their corrections got no line.
    pub fn untold(&mut self, now: Instant) -> Vec<(String, u64)> {
        self.quota.over(now)
    }
}

#[cfg(test)]
mod days;
#[cfg(test)]
mod others;
#[cfg(test)]
mod simulation;
