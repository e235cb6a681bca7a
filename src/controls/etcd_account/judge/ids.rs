// SPDX-License-Identifier: Apache-2.0
//! Which numbers the account `etcd` gets, and where it must not be made at all.
//!
//! The operator's own, else those that something besides the files knows, else those that sysusers.d
//! names, else those it had before, else whatever the tools choose. A number that somebody else has is
//! never given. Another one takes its place only where systemd-sysusers would give another as well; an
//! account that exists is never renumbered.

use super::{DeclaredId, Facts, GroupFacts, Holder, Kind};
use crate::config::Setting;
use crate::model::{Code, Finding, Origin, Planned, Severity};

/// What the kernel shows for a number that it cannot show, as of another user namespace.
const NOBODY: u32 = 65534;

/// Whether a number may be an account's of its own: not root's, not nobody's, and none of the two that
/// mean "none".
fn is_an_accounts(id: u32) -> bool {
    ![0, NOBODY, 65535, u32::MAX].contains(&id)
}

/// Why the user or the group is not made.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub code: Code,
    pub expected: String,
    pub actual: String,
    pub origin: Option<Origin>,
    /// Follows "since".
    pub reason: String,
    pub remedy: String,
}

/// The number for the user, which is missing; `None`: whatever is free.
pub(crate) fn uid(facts: &Facts) -> Result<Option<u32>, Box<Refusal>> {
    let known = facts.elsewhere.user.as_ref().map(|user| (user.uid, user.source.as_str()));
    let wanted = wanted(facts, Kind::User, facts.pinned.uid.as_ref(), known)?;
    if wanted.is_some() {
        return Ok(wanted);
    }
    let declared = declared(facts, Kind::User, facts.declared.uid.as_ref())?;
    Ok(declared
        .or(if_free(facts, Kind::User, facts.declared.uid_if_free))
        .or(former(facts.former.uid)))
}

/// The number for the group, which is missing; `None`: whatever is free.
pub(crate) fn gid(facts: &Facts) -> Result<Option<u32>, Box<Refusal>> {
    let known = facts.elsewhere.group.as_ref().map(|group| (group.gid, group.source.as_str()));
    let wanted = wanted(facts, Kind::Group, facts.pinned.gid.as_ref(), known)?;
    if let Some(gid) = wanted.or(primary(facts)) {
        return Ok(Some(gid));
    }
    let declared = declared(facts, Kind::Group, facts.declared.gid.as_ref())?;
    Ok(declared
        .or(if_free(facts, Kind::Group, facts.declared.gid_if_free))
        .or(former(facts.former.gid)))
}

/// The group number of a user whose group was lost, if it is free: with it nothing else has to be changed.
fn primary(facts: &Facts) -> Option<u32> {
    let primary = match &facts.user {
        Some(user) => Some(user.gid),
        None => facts.elsewhere.user.as_ref().map(|user| user.gid),
    };
    primary.filter(|&gid| gid != 0 && holder(facts, Kind::Group, gid).is_none())
}

/// What a line of sysusers.d says. Where somebody has the number, it is none, as to systemd-sysusers
/// ("Suggested user ID 997 for etcd already used"), and [`passed_over`] tells it; one that the line
/// requires is refused.
fn declared(
    facts: &Facts,
    kind: Kind,
    line: Option<&DeclaredId>,
) -> Result<Option<u32>, Box<Refusal>> {
    let Some(DeclaredId { id, required, origin }) = line else { return Ok(None) };
    let word = word(kind);
    let held = holder(facts, kind, *id);
    if is_an_accounts(*id) && held.is_none() {
        return Ok(Some(*id));
    }
    if !required {
        return Ok(None);
    }
    let (actual, whose) = taken_by(held, *id, word);
    Err(Box::new(Refusal {
        code: Code::EtcdElsewhere,
        expected: format!("{word} {id} free"),
        actual,
        origin: Some(origin.clone()),
        reason: format!("{origin} names {word} {id} for it, which is {whose}"),
        remedy: name_another(word),
    }))
}

