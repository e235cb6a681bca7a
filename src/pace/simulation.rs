// SPDX-License-Identifier: Apache-2.0
//! A machine on which a day passes in a second: others that raise events (`others.rs`), and a
//! daemon that does with its [`super::Pace`] what the real one does. What work costs is made up, a
//! little more than was measured. Everything comes from a seed.

#[cfg(test)]
pub(super) mod machine {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::{Duration, Instant};

    use super::super::limits::{LONGEST_TURN, PERIOD};
    use super::super::others::world::{Crowd, Random, Second, Thing, most_in};
    use super::super::{Change, Cost, Ended, Pace, PassFor, Source, Turn, Verdict};
    use crate::model::Object;

    /// The guarded tree.
    const TREE: &str = "/d";
    /// Time between two ticks.
    pub const TICK: Duration = Duration::from_secs(5);
    /// Events that the kernel keeps of a source, and entries that are looked at one by one.
    const QUEUE: u64 = 16_384;
    const ENTRIES: usize = 512;
    /// What one wakeup, reading one event, and a narrow pass with and without a correction take.
    const WAKEUP: Duration = Duration::from_micros(20);
    const EVENT: Duration = Duration::from_nanos(600);
    const LOOK: Duration = Duration::from_micros(30);
    const CORRECTION: Duration = Duration::from_micros(80);
    /// What a full pass takes, and what each entry of the tree adds to it.
    const PASS: Duration = Duration::from_millis(3);
    const ENTRY: Duration = Duration::from_micros(4);

    pub struct Machine {
        pub pace: Pace,
        pub random: Random,
        start: Instant,
        pub now: Instant,
        things: Vec<Thing>,
        crowd: Option<Crowd>,
        /// Entries of the tree.
        pub entries: u32,
        /// So many times longer takes what is to be done, since others want the processors as well.
        pub load: u32,
        /// Something is wrong that nobody here mends.
        pub unready: bool,
        tick: Instant,
        gate: Instant,
        pub seconds: Vec<Second>,
        /// The latest correction of what is not contested: of a parameter, of anything that has narrow
        /// passes, and of the rest; and of what is contested.
        pub latest_parameter: Duration,
        pub latest_narrow: Duration,
        pub latest: Duration,
        pub latest_contested: Duration,
        pub corrections: u64,
        pub contests: u64,
        /// Longest wait of a gate and of a tick, and the longest time spent on one thing.
        pub gate_waited: Duration,
        pub tick_waited: Duration,
        pub longest_job: Duration,
        /// Most objects and subjects that were remembered.
        pub most: usize,
        pub turns: u64,
    }

    #[derive(Clone, Copy, Default)]
    struct Looked {
        needs_pass: bool,
        held_back: bool,
    }

    impl Machine {
        pub fn new(seed: u64) -> Self {
            let now = Instant::now();
            Self {
                pace: Pace::new(now),
                random: Random(seed),
                start: now,
                now,
                things: Vec::new(),
                crowd: None,
                entries: 10,
                load: 1,
                unready: false,
                tick: now + TICK,
                gate: now + Duration::from_secs(60),
                seconds: Vec::new(),
                latest_parameter: Duration::ZERO,
                latest_narrow: Duration::ZERO,
                latest: Duration::ZERO,
                latest_contested: Duration::ZERO,
                corrections: 0,
                contests: 0,
                gate_waited: Duration::ZERO,
                tick_waited: Duration::ZERO,
                longest_job: Duration::ZERO,
                most: 0,
                turns: 0,
            }
        }

        /// Somebody who changes an object, from now on and for so long.
        pub fn add(&mut self, object: Object, every: Duration, lasts: Duration) -> usize {
            let (source, followed) = match &object {
                Object::Parameter(_) => (Source::Host, true),
                Object::File(path) if path.starts_with(TREE) => (Source::Tree, true),
                Object::File(path) if path.starts_with("/tls") => (Source::Tree, false),
                Object::File(_) => (Source::Host, false),
                Object::Tree(_) => (Source::Tree, false),
            };
            let next = self.now + self.random.up_to(every);
            let end = self.now + lasts;
            let (spoils, events, wrong) = (true, 0, None);
            let thing = Thing { object, source, followed, spoils, every, next, end, events, wrong };
            self.things.push(thing);
            self.things.len() - 1
        }

