// SPDX-License-Identifier: Apache-2.0
//! Gathering facts. Nothing here changes the host.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use semver::Version;

use super::HostError;
use super::proc_sys::ProcSys;
use super::root::Root;
use super::tree;
use crate::config;
use crate::controls::account_db::{self, Database, Group, Password, Shadow, User};
use crate::controls::{etcd_account, etcd_data_dir, sysctl};
use crate::model::Owner;
use crate::rke2::Config;

/// A configuration file of an operator's is a few lines.
const FILE_LIMIT: usize = 1 << 20;

/// The kernel parameters and their drop-in.
pub fn sysctl(
    root: &Root,
    proc_sys: &mut ProcSys,
    scope: sysctl::Scope,
    own: &config::Sysctl,
) -> sysctl::Facts {
    let source = sysctl::RKE2_SOURCES.iter().find_map(|path| {
        let content = root.read(Path::new(path), FILE_LIMIT).ok()??;
        Some(((*path).to_owned(), String::from_utf8(content).ok()?))
    });
    let live = root.is_live().then(|| {
        sysctl::wanted(source.as_ref(), scope, own)
            .into_iter()
            .map(|want| {
                let value = proc_sys.read(&want.key);
                (want.key, value)
            })
            .collect()
    });
    let drop_in = drop_in(root);
    sysctl::Facts { source, drop_in, live, scope, own: own.clone() }
}

fn drop_in(root: &Root) -> sysctl::DropIn {
    use sysctl::DropIn;
    let path = Path::new(sysctl::DROP_IN);
    let stat = match root.stat(path) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return DropIn::Absent,
        Err(e) => return DropIn::Unusable(e.to_string()),
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return match root.read_link(path) {
            Ok(target) if target == Path::new("/dev/null") => DropIn::Masked,
            Ok(target) => DropIn::Link {
                target: target.display().to_string(),
                content: root
                    .read(path, FILE_LIMIT)
                    .ok()
                    .flatten()
                    .and_then(|content| String::from_utf8(content).ok()),
            },
            Err(e) => DropIn::Unusable(e.to_string()),
        };
    }
    match root.read(path, FILE_LIMIT) {
        Ok(Some(content)) => DropIn::Content(content),
        Ok(None) => DropIn::Absent,
        Err(e) => DropIn::Unusable(e.to_string()),
    }
}

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
}

/// Reads the account database. A missing file is an empty one.
pub fn accounts(root: &Root) -> Result<Accounts, HostError> {
    let read = |path: &str| {
        root.read(Path::new(path), account_db::MAX_SIZE).map(|content| content.unwrap_or_default())
    };
    Ok(Accounts {
        users: account_db::parse_passwd(&read("/etc/passwd")?),
        groups: account_db::parse_group(&read("/etc/group")?),
        // Only root may read it; without it nothing is known about passwords, and that is all.
        shadow: account_db::parse_shadow(&read("/etc/shadow").unwrap_or_default()),
    })
}

/// The account `etcd`. `checked`: RKE2 refuses to start without it. `data_dir`: RKE2's.
pub fn account(root: &Root, data_dir: &Path, checked: bool) -> etcd_account::Facts {
    let db = match accounts(root) {
        Ok(db) => db,
        Err(e) => {
            let unreadable = vec![("/etc/passwd or /etc/group".to_owned(), e.to_string())];
            return etcd_account::Facts { unreadable, checked, ..Default::default() };
        }
    };
    etcd_account::Facts {
        user: db.user(etcd_account::NAME).map(|user| etcd_account::UserFacts {
            uid: user.uid,
            gid: user.gid,
            shell: user.shell.clone(),
            line: user.line,
            usable_password: usable_password(&db, user),
        }),
        group: db
            .group(etcd_account::NAME)
            .map(|group| etcd_account::GroupFacts { gid: group.gid, line: group.line }),
        unreadable: Vec::new(),
        orphan: orphan(root, &db, data_dir),
        checked,
    }
}

