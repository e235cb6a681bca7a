// SPDX-License-Identifier: Apache-2.0
//! `nodeguard apply`: a pass that mends.

use std::time::Duration;

use super::{ApplyArgs, CliError, Exit, engine, need_root, print};
use crate::engine::{Mode, bounds};
use crate::render;
use crate::system::command;

pub(super) fn run(args: &ApplyArgs) -> Result<Exit, CliError> {
    need_root("apply")?;
    if let Some(within) = args.within {
        command::end_within(Duration::from_millis(within));
    }
    let pass = engine(&args.pass)?.pass(Mode::Apply, &mut |_, _| {});
    print(&render::json(&bounds::corrections(pass.report)), args.pass.json)
}
