// SPDX-License-Identifier: Apache-2.0
//! What is known of the account `etcd`.

use std::path::PathBuf;

use crate::config;
use crate::model::Origin;

/// What stands for an id that is a number to RKE2 and none to the kernel. Nobody has it: the kernel
/// takes it for "no change".
pub const NO_ID: u32 = 0xffff_ffff;

/// What was observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub user: Option<UserFacts>,
    pub group: Option<GroupFacts>,
    /// Why a file could not be read, with its path.
    pub unreadable: Vec<(String, String)>,
    /// They are more than is read here, and that is all that is wrong with them.
    pub too_large: bool,
    /// What is not in the files and known all the same.
    pub elsewhere: Elsewhere,
    pub former: Former,
    /// The numbers that sysusers.d names for it; empty where nothing has to be made.
    pub declared: Declared,
    /// The operator's own numbers.
    pub pinned: config::EtcdAccount,
    /// Who has the numbers that the account might get.
    pub holders: Vec<Holder>,
    /// Lines that RKE2 cannot read.
    pub malformed: Vec<Broken>,
    /// Numbers of the account that RKE2 reads, and that are none.
    pub odd_ids: Vec<OddId>,
    /// What a change of the account takes and `chattr` has made unchangeable; looked for only where
    /// one is needed.
    pub fixed: Option<Fixed>,
    /// Whether RKE2 refuses to start without the account: a profile is set.
    pub checked: bool,
    /// Whether etcd's pod is to run with its numbers here.
    pub runs_etcd: bool,
}

/// A number that Go reads and that is no id, or none that the kubelet takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OddId {
    pub kind: Kind,
    /// `uid` or `gid`
    pub word: &'static str,
    pub value: i64,
    /// In the file of the kind, counted from 1.
    pub line: u32,
}

/// A file or directory that is immutable or append-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    pub path: PathBuf,
    /// Append-only, and else immutable.
    pub append_only: bool,
}

/// The entry in /etc/passwd that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFacts {
    pub uid: u32,
    pub gid: u32,
    pub shell: String,
    pub home: String,
    pub home_exists: bool,
    /// In /etc/passwd, counted from 1.
    pub line: u32,
    /// The password in /etc/shadow, or in passwd itself.
    pub password: Password,
    /// The lines of further entries of the name.
    pub again: Vec<u32>,
    /// Other users with the uid.
    pub shared_with: Vec<String>,
}

/// The entry in /etc/group that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFacts {
    pub gid: u32,
    /// In /etc/group, counted from 1.
    pub line: u32,
    /// Users besides etcd that are in it, also by their primary group.
    pub members: Vec<String>,
    /// The lines of further entries of the name.
    pub again: Vec<u32>,
    /// Other groups with the gid.
    pub shared_with: Vec<String>,
}

/// The account as something besides the files knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Only where /etc/passwd has no such user.
    pub user: Option<KnownUser>,
    /// Only where /etc/group has no such group.
    pub group: Option<KnownGroup>,
    /// Something that was asked gave no answer in time. The tools would wait for it in vain.
    pub silent: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownUser {
    pub uid: u32,
    pub gid: u32,
    /// A file, or a service of NSS.
    pub source: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownGroup {
    pub gid: u32,
    /// A file, or a service of NSS.
    pub source: String,
}

/// Numbers for the account by sysusers.d(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    pub uid: Option<DeclaredId>,
    pub gid: Option<DeclaredId>,
    /// To be taken where nobody has it, and no matter where somebody has.
    pub uid_if_free: Option<u32>,
    pub gid_if_free: Option<u32>,
}

/// A number with the line that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredId {
    pub id: u32,
    /// Without this very number systemd-sysusers makes nothing: it stands behind a colon.
    pub required: bool,
    pub origin: Origin,
}

/// The numbers that the account had once, and that nobody else has now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Former {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

impl Former {
    /// Each number from here, else from `other`.
    pub fn or(self, other: Self) -> Self {
        Self { uid: self.uid.or(other.uid), gid: self.gid.or(other.gid) }
    }

    /// With what a look saw of the account: the numbers to give it back when somebody deletes it.
    pub fn seen(self, facts: &Facts) -> Self {
        let own = |id: &u32| *id != 0 && *id != NO_ID;
        let uid = facts.user.as_ref().map(|user| user.uid).filter(own);
        let gid = facts.group.as_ref().map(|group| group.gid).filter(own);
        Self { uid, gid }.or(self)
    }
}

/// Somebody else with a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub kind: Kind,
    pub id: u32,
    pub name: String,
    pub place: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    User,
    Group,
}

impl Kind {
    pub(crate) fn subject(self) -> &'static str {
        match self {
            Self::User => "user etcd",
            Self::Group => "group etcd",
        }
    }

    /// What RKE2 says when it is missing.
    pub(crate) fn rke2s_words(self) -> &'static str {
        match self {
            Self::User => "missing required: user: unknown user etcd",
            Self::Group => "missing required: group: unknown group etcd",
        }
    }

    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::User => "in /etc/passwd",
            Self::Group => "in /etc/group",
        }
    }
}

/// A line that no reader can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub file: &'static str,
    /// Counted from 1.
    pub line: u32,
    pub reason: &'static str,
    /// Whether it begins with the account's name.
    pub ours: bool,
}

/// What a password field lets one do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Password {
    /// Nothing: `!`, `*`, `!!`, a hash behind a `!`, or any text that can be no hash.
    Locked,
    /// A login without any password.
    Empty,
    /// A login with a password.
    Usable,
}
