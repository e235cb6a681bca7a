// SPDX-License-Identifier: Apache-2.0
//! `nodeguard override`: an operator's word that RKE2 may start once although the node is fatal.
//!
//! It has no place in a unit file: it is a command that leaves one file in /run, which the next
//! gate of the role takes away before it goes by it, and which counts for ten minutes of this boot.

use super::{CliError, Exit, OverrideArgs, need_root, now, say};
use crate::controls::rke2_config::judge::overrides::LASTS;
use crate::controls::rke2_config::overrides;
use crate::journal::{Entry, Priority, Record, Unrecorded};
use crate::model::Role;
use crate::system::root::Root;

pub(super) fn run(args: &OverrideArgs) -> Result<Exit, CliError> {
    need_root("override")?;
    let role = Role::from(args.role);
    let root = Root::host()?;
    let minutes = LASTS / 60;
    let Some(reason) = &args.reason else {
        if !overrides::withdraw(&root, role)? {
            say(&format!("there is no unused override for role {role}"));
            return Ok(Exit::Ok);
        }
        let text = format!("the override for role {role} was taken back");
        say(&text);
        record(&Entry::override_withdrawn(Priority::Notice, text))?;
        return Ok(Exit::Ok);
    };
    let word = overrides::ask(&root, role, reason, &now())?;
    let text = format!(
        "override: RKE2's next start as {role} within {minutes} minutes is let through, asked for \
         by {}: {reason}",
        word.by
    );
    let entry = Entry::overriding(Priority::Warning, text.clone(), &word.by, reason);
    if let Err(e) = record(&entry) {
        // Nobody starts RKE2 on a word that nobody can find afterwards.
        overrides::withdraw(&root, role)?;
        say("the override is taken back: it could not be put on record");
        return Err(e.into());
    }
    say(&text);
    eprintln!(
        "nodeguard: now: systemctl restart rke2-{role}. What RKE2 itself refuses it still refuses; \
         `nodeguard check` says what is overridden. Taken back with: nodeguard override --role \
         {role} --withdraw"
    );
    Ok(Exit::Ok)
}

fn record(entry: &Entry) -> Result<(), Unrecorded> {
    Record::within(Record::LIMIT).log(entry)
}
