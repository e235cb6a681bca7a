// SPDX-License-Identifier: Apache-2.0
//! /etc/passwd, /etc/group and /etc/shadow as RKE2's own reader would take them.

use nodeguard::controls::etcd_account::Password;
use nodeguard::controls::etcd_account::judge::account_db::{
    MAX_LINE, MAX_SIZE, NO_ID, parse_group, parse_passwd, parse_shadow, with_primary_group,
};

const ETCD: &str = "etcd:x:998:997:etcd user:/home/etcd:/sbin/nologin";

#[test]
fn a_user_has_all_its_fields_and_its_line() {
    let passwd = parse_passwd(format!("root:x:0:0:root:/root:/bin/bash\n{ETCD}\n").as_bytes());
    let user = passwd.user("etcd").expect("the second line");
    assert_eq!((user.uid, user.gid, user.line), (998, 997, 2));
    assert_eq!(user.comment, "etcd user");
    assert_eq!((user.home.as_str(), user.shell.as_str()), ("/home/etcd", "/sbin/nologin"));
    assert!(user.shadowed);
    assert!(passwd.malformed.is_empty() && !passwd.truncated);
    assert_eq!(passwd.user("nobody"), None);
}

#[test]
fn a_line_counts_exactly_when_rke2_can_read_it() {
    for (text, found) in [
        ("etcd:x:998:997:::", true),
        ("etcd:x:998:997:etcd user:/home/etcd:/sbin/nologin", true),
        ("  etcd:x:998:997:::\t", true),
        ("etcd:x:998:997:::\r", true),
        ("etcd::998:997:::", true),
        ("etcd:x:998:997:::/bin/sh:more:fields", true),
        ("etcd:x:0998:997:::", true),
        ("etcd:x:998:997::", false),
        ("etcd:x:998:997", false),
        ("etcd", false),
        ("etcd:x::997:::", false),
        ("etcd:x:998::::", false),
        ("etcd:x:abc:997:::", false),
        ("etcd:x:998:abc:::", false),
        // What Go's strconv.Atoi reads is a number to RKE2, whatever the kernel makes of it.
        ("etcd:x:-1:997:::", true),
        ("etcd:x:+998:997:::", true),
        ("etcd:x:4294967295:997:::", true),
        ("etcd:x:99999999999:997:::", true),
        ("etcd:x:9223372036854775807:997:::", true),
        ("etcd:x:9223372036854775808:997:::", false),
        ("etcd:x:-9223372036854775809:997:::", false),
        ("etcd:x:+:997:::", false),
        ("etcd:x:-:997:::", false),
        ("etcd:x: 9:997:::", false),
        ("etcd:x:9 :997:::", false),
        ("etcd:x:1_0:997:::", false),
        ("etcd:x:0x9:997:::", false),
        ("etcd:x:9.0:997:::", false),
        ("#etcd:x:998:997:::", false),
        ("  # etcd:x:998:997:::", false),
        ("+etcd:x:998:997:::", false),
        ("-etcd:x:998:997:::", false),
        ("Etcd:x:998:997:::", false),
        (" etcd :x:998:997:::", false),
    ] {
        // Alone, without a final newline, and between other lines.
        for content in [text.to_owned(), format!("a:x:1:1:::\n\n{text}\nb:x:2:2:::\n")] {
            let passwd = parse_passwd(content.as_bytes());
            assert_eq!(passwd.user("etcd").is_some(), found, "{content:?}");
        }
    }
}

#[test]
fn a_number_is_the_one_that_rke2_reads_and_no_id_where_the_kernel_has_none() {
    for (field, uid, odd) in [
        ("+9", 9, None),
        ("007", 7, None),
        ("-0", 0, None),
        ("4294967294", 4_294_967_294, None),
        ("-1", NO_ID, Some(-1)),
        ("4294967295", NO_ID, Some(4_294_967_295)),
        ("4294967296", NO_ID, Some(4_294_967_296)),
        ("9223372036854775807", NO_ID, Some(i64::MAX)),
    ] {
        let passwd = parse_passwd(format!("etcd:x:{field}:5:::\n").as_bytes());
        let user = passwd.user("etcd").expect("RKE2 finds it");
        assert_eq!((user.uid, user.odd_ids), (uid, odd.map(|odd| (odd, 5))), "{field}");
        let passwd = parse_passwd(format!("etcd:x:5:{field}:::\n").as_bytes());
        let user = passwd.user("etcd").expect("RKE2 finds it");
        assert_eq!((user.gid, user.odd_ids), (uid, odd.map(|odd| (5, odd))), "{field}");
        let groups = parse_group(format!("etcd:x:{field}:\n").as_bytes());
        let group = groups.group("etcd").expect("RKE2 finds it");
        assert_eq!((group.gid, group.odd_id), (uid, odd), "{field}");
    }
}

#[test]
fn a_group_line_counts_exactly_when_rke2_can_read_it() {
    for (text, found) in [
        ("etcd:x:997:", true),
        ("etcd:!:997:a,b", true),
        ("etcd::997:\r", true),
        ("etcd:x:997:a:b", true),
        ("etcd:x:997", false),
        ("etcd:x::", false),
        ("etcd:x:abc:", false),
        ("+etcd:x:997:", false),
        ("# etcd:x:997:", false),
    ] {
        let group = parse_group(text.as_bytes());
        assert_eq!(group.group("etcd").is_some(), found, "{text:?}");
    }
}

