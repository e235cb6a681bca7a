// SPDX-License-Identifier: Apache-2.0
//! Control `etcd-account`: the user and the group `etcd`, as
//! `useradd -r -c "etcd user" -s /sbin/nologin -M etcd -U` makes them, in /etc/passwd and
//! /etc/group: RKE2 reads the files and never asks NSS.
//!
//! RKE2 starts when both names are there, whatever else is wrong with them. So what is missing and
//! cannot be made is fatal, and everything else is not (see `etcd_account_oddity`); which numbers
//! the account gets is in `etcd_account_ids`.

pub mod account_db;
#[cfg(test)]
mod declared;
mod ids;
pub mod odd_ids;
mod oddity;

use super::facts::{
    Broken, DeclaredId, Facts, Fixed, GroupFacts, Holder, Kind, NO_ID, OddId, UserFacts,
};
use ids::Refusal;

use crate::model::{Action, Code, Finding, Origin, Planned, Severity, quoted, shown};

/// The name of the user and of its group.
pub const NAME: &str = "etcd";

/// Facts → findings.
pub fn judge(facts: &Facts) -> Vec<Planned> {
    if !facts.unreadable.is_empty() {
        return facts.unreadable.iter().map(|file| unreadable(facts, file)).collect();
    }
    let mut out = match (&facts.user, &facts.group) {
        (None, _) => missing_user(facts),
        (Some(user), None) => vec![missing_group(facts, user)],
        (Some(user), Some(group)) if has_wrong_primary_group(user, group) => {
            vec![wrong_primary_group(user, group)]
        }
        (Some(_), Some(_)) => Vec::new(),
    };
    if let Some(fixed) = &facts.fixed {
        out = out.into_iter().map(|planned| while_fixed(fixed, planned)).collect();
    }
    out.extend(odd_ids::judge(facts));
    out.extend(ids::passed_over(facts));
    out.extend(ids::differing(facts));
    out.extend(oddity::judge(facts));
    out
}

/// A group with root's number is no group to put the user into, nor is one without a number.
fn has_wrong_primary_group(user: &UserFacts, group: &GroupFacts) -> bool {
    user.gid != group.gid && group.gid != 0 && group.gid != NO_ID
}

impl Facts {
    /// Whether the account has to be made or changed.
    pub fn needs_a_change(&self) -> bool {
        match (&self.user, &self.group) {
            (Some(user), Some(group)) => has_wrong_primary_group(user, group),
            _ => true,
        }
    }
}

/// What cannot be made while a file is immutable is not tried, and said before anybody tries it.
fn while_fixed(fixed: &Fixed, planned: Planned) -> Planned {
    let Planned { finding, actions, unmended } = planned;
    if actions.is_empty() {
        return Planned { finding, actions, unmended };
    }
    let path = shown(&fixed.path);
    let (is, flag) = if fixed.append_only { ("append-only", "-a") } else { ("immutable", "-i") };
    let message = format!("{}; it cannot be changed, since {path} is {is}", finding.message);
    let finding = finding
        .severity(unmended)
        .origin(Origin::file(path))
        .message(message)
        .remedy(format!("chattr {flag} {}", quoted(&fixed.path)));
    Planned { finding, actions: Vec::new(), unmended }
}

/// RKE2 starts without the account where no profile is set.
pub(crate) fn unmended(facts: &Facts) -> Severity {
    if facts.checked { Severity::Fatal } else { Severity::Warning }
}

fn unreadable(facts: &Facts, (path, reason): &(String, String)) -> Planned {
    // RKE2 reads a file of any size, and may find the account in it.
    let severity = if facts.too_large { Severity::Warning } else { unmended(facts) };
    let finding = Finding::new(Code::AccountDatabaseUnreadable, path.as_str())
        .severity(severity)
        .expected("readable")
        .actual(reason)
        .origin(Origin::file(path.as_str()))
        .message(format!("the account etcd cannot be looked for: {reason}"))
        .remedy(format!("make {path} a regular file that root can read"));
    Planned::only(finding)
}

