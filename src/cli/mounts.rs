// SPDX-License-Identifier: Apache-2.0
//! `nodeguard mounts UNIT`: a drop-in that has systemd make what RKE2's data is on before it starts
//! RKE2, and us. The generator (systemd/nodeguard-generator) puts it in its place; why it is a
//! generator is in docs/decisions/0074.
//!
//! Wanted, where RKE2 does not start without it, and never required: a mount that fails does not keep RKE2 down by itself, nor is RKE2 ended
//! when it goes away. The gate judges.

use std::collections::BTreeMap;

use super::{CliError, Exit, MountsArgs, OrderedUnit, out};
use crate::controls::own_config::observe::{first, sources};
use crate::controls::rke2_config::observe::mounts;
use crate::model::Role;
use crate::system::root::Root;

pub(super) fn run(args: &MountsArgs) -> Result<Exit, CliError> {
    let root = match &args.root {
        Some(dir) => Root::image(dir)?,
        None => Root::host_files()?,
    };
    root.check_supported()?;
    if first(&sources(&root)).0.changes_nothing() {
        // Then RKE2 starts as it would without us.
        return Ok(Exit::Ok);
    }
    let roles: &[Role] = match args.unit {
        OrderedUnit::Rke2Server => &[Role::Server],
        OrderedUnit::Rke2Agent => &[Role::Agent],
        OrderedUnit::Nodeguard => &[Role::Server, Role::Agent],
    };
    let mut units = BTreeMap::new();
    for first in roles.iter().flat_map(|role| mounts(&root, *role)) {
        *units.entry(first.unit).or_default() |= first.wanted;
    }
    out(&drop_in(args.unit, &units));
    Ok(Exit::Ok)
}

/// Empty where there is nothing to say. `mounts`: their units, and whether RKE2 wants them.
fn drop_in(unit: OrderedUnit, mounts: &BTreeMap<String, bool>) -> String {
    if mounts.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "# Written by nodeguard's generator, from /etc/fstab and the units of mounts. A file of this\n\
         # name in /etc takes it away.\n[Unit]\n",
    );
    for (mount, wanted) in mounts {
        // RKE2's unit wants it; that we come after it is enough.
        if *wanted && unit != OrderedUnit::Nodeguard {
            out.push_str(&format!("Wants={mount}\n"));
        }
        out.push_str(&format!("After={mount}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rke2_wants_its_mounts_and_follows_them_and_never_requires_one() {
        let mounts = [("a.mount", true), ("b\\x2dc.automount", true), ("c.mount", false)];
        let mounts: BTreeMap<String, bool> =
            mounts.map(|(it, wanted)| (it.to_owned(), wanted)).into();
        let lines = |unit| {
            let text = drop_in(unit, &mounts);
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let rke2 = [
            "[Unit]",
            "Wants=a.mount",
            "After=a.mount",
            "Wants=b\\x2dc.automount",
            "After=b\\x2dc.automount",
            "After=c.mount",
        ];
        assert_eq!(lines(OrderedUnit::Rke2Server), rke2);
        assert_eq!(lines(OrderedUnit::Rke2Agent), rke2);
        let ours = ["[Unit]", "After=a.mount", "After=b\\x2dc.automount", "After=c.mount"];
        assert_eq!(lines(OrderedUnit::Nodeguard), ours);
        assert_eq!(drop_in(OrderedUnit::Rke2Server, &BTreeMap::new()), "");
    }
}
