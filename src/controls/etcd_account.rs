// SPDX-License-Identifier: Apache-2.0
//! Control `etcd-account`: the user and the group `etcd`, as
//! `useradd -r -c "etcd user" -s /sbin/nologin -M etcd -U` makes them, in /etc/passwd and
//! /etc/group: RKE2 reads the files and never asks NSS.

use crate::model::{Action, ControlId, Finding, Origin, Owner, Planned, Severity};

/// Of the user and of its group.
pub const NAME: &str = "etcd";

/// The command of RKE2's hardening guide.
const GUIDE: &str = r#"useradd -r -c "etcd user" -s /sbin/nologin -M etcd -U"#;

/// What was observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub user: Option<UserFacts>,
    pub group: Option<GroupFacts>,
    /// Why a file could not be read, with its path.
    pub unreadable: Vec<(String, String)>,
    /// Who owns etcd's data directory, where that is nobody this database knows and both numbers
    /// are free system ids: a data disk that outlived its system.
    pub orphan: Option<Owner>,
    /// Whether RKE2 refuses to start without the account: a profile is set.
    pub checked: bool,
}

/// The entry in /etc/passwd that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFacts {
    pub uid: u32,
    pub gid: u32,
    pub shell: String,
    /// In /etc/passwd, counted from 1.
    pub line: u32,
    /// Whether /etc/shadow (or passwd itself) has a password one could log in with.
    pub usable_password: bool,
}

/// The entry in /etc/group that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFacts {
    pub gid: u32,
    /// In /etc/group, counted from 1.
    pub line: u32,
}

/// Facts → findings.
pub fn judge(facts: &Facts) -> Vec<Planned> {
    if !facts.unreadable.is_empty() {
        return facts
            .unreadable
            .iter()
            .map(|(path, reason)| {
                let message = format!("{path} cannot be read: {reason}");
                Planned::only(finding(
                    "account-database-unreadable",
                    unmended(facts),
                    path,
                    ("readable", reason),
                    message,
                    format!("check {path}"),
                ))
            })
            .collect();
    }
    match (&facts.user, &facts.group) {
        (None, group) => vec![missing_user(facts, group.is_some())],
        (Some(user), None) => {
            let mut out = vec![missing_group(facts)];
            out.extend(judge_user(facts, user));
            out
        }
        (Some(user), Some(group)) => {
            let mut out = Vec::new();
            if user.gid != group.gid {
                out.push(wrong_primary_group(facts, user, group));
            }
            out.extend(judge_user(facts, user));
            out
        }
    }
}

fn unmended(facts: &Facts) -> Severity {
    if facts.checked { Severity::Fatal } else { Severity::Warning }
}

fn missing_user(facts: &Facts, group_exists: bool) -> Planned {
    let (remedy, actions) = match (facts.orphan, group_exists) {
        // The data keeps its owner: nothing of it has to be changed.
        (Some(Owner { uid, gid }), false) => (
            format!(
                r#"groupadd -r -g {gid} etcd && useradd -r -c "etcd user" -s /sbin/nologin -M -u {uid} -g etcd etcd"#
            ),
            vec![
                Action::CreateGroup { name: NAME, gid: Some(gid) },
                Action::CreateUser { name: NAME, with_group: false, uid: Some(uid) },
            ],
        ),
        (_, true) => (
            r#"useradd -r -c "etcd user" -s /sbin/nologin -M -g etcd etcd"#.into(),
            vec![Action::CreateUser { name: NAME, with_group: false, uid: None }],
        ),
        (None, false) => {
            (GUIDE.into(), vec![Action::CreateUser { name: NAME, with_group: true, uid: None }])
        }
    };
    Planned {
        finding: finding(
            "etcd-user-missing",
            Severity::Drift,
            "user etcd",
            ("in /etc/passwd", "missing"),
            "missing required: user: unknown user etcd".into(),
            remedy,
        ),
        actions,
        unmended: unmended(facts),
    }
}

fn missing_group(facts: &Facts) -> Planned {
    Planned {
        finding: finding(
            "etcd-group-missing",
            Severity::Drift,
            "group etcd",
            ("in /etc/group", "missing"),
            "missing required: group: unknown group etcd".into(),
            "groupadd -r etcd && usermod -g etcd etcd".into(),
        ),
        // The primary group follows in the next judgement, when the new gid is known.
        actions: vec![Action::CreateGroup { name: NAME, gid: None }],
        unmended: unmended(facts),
    }
}

fn wrong_primary_group(facts: &Facts, user: &UserFacts, group: &GroupFacts) -> Planned {
    Planned {
        finding: Finding {
            origin: Some(Origin::at("/etc/passwd", user.line)),
            ..finding(
                "etcd-primary-group",
                Severity::Drift,
                "user etcd",
                (&group.gid.to_string(), &user.gid.to_string()),
                format!(
                    "the primary group of user etcd is {}, expected {} (etcd): RKE2 would give etcd's files to group {}",
                    user.gid, group.gid, user.gid
                ),
                "usermod -g etcd etcd".into(),
            )
        },
        actions: vec![Action::SetPrimaryGroup { name: NAME, gid: group.gid, expect_gid: user.gid }],
        // RKE2 starts all the same; CIS 1.1.12 fails.
        unmended: if facts.checked { Severity::Fatal } else { Severity::Warning },
    }
}

