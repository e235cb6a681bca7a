// SPDX-License-Identifier: Apache-2.0
//! The Rust files of the repository, for tests about the source itself.

use std::fs;
use std::path::{Path, PathBuf};

/// Below a folder of the repository, by their paths in it, sorted; each with its text.
pub fn rust_files(folder: &str) -> Vec<(String, String)> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut out = Vec::new();
    let mut pending: Vec<PathBuf> = vec![repository.join(folder)];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(repository).unwrap().to_str().unwrap().to_owned();
                out.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    out.sort();
    assert!(out.len() > 20, "the files below {folder} were found");
    out
}

/// What stands before the tests of a file, which are at its end.
pub fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap()
}