#[test]
fn members_are_a_list_without_blanks() {
    let groups = parse_group(b"a:x:1:\nb:x:2:one\nc:x:3: one, two ,,three\n");
    let members = |name: &str| groups.group(name).expect("present").members.clone();
    assert!(members("a").is_empty());
    assert_eq!(members("b"), ["one"]);
    assert_eq!(members("c"), ["one", "two", "three"]);
}

#[test]
fn the_first_of_a_name_wins_and_all_of_it_are_kept() {
    let passwd = parse_passwd(b"etcd:x:1:1:::\netcd:x:bad:1:::\netcd:x:2:2:::\nother:x:2:2:::\n");
    assert_eq!(passwd.user("etcd").map(|user| user.uid), Some(1));
    let lines: Vec<u32> = passwd.users_named("etcd").map(|user| user.line).collect();
    assert_eq!(lines, [1, 3]);
    let names: Vec<&str> = passwd.users_with_uid(2).map(|user| user.name.as_str()).collect();
    assert_eq!(names, ["etcd", "other"]);
    let groups = parse_group(b"etcd:x:bad:\netcd:x:7:\nother:x:7:\netcd:x:8:\n");
    assert_eq!(groups.group("etcd").map(|group| (group.gid, group.line)), Some((7, 2)));
    assert_eq!(groups.groups_with_gid(7).count(), 2);
    assert_eq!(groups.groups_named("etcd").count(), 2);
}

#[test]
fn what_is_skipped_is_remembered_with_its_line_and_reason() {
    let passwd = parse_passwd(b"# fine\n\nbroken\n+::::::\n:x:1:1:::\nx:x:y:1:::\n");
    let malformed: Vec<(u32, &str)> =
        passwd.malformed.iter().map(|line| (line.line, line.reason)).collect();
    assert_eq!(
        malformed,
        [
            (3, "fewer than seven fields"),
            (4, "an entry for NIS, which RKE2 does not ask"),
            (5, "the name is empty"),
            (6, "an id that is no number from 0 to 4294967294"),
        ]
    );
}

#[test]
fn a_password_field_is_locked_empty_or_usable() {
    for (field, expected) in [
        ("!", Password::Locked),
        ("!!", Password::Locked),
        ("*", Password::Locked),
        ("!*", Password::Locked),
        ("x", Password::Locked),
        ("*LK*", Password::Locked),
        ("!$6$salt$hash", Password::Locked),
        ("$", Password::Locked),
        ("", Password::Empty),
        ("$6$salt$hash", Password::Usable),
        ("$y$j9T$salt$hash", Password::Usable),
        ("_J9..salthash", Password::Usable),
        ("ab0123456789.", Password::Usable),
        ("ab0123456789.x", Password::Locked),
    ] {
        let shadow = parse_shadow(format!("etcd:{field}:19000::::::\n").as_bytes());
        assert_eq!(shadow.shadow("etcd").map(|entry| entry.password), Some(expected), "{field}");
        let passwd = parse_passwd(format!("etcd:{field}:1:1:::\n").as_bytes());
        let user = passwd.user("etcd").expect("present");
        assert_eq!((user.password, user.shadowed), (expected, field == "x"), "{field}");
    }
    assert_eq!(parse_shadow(b"etcd\n").shadow("etcd"), None);
    assert_eq!(parse_shadow(b"etcd:!\n").shadow("etcd").map(|entry| entry.line), Some(1));
}

#[test]
fn a_name_that_is_no_utf_8_hides_no_other_line() {
    let passwd = parse_passwd(b"\xff\xfe:x:1:1:::\netcd:x:2:2:\xff::\n");
    assert_eq!(passwd.user("etcd").map(|user| user.uid), Some(2));
}

#[test]
fn size_and_lines_have_limits() {
    let long = format!("big:x:1:{}\netcd:x:2:\n", "m,".repeat(MAX_LINE));
    let groups = parse_group(long.as_bytes());
    assert_eq!(groups.malformed.len(), 1);
    assert_eq!(groups.group("etcd").map(|group| group.line), Some(2));

    let mut huge = vec![b'\n'; MAX_SIZE];
    huge.extend_from_slice(ETCD.as_bytes());
    let passwd = parse_passwd(&huge);
    assert!(passwd.truncated && passwd.entries.is_empty());

    let broken = "x\n".repeat(10_000);
    assert_eq!(parse_passwd(broken.as_bytes()).malformed.len(), 100);
}

#[test]
fn another_primary_group_changes_one_field_of_one_line_and_no_other_byte() {
    let before = b"root:x:0:0::/:\n\xff:x:1:1:\xff::\n\n etcd:x:998:100:etcd user:/:/x\r\nlast";
    let after = b"root:x:0:0::/:\n\xff:x:1:1:\xff::\n\n etcd:x:998:997:etcd user:/:/x\r\nlast";
    let line = parse_passwd(before).user("etcd").expect("present").line;
    assert_eq!(with_primary_group(before, line, 997).as_deref(), Some(&after[..]));
    for line in [0, 3, 5, 6] {
        assert_eq!(with_primary_group(before, line, 997), None, "{line}");
    }
}
