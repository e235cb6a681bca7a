// SPDX-License-Identifier: Apache-2.0
//! What is odd about an account `etcd` that is there: RKE2 starts with all of it, and none of it is
//! ours to change.

use super::{Broken, Facts, GroupFacts, UserFacts};
use crate::controls::etcd_account::facts::Password;
use crate::model::{Code, Finding, Origin, Planned, Severity};

/// Names that are listed; further ones are counted.
const NAMES: usize = 3;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// Facts → findings.
pub(crate) fn judge(facts: &Facts) -> Vec<Planned> {
    let mut out = Vec::new();
    if let Some(user) = &facts.user {
        out.extend(privileged(user));
        out.extend(login(user));
        out.extend(home(user));
        out.extend(again(PASSWD, "user etcd", user.line, &user.again));
        out.extend(shared(PASSWD, "user etcd", ("uid", user.uid), user.line, &user.shared_with));
    }
    if let Some(group) = &facts.group {
        out.extend(root_group(group));
        out.extend(members(group));
        out.extend(again(GROUP, "group etcd", group.line, &group.again));
        out.extend(shared(GROUP, "group etcd", ("gid", group.gid), group.line, &group.shared_with));
    }
    out.extend(malformed(&facts.malformed));
    out
}

fn at(file: &str, line: u32, finding: Finding) -> Planned {
    Planned::only(finding.origin(Origin::at(file, line)))
}

/// RKE2 starts with its profile, and etcd runs as root.
fn privileged(user: &UserFacts) -> Option<Planned> {
    let finding = Finding::new(Code::EtcdUserIsRoot, "user etcd")
        .expected("an unprivileged uid")
        .actual("0")
        .message("user etcd has uid 0: etcd would run as root")
        .remedy(format!(
            "vipw: take line {} away; nodeguard makes the user again (userdel would not: it finds \
             root's processes)",
            user.line
        ));
    (user.uid == 0).then(|| at(PASSWD, user.line, finding))
}

fn login(user: &UserFacts) -> Vec<Planned> {
    let mut out = Vec::new();
    let shell = user.shell.rsplit('/').next().unwrap_or_default();
    if shell != "nologin" && shell != "false" {
        let finding = Finding::new(Code::EtcdLoginShell, "user etcd")
            .expected("/sbin/nologin")
            .actual(&user.shell)
            .message(format!(
                "user etcd can log in: its shell is {:?}, expected /sbin/nologin",
                user.shell
            ))
            .remedy("usermod -s /sbin/nologin etcd");
        out.push(at(PASSWD, user.line, finding));
    }
    let (actual, words) = match user.password {
        Password::Locked => return out,
        Password::Usable => ("usable", "has a password"),
        Password::Empty => ("empty", "needs no password"),
    };
    let finding = Finding::new(Code::EtcdPassword, "user etcd")
        .expected("locked")
        .actual(actual)
        .message(format!("user etcd {words}, expected a locked one"))
        // An empty one is not locked by -L, only made impossible to set.
        .remedy("usermod -p '!' etcd");
    out.push(at(PASSWD, user.line, finding));
    out
}

fn home(user: &UserFacts) -> Option<Planned> {
    let finding = Finding::new(Code::EtcdHome, "user etcd")
        .expected("no home")
        .actual(&user.home)
        .message(format!("the home of user etcd, {}, exists; it needs none", user.home))
        .remedy(format!("look what is in {}", user.home));
    user.home_exists.then(|| at(PASSWD, user.line, finding))
}

fn root_group(group: &GroupFacts) -> Option<Planned> {
    let finding = Finding::new(Code::EtcdGroupIsRoot, "group etcd")
        .expected("an unprivileged gid")
        .actual("0")
        .message("group etcd has gid 0: etcd's files would be root's group's")
        .remedy(format!("vigr: take line {} away; nodeguard makes the group again", group.line));
    (group.gid == 0).then(|| at(GROUP, group.line, finding))
}

fn members(group: &GroupFacts) -> Option<Planned> {
    let names = listed(&group.members);
    let finding = Finding::new(Code::EtcdGroupMembers, "group etcd")
        .expected("etcd alone")
        .actual(&names)
        .message(format!("the group etcd has other members: {names}; expected etcd alone"))
        .remedy("gpasswd -d USER etcd, or for a primary group usermod -g GROUP USER");
    // Everybody who is root is a member of root's own group; that it is root's is said already.
    (group.gid != 0 && !group.members.is_empty()).then(|| at(GROUP, group.line, finding))
}

fn again(file: &'static str, subject: &str, first: u32, lines: &[u32]) -> Option<Planned> {
    let line = *lines.first()?;
    let finding = Finding::new(Code::EtcdDuplicateName, subject)
        .expected("one line")
        .actual(format!("{} lines", lines.len() + 1))
        .message(format!(
            "{file} has {subject} in line {line} again: RKE2 takes line {first}, others may take \
             another, and usermod takes none"
        ))
        .remedy(format!(
            "{}: leave one line of etcd",
            if file == PASSWD { "vipw" } else { "vigr" }
        ));
    Some(at(file, line, finding))
}

fn shared(
    file: &'static str,
    subject: &str,
    (word, id): (&str, u32),
    line: u32,
    names: &[String],
) -> Option<Planned> {
    let names = (!names.is_empty()).then(|| listed(names))?;
    let finding = Finding::new(Code::EtcdSharedId, subject)
        .expected(format!("a {word} of its own"))
        .actual(&names)
        .message(format!(
            "{word} {id} is not {subject}'s alone: {names} can use etcd's files as well"
        ))
        .remedy(format!("give the other one a free {word}"));
    // uid 0 and gid 0 are root's: said already.
    (id != 0).then(|| at(file, line, finding))
}

/// The account's own lines one by one, the others in one note.
fn malformed(lines: &[Broken]) -> Vec<Planned> {
    // A line for NIS is meant to be there.
    let lines = lines.iter().filter(|line| !line.reason.contains("NIS"));
    let (ours, others): (Vec<_>, Vec<_>) = lines.partition(|line| line.ours);
    let planned = |line: &Broken, severity, subject: &str, more: usize| {
        let more = if more > 0 { format!(" (and {more} more lines)") } else { String::new() };
        let tool = if line.file == PASSWD { "vipw" } else { "vigr" };
        let finding = Finding::new(Code::AccountLineMalformed, subject)
            .severity(severity)
            .expected("a line that RKE2 can read")
            .actual(line.reason)
            .message(format!(
                "{}:{} counts for nothing: {}{more}",
                line.file, line.line, line.reason
            ))
            .remedy(format!("{tool}: correct line {} or take it away", line.line));
        at(line.file, line.line, finding)
    };
    let mut out: Vec<_> =
        ours.iter().map(|line| planned(line, Severity::Warning, "user or group etcd", 0)).collect();
    if let Some(first) = others.first() {
        out.push(planned(first, Severity::Note, first.file, others.len() - 1));
    }
    out
}

fn listed(names: &[String]) -> String {
    let mut out = names.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMES {
        out.push_str(&format!(" and {} more", names.len() - NAMES));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_limit_are_counted() {
        let names = ["a", "b", "c", "d", "e"].map(str::to_owned);
        assert_eq!(listed(&names[..3]), "a, b, c");
        assert_eq!(listed(&names), "a, b, c and 2 more");
    }
}
