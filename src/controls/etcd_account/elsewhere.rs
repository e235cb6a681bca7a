// SPDX-License-Identifier: Apache-2.0
//! Accounts that are known to the host and are not in /etc/passwd and /etc/group, where RKE2 looks:
//! the files of image-based systems, systemd's user records, and whatever NSS asks (LDAP, SSSD).
//!
//! NSS is asked through `getent`, one service after the other, so that the source has a name. In
//! an image only the files are looked at: its programs are not run.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::judge::account_db::{parse_group, parse_passwd};
use super::{Holder, Kind, KnownGroup, KnownUser};
use crate::model::Origin;
use crate::system::HostError;
use crate::system::command;
use crate::system::root::Root;

/// For all questions of one look: a directory server that does not answer must not hold up a pass,
/// which looks a few times.
pub(crate) const DEADLINE: Duration = Duration::from_secs(3);

/// More than any nsswitch.conf has.
const SERVICES: usize = 8;

/// Bytes of nsswitch.conf, and of a user record.
const FILE_LIMIT: usize = 64 * 1024;

/// Where ostree-based systems keep the accounts of the image (nss-altfiles).
const USERS: &str = "/usr/lib/passwd";
const GROUPS: &str = "/usr/lib/group";

/// The directories of systemd's user records, in its order.
const RECORDS: [&str; 5] =
    ["/etc/userdb", "/run/userdb", "/run/host/userdb", "/usr/local/lib/userdb", "/usr/lib/userdb"];

/// A user's record (systemd's "JSON User Records"), as far as it is about numbers.
#[derive(Deserialize)]
struct UserRecord {
    #[serde(rename = "userName")]
    name: String,
    uid: u32,
    gid: Option<u32>,
}

/// A group's record.
#[derive(Deserialize)]
struct GroupRecord {
    #[serde(rename = "groupName")]
    name: String,
    gid: u32,
}

/// The two numbers that systemd takes for none, of 16 and of 32 bits.
fn is_id(id: u32) -> bool {
    id != 65535 && id != u32::MAX
}

const GETENT: &str = "/usr/bin/getent";

/// One look for the account besides the files.
pub(crate) struct Asking<'a> {
    root: &'a Root,
    end: Instant,
    silent: Cell<bool>,
}

impl<'a> Asking<'a> {
    pub fn begin(root: &'a Root) -> Self {
        Self { root, end: Instant::now() + DEADLINE, silent: Cell::new(false) }
    }

    /// Whether a service of NSS gave no answer in time.
    pub fn met_silence(&self) -> bool {
        self.silent.get()
    }

    /// The user of this name, wherever it is but in /etc/passwd.
    pub fn user(&self, name: &str) -> Option<KnownUser> {
        let known = |content: &[u8], source: &str| {
            let source = source.to_owned();
            parse_passwd(content).user(name).map(|u| KnownUser { uid: u.uid, gid: u.gid, source })
        };
        self.file(USERS)
            .and_then(|content| known(&content, USERS))
            .or_else(|| {
                let (record, source) = self.record::<UserRecord>(name, "user")?;
                let UserRecord { uid, gid, .. } = record;
                // A record without a group means the one of the same number.
                let gid = gid.unwrap_or(uid);
                let counts = record.name == name && is_id(uid) && is_id(gid);
                counts.then_some(KnownUser { uid, gid, source })
            })
            .or_else(|| self.ask("passwd", name, &known))
    }

    /// The group of this name, wherever it is but in /etc/group.
    pub fn group(&self, name: &str) -> Option<KnownGroup> {
        let known = |content: &[u8], source: &str| {
            let source = source.to_owned();
            parse_group(content).group(name).map(|g| KnownGroup { gid: g.gid, source })
        };
        self.file(GROUPS)
            .and_then(|content| known(&content, GROUPS))
            .or_else(|| {
                let (record, source) = self.record::<GroupRecord>(name, "group")?;
                let counts = record.name == name && is_id(record.gid);
                counts.then_some(KnownGroup { gid: record.gid, source })
            })
            .or_else(|| self.ask("group", name, &known))
    }

