// SPDX-License-Identifier: Apache-2.0
//! `nodeguard config`: nodeguard's own configuration as its files make it, and what is wrong with
//! them.

use super::{CliError, ConfigArgs, Exit, out, root, say};
use crate::controls::own_config::observe;
use crate::render::settings;

pub(super) fn run(args: &ConfigArgs) -> Result<Exit, CliError> {
    let sources = observe::sources(&root(args.root.as_deref())?);
    let (effective, problems) = observe::first(&sources);
    if args.json {
        out(&format!("{}\n", settings::json(&sources, &effective, &problems)));
    } else {
        out(&settings::text(&sources, &effective));
    }
    let left_out = &effective.gate.left_out;
    for problem in problems.iter().chain(left_out) {
        say(&format!("{}: {}", problem.origin, problem.message));
    }
    if problems.is_empty() && left_out.is_empty() {
        return Ok(Exit::Ok);
    }
    if problems.is_empty() {
        say("what is named here is left out, and all else is in force");
        return Ok(Exit::Fatal);
    }
    if let Some(origin) = &effective.unclear {
        say(&format!(
            "until that is corrected a first start changes nothing on the host, and its gate judges as \
             ever: {origin} may say mode = \"report\""
        ));
    }
    say("until that is corrected a running service keeps its last whole configuration, \
         and everything else uses the built-in one, shown here");
    Ok(Exit::Fatal)
}
