// SPDX-License-Identifier: Apache-2.0
//! `nodeguard apply`: a pass that mends.

use std::time::Duration;

use super::{ApplyArgs, CliError, Exit, need_root, print, root};
use crate::engine::{Engine, Mode, bounds};
use crate::model::Role;
use crate::render;

pub(super) fn run(args: &ApplyArgs) -> Result<Exit, CliError> {
    need_root("apply")?;
    let mut root = root(args.pass.root.as_deref())?;
    if let Some(within) = args.within {
        root = root.end_within(Duration::from_millis(within));
    }
    let mut engine = Engine::new(root, args.pass.role.map(Role::from));
    let pass = engine.pass(Mode::Apply, &mut |_, _| {});
    print(&render::json(&bounds::corrections(pass.report)), args.pass.json)
}
