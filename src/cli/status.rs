// SPDX-License-Identifier: Apache-2.0
//! `nodeguard status`: what the daemon knows; where it does not answer, that is said and the node
//! is looked at now.

use std::time::Duration;

use super::{CliError, Exit, PassArgs, StatusArgs, check, print, runtime, say};
use crate::bus::{BusAddress, client};

/// Reading the last report takes a millisecond.
const LIMIT: Duration = Duration::from_secs(3);

pub(super) fn run(args: &StatusArgs) -> Result<Exit, CliError> {
    let address = BusAddress::from_environment()?;
    match runtime()?.block_on(client::get_report(&address, LIMIT)) {
        Ok(json) => print(&json, args.json),
        Err(e) => {
            say(&format!("the service does not answer ({e}); looked at the node just now:"));
            check::run(&PassArgs { json: args.json, root: None, role: None })
        }
    }
}
