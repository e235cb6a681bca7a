// SPDX-License-Identifier: Apache-2.0
//! Lints of the program alone. Those in Cargo.toml hold for the tests as well, and tests may panic.

mod sources;

use sources::{rust_files, without_tests};

#[test]
fn the_program_never_panics_on_what_it_meets() {
    let mut found = Vec::new();
    for (file, text) in rust_files("src") {
        for (number, line) in (1..).zip(without_tests(&text).lines()) {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for word in [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!("] {
                if line.contains(word) {
                    found.push(format!("{file}:{number} has {word}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "an error is returned and told instead:\n{}", found.join("\n"));
}
