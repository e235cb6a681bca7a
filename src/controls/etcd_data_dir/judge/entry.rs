// SPDX-License-Identifier: Apache-2.0
//! What is wrong with one entry of a tree that another user can write, and what it is to be set to.
//! Every event of the guarded tree comes by here: nothing is allocated for an entry that is correct,
//! and what takes a system call to find out is asked only where the verdict depends on it ([`Lookup`]).

use std::path::PathBuf;

use super::{access, octal};
use crate::controls::etcd_data_dir::facts::{Oddity, TreeFacts, Wrong};
use crate::model::{ModeRule, Owner};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
    Link,
    Fifo,
    Socket,
    /// A device, or something that Linux does not have yet.
    Device,
}

/// What is known of an entry from one stat.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub kind: Kind,
    pub owner: Owner,
    /// Permission bits.
    pub mode: u32,
    pub links: u64,
    pub flags: Flags,
}

/// What `chattr` sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub immutable: bool,
    pub append_only: bool,
}

/// How an entry should be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub owner: Owner,
    pub rule: ModeRule,
}

/// What else can be asked about an entry. Each answer takes a system call, or several.
pub trait Lookup {
    /// Whether it has the extended attribute `list`, one of [`ACCESS_LIST`] and [`DEFAULT_LIST`].
    fn has(&self, list: &'static str) -> bool;

    /// Whether it is on another mount than its directory: a file, too, can be a mount point.
    fn is_mounted_over(&self) -> bool;

    /// What a link says, as it is shown.
    fn target(&self) -> String;

    /// Whether a link leads to nothing.
    fn is_dangling(&self) -> bool;

    /// Whether a link leads to something that etcd's pod does not have.
    fn leaves_the_pod(&self) -> bool;

    /// Who owns what is behind a link in the place of a TLS file, unless it is `etcd`'s already or one
    /// of the files that RKE2 gives to it anyway.
    fn gives_away(&self, etcd: Owner) -> Option<Owner>;

    /// Whether it is contested and so left alone for now.
    fn is_suspended(&self) -> bool;
}

/// What is wrong with an entry, as what it is to be set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub owner: Option<Owner>,
    pub mode: Option<u32>,
    /// An access control list that gives somebody else access is to be taken away.
    pub list: bool,
}

impl Difference {
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// What becomes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it should be.
    Correct,
    /// It is to be changed.
    Wrong(Difference),
    /// It is told and never changed.
    Odd(Oddity),
    /// It is neither judged nor changed now.
    Suspended,
}

/// The extended attribute that has the access control list of a file or directory.
pub const ACCESS_LIST: &str = "system.posix_acl_access";

/// The one that has the list which new entries of a directory get.
pub const DEFAULT_LIST: &str = "system.posix_acl_default";

/// The access control lists of an entry that could give somebody else access. The group's bits of the
/// mode are the mask of such a list: where they are empty it gives nothing, and no system call is spent
/// on it. A directory's default list, which only a directory has, counts whatever its mode, since its
/// new entries get it.
pub fn lists_that_count(kind: Kind, mode: u32, rule: ModeRule) -> &'static [&'static str] {
    match (rule, kind) {
        (ModeRule::EtcdTree, Kind::Directory) => &[ACCESS_LIST, DEFAULT_LIST],
        (ModeRule::EtcdTree, Kind::File) if mode & 0o070 != 0 => &[ACCESS_LIST],
        _ => &[],
    }
}

/// What one stat shows to be wrong with an entry; its access control lists are not looked at.
pub fn difference(entry: Entry, wanted: Wanted) -> Difference {
    let mode = wanted.rule.wanted(entry.kind == Kind::Directory, entry.mode);
    Difference {
        owner: (entry.owner != wanted.owner).then_some(wanted.owner),
        mode: (entry.mode != mode).then_some(mode),
        list: false,
    }
}

/// Whether an entry might have to be changed, as far as one stat shows.
pub fn may_need_a_change(entry: Entry, wanted: Wanted) -> bool {
    !difference(entry, wanted).is_none()
        || !lists_that_count(entry.kind, entry.mode, wanted.rule).is_empty()
}

