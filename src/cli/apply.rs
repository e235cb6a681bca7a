// SPDX-License-Identifier: Apache-2.0
//! `nodeguard apply`: a pass that mends.

use std::time::Duration;

use super::{ApplyArgs, CliError, Exit, need_root, print, root, say};
use crate::config::Settings;
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
    let mode = if args.change_nothing { Mode::Check } else { Mode::Apply };
    let pass = engine.pass(mode, &mut |_, _| {});
    // Not to the gate, which says it itself.
    if args.within.is_none() {
        let Settings { mode, unclear, .. } = engine.settings();
        if let Some(origin) = unclear {
            say(&format!("{origin} leaves the mode open: nothing was changed"));
        } else if mode.value.only_reports() {
            say(&format!("report mode ({}): nothing was changed", mode.origin));
        }
    }
    print(&render::json(&bounds::corrections(pass.report)), args.pass.json)
}