    /// Who has this uid, if it is nobody in /etc/passwd.
    pub fn user_with(&self, id: u32) -> Option<Holder> {
        let holder = |name: &str, source: &str| {
            let place = Origin::file(source);
            Holder { kind: Kind::User, id, name: name.to_owned(), place }
        };
        let known = |content: &[u8], source: &str| {
            parse_passwd(content).users_with_uid(id).next().map(|user| holder(&user.name, source))
        };
        self.file(USERS)
            .and_then(|content| known(&content, USERS))
            .or_else(|| {
                // Found by a link to it with the number for a name.
                let (record, source) = self.record::<UserRecord>(&id.to_string(), "user")?;
                (record.uid == id).then(|| holder(&record.name, &source))
            })
            .or_else(|| self.ask("passwd", &id.to_string(), &known))
    }

    /// Who has this gid, if it is nobody in /etc/group.
    pub fn group_with(&self, id: u32) -> Option<Holder> {
        let holder = |name: &str, source: &str| {
            let place = Origin::file(source);
            Holder { kind: Kind::Group, id, name: name.to_owned(), place }
        };
        let known = |content: &[u8], source: &str| {
            parse_group(content).groups_with_gid(id).next().map(|group| holder(&group.name, source))
        };
        self.file(GROUPS)
            .and_then(|content| known(&content, GROUPS))
            .or_else(|| {
                let (record, source) = self.record::<GroupRecord>(&id.to_string(), "group")?;
                (record.gid == id).then(|| holder(&record.name, &source))
            })
            .or_else(|| self.ask("group", &id.to_string(), &known))
    }

    /// A record by the name of its file, from the first directory that has one, and where it is.
    fn record<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        kind: &str,
    ) -> Option<(T, String)> {
        RECORDS.iter().find_map(|dir| {
            let source = format!("{dir}/{name}.{kind}");
            Some((serde_json::from_slice(&self.file(&source)?).ok()?, source))
        })
    }

    /// What cannot be read says nothing about the account.
    fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.root.read(Path::new(path), FILE_LIMIT).ok().flatten()
    }

    /// Asks each service of NSS but the files, until one knows the key.
    fn ask<T>(
        &self,
        database: &str,
        key: &str,
        known: &dyn Fn(&[u8], &str) -> Option<T>,
    ) -> Option<T> {
        if !self.root.is_live() || !Path::new(GETENT).is_file() {
            return None;
        }
        let nsswitch = self.file("/etc/nsswitch.conf")?;
        services(&String::from_utf8_lossy(&nsswitch), database).iter().find_map(|service| {
            let left = self.end.saturating_duration_since(Instant::now());
            match command::run(self.root, Path::new(GETENT), ["-s", service, database, key], left) {
                Ok(output) => known(output.as_bytes(), &format!("NSS ({service})")),
                Err(HostError::Deadline { .. }) => {
                    self.silent.set(true);
                    None
                }
                // So it is where the service does not know the key.
                Err(_) => None,
            }
        })
    }
}

/// The services besides the files that nsswitch.conf names for a database.
fn services(nsswitch: &str, database: &str) -> Vec<String> {
    let plain = |word: &&str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    nsswitch
        .lines()
        .filter_map(|line| line.split('#').next()?.split_once(':'))
        .filter(|(name, _)| name.trim() == database)
        .flat_map(|(_, services)| services.split_whitespace())
        // `[NOTFOUND=return]` and the like are no services.
        .filter(plain)
        .filter(|service| !["files", "compat", "db"].contains(service))
        .take(SERVICES)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_of_nss_are_found_in_their_order_and_the_files_are_left_out() {
        let text = "# passwd: none\npasswd:  files [NOTFOUND=return] sss systemd # ldap\n\
                    group: compat nis\nshadow: files ldap\n";
        assert_eq!(services(text, "passwd"), ["sss", "systemd"]);
        assert_eq!(services(text, "group"), ["nis"]);
        assert_eq!(services("passwd: files; ../x", "passwd"), Vec::<String>::new());
        assert_eq!(services(&format!("passwd: {}", "a ".repeat(99)), "passwd").len(), SERVICES);
    }
}
