// SPDX-License-Identifier: Apache-2.0
//! How a gate asks the daemon: over a socket that only root can reach, apart from the bus, which
//! anybody may fill with calls.
//!
//! A question is one line of JSON, and an answer two: who answers, and the report of a pass that
//! began after the question, with what that pass looked at. The two ends are the same program or
//! they have nothing to say to each other: around an upgrade the gate looks by itself.

mod ask;
pub mod look;
mod serve;
pub mod socket;

use serde::{Deserialize, Serialize};

use crate::model::Report;
use crate::system::root::observed::Observed;
use crate::system::runtime;

pub use ask::{AskError, ask};
pub use serve::{Ask, CONNECTIONS, serve};

/// Raised when a line changes its meaning, for two programs that cannot tell that they differ.
const PROTOCOL: u32 = 1;

/// Bytes of an answer: a report of at most 64 KiB, and what was looked at.
const ANSWER_LIMIT: usize = 256 * 1024;

/// Bytes of a question.
const QUESTION_LIMIT: usize = 256;

/// Who asks, or answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    protocol: u32,
    version: String,
    /// Device and inode of its file: another build of the same version is another program.
    file: Option<(u64, u64)>,
}

impl Program {
    /// The one that runs this.
    pub fn ours() -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { protocol: PROTOCOL, version, file: runtime::program() }
    }

    /// Whether both are one. Not where that is not known.
    fn is(&self, other: &Self) -> bool {
        self == other && self.file.is_some()
    }

    fn line(&self) -> Vec<u8> {
        line(self)
    }
}

/// What the daemon answers, behind who it is.
#[derive(Debug, Deserialize)]
pub struct Answer {
    pub report: Report,
    /// What the report goes by.
    pub observed: Observed,
}

/// An answer as it travels. One that is too long is as none: the gate looks by itself.
pub fn answer(report: &Report, observed: &Observed) -> Vec<u8> {
    #[derive(Serialize)]
    struct Out<'a> {
        report: &'a Report,
        observed: &'a Observed,
    }
    let answer = line(&Out { report, observed });
    if answer.len() <= ANSWER_LIMIT { answer } else { Vec::new() }
}

/// Strings, numbers and closed enums: there is nothing in it that JSON cannot say.
fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}