/// One entry → what becomes of it.
pub fn judge(entry: Entry, wanted: Wanted, lookup: &impl Lookup) -> Verdict {
    let lists = lists_that_count(entry.kind, entry.mode, wanted.rule);
    let list = lists.iter().any(|list| lookup.has(list));
    let difference = Difference { list, ..difference(entry, wanted) };
    // Odd entries are never changed, so nobody fights over them: they are told, suspended or not.
    if let Some(oddity) = oddity(entry, difference, wanted, lookup) {
        return Verdict::Odd(oddity);
    }
    if lookup.is_suspended() {
        return Verdict::Suspended;
    }
    if difference.is_none() { Verdict::Correct } else { Verdict::Wrong(difference) }
}

/// Why an entry is never changed, if so.
fn oddity(
    Entry { kind, owner, links, flags, .. }: Entry,
    difference: Difference,
    wanted: Wanted,
    lookup: &impl Lookup,
) -> Option<Oddity> {
    let wrong = !difference.is_none();
    // Of a link what is behind it counts.
    if matches!(kind, Kind::Directory | Kind::File)
        && let Some(fixed) = Oddity::fixed(flags.immutable, flags.append_only)
    {
        return Some(fixed);
    }
    match kind {
        // Its other name may be anywhere.
        Kind::File if links > 1 && wrong => Some(Oddity::HardlinkedWrong { links, owner }),
        Kind::File if links > 1 => Some(Oddity::Hardlinked { links }),
        Kind::Directory | Kind::File => {
            (wrong && lookup.is_mounted_over()).then_some(Oddity::Mount)
        }
        Kind::Link if owner.uid != 0 => {
            Some(Oddity::ForeignLink { uid: owner.uid, target: lookup.target() })
        }
        Kind::Link => {
            let (target, dangling) = (lookup.target(), lookup.is_dangling());
            if wanted.rule == ModeRule::EtcdTree {
                return Some(match lookup.leaves_the_pod() {
                    true => Oddity::RootLinkOut { target, dangling },
                    false => Oddity::RootLink { target, dangling },
                });
            }
            // A TLS file is no part of the tree: it is mounted into the pod by itself. RKE2's chown
            // goes through the link, unless it leaves the file to root.
            let given = !dangling && wanted.owner.uid != 0;
            Some(match given.then(|| lookup.gives_away(wanted.owner)).flatten() {
                Some(owner) => Oddity::TlsLink { target, owner },
                None => Oddity::RootLink { target, dangling },
            })
        }
        Kind::Fifo => Some(Oddity::Special { kind: "fifo" }),
        Kind::Socket => Some(Oddity::Special { kind: "socket" }),
        Kind::Device => Some(Oddity::Device),
    }
}

impl Verdict {
    /// What is to be changed; `None`: nothing.
    pub fn difference(&self) -> Option<Difference> {
        match self {
            Self::Wrong(difference) => Some(*difference),
            Self::Correct | Self::Odd(_) | Self::Suspended => None,
        }
    }

    /// Counts an entry in the sum of its tree. `below`: its path, made for what is told only.
    pub fn add_to(&self, facts: &mut TreeFacts, entry: Entry, below: impl FnOnce() -> PathBuf) {
        if *self == Self::Suspended {
            return;
        }
        facts.entries += 1;
        facts.directories += u64::from(entry.kind == Kind::Directory);
        match self {
            Self::Correct | Self::Suspended => {}
            Self::Odd(oddity) => facts.add_odd(below(), oddity.clone()),
            Self::Wrong(difference) => count(facts, entry, *difference, below()),
        }
    }
}

