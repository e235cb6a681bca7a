// SPDX-License-Identifier: Apache-2.0
//! Control `etcd-data-dir`: owner and mode of everything below etcd's data directory, and of the
//! six TLS files etcd reads.

use std::path::{Path, PathBuf};

use super::etcd_oddity;
pub use super::etcd_oddity::Oddity;
use semver::Version;

use crate::model::{
    Action, ControlId, Finding, ModeRule, Origin, Owner, Planned, Severity, join, quoted, shown,
};

/// A TLS file directly in [`tls_dir`], and how it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsFile {
    pub name: &'static str,
    pub rule: ModeRule,
    pub owner: Owner,
}

/// What etcd's process reads: etcd's under a profile.
const READ_BY_ETCD: [(&str, ModeRule); 6] = [
    ("server-client.crt", ModeRule::TlsCertificate),
    ("server-client.key", ModeRule::TlsKey),
    ("peer-server-client.crt", ModeRule::TlsCertificate),
    ("peer-server-client.key", ModeRule::TlsKey),
    ("server-ca.crt", ModeRule::TlsCertificate),
    ("peer-ca.crt", ModeRule::TlsCertificate),
];

/// What RKE2 alone reads.
const READ_BY_RKE2: [(&str, ModeRule); 4] = [
    ("client.crt", ModeRule::TlsCertificate),
    ("client.key", ModeRule::TlsKey),
    ("server-ca.key", ModeRule::TlsKey),
    ("peer-ca.key", ModeRule::TlsKey),
];

/// The TLS files to hold. From 1.31.12, 1.32.8, 1.33.4 and 1.34 on RKE2 gives etcd only what etcd
/// reads; before, it gives etcd the whole directory, and where no version is known, what RKE2 does
/// with the rest is left to it (rke2-facts, section 4).
pub fn tls_files(version: Option<&Version>, etcd: Owner) -> Vec<TlsFile> {
    let file = |owner| move |(name, rule)| TlsFile { name, rule, owner };
    let mut files: Vec<TlsFile> = READ_BY_ETCD.into_iter().map(file(etcd)).collect();
    if version.is_some_and(gives_etcd_only_what_it_reads) {
        let root = Owner { uid: 0, gid: 0 };
        files.extend(READ_BY_RKE2.into_iter().map(file(root)));
    }
    files
}

fn gives_etcd_only_what_it_reads(version: &Version) -> bool {
    let patch = match (version.major, version.minor) {
        (1, 31) => 12,
        (1, 32) => 8,
        (1, 33) => 4,
        (major, minor) => return (major, minor) >= (1, 34),
    };
    version.patch >= patch
}

/// etcd's data directory below RKE2's data dir.
pub fn etcd_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("server/db/etcd")
}

/// The directory of etcd's TLS files below RKE2's data dir.
pub fn tls_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("server/tls/etcd")
}

/// What was observed. `None` for a part: it does not exist.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What etcd's files should belong to.
    pub owner: Owner,
    pub dir: PathBuf,
    pub tree: Option<TreeFacts>,
    pub tls_dir: PathBuf,
    pub tls: Vec<(TlsFile, EntryFacts)>,
    /// A component of the way to `dir` that somebody besides root can change, and why.
    pub unsafe_path: Option<(PathBuf, String)>,
    /// What kept us from looking.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// One entry that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryFacts {
    pub owner: Owner,
    /// Permission bits.
    pub mode: u32,
    pub oddity: Option<Oddity>,
}

/// The sum of a walk: counts and samples, never a list of files, so that memory does not grow
/// with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeFacts {
    pub entries: u64,
    pub directories: u64,
    pub wrong_owner: Tally,
    pub wrong_mode: Tally,
    /// Access control lists that give somebody else more than the mode says.
    pub acls: Tally,
    pub odd: Vec<(PathBuf, Oddity)>,
    /// How many oddities there are beyond those in `odd`.
    pub odd_more: u64,
    /// The severest of those.
    pub odd_worst: Option<Severity>,
}

impl TreeFacts {
    /// Oddities listed one by one; more are counted.
    pub const ODD_LIMIT: usize = 16;

    /// Keeps the worst: whoever can make a thousand harmless oddities must not hide one that is
    /// not.
    pub fn add_odd(&mut self, path: PathBuf, oddity: Oddity) {
        self.odd.push((path, oddity));
        if self.odd.len() > Self::ODD_LIMIT {
            let mildest = (0..self.odd.len()).min_by_key(|i| self.odd[*i].1.severity());
            let dropped = self.odd.swap_remove(mildest.unwrap_or_default()).1.severity();
            self.odd_more += 1;
            self.odd_worst = self.odd_worst.max(Some(dropped));
        }
    }
}

