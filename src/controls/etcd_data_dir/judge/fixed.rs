// SPDX-License-Identifier: Apache-2.0
//! What `chattr` has made unchangeable in etcd's tree or among its TLS files. RKE2 gives each of them
//! to etcd at every start, also those that are etcd's already, and the kernel refuses a change of owner
//! of such a file to everybody (`may_setattr` in Linux's fs/attr.c): RKE2 ends.

use std::path::Path;

use crate::controls::etcd_data_dir::facts::{EntryFacts, Oddity, TlsFile};
use crate::model::{Code, quoted, shown};

/// Code, expected and actual value, message and remedy.
type Told = (Code, &'static str, String, String, String);

impl Oddity {
    /// Of a directory or regular file with these flags.
    pub fn fixed(immutable: bool, append_only: bool) -> Option<Self> {
        (immutable || append_only).then_some(Self::Fixed { immutable, append_only })
    }
}

/// What it means that an entry has such flags.
pub(super) fn told(path: &Path, immutable: bool, append_only: bool) -> Told {
    let (shown, word) = (shown(path), quoted(path));
    let (flags, actual, means) = match (immutable, append_only) {
        (true, true) => ("-ia", "immutable, append-only", "immutable and append-only"),
        (false, _) => ("-a", "append-only", "append-only"),
        (true, false) => ("-i", "immutable", "immutable"),
    };
    (
        Code::EtcdImmutable,
        "neither immutable nor append-only",
        actual.to_owned(),
        format!(
            "chown {shown}: operation not permitted: it is {means}, and RKE2 gives each of etcd's \
             files to etcd at every start, also one that is etcd's already"
        ),
        format!("chattr {flags} {word}"),
    )
}

/// Whether it is a flag on a TLS file that RKE2 leaves to root, and so never changes.
pub(super) fn is_left_alone(wanted: TlsFile, entry: &EntryFacts) -> bool {
    wanted.owner.uid == 0 && matches!(entry.oddity, Some(Oddity::Fixed { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controls::etcd_data_dir::judge::{oddity, tls};
    use crate::model::{ModeRule, Owner, Severity};

    #[test]
    fn what_chattr_made_unchangeable_is_fatal_with_the_command_that_takes_it_back() {
        for (immutable, append_only, actual, remedy) in [
            (true, false, "immutable", "chattr -i '/d/a b'"),
            (false, true, "append-only", "chattr -a '/d/a b'"),
            (true, true, "immutable, append-only", "chattr -ia '/d/a b'"),
        ] {
            let fixed = Oddity::fixed(immutable, append_only).unwrap();
            let planned = oddity::judge(Path::new("/d/a b"), &fixed);
            assert_eq!(planned.finding.code, Code::EtcdImmutable);
            assert_eq!(planned.finding.severity, Severity::Fatal);
            assert_eq!(planned.finding.actual, actual);
            assert_eq!(planned.finding.remedy, remedy);
            assert!(planned.actions.is_empty(), "it would be refused");
        }
        assert_eq!(Oddity::fixed(false, false), None);
    }

    #[test]
    fn of_the_tls_files_those_that_rke2_gives_away_must_be_changeable_and_roots_need_not() {
        let entry = |uid| EntryFacts {
            owner: Owner { uid, gid: uid },
            mode: 0o600,
            oddity: Oddity::fixed(true, false),
        };
        for (uid, told) in [(997, Some(Code::EtcdImmutable)), (0, None)] {
            let owner = Owner { uid, gid: uid };
            let wanted = TlsFile { name: "x.key", rule: ModeRule::TlsKey, owner };
            let planned = tls::judge(Path::new("/tls"), wanted, &entry(uid));
            let code = planned.and_then(|planned| planned.finding.code.known());
            assert_eq!(code, told, "{uid}");
        }
    }
}
