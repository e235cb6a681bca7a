// SPDX-License-Identifier: Apache-2.0
//! `nodeguard check`: a pass that changes nothing.

use super::{CliError, Exit, PassArgs, engine, need_root, print};
use crate::engine::{Mode, bounds};
use crate::render;

pub(super) fn run(args: &PassArgs) -> Result<Exit, CliError> {
    if args.root.is_none() {
        // RKE2's configuration and etcd's files are root's to read.
        need_root("check")?;
    }
    let pass = engine(args)?.pass(Mode::Check, &mut |_, _| {});
    print(&render::json(&bounds::corrections(pass.report)), args.json)
}
