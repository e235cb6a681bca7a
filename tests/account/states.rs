// SPDX-License-Identifier: Apache-2.0
//! The table of states.

use super::state::{DATA, State, state};

const USERS: &str = "etcd:x:997:100:etcd user:/home/etcd:/sbin/nologin";
const ALONE: &str = "etcd:x:997:996:etcd user:/home/etcd:/sbin/nologin";

/// A useradd that is killed when it has replaced the first of the files; its locks stay.
const KILLED: &str = r#"
cp /usr/sbin/useradd "$root/real"
cat >"$root/wrapper" <<'EOF'
#!/bin/sh
mkdir /half && cp -a /etc /half/
/real --prefix /half "$@"
cp /half/etc/passwd /etc/passwd
for file in passwd group shadow gshadow; do printf '%s\0' $$ >/etc/$file.lock; done
echo torn >/etc/group+
kill -9 $$
EOF
chmod 755 "$root/wrapper"
mount --bind "$root/wrapper" "$root/usr/sbin/useradd"
"#;

const EXTRAUSERS: &str = "passwd: files extrausers\ngroup: files extrausers";
const NET_USERS: &str = "var/lib/extrausers/passwd";
const NET_GROUPS: &str = "var/lib/extrausers/group";

pub fn all() -> Vec<State> {
    let mut all = missing();
    all.extend(pinned());
    all.extend(odd());
    all.extend(broken_files());
    all.extend(elsewhere());
    all.extend(obstacles());
    all
}

fn missing() -> Vec<State> {
    vec![
        state("nothing there, in an image"),
        state("nothing there, on a host").live(),
        state("nothing there and no profile").without_a_profile(),
        state("as the guide makes it").whole(),
        state("a group without its user").group("etcd:x:777:"),
        state("a group without its user, on a host").group("etcd:x:777:").live(),
        state("a user without its group, whose number is free").passwd(ALONE),
        state("a user without its group, in users").passwd(USERS),
        state("a user without its group, in users, on a host").passwd(USERS).live(),
        state("a user in users beside its group").passwd(USERS).group("etcd:x:996:"),
        state("no account, and data of one that was").directory(DATA, 992, 991),
        state("a group, and data of a user that was")
            .group("etcd:x:991:")
            .directory(DATA, 992, 991),
        state("no account, and data whose number another user has")
            .directory(DATA, 992, 991)
            .passwd("postgres:x:992:100::/:/bin/false"),
        state("no account, and data of a person's").directory(DATA, 1000, 1000),
    ]
}

fn pinned() -> Vec<State> {
    const BOTH: &str = "uid = 52034\ngid = 52034";
    const TAKEN: &str = "postgres:x:52034:100::/:/bin/false";
    vec![
        state("numbers pinned and free").pinned(BOTH),
        state("numbers pinned and free, on a host").pinned(BOTH).live(),
        state("a uid pinned and free").pinned("uid = 450"),
        state("a gid pinned and free").pinned("gid = 450"),
        state("a pinned uid, and data with another").pinned("uid = 450").directory(DATA, 992, 991),
        state("a pinned uid that is taken").pinned(BOTH).passwd(TAKEN),
        state("a pinned gid that is taken").pinned(BOTH).group("db:x:52034:"),
        state("both taken").pinned(BOTH).passwd(TAKEN).group("db:x:52034:"),
        state("a pinned uid that is taken, and no profile")
            .pinned(BOTH)
            .passwd(TAKEN)
            .without_a_profile(),
        state("a pinned uid that is taken, beside the group")
            .pinned("uid = 52034")
            .passwd(TAKEN)
            .group("etcd:x:996:"),
        state("a pinned gid that is taken, beside the user")
            .pinned("gid = 52034")
            .passwd(ALONE)
            .group("db:x:52034:"),
        state("a pinned gid, and a user without its group").pinned("gid = 450").passwd(USERS),
        state("numbers pinned to what is there").pinned("uid = 997\ngid = 996").whole(),
        state("numbers pinned to others").pinned(BOTH).whole(),
        state("a gid pinned to another, and no user").pinned(BOTH).group("etcd:x:996:"),
    ]
}

