// SPDX-License-Identifier: Apache-2.0
//! `nodeguard apply`: a pass that mends.

use super::{CliError, Exit, PassArgs, engine, need_root, print};
use crate::engine::Mode;
use crate::render;

pub(super) fn run(args: &PassArgs) -> Result<Exit, CliError> {
    need_root("apply")?;
    let pass = engine(args)?.pass(Mode::Apply, &mut |_, _| {});
    print(&render::json(&pass.report), args.json)
}
