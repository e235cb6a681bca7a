// SPDX-License-Identifier: Apache-2.0
//! How many lines of the journal corrections of one subject get: who undoes them too slowly for a
//! contest must not fill it.

use std::collections::HashMap;
use std::time::Instant;

use super::limits::{FILES, LINES, LINES_OF_FILES, MOST, PERIOD};

/// The subject that stands for files which are not counted apart.
const OTHERS: &str = "other files";

/// What was told lately.
#[derive(Debug, Default)]
pub(super) struct Quota {
    subjects: HashMap<String, Count>,
    files: Option<Count>,
}

#[derive(Debug)]
struct Count {
    since: Instant,
    corrections: u64,
    /// Those that got no line.
    untold: u64,
}

impl Quota {
    /// Whether one more correction of `subject` gets a line of its own; `file`: of an entry of the
    /// guarded tree.
    pub(super) fn take(&mut self, subject: &str, file: bool, now: Instant) -> bool {
        let fresh = || Count { since: now, corrections: 0, untold: 0 };
        let full = file && self.subjects.len() >= FILES && !self.subjects.contains_key(subject);
        let subject = if full { OTHERS } else { subject };
        let count = self.subjects.entry(subject.to_owned()).or_insert_with(fresh);
        count.corrections += 1;
        let mut told = count.corrections <= LINES;
        if file && told {
            let files = self.files.get_or_insert_with(fresh);
            files.corrections += 1;
            told = files.corrections <= LINES_OF_FILES;
        }
        count.untold += u64::from(!told);
        told
    }

    /// The subjects whose period is over, and how many of their corrections got no line.
    pub(super) fn over(&mut self, now: Instant) -> Vec<(String, u64)> {
        let goes_on = |count: &Count| now.saturating_duration_since(count.since) < PERIOD;
        self.files = self.files.take().filter(goes_on);
        let mut over = Vec::new();
        self.subjects.retain(|subject, count| {
            if !goes_on(count) && count.untold > 0 {
                over.push((subject.clone(), count.untold));
            }
            goes_on(count)
        });
        over.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
        if over.len() > MOST {
            let rest = over.split_off(MOST).iter().map(|(_, untold)| untold).sum();
            over.push((OTHERS.to_owned(), rest));
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    impl Quota {
        pub fn remembered(&self) -> usize {
            self.subjects.len()
        }
    }

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
            lines += u64::from(quota.take("kernel.panic", false, now));
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
            assert!(quota.take("kernel.panic", false, now));
            assert_eq!(quota.over(now), []);
        }
    }

    #[test]
    fn any_number_of_files_takes_bounded_memory_and_few_lines_and_hides_no_parameter() {
        let now = Instant::now();
        let mut quota = Quota::default();
        let lines = (0..100_000).filter(|n| quota.take(&format!("{n}"), true, now)).count();
        assert_eq!(lines as u64, LINES_OF_FILES);
        assert_eq!(quota.subjects.len(), FILES + 1);
        assert!((0..LINES).all(|_| quota.take("kernel.panic", false, now)));
        assert!(!quota.take("kernel.panic", false, now));
        let over = quota.over(now + PERIOD);
        assert_eq!(over.len(), MOST + 1, "{over:?}");
        assert_eq!(over.iter().map(|(_, n)| n).sum::<u64>(), 100_000 - LINES_OF_FILES + 1);
        assert!(quota.subjects.is_empty());
    }
}
