// SPDX-License-Identifier: Apache-2.0
//! The account database as it is: the files, and what they say of the account `etcd`. Nothing here
//! changes the host.

use super::facts::Password;
use std::path::Path;

use super::elsewhere::Asking;
use super::judge::account_db::{
    self, Database, Group, Malformed, NO_NUMBER, Shadow, User, parse_group, parse_passwd,
    parse_shadow,
};
use super::judge::odd_ids::MOST_OF_A_POD;
use super::{
    Broken, Elsewhere, Facts, Fixed, Former, GroupFacts, Holder, Kind, NAME, OddId, UserFacts,
};
use super::{fixed, home, sysusers};
use crate::config;
use crate::model::{Obstacle, Origin};
use crate::rke2;
use crate::system::HostError;
use crate::system::root::Root;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// The kind of the error that a file has more in it than is read.
const TOO_MUCH: std::io::ErrorKind = std::io::ErrorKind::FileTooLarge;

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
    let users = parse_passwd(&read(PASSWD)?);
    let groups = parse_group(&read(GROUP)?);
    // Whoever is missing from a part of it may be in the rest.
    let cut = [(PASSWD, users.truncated), (GROUP, groups.truncated)];
    if let Some((path, _)) = cut.into_iter().find(|(_, truncated)| *truncated) {
        let more = std::io::Error::new(TOO_MUCH, "it has more lines or members than are read");
        return Err(HostError::io("read", path, more));
    }
    Ok(Accounts {
        users,
        groups,
        // Only root may read it; without it nothing is known about passwords, and that is all.
        shadow: parse_shadow(&read("/etc/shadow").unwrap_or_default()),
    })
}

/// What a pass knows of the account besides the files.
#[derive(Debug)]
pub struct AccountContext<'a> {
    /// RKE2's.
    pub data_dir: &'a Path,
    /// Whether RKE2 refuses to start without the account.
    pub checked: bool,
    /// Whether etcd's pod is to run with its numbers here.
    pub runs_etcd: bool,
    pub pinned: &'a config::EtcdAccount,
    /// The numbers the account had when it was last seen whole.
    pub remembered: Former,
}

