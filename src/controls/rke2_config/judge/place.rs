// SPDX-License-Identifier: Apache-2.0
//! Where RKE2's data directory is: on a file system that can hold it, and under labels with which
//! SELinux lets etcd read it. RKE2 looks at neither and fails later, in words that name neither.

use crate::controls::rke2_config::facts::{FileSystem, Labels, Place};

use super::{at, edit};
use crate::model::{Code, Finding, Severity, quoted, shown};
use crate::rke2::{Config, DEFAULT_DATA_DIR, Setting};

impl Labels {
    /// Whether `path` gets the labels of RKE2's default data directory, or has rules of its own.
    fn cover(&self, path: &str) -> bool {
        let mut place = path.to_owned();
        // libselinux looks each path up in the operator's file first, then in the policy's.
        for subs in [&self.subs, &self.subs_dist] {
            place = substituted(subs, &place).unwrap_or(place);
        }
        is_below(&place, DEFAULT_DATA_DIR).is_some() || self.has_rule_for(&place)
    }

    /// Rules for one binary below the directory are not what is meant: the policy of RKE2 has some
    /// for the places of its installer.
    fn has_rule_for(&self, path: &str) -> bool {
        let plain = |rule: &str| rule.replace('\\', "");
        self.rules.lines().filter_map(|line| line.split_whitespace().next()).any(|rule| {
            let rule = plain(rule);
            let rest = rule.strip_prefix(path).filter(|_| !rule.starts_with('#'));
            rest.is_some_and(|rest| {
                ["(/", "/.*", "/server", "/("].iter().any(|start| rest.starts_with(start))
            })
        })
    }
}

/// A path after the first equivalence that fits it.
fn substituted(subs: &str, path: &str) -> Option<String> {
    subs.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (alias, original) = (words.next()?, words.next()?);
        if alias.starts_with('#') {
            return None;
        }
        let rest = is_below(path, alias.trim_end_matches('/'))?;
        Some(format!("{}{rest}", original.trim_end_matches('/')))
    })
}

/// What is left of `path` below `top`; empty for `top` itself.
fn is_below<'a>(path: &'a str, top: &str) -> Option<&'a str> {
    path.strip_prefix(top).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a file system can give RKE2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fitness {
    Fit,
    /// Depends on how it is served or mounted.
    Doubtful,
    /// No owners and no links, whatever its options: RKE2 needs both.
    Unfit,
}

fn fitness(kind: &str) -> Fitness {
    match kind {
        "vfat" | "msdos" | "exfat" | "umsdos" | "hpfs" => Fitness::Unfit,
        "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "9p" | "virtiofs" | "ntfs" | "ntfs3"
        | "fuseblk" | "fuse" | "afs" | "vboxsf" => Fitness::Doubtful,
        kind if kind.starts_with("fuse.") => Fitness::Doubtful,
        _ => Fitness::Fit,
    }
}

/// Everything that is wrong with the place. `guarded`: etcd's files are to be given away there.
pub(crate) fn judge(config: &Config, place: &Place, guarded: bool) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        place.file_systems.iter().filter_map(|fs| file_system(config, fs, guarded)).collect();
    findings.extend(place.labels.as_ref().and_then(|labels| unlabelled(config, labels, guarded)));
    findings
}

fn file_system(config: &Config, fs: &FileSystem, guarded: bool) -> Option<Finding> {
    let origin = config.data_dir.origin.as_ref();
    let data_dir = shown(&config.data_dir.value);
    let (path, kind) = (shown(&fs.path), fs.kind.as_str());
    let elsewhere = format!("{}: data-dir: a directory on ext4 or xfs", edit(origin));
    if fs.read_only {
        return Some(
            Finding::new(Code::DataDirReadOnly, path.as_str())
                .expected("a file system that can be written")
                .actual(format!("{kind}, read-only"))
                .origin(origin.cloned())
                .message(format!(
                    "mkdir {data_dir}: read-only file system: {path} is on a {kind} that is \
                     read-only, RKE2 cannot work there{}",
                    at(origin)
                ))
                .remedy(format!(
                    "mount -o remount,rw $(findmnt -no TARGET -T {})\nif it turned read-only by \
                     itself, its disk has errors: journalctl -k",
                    quoted(&fs.path)
                )),
        );
    }
    let common = |severity| {
        Finding::new(Code::DataDirFileSystem, path.as_str())
            .severity(severity)
            .expected("a file system with owners and links, such as ext4 or xfs")
            .actual(kind)
            .origin(origin.cloned())
            .remedy(elsewhere.clone())
    };
    match fitness(kind) {
        Fitness::Unfit => Some(common(Severity::Fatal).message(format!(
            "chown {data_dir}/server/db/etcd: operation not permitted: {path} is on {kind}, \
             where files have neither owners nor links{}",
            at(origin)
        ))),
        Fitness::Doubtful if guarded => Some(common(Severity::Warning).message(format!(
            "{path} is on {kind}: whether etcd's files can be given to the user etcd there \
             depends on its server or its mount options, and etcd is not supported on \
             it{}",
            at(origin)
        ))),
        Fitness::Doubtful | Fitness::Fit => None,
    }
}