fn missing_user(facts: &Facts) -> Vec<Planned> {
    let (uid, gid) = match &facts.group {
        None => (ids::uid(facts), ids::gid(facts)),
        Some(group) => {
            (ids::fit_for_a_primary_group(group).and_then(|()| ids::uid(facts)), Ok(None))
        }
    };
    let (uid, gid) = match (uid, gid) {
        (Ok(uid), Ok(gid)) => (uid, gid),
        // Both at once, and nothing is made: half an account would be there for the next pass.
        (uid, gid) => {
            let user = uid.err().map(|refusal| refused(facts, Kind::User, *refusal));
            let group = gid.err().map(|refusal| refused(facts, Kind::Group, *refusal));
            return user.into_iter().chain(group).collect();
        }
    };
    let with_group = facts.group.is_none() && gid.is_none();
    let copied = facts.elsewhere.user.is_some() || facts.elsewhere.silent;
    let mut actions = Vec::new();
    let mut commands = Vec::new();
    if facts.group.is_none() && !with_group {
        let (action, command) = create_group(facts, gid);
        actions.push(action);
        commands.push(command);
    }
    actions.push(Action::CreateUser { name: NAME, with_group, uid, copied });
    commands.push(format!(
        r#"useradd{} -r -c "etcd user" -s /sbin/nologin -M{} etcd{}"#,
        files_only(copied),
        uid.map(|uid| format!(" -u {uid}")).unwrap_or_default(),
        if with_group { " -U" } else { " -g etcd" },
    ));
    let source = facts.elsewhere.user.as_ref().map(|user| user.source.as_str());
    vec![missing(facts, Kind::User, source, commands.join(" && "), actions)]
}

fn missing_group(facts: &Facts, user: &UserFacts) -> Planned {
    match ids::gid(facts) {
        Err(refusal) => refused(facts, Kind::Group, *refusal),
        Ok(gid) => {
            let (action, mut command) = create_group(facts, gid);
            // The primary group follows in the next judgement, when the new gid is known.
            if gid != Some(user.gid) {
                command.push_str(" && usermod -g etcd etcd");
            }
            let source = facts.elsewhere.group.as_ref().map(|group| group.source.as_str());
            missing(facts, Kind::Group, source, command, vec![action])
        }
    }
}

fn create_group(facts: &Facts, gid: Option<u32>) -> (Action, String) {
    let copied = facts.elsewhere.group.is_some() || facts.elsewhere.silent;
    let number = gid.map(|gid| format!(" -g {gid}")).unwrap_or_default();
    let command = format!("groupadd{} -r{number} etcd", files_only(copied));
    (Action::CreateGroup { name: NAME, gid, copied }, command)
}

/// Without a prefix the tools refuse a name that NSS knows.
fn files_only(copied: bool) -> &'static str {
    if copied { " --prefix //" } else { "" }
}

fn missing(
    facts: &Facts,
    kind: Kind,
    source: Option<&str>,
    remedy: String,
    actions: Vec<Action>,
) -> Planned {
    let message = match source {
        Some(source) => {
            format!("{} (it is known to {source}, where RKE2 does not look)", kind.rke2s_words())
        }
        None => kind.rke2s_words().to_owned(),
    };
    let (code, file, editor) = match kind {
        Kind::User => (Code::EtcdUserMissing, "/etc/passwd", "vipw"),
        Kind::Group => (Code::EtcdGroupMissing, "/etc/group", "vigr"),
    };
    // Some tools take such a line for the entry, and make no other.
    let broken = facts.malformed.iter().find(|line| line.ours && line.file == file);
    let remedy = match broken {
        Some(line) => format!("{editor}: take line {} away, then {remedy}", line.line),
        None => remedy,
    };
    let origin = match (broken, source) {
        (Some(line), _) => Some(Origin::at(file, line.line)),
        // NSS has no file to show.
        (None, source) => source.filter(|source| source.starts_with('/')).map(Origin::file),
    };
    let finding = Finding::new(code, kind.subject())
        .severity(Severity::Drift)
        .expected(kind.file())
        .actual("missing")
        .origin(origin)
        .message(message)
        .remedy(remedy);
    Planned { finding, actions, unmended: unmended(facts) }
}