/// The account `etcd`.
pub fn etcd(root: &Root, besides: &AccountContext<'_>) -> Facts {
    let (checked, pinned) = (besides.checked, besides.pinned.clone());
    let db = match read(root) {
        Ok(db) => db,
        Err(e) => {
            let path = match &e {
                HostError::Io { path, .. }
                | HostError::TooLarge { path, .. }
                | HostError::NotRegular { path, .. } => path.display().to_string(),
                _ => format!("{PASSWD} or {GROUP}"),
            };
            let too_large = match &e {
                HostError::TooLarge { .. } => true,
                HostError::Io { source, .. } => source.kind() == TOO_MUCH,
                _ => false,
            };
            let unreadable = vec![(path, e.to_string())];
            return Facts { unreadable, too_large, checked, pinned, ..Facts::default() };
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
        former: free(&db, besides.remembered.or(owner_of_the_data(root, besides.data_dir))),
        pinned,
        malformed: malformed(&db),
        odd_ids: odd_ids(&db),
        checked,
        runs_etcd: besides.runs_etcd,
        ..Facts::default()
    };
    let lines = match facts.user.is_none() || facts.group.is_none() {
        true => sysusers::read(root),
        false => Vec::new(),
    };
    facts.declared = sysusers::declared(root, &lines);
    facts.holders = holders(&asking, &db, &facts, &lines);
    facts.elsewhere.silent = asking.met_silence();
    if facts.elsewhere.silent {
        // Somebody may have the numbers of the data whom nobody has told of; those that it had
        // itself were its own.
        facts.former = free(&db, besides.remembered);
    }
    let had = facts.former;
    let taken = |kind, id| facts.holders.iter().any(|h| h.kind == kind && h.id == id);
    facts.former = Former {
        uid: had.uid.filter(|&uid| !taken(Kind::User, uid)),
        gid: had.gid.filter(|&gid| !taken(Kind::Group, gid)),
    };
    if facts.needs_a_change() {
        facts.fixed = fixed::fixed(root).and_then(|obstacle| match obstacle {
            Obstacle::Immutable { path } => Some(Fixed { path, append_only: false }),
            Obstacle::AppendOnly { path } => Some(Fixed { path, append_only: true }),
            _ => None,
        });
    }
    facts
}

fn user_facts(root: &Root, db: &Accounts, user: &User) -> UserFacts {
    let others = db.users.users_with_uid(user.uid).filter(|other| other.name != NAME);
    UserFacts {
        uid: user.uid,
        gid: user.gid,
        shell: user.shell.clone(),
        home: user.home.clone(),
        home_exists: home::exists(root, Path::new(&user.home)),
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

fn malformed(db: &Accounts) -> Vec<Broken> {
    let others = |name: &str, odd: bool| odd && name != NAME;
    let users = db.users.entries.iter().filter(|user| others(&user.name, user.odd_ids.is_some()));
    let groups =
        db.groups.entries.iter().filter(|group| others(&group.name, group.odd_id.is_some()));
    let odd = |file, line| Broken { file, line, reason: NO_NUMBER, ours: false };
    [(PASSWD, &db.users.malformed), (GROUP, &db.groups.malformed)]
        .into_iter()
        .flat_map(|(file, lines)| lines.iter().map(move |line| broken(file, line)))
        // RKE2 reads them, and asks for nobody but etcd.
        .chain(users.map(|user| odd(PASSWD, user.line)))
        .chain(groups.map(|group| odd(GROUP, group.line)))
        .collect()
}

/// What RKE2 reads as a number of the account's, where it is no number for a file or for a pod.
fn odd_ids(db: &Accounts) -> Vec<OddId> {
    let mut out = Vec::new();
    if let Some(user) = db.user(NAME) {
        let (uid, gid) = user.odd_ids.unwrap_or((user.uid.into(), user.gid.into()));
        for (word, value) in [("uid", uid), ("gid", gid)] {
            if !(0..=MOST_OF_A_POD).contains(&value) {
                out.push(OddId { kind: Kind::User, word, value, line: user.line });
            }
        }
    }
    if let Some(group) = db.group(NAME)
        && let Some(value) = group.odd_id
    {
        out.push(OddId { kind: Kind::Group, word: "gid", value, line: group.line });
    }
    out
}

fn broken(file: &'static str, line: &Malformed) -> Broken {
    Broken { file, line: line.line, reason: line.reason, ours: line.name == NAME }
}

/// What the account's password lets one do; locked where nothing is known of it.
fn password(db: &Accounts, user: &User) -> Password {
    match user.shadowed {
        true => db.shadow.shadow(&user.name).map_or(Password::Locked, |entry| entry.password),
        false => user.password,
    }
}

/// Those of etcd's data, where they are a system account's.
fn owner_of_the_data(root: &Root, data_dir: &Path) -> Former {
    /// Numbers of a system account on every distribution that RKE2 supports (login.defs SYS_UID_MAX).
    const SYSTEM: std::ops::RangeInclusive<u32> = 1..=999;
    let owner = root.stat(&rke2::etcd_dir(data_dir)).ok();
    let of_a_system_account = |id: Option<u32>| id.filter(|id| SYSTEM.contains(id));
    Former {
        uid: of_a_system_account(owner.map(|owner| owner.st_uid)),
        gid: of_a_system_account(owner.map(|owner| owner.st_gid)),
    }
}

/// The former numbers, as far as nobody in the files has them.
fn free(db: &Accounts, Former { uid, gid }: Former) -> Former {
    Former {
        uid: uid.filter(|&uid| db.uid_is_free(uid)),
        gid: gid.filter(|&gid| db.gid_is_free(gid)),
    }
}

/// Who has the numbers that the account might get.
fn holders(
    asking: &Asking<'_>,
    db: &Accounts,
    facts: &Facts,
    lines: &[sysusers::Line],
) -> Vec<Holder> {
    let mut out = Vec::new();
    // Somebody whom systemd-sysusers has still to make, and who is to have the number.
    let awaited = |kind, id| {
        let missing = |line: &&sysusers::Line| match line.kind {
            Kind::User => db.user(&line.name).is_none(),
            Kind::Group => db.group(&line.name).is_none(),
        };
        let of_another = |line: &&sysusers::Line| line.name != NAME && line.names(kind, id);
        let line = lines.iter().filter(of_another).find(missing)?;
        Some(Holder { kind, id, name: line.name.clone(), place: line.origin.clone() })
    };
    let declared = &facts.declared;
    if facts.user.is_none() {
        let pinned = facts.pinned.uid.as_ref().map(|uid| uid.value);
        let copied = facts.elsewhere.user.as_ref().map(|user| user.uid);
        // Those it had come last, and are given only where nothing else is.
        let former = facts.former.uid.filter(|_| pinned.or(copied).is_none());
        let named = declared.uid.as_ref().map(|uid| uid.id).or(declared.uid_if_free);
        for id in [pinned, copied, named, former].into_iter().flatten() {
            let mut found = db.users.users_with_uid(id).map(|user| Holder {
                kind: Kind::User,
                id,
                name: user.name.clone(),
                place: Origin::at(PASSWD, user.line),
            });
            let found = found.next().or_else(|| asking.user_with(id));
            out.extend(found.or_else(|| awaited(Kind::User, id)));
        }
    }
    if facts.group.is_none() {
        let pinned = facts.pinned.gid.as_ref().map(|gid| gid.value);
        let copied = facts.elsewhere.group.as_ref().map(|group| group.gid);
        let primary = facts.user.as_ref().map(|user| user.gid);
        let primary = primary.or(facts.elsewhere.user.as_ref().map(|user| user.gid));
        let former = facts.former.gid.filter(|_| pinned.or(copied).or(primary).is_none());
        let named = [declared.gid.as_ref().map(|gid| gid.id), declared.gid_if_free];
        let ids = [pinned, copied, primary, former].into_iter().chain(named);
        for id in ids.flatten() {
            let mut found = db.groups.groups_with_gid(id).map(|group| Holder {
                kind: Kind::Group,
                id,
                name: group.name.clone(),
                place: Origin::at(GROUP, group.line),
            });
            let found = found.next().or_else(|| asking.group_with(id));
            out.extend(found.or_else(|| awaited(Kind::Group, id)));
        }
    }
    // Whoever is etcd elsewhere may have its own number.
    out.retain(|holder| holder.name != NAME);
    out
}
