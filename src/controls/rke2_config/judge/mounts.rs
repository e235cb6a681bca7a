// SPDX-License-Identifier: Apache-2.0
//! What is mounted on the way to RKE2's data: whether its programs can be started there, and whether
//! what is promised to be mounted is. RKE2 asks neither. Of a mount that is not there it finds an empty
//! directory, makes a new etcd in it and joins or begins a cluster with that (rancher/rke2#1479, #6571).

use semver::Version;

use super::{at, edit};
use crate::controls::rke2_config::facts::{Mounts, NoExec, PromisedMount, There};
use crate::model::{Code, Finding, Role, Severity, quoted, shown};
use crate::rke2::{Config, has_own_database};

const FSTAB: &str = "/etc/fstab";

pub(crate) fn judge(config: &Config, version: Option<&Version>, mounts: &Mounts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = mounts.no_exec.iter().map(no_exec).collect();
    let keeps = keeps_cluster(config, version);
    let etcd = config.etcd_data_dir();
    // RKE2's own database, where it has no etcd, is beside etcd's directory.
    let keeps_there = |mount: &PromisedMount| {
        keeps && (config.runs_local_etcd() || !mount.place.starts_with(&etcd))
    };
    findings.extend(mounts.promised.iter().filter_map(|mount| promised(mount, keeps_there(mount))));
    findings
}

/// Whether the data of a cluster is on this node: in an etcd, or in the database that RKE2 makes where
/// it has neither an etcd nor another server.
pub(crate) fn keeps_cluster(config: &Config, version: Option<&Version>) -> bool {
    let set = |setting: &Option<crate::rke2::Setting<String>>| {
        setting.as_ref().is_some_and(|setting| !setting.value.is_empty())
    };
    let own_database = config.role == Role::Server
        && config.disable_etcd.value
        && !set(&config.datastore_endpoint)
        && !set(&config.server)
        && version.is_none_or(has_own_database);
    config.runs_local_etcd() || own_database
}

/// Linux executes nothing on such a mount (`path_noexec` in fs/exec.c), as root neither.
fn no_exec(found: &NoExec) -> Finding {
    let NoExec { programs, point, origin } = found;
    let (dir, shown_point) = (shown(programs), shown(point));
    let keep = match origin {
        Some(_) => format!("{}: take noexec out", edit(origin.as_ref())),
        None => format!("and take noexec out of what mounts it: findmnt {}", quoted(point)),
    };
    Finding::new(Code::DataDirNoexec, shown_point.as_str())
        .expected("a mount without noexec")
        .actual("noexec")
        .origin(origin.clone())
        .message(format!(
            "fork/exec {dir}/VERSION/bin/containerd: permission denied: {shown_point} is mounted with \
             noexec{}, and RKE2 unpacks its programs into {dir} and starts them there",
            at(origin.as_ref())
        ))
        // A service in a mount namespace of its own keeps the flags that a mount had.
        .remedy(format!(
            "mount -o remount,exec {} && systemctl restart nodeguard\n{keep}",
            quoted(point)
        ))
}

