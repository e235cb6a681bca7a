// SPDX-License-Identifier: Apache-2.0
//! /etc/passwd, /etc/group and /etc/shadow as text, read by hand.
//!
//! RKE2 is built so that it reads /etc/passwd and /etc/group itself, never NSS, LDAP or userdb.
//! Its reader is Go's os/user, and what that reader does decides here too:
//!
//! - blank at both ends of a line is cut, empty lines and those that begin with `#` are skipped;
//! - names that begin with `+` or `-` (NIS) are no entries;
//! - a line of passwd needs at least seven fields (six separators), one of group four;
//! - an id is what `strconv.Atoi` reads: `+9` and `007` are 9 and 7, `-1` and `4294967296` are those
//!   numbers, which are no ids at all (see [`User::odd_ids`]); a line whose id is no number, or
//!   one beyond 64 bits, is skipped and the search goes on;
//! - the first line that fits wins, a name may stand there again.
//!
//! A line that is skipped is kept as [`Malformed`], for `useradd` and an operator may see it
//! otherwise.

pub use crate::controls::etcd_account::facts::NO_ID;
use crate::controls::etcd_account::facts::Password;

/// The largest database that is read, in bytes.
pub const MAX_SIZE: usize = 16 << 20;

/// The longest line that is read, in bytes. Go's reader has no limit; shadow-utils and glibc
/// take far less for a user, but a group can have thousands of members.
pub const MAX_LINE: usize = 1 << 20;

/// The most lines that are kept: each takes ten times its length in memory.
pub const MAX_ENTRIES: usize = 200_000;

/// The most members of all groups together that are kept.
const MAX_MEMBERS: usize = 400_000;

/// The most malformed lines that are remembered.
const MAX_MALFORMED: usize = 100;

/// One line of /etc/passwd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    /// [`NO_ID`]: see `odd_ids`.
    pub uid: u32,
    /// The number of the primary group, or [`NO_ID`].
    pub gid: u32,
    /// uid and gid as RKE2 reads them, where one of them is no id.
    pub odd_ids: Option<(i64, i64)>,
    pub comment: String,
    pub home: String,
    pub shell: String,
    /// Whether the second field is the `x` that sends readers to /etc/shadow.
    pub shadowed: bool,
    /// The second field, where it is no `x`.
    pub password: Password,
    /// Counted from 1.
    pub line: u32,
}

/// One line of /etc/group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    /// [`NO_ID`]: see `odd_id`.
    pub gid: u32,
    /// As RKE2 reads it, where it is no id.
    pub odd_id: Option<i64>,
    pub members: Vec<String>,
    /// Counted from 1.
    pub line: u32,
}

/// One line of /etc/shadow. The hash itself is never kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    pub name: String,
    pub password: Password,
    /// Counted from 1.
    pub line: u32,
}

/// A line that no reader can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Its first field, whatever that is; at most 32 characters.
    pub name: String,
    /// Counted from 1.
    pub line: u32,
    pub reason: &'static str,
}

/// A database: its entries in the order of their lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database<T> {
    pub entries: Vec<T>,
    /// Lines that cannot be read, at most a hundred.
    pub malformed: Vec<Malformed>,
    /// The file is larger than [`MAX_SIZE`] or has more than is kept; the rest was not read.
    pub truncated: bool,
}

impl Database<User> {
    /// What Go's `user.Lookup` gives: the first line of that name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users_named(name).next()
    }

    /// Every line of that name; more than one is a mistake of somebody's.
    pub fn users_named(&self, name: &str) -> impl Iterator<Item = &User> {
        self.entries.iter().filter(move |user| user.name == name)
    }

    pub fn users_with_uid(&self, uid: u32) -> impl Iterator<Item = &User> {
        self.entries.iter().filter(move |user| user.uid == uid)
    }
}

impl Database<Group> {
    /// What Go's `user.LookupGroup` gives: the first line of that name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups_named(name).next()
    }

    pub fn groups_named(&self, name: &str) -> impl Iterator<Item = &Group> {
        self.entries.iter().filter(move |group| group.name == name)
    }

    pub fn groups_with_gid(&self, gid: u32) -> impl Iterator<Item = &Group> {
        self.entries.iter().filter(move |group| group.gid == gid)
    }
}

