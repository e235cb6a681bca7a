// SPDX-License-Identifier: Apache-2.0
//! A part of the control `etcd-data-dir`: the TLS files that etcd reads, and those it has no business with.

use crate::controls::etcd_data_dir::facts::{Oddity, TlsFile, TreeFacts};
use std::path::{Path, PathBuf};

use semver::Version;

use super::{EntryFacts, octal};
use super::{access, fixed, oddity};
use crate::model::{Action, Code, Depth, Finding, ModeRule, Owner, Planned, Severity, shown};

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

/// The names of those that every RKE2 gives to etcd.
pub fn given_names() -> impl Iterator<Item = &'static str> {
    READ_BY_ETCD.into_iter().map(|(name, _)| name)
}

/// Whether RKE2 gives away the whole directory. What is not known to do so is not taken to.
pub fn gives_the_directory(version: Option<&Version>) -> bool {
    version.is_some_and(|version| !gives_etcd_only_what_it_reads(version))
}

/// Of a walk through the whole directory, given away as it is, what stops RKE2 or leaves the
/// directory, besides the files of [`tls_files`].
pub fn rest_of(walked: TreeFacts, etcd: Owner) -> TreeFacts {
    let fatal = |oddity: &Oddity| match oddity {
        // Wrong in its mode alone: RKE2's chown changes nothing.
        Oddity::HardlinkedWrong { owner, .. } => *owner != etcd,
        oddity => oddity.severity() == Severity::Fatal,
    };
    let is_told = |path: &Path| given_names().any(|name| path == Path::new(name));
    let worst = walked.odd_worst.filter(|worst| *worst == Severity::Fatal);
    let odd = walked.odd.into_iter().filter(|(path, oddity)| fatal(oddity) && !is_told(path));
    TreeFacts {
        odd: odd.collect(),
        odd_more: if worst.is_some() { walked.odd_more } else { 0 },
        odd_worst: worst,
        ..TreeFacts::default()
    }
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

/// The directory of etcd's TLS files below RKE2's data dir.
pub fn tls_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("server/tls/etcd")
}

/// Facts → findings, for one file.
pub(crate) fn judge(dir: &Path, wanted: TlsFile, entry: &EntryFacts) -> Option<Planned> {
    let path = dir.join(wanted.name);
    if let Some(oddity) = entry.oddity.as_ref().filter(|_| !fixed::is_left_alone(wanted, entry)) {
        return Some(match oddity {
            // RKE2 leaves it to root, and no chown of RKE2's fails at it.
            Oddity::RootLink { target, .. } if wanted.owner.uid == 0 => {
                let link = Oddity::RootLink { target: target.clone(), dangling: false };
                oddity::judge(&path, &link)
            }
            oddity => oddity::judge(&path, oddity),
        });
    }
    let mode = wanted.rule.wanted(false, entry.mode);
    let (code, actual, expected, word) = if entry.owner != wanted.owner {
        (Code::EtcdTlsOwner, entry.owner.to_string(), wanted.owner.to_string(), "owner")
    } else if entry.mode != mode {
        (Code::EtcdTlsMode, octal(entry.mode), octal(mode), "mode")
    } else {
        return None;
    };
    // RKE2 gives etcd's files to etcd at each start and sets no mode of them.
    let etcds = wanted.owner.uid != 0;
    let readable = access::can_read(entry.owner, entry.mode, wanted.owner);
    let fatal = etcds && (code == Code::EtcdTlsOwner || !readable);
    let why = meaning(wanted, entry, mode);
    let message = format!("{} has {word} {actual}, expected {expected}: {why}", shown(&path));
    Some(Planned {
        finding: Finding::at_path(code, &path)
            .severity(Severity::Drift)
            .expected(expected)
            .actual(actual)
            .message(message)
            .remedy("nodeguard apply mends it"),
        actions: vec![Action::Own {
            base: dir.to_path_buf(),
            below: PathBuf::from(wanted.name),
            owner: wanted.owner,
            rule: wanted.rule,
            depth: Depth::Entry,
        }],
        unmended: if fatal { Severity::Fatal } else { Severity::Warning },
    })
}