        /// He comes again, from now on and for so long.
        pub fn add_again(&mut self, index: usize, lasts: Duration) {
            let thing = &mut self.things[index];
            (thing.next, thing.end) = (self.now, self.now + lasts);
        }

        /// The same of somebody whose changes make nothing wrong.
        pub fn add_harmless(&mut self, object: Object, every: Duration, lasts: Duration) {
            let index = self.add(object, every, lasts);
            self.things[index].spoils = false;
        }

        /// So many entries come, one after the other.
        pub fn restore(&mut self, entries: u32, every: Duration) {
            let (wrong, events) = (BTreeMap::new(), Vec::new());
            let next = self.now;
            self.crowd = Some(Crowd { every, next, left: entries, wrong, events });
        }

        /// From now on everything is counted anew.
        pub fn count_anew(&mut self) {
            self.start = self.now;
            self.seconds.clear();
        }

        pub fn is_right(&self) -> bool {
            self.crowd.as_ref().is_none_or(|crowd| crowd.left == 0 && crowd.wrong.is_empty())
                && self.things.iter().all(|thing| thing.wrong.is_none())
        }

        pub fn is_contested(&self) -> bool {
            self.pace.contests.contested().next().is_some()
        }

        /// The clock steps forward, as after the machine stood still; nobody did anything meanwhile.
        pub fn step(&mut self, by: Duration) {
            self.now += by;
            self.start += by;
            for thing in &mut self.things {
                thing.next += by;
                thing.end += by;
                thing.wrong = thing.wrong.map(|since| since + by);
            }
            self.tick += by;
            self.gate += by;
        }

        pub fn run(&mut self, time: Duration) {
            let end = self.now + time;
            while self.turn(end) {}
        }

        /// One turn of the loop, in its order; `false`: it is over.
        fn turn(&mut self, end: Instant) -> bool {
            let events = [Source::Host, Source::Tree].map(|source| self.next_events(source));
            let due = self.pace.next_pass();
            let times = [Some(self.gate), due, Some(self.tick), events[0], events[1]];
            let Some(first) = times.into_iter().flatten().min() else { return false };
            if first >= end {
                self.pass_time(end);
                return false;
            }
            self.pass_time(first);
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
            let began = self.now;
            self.turns += 1;
            if self.gate <= self.now {
                self.gate_waited = self.gate_waited.max(self.now - self.gate);
                self.pass(true);
                let wait = Duration::from_secs(300) + self.random.up_to(Duration::from_secs(600));
                self.gate = self.now + wait;
            } else if is_due(due) {
                self.work(WAKEUP);
                self.pass(false);
            } else if self.tick <= self.now {
                self.tick_waited = self.tick_waited.max(self.now - self.tick);
                self.tick();
                // Those that were missed are one.
                while self.tick <= self.now {
                    self.tick += TICK;
                }
            } else if is_due(events[0]) {
                self.hinted(Source::Host);
            } else {
                self.hinted(Source::Tree);
            }
            self.longest_job = self.longest_job.max(self.now - began);
            let remembered = self.pace.contests.remembered().max(self.pace.quota.remembered());
            self.most = self.most.max(remembered);
            true
        }

        /// When events of a source are taken next.
        fn next_events(&self, source: Source) -> Option<Instant> {
            let of_source = self.things.iter().filter(|thing| thing.source == source);
            let mut next = of_source
                .filter_map(|thing| match thing.events {
                    0 => (thing.next <= thing.end).then_some(thing.next),
                    _ => Some(self.now),
                })
                .min();
            if let (Source::Tree, Some(crowd)) = (source, &self.crowd) {
                let crowd = match (crowd.events.is_empty(), crowd.left) {
                    (false, _) => Some(self.now),
                    (true, 0) => None,
                    (true, _) => Some(crowd.next),
                };
                next = next.into_iter().chain(crowd).min();
            }
            let quiet = self.pace.quiet(source, self.now);
            next.map(|next| quiet.map_or(next, |until| next.max(until)).max(self.now))
        }

