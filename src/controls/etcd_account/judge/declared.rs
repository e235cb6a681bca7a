// SPDX-License-Identifier: Apache-2.0
//! Tests of what numbers of sysusers.d come to beside all others; `ids.rs` has the judgement.

use super::super::facts::{Elsewhere, Former, KnownUser};
use super::*;
use crate::config::{EtcdAccount, Setting};
use crate::controls::etcd_account::facts::Declared;

fn id(id: u32) -> Option<DeclaredId> {
    Some(DeclaredId { id, origin: Origin::at("/usr/lib/sysusers.d/etcd.conf", 3) })
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
fn a_declared_number_that_somebody_has_is_told_and_no_other_is_taken() {
    for (declared, taken, subject, word) in [
        (Declared { uid: id(52034), ..Declared::default() }, Kind::User, "user etcd", "uid 52034"),
        (
            Declared { gid: id(52034), ..Declared::default() },
            Kind::Group,
            "group etcd",
            "gid 52034",
        ),
    ] {
        let holders = vec![holder(taken, 52034)];
        let facts = Facts { declared, holders, checked: true, ..Facts::default() };
        let planned = judge(&facts);
        assert_eq!(planned.len(), 1, "{planned:?}");
        let Planned { finding, actions, .. } = &planned[0];
        assert!(actions.is_empty());
        assert_eq!(
            (finding.code.known(), finding.subject.as_str()),
            (Some(Code::EtcdElsewhere), subject)
        );
        assert_eq!(finding.severity, Severity::Fatal);
        assert_eq!(finding.origin, Some(Origin::at("/usr/lib/sysusers.d/etcd.conf", 3)));
        assert!(finding.message.contains(&format!("names {word} for it")), "{}", finding.message);
        assert!(finding.message.contains("other's (/etc/passwd:9)"), "{}", finding.message);
    }
    let root =
        Facts { declared: Declared { uid: id(0), ..Declared::default() }, ..Facts::default() };
    assert!(judge(&root)[0].finding.message.contains("names uid 0 for it, which is root's"));
    for number in [65534, 65535, u32::MAX] {
        for (kind, declared) in [
            ("uid", Declared { uid: id(number), ..Declared::default() }),
            ("gid", Declared { gid: id(number), ..Declared::default() }),
        ] {
            let planned = judge(&Facts { declared, ..Facts::default() });
            assert!(planned.iter().all(|planned| planned.actions.is_empty()), "{planned:?}");
            let finding = &planned[0].finding;
            assert_eq!(finding.code.known(), Some(Code::EtcdElsewhere));
            let words = format!("names {kind} {number} for it, which is no");
            assert!(finding.message.contains(&words), "{}", finding.message);
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
    // A number of a file's owner is one that would do.
    let declared = Declared { uid_if_free: Some(812), ..Declared::default() };
    let holders = vec![holder(Kind::User, 812)];
    let facts = Facts { declared, holders, ..Facts::default() };
    assert!(remedy(&facts).ends_with(" -M etcd -U"), "{}", remedy(&facts));
}