/// What is wrong with one of them. `mode`: as it should be.
fn meaning(wanted: TlsFile, entry: &EntryFacts, mode: u32) -> &'static str {
    let etcds = wanted.owner.uid != 0;
    let more = entry.mode & !mode;
    if etcds && !access::can_read(entry.owner, entry.mode, wanted.owner) {
        "etcd could not read it"
    } else if entry.owner != wanted.owner && etcds {
        "RKE2 gives it to etcd"
    } else if entry.owner != wanted.owner {
        "etcd has no business with it"
    } else if more & 0o022 != 0 {
        "others than its owner could change it"
    } else if more != 0 && wanted.rule == ModeRule::TlsKey {
        "others than its owner could read the key"
    } else if more != 0 {
        "others than its owner could use it"
    } else {
        "its owner is to read and write it"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETCD: Owner = Owner { uid: 997, gid: 997 };

    #[test]
    fn a_tls_key_of_roots_goes_to_etcd_and_a_strict_certificate_stays_strict() {
        let got: Vec<_> = [
            ("server-client.key", 0, 0o600),
            ("server-ca.crt", 997, 0o600),
            ("peer-ca.crt", 997, 0o664),
        ]
        .into_iter()
        .filter_map(|(name, uid, mode)| {
            let file = tls_files(None, ETCD).into_iter().find(|file| file.name == name).unwrap();
            let owner = Owner { uid, gid: uid };
            let planned = judge(Path::new("/tls"), file, &EntryFacts { owner, mode, oddity: None });
            planned.map(|p| (p.finding.code.known(), p.finding.expected))
        })
        .collect();
        assert_eq!(
            got,
            [
                (Some(Code::EtcdTlsOwner), "997:997".into()),
                (Some(Code::EtcdTlsMode), "0644".to_owned())
            ]
        );
    }

    #[test]
    fn a_link_to_what_is_not_etcds_is_fatal_with_the_commands_that_put_the_file_in_its_place() {
        let version = Version::new(1, 34, 1);
        let told = |name: &str, oddity| {
            let file = tls_files(Some(&version), ETCD).into_iter().find(|f| f.name == name);
            let root = Owner { uid: 0, gid: 0 };
            let entry = EntryFacts { owner: root, mode: 0o777, oddity: Some(oddity) };
            judge(Path::new("/d/tls"), file.unwrap(), &entry).unwrap().finding
        };
        let link = |target: &str| Oddity::TlsLink {
            target: target.into(),
            owner: Owner { uid: 0, gid: 42 },
        };
        let absolute = told("server-client.key", link("/opt/my key"));
        assert_eq!(
            (absolute.code.known(), absolute.severity),
            (Some(Code::EtcdTlsLink), Severity::Fatal)
        );
        assert!(absolute.message.contains("/opt/my key, which belongs to 0:42"));
        assert_eq!(
            absolute.remedy,
            "rm /d/tls/server-client.key && install -m 600 '/opt/my key' /d/tls/server-client.key"
        );
        let relative = told("peer-ca.crt", link("../x.crt")).remedy;
        assert!(
            relative.ends_with("install -m 600 /d/tls/../x.crt /d/tls/peer-ca.crt"),
            "{relative}"
        );

        let plain = |dangling| Oddity::RootLink { target: "/x".into(), dangling };
        for (name, dangling, severity) in [
            ("server-client.key", false, Severity::Note),
            ("server-client.key", true, Severity::Fatal),
            // No chown of RKE2's meets it.
            ("client.key", true, Severity::Note),
        ] {
            assert_eq!(told(name, plain(dangling)).severity, severity, "{name} {dangling}");
        }
    }

    #[test]
    fn only_releases_that_are_known_to_give_the_whole_directory_away_do() {
        for (version, whole) in
            [("1.30.14", true), ("1.31.11", true), ("1.33.3+rke2r1", true), ("1.33.4", false)]
        {
            assert_eq!(gives_the_directory(Version::parse(version).ok().as_ref()), whole);
        }
        assert!(!gives_the_directory(None));
    }

    #[test]
    fn more_of_the_rest_than_is_listed_is_counted_and_harmless_ones_are_not() {
        let mut walked = TreeFacts::default();
        for n in 0..20 {
            walked.add_odd(format!("n{n}").into(), Oddity::Special { kind: "fifo" });
        }
        assert_eq!(rest_of(walked.clone(), ETCD), TreeFacts::default());
        let owner = Owner { uid: 0, gid: 0 };
        for n in 0..20 {
            let link = Oddity::TlsLink { target: "/x".into(), owner };
            walked.add_odd(format!("l{n}").into(), link);
        }
        let rest = rest_of(walked, ETCD);
        assert_eq!(rest.odd.len(), TreeFacts::ODD_LIMIT);
        assert_eq!(rest.odd_worst, Some(Severity::Fatal));
    }

    #[test]
    fn a_mode_that_cannot_be_mended_is_fatal_only_where_etcd_cannot_read_the_file() {
        for (name, uid, mode, unmended) in [
            ("server-client.key", 0, 0o600, Severity::Fatal),
            ("server-client.key", 997, 0o644, Severity::Warning),
            ("server-client.key", 997, 0o200, Severity::Fatal),
            ("peer-ca.crt", 997, 0o666, Severity::Warning),
            ("client.key", 0, 0o644, Severity::Warning),
            ("client.key", 997, 0o600, Severity::Warning),
        ] {
            let version = Version::new(1, 34, 1);
            let files = tls_files(Some(&version), ETCD);
            let file = files.into_iter().find(|file| file.name == name).unwrap();
            let entry = EntryFacts { owner: Owner { uid, gid: uid }, mode, oddity: None };
            let planned = judge(Path::new("/tls"), file, &entry).unwrap();
            assert_eq!(planned.unmended, unmended, "{name} {uid} {mode:o}");
        }
    }

    #[test]
    fn etcd_is_said_not_to_read_a_file_only_where_it_cannot() {
        for (name, uid, mode, words) in [
            ("server-client.key", 0, 0o600, "etcd could not read it"),
            ("server-client.key", 997, 0o644, "others than its owner could read the key"),
            ("server-client.key", 997, 0o400, "its owner is to read and write it"),
            ("server-client.key", 997, 0o200, "etcd could not read it"),
            ("server-ca.crt", 0, 0o644, "RKE2 gives it to etcd"),
            ("server-ca.crt", 0, 0o600, "etcd could not read it"),
            ("server-ca.crt", 997, 0o666, "others than its owner could change it"),
        ] {
            let file = tls_files(None, ETCD).into_iter().find(|file| file.name == name).unwrap();
            let entry = EntryFacts { owner: Owner { uid, gid: uid }, mode, oddity: None };
            let message = judge(Path::new("/tls"), file, &entry).unwrap().finding.message;
            assert!(message.ends_with(&format!(": {words}")), "{name} {uid} {mode:o}: {message}");
        }
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
}