/// Who has a number, and what it is where nobody may have it.
fn taken_by(held: Option<&Holder>, id: u32, word: &str) -> (String, String) {
    match (held, id) {
        (Some(holder), _) => (format!("{word} {id} of {}", holder.name), whose(holder)),
        (None, 0) => (format!("{word} 0"), "root's".to_owned()),
        (None, NOBODY) => (format!("{word} {id}"), "nobody's, whoever is named so here".into()),
        (None, _) => (format!("{word} {id}"), "no number to the kernel: it means none".into()),
    }
}

/// What it had before, if that was ever an account's.
fn former(id: Option<u32>) -> Option<u32> {
    id.filter(|&id| is_an_accounts(id))
}

fn name_another(word: &str) -> String {
    format!(
        "name a free {word} in a file of the same name in /etc/sysusers.d, or set {word} in \
         /etc/nodeguard/nodeguard.toml ([etcd-account])"
    )
}

/// Numbers that sysusers.d names for what is missing, and that it does not get since they are
/// somebody's: it gets others, and other nodes may have the ones that are named.
pub(crate) fn passed_over(facts: &Facts) -> Vec<Planned> {
    let user = facts.user.is_none() && facts.elsewhere.user.is_none();
    let group = facts.group.is_none() && facts.elsewhere.group.is_none();
    let rows = [
        (Kind::User, user && facts.pinned.uid.is_none(), &facts.declared.uid),
        (
            Kind::Group,
            group && facts.pinned.gid.is_none() && primary(facts).is_none(),
            &facts.declared.gid,
        ),
    ];
    let counting = rows.into_iter().filter(|(_, counts, _)| *counts);
    counting
        .filter_map(|(kind, _, line)| {
            let DeclaredId { id, origin, .. } = line.as_ref().filter(|line| !line.required)?;
            let (word, held) = (word(kind), holder(facts, kind, *id));
            if is_an_accounts(*id) && held.is_none() {
                return None;
            }
            let (actual, whose) = taken_by(held, *id, word);
            Some(Planned::only(
                Finding::new(Code::EtcdElsewhere, kind.subject())
                    .severity(Severity::Warning)
                    .expected(format!("{word} {id} free"))
                    .actual(actual)
                    .message(format!(
                        "{origin} names {word} {id} for {}, which is {whose}: it gets another one, \
                         as systemd-sysusers would give it",
                        kind.subject()
                    ))
                    .remedy(name_another(word))
                    .origin(origin.clone()),
            ))
        })
        .collect()
}

fn if_free(facts: &Facts, kind: Kind, id: Option<u32>) -> Option<u32> {
    id.filter(|&id| is_an_accounts(id) && holder(facts, kind, id).is_none())
}

/// A user that is made is put into the group that is there, unless that is root's: whatever is
/// left to the group in etcd's data would be root's group's, and what is root's group's etcd's.
pub(crate) fn fit_for_a_primary_group(group: &GroupFacts) -> Result<(), Box<Refusal>> {
    if group.gid != 0 {
        return Ok(());
    }
    Err(Box::new(Refusal {
        code: Code::EtcdUserMissing,
        expected: "a group etcd with an unprivileged gid".into(),
        actual: "gid 0".into(),
        origin: Some(Origin::at("/etc/group", group.line)),
        reason: "the group etcd has gid 0, and root's group would be its primary group".into(),
        remedy: format!("vigr: take line {} away; nodeguard makes user and group", group.line),
    }))
}