/// Counts what is wrong with the entry at `below`, and says what it means.
fn count(facts: &mut TreeFacts, entry: Entry, difference: Difference, below: PathBuf) {
    let Entry { kind, owner, mode, .. } = entry;
    let etcd = difference.owner.unwrap_or(owner);
    let directory = kind == Kind::Directory;
    let seen = access::Entry { below: &below, directory, owner, mode };
    let without = access::locked_out(seen, etcd);
    let wrong = |actual, expected, why| Wrong {
        below: below.clone(),
        actual,
        expected,
        locks_out: without.is_some(),
        why,
    };
    if let Some(wanted) = difference.owner {
        let why = without.unwrap_or_else(|| access::of_owner(seen, wanted));
        let described = || wrong(owner.to_string(), wanted.to_string(), why);
        facts.wrong_owner.add(without.is_some(), described);
    }
    if difference.list {
        // A list gives, and takes nothing from the owner.
        let why = "others than etcd could use it";
        facts.acls.add(false, || wrong("a list".into(), "none".into(), why));
    }
    if let Some(wanted) = difference.mode {
        // Where the owner is wrong as well, the mode is not what locks etcd out.
        let out = without.filter(|_| difference.owner.is_none());
        let why = out.unwrap_or_else(|| access::of_mode(seen, wanted));
        let described = || wrong(octal(mode), octal(wanted), why);
        facts.wrong_mode.add(out.is_some(), described);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use ModeRule::{EtcdTree, TlsCertificate, TlsKey};

    const ETCD: Owner = Owner { uid: 997, gid: 996 };
    const STAFF: Owner = Owner { uid: 997, gid: 50 };
    const ROOT: Owner = Owner { uid: 0, gid: 0 };
    const EVE: Owner = Owner { uid: 1000, gid: 996 };

    /// What there is to be found out, and what was asked.
    #[derive(Debug, Default)]
    struct Answers {
        lists: &'static [&'static str],
        mounted_over: bool,
        dangling: bool,
        leaves_the_pod: bool,
        gives_away: Option<Owner>,
        suspended: bool,
        asked: RefCell<Vec<&'static str>>,
    }

    impl Answers {
        fn answer<T>(&self, question: &'static str, answer: T) -> T {
            self.asked.borrow_mut().push(question);
            answer
        }
    }

    impl Lookup for Answers {
        fn has(&self, list: &'static str) -> bool {
            self.answer(list, self.lists.contains(&list))
        }
        fn is_mounted_over(&self) -> bool {
            self.answer("mount", self.mounted_over)
        }
        fn target(&self) -> String {
            self.answer("target", "t".into())
        }
        fn is_dangling(&self) -> bool {
            self.answer("dangling", self.dangling)
        }
        fn leaves_the_pod(&self) -> bool {
            self.answer("pod", self.leaves_the_pod)
        }
        fn gives_away(&self, _etcd: Owner) -> Option<Owner> {
            self.answer("behind", self.gives_away)
        }
        fn is_suspended(&self) -> bool {
            // A look into a set in memory: it costs nothing that has to be counted.
            self.suspended
        }
    }

    fn wrong(owner: Option<Owner>, mode: Option<u32>) -> Verdict {
        Verdict::Wrong(Difference { owner, mode, list: false })
    }

    #[test]
    fn an_entry_is_judged_by_what_it_is_whose_it_is_its_mode_its_links_and_the_rule() {
        let hardlinked = |links, owner| Verdict::Odd(Oddity::HardlinkedWrong { links, owner });
        let link = |dangling| Verdict::Odd(Oddity::RootLink { target: "t".into(), dangling });
        let special = |kind| Verdict::Odd(Oddity::Special { kind });
        for (kind, owner, mode, links, rule, expected) in [
            (Kind::Directory, ETCD, 0o700, 2, EtcdTree, Verdict::Correct),
            // A directory's links are its sub-directories.
            (Kind::Directory, ROOT, 0o700, 9, EtcdTree, wrong(Some(ETCD), None)),
            (Kind::Directory, ETCD, 0o755, 2, EtcdTree, wrong(None, Some(0o700))),
            (Kind::Directory, ETCD, 0o500, 2, EtcdTree, wrong(None, Some(0o700))),
            (Kind::Directory, ETCD, 0o2700, 2, EtcdTree, wrong(None, Some(0o700))),
            (Kind::File, ETCD, 0o600, 1, EtcdTree, Verdict::Correct),
            (Kind::File, ETCD, 0o644, 1, EtcdTree, Verdict::Correct),
            (Kind::File, STAFF, 0o600, 1, EtcdTree, wrong(Some(ETCD), None)),
            (Kind::File, EVE, 0o666, 1, EtcdTree, wrong(Some(ETCD), Some(0o644))),
            (Kind::File, ETCD, 0o6755, 1, EtcdTree, wrong(None, Some(0o755))),
            (Kind::File, ETCD, 0o044, 1, EtcdTree, wrong(None, Some(0o644))),
            // Open and already without a name.
            (Kind::File, ROOT, 0o600, 0, EtcdTree, wrong(Some(ETCD), None)),
            (Kind::File, ETCD, 0o600, 2, EtcdTree, Verdict::Odd(Oddity::Hardlinked { links: 2 })),
            (Kind::File, ROOT, 0o600, 2, EtcdTree, hardlinked(2, ROOT)),
            (Kind::File, ETCD, 0o666, 3, EtcdTree, hardlinked(3, ETCD)),
            (Kind::Link, ROOT, 0o777, 1, EtcdTree, link(false)),
            (
                Kind::Link,
                ETCD,
                0o777,
                1,
                EtcdTree,
                Verdict::Odd(Oddity::ForeignLink { uid: 997, target: "t".into() }),
            ),
            (Kind::Fifo, ETCD, 0o600, 1, EtcdTree, special("fifo")),
            (Kind::Socket, ROOT, 0o666, 1, EtcdTree, special("socket")),
            (Kind::Device, ROOT, 0o600, 1, EtcdTree, Verdict::Odd(Oddity::Device)),
            (Kind::File, ETCD, 0o600, 1, TlsKey, Verdict::Correct),
            (Kind::File, ETCD, 0o640, 1, TlsKey, wrong(None, Some(0o600))),
            (Kind::File, ROOT, 0o640, 1, TlsKey, wrong(Some(ETCD), Some(0o600))),
            (Kind::File, ROOT, 0o600, 2, TlsKey, hardlinked(2, ROOT)),
            (Kind::Link, ROOT, 0o777, 1, TlsKey, link(false)),
            (Kind::File, ETCD, 0o644, 1, TlsCertificate, Verdict::Correct),
            (Kind::File, ETCD, 0o600, 1, TlsCertificate, Verdict::Correct),
            (Kind::File, ETCD, 0o664, 1, TlsCertificate, wrong(None, Some(0o644))),
        ] {
            let (entry, wanted) = (
                Entry { kind, owner, mode, links, flags: Flags::default() },
                Wanted { owner: ETCD, rule },
            );
            let got = judge(entry, wanted, &Answers::default());
            assert_eq!(got, expected, "{entry:?} {rule:?}");
        }
    }

    #[test]
    fn what_a_link_of_roots_leads_to_makes_a_difference_in_the_tree_alone() {
        let entry =
            Entry { kind: Kind::Link, owner: ROOT, mode: 0o777, links: 1, flags: Flags::default() };
        for (rule, leaves_the_pod, out) in
            [(EtcdTree, false, false), (EtcdTree, true, true), (TlsKey, true, false)]
        {
            for dangling in [false, true] {
                let answers = Answers { dangling, leaves_the_pod, ..Answers::default() };
                let target = "t".to_owned();
                let expected = match out {
                    true => Oddity::RootLinkOut { target, dangling },
                    false => Oddity::RootLink { target, dangling },
                };
                let got = judge(entry, Wanted { owner: ETCD, rule }, &answers);
                assert_eq!(got, Verdict::Odd(expected));
            }
        }
    }

    #[test]
    fn a_link_in_the_place_of_a_tls_file_counts_by_whose_the_file_behind_it_is() {
        let entry =
            Entry { kind: Kind::Link, owner: ROOT, mode: 0o777, links: 1, flags: Flags::default() };
        let plain = |dangling| Oddity::RootLink { target: "t".into(), dangling };
        let given = |owner| Oddity::TlsLink { target: "t".into(), owner };
        for (owner, behind, dangling, expected) in [
            (ETCD, None, false, plain(false)),
            (ETCD, None, true, plain(true)),
            (ETCD, Some(ROOT), false, given(ROOT)),
            (ETCD, Some(EVE), false, given(EVE)),
            // What RKE2 leaves to root it does not give away through a link either.
            (ROOT, Some(EVE), false, plain(false)),
        ] {
            for rule in [TlsKey, TlsCertificate] {
                let answers = Answers { dangling, gives_away: behind, ..Answers::default() };
                let got = judge(entry, Wanted { owner, rule }, &answers);
                assert_eq!(got, Verdict::Odd(expected.clone()), "{owner} {behind:?} {rule:?}");
            }
        }
        let answers = Answers { gives_away: Some(ROOT), ..Answers::default() };
        let got = judge(entry, Wanted { owner: ETCD, rule: EtcdTree }, &answers);
        assert_eq!(got, Verdict::Odd(plain(false)), "the tree has an answer of its own");
    }

    /// Every kind, owner, mode, count of links, rule and answer, against what holds for all of them.
    #[test]
    fn only_a_file_with_one_name_or_a_directory_in_its_place_is_ever_changed() {
        let kinds =
            [Kind::Directory, Kind::File, Kind::Link, Kind::Fifo, Kind::Socket, Kind::Device];
        let lists: [&[&str]; 4] =
            [&[], &[ACCESS_LIST], &[DEFAULT_LIST], &[ACCESS_LIST, DEFAULT_LIST]];
        // Each bit by itself and taken from all, and those that are met.
        let modes: Vec<u32> = (0..12)
            .flat_map(|bit| [1 << bit, 0o7777 & !(1 << bit)])
            .chain([0o600, 0o640, 0o644, 0o660, 0o666, 0o700, 0o755, 0o777, 0o7777, 0])
            .collect();
        let flags = [false, true];
        let mut changed = 0;
        for kind in kinds {
            for (owner, mode) in [ETCD, STAFF, ROOT, EVE]
                .into_iter()
                .flat_map(|o| modes.iter().map(move |m| (o, *m)))
            {
                for (links, rule) in (0..=3)
                    .flat_map(|links| [EtcdTree, TlsKey, TlsCertificate].map(|rule| (links, rule)))
                {
                    for (lists, mounted_over, suspended) in lists.into_iter().flat_map(|lists| {
                        flags.into_iter().flat_map(move |m| flags.map(|s| (lists, m, s)))
                    }) {
                        let entry = Entry { kind, owner, mode, links, flags: Flags::default() };
                        let answers =
                            Answers { lists, mounted_over, suspended, ..Answers::default() };
                        changed += u64::from(holds(entry, rule, &answers));
                    }
                }
            }
        }
        assert!(changed > 1000, "{changed} of them are to be changed");
    }

    /// What holds for one of them. Whether it is to be changed.
    fn holds(entry: Entry, rule: ModeRule, answers: &Answers) -> bool {
        let wanted = Wanted { owner: ETCD, rule };
        let verdict = judge(entry, wanted, answers);
        let said = format!("{entry:?} {rule:?} {answers:?}: {verdict:?}");
        let asked = answers.asked.borrow();
        let changeable = match entry.kind {
            Kind::Directory => true,
            Kind::File => entry.links <= 1,
            Kind::Link | Kind::Fifo | Kind::Socket | Kind::Device => false,
        };
        assert!(changeable || matches!(verdict, Verdict::Odd(_)), "{said}");
        // One stat is enough for most entries: no question is asked for nothing.
        let asks = |question: &str| asked.contains(&question);
        assert_eq!(asks("target"), entry.kind == Kind::Link, "{said}");
        assert!(!asks("pod") || entry.kind == Kind::Link && rule == EtcdTree, "{said}");
        assert!(
            !asks(ACCESS_LIST)
                || rule == EtcdTree && entry.mode & 0o070 != 0
                || entry.kind == Kind::Directory,
            "{said}"
        );
        assert!(!asks(DEFAULT_LIST) || entry.kind == Kind::Directory, "{said}");
        if verdict == Verdict::Correct {
            assert!(!asks("mount"), "{said}");
            assert_eq!(entry.owner, ETCD, "{said}");
        }
        let Verdict::Wrong(difference) = verdict else { return false };
        assert!(changeable && !answers.mounted_over && !answers.suspended, "{said}");
        assert!(may_need_a_change(entry, wanted), "{said}");
        assert_eq!(difference.owner.is_some(), entry.owner != ETCD, "{said}");
        // What it is set to is correct, and gives nobody else more.
        let mode = difference.mode.unwrap_or(entry.mode);
        let after = Entry { owner: ETCD, mode, ..entry };
        assert_eq!(judge(after, wanted, &Answers::default()), Verdict::Correct, "{said}");
        assert_eq!(mode & 0o7022, 0, "{said}");
        assert_eq!(mode & !entry.mode & 0o077, 0, "{said}");
        true
    }

    #[test]
    fn the_path_of_an_entry_is_made_only_where_something_is_told() {
        let flags = Flags::default();
        let entry = Entry { kind: Kind::File, owner: ROOT, mode: 0o600, links: 1, flags };
        for (verdict, entries, told) in [
            (Verdict::Correct, 1, 0),
            (Verdict::Suspended, 0, 0),
            (Verdict::Odd(Oddity::Device), 1, 1),
            (wrong(Some(ETCD), Some(0o644)), 1, 1),
        ] {
            let (mut facts, mut made) = (TreeFacts::default(), 0);
            verdict.add_to(&mut facts, entry, || {
                made += 1;
                "x".into()
            });
            assert_eq!((facts.entries, made), (entries, told), "{verdict:?}");
        }
    }
}