        fn second(&mut self) -> &mut Second {
            let number = (self.now - self.start).as_secs() as usize;
            while self.seconds.len() <= number {
                // Asleep meanwhile, so nothing changed.
                let contested = self.pace.contests.contested().next().is_some();
                self.seconds.push(Second { contested, ..Second::default() });
            }
            &mut self.seconds[number]
        }

        /// The clock goes on, and so do the others.
        fn pass_time(&mut self, to: Instant) {
            self.now = self.now.max(to);
            let now = self.now;
            for thing in &mut self.things {
                thing.pass_time(now, &mut self.random);
            }
            if let Some(crowd) = &mut self.crowd {
                self.entries = crowd.pass_time(now, self.entries);
            }
        }

        fn work(&mut self, worked: Duration) {
            self.second().worked += worked;
            self.pass_time(self.now + worked * self.load);
        }

        fn tree(&self) -> Object {
            Object::Tree(TREE.into())
        }

        fn tree_is_suspended(&mut self) -> bool {
            let tree = self.tree();
            self.pace.may_correct(&tree, self.now) == Verdict::HoldBack
        }

        fn count(&mut self, change: Change) -> bool {
            self.contests += u64::from(change == Change::Began);
            change != Change::None
        }

        /// It was wrong since then and is correct now.
        fn was_corrected(&mut self, object: &Object, narrow: bool, since: Instant) {
            let late = self.now - since;
            let tree = self.tree();
            let contested = self.pace.contests.contested().any(|o| o == object || *o == tree);
            let latest = if contested {
                &mut self.latest_contested
            } else if narrow {
                &mut self.latest_narrow
            } else {
                &mut self.latest
            };
            *latest = late.max(*latest);
            if !contested && matches!(object, Object::Parameter(_)) {
                self.latest_parameter = late.max(self.latest_parameter);
            }
            self.corrections += 1;
            let subject = object.subject();
            let file = !matches!(object, Object::Parameter(_));
            let told = self.pace.may_be_told(&subject, file, self.now);
            self.second().lines += u32::from(told);
        }

        /// A narrow pass.
        fn mend(&mut self, index: usize) -> Looked {
            let object = self.things[index].object.clone();
            let file = matches!(object, Object::File(_));
            if file && self.tree_is_suspended() {
                return Looked { held_back: true, needs_pass: false };
            }
            match self.pace.may_correct(&object, self.now) {
                Verdict::HoldBack => return Looked { held_back: true, needs_pass: false },
                Verdict::Crowded if file => return Looked { needs_pass: true, held_back: false },
                Verdict::Go | Verdict::Crowded => {}
            }
            let Some(since) = self.things[index].wrong else {
                self.work(LOOK);
                let change = self.pace.found_correct(&object, self.now);
                return Looked { needs_pass: self.count(change), held_back: false };
            };
            self.work(CORRECTION / 2);
            self.things[index].wrong = None;
            self.was_corrected(&object, true, since);
            self.work(CORRECTION / 2);
            // Somebody may have been as quick.
            let undone = self.things[index].wrong.is_some();
            let change = self.pace.corrected(&object, Cost::Narrow, self.now);
            Looked { needs_pass: self.count(change) || undone, held_back: false }
        }