/// How many entries are wrong in one way, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub count: u64,
    /// Path below the tree, what it is, what it should be.
    pub first: Option<(PathBuf, String, String)>,
}

impl Tally {
    /// `describe` is asked for the first one only.
    pub fn add(&mut self, describe: impl FnOnce() -> (PathBuf, String, String)) {
        self.count += 1;
        self.first.get_or_insert_with(describe);
    }
}

/// Facts → findings.
pub fn judge(facts: &Facts) -> Vec<Planned> {
    if let Some((path, why)) = &facts.unsafe_path {
        // Whoever can change the way to the tree can make any tree "the data dir".
        return vec![Planned::only(finding(
            "etcd-path-unsafe",
            Severity::Fatal,
            path,
            "only root can change it",
            why,
            format!(
                "{} is on the way to etcd's data directory and {why}: nothing below it is safe to own",
                shown(path)
            ),
            format!("chown root:root {0}; chmod go-w {0}", quoted(path)),
        ))];
    }
    let mut out = Vec::new();
    for (path, reason) in &facts.unreadable {
        out.push(Planned::only(finding(
            "etcd-dir-unreadable",
            Severity::Fatal,
            path,
            "a directory",
            reason,
            format!("{} cannot be looked at: {reason}", shown(path)),
            format!("check {} and the file system it is on", shown(path)),
        )));
    }
    if let Some(tree) = &facts.tree {
        let own =
            Action::OwnTree { base: facts.dir.clone(), below: PathBuf::new(), owner: facts.owner };
        out.extend(judge_tree(&facts.dir, tree, &own));
    }
    for (wanted, entry) in &facts.tls {
        out.extend(judge_tls(&facts.tls_dir, *wanted, entry));
    }
    out
}

/// What a walk (of the whole tree, or of one entry) found; `own` is the action that mends it.
pub fn judge_tree(dir: &Path, tree: &TreeFacts, own: &Action) -> Vec<Planned> {
    let mut out = Vec::new();
    let mut drift = |code, word, tally: &Tally| {
        let Some((below, actual, expected)) = &tally.first else { return };
        let path = join(dir, below);
        let (subject, more) = match tally.count {
            1 => (shown(&path), String::new()),
            n => (shown(dir), format!(" and {} more below {}", n - 1, shown(dir))),
        };
        out.push(Planned {
            finding: Finding {
                control: ControlId::EtcdDataDir,
                code,
                severity: Severity::Drift,
                subject,
                expected: expected.clone(),
                actual: actual.clone(),
                origin: Some(Origin::file(shown(&path))),
                message: format!(
                    "{} has {word} {actual}, expected {expected}{more}: etcd could not open its database",
                    shown(&path)
                ),
                remedy: "nodeguard apply mends it".into(),
            },
            actions: vec![own.clone()],
            unmended: Severity::Fatal,
        });
    };
    drift("etcd-owner", "owner", &tree.wrong_owner);
    drift("etcd-mode", "mode", &tree.wrong_mode);
    drift("etcd-acl", "an access control list,", &tree.acls);
    for (below, oddity) in &tree.odd {
        out.push(etcd_oddity::judge(&join(dir, below), oddity));
    }
    if let Some(worst) = tree.odd_worst {
        out.push(Planned::only(finding(
            "etcd-odd-entries",
            worst.max(Severity::Warning),
            dir,
            "directories and regular files",
            &format!("{} more", tree.odd_more),
            format!("{} has {} more odd entries", shown(dir), tree.odd_more),
            format!("find {} ! -type d ! -type f -o -type f -links +1", quoted(dir)),
        )));
    }
    out
}

