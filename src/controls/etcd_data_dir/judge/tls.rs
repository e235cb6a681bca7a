// SPDX-License-Identifier: Apache-2.0
//! A part of the control `etcd-data-dir`: the TLS files that etcd reads, and those it has no business with.

use crate::controls::etcd_data_dir::facts::TlsFile;
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
        return Some(oddity::judge(&path, oddity));
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
