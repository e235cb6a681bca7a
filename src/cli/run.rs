// SPDX-License-Identifier: Apache-2.0
//! `nodeguard run`: the daemon.

use super::{CliError, Exit, need_root, runtime, say};
use crate::bus::BusAddress;
use crate::daemon;
use crate::engine::Engine;
use crate::system::root::Root;

pub(super) fn run() -> Result<Exit, CliError> {
    need_root("run")?;
    // The bus is a window: a wrong address must not keep the guard from its work.
    let address = BusAddress::from_environment().unwrap_or_else(|e| {
        say(&e.to_string());
        BusAddress::System
    });
    let engine = Engine::new(Root::host()?, None);
    runtime()?.block_on(daemon::run(engine, address))?;
    Ok(Exit::Ok)
}
