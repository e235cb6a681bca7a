// SPDX-License-Identifier: Apache-2.0
//! The account database as it is: the files, and what they say of the account `etcd`. Nothing here
//! changes the host.

use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::HostError;
use super::elsewhere::Asking;
use super::root::Root;
use crate::config;
use crate::controls::account_db::{
    self, Database, Group, Malformed, Password, Shadow, User, parse_group, parse_passwd,
    parse_shadow,
};
use crate::controls::etcd_account::{
    Broken, Elsewhere, Facts, Former, GroupFacts, Holder, Kind, NAME, UserFacts,
};
use crate::controls::etcd_data_dir;
use crate::model::Origin;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// /etc/passwd, /etc/group and /etc/shadow, parsed.
#[derive(Debug)]
pub struct Accounts {
    pub users: Database<User>,
    pub groups: Database<Group>,
    pub shadow: Database<Shadow>,
}

impl Accounts {
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.user(name)
    }

    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.group(name)
    }

    fn uid_is_free(&self, uid: u32) -> bool {
        self.users.users_with_uid(uid).next().is_none()
    }

    fn gid_is_free(&self, gid: u32) -> bool {
        self.groups.groups_with_gid(gid).next().is_none()
    }
}

/// Reads the account database. A missing file is an empty one.
pub fn read(root: &Root) -> Result<Accounts, HostError> {
    let read = |path: &str| {
        root.read(Path::new(path), account_db::MAX_SIZE).map(|content| content.unwrap_or_default())
    };
    Ok(Accounts {
        users: parse_passwd(&read(PASSWD)?),
        groups: parse_group(&read(GROUP)?),
        // Only root may read it; without it nothing is known about passwords, and that is all.
        shadow: parse_shadow(&read("/etc/shadow").unwrap_or_default()),
    })
}

/// What a pass knows of the account besides the files.
#[derive(Debug)]
pub struct Besides<'a> {
    /// RKE2's.
    pub data_dir: &'a Path,
    /// Whether RKE2 refuses to start without the account.
    pub checked: bool,
    pub pinned: &'a config::EtcdAccount,
    /// The numbers the account had when it was last seen whole.
    pub remembered: Former,
}

/// The account `etcd`.
pub fn etcd(root: &Root, besides: &Besides<'_>) -> Facts {
    let (checked, pinned) = (besides.checked, besides.pinned.clone());
    let db = match read(root) {
        Ok(db) => db,
        Err(e) => {
            let path = match &e {
                HostError::Io { path, .. }
                | HostError::TooLarge { path, .. }
                | HostError::NotRegular { path } => path.display().to_string(),
                _ => format!("{PASSWD} or {GROUP}"),
            };
            let unreadable = vec![(path, e.to_string())];
            return Facts { unreadable, checked, pinned, ..Facts::default() };
        }
    };
    let user = db.user(NAME).map(|user| user_facts(root, &db, user));
    let group = db.group(NAME).map(|group| group_facts(&db, group));
    // Asking NSS starts programs: only where the answer decides something.
    let asking = Asking::begin(root);
    let elsewhere = Elsewhere {
        user: user.is_none().then(|| asking.user(NAME)).flatten(),
        group: group.is_none().then(|| asking.group(NAME)).flatten(),
        silent: false,
    };
    let mut facts = Facts {
        user,
        group,
        elsewhere,
        former: former(root, &db, besides),
        pinned,
        malformed: [(PASSWD, &db.users.malformed), (GROUP, &db.groups.malformed)]
            .into_iter()
            .flat_map(|(file, lines)| lines.iter().map(move |line| broken(file, line)))
            .collect(),
        checked,
        ..Facts::default()
    };
    facts.holders = holders(&asking, &db, &facts);
    facts.elsewhere.silent = asking.met_silence();
    facts
}

fn user_facts(root: &Root, db: &Accounts, user: &User) -> UserFacts {
    let others = db.users.users_with_uid(user.uid).filter(|other| other.name != NAME);
    UserFacts {
        uid: user.uid,
        gid: user.gid,
        shell: user.shell.clone(),
        home: user.home.clone(),
        home_exists: home_exists(root, Path::new(&user.home)),
        line: user.line,
        password: password(db, user),
        again: db.users.users_named(NAME).skip(1).map(|user| user.line).collect(),
        shared_with: others.map(|other| other.name.clone()).collect(),
    }
}

