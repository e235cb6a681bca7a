// SPDX-License-Identifier: Apache-2.0
//! A bucket of tokens: how many corrections one object may have.

use std::time::{Duration, Instant};

use super::limits::{BURST, PASS_TOKENS, REFILL, TREE_GAP, TREE_GAP_PASSES, TREE_MINUTE};
use crate::model::Object;

/// How dear a correction was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cost {
    /// It was of one object and nothing else was looked at.
    Narrow,
    /// A full pass, for one file.
    Pass,
    /// A full pass that took so long, for many entries of a tree at once.
    Tree { took: Duration },
}

impl Cost {
    /// What a correction by a full pass that took so long counts for.
    pub fn of_a_pass(object: &Object, took: Duration) -> Self {
        if matches!(object, Object::Tree(_)) { Self::Tree { took } } else { Self::Pass }
    }

    /// In tokens; `gap`: since the last correction of the object.
    fn tokens(self, gap: Duration) -> f64 {
        match self {
            Self::Narrow => 1.0,
            Self::Pass => PASS_TOKENS,
            // What flows in meanwhile and a minute's share of the bucket, as long as one pass
            // follows the other as closely as the loop lets it.
            Self::Tree { took } => {
                let without_pause = TREE_GAP + took * TREE_GAP_PASSES;
                let gap = if gap > without_pause { Duration::ZERO } else { gap };
                gap.as_secs_f64() * (REFILL + BURST / TREE_MINUTE)
            }
        }
    }
}

/// The tokens of one object.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: f64,
    /// When they were counted.
    counted: Instant,
}

impl Bucket {
    pub(super) fn full(now: Instant) -> Self {
        Self { tokens: BURST, counted: now }
    }

    /// Tokens in it by now.
    fn level(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.counted).as_secs_f64();
        (self.tokens + elapsed * REFILL).min(BURST)
    }

    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.level(now) >= BURST
    }

    /// Takes what one correction costs; whether there is too little left for one more.
    pub(super) fn take(&mut self, cost: Cost, now: Instant) -> bool {
        let tokens = cost.tokens(now.saturating_duration_since(self.counted));
        self.tokens = (self.level(now) - tokens).max(0.0);
        self.counted = now;
        self.tokens < if cost == Cost::Pass { tokens } else { 1.0 }
    }
}
