// SPDX-License-Identifier: Apache-2.0
//! Days on a machine of `simulation.rs`: whatever somebody does, and however often, the daemon does
//! its work, and does no more than it says.

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::limits::*;
    use super::super::others::world::Random;
    use super::super::simulation::machine::{Machine, TICK};
    use crate::model::Object;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// Where all the numbers of a day come from.
    const SEEDS: [u64; 2] = [1, 20_261_126];

    fn parameter(n: usize) -> Object {
        Object::Parameter(format!("kernel.p{n}"))
    }

    fn file(n: usize) -> Object {
        Object::File(format!("/d/f{n}").into())
    }

    /// Files without narrow passes, of the tree's owner and of root.
    fn certificate() -> Object {
        Object::File("/tls/server.crt".into())
    }

    fn drop_in() -> Object {
        Object::File("/etc/sysctl.d/60.conf".into())
    }

    fn at(rate: f64) -> Duration {
        Duration::from_secs_f64(1.0 / rate)
    }

    /// What holds whatever happens; `parameters`: how many of them are changed.
    fn keeps_its_word(machine: &Machine, parameters: usize, what: &str) {
        let job = machine.longest_job;
        println!(
            "{what}: {} turns, {} corrections, {} contests, latest {:?} parameter, {:?} narrow, {:?} pass, {:?} contested, \
             share {:.2} %, contested {:.2} %, a minute {} passes, {} lines, waited gate {:?} tick \
             {:?}, job {job:?}, {} remembered",
            machine.turns,
            machine.corrections,
            machine.contests,
            machine.latest_parameter,
            machine.latest_narrow,
            machine.latest,
            machine.latest_contested,
            machine.share(),
            machine.share_while_contested(),
            machine.passes_a_minute(),
            machine.lines_a_minute(),
            machine.gate_waited,
            machine.tick_waited,
            machine.most,
        );
        // Nothing starves: who waits, waits for what is being done and for what comes before him.
        assert!(machine.gate_waited <= job, "{what}");
        assert!(machine.tick_waited <= job * 3, "{what}");
        // No correction is later than the longest pause of its kind.
        assert!(machine.latest_narrow <= LONGEST_QUIET + job, "{what}");
        assert!(machine.latest <= LONGEST_CONTESTED_PAUSE + LONGEST_QUIET + job * 2, "{what}");
        assert!(machine.latest_contested <= LONGEST_PAUSE + TICK + job * 2, "{what}");
        // Memory and the journal have their limits.
        assert!(machine.most <= OBJECTS.max(FILES) + 1 + parameters + 1, "{what}");
        // A minute begins when it likes.
        let lines = 2 * (LINES * parameters as u64 + LINES_OF_FILES + MOST as u64 + 1);
        assert!(machine.lines_a_minute() <= lines as f64, "{what}");
    }

    /// Everything is correct when the longest pause is over, and nothing contested when one more is: what
    /// a rival left wrong is corrected first, and found correct the next time.
    fn is_over(machine: &mut Machine, what: &str) {
        machine.run(LONGEST_PAUSE + TICK * 2);
        assert!(machine.is_right(), "{what}");
        machine.run(LONGEST_PAUSE + TICK * 2);
        assert!(machine.is_right() && !machine.is_contested(), "{what}");
    }

    #[test]
    fn a_rival_at_any_rate_is_contested_when_he_is_quick_and_costs_little_when_he_is() {
        let quick = [20.0, 100.0, 1000.0, 10_000.0];
        for rate in
            [at(1.0 / 3600.0), at(1.0 / 60.0), SECOND, at(9.0)].into_iter().chain(quick.map(at))
        {
            for object in [parameter(0), file(0), certificate(), drop_in()] {
                let what = format!("{object:?} every {rate:?}");
                let mut machine = Machine::new(SEEDS[0]);
                // Slowly all day, or quickly in the morning and in the evening.
                let lasts = if rate > SECOND { DAY } else { MINUTE * 15 };
                let rival = machine.add(object.clone(), rate, lasts);
                machine.run(lasts);
                is_over(&mut machine, &what);
                machine.run(DAY / 2);
                machine.add_again(rival, MINUTE * 15);
                machine.run(MINUTE * 15);
                is_over(&mut machine, &what);
                keeps_its_word(&machine, 1, &what);
                let narrow = [parameter(0), file(0)].contains(&object);
                match (narrow, rate) {
                    (true, rate) if rate > at(10.0) => assert_eq!(machine.contests, 0, "{what}"),
                    (false, rate) if rate > SECOND * 2 => assert_eq!(machine.contests, 0, "{what}"),
                    (_, rate) if rate < at(10.0) => assert_eq!(machine.contests, 2, "{what}"),
                    _ => assert!(machine.contests >= 2, "{what}"),
                }
                assert!(machine.share_while_contested() <= 1.0, "{what}");
                assert!(machine.passes_a_minute() <= 125.0, "{what}");
            }
        }
    }

    #[test]
    fn bursts_are_no_contest_and_every_change_is_corrected_within_a_second() {
        for seed in SEEDS {
            let mut random = Random(seed);
            let mut machine = Machine::new(seed);
            let ms = Duration::from_millis(1);
            let objects = [parameter(0), parameter(1), file(0), file(1), file(2)];
            let rivals = objects.map(|object| machine.add(object, ms, Duration::ZERO));
            for _ in 0..24 * 20 {
                let rival = rivals[random.below(5) as usize];
                machine.add_again(rival, ms * (10 + random.below(150) as u32));
                machine.run(MINUTE + random.up_to(MINUTE * 4));
            }
            let what = format!("bursts, seed {seed}");
            is_over(&mut machine, &what);
            keeps_its_word(&machine, 2, &what);
            assert_eq!(machine.contests, 0, "{what}");
            assert!(machine.latest_narrow.max(machine.latest) <= SECOND, "{what}");
        }
    }

    #[test]
    fn a_storm_of_events_that_change_nothing_has_its_share_and_hides_no_drift() {
        for (rate, load) in [(100.0, 1), (10_000.0, 1), (10_000.0, 5)] {
            let what = format!("{rate} events a second, load {load}");
            let mut machine = Machine::new(SEEDS[1]);
            machine.load = load;
            machine.add(parameter(0), SECOND, MINUTE * 2);
            machine.add(drop_in(), SECOND * 20, MINUTE * 2);
            for n in 0..3 {
                machine.add_harmless(file(n), at(rate), MINUTE * 2);
            }
            machine.run(MINUTE * 2);
            is_over(&mut machine, &what);
            keeps_its_word(&machine, 1, &what);
            assert_eq!(machine.contests, 0, "{what}");
            // With what may be taken at once.
            assert!(machine.share() <= 12.0, "{what}");
            assert!(machine.latest <= LONGEST_HOST_PAUSE, "{what}");
        }
    }

    #[test]
    fn events_that_ask_for_whole_passes_get_a_tenth_of_a_processor_at_most() {
        for rate in [2.0, 10.0, 60.0, 10_000.0] {
            for entries in [0, 10_000] {
                for object in [certificate(), drop_in()] {
                    let what = format!("{object:?} asks {rate} times a second, {entries} entries");
                    let mut machine = Machine::new(SEEDS[0]);
                    machine.entries += entries;
                    machine.add_harmless(object, at(rate), MINUTE * 2);
                    machine.run(MINUTE * 2);
                    is_over(&mut machine, &what);
                    keeps_its_word(&machine, 0, &what);
                    assert!(machine.share() <= 12.0, "{what}");
                    // Two a second where one follows the other, and else as the share has it.
                    let apart = machine.longest_job * PASSES_SHARE + FIRST_PASS_PAUSE;
                    let most = 1.0 + 60.0 / apart.as_secs_f64();
                    assert!(machine.passes_a_minute() <= most.max(130.0), "{what}");
                    if rate >= 60.0 {
                        assert!(machine.passes_a_minute() <= 130.0, "{what}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_node_that_is_not_ready_hopes_for_its_mending_twice_a_second_at_most() {
        let mut machine = Machine::new(SEEDS[0]);
        machine.unready = true;
        machine.add_harmless(file(0), at(1000.0), MINUTE * 2);
        machine.run(MINUTE * 2);
        keeps_its_word(&machine, 0, "not ready");
        assert!(machine.passes_a_minute() <= 125.0);
    }

    #[test]
    fn a_restore_by_root_of_a_hundred_thousand_entries_is_right_soon_after_it_ends() {
        for (lasts, load) in [(5, 1), (60, 5), (600, 1)] {
            let what = format!("a restore that takes {lasts} s, load {load}");
            let mut machine = Machine::new(SEEDS[0]);
            machine.load = load;
            let restore = Duration::from_secs(lasts);
            machine.add(parameter(0), SECOND, restore);
            machine.restore(100_000, restore / 100_000);
            machine.run(restore);
            let began = machine.now;
            while !machine.is_right() {
                machine.run(Duration::from_millis(100));
                assert!(machine.now - began < MINUTE * 10, "{what}");
            }
            let late = machine.now - began;
            println!("{what}: correct {late:?} after it");
            keeps_its_word(&machine, 1, &what);
            // One that takes longer than a minute is taken for a contest.
            if lasts <= 60 {
                assert_eq!(machine.contests, 0, "{what}");
                assert!(late <= LONGEST_TREE_PAUSE, "{what}: {late:?}");
            } else {
                assert!(late <= LONGEST_PAUSE + TICK, "{what}: {late:?}");
            }
            assert!(machine.latest_parameter <= SECOND, "{what}");
        }
    }

    #[test]
    fn many_objects_that_are_contested_at_once_cost_what_one_does_and_hold_up_nothing_else() {
        let mut machine = Machine::new(SEEDS[0]);
        for n in 0..20 {
            machine.add(parameter(n), at(50.0), MINUTE * 5);
        }
        for n in 0..300 {
            machine.add(file(n), at(50.0), MINUTE * 5);
        }
        machine.add(parameter(100), SECOND * 10, MINUTE * 5);
        machine.run(MINUTE * 2);
        machine.count_anew();
        machine.run(MINUTE * 3);
        let what = "320 objects";
        keeps_its_word(&machine, 21, what);
        assert_eq!(machine.contests, 21, "{what}: the parameters and the tree");
        assert!(machine.share_while_contested() <= 1.0, "{what}");
        assert!(machine.latest_parameter <= LONGEST_QUIET, "{what}");
        is_over(&mut machine, what);
    }

    #[test]
    fn who_contests_files_of_the_tree_does_not_delay_the_parameters() {
        for load in [1, 5] {
            let what = format!("four files, load {load}");
            let mut machine = Machine::new(SEEDS[0]);
            machine.load = load;
            for n in 0..4 {
                machine.add(file(n), at(10_000.0), MINUTE * 3);
            }
            machine.add(parameter(0), SECOND / 2, MINUTE * 3);
            machine.run(MINUTE * 3);
            keeps_its_word(&machine, 1, &what);
            assert_eq!(machine.contests, 4, "{what}");
            // They wait for what is being done, and never for a pause.
            assert!(machine.latest_parameter <= machine.longest_job * 2, "{what}");
        }
    }

    #[test]
    fn a_clock_that_steps_forward_changes_nothing_but_what_is_due() {
        for seed in SEEDS {
            let mut random = Random(seed);
            let mut machine = Machine::new(seed);
            machine.add(parameter(0), at(100.0), DAY * 1000);
            machine.add(file(0), at(100.0), DAY * 1000);
            machine.add(certificate(), SECOND, DAY * 1000);
            machine.add(parameter(1), SECOND * 20, DAY * 1000);
            for _ in 0..20 {
                machine.run(random.up_to(MINUTE));
                machine.step(random.up_to(DAY));
            }
            let what = format!("steps, seed {seed}");
            keeps_its_word(&machine, 2, &what);
            assert!(machine.share_while_contested() <= 1.0, "{what}");
        }
    }
}