fn group_facts(db: &Accounts, group: &Group) -> GroupFacts {
    let others = db.groups.groups_with_gid(group.gid).filter(|other| other.name != NAME);
    let primary = db.users.entries.iter().filter(|user| user.gid == group.gid);
    let mut members: Vec<_> = group.members.iter().chain(primary.map(|user| &user.name)).collect();
    members.sort();
    members.dedup();
    GroupFacts {
        gid: group.gid,
        line: group.line,
        members: members.into_iter().filter(|name| *name != NAME).cloned().collect(),
        again: db.groups.groups_named(NAME).skip(1).map(|group| group.line).collect(),
        shared_with: others.map(|other| other.name.clone()).collect(),
    }
}

fn broken(file: &'static str, line: &Malformed) -> Broken {
    Broken { file, line: line.line, reason: line.reason, ours: line.name == NAME }
}

/// Whether there is a directory where the account's home would be.
fn home_exists(root: &Root, home: &Path) -> bool {
    /// Looking for a name below such a mount would have it mounted, maybe over a network.
    const AUTOFS: rustix::fs::FsWord = 0x0187;
    if !home.is_absolute() || home == Path::new("/") {
        return false;
    }
    let parent = home.parent().unwrap_or(Path::new("/"));
    let automounted = root
        .open(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
        .and_then(rustix::fs::fstatfs)
        .is_ok_and(|fs| fs.f_type == AUTOFS);
    !automounted && root.is_directory_itself(home)
}

/// What the account's password lets one do; locked where nothing is known of it.
fn password(db: &Accounts, user: &User) -> Password {
    match user.shadowed {
        true => db.shadow.shadow(&user.name).map_or(Password::Locked, |entry| entry.password),
        false => user.password,
    }
}

/// The numbers that the account had, as far as nobody else has got them: those it had when it was
/// last seen, else those of etcd's data.
fn former(root: &Root, db: &Accounts, besides: &Besides<'_>) -> Former {
    /// Of a system account on every distribution that RKE2 supports (login.defs SYS_UID_MAX).
    const SYSTEM: std::ops::RangeInclusive<u32> = 1..=999;
    let owner = root.stat(&etcd_data_dir::etcd_dir(besides.data_dir)).ok();
    let of_the_data = |id: Option<u32>| id.filter(|id| SYSTEM.contains(id));
    let Former { uid, gid } = besides.remembered;
    let uid = uid.or_else(|| of_the_data(owner.map(|owner| owner.st_uid)));
    let gid = gid.or_else(|| of_the_data(owner.map(|owner| owner.st_gid)));
    Former {
        uid: uid.filter(|&uid| db.uid_is_free(uid)),
        gid: gid.filter(|&gid| db.gid_is_free(gid)),
    }
}

/// Who has the numbers that the account might get.
fn holders(asking: &Asking<'_>, db: &Accounts, facts: &Facts) -> Vec<Holder> {
    let mut out = Vec::new();
    if facts.user.is_none() {
        let pinned = facts.pinned.uid.as_ref().map(|uid| uid.value);
        let copied = facts.elsewhere.user.as_ref().map(|user| user.uid);
        for id in [pinned, copied].into_iter().flatten() {
            let mut found = db.users.users_with_uid(id).map(|user| Holder {
                kind: Kind::User,
                id,
                name: user.name.clone(),
                place: Origin::at(PASSWD, user.line),
            });
            out.extend(found.next().or_else(|| asking.user_with(id)));
        }
    }
    if facts.group.is_none() {
        let pinned = facts.pinned.gid.as_ref().map(|gid| gid.value);
        let copied = facts.elsewhere.group.as_ref().map(|group| group.gid);
        let primary = facts.user.as_ref().map(|user| user.gid);
        let primary = primary.or(facts.elsewhere.user.as_ref().map(|user| user.gid));
        for id in [pinned, copied, primary].into_iter().flatten() {
            let mut found = db.groups.groups_with_gid(id).map(|group| Holder {
                kind: Kind::Group,
                id,
                name: group.name.clone(),
                place: Origin::at(GROUP, group.line),
            });
            out.extend(found.next().or_else(|| asking.group_with(id)));
        }
    }
    // Whoever is etcd elsewhere may have its own number.
    out.retain(|holder| holder.name != NAME);
    out
}
