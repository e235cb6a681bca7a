// SPDX-License-Identifier: Apache-2.0
//! A configuration file as RKE2 sees it: the keys of the first document in their order, each
//! value as text, each with its line.
//!
//! RKE2 reads YAML with Go's yaml.v2, which is libyaml's scanner of YAML 1.1 with habits of its own.
//! Whether a node is hardened hangs on them: a tab on an empty line is an error below a quoted value
//! and none below a plain one, a comment may be glued to a closing quote, a lone carriage return ends a line,
//! duplicate keys are all kept, merge keys dropped. So this is no parser of today's YAML: it takes
//! what yaml.v2 takes, refuses what it refuses, and says so in its words.
//!
//! ```text
//! bytes ──► reader ──► scanner (names, scalars) ──► grammar ──► tree ──► check ──► entries
//! ```
//!
//! Nothing here recurses further than [`tree::MAX_DEPTH`], and each character is looked at a
//! bounded number of times.

mod check;
mod entries;
mod error;
mod grammar;
mod names;
mod print;
mod reader;
mod resolve;
mod scalars;
mod scanner;
mod timestamp;
mod token;
mod tree;

pub(super) use entries::{Entry, Value};
pub(super) use error::YamlError;
pub(super) use tree::Tree;

/// The largest configuration file that is read, in bytes.
pub const MAX_FILE_SIZE: usize = 1 << 20;

/// Reads the first document of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Entry>, YamlError> {
    if bytes.len() > MAX_FILE_SIZE {
        let words = format!("larger than {MAX_FILE_SIZE} bytes");
        return Err(YamlError::BeyondLimits { line: None, words });
    }
    match Tree::read(bytes)? {
        None => Ok(Vec::new()),
        Some(tree) => {
            tree.check()?;
            tree.entries()
        }
    }
}