impl Database<Shadow> {
    /// The first line of that name.
    pub fn shadow(&self, name: &str) -> Option<&Shadow> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

/// Reads /etc/passwd.
pub fn parse_passwd(content: &[u8]) -> Database<User> {
    parse(content, |line, text| {
        let fields: Vec<&str> = text.splitn(7, ':').collect();
        let [name, password, uid, gid, comment, home, shell] = fields[..] else {
            return Err("fewer than seven fields");
        };
        let name = entry_name(name)?;
        let (uid, gid) = (number(uid)?, number(gid)?);
        Ok(User {
            name,
            uid: id(uid).unwrap_or(NO_ID),
            gid: id(gid).unwrap_or(NO_ID),
            odd_ids: (id(uid).is_none() || id(gid).is_none()).then_some((uid, gid)),
            comment: comment.to_owned(),
            home: home.to_owned(),
            shell: shell.to_owned(),
            shadowed: password == "x",
            password: Password::of(password),
            line,
        })
    })
}

/// Reads /etc/group.
pub fn parse_group(content: &[u8]) -> Database<Group> {
    let mut left = MAX_MEMBERS;
    let mut cut = false;
    let mut database = parse(content, |line, text| {
        let fields: Vec<&str> = text.splitn(4, ':').collect();
        let [name, _, gid, members] = fields[..] else {
            return Err("fewer than four fields");
        };
        let members = members.split(',').map(str::trim).filter(|member| !member.is_empty());
        let (name, number) = (entry_name(name)?, number(gid)?);
        let (gid, odd_id) = match id(number) {
            Some(gid) => (gid, None),
            None => (NO_ID, Some(number)),
        };
        let members: Vec<String> = members.take(left + 1).map(str::to_owned).collect();
        cut |= members.len() > left;
        left = left.saturating_sub(members.len());
        Ok(Group { name, gid, odd_id, members, line })
    });
    database.truncated |= cut;
    database
}

/// Reads /etc/shadow.
pub fn parse_shadow(content: &[u8]) -> Database<Shadow> {
    parse(content, |line, text| {
        let mut fields = text.splitn(3, ':');
        let (Some(name), Some(password)) = (fields.next(), fields.next()) else {
            return Err("fewer than two fields");
        };
        Ok(Shadow { name: entry_name(name)?, password: Password::of(password), line })
    })
}

/// /etc/passwd with another primary group in one line, every other byte as it was. `None`: the line
/// has no such field.
pub fn with_primary_group(passwd: &[u8], line: u32, gid: u32) -> Option<Vec<u8>> {
    let mut lines: Vec<&[u8]> = passwd.split(|&b| b == b'\n').collect();
    let index = usize::try_from(line.checked_sub(1)?).ok()?;
    let mut fields: Vec<&[u8]> = lines.get(index)?.split(|&b| b == b':').collect();
    let number = gid.to_string();
    *fields.get_mut(3)? = number.as_bytes();
    let changed = fields.join(&b':');
    lines[index] = &changed;
    Some(lines.join(&b'\n'))
}

impl Password {
    fn of(field: &str) -> Self {
        // crypt(3): a hash begins with `$`, with `_` (BSDi), or is 13 letters of DES. Whatever
        // is none of these can never be what crypt returns, and so locks the account.
        let des = field.len() == 13
            && field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/');
        match field.as_bytes().first() {
            None => Self::Empty,
            Some(b'$' | b'_') if field.len() > 1 => Self::Usable,
            _ if des => Self::Usable,
            _ => Self::Locked,
        }
    }
}

fn entry_name(field: &str) -> Result<String, &'static str> {
    match field.as_bytes().first() {
        None => Err("the name is empty"),
        Some(b'+' | b'-') => Err("an entry for NIS, which RKE2 does not ask"),
        Some(_) => Ok(field.to_owned()),
    }
}

/// What is said of an id that is none.
pub const NO_NUMBER: &str = "an id that is no number from 0 to 4294967294";

/// As Go's `strconv.Atoi` has it where an `int` has 64 bits: a sign, or none, and decimal digits.
fn number(field: &str) -> Result<i64, &'static str> {
    field.parse().map_err(|_| NO_NUMBER)
}

/// The id that a number is.
fn id(number: i64) -> Option<u32> {
    u32::try_from(number).ok().filter(|&id| id != NO_ID)
}

fn parse<T>(
    content: &[u8],
    mut entry: impl FnMut(u32, &str) -> Result<T, &'static str>,
) -> Database<T> {
    let truncated = content.len() > MAX_SIZE;
    let content = &content[..content.len().min(MAX_SIZE)];
    let mut database = Database { entries: Vec::new(), malformed: Vec::new(), truncated };
    for (line, bytes) in (1u32..).zip(content.split(|&b| b == b'\n')) {
        let too_long = bytes.len() > MAX_LINE;
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_LINE)]);
        // Also takes the carriage return of a file from Windows, as Go does.
        let text = text.trim();
        if !too_long && (text.is_empty() || text.starts_with('#')) {
            continue;
        }
        if database.entries.len() == MAX_ENTRIES {
            database.truncated = true;
            break;
        }
        let parsed = if too_long { Err("longer than a mebibyte") } else { entry(line, text) };
        match parsed {
            Ok(parsed) => database.entries.push(parsed),
            Err(reason) if database.malformed.len() < MAX_MALFORMED => {
                let name = text.split(':').next().unwrap_or_default().chars().take(32).collect();
                database.malformed.push(Malformed { name, line, reason });
            }
            Err(_) => {}
        }
    }
    database
}