fn judge_user(facts: &Facts, user: &UserFacts) -> Vec<Planned> {
    let origin = Some(Origin::at("/etc/passwd", user.line));
    let mut out = Vec::new();
    if user.uid == 0 {
        out.push(Planned::only(Finding {
            origin: origin.clone(),
            ..finding(
                "etcd-user-is-root",
                unmended(facts),
                "user etcd",
                ("an unprivileged uid", "0"),
                "user etcd has uid 0: etcd would run as root".into(),
                format!("userdel etcd, then {GUIDE}"),
            )
        }));
    }
    let shell = user.shell.rsplit('/').next().unwrap_or_default();
    if shell != "nologin" && shell != "false" {
        out.push(Planned::only(Finding {
            origin: origin.clone(),
            ..finding(
                "etcd-login-shell",
                Severity::Warning,
                "user etcd",
                ("/sbin/nologin", &user.shell),
                format!(
                    "user etcd can log in: its shell is {:?}, expected /sbin/nologin",
                    user.shell
                ),
                "usermod -s /sbin/nologin etcd".into(),
            )
        }));
    }
    if user.usable_password {
        out.push(Planned::only(Finding {
            origin,
            ..finding(
                "etcd-password",
                Severity::Warning,
                "user etcd",
                ("locked", "usable"),
                "user etcd has a password, expected a locked one".into(),
                "usermod -L etcd".into(),
            )
        }));
    }
    out
}

fn finding(
    code: &'static str,
    severity: Severity,
    subject: &str,
    (expected, actual): (&str, &str),
    message: String,
    remedy: String,
) -> Finding {
    Finding {
        control: ControlId::EtcdAccount,
        code,
        severity,
        subject: subject.into(),
        expected: expected.into(),
        actual: actual.into(),
        origin: None,
        message,
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(gid: u32) -> UserFacts {
        UserFacts { uid: 997, gid, shell: "/sbin/nologin".into(), line: 20, usable_password: false }
    }

    fn group() -> GroupFacts {
        GroupFacts { gid: 996, line: 30 }
    }

    fn codes(facts: &Facts) -> Vec<&'static str> {
        judge(facts).iter().map(|p| p.finding.code).collect()
    }

    #[test]
    fn the_account_as_the_guide_makes_it_has_no_finding() {
        let facts = Facts { user: Some(user(996)), group: Some(group()), ..Facts::default() };
        assert_eq!(judge(&facts), []);
    }

    #[test]
    fn every_half_made_account_gets_the_action_that_completes_it() {
        let rows = [
            (None, None, Action::CreateUser { name: NAME, with_group: true, uid: None }),
            (None, Some(group()), Action::CreateUser { name: NAME, with_group: false, uid: None }),
            (Some(user(100)), None, Action::CreateGroup { name: NAME, gid: None }),
            (
                Some(user(100)),
                Some(group()),
                Action::SetPrimaryGroup { name: NAME, gid: 996, expect_gid: 100 },
            ),
        ];
        for (user, group, action) in rows {
            let facts = Facts { user, group, checked: true, ..Facts::default() };
            let planned = judge(&facts);
            assert_eq!(planned[0].actions, [action]);
            assert_eq!(planned[0].unmended, Severity::Fatal);
            assert_eq!(planned[0].finding.severity, Severity::Drift);
        }
    }

    #[test]
    fn data_that_outlived_its_system_keeps_its_owner() {
        let orphan = Some(Owner { uid: 992, gid: 991 });
        let planned = judge(&Facts { orphan, ..Facts::default() });
        assert_eq!(
            planned[0].actions,
            [
                Action::CreateGroup { name: NAME, gid: Some(991) },
                Action::CreateUser { name: NAME, with_group: false, uid: Some(992) },
            ]
        );
        let facts = Facts { orphan, group: Some(group()), ..Facts::default() };
        assert_eq!(
            judge(&facts)[0].actions,
            [Action::CreateUser { name: NAME, with_group: false, uid: None }],
            "an account that was begun is completed as it is"
        );
    }

    #[test]
    fn rke2s_own_words_come_first() {
        let messages = |facts: &Facts| judge(facts)[0].finding.message.clone();
        assert_eq!(messages(&Facts::default()), "missing required: user: unknown user etcd");
        let facts = Facts { user: Some(user(1)), ..Facts::default() };
        assert_eq!(messages(&facts), "missing required: group: unknown group etcd");
    }

    #[test]
    fn an_account_one_can_log_in_with_is_a_warning_and_uid_0_is_fatal_under_a_profile() {
        let mut it = user(996);
        it.shell = "/bin/bash".into();
        it.usable_password = true;
        it.uid = 0;
        let facts =
            Facts { user: Some(it), group: Some(group()), checked: true, ..Facts::default() };
        assert_eq!(codes(&facts), ["etcd-user-is-root", "etcd-login-shell", "etcd-password"]);
        assert_eq!(judge(&facts)[0].finding.severity, Severity::Fatal);
    }

    #[test]
    fn an_unreadable_database_is_never_taken_for_an_empty_one() {
        let facts = Facts {
            unreadable: vec![("/etc/passwd".into(), "Input/output error".into())],
            checked: true,
            ..Facts::default()
        };
        assert_eq!(codes(&facts), ["account-database-unreadable"]);
        assert!(judge(&facts)[0].actions.is_empty());
    }
}