fn odd() -> Vec<State> {
    let group = |name| state(name).group("etcd:x:996:");
    vec![
        group("uid 0").passwd("etcd:x:0:996:etcd user:/home/etcd:/sbin/nologin"),
        state("a group with gid 0").passwd(ALONE).group("etcd:x:0:"),
        state("a group with gid 0, and no user").group("etcd:x:0:"),
        group("a login shell").passwd("etcd:x:997:996::/home/etcd:/bin/bash"),
        group("no shell, which is /bin/sh").passwd("etcd:x:997:996::/home/etcd:"),
        group("another shell that is none").passwd("etcd:x:997:996::/:/usr/bin/false"),
        state("a password").whole().shadow("etcd:$y$j9T$salt$hash:19000::::::"),
        state("an empty password").whole().shadow("etcd::19000::::::"),
        state("a locked password").whole().shadow("etcd:!$y$j9T$salt$hash:19000::::::"),
        group("a password in passwd itself")
            .passwd("etcd:$6$salt$hash:997:996::/home/etcd:/sbin/nologin"),
        state("a home that exists").whole().directory("home/etcd", 997, 996),
        state("other members").passwd(ALONE).group("etcd:x:996:etcd,alice,bob,carol,dave"),
        state("a user whose primary group it is")
            .whole()
            .passwd("alice:x:1000:996::/home/alice:/bin/bash"),
        state("the uid of another").whole().passwd("backup:x:997:100::/:/bin/false"),
        state("the gid of another").whole().group("backup:x:996:"),
    ]
}

fn broken_files() -> Vec<State> {
    vec![
        state("the user twice").whole().passwd("etcd:x:555:100:etcd user:/home/etcd:/sbin/nologin"),
        state("the group twice").whole().group("etcd:x:555:"),
        state("the user twice, in users")
            .passwd(USERS)
            .passwd("etcd:x:555:100::/:/sbin/nologin")
            .group("etcd:x:996:"),
        state("a line of the user's that is too short").passwd("etcd:x:997:996"),
        state("a line of the user's without a number").passwd("etcd:x::996:::"),
        state("a line of the group's that is too short").passwd(ALONE).group("etcd:x:996"),
        state("lines of others that are broken").passwd("nonsense").passwd("a:b:c").group("x"),
        state("lines for NIS").passwd("+::::::").group("+:::"),
        state("lines with blanks and carriage returns")
            .passwd("  etcd:x:997:996::/home/etcd:/sbin/nologin\r")
            .group("\tetcd:x:996:\r"),
        state("a passwd that is a directory").without("etc/passwd").directory("etc/passwd", 0, 0),
        state("a passwd that leads out of the image")
            .without("etc/passwd")
            .link("etc/passwd", "../../passwd"),
        state("a passwd that is missing").without("etc/passwd"),
        state("no shadow files").without("etc/shadow").without("etc/gshadow"),
    ]
}

