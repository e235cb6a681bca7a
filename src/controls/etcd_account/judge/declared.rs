// SPDX-License-Identifier: Apache-2.0
//! Tests of what numbers of sysusers.d come to beside all others; `ids.rs` has the judgement.

use super::super::facts::{Elsewhere, Former, KnownUser};
use super::*;
use crate::config::{EtcdAccount, Setting};
use crate::controls::etcd_account::facts::Declared;

fn id(id: u32) -> Option<DeclaredId> {
    Some(DeclaredId { id, required: false, origin: Origin::at("/usr/lib/sysusers.d/etcd.conf", 3) })
}

/// Behind a colon.
fn required(number: u32) -> Option<DeclaredId> {
    id(number).map(|line| DeclaredId { required: true, ..line })
}

fn holder(kind: Kind, id: u32) -> Holder {
    Holder { kind, id, name: "other".into(), place: Origin::at("/etc/passwd", 9) }
}

fn remedy(facts: &Facts) -> String {
    let planned = judge(facts);
    let actions: Vec<_> = planned.iter().flat_map(|planned| &planned.actions).collect();
    assert!(!actions.is_empty(), "{planned:?}");
    planned[0].finding.remedy.clone()
}

#[test]
fn a_declared_number_comes_before_whatever_is_free_and_after_what_the_operator_says() {
    let declared =
        Declared { uid: id(52034), gid: id(52035), uid_if_free: None, gid_if_free: Some(52034) };
    let facts = Facts { declared: declared.clone(), ..Facts::default() };
    let made = remedy(&facts);
    assert!(made.starts_with("groupadd -r -g 52035 etcd && useradd "), "{made}");
    assert!(made.ends_with(" -M -u 52034 etcd -g etcd"), "{made}");

    let former = Former { uid: Some(992), gid: Some(991) };
    assert_eq!(remedy(&Facts { former, ..facts.clone() }), made, "before those it had");

    // Without a number of its own the group gets the user's, where that is free.
    let alone = Declared { gid: None, ..declared.clone() };
    let facts = Facts { declared: alone.clone(), ..Facts::default() };
    assert!(remedy(&facts).starts_with("groupadd -r -g 52034 etcd"));
    let taken = Facts { holders: vec![holder(Kind::Group, 52034)], ..facts };
    assert!(remedy(&taken).ends_with(" -M -u 52034 etcd -U"), "{}", remedy(&taken));

    let pin =
        |value| Some(Setting { value, origin: Origin::at("/etc/nodeguard/nodeguard.toml", 2) });
    let pinned = EtcdAccount { uid: pin(600), gid: pin(600) };
    let facts = Facts { declared: declared.clone(), pinned, ..Facts::default() };
    assert!(remedy(&facts).contains(" -g 600 etcd"), "{}", remedy(&facts));

    let known = KnownUser { uid: 700, gid: 700, source: "NSS (sss)".into() };
    let elsewhere = Elsewhere { user: Some(known), ..Elsewhere::default() };
    let facts = Facts { declared, elsewhere, ..Facts::default() };
    assert!(remedy(&facts).contains(" -u 700 etcd"), "{}", remedy(&facts));
}

