// SPDX-License-Identifier: Apache-2.0
//! docs/limits.md is the code's own: every number and every duration that is a constant in `src/`
//! has a row with its value, every row has its constant, and every test that is named exists.

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use sources::{rust_files, without_tests};

const PAGE: &str = "docs/limits.md";

/// Limits that no test goes beyond. Lower it when one gets a test; a new limit comes with its own.
const WITHOUT_A_TEST: usize = 5;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// What a constant or a row says: a plain number, or milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Number(f64),
    Milliseconds(f64),
}

/// The right side of a constant's declaration: numbers with `*`, `<<` and `+`, or a duration.
fn evaluated(code: &str) -> Option<Value> {
    let code = code.trim().trim_end_matches(';').trim();
    let inside = |code: &str, function: &str| {
        let at = code.find(function)?;
        number(code[at + function.len()..].trim_end_matches(')'))
    };
    for (function, unit) in [
        ("from_secs(", 1000.0),
        ("from_millis(", 1.0),
        ("from_micros(", 0.001),
        ("from_mins(", 60_000.0),
    ] {
        if code.contains(function) {
            return Some(Value::Milliseconds(inside(code, function)? * unit));
        }
    }
    if let Some(fields) = code.strip_prefix("Timespec {") {
        let field = |name: &str| number(fields.split(name).nth(1)?.split([',', '}']).next()?);
        return Some(Value::Milliseconds(field("tv_sec:")? * 1000.0 + field("tv_nsec:")? / 1e6));
    }
    number(code).map(Value::Number)
}

fn number(code: &str) -> Option<f64> {
    let plain = |word: &str| -> Option<f64> {
        let word = word.split(" as ").next().unwrap_or_default().trim();
        if word.starts_with(|c: char| c.is_ascii_uppercase()) {
            return named(word);
        }
        let word = word.replace('_', "");
        match word.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok().map(f64::from),
            None => word.parse().ok(),
        }
    };
    if let Some((left, right)) = code.split_once("<<") {
        return Some(number(left)? * number(right)?.exp2());
    }
    let factors = |term: &str| term.split('*').map(plain).product::<Option<f64>>();
    code.split('+').map(factors).sum()
}

/// The value of a constant that another one is made of, where one file alone has that name.
fn named(name: &str) -> Option<f64> {
    let files = rust_files("src").into_iter().map(|(_, text)| constants(&text));
    let mut found = files.flatten().filter(|(found, _)| found == name);
    match (found.next(), found.next()) {
        (Some((_, code)), None) => number(code.trim().trim_end_matches(';')),
        _ => None,
    }
}

/// A value as a person writes it (`256 KiB`, `16,384`, `50 ms`), or as a unit file does (`64M`).
fn told(text: &str) -> Option<(f64, String)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || ",._".contains(c))).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number.replace([',', '_'], "").parse::<f64>().ok()?;
    let unit = unit.trim_start();
    let unit = unit.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    Some((number, unit.to_owned()))
}

/// Whether a row tells the value.
fn tells(text: &str, value: Value) -> bool {
    let Some((number, unit)) = told(text) else { return false };
    match (value, unit.as_str()) {
        (Value::Milliseconds(ms), "ms") => number == ms,
        (Value::Milliseconds(ms), "s") => number * 1000.0 == ms,
        (Value::Milliseconds(ms), "min") => number * 60_000.0 == ms,
        (Value::Milliseconds(_), _) => false,
        (Value::Number(n), "KiB" | "K") => number * 1024.0 == n,
        (Value::Number(n), "MiB" | "M") => number * 1024.0 * 1024.0 == n,
        // A constant may be a number of seconds.
        (Value::Number(n), "min") => number * 60.0 == n,
        (Value::Number(n), _) => number == n,
    }
}

/// How a row would tell it.
fn as_told(value: Value) -> String {
    match value {
        Value::Milliseconds(ms) if ms % 1000.0 == 0.0 => format!("{} s", ms / 1000.0),
        Value::Milliseconds(ms) => format!("{ms} ms"),
        Value::Number(n) if n >= 1_048_576.0 && n % 1_048_576.0 == 0.0 => {
            format!("{} MiB", n / 1_048_576.0)
        }
        Value::Number(n) => format!("{n}"),
    }
}