/// The owner of etcd's data directory, if both its numbers are system ids that nobody has.
fn orphan(root: &Root, db: &Accounts, data_dir: &Path) -> Option<Owner> {
    /// Of a system account on every distribution that RKE2 supports (login.defs SYS_UID_MAX).
    const SYSTEM: std::ops::RangeInclusive<u32> = 1..=999;
    let stat = root.stat(&etcd_data_dir::etcd_dir(data_dir)).ok()?;
    let owner = Owner { uid: stat.st_uid, gid: stat.st_gid };
    let free = db.users.users_with_uid(owner.uid).next().is_none()
        && db.groups.groups_with_gid(owner.gid).next().is_none();
    let system = SYSTEM.contains(&owner.uid) && SYSTEM.contains(&owner.gid);
    (free && system).then_some(owner)
}

/// Whether one can log in with a password, or without any.
fn usable_password(accounts: &Accounts, user: &User) -> bool {
    let password = if user.shadowed {
        accounts.shadow.shadow(&user.name).map(|entry| entry.password)
    } else {
        Some(user.password)
    };
    password.is_some_and(|password| password != Password::Locked)
}

/// How the tree in a directory is, which should be an owner's.
pub type TreeLook<'a> =
    &'a mut dyn FnMut(&Path, Owner) -> Result<Option<etcd_data_dir::TreeFacts>, Errno>;

/// etcd's data directory and its TLS files; `None` while there is nobody to own them.
pub fn data_dir(
    root: &Root,
    config: &Config,
    version: Option<&Version>,
    look: TreeLook<'_>,
) -> Option<etcd_data_dir::Facts> {
    let owner = etcd_owner(root)?;
    let data_dir = &config.data_dir.value;
    let dir = etcd_data_dir::etcd_dir(data_dir);
    let tls_dir = etcd_data_dir::tls_dir(data_dir);
    let mut facts = etcd_data_dir::Facts {
        owner,
        unsafe_path: root
            .unsafe_component(&dir)
            // What is in the TLS directory is looked at one by one: the directory counts too.
            .or_else(|| root.unsafe_component(&tls_dir.join("server-ca.crt"))),
        dir,
        tree: None,
        tls_dir,
        tls: Vec::new(),
        unreadable: Vec::new(),
    };
    if facts.unsafe_path.is_some() {
        return Some(facts);
    }
    match look(&facts.dir, owner) {
        Ok(tree) => facts.tree = tree,
        Err(e) => facts.unreadable.push((facts.dir.clone(), reason(e))),
    }
    for file in etcd_data_dir::tls_files(version, owner) {
        match tree::observe_file(root, &facts.tls_dir, file.name, file.owner) {
            Ok(entry) => facts.tls.extend(entry.map(|entry| (file, entry))),
            Err(e) => facts.unreadable.push((facts.tls_dir.join(file.name), reason(e))),
        }
    }
    Some(facts)
}

/// Who etcd's files belong to: the uid and the *group's* gid, as CIS 1.1.12 has it.
pub fn etcd_owner(root: &Root) -> Option<Owner> {
    let db = accounts(root).ok()?;
    let user = db.user(etcd_account::NAME)?;
    let group = db.group(etcd_account::NAME)?;
    (user.uid != 0).then_some(Owner { uid: user.uid, gid: group.gid })
}

fn reason(e: Errno) -> String {
    match e {
        Errno::LOOP | Errno::NOTDIR => "not a directory (a link is not followed)".into(),
        e => std::io::Error::from(e).to_string(),
    }
}

/// The names in a directory that systemd or RKE2 would read, sorted by bytes.
pub(super) fn sorted_names(root: &Root, dir: &Path) -> Result<Vec<PathBuf>, HostError> {
    /// More than any directory of units or drop-ins has.
    const LIMIT: usize = 4096;
    let mut names = root.list(dir, LIMIT)?.unwrap_or_default();
    names.sort();
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

/// Whether there is anything at `path`, a dangling link included.
pub(super) fn exists(root: &Root, path: &Path) -> bool {
    root.stat(path).is_ok()
}

/// Whether there is a directory at `path`.
pub(super) fn is_directory(root: &Root, path: &Path) -> bool {
    root.open(path, OFlags::PATH | OFlags::DIRECTORY, rustix::fs::Mode::empty()).is_ok()
}

/// Whether a path's name ends in `suffix`.
pub(super) fn has_suffix(path: &Path, suffix: &str) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.ends_with(suffix))
}
