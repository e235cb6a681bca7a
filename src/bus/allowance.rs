// SPDX-License-Identifier: Apache-2.0
//! How many bytes of answers a caller may be given. Pure.
//!
//! Everybody on this host may call, as often as the bus lets him, and need not read what he is
//! answered. What he does not read the bus keeps and counts as ours, and at some limit it takes
//! nothing from us any more, signals included. Who reads cannot be seen from here. So each caller
//! has a little that nobody can take from him, and whoever wants more shares one allowance with
//! all others.

use std::collections::HashMap;
use std::time::Instant;

/// Bytes of answers that a caller may have been given lately to be answered whatever the others
/// do, and how many of them are forgotten in a second.
const OWN: u64 = 16 * 1024;
const FORGOTTEN: u64 = 256;
/// Callers of whom that is known. Whoever is none of them, and finds the list full, shares.
pub(super) const CALLERS: usize = 1024;
/// Bytes of answers for all who had more, at once and in a second.
pub(super) const SHARED: u64 = 1024 * 1024;
pub(super) const SHARED_FOR_LONG: u64 = 64 * 1024;

/// What callers were given lately.
#[derive(Debug)]
pub(super) struct Allowances {
    pub(super) given: HashMap<String, Given>,
    shared: Bucket,
}

impl Allowances {
    pub(super) fn new(now: Instant) -> Self {
        Self { given: HashMap::new(), shared: Bucket::full(SHARED, SHARED_FOR_LONG, now) }
    }

    /// Whether a caller may be given anything.
    pub(super) fn allow(&mut self, caller: &str, now: Instant) -> bool {
        self.has_own(caller, now) || self.shared.has(now)
    }

    /// A caller was given so many bytes.
    pub(super) fn charge(&mut self, caller: &str, bytes: u64, now: Instant) {
        let own = self.has_own(caller, now);
        if !own {
            self.shared.charge(bytes, now);
        } else if self.given.len() < CALLERS || self.given.contains_key(caller) {
            let given = self.given.entry(caller.to_owned()).or_insert(Given { bytes: 0, at: now });
            *given = Given { bytes: given.now(now).saturating_add(bytes), at: now };
        }
    }

    /// Whether a caller was given so little lately that the others do not matter.
    fn has_own(&mut self, caller: &str, now: Instant) -> bool {
        if let Some(given) = self.given.get(caller) {
            return given.now(now) < OWN;
        }
        if self.given.len() >= CALLERS {
            self.given.retain(|_, given| given.now(now) > 0);
        }
        self.given.len() < CALLERS
    }
}

/// Bytes that a caller was given, less what is forgotten.
#[derive(Debug)]
pub(super) struct Given {
    bytes: u64,
    at: Instant,
}

impl Given {
    fn now(&self, now: Instant) -> u64 {
        self.bytes.saturating_sub(flown(now, self.at, FORGOTTEN))
    }
}

/// So much at once, and so much in a second for long.
#[derive(Debug)]
pub(super) struct Bucket {
    most: i64,
    for_long: u64,
    /// Less than nothing where the last answer was longer than what was left: that flows in first.
    left: i64,
    filled: Instant,
}

impl Bucket {
    pub(super) fn full(most: u64, for_long: u64, now: Instant) -> Self {
        let most = signed(most);
        Self { most, for_long, left: most, filled: now }
    }

    /// Whether anything is left.
    fn has(&mut self, now: Instant) -> bool {
        let more = flown(now, self.filled, self.for_long);
        if more > 0 {
            self.left = self.left.saturating_add(signed(more)).min(self.most);
            self.filled = now;
        }
        self.left > 0
    }

    /// Takes one; `false`: nothing was left.
    pub(super) fn take_one(&mut self, now: Instant) -> bool {
        let any = self.has(now);
        if any {
            self.charge(1, now);
        }
        any
    }

    /// Takes `amount`, of what will flow in where it is more than there is.
    fn charge(&mut self, amount: u64, now: Instant) {
        self.has(now);
        self.left = self.left.saturating_sub(signed(amount));
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn flown(now: Instant, then: Instant, per_second: u64) -> u64 {
    let millis = now.saturating_duration_since(then).as_millis().try_into().unwrap_or(u64::MAX);
    per_second.saturating_mul(millis) / 1000
}