fn elsewhere() -> Vec<State> {
    let vendor = |name, user: &str| state(name).line("usr/lib/passwd", user);
    let nss = |name| state(name).line("etc/nsswitch.conf", EXTRAUSERS).live();
    const ENTRY: &str = "etcd:*:601:602:Net etcd:/home/etcd:/bin/sh";
    vec![
        vendor("in /usr/lib/passwd and /usr/lib/group", ENTRY).line("usr/lib/group", "etcd:x:602:"),
        vendor("in /usr/lib/passwd, its group nowhere", ENTRY),
        vendor("in /usr/lib/passwd, its group users", "etcd:*:601:100::/:/bin/sh"),
        vendor("in /usr/lib/passwd with a number that is taken", ENTRY)
            .passwd("postgres:x:601:100::/:/bin/false"),
        vendor("in /usr/lib/passwd with uid 0", "etcd:*:0:0::/:/bin/sh"),
        vendor("in /usr/lib/passwd with another number than the pinned one", ENTRY)
            .pinned("uid = 450"),
        vendor("in /usr/lib/passwd with the pinned number", ENTRY).pinned("uid = 601"),
        vendor("in /usr/lib/passwd, beside the group", ENTRY).group("etcd:x:996:"),
        state("a pinned uid that somebody in /usr/lib/passwd has")
            .pinned("uid = 601")
            .line("usr/lib/passwd", "polkitd:*:601:601::/:/sbin/nologin"),
        state("a user record of systemd's")
            .line("etc/userdb/etcd.user", r#"{"userName":"etcd","uid":603,"gid":604}"#)
            .line("usr/lib/userdb/etcd.group", r#"{"groupName":"etcd","gid":604}"#),
        state("a user record without a number")
            .line("etc/userdb/etcd.user", r#"{"userName":"etcd"}"#),
        nss("in NSS only").line(NET_USERS, ENTRY).line(NET_GROUPS, "etcd:x:602:"),
        nss("in NSS only, its group users").line(NET_USERS, "etcd:*:601:100::/:/bin/sh"),
        nss("the group in NSS only, beside the user").passwd(USERS).line(NET_GROUPS, "etcd:x:602:"),
        nss("NSS that does not answer").enter(
            r#"mkdir -p "$root/var/lib/extrausers"
mkfifo "$root/var/lib/extrausers/passwd" "$root/var/lib/extrausers/group" 2>/dev/null || true"#,
        ),
        nss("data of one that was, and NSS that does not answer").directory(DATA, 992, 991).enter(
            r#"mkdir -p "$root/var/lib/extrausers"
mkfifo "$root/var/lib/extrausers/passwd" "$root/var/lib/extrausers/group" 2>/dev/null || true"#,
        ),
        nss("data of one that was, whose numbers others in NSS have")
            .directory(DATA, 992, 991)
            .line(NET_USERS, "alice:*:992:100::/home/alice:/bin/sh")
            .line(NET_GROUPS, "netdb:*:991:"),
        nss("the group in NSS only, and no user").line(NET_GROUPS, "etcd:x:602:"),
        nss("in NSS with a number that is taken")
            .line(NET_USERS, ENTRY)
            .passwd("postgres:x:601:100::/:/bin/false"),
        nss("a pinned uid that somebody in NSS has")
            .pinned("uid = 601")
            .line(NET_USERS, "alice:*:601:100::/home/alice:/bin/sh"),
    ]
}

fn obstacles() -> Vec<State> {
    let bound = |name, script| state(name).enter(script);
    vec![
        state("a lock of a dead process's").file("etc/passwd.lock", "4194303\0").live(),
        state("a lock without a process in it").file("etc/group.lock", "").live(),
        bound(
            "a read-only /etc",
            r#"mount --bind "$root/etc" "$root/etc"; mount -o remount,bind,ro "$root/etc""#,
        )
        .then_again(),
        bound(
            "a full disk",
            r#"mount -t tmpfs -o size=64k tmpfs "$root/tmp"
cp -a "$root/etc/." "$root/tmp/"; mount --move "$root/tmp" "$root/etc"
cat /dev/zero >"$root/etc/filled" 2>/dev/null || true"#,
        )
        .then_again(),
        bound(
            "no useradd",
            r#"for dir in usr/sbin sbin; do mount --bind /dev/null "$root/$dir/useradd"; done"#,
        )
        .then_again(),
        bound(
            "a useradd that fails",
            r#"printf '#!/bin/sh\necho "useradd: no luck" >&2; exit 12\n' >"$root/wrapper"
chmod 755 "$root/wrapper"; mount --bind "$root/wrapper" "$root/usr/sbin/useradd""#,
        )
        .then_again(),
        bound(
            "a useradd that does nothing and ends well",
            r#"mount --bind /bin/true "$root/usr/sbin/useradd""#,
        ),
        bound(
            "a useradd that somebody else could have put there",
            r#"cp /usr/sbin/useradd "$root/wrapper"; chmod 777 "$root/wrapper"
mount --bind "$root/wrapper" "$root/usr/sbin/useradd""#,
        ),
        bound("a useradd that is killed half-way", KILLED).then_again(),
        bound(
            "no usermod",
            r#"for dir in usr/sbin sbin; do mount --bind /dev/null "$root/$dir/usermod"; done"#,
        )
        .passwd(USERS)
        .group("etcd:x:996:")
        .then_again(),
    ]
}