/// `keeps`: the data of a cluster is on this node.
fn promised(mount: &PromisedMount, keeps: bool) -> Option<Finding> {
    let PromisedMount { place, holds_cluster, unit, what, origin, there } = mount;
    let (dir, word) = (shown(place), quoted(place));
    let what = shown(std::path::Path::new(what));
    let fatal = keeps && *holds_cluster;
    let severity = if fatal { Severity::Fatal } else { Severity::Warning };
    let name = quoted(std::path::Path::new(unit));
    let is_automount = unit.ends_with(".automount");
    // The unit may have failed a moment ago, when RKE2 was about to start: first why.
    let start = format!(
        "systemctl daemon-reload && systemctl start {name}\nwhere that fails: journalctl -b -u {}",
        match is_automount {
            // The automount's mount is what fails.
            true => quoted(std::path::Path::new(&unit.replace(".automount", ".mount"))),
            false => name.clone(),
        }
    );
    let forget = match origin.line {
        Some(_) if origin.file == FSTAB => {
            format!("or, if it is to be there no more, {}: take the line away", edit(Some(origin)))
        }
        _ => format!("or, if it is to be there no more: systemctl disable {name}"),
    };
    let consequence = match (fatal, there) {
        (true, There::Another(_)) => {
            "RKE2 would start with the etcd that is there, or with a new and empty one"
        }
        (true, _) => "RKE2 would start with a new and empty etcd in the directory below it",
        (false, There::Another(_)) => "RKE2 would use what is there",
        (false, _) => "RKE2 would use the file system below it",
    };
    let finding = |code| Finding::new(code, dir.as_str()).severity(severity);
    let finding = match there {
        There::Mount => return None,
        There::Nothing => finding(Code::DataDirNotMounted)
            .actual("nothing is mounted")
            .message(format!(
                "{dir} is not mounted, and {origin} promises {what} there ({unit}): {consequence}"
            ))
            .remedy(format!("{start}\n{forget}")),
        There::Another(other) => {
            let other = shown(std::path::Path::new(other));
            finding(Code::DataDirOtherMount)
                .actual(other.as_str())
                .message(format!(
                    "{dir} has {other} mounted and not {what}, which {origin} promises there \
                     ({unit}): {consequence}"
                ))
                .remedy(format!("umount {word} && {start}\n{forget}"))
        }
    };
    Some(finding.expected(what).origin(origin.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Origin;
    use crate::rke2::{ConfigPath, DEFAULT_CONFIG, Setting};

    fn config(role: Role) -> Config {
        let path = ConfigPath::File { path: DEFAULT_CONFIG.into(), origin: None };
        Config::unset(role, path)
    }

    fn line() -> Origin {
        Origin::at("/etc/fstab", 7)
    }

    fn mount(place: &str, holds_cluster: bool, there: There) -> PromisedMount {
        PromisedMount {
            place: place.into(),
            holds_cluster,
            unit: "var-lib-rancher.mount".into(),
            what: "LABEL=etcd".into(),
            origin: line(),
            there,
        }
    }

    fn one(config: &Config, mount: PromisedMount) -> Option<Finding> {
        let mounts = Mounts { no_exec: None, promised: vec![mount] };
        let mut findings = judge(config, None, &mounts);
        assert!(findings.len() <= 1);
        findings.pop()
    }

    #[test]
    fn a_promised_mount_that_is_not_there_is_fatal_where_the_data_of_a_cluster_would_be_new() {
        let server = config(Role::Server);
        let external = Config {
            datastore_endpoint: Some(setting("postgres://x".to_owned())),
            ..config(Role::Server)
        };
        let own_database = Config { disable_etcd: setting(true), ..config(Role::Server) };
        let joined =
            Config { server: Some(setting("https://x:9345".to_owned())), ..own_database.clone() };
        let other = || There::Another("tmpfs (tmpfs)".into());
        for (name, config, holds, there, expected) in [
            (
                "server",
                &server,
                true,
                There::Nothing,
                Some((Code::DataDirNotMounted, Severity::Fatal)),
            ),
            ("other", &server, true, other(), Some((Code::DataDirOtherMount, Severity::Fatal))),
            ("there", &server, true, There::Mount, None),
            (
                "below agent/",
                &server,
                false,
                There::Nothing,
                Some((Code::DataDirNotMounted, Severity::Warning)),
            ),
            (
                "agent",
                &config(Role::Agent),
                true,
                There::Nothing,
                Some((Code::DataDirNotMounted, Severity::Warning)),
            ),
            (
                "external datastore",
                &external,
                true,
                other(),
                Some((Code::DataDirOtherMount, Severity::Warning)),
            ),
            (
                "database of its own",
                &own_database,
                true,
                There::Nothing,
                Some((Code::DataDirNotMounted, Severity::Fatal)),
            ),
            (
                "etcd of another server",
                &joined,
                true,
                There::Nothing,
                Some((Code::DataDirNotMounted, Severity::Warning)),
            ),
        ] {
            let found = one(config, mount("/var/lib/rancher", holds, there));
            let found = found.map(|it| (it.code.known().unwrap(), it.severity));
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_mount_for_etcd_alone_is_not_missed_where_rke2_keeps_its_own_database_beside_it() {
        let own_database = Config { disable_etcd: setting(true), ..config(Role::Server) };
        let server = config(Role::Server);
        for (place, config, severity) in [
            ("/var/lib/rancher/rke2/server/db/etcd", &own_database, Severity::Warning),
            ("/var/lib/rancher/rke2/server/db/etcd/member", &own_database, Severity::Warning),
            ("/var/lib/rancher/rke2/server/db", &own_database, Severity::Fatal),
            ("/var/lib/rancher/rke2/server/db/etcd", &server, Severity::Fatal),
        ] {
            let found = one(config, mount(place, true, There::Nothing)).unwrap();
            assert_eq!(found.severity, severity, "{place}");
        }
    }

    fn setting<T>(value: T) -> Setting<T> {
        Setting { value, key: "x".into(), origin: None }
    }

    #[test]
    fn the_remedy_has_the_unit_why_it_failed_and_the_way_to_forget_it() {
        let server = config(Role::Server);
        let missing = one(&server, mount("/var/lib/rancher", true, There::Nothing)).unwrap();
        assert_eq!(
            missing.remedy,
            "systemctl daemon-reload && systemctl start var-lib-rancher.mount\n\
             where that fails: journalctl -b -u var-lib-rancher.mount\n\
             or, if it is to be there no more, edit /etc/fstab line 7: take the line away"
        );
        assert!(
            missing.message.contains("/etc/fstab:7 promises LABEL=etcd"),
            "{}",
            missing.message
        );
        let by_unit = PromisedMount {
            unit: "srv-my\\x2ddisk.automount".into(),
            origin: Origin::at("/etc/systemd/system/srv-my\\x2ddisk.mount", 3),
            ..mount("/srv/my-disk", true, There::Nothing)
        };
        let remedy = one(&server, by_unit).unwrap().remedy;
        assert!(remedy.contains("systemctl start 'srv-my\\x2ddisk.automount'\n"), "{remedy}");
        assert!(remedy.contains("journalctl -b -u 'srv-my\\x2ddisk.mount'\n"), "{remedy}");
        assert!(remedy.ends_with("systemctl disable 'srv-my\\x2ddisk.automount'"), "{remedy}");
        let other = mount("/var/lib/rancher", true, There::Another("tmpfs (tmpfs)".into()));
        let remedy = one(&server, other).unwrap().remedy;
        assert!(remedy.starts_with("umount /var/lib/rancher && systemctl "), "{remedy}");
    }

    #[test]
    fn a_mount_on_which_nothing_can_be_started_is_told_with_its_line() {
        for (origin, remedy) in [
            (
                Some(line()),
                "mount -o remount,exec '/my var' && systemctl restart nodeguard\nedit /etc/fstab line 7: take noexec out",
            ),
            (
                None,
                "mount -o remount,exec '/my var' && systemctl restart nodeguard\nand take noexec out of what mounts it: findmnt \
                 '/my var'",
            ),
        ] {
            let point = "/my var".into();
            let no_exec = Some(NoExec { programs: "/my var/rke2/data".into(), point, origin });
            let mounts = Mounts { no_exec, promised: Vec::new() };
            for role in [Role::Server, Role::Agent] {
                let findings = judge(&config(role), None, &mounts);
                assert_eq!(findings.len(), 1);
                assert_eq!(findings[0].code, Code::DataDirNoexec);
                assert_eq!(findings[0].severity, Severity::Fatal);
                assert_eq!(findings[0].remedy, remedy);
            }
        }
    }
}
