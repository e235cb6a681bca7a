// SPDX-License-Identifier: Apache-2.0
//! Counts steps, so that a test can tell that none of them grows faster than the file. Only tests count.

#[cfg(not(test))]
pub(super) fn count(_steps: usize) {}

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
pub(super) fn count(steps: usize) {
    STEPS.set(STEPS.get() + steps);
}

#[cfg(test)]
pub(super) fn counted() -> usize {
    STEPS.replace(0)
}