        fn mend_newcomer(&mut self, entry: u32) -> Looked {
            if self.tree_is_suspended() {
                return Looked { held_back: true, needs_pass: false };
            }
            let object = Object::File(format!("{TREE}/{entry}").into());
            match self.pace.may_correct(&object, self.now) {
                Verdict::HoldBack => return Looked { held_back: true, needs_pass: false },
                Verdict::Crowded => return Looked { needs_pass: true, held_back: false },
                Verdict::Go => {}
            }
            let Some(crowd) = &mut self.crowd else { return Looked::default() };
            let Some(since) = crowd.wrong.remove(&entry) else {
                self.work(LOOK);
                return Looked::default();
            };
            self.was_corrected(&object, true, since);
            self.work(CORRECTION);
            let change = self.pace.corrected(&object, Cost::Narrow, self.now);
            Looked { needs_pass: self.count(change), held_back: false }
        }

        fn hinted(&mut self, from: Source) {
            let began = self.now;
            let worked = Worked::since(self);
            let of_source = |(_, thing): &(usize, &mut Thing)| thing.source == from;
            let mut events = 0;
            let mut touched = Vec::new();
            for (index, thing) in self.things.iter_mut().enumerate().filter(of_source) {
                if thing.events > 0 {
                    events += std::mem::take(&mut thing.events);
                    touched.push(index);
                }
            }
            let mut newcomers = Vec::new();
            if let (Source::Tree, Some(crowd)) = (from, &mut self.crowd) {
                newcomers = std::mem::take(&mut crowd.events);
                events += newcomers.len() as u64;
            }
            let mut look = events > QUEUE || touched.len() + newcomers.len() > ENTRIES;
            newcomers.truncate(ENTRIES);
            self.work(WAKEUP + EVENT * u32::try_from(events.min(QUEUE)).unwrap());
            let followed = touched.iter().any(|index| self.things[*index].followed);
            let only_for_a_pass = !followed && newcomers.is_empty();
            look |= touched.iter().any(|index| !self.things[*index].followed);
            let (mut came, mut held_back) = (false, false);
            touched.retain(|index| self.things[*index].followed);
            let handled = touched.len() + newcomers.len();
            let entries = touched.into_iter().map(Ok).chain(newcomers.into_iter().map(Err));
            for entry in entries {
                if self.now - began > LONGEST_TURN {
                    look = true;
                    break;
                }
                let looked = match entry {
                    Ok(index) => self.mend(index),
                    Err(newcomer) => self.mend_newcomer(newcomer),
                };
                look |= looked.needs_pass;
                came |= looked.held_back && entry.is_err();
                held_back |= looked.held_back;
            }
            let took = self.now - began;
            let worked = worked.until(self);
            if look {
                self.pass_soon(from, PassFor::Judging);
            } else if came {
                self.pass_soon(from, PassFor::Newcomer);
            } else if from == Source::Tree && handled > 0 && !held_back && self.unready {
                self.pass_soon(from, PassFor::Mending);
            }
            let tree_is_suspended = self.tree_is_suspended();
            let turn = Turn { from, took, worked, held_back, only_for_a_pass, tree_is_suspended };
            self.pace.turn_ended(&turn, self.now);
        }

        fn pass_soon(&mut self, from: Source, wanted: PassFor) {
            if self.pace.pass_wanted(from, wanted, self.now) {
                self.pass(false);
            }
        }