/// The constants of a file that are numbers or durations, wherever they are declared in it, its
/// tests left out.
fn constants(text: &str) -> Vec<(String, String)> {
    let code = without_tests(text);
    let mut found = Vec::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        let line = match line.strip_prefix("pub") {
            // `pub const`, `pub(super) const`.
            Some(rest) => rest.split_once(' ').map_or("", |(_, rest)| rest),
            None => line,
        };
        let Some(rest) = line.strip_prefix("const ").or_else(|| line.strip_prefix("static "))
        else {
            continue;
        };
        let Some((name, rest)) = rest.split_once(':') else { continue };
        let (kind, mut value) = match rest.split_once('=') {
            Some((kind, value)) => (kind.trim().to_owned(), value.to_owned()),
            None => continue,
        };
        while !value.trim_end().ends_with(';') {
            match lines.next() {
                Some(more) => value += more.trim(),
                None => break,
            }
        }
        let numeric = [
            "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "isize", "f32",
            "f64", "c_int",
        ];
        let last = kind.rsplit("::").next().unwrap_or_default();
        if numeric.contains(&last) || ["Duration", "Timespec"].contains(&last) {
            found.push((name.trim().to_owned(), value));
        }
    }
    found
}

/// `NAME=value` in a file that has no constants: a unit, an attribute.
fn assigned(text: &str, name: &str) -> Option<Value> {
    let found = text.lines().find_map(|line| {
        let at = line.find(name)?;
        line[at + name.len()..].trim_start().strip_prefix('=')
    })?;
    let (number, unit) = told(found.trim_start())?;
    match unit.as_str() {
        "ms" => Some(Value::Milliseconds(number)),
        "s" => Some(Value::Milliseconds(number * 1000.0)),
        "min" => Some(Value::Milliseconds(number * 60_000.0)),
        "K" => Some(Value::Number(number * 1024.0)),
        "M" => Some(Value::Number(number * 1024.0 * 1024.0)),
        _ => Some(Value::Number(number)),
    }
}

/// One line of the page.
struct Row {
    /// Empty where it is no limit.
    value: String,
    /// `file: NAME`.
    constant: String,
    tests: Vec<String>,
}

fn rows() -> Vec<Row> {
    let unquoted = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let rows: Vec<Row> = read(PAGE)
        .lines()
        .filter(|line| line.starts_with('|') && line.contains('`') && line.contains(": "))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            match cells[..] {
                [_, value, constant, _, tests] => Row {
                    value: value.to_owned(),
                    constant: unquoted(constant),
                    tests: tests.split("<br>").map(unquoted).collect(),
                },
                [constant, _] => {
                    Row { value: String::new(), constant: unquoted(constant), tests: Vec::new() }
                }
                _ => panic!("{PAGE}: a row has five columns, or two: {line}"),
            }
        })
        .collect();
    assert!(rows.len() > 100, "the tables of {PAGE} were found");
    rows
}

#[test]
fn every_number_in_the_source_has_its_row() {
    let told: BTreeSet<String> = rows().into_iter().map(|row| row.constant).collect();
    let mut missing = Vec::new();
    let mut seen = 0;
    for (file, text) in rust_files("src") {
        for (name, code) in constants(&text) {
            seen += 1;
            if !told.contains(&format!("{file}: {name}")) {
                let value = evaluated(&code).map_or_else(|| code.trim().to_owned(), as_told);
                missing.push(format!("| WHAT | {value} | `{file}: {name}` | WHY | `FILE: TEST` |"));
            }
        }
    }
    assert!(seen > 100, "the constants were found: {seen}");
    assert!(
        missing.is_empty(),
        "{PAGE} lacks these rows; put each below its subject, or, as `| constant | what it is |`, \
         below \"Numbers that are no limits\":\n{}",
        missing.join("\n")
    );
}

