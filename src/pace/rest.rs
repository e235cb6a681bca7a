// SPDX-License-Identifier: Apache-2.0
//! When whole passes are made: events may ask for them as often as somebody likes.

use std::time::{Duration, Instant};

use super::Source;
use super::limits::{
    CONTESTED_PASSES_SHARE, FIRST_REST, LONGEST_CONTESTED_REST, LONGEST_HOST_REST, LONGEST_REST,
    LONGEST_TREE_REST, MENDING_REST, PASSES_SHARE, REGULAR_PASS, REGULAR_PASS_WHILE_WRONG,
    STANDING_REST,
};

/// What a whole pass is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassFor {
    /// Something is to be judged or mended that only a whole pass can.
    Judging,
    /// Something came while its object is contested. It may be anything, a link say, which is
    /// nobody's to contest.
    Newcomer,
    /// Something happened on a node that is not ready, which may be its mending.
    Mending,
    /// Something that is not written has another value, which the report is to tell.
    Telling,
}

/// A whole pass that ended, with all that was told about it.
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

/// The pauses between whole passes.
#[derive(Debug)]
pub(super) struct Rest {
    /// When a pass that was put off is to be made.
    due: Option<Instant>,
    /// Before this no event of the host starts a pass, and before the other none of the tree.
    host: Instant,
    tree: Instant,
    /// What the last pass would have to rest for if it was for something contested.
    held: Duration,
    /// The pause before that, at least.
    rest: Duration,
    /// When the last one had looked at everything.
    looked: Instant,
}

impl Rest {
    pub(super) fn new(now: Instant) -> Self {
        let (due, held) = (None, Duration::ZERO);
        Self { due, host: now, tree: now, held, rest: FIRST_REST, looked: now }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a pass is to be made now; else it is put off.
    pub(super) fn wanted(&mut self, from: Source, wanted: PassFor, now: Instant) -> bool {
        let rested = match from {
            Source::Host => self.host,
            Source::Tree => self.tree,
        };
        let after = match wanted {
            PassFor::Judging => Duration::ZERO,
            PassFor::Newcomer => MENDING_REST.max(self.held),
            PassFor::Mending => MENDING_REST,
            PassFor::Telling => STANDING_REST,
        };
        let at = rested.max(self.looked + after);
        if now < at {
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
        now >= at
    }

    pub(super) fn begins(&mut self) {
        self.due = None;
    }

    /// `host`, `tree`: whether something of theirs is contested that takes whole passes to look at.
    pub(super) fn ended(&mut self, pass: &Ended, host: bool, tree: bool) {
        let Ended { began, looked, worked, settled } = *pass;
        let took = looked.saturating_duration_since(began);
        // As soon as it might: it was waited for.
        let waited_for = began < self.host + FIRST_REST;
        self.rest = if waited_for { (self.rest * 2).min(LONGEST_REST) } else { FIRST_REST };
        // By processor time; and half of the time at most, where passes wait for a disk or for
        // others on a busy machine.
        let pause = |contested: bool, longest: Duration| {
            let busy = took.max(worked * (PASSES_SHARE - 1)).min(longest);
            let held = took.max(worked * (CONTESTED_PASSES_SHARE - 1)).min(LONGEST_CONTESTED_REST);
            if contested { busy.max(held) } else { busy }
        };
        self.looked = looked;
        self.host = looked + pause(host, LONGEST_HOST_REST).max(self.rest);
        self.tree = looked + pause(tree, LONGEST_TREE_REST).max(self.rest);
        self.held = pause(true, LONGEST_HOST_REST);
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