        /// A full pass; `asked`: by a gate.
        fn pass(&mut self, asked: bool) {
            let (began, worked) = (self.now, Worked::since(self));
            let due = self.pace.to_try_again(began);
            let suspended = if asked { BTreeSet::new() } else { self.pace.suspended(began) };
            self.pace.pass_begins();
            self.second().passes += 1;
            let cost = PASS + ENTRY * self.entries;
            self.work(cost / 2);
            let tree = self.tree();
            let tree_suspended = suspended.contains(&tree);
            let mut corrected = BTreeSet::new();
            for index in 0..self.things.len() {
                let thing = &self.things[index];
                let in_tree = matches!(&thing.object, Object::File(path) if path.starts_with(TREE));
                if suspended.contains(&thing.object) || (in_tree && tree_suspended) {
                    continue;
                }
                let Some(since) = thing.wrong else { continue };
                let object = thing.object.clone();
                self.things[index].wrong = None;
                self.was_corrected(&object, false, since);
                corrected.insert(if in_tree { tree.clone() } else { object });
            }
            let newcomers = self.crowd.as_mut().filter(|_| !tree_suspended);
            let newcomers = newcomers.map(|crowd| std::mem::take(&mut crowd.wrong));
            let newcomers = newcomers.unwrap_or_default();
            if let Some(since) = newcomers.values().min() {
                self.was_corrected(&tree, false, *since);
                self.work(CORRECTION / 8 * newcomers.len() as u32);
                corrected.insert(tree.clone());
            }
            self.work(cost / 2);
            let looked = self.now;
            if !asked {
                for object in &corrected {
                    let cost = Cost::of_a_pass(object, looked - began);
                    let change = self.pace.corrected(object, cost, self.now);
                    self.count(change);
                }
                for object in &due {
                    // What is wrong and not suspended was corrected above, so it is correct.
                    if !is_followed(object) && !corrected.contains(object) {
                        let change = self.pace.found_correct(object, self.now);
                        self.count(change);
                    }
                }
            }
            let settled = newcomers.is_empty();
            let worked = worked.until(self);
            let pass = Ended { began, looked, worked, settled };
            let source = |object: &Object| match object {
                followed if is_followed(followed) => None,
                Object::File(path) if !path.starts_with("/tls") => Some(Source::Host),
                _ => Some(Source::Tree),
            };
            self.pace.pass_ended(&pass, source);
        }

        fn tick(&mut self) {
            let began = self.now;
            self.work(WAKEUP);
            let mut look = false;
            for index in 0..self.things.len() {
                if matches!(self.things[index].object, Object::Parameter(_)) {
                    look |= self.mend(index).needs_pass && !self.unready;
                }
            }
            for object in self.pace.to_try_again(self.now) {
                let index = self.things.iter().position(|thing| thing.object == object);
                look |= match index {
                    Some(index) if is_followed(&object) => self.mend(index).needs_pass,
                    _ => true,
                };
            }
            let well = self.is_right() && !self.unready && !self.is_contested();
            if look || self.pace.pass_is_due(well, self.now) {
                self.pass(false);
            }
            for (subject, more) in self.pace.untold(self.now) {
                assert!(more > 0, "{subject}");
                self.second().lines += 1;
            }
            // What was due is tried again by now.
            if !self.tree_is_suspended() {
                let left = self.pace.to_try_again(began);
                assert!(left.is_empty(), "due and not tried again: {left:?}");
            }
        }

        /// Share of a processor, in percent, in the worst minute of all that was contested from its begin.
        pub fn share_while_contested(&self) -> f64 {
            let worked = |second: &Second| second.worked.as_secs_f64();
            most_in(&self.seconds, 60, |second| second.contested, worked) / 60.0 * 100.0
        }

        pub fn share(&self) -> f64 {
            most_in(&self.seconds, 60, |_| true, |second| second.worked.as_secs_f64()) / 60.0
                * 100.0
        }

        pub fn passes_a_minute(&self) -> f64 {
            most_in(&self.seconds, 60, |_| true, |second| f64::from(second.passes))
        }

        pub fn lines_a_minute(&self) -> f64 {
            let period = PERIOD.as_secs() as usize;
            most_in(&self.seconds, period, |_| true, |second| f64::from(second.lines))
        }
    }

    /// Whether an object has narrow passes of its own.
    fn is_followed(object: &Object) -> bool {
        match object {
            Object::Parameter(_) => true,
            Object::File(path) => path.starts_with(TREE),
            Object::Tree(_) => false,
        }
    }

    /// Processor time at some point.
    struct Worked(Duration, usize);

    impl Worked {
        fn since(machine: &mut Machine) -> Self {
            let before = machine.second().worked;
            Self(before, machine.seconds.len() - 1)
        }

        fn until(&self, machine: &Machine) -> Duration {
            let all = machine.seconds.iter().skip(self.1).map(|second| second.worked);
            all.sum::<Duration>().saturating_sub(self.0)
        }
    }
}
