// SPDX-License-Identifier: Apache-2.0
//! `nodeguard config`: nodeguard's own configuration as its files make it, and what is wrong with
//! them.

use super::{CliError, ConfigArgs, Exit, out, root, say};
use crate::config::{self, Settings};
use crate::controls::own_config::observe;
use crate::controls::sysctl;
use crate::render::settings;

pub(super) fn run(args: &ConfigArgs) -> Result<Exit, CliError> {
    let sources = observe::sources(&root(args.root.as_deref())?);
    let (effective, problems) = match config::resolve(&sources, &sysctl::FIXED) {
        Ok(effective) => (effective, Vec::new()),
        Err(problems) => (Settings::default(), problems),
    };
    if args.json {
        out(&format!("{}\n", settings::json(&sources, &effective, &problems)));
    } else {
        out(&settings::text(&sources, &effective));
    }
    for problem in &problems {
        say(&format!("{}: {}", problem.origin, problem.message));
    }
    if problems.is_empty() {
        return Ok(Exit::Ok);
    }
    say("until that is corrected a running service keeps its last whole configuration, \
         and everything else uses the built-in one, shown here");
    Ok(Exit::Fatal)
}
