// SPDX-License-Identifier: Apache-2.0
//! Contests: how often one object is corrected before we hold back.
//!
//! Who empties the bucket of an object keeps undoing our corrections, so the object is contested: it
//! is looked at again after a pause that doubles from a second to minutes, and the contest ends when
//! such a look finds it correct.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::bucket::{Bucket, Cost};
use super::limits::{FIRST_PAUSE, LONGEST_FIRST_PAUSE, LONGEST_PAUSE, OBJECTS, TREE_PAUSE};
use crate::model::Object;

/// Every object that was corrected lately.
#[derive(Debug, Default)]
pub(super) struct Contests {
    objects: HashMap<Object, Corrected>,
}

#[derive(Debug)]
struct Corrected {
    bucket: Bucket,
    contest: Option<Contest>,
}

#[derive(Debug)]
struct Contest {
    pause: Duration,
    until: Instant,
}

/// What to do about one object now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Go,
    /// It is contested and its pause is not over.
    HoldBack,
    /// So many objects were corrected lately that there is no room for one more: looking at
    /// everything at once is cheaper than at each.
    Crowded,
}

/// What a correction, or the lack of one, changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    None,
    /// The object is contested from now on.
    Began,
    /// It no longer is.
    Ended,
}

impl Contests {
    /// Whether to look at an object now.
    pub(super) fn verdict(&mut self, object: &Object, now: Instant) -> Verdict {
        if let Some(corrected) = self.objects.get(object) {
            let suspended = corrected.contest.as_ref().is_some_and(|contest| now < contest.until);
            return if suspended { Verdict::HoldBack } else { Verdict::Go };
        }
        if self.has_room_for(object, now) { Verdict::Go } else { Verdict::Crowded }
    }

    /// Files are many, and another user's; parameters are few and there is one tree: these have
    /// room at all times.
    fn has_room_for(&mut self, object: &Object, now: Instant) -> bool {
        let files = |objects: &HashMap<Object, Corrected>| {
            objects.keys().filter(|object| matches!(object, Object::File(_))).count()
        };
        if !matches!(object, Object::File(_)) || files(&self.objects) < OBJECTS {
            return true;
        }
        self.objects.retain(|object, corrected| {
            let file = matches!(object, Object::File(_));
            !file || corrected.contest.is_some() || !corrected.bucket.is_full(now)
        });
        files(&self.objects) < OBJECTS
    }

    /// The object was found wrong.
    pub(super) fn corrected(&mut self, object: &Object, cost: Cost, now: Instant) -> Change {
        if !self.objects.contains_key(object) {
            if !self.has_room_for(object, now) {
                return Change::None;
            }
            let corrected = Corrected { bucket: Bucket::full(now), contest: None };
            self.objects.insert(object.clone(), corrected);
        }
        let Some(corrected) = self.objects.get_mut(object) else { return Change::None };
        let emptied = corrected.bucket.take(cost, now);
        let least = match cost {
            Cost::Tree { took } => (took * TREE_PAUSE).clamp(FIRST_PAUSE, LONGEST_FIRST_PAUSE),
            Cost::Narrow | Cost::Pass => FIRST_PAUSE,
        };
        match &mut corrected.contest {
            Some(contest) => {
                contest.pause = (contest.pause * 2).clamp(least, LONGEST_PAUSE);
                contest.until = now + contest.pause;
                Change::None
            }
            None if emptied => {
                corrected.contest = Some(Contest { pause: least, until: now + least });
                Change::Began
            }
            None => Change::None,
        }
    }

    /// The object was found correct.
    pub(super) fn found_correct(&mut self, object: &Object, now: Instant) -> Change {
        let Some(corrected) = self.objects.get(object) else { return Change::None };
        if corrected.contest.as_ref().is_some_and(|contest| now >= contest.until) {
            self.objects.remove(object);
            return Change::Ended;
        }
        Change::None
    }

    /// Contested objects whose pause is over.
    pub(super) fn due(&self, now: Instant) -> Vec<Object> {
        self.contests().filter(|(_, c)| now >= c.until).map(|(o, _)| o.clone()).collect()
    }

