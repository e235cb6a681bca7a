// SPDX-License-Identifier: Apache-2.0
//! Our reading of sysctl.d against the programs that read it at boot and by hand: systemd-sysctl
//! and `sysctl --system` of bookworm, trixie and sid, and TuneD of trixie, on random layouts.
//!
//! Each program runs in a root of its own whose /proc/sys is a plain directory of plain files; it
//! writes there, and every file is compared with our answer. The machine's own /proc is never
//! mounted there.
//!
//! `NODEGUARD_SYSCTL_LAYOUTS` (500) and `NODEGUARD_SYSCTL_SEED` (the process id and the time) may
//! be set; a mismatch prints the layout and the seed.

mod layout;
mod machine;
mod tuned;

use layout::{Chance, KEYS, Layout};
use machine::Machine;
use nodeguard::sysctl_d::{Body, Key, Loader, Moment, Place, Resolver, Sources};
use nodeguard::system::root::Root;

pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

pub fn seed() -> u64 {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    number("NODEGUARD_SYSCTL_SEED")
        .unwrap_or_else(|| clock.as_nanos() as u64 ^ u64::from(std::process::id()))
}

/// A reading of the sources: the value of each key, and the order of the files.
fn ours(sources: &Sources, loader: Loader) -> (Vec<String>, Vec<String>) {
    let resolver = Resolver::new(sources, loader, Moment::Now);
    let values = KEYS
        .iter()
        .map(|key| {
            let resolution = resolver.resolve(&Key::parse(key).unwrap());
            // A plain file cannot show whether nothing was written or an empty value.
            resolution.winner.map(|winner| winner.value).unwrap_or_default()
        })
        .collect();
    let order = resolver.order().map(|file| file.path.clone()).collect();
    (values, order)
}

fn sources(machine: &Machine) -> Sources {
    nodeguard::controls::sysctl::sources::observe(&Root::image(machine.root()).unwrap())
}

/// What one half of the layouts came to.
#[derive(Default)]
struct Tally {
    mismatches: usize,
    values: usize,
    written: usize,
    /// Lists of files that were compared.
    orders: usize,
    programs: Vec<String>,
}

/// Compares `layouts` random ones, on a machine of their own.
fn compare(seed: u64, layouts: u64) -> Tally {
    let machine = Machine::new();
    let mut chance = Chance::new(seed);
    let mut tally = Tally::default();
    for number in 0..layouts {
        let layout = Layout::random(&mut chance);
        layout.install(machine.root());
        let sources = sources(&machine);
        for program in machine.programs().iter().filter(|program| program.supports(&layout)) {
            let (expected, order) = ours(&sources, program.loader);
            let found = machine.run(program, layout.has_credential());
            tally.values += KEYS.len();
            tally.written += found.iter().filter(|value| !value.is_empty()).count();
            for (key, (ours, theirs)) in KEYS.iter().zip(expected.iter().zip(&found)) {
                if ours != theirs {
                    tally.mismatches += 1;
                    println!("{program} {key}: it has {theirs:?}, we say {ours:?}");
                    println!("  layout {number} of seed {seed}:\n{layout}");
                }
            }
            // The values show most of it; the list is for files that say nothing.
            let listed = if number % 8 == 0 { machine.order(program) } else { None };
            if let Some(theirs) = listed {
                tally.orders += 1;
                let credential = |path: &String| path.starts_with("/run/credentials/");
                let order: Vec<String> = order.into_iter().filter(|p| !credential(p)).collect();
                if order != theirs {
                    tally.mismatches += 1;
                    println!("{program} reads {theirs:?}, we say {order:?}");
                }
            }
        }
        if tally.mismatches >= 10 {
            println!("stopped at layout {number} of seed {seed}");
            break;
        }
    }
    tally.programs = machine.programs().iter().map(ToString::to_string).collect();
    tally
}

#[test]
fn every_value_of_every_layout_is_the_one_that_the_real_programs_write() {
    let (seed, layouts) = (seed(), number("NODEGUARD_SYSCTL_LAYOUTS").unwrap_or(500));
    let first = layouts / 2;
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| compare(seed, first));
        let other = compare(seed.wrapping_add(1), layouts - first);
        (one.join().unwrap(), other)
    });
    let mismatches = one.mismatches + other.mismatches;
    let (values, written) = (one.values + other.values, one.written + other.written);
    let orders = one.orders + other.orders;
    println!(
        "{layouts} layouts, {mismatches} mismatches (seed {seed}; {values} values, {written} of \
         them set; {orders} lists of files; {})",
        other.programs.join(", ")
    );
    assert_eq!(mismatches, 0);
    assert!(written * 10 > values, "the layouts set next to nothing");
    assert!(orders * 20 > layouts as usize, "next to no list of files was complete");
}

/// Readings that are wrong in one rule each: the comparison must find every one of them out.
#[test]
fn a_reading_that_is_wrong_in_one_rule_is_found_out() {
    /// What is wrong, the program that is judged, how it is read, and what is done to the sources.
    type Mutant = (&'static str, Loader, Loader, fn(&mut Sources));
    use Loader::{NewerProcps, Procps, Systemd};
    let mutants: [Mutant; 9] = [
        ("systemd read as procps", Systemd, Procps, |_| {}),
        ("procps read as systemd", Procps, Systemd, |_| {}),
        ("an older procps read as a newer one", Procps, NewerProcps, |_| {}),
        ("a newer procps read as an older one", NewerProcps, Procps, |_| {}),
        ("/run before /etc", Systemd, Systemd, |sources| {
            for (place, _) in &mut sources.directories {
                *place = match *place {
                    Place::Etc => Place::Run,
                    Place::Run => Place::Etc,
                    place => place,
                };
            }
        }),
        ("no masks", Systemd, Systemd, |sources| {
            for (_, files) in &mut sources.directories {
                files.retain(|file| file.body != Body::Masked);
            }
        }),
        ("no credential", Systemd, Systemd, |sources| sources.credential = None),
        ("no links", Systemd, Systemd, |sources| {
            for (_, files) in &mut sources.directories {
                files.retain(|file| file.link_to.is_none());
            }
        }),
        ("no sysctl.conf", Procps, Procps, |sources| sources.sysctl_conf = None),
    ];
    let machine = Machine::new();
    let mut chance = Chance::new(7);
    let mut found_out = [0; 9];
    for _ in 0..80 {
        let layout = Layout::random(&mut chance);
        layout.install(machine.root());
        let sources = sources(&machine);
        for real in [Systemd, Procps, NewerProcps] {
            let program = machine.programs().iter().find(|p| p.loader == real).unwrap();
            let found = machine.run(program, layout.has_credential());
            let judged = mutants.iter().zip(&mut found_out).filter(|(m, _)| m.1 == real);
            for ((_, _, read_as, mutate), times) in judged {
                let mut mutated = sources.clone();
                mutate(&mut mutated);
                *times += usize::from(ours(&mutated, *read_as).0 != found);
            }
        }
    }
    for ((name, ..), times) in mutants.iter().zip(found_out) {
        assert!(times > 0, "'{name}' was not found out in 80 layouts");
    }
}
