// SPDX-License-Identifier: Apache-2.0
//! How many lines of the journal corrections of one subject get: who undoes them too slowly for a
//! contest must not fill it. Pure: the clock is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Of one subject in a [`PERIOD`]; the rest is counted.
const LINES: u64 = 60;
const PERIOD: Duration = Duration::from_secs(60);

/// Subjects that are counted apart.
const SUBJECTS: usize = 256;
const OTHERS: &str = "other entries";

/// What was told lately.
#[derive(Debug, Default)]
pub(super) struct Quota {
    subjects: HashMap<String, Count>,
}

#[derive(Debug)]
struct Count {
    since: Instant,
    corrections: u64,
}

impl Quota {
    /// Whether one more correction of `subject` gets a line of its own.
    pub(super) fn take(&mut self, subject: &str, now: Instant) -> bool {
        let full = self.subjects.len() >= SUBJECTS && !self.subjects.contains_key(subject);
        let subject = if full { OTHERS } else { subject };
        let fresh = Count { since: now, corrections: 0 };
        let count = self.subjects.entry(subject.to_owned()).or_insert(fresh);
        count.corrections += 1;
        count.corrections <= LINES
    }

    /// The subjects whose period is over, and how many of their corrections got no line.
    pub(super) fn over(&mut self, now: Instant) -> Vec<(String, u64)> {
        let mut over = Vec::new();
        self.subjects.retain(|subject, count| {
            let goes_on = now.saturating_duration_since(count.since) < PERIOD;
            if !goes_on && count.corrections > LINES {
                over.push((subject.clone(), count.corrections - LINES));
            }
            goes_on
        });
        over.sort();
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_gets_a_line_a_second_and_one_for_the_rest() {
        let start = Instant::now();
        let mut quota = Quota::default();
        let mut lines = 0;
        let mut rest = 0;
        // Five corrections a second for ten minutes.
        for n in 0..3000_u32 {
            let now = start + Duration::from_millis(200) * n;
            for (subject, more) in quota.over(now) {
                assert_eq!(subject, "kernel.panic");
                lines += 1;
                rest += more;
            }
            lines += u64::from(quota.take("kernel.panic", now));
        }
        assert!((600..=610).contains(&lines), "{lines}");
        assert!((2100..=2400).contains(&rest), "{rest}");
    }

    #[test]
    fn what_is_rare_is_told_each_time_and_never_counted() {
        let start = Instant::now();
        let mut quota = Quota::default();
        for n in 0..1000 {
            let now = start + Duration::from_secs(2) * n;
            assert!(quota.take("kernel.panic", now));
            assert_eq!(quota.over(now), []);
        }
    }

    #[test]
    fn any_number_of_subjects_takes_bounded_memory_and_few_lines() {
        let now = Instant::now();
        let mut quota = Quota::default();
        let lines = (0..100_000).filter(|n| quota.take(&format!("{n}"), now)).count();
        assert_eq!(lines, SUBJECTS + 60);
        assert_eq!(quota.subjects.len(), SUBJECTS + 1);
        let over = quota.over(now + PERIOD);
        assert_eq!(over, [(OTHERS.to_owned(), 100_000 - SUBJECTS as u64 - LINES)]);
        assert!(quota.subjects.is_empty());
    }
}