/// What the operator, or a source besides the files, says. A number that cannot be had is an
/// error: never another one.
fn wanted(
    facts: &Facts,
    kind: Kind,
    pinned: Option<&Setting<u32>>,
    known: Option<(u32, &str)>,
) -> Result<Option<u32>, Box<Refusal>> {
    let word = word(kind);
    match (pinned, known) {
        (Some(pin), Some((id, source))) if pin.value != id => Err(Box::new(Refusal {
            code: Code::EtcdElsewhere,
            expected: pin.value.to_string(),
            actual: id.to_string(),
            origin: Some(pin.origin.clone()),
            reason: format!(
                "{source} knows {} with {word} {id}, and {} says {}",
                kind.subject(),
                pin.origin,
                pin.value
            ),
            remedy: format!("set {word} = {id} in {}, or correct {source}", pin.origin.file),
        })),
        (Some(pin), _) => match holder(facts, kind, pin.value) {
            None => Ok(Some(pin.value)),
            Some(holder) => Err(Box::new(Refusal {
                code: Code::EtcdPinnedIdTaken,
                expected: format!("{word} {} free", pin.value),
                actual: format!("{word} {} of {}", pin.value, holder.name),
                origin: Some(pin.origin.clone()),
                reason: format!("{word} {} ({}) is {}", pin.value, pin.origin, whose(holder)),
                remedy: format!(
                    "set a free {word} in {}, or give {} another one",
                    pin.origin.file, holder.name
                ),
            })),
        },
        (None, Some((0, source))) => Err(Box::new(Refusal {
            code: Code::EtcdElsewhere,
            expected: format!("an unprivileged {word}"),
            actual: "0".into(),
            origin: file(source),
            reason: format!("{source} knows it with {word} 0, which is root's"),
            remedy: format!("correct {source}"),
        })),
        (None, Some((id, source))) => match holder(facts, kind, id) {
            None => Ok(Some(id)),
            Some(holder) => Err(Box::new(Refusal {
                code: Code::EtcdElsewhere,
                expected: format!("{word} {id} free"),
                actual: format!("{word} {id} of {}", holder.name),
                origin: file(source),
                reason: format!("{source} knows it with {word} {id}, which is {}", whose(holder)),
                remedy: format!("give {} another {word}, or correct {source}", holder.name),
            })),
        },
        (None, None) => Ok(None),
    }
}

/// The file of a source that is one; NSS has no file to show.
fn file(source: &str) -> Option<Origin> {
    source.starts_with('/').then(|| Origin::file(source))
}

fn whose(holder: &Holder) -> String {
    let kind = match holder.kind {
        Kind::User => "user",
        Kind::Group => "group",
    };
    format!("{kind} {}'s ({})", holder.name, holder.place)
}

fn holder(facts: &Facts, kind: Kind, id: u32) -> Option<&Holder> {
    facts.holders.iter().find(|holder| holder.kind == kind && holder.id == id)
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::User => "uid",
        Kind::Group => "gid",
    }
}

/// Numbers of an account that exists and should have others: for the operator to change, since
/// etcd may run with them and files anywhere may have them.
pub(crate) fn differing(facts: &Facts) -> Vec<Planned> {
    let user = facts.user.as_ref().map(|user| (user.uid, "/etc/passwd", user.line));
    let group = facts.group.as_ref().map(|group| (group.gid, "/etc/group", group.line));
    let rows = [
        (Kind::User, user, &facts.pinned.uid, "usermod -u"),
        (Kind::Group, group, &facts.pinned.gid, "groupmod -g"),
    ];
    rows.into_iter()
        .filter_map(|(kind, entry, pinned, command)| {
            let ((id, file, line), pin) = (entry?, pinned.as_ref()?);
            if id == pin.value {
                return None;
            }
            let (subject, word) = (kind.subject(), word(kind));
            Some(Planned::only(
                Finding::new(Code::EtcdPinnedIdDiffers, subject)
                    .expected(pin.value.to_string())
                    .actual(id.to_string())
                    .message(format!(
                        "{subject} has {word} {id}, expected {} ({}); an account that exists is \
                         not renumbered",
                        pin.value, pin.origin
                    ))
                    .remedy(format!(
                        "rke2-killall.sh, then {command} {} etcd, then start RKE2",
                        pin.value
                    ))
                    .origin(Origin::at(file, line)),
            ))
        })
        .collect()
}
