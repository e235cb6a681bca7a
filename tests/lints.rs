// SPDX-License-Identifier: Apache-2.0
//! Lints of the program alone. Those in Cargo.toml hold for the tests as well, and tests may panic.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_program_never_panics_on_what_it_meets() {
    let mut found = Vec::new();
    let mut files = 0;
    let mut pending: Vec<PathBuf> = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            files += 1;
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("\n#[cfg(test)]").next().unwrap();
            for (number, line) in (1..).zip(code.lines()) {
                if line.trim_start().starts_with("//") {
                    continue;
                }
                for word in [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!("] {
                    if line.contains(word) {
                        found.push(format!("{}:{number} has {word}", path.display()));
                    }
                }
            }
        }
    }
    assert!(files > 20, "the source was found");
    assert!(found.is_empty(), "an error is returned and told instead:\n{}", found.join("\n"));
}