/// It is missing, and there is a reason not to make it.
fn refused(facts: &Facts, kind: Kind, refusal: Refusal) -> Planned {
    let Refusal { code, expected, actual, origin, reason, remedy } = refusal;
    let message = format!("{}: it is not made, since {reason}", kind.rke2s_words());
    Planned::only(
        Finding::new(code, kind.subject())
            .severity(unmended(facts))
            .expected(expected)
            .actual(actual)
            .message(message)
            .remedy(remedy)
            .origin(origin),
    )
}

fn wrong_primary_group(user: &UserFacts, group: &GroupFacts) -> Planned {
    Planned {
        finding: Finding::new(Code::EtcdPrimaryGroup, "user etcd")
            .expected(group.gid.to_string())
            .actual(user.gid.to_string())
            .message(format!(
                "the primary group of user etcd is {}, expected {} (etcd): RKE2 would give \
                 etcd's files to group {}",
                user.gid, group.gid, user.gid
            ))
            .remedy("usermod -g etcd etcd")
            .origin(Origin::at("/etc/passwd", user.line)),
        actions: vec![Action::SetPrimaryGroup { name: NAME, gid: group.gid, expect_gid: user.gid }],
        // RKE2 starts all the same; CIS 1.1.12 fails.
        unmended: Severity::Warning,
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::Former;
    use super::*;
    use crate::controls::etcd_account::facts::Password;

    fn user(gid: u32) -> UserFacts {
        UserFacts {
            uid: 997,
            gid,
            shell: "/sbin/nologin".into(),
            home: "/home/etcd".into(),
            home_exists: false,
            line: 20,
            password: Password::Locked,
            again: vec![],
            shared_with: vec![],
        }
    }

    fn group() -> GroupFacts {
        GroupFacts { gid: 996, line: 30, members: vec![], again: vec![], shared_with: vec![] }
    }

    fn create_user(with_group: bool, uid: Option<u32>) -> Action {
        Action::CreateUser { name: NAME, with_group, uid, copied: false }
    }

    fn create_group(gid: Option<u32>) -> Action {
        Action::CreateGroup { name: NAME, gid, copied: false }
    }

    #[test]
    fn the_account_as_the_guide_makes_it_has_no_finding() {
        let facts = Facts { user: Some(user(996)), group: Some(group()), ..Facts::default() };
        assert_eq!(judge(&facts), []);
    }

    #[test]
    fn every_half_made_account_gets_the_action_that_completes_it() {
        let primary = Action::SetPrimaryGroup { name: NAME, gid: 996, expect_gid: 100 };
        let rows = [
            (None, None, create_user(true, None), Severity::Fatal),
            (None, Some(group()), create_user(false, None), Severity::Fatal),
            (Some(user(100)), None, create_group(Some(100)), Severity::Fatal),
            (Some(user(100)), Some(group()), primary, Severity::Warning),
        ];
        for (user, group, action, unmended) in rows {
            let facts = Facts { user, group, checked: true, ..Facts::default() };
            let planned = judge(&facts);
            assert_eq!(planned[0].actions, [action]);
            assert_eq!(planned[0].unmended, unmended);
            assert_eq!(planned[0].finding.severity, Severity::Drift);
        }
    }

    #[test]
    fn what_chattr_keeps_from_being_made_is_said_before_it_is_tried() {
        let fixed = |path: &str, append_only| Some(Fixed { path: path.into(), append_only });
        for (facts, path, append_only, severity, remedy) in [
            (Facts::default(), "/etc/passwd", false, Severity::Fatal, "chattr -i /etc/passwd"),
            (Facts::default(), "/etc", false, Severity::Fatal, "chattr -i /etc"),
            (
                Facts { user: Some(user(100)), ..Facts::default() },
                "/etc/gshadow",
                true,
                Severity::Fatal,
                "chattr -a /etc/gshadow",
            ),
            (
                Facts { user: Some(user(100)), group: Some(group()), ..Facts::default() },
                "/etc/passwd",
                false,
                Severity::Warning,
                "chattr -i /etc/passwd",
            ),
        ] {
            let facts = Facts { fixed: fixed(path, append_only), checked: true, ..facts };
            let planned = judge(&facts);
            assert_eq!(planned.len(), 1);
            assert!(planned[0].actions.is_empty(), "{planned:?}");
            assert_eq!(planned[0].finding.severity, severity);
            assert_eq!(planned[0].finding.remedy, remedy);
            assert_eq!(planned[0].finding.origin, Some(Origin::file(path)));
        }
        // Nothing has to be changed: a file may be as it is.
        let whole = Facts { user: Some(user(996)), group: Some(group()), ..Facts::default() };
        assert!(!whole.needs_a_change());
    }

    #[test]
    fn an_account_that_is_gone_gets_the_numbers_back_that_it_had() {
        let former = Former { uid: Some(992), gid: Some(991) };
        let planned = judge(&Facts { former, ..Facts::default() });
        assert_eq!(planned[0].actions, [create_group(Some(991)), create_user(false, Some(992))]);
        assert_eq!(
            planned[0].finding.remedy,
            r#"groupadd -r -g 991 etcd && useradd -r -c "etcd user" -s /sbin/nologin -M -u 992 etcd -g etcd"#
        );
        let facts = Facts { former, group: Some(group()), ..Facts::default() };
        assert_eq!(judge(&facts)[0].actions, [create_user(false, Some(992))]);
        let taken = Former { uid: None, gid: Some(991) };
        let planned = judge(&Facts { former: taken, ..Facts::default() });
        assert_eq!(planned[0].actions, [create_group(Some(991)), create_user(false, None)]);

        let whole = Facts { user: Some(user(996)), group: Some(group()), ..Facts::default() };
        let seen = Former::default().seen(&whole);
        assert_eq!(seen, Former { uid: Some(997), gid: Some(996) });
        assert_eq!(seen.seen(&Facts::default()), seen, "it is kept while the account is away");
    }

    #[test]
    fn rke2s_own_words_come_first() {
        let messages = |facts: &Facts| judge(facts)[0].finding.message.clone();
        assert_eq!(messages(&Facts::default()), "missing required: user: unknown user etcd");
        let facts = Facts { user: Some(user(1)), ..Facts::default() };
        assert_eq!(messages(&facts), "missing required: group: unknown group etcd");
    }

    #[test]
    fn an_unreadable_database_is_never_taken_for_an_empty_one() {
        let facts = Facts {
            unreadable: vec![("/etc/passwd".into(), "Input/output error".into())],
            checked: true,
            ..Facts::default()
        };
        let planned = judge(&facts);
        assert_eq!(planned.len(), 1);
        assert_eq!(planned[0].finding.code, Code::AccountDatabaseUnreadable);
        assert!(planned[0].actions.is_empty());
        assert_eq!(planned[0].finding.severity, Severity::Fatal, "RKE2 cannot read it either");
    }

    #[test]
    fn a_database_that_is_only_too_large_for_us_is_no_reason_to_shut_the_gate() {
        let facts = Facts {
            unreadable: vec![("/etc/group".into(), "it has more than 4 MiB".into())],
            too_large: true,
            checked: true,
            ..Facts::default()
        };
        let planned = judge(&facts);
        assert_eq!(planned[0].finding.code, Code::AccountDatabaseUnreadable);
        assert_eq!(planned[0].finding.severity, Severity::Warning);
    }
}