/// RKE2 itself starts all the same; etcd, labelled as a container, may not read what is not.
fn unlabelled(config: &Config, labels: &Labels, guarded: bool) -> Option<Finding> {
    let Setting { value, key, origin } = &config.data_dir;
    let path = value.to_str().filter(|_| value.is_absolute())?;
    if labels.cover(path) {
        return None;
    }
    let origin = origin.as_ref();
    let severity =
        if guarded && config.selinux.value { Severity::Fatal } else { Severity::Warning };
    let dir = quoted(value);
    Some(
        Finding::new(Code::DataDirUnlabelled, "data-dir")
            .severity(severity)
            .expected(format!("the labels of {DEFAULT_DATA_DIR}"))
            .actual("no equivalence in file_contexts.subs")
            .origin(origin.cloned())
            .message(format!(
                "cannot access data directory: open {}/server/db/etcd/.touch: permission denied: \
                 SELinux enforces, and {key} is {}{} without the labels of {DEFAULT_DATA_DIR}",
                shown(value),
                shown(value),
                at(origin)
            ))
            .remedy(format!(
                "semanage fcontext -a -e {DEFAULT_DATA_DIR} {dir}\nrestorecon -R {dir}"
            )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Origin, Role};
    use crate::rke2::{ConfigPath, DEFAULT_CONFIG};

    fn config(dir: &str, selinux: bool) -> Config {
        let path = ConfigPath::File { path: DEFAULT_CONFIG.into(), origin: None };
        let mut config = Config::unset(Role::Server, path);
        let origin = Some(Origin::at("/etc/rancher/rke2/config.yaml.d/99.yaml", 1));
        config.data_dir = Setting { value: dir.into(), key: "data-dir".into(), origin };
        config.selinux.value = selinux;
        config
    }

    fn on(kind: &str, read_only: bool) -> Place {
        let path = "/srv".into();
        let file_systems = vec![FileSystem { path, kind: kind.into(), read_only }];
        Place { file_systems, ..Place::default() }
    }

    #[test]
    fn a_file_system_weighs_by_what_it_can_hold() {
        let fatal = Some(Severity::Fatal);
        for (kind, read_only, guarded, code, severity) in [
            ("ext4", false, true, "", None),
            ("xfs", false, true, "", None),
            ("btrfs", false, true, "", None),
            ("overlay", false, true, "", None),
            ("ext4", true, false, "data-dir-read-only", fatal),
            ("vfat", false, false, "data-dir-file-system", fatal),
            ("exfat", false, true, "data-dir-file-system", fatal),
            ("nfs4", false, true, "data-dir-file-system", Some(Severity::Warning)),
            ("cifs", false, true, "data-dir-file-system", Some(Severity::Warning)),
            ("fuse.sshfs", false, true, "data-dir-file-system", Some(Severity::Warning)),
            ("9p", false, false, "", None),
        ] {
            let found = judge(&config("/srv/rke2", false), &on(kind, read_only), guarded);
            let got = found.first().map(|f| (f.code.as_str(), f.severity));
            assert_eq!(got, severity.map(|severity| (code, severity)), "{kind}");
        }
    }

    fn labels(subs: &str, rules: &str) -> Labels {
        let subs_dist = "/run /var/run\n/var/opt /opt\n".into();
        Labels { subs: subs.into(), subs_dist, rules: rules.into() }
    }

    #[test]
    fn a_directory_has_rke2s_labels_by_equivalence_or_by_rules_of_its_own() {
        let equivalent = "# by semanage\n/opt/rke2 /var/lib/rancher/rke2\n";
        let installer = "/opt/rke2/bin/rke2\t--\tsystem_u:object_r:container_runtime_exec_t:s0\n";
        let own = "/opt/rke2(/.*)?  system_u:object_r:container_var_lib_t:s0\n";
        for (dir, subs, rules, covered) in [
            ("/var/lib/rancher/rke2", "", "", true),
            ("/opt/rke2", "", "", false),
            ("/opt/rke2", equivalent, "", true),
            ("/opt/rke2/", equivalent, "", true),
            ("/opt/rke2/below", equivalent, "", true),
            ("/opt/rke2-other", equivalent, "", false),
            ("/opt/rke2", "/opt/rke2/ /var/lib/rancher/rke2/\n", "", true),
            ("/opt/rke2", "#/opt/rke2 /var/lib/rancher/rke2\n", "", false),
            ("/opt/rke2", "/opt/rke2\n", "", false),
            ("/opt/rancher/rke2", "/opt/rancher /var/lib/rancher\n", "", true),
            ("/var/opt/rke2", equivalent, "", false),
            ("/opt/rke2", "", installer, false),
            ("/opt/rke2", "", own, true),
            ("/srv/a.b", "", "/srv/a\\.b/.* x\n", true),
        ] {
            assert_eq!(labels(subs, rules).cover(dir), covered, "{dir} {subs:?} {rules:?}");
        }
    }

    #[test]
    fn missing_labels_are_fatal_where_etcd_is_confined_and_carry_the_two_lines() {
        let place = Place { labels: Some(labels("", "")), ..Place::default() };
        let found = judge(&config("/opt/rke2", true), &place, true);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].code.as_str(), found[0].severity),
            ("data-dir-unlabelled", Severity::Fatal)
        );
        assert_eq!(
            found[0].remedy,
            "semanage fcontext -a -e /var/lib/rancher/rke2 /opt/rke2\nrestorecon -R /opt/rke2"
        );
        for (selinux, guarded) in [(false, true), (true, false)] {
            let found = judge(&config("/opt/rke2", selinux), &place, guarded);
            assert_eq!(found[0].severity, Severity::Warning, "{selinux} {guarded}");
        }
    }
}