fn judge_tls(dir: &Path, wanted: TlsFile, entry: &EntryFacts) -> Option<Planned> {
    let path = dir.join(wanted.name);
    if let Some(oddity) = &entry.oddity {
        return Some(etcd_oddity::judge(&path, oddity));
    }
    let mode = wanted.rule.wanted(false, entry.mode);
    let (code, actual, expected, word) = if entry.owner != wanted.owner {
        ("etcd-tls-owner", entry.owner.to_string(), wanted.owner.to_string(), "owner")
    } else if entry.mode != mode {
        ("etcd-tls-mode", octal(entry.mode), octal(mode), "mode")
    } else {
        return None;
    };
    let etcds = wanted.owner.uid != 0;
    let why = if etcds { "etcd could not read it" } else { "etcd has no business with it" };
    let message = format!("{} has {word} {actual}, expected {expected}: {why}", shown(&path));
    Some(Planned {
        finding: finding(
            code,
            Severity::Drift,
            &path,
            &expected,
            &actual,
            message,
            "nodeguard apply mends it".into(),
        ),
        actions: vec![Action::OwnEntry {
            base: dir.to_path_buf(),
            below: PathBuf::from(wanted.name),
            owner: wanted.owner,
            rule: wanted.rule,
        }],
        unmended: if etcds { Severity::Fatal } else { Severity::Warning },
    })
}

/// Permission bits as operators write them.
pub fn octal(mode: u32) -> String {
    format!("{mode:04o}")
}

