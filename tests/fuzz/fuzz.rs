// SPDX-License-Identifier: Apache-2.0
//! A mutation loop over the parsers: see `run` beside this file. An input that makes a target show
//! something new is kept and mutated further, so the loop goes where random bytes never would.

mod mutate;
#[path = "../random/splitmix.rs"]
mod splitmix;
mod targets;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mutate::Mutator;
use targets::{TARGETS, Target};

/// An input may be a little longer than the files that operators write.
const LONGEST: usize = 4096;

/// Inputs that are kept for each target.
const KEPT: usize = 4096;

/// Longer than that for one input of that size, on a busy machine: something explodes.
const SLOW: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    // cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (seconds, names) = match words[..] {
        ["--try", name, file] => return try_one(target(name), Path::new(file)),
        [] => (60, &[][..]),
        [seconds, ref names @ ..] => {
            (seconds.parse().unwrap_or_else(|_| panic!("{seconds} is no number of seconds")), names)
        }
    };
    let seed = std::env::var("NODEGUARD_SEED").ok().map_or_else(now, |seed| {
        seed.parse().unwrap_or_else(|_| panic!("NODEGUARD_SEED={seed} is no number"))
    });
    let chosen: Vec<&Target> = match names {
        [] => TARGETS.iter().collect(),
        names => names.iter().map(|name| target(name)).collect(),
    };
    println!("seed {seed} (NODEGUARD_SEED={seed} does it again)");
    // What a target finds is told once, below.
    std::panic::set_hook(Box::new(|_| {}));
    let mut findings = 0;
    for target in chosen {
        findings += u32::from(!fuzz(target, seed, Duration::from_secs(seconds)));
    }
    println!("{findings} findings");
    if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos() & u128::from(u64::MAX)).unwrap_or_default()
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| {
        let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        panic!("no target {name}; there are: {}", known.join(" "))
    })
}

fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut dirs = vec![repository.join("tests/fuzz/seeds").join(target.name)];
    if target.name == "rke2-yaml" {
        dirs.push(repository.join("tests/rke2_yaml"));
    }
    let entries = dirs.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap());
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no seeds", target.name);
    files.iter().flat_map(|file| contents(file)).collect()
}

/// A file, or the configurations in a table of them.
fn contents(file: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(file).unwrap();
    if file.extension().is_none_or(|extension| extension != "jsonl") {
        return vec![bytes];
    }
    let text = String::from_utf8(bytes).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.filter_map(|row| Some(row["config.yaml"].as_str()?.into())).collect()
}

/// What the target shows of an input, or what did not hold.
fn show(target: &Target, input: &[u8]) -> Result<u64, String> {
    let start = Instant::now();
    let shown = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = start.elapsed();
    match shown {
        Ok(shown) if took < SLOW => Ok(shown),
        Ok(_) => Err(format!("took {took:?}")),
        Err(cause) => {
            let words = cause
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| cause.downcast_ref::<&str>().copied());
            Err(words.unwrap_or("panicked").to_owned())
        }
    }
}

/// Whether everything held.
fn fuzz(target: &Target, seed: u64, limit: Duration) -> bool {
    let start = Instant::now();
    let mut kept = seeds(target);
    let mut seen: HashSet<u64> = HashSet::new();
    let mut mutator = Mutator::new(seed ^ target.name.len() as u64, target.words);
    let mut executions: u64 = 0;
    // The seeds themselves come first.
    let mut first = kept.clone().into_iter();
    while start.elapsed() < limit || first.len() > 0 {
        let input = first.next().unwrap_or_else(|| mutator.mutated(&kept, LONGEST));
        executions += 1;
        match show(target, &input) {
            Ok(shown) => {
                if seen.insert(shown) && kept.len() < KEPT {
                    kept.push(input);
                }
            }
            Err(words) => {
                let file = keep(target, &input, executions);
                println!("{}: FINDING after {executions} executions: {words}", target.name);
                println!("  tests/fuzz/run --try {} {}", target.name, file.display());
                return false;
            }
        }
    }
    println!(
        "figure: fuzz {}: {executions} executions in {} s, {} kinds of outcome",
        target.name,
        start.elapsed().as_secs(),
        seen.len()
    );
    true
}

fn keep(target: &Target, input: &[u8], number: u64) -> PathBuf {
    let dir = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let dir = dir.join("fuzz");
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join(format!("{}-{number}", target.name));
    std::fs::write(&file, input).unwrap();
    file
}

fn try_one(target: &Target, file: &Path) -> ExitCode {
    let input = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    match show(target, &input) {
        Ok(shown) => {
            println!("{}: holds ({shown:016x})", target.name);
            ExitCode::SUCCESS
        }
        Err(words) => {
            println!("{}: {words}", target.name);
            ExitCode::FAILURE
        }
    }
}