#[test]
fn where_somebody_has_a_declared_number_another_is_taken_and_that_is_a_warning() {
    let uid = |number| Declared { uid: id(number), ..Declared::default() };
    let gid = |number| Declared { gid: id(number), ..Declared::default() };
    for (declared, taken, subject, words) in [
        (
            uid(52034),
            Some(Kind::User),
            "user etcd",
            "uid 52034 for user etcd, which is user other's",
        ),
        (gid(52034), Some(Kind::Group), "group etcd", "gid 52034 for group etcd, which is group"),
        (uid(0), None, "user etcd", "uid 0 for user etcd, which is root's"),
        (gid(0), None, "group etcd", "gid 0 for group etcd, which is root's"),
    ] {
        let holders = taken.map(|kind| holder(kind, 52034)).into_iter().collect();
        let facts = Facts { declared, holders, checked: true, ..Facts::default() };
        let made = remedy(&facts);
        assert!(made.ends_with(" -M etcd -U"), "the tools choose: {made}");
        let planned = judge(&facts);
        assert_eq!(planned.len(), 2, "{planned:?}");
        let Planned { finding, actions, .. } = &planned[1];
        assert!(actions.is_empty());
        assert_eq!(
            (finding.code.known(), finding.subject.as_str(), finding.severity),
            (Some(Code::EtcdElsewhere), subject, Severity::Warning)
        );
        assert_eq!(finding.origin, Some(Origin::at("/usr/lib/sysusers.d/etcd.conf", 3)));
        assert!(finding.message.contains(words), "{}", finding.message);
    }
    // Those that it had come before any that is free, and what the operator says before all.
    let holders = vec![holder(Kind::User, 52034)];
    let former = Former { uid: Some(992), gid: None };
    let facts = Facts { declared: uid(52034), holders, former, ..Facts::default() };
    assert!(remedy(&facts).contains(" -u 992 etcd"), "{}", remedy(&facts));
    let value = 600;
    let pin = Setting { value, origin: Origin::at("/etc/nodeguard/nodeguard.toml", 2) };
    let pinned = EtcdAccount { uid: Some(pin), gid: None };
    assert_eq!(judge(&Facts { pinned, ..facts }).len(), 1, "the line is not asked");
}

#[test]
fn a_number_that_is_nobodys_is_never_etcds() {
    for number in [65534, 65535, u32::MAX] {
        for declared in [
            Declared { uid: id(number), ..Declared::default() },
            Declared { gid: id(number), ..Declared::default() },
        ] {
            let facts = Facts { declared, ..Facts::default() };
            assert!(!remedy(&facts).contains(&number.to_string()), "{}", remedy(&facts));
            let told = judge(&facts).into_iter().map(|planned| planned.finding);
            let told: Vec<_> = told.filter(|it| it.code == Code::EtcdElsewhere).collect();
            assert_eq!(told.len(), 1, "{number}");
            assert!(told[0].message.contains(&format!("{number} for ")), "{}", told[0].message);
        }
        let declared = Declared {
            uid_if_free: Some(number),
            gid_if_free: Some(number),
            ..Declared::default()
        };
        let former = Former { uid: Some(number), gid: Some(number) };
        let facts = Facts { declared, former, ..Facts::default() };
        assert!(!remedy(&facts).contains(&number.to_string()), "{}", remedy(&facts));
    }
}

#[test]
fn a_number_that_sysusers_requires_is_told_where_somebody_has_it_and_no_other_is_taken() {
    let declared = Declared { gid: required(52034), ..Declared::default() };
    let holders = vec![holder(Kind::Group, 52034)];
    let facts = Facts { declared, holders, checked: true, ..Facts::default() };
    let planned = judge(&facts);
    assert_eq!(planned.len(), 1, "{planned:?}");
    let Planned { finding, actions, .. } = &planned[0];
    assert!(actions.is_empty());
    assert_eq!(
        (finding.code.known(), finding.severity),
        (Some(Code::EtcdElsewhere), Severity::Fatal)
    );
    assert!(finding.message.contains("names gid 52034 for it"), "{}", finding.message);
    assert!(finding.message.contains("other's (/etc/passwd:9)"), "{}", finding.message);
}

#[test]
fn the_number_of_a_files_owner_is_taken_only_where_it_is_free() {
    // A number of a file's owner is one that would do.
    let declared = Declared { uid_if_free: Some(812), ..Declared::default() };
    let holders = vec![holder(Kind::User, 812)];
    let facts = Facts { declared, holders, ..Facts::default() };
    assert!(remedy(&facts).ends_with(" -M etcd -U"), "{}", remedy(&facts));
}