pub(super) fn finding(
    code: &'static str,
    severity: Severity,
    subject: &Path,
    expected: &str,
    actual: &str,
    message: String,
    remedy: String,
) -> Finding {
    Finding {
        control: ControlId::EtcdDataDir,
        code,
        severity,
        subject: shown(subject),
        expected: expected.to_owned(),
        actual: actual.to_owned(),
        origin: None,
        message,
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETCD: Owner = Owner { uid: 997, gid: 997 };

    fn facts(tree: TreeFacts) -> Facts {
        Facts {
            owner: ETCD,
            dir: "/d/server/db/etcd".into(),
            tree: Some(tree),
            tls_dir: "/d/server/tls/etcd".into(),
            tls: Vec::new(),
            unsafe_path: None,
            unreadable: Vec::new(),
        }
    }

    #[test]
    fn a_right_tree_has_no_finding() {
        assert_eq!(judge(&facts(TreeFacts { entries: 5, ..TreeFacts::default() })), []);
    }

    #[test]
    fn one_wrong_entry_is_named_and_many_are_counted() {
        let mut tree = TreeFacts::default();
        tree.wrong_owner.add(|| ("member/snap/db".into(), "0:0".into(), "997:997".into()));
        let one = judge(&facts(tree.clone()));
        assert_eq!(one[0].finding.subject, "/d/server/db/etcd/member/snap/db");
        tree.wrong_owner.add(|| ("member/wal/0.wal".into(), "0:0".into(), "997:997".into()));
        let two = judge(&facts(tree));
        assert_eq!(two.len(), 1);
        assert_eq!(two[0].finding.subject, "/d/server/db/etcd");
        assert!(two[0].finding.message.contains("member/snap/db has owner 0:0"), "{two:?}");
        assert!(two[0].finding.message.contains("and 1 more"), "{two:?}");
        assert_eq!(two[0].unmended, Severity::Fatal);
    }

    #[test]
    fn what_a_stranger_planted_is_fatal_and_what_root_made_is_not() {
        let cases = [
            (Oddity::RootLink { target: "/wal".into(), dangling: false }, Severity::Note),
            (Oddity::RootLink { target: "/wal".into(), dangling: true }, Severity::Fatal),
            (Oddity::ForeignLink { uid: 997, target: "/etc/shadow".into() }, Severity::Fatal),
            (Oddity::Hardlinked { links: 2 }, Severity::Note),
            (
                Oddity::HardlinkedWrong { links: 2, owner: Owner { uid: 0, gid: 0 } },
                Severity::Fatal,
            ),
            (Oddity::Special { kind: "fifo" }, Severity::Note),
            (Oddity::Device, Severity::Fatal),
            (Oddity::Mount, Severity::Warning),
            (Oddity::TooDeep, Severity::Fatal),
        ];
        for (oddity, severity) in cases {
            let mut tree = TreeFacts::default();
            tree.add_odd("member/x".into(), oddity.clone());
            let planned = judge(&facts(tree));
            assert_eq!(planned.len(), 1, "{oddity:?}");
            assert_eq!(planned[0].finding.severity, severity, "{oddity:?}");
            assert!(planned[0].actions.is_empty(), "{oddity:?} is never changed");
        }
    }

    #[test]
    fn a_thousand_harmless_oddities_hide_none_that_is_fatal() {
        let planted = Oddity::ForeignLink { uid: 997, target: "/etc/shadow".into() };
        for at in [0, 8, 500, 999] {
            let mut tree = TreeFacts::default();
            for n in 0..1000 {
                let oddity =
                    if n == at { planted.clone() } else { Oddity::Special { kind: "fifo" } };
                tree.add_odd(format!("f{n}").into(), oddity);
            }
            let worst = judge(&facts(tree)).into_iter().map(|p| p.finding.severity).max();
            assert_eq!(worst, Some(Severity::Fatal), "planted at {at}");
        }
        let mut tree = TreeFacts::default();
        for n in 0..1000 {
            tree.add_odd(format!("l{n}").into(), planted.clone());
        }
        let last = judge(&facts(tree)).pop().unwrap();
        assert_eq!(
            (last.finding.code, last.finding.severity),
            ("etcd-odd-entries", Severity::Fatal)
        );
    }

    #[test]
    fn oddities_beyond_the_limit_are_counted_not_kept() {
        let mut tree = TreeFacts::default();
        for n in 0..1000 {
            tree.add_odd(format!("f{n}").into(), Oddity::Special { kind: "fifo" });
        }
        assert_eq!(tree.odd.len(), TreeFacts::ODD_LIMIT);
        assert_eq!(judge(&facts(tree)).len(), TreeFacts::ODD_LIMIT + 1);
    }

    #[test]
    fn a_way_that_others_can_change_is_fatal_and_nothing_is_planned() {
        let mut tree = TreeFacts::default();
        tree.wrong_owner.add(|| ("x".into(), "0:0".into(), "997:997".into()));
        let mut facts = facts(tree);
        facts.unsafe_path = Some(("/d".into(), "is owned by uid 1000".into()));
        let planned = judge(&facts);
        assert_eq!(planned.len(), 1);
        assert_eq!(planned[0].finding.code, "etcd-path-unsafe");
        assert!(planned[0].actions.is_empty());
    }

    #[test]
    fn a_tls_key_of_roots_goes_to_etcd_and_a_strict_certificate_stays_strict() {
        let mut facts = facts(TreeFacts::default());
        let mut add = |name, uid, mode| {
            let file = tls_files(None, ETCD).into_iter().find(|file| file.name == name).unwrap();
            let owner = Owner { uid, gid: uid };
            facts.tls.push((file, EntryFacts { owner, mode, oddity: None }));
        };
        add("server-client.key", 0, 0o600);
        add("server-ca.crt", 997, 0o600);
        add("peer-ca.crt", 997, 0o664);
        let planned = judge(&facts);
        let got: Vec<_> =
            planned.iter().map(|p| (p.finding.code, p.finding.expected.as_str())).collect();
        assert_eq!(got, [("etcd-tls-owner", "997:997"), ("etcd-tls-mode", "0644")]);
    }

    #[test]
    fn what_etcd_does_not_read_is_roots_from_the_versions_on_that_make_it_so() {
        for (version, roots) in [
            ("1.30.14", 0),
            ("1.31.11", 0),
            ("1.31.12", 4),
            ("1.32.7", 0),
            ("1.32.8", 4),
            ("1.33.3", 0),
            ("1.33.4", 4),
            ("1.34.0", 4),
            ("1.36.4+rke2r1", 4),
            ("2.0.0", 4),
        ] {
            let version = Version::parse(version).unwrap();
            let files = tls_files(Some(&version), ETCD);
            assert_eq!(files.iter().filter(|f| f.owner == ETCD).count(), 6, "{version}");
            assert_eq!(files.iter().filter(|f| f.owner.uid == 0).count(), roots, "{version}");
        }
        assert_eq!(tls_files(None, ETCD).len(), 6, "not known: the rest is left to RKE2");
    }

    #[test]
    fn the_wanted_mode_takes_from_others_and_never_from_the_owner() {
        for (rule, directory, mode, wanted) in [
            (ModeRule::EtcdTree, true, 0o755, 0o700),
            (ModeRule::EtcdTree, true, 0o4500, 0o700),
            (ModeRule::EtcdTree, false, 0o644, 0o644),
            (ModeRule::EtcdTree, false, 0o666, 0o644),
            (ModeRule::EtcdTree, false, 0o6477, 0o655),
            (ModeRule::EtcdTree, false, 0o600, 0o600),
            (ModeRule::TlsKey, false, 0o644, 0o600),
            (ModeRule::TlsCertificate, false, 0o644, 0o644),
            (ModeRule::TlsCertificate, false, 0o600, 0o600),
            (ModeRule::TlsCertificate, false, 0o2666, 0o644),
        ] {
            assert_eq!(rule.wanted(directory, mode), wanted, "{rule:?} {directory} {mode:o}");
        }
    }
}