    /// Contested objects whose pause is not over.
    pub(super) fn suspended(&self, now: Instant) -> BTreeSet<Object> {
        self.contests().filter(|(_, c)| now < c.until).map(|(o, _)| o.clone()).collect()
    }

    /// All contested objects.
    pub(super) fn contested(&self) -> impl Iterator<Item = &Object> {
        self.contests().map(|(object, _)| object)
    }

    fn contests(&self) -> impl Iterator<Item = (&Object, &Contest)> {
        self.objects.iter().filter_map(|(o, corrected)| Some((o, corrected.contest.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Contests {
        pub fn remembered(&self) -> usize {
            self.objects.len()
        }
    }

    fn key(name: &str) -> Object {
        Object::Parameter(name.into())
    }

    fn after(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_burst_is_corrected_and_a_fight_is_contested_with_one_change() {
        let start = Instant::now();
        let mut contests = Contests::default();
        let changes: Vec<_> = (0..1000)
            .map(|_| contests.corrected(&key("kernel.panic"), Cost::Narrow, start))
            .collect();
        assert_eq!(changes.iter().filter(|c| **c == Change::Began).count(), 1);
        assert_eq!(changes.iter().position(|c| *c == Change::Began), Some(199));
        assert_eq!(contests.verdict(&key("kernel.panic"), start), Verdict::HoldBack);
        assert_eq!(
            contests.verdict(&key("vm.panic_on_oom"), start),
            Verdict::Go,
            "others are not suspended"
        );
    }

    #[test]
    fn drift_as_often_as_ten_times_a_second_is_never_a_contest() {
        let start = Instant::now();
        let mut contests = Contests::default();
        for n in 0..10_000 {
            assert_eq!(
                contests.corrected(&key("x"), Cost::Narrow, after(start, f64::from(n) * 0.1)),
                Change::None
            );
        }
    }

    #[test]
    fn a_tree_is_contested_when_it_needed_whole_passes_without_a_pause_for_up_to_a_minute() {
        for (every, took, contested_after) in [
            (0.01, 0.001, Some(50..70)),
            (0.5, 0.02, Some(50..70)),
            // A large tree: much of the time is spent on it.
            (5.0, 1.0, Some(20..80)),
            (3.0, 0.02, None),
        ] {
            let start = Instant::now();
            let mut contests = Contests::default();
            let tree = Object::Tree("/d".into());
            let cost = Cost::Tree { took: Duration::from_secs_f64(took) };
            let passes = (0..20_000).map(|n| f64::from(n) * every).take_while(|at| *at < 600.0);
            let began = passes
                .into_iter()
                .find(|at| contests.corrected(&tree, cost, after(start, *at)) == Change::Began);
            let seconds = began.map(|at| at as u32);
            match contested_after {
                Some(range) => assert!(
                    seconds.is_some_and(|s| range.contains(&s)),
                    "every {every} s: {seconds:?}"
                ),
                None => assert_eq!(seconds, None, "every {every} s"),
            }
        }
    }

    #[test]
    fn to_look_at_a_contested_tree_again_takes_a_third_of_a_hundredth_of_the_time_from_the_first() {
        let mut now = Instant::now();
        let mut contests = Contests::default();
        let tree = Object::Tree("/d".into());
        let took = Duration::from_millis(20);
        while contests.corrected(&tree, Cost::Tree { took }, now) != Change::Began {
            now += Duration::from_millis(500);
        }
        for seconds in [6, 12, 24] {
            assert_eq!(
                contests.verdict(&tree, after(now, seconds as f64 - 0.1)),
                Verdict::HoldBack
            );
            now = after(now, f64::from(seconds));
            assert_eq!(contests.due(now), std::slice::from_ref(&tree));
            assert_eq!(contests.corrected(&tree, Cost::Tree { took }, now), Change::None);
        }
    }

    #[test]
    fn the_pause_doubles_to_minutes_and_ends_with_the_rival() {
        let mut now = Instant::now();
        let mut contests = Contests::default();
        while contests.corrected(&key("x"), Cost::Narrow, now) != Change::Began {}
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let mut pause = 0;
            while contests.verdict(&key("x"), now) == Verdict::HoldBack {
                now += Duration::from_secs(1);
                pause += 1;
            }
            pauses.push(pause);
            assert_eq!(contests.due(now), [key("x")]);
            assert_eq!(contests.corrected(&key("x"), Cost::Narrow, now), Change::None);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(
            contests.found_correct(&key("x"), now),
            Change::None,
            "correct, but too early to say"
        );
        assert_eq!(contests.found_correct(&key("x"), after(now, 300.0)), Change::Ended);
        assert_eq!(
            contests.corrected(&key("x"), Cost::Narrow, after(now, 301.0)),
            Change::None,
            "a fresh start"
        );
    }

    #[test]
    fn any_number_of_objects_takes_bounded_memory_and_makes_room_when_it_is_calm() {
        let start = Instant::now();
        let mut contests = Contests::default();
        let mut crowded = 0;
        for n in 0..20_000 {
            let object = Object::File(format!("/f{n}").into());
            match contests.verdict(&object, start) {
                Verdict::Go => {
                    assert_eq!(contests.corrected(&object, Cost::Narrow, start), Change::None)
                }
                Verdict::Crowded => crowded += 1,
                Verdict::HoldBack => panic!("{object:?} was never contested"),
            }
        }
        assert_eq!((contests.objects.len(), crowded), (OBJECTS, 20_000 - OBJECTS));
        let more = Object::File("/one more".into());
        assert_eq!(contests.verdict(&more, start), Verdict::Crowded);
        assert_eq!(contests.verdict(&key("kernel.panic"), start), Verdict::Go);
        assert_eq!(contests.verdict(&more, after(start, 1.0)), Verdict::Go);
        assert!(contests.objects.is_empty());
    }

    #[test]
    fn what_is_contested_is_held_until_its_pause_is_over_and_due_then() {
        let start = Instant::now();
        let mut contests = Contests::default();
        assert_eq!(contests.contested().count(), 0);
        for n in 0..10 {
            let change = contests.corrected(&key("x"), Cost::Pass, start);
            assert_eq!(change == Change::Began, n == 9, "ten dear corrections are a contest");
        }
        assert_eq!(contests.contested().count(), 1);
        assert_eq!(contests.suspended(start), BTreeSet::from([key("x")]));
        assert_eq!(contests.due(start), []);
        assert_eq!(contests.suspended(after(start, 1.0)), BTreeSet::new());
        assert_eq!(contests.due(after(start, 1.0)), [key("x")]);
    }

    #[test]
    fn who_contests_as_many_files_as_there_is_room_for_hides_no_other_contest() {
        let start = Instant::now();
        let mut contests = Contests::default();
        for n in 0..OBJECTS {
            let object = Object::File(format!("/f{n}").into());
            while contests.corrected(&object, Cost::Narrow, start) != Change::Began {}
        }
        let began = |change| change == Change::Began;
        assert!((0..200).any(|_| began(contests.corrected(&key("x"), Cost::Narrow, start))));
        let tree = Object::Tree("/d".into());
        let cost = Cost::Tree { took: Duration::from_millis(10) };
        let contested = (0..240).any(|n| {
            let now = after(start, f64::from(n) * 0.5);
            // The hints of a thousand files between two passes.
            for n in 0..1000 {
                contests.verdict(&Object::File(format!("/g{n}").into()), now);
            }
            began(contests.corrected(&tree, cost, now))
        });
        assert!(contested, "within two minutes");
    }

    #[test]
    fn two_repairs_of_a_large_tree_are_no_fight_however_long_they_take() {
        for took in [1, 2, 60, 3600] {
            for gap in [10_000.0, 86_400.0] {
                let start = Instant::now();
                let mut contests = Contests::default();
                let tree = Object::Tree("/d".into());
                let cost = Cost::Tree { took: Duration::from_secs(took) };
                assert_eq!(contests.corrected(&tree, cost, start), Change::None);
                let change = contests.corrected(&tree, cost, after(start, gap));
                if gap > took as f64 * 11.0 + 1.0 {
                    assert_eq!(change, Change::None, "took {took} s, again after {gap} s");
                }
            }
        }
    }
}
