// SPDX-License-Identifier: Apache-2.0
//! `nodeguard gate`: whether RKE2 may start. It runs as `ExecStartPre` of RKE2's unit, so it asks
//! for a fresh pass every time and what it prints is in RKE2's own status.

use std::time::Duration;

use super::{CliError, Exit, GateArgs, need_root, runtime, say, worst_first};
use crate::bus::{BusAddress, client};
use crate::engine::{Engine, Mode};
use crate::host::root::Root;
use crate::host::runtime::write_gate_role;
use crate::model::{Role, State};
use crate::render::{self, View};
use crate::service::Service;

/// The daemon's pass may have to make an account first; what takes longer hangs.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn run(args: &GateArgs) -> Result<Exit, CliError> {
    need_root("gate")?;
    let role = Role::from(args.role);
    let root = Root::host()?;
    // The daemon learns the role from this, and keeps guarding by it after the gate is gone.
    if let Err(e) = write_gate_role(&root, role) {
        say(&e.to_string());
    }
    let view = match ask(role) {
        Ok(view) => view,
        Err(reason) => {
            say(&format!("{reason}; the gate looks by itself"));
            let pass = Engine::new(root, Some(role)).pass(Mode::Apply, &mut |_, _| {});
            render::parse(&render::json(&pass.report))?
        }
    };
    Ok(answer(&view))
}

/// A fresh pass of the daemon's, or why there is none.
fn ask(role: Role) -> Result<View, String> {
    let address = BusAddress::from_environment().map_err(|e| e.to_string())?;
    let runtime = runtime().map_err(|e| e.to_string())?;
    let json = runtime.block_on(client::reconcile(&address, LIMIT)).map_err(|e| e.to_string())?;
    let view = render::parse(&json).map_err(|e| format!("the daemon's report: {e}"))?;
    if view.role == role.as_str() {
        Ok(view)
    } else {
        Err(format!("the daemon takes this node for {}, not {role}", view.role))
    }
}

fn answer(view: &View) -> Exit {
    for (_, finding) in worst_first(view) {
        if finding.severity != "note" {
            // To stderr, so that it stands in order with RKE2's own words.
            eprint!("{}", render::finding_text(finding, "nodeguard: "));
        }
    }
    if view.state() == State::Fatal {
        if let Some((_, worst)) = worst_first(view).first() {
            // RKE2's unit lets us: its log lines are not shown while it waits for the next try.
            let line = render::finding_line(worst);
            Service::from_environment().status(&format!("nodeguard: {line}"));
        }
        say("RKE2 is not started: fix the above, systemd tries again by itself");
        return Exit::Fatal;
    }
    say(&format!("this node is {}", view.headline()));
    Exit::Ok
}