#[test]
fn every_row_has_its_constant_and_tells_its_value() {
    let mut wrong = Vec::new();
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut once = BTreeSet::new();
    for row in rows() {
        let Some((file, name)) = row.constant.split_once(": ") else {
            wrong.push(format!("`{}` is not `file: NAME`", row.constant));
            continue;
        };
        if !once.insert(row.constant.clone()) {
            wrong.push(format!("`{}` has two rows", row.constant));
        }
        if !repository().join(file).is_file() {
            wrong.push(format!("`{}`: there is no such file; did it move?", row.constant));
            continue;
        }
        let text = files.entry(file.to_owned()).or_insert_with(|| read(file));
        let declared: Vec<_> =
            constants(text).into_iter().filter(|(found, _)| found == name).collect();
        let value = match &declared[..] {
            [(_, code)] => evaluated(code),
            [] => assigned(text, name),
            _ => {
                wrong.push(format!("`{}` is declared twice there", row.constant));
                continue;
            }
        };
        match value {
            None => wrong.push(format!("`{}` is gone; take its row away", row.constant)),
            Some(_) if row.value.is_empty() => {}
            Some(value) if tells(&row.value, value) => {}
            Some(value) => wrong.push(format!(
                "`{}` is {} in the source, the row says {}",
                row.constant,
                as_told(value),
                row.value
            )),
        }
    }
    assert!(wrong.is_empty(), "{PAGE}:\n{}", wrong.join("\n"));
}

#[test]
fn every_test_that_is_named_exists_and_no_more_limits_lack_one() {
    let mut wrong = Vec::new();
    let mut without = 0;
    for row in rows().iter().filter(|row| !row.value.is_empty()) {
        for test in &row.tests {
            if test == "none" {
                without += 1;
                continue;
            }
            let found = test.split_once(": ").is_some_and(|(file, name)| {
                let text = fs::read_to_string(repository().join(file)).unwrap_or_default();
                text.contains(&format!("fn {name}("))
            });
            if !found {
                wrong.push(format!("`{}`: no test `{test}`", row.constant));
            }
        }
    }
    assert!(wrong.is_empty(), "{PAGE}:\n{}", wrong.join("\n"));
    assert!(
        without <= WITHOUT_A_TEST,
        "{without} limits of {PAGE} have no test, there were {WITHOUT_A_TEST}: name the test that \
         goes beyond the new one"
    );
    assert_eq!(without, WITHOUT_A_TEST, "lower WITHOUT_A_TEST in tests/limits.rs");
}

#[test]
fn values_are_read_as_people_and_compilers_write_them() {
    for (code, row) in [
        ("256", "256"),
        ("16_384", "16,384 lines"),
        ("64 * 1024", "64 KiB"),
        ("1 << 20", "1 MiB"),
        ("8 << 20", "8 MiB"),
        ("16 + 4096 + 3", "4,115"),
        ("600", "10 min"),
        ("0x4000", "16,384"),
        ("128 + MAX_REQUESTS", "144"),
        ("REPORT_LIMIT as u64 + 1", "65,537 bytes"),
        ("60.0", "60 s"),
        ("Duration::from_secs(300)", "5 min"),
        ("std::time::Duration::from_millis(1500)", "1500 ms"),
        ("Timespec { tv_sec: 0, tv_nsec: 100_000_000 }", "100 ms"),
    ] {
        let value = evaluated(&format!("{code};")).unwrap_or_else(|| panic!("{code}"));
        assert!(tells(row, value), "{code} is {value:?}, {row}");
        assert!(tells(&as_told(value), value), "{code} is told as {}", as_told(value));
    }
    for (code, row) in [("256", "255"), ("Duration::from_secs(5)", "5"), ("1 << 20", "1 KiB")] {
        assert!(!tells(row, evaluated(code).unwrap()), "{code} is not {row}");
    }
    let text = "pub(super) const A: usize = 1;\n    const B: Duration =\n        Duration::from_secs(2);\n\
                const C: &str = \"3\";\n#[cfg(test)]\nmod tests { const D: u8 = 4; }";
    let names: Vec<_> = constants(text).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["A", "B"]);
}
