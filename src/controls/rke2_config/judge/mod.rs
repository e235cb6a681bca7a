// SPDX-License-Identifier: Apache-2.0
//! The RKE2 configuration: a profile that this RKE2 knows, and nothing that keeps it from starting.
//!
//! RKE2 stops at the first thing it dislikes; here everything is said at once. A finding is
//! fatal only where RKE2 would not start, or would start without what its files ask for.

mod beside;
pub mod hidden;
mod kubelet;
mod meant;
pub(super) mod mounts;
pub mod overrides;
pub mod place;

use std::path::Path;

use super::facts::{Facts, Units};
use crate::model::{Code, Finding, Origin, Planned, Role, Severity, quoted};
use crate::rke2::profile::{self, Verdict};
use crate::rke2::{Config, Problem, ProblemKind, Setting, has_own_database, shown};

/// Arguments of etcd's that are told; each of them is wrong in the same way.
const ARGUMENTS_TOLD: usize = 8;

/// What is wrong with the configuration, all of it at once; in the order in which an operator
/// would want to read it.
pub fn judge(facts: &Facts<'_>) -> Vec<Planned> {
    let mut findings = Vec::new();
    let said = |problem: &&Problem| !meant::covers(facts.config, problem);
    findings.extend(facts.config.problems.iter().filter(said).map(problem));
    findings.extend(meant::judge(facts.config));
    findings.extend(beside::judge(facts.config));
    role(facts, &mut findings);
    profile_value(facts, &mut findings);
    findings.extend(protect_kernel_defaults(facts.config));
    findings.extend(kubelet::judge(facts.config));
    findings.extend(data_dir(facts.config));
    findings.extend(join(facts));
    let guarded = facts.config.guarding(facts.role, facts.version);
    if let Some(place) = facts.place {
        findings.extend(place::judge(facts.config, place, guarded));
        findings.extend(mounts::judge(facts.config, facts.version, &place.mounts));
    }
    let etcd_args = facts.config.etcd_args.iter().filter_map(|arg| etcd_arg(arg, guarded));
    findings.extend(etcd_args.take(ARGUMENTS_TOLD));
    findings.extend(disable_etcd(facts));
    findings.extend(version(facts));
    findings.into_iter().map(Planned::only).collect()
}

/// ` at FILE:LINE`, or nothing where the value is a default.
pub(crate) fn at(origin: Option<&Origin>) -> String {
    origin.map(|origin| format!(" at {origin}")).unwrap_or_default()
}

/// `edit FILE line N`.
pub(crate) fn edit(origin: Option<&Origin>) -> String {
    match origin {
        Some(Origin { file, line: Some(line) }) => format!("edit {file} line {line}"),
        Some(Origin { file, line: None }) => format!("edit {file}"),
        None => "edit /etc/rancher/rke2/config.yaml".into(),
    }
}

fn either(values: &[&str]) -> String {
    values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ")
}

fn problem(problem: &Problem) -> Finding {
    let Problem { kind, origin, key, words, expected } = problem;
    let subject = key.clone().unwrap_or_else(|| origin.file.clone());
    let edit = edit(Some(origin));
    let (code, severity, remedy) = match kind {
        ProblemKind::InvalidYaml => {
            (Code::ConfigInvalid, Severity::Fatal, format!("{edit}: expected {expected}"))
        }
        ProblemKind::InvalidValue | ProblemKind::TooLong => {
            (Code::ConfigInvalid, Severity::Fatal, format!("{edit}: expected {expected}"))
        }
        ProblemKind::Conflict => {
            (Code::FlagConflict, Severity::Fatal, format!("{edit}: expected {expected}"))
        }
        ProblemKind::Unlisted => (
            Code::FlagUnlisted,
            Severity::Warning,
            format!(
                "update nodeguard\nor, if this RKE2 does not know it, {edit}: expected {expected}"
            ),
        ),
        ProblemKind::Unreadable if key.is_some() => {
            (Code::EnvironmentFileMissing, Severity::Fatal, format!("{edit}: expected {expected}"))
        }
        ProblemKind::Misnamed => (
            Code::ConfigInvalid,
            Severity::Fatal,
            format!("rename {}: expected {expected}", quoted(Path::new(&origin.file))),
        ),
        ProblemKind::Unreadable => (
            Code::ConfigInvalid,
            Severity::Fatal,
            format!("make {} {expected}, or remove it", origin.file),
        ),
        ProblemKind::Ignored if key.is_some() => {
            (Code::ConfigIgnored, Severity::Fatal, format!("{edit}: expected {expected}"))
        }
        ProblemKind::Ignored => (
            Code::ConfigIgnored,
            Severity::Fatal,
            format!("remove {}, or create what it links to", origin.file),
        ),
        ProblemKind::BeyondLimits => {
            (Code::ConfigUnread, Severity::Warning, format!("{edit}: expected {expected}"))
        }
        ProblemKind::EnvironmentUnknown if key.is_some() => {
            (Code::EnvironmentUnread, Severity::Warning, format!("{edit}: expected {expected}"))
        }
        ProblemKind::EnvironmentUnknown => (
            Code::EnvironmentUnread,
            Severity::Warning,
            format!("see that `systemctl show-environment` answers: expected {expected}"),
        ),
        ProblemKind::Remote => (
            Code::ConfigRemote,
            Severity::Warning,
            format!("write the settings to /etc/rancher/rke2/config.yaml and {edit}: no address"),
        ),
        ProblemKind::Misspelt => {
            (Code::ConfigKeyIgnored, Severity::Warning, format!("{edit}: write {expected}"))
        }
        ProblemKind::UnknownKey => (
            Code::ConfigKeyIgnored,
            Severity::Note,
            format!("{edit}: remove the key if this RKE2 does not know it"),
        ),
    };
    let consequence = match kind {
        ProblemKind::InvalidYaml
        | ProblemKind::InvalidValue
        | ProblemKind::Conflict
        | ProblemKind::TooLong
        | ProblemKind::Misnamed
        | ProblemKind::Unreadable => {
            format!("{words} ({origin}): RKE2 does not start; expected {expected}")
        }
        ProblemKind::Unlisted => format!(
            "{words} ({origin}): so says every RKE2 that nodeguard knows, and this one is newer or \
             not known"
        ),
        ProblemKind::Ignored => format!(
            "{words}: RKE2 takes this for an absent configuration and starts without any of its \
             files"
        ),
        ProblemKind::BeyondLimits => {
            format!("{origin} is beyond what nodeguard reads: {words}; RKE2 may read it")
        }
        ProblemKind::EnvironmentUnknown => {
            format!("{words} ({origin}): what RKE2 gets from there is not known")
        }
        ProblemKind::Remote => {
            format!("{words}: nodeguard cannot tell what RKE2 will do with it ({origin})")
        }
        ProblemKind::Misspelt => format!("{words} ({origin}): probably {expected} is meant"),
        ProblemKind::UnknownKey => format!("{words} ({origin})"),
    };
    Finding::new(code, subject)
        .severity(severity)
        .expected(expected.clone())
        .actual(words.clone())
        .origin(origin.clone())
        .message(consequence)
        .remedy(remedy)
}

fn role(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let Units { server, agent } = facts.units;
    if server.counts() && agent.counts() {
        findings.push(
            Finding::new(Code::RoleBoth, "role")
                .expected("one of rke2-server.service and rke2-agent.service")
                .actual("both enabled or active")
                .message(
                    "rke2-server.service and rke2-agent.service are both enabled or active: a \
                     node is one or the other, and each keeps the other from starting",
                )
                .remedy(
                    "systemctl disable --now rke2-agent.service\nor, on an agent: systemctl \
                     disable --now rke2-server.service",
                ),
        );
    } else if facts.role == Role::Unknown {
        findings.push(
            Finding::new(Code::RoleUnknown, "role")
                .expected("rke2-server.service or rke2-agent.service enabled")
                .actual("neither")
                .message("no RKE2 unit is enabled or active: only the kernel parameters are kept")
                .remedy(
                    "systemctl enable rke2-server.service\nor, on an agent: systemctl enable \
                     rke2-agent.service",
                ),
        );
    }
}

fn profile_value(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let known = profile::known(facts.version);
    let rke2 = match facts.version {
        _ if !lists_hold(facts) => format!("RKE2 v1.{}, an older one,", profile::NEWEST_MINOR),
        Some(version) => format!("RKE2 v{version}"),
        None => "RKE2 (version not known)".into(),
    };
    let Some(profile) = facts.config.profile() else {
        // Said already, and more of it.
        if !meant::is_fatal(facts.config) {
            findings.extend(profile_missing(facts, known));
        }
        return;
    };
    let Setting { value, key, origin } = profile;
    let origin = origin.as_ref();
    // A file may hold a value of any length, and another one's value by mistake.
    let value = shown::value("profile", value);
    match profile::judge(facts.version, &profile.value) {
        Verdict::Accepted => {}
        Verdict::Deprecated { words, instead } => findings.push(
            Finding::new(Code::ProfileDeprecated, "profile")
                .expected(instead)
                .actual(value.clone())
                .origin(origin.cloned())
                .message(format!("{words} ({key} is `{value}`{})", at(origin)))
                .remedy(format!("{}: profile: {instead}", edit(origin))),
        ),
        Verdict::Invalid { words, known } => findings.push(
            Finding::new(Code::ProfileInvalid, "profile")
                // What a newer one knows is in no list here.
                .severity(if lists_hold(facts) { Severity::Fatal } else { Severity::Warning })
                .expected(known.join(", "))
                .actual(value.clone())
                .origin(origin.cloned())
                .message(format!(
                    "{words}: {key} is `{value}`{}, {rke2} knows {}",
                    at(origin),
                    either(known)
                ))
                .remedy(format!("{}: profile: {}", edit(origin), known[0])),
        ),
    }
}

/// Whether the profiles that are known here are those of this RKE2.
fn lists_hold(facts: &Facts<'_>) -> bool {
    match facts.version {
        Some(version) => !profile::is_newer_than_known(version),
        None => facts.config.release.is_listed(),
    }
}

fn profile_missing(facts: &Facts<'_>, known: &[&str]) -> Option<Finding> {
    let severity = match facts.role {
        Role::Server => Severity::Warning,
        Role::Agent => Severity::Note,
        Role::Unknown => return None,
    };
    // Set, and empty.
    let set = facts.config.profile.as_ref().and_then(|setting| setting.origin.as_ref());
    // While a file cannot be read, it may well be the one that sets the profile.
    let unread = facts.config.problems.iter().any(|problem| {
        !matches!(problem.kind, ProblemKind::UnknownKey | ProblemKind::Misspelt)
            && problem.key.is_none()
    });
    let environment =
        facts.config.problems.iter().any(|problem| problem.kind == ProblemKind::EnvironmentUnknown);
    let caveat = match (environment, unread) {
        (true, _) => " in what could be read",
        (false, true) => " in the files that could be read",
        (false, false) => "",
    };
    Some(
        Finding::new(Code::ProfileMissing, "profile")
            .severity(severity)
            .expected(known.join(", "))
            .actual(if set.is_some() { "empty" } else { "not set" })
            .origin(set.cloned())
            .message(format!(
                "not running in CIS mode: no profile is set{caveat}{}, RKE2 starts unhardened",
                at(set)
            ))
            .remedy(format!("{}: profile: {}", edit(set), known[0])),
    )
}

fn protect_kernel_defaults(config: &Config) -> Option<Finding> {
    let profile = config.profile().filter(|profile| profile.value != profile::ETCD)?;
    let setting = config.protect_kernel_defaults.as_ref().filter(|setting| !setting.value)?;
    let origin = setting.origin.as_ref();
    let value = shown::value("profile", &profile.value);
    Some(
        Finding::new(Code::ProtectKernelDefaultsConflict, "protect-kernel-defaults")
            .expected("true")
            .actual("false")
            .origin(origin.cloned())
            .message(format!(
                "--protect-kernel-defaults must be true when using --profile={value}: \
                 {} is false{}, the profile is set{}",
                setting.key,
                at(origin),
                at(profile.origin.as_ref())
            ))
            .remedy(format!(
                "{}: protect-kernel-defaults: true\nor remove the key: the profile sets it",
                edit(origin)
            )),
    )
}

fn data_dir(config: &Config) -> Option<Finding> {
    let Setting { value, key, origin } = &config.data_dir;
    if value.is_absolute() {
        return None;
    }
    let origin = origin.as_ref();
    let dir = shown::value("data-dir", &value.to_string_lossy());
    let common = |code, severity| {
        Finding::new(code, "data-dir")
            .severity(severity)
            .expected("an absolute path")
            .actual(dir.clone())
            .origin(origin.cloned())
            .remedy(format!("{}: data-dir: {}", edit(origin), crate::rke2::DEFAULT_DATA_DIR))
    };
    if value.as_os_str().is_empty() {
        return Some(common(Code::DataDirInvalid, Severity::Fatal).message(format!(
            "mkdir : no such file or directory: {key} is empty{}, RKE2 cannot make it",
            at(origin)
        )));
    }
    // RKE2 writes the path as it is into the manifests of its static pods, where only an absolute
    // one can be mounted. An agent runs none of them.
    let severity = match config.role {
        Role::Agent => Severity::Warning,
        Role::Server | Role::Unknown => Severity::Fatal,
    };
    Some(common(Code::DataDirRelative, severity).message(format!(
        "mount destination {dir}/server not absolute: {key} is the relative path `{dir}`{}: \
         what RKE2 starts in containers does not find it",
        at(origin)
    )))
}

/// An agent asks for a server and, until it has a certificate, for a token. In an image that is what
/// a host adds at its first boot.
fn join(facts: &Facts<'_>) -> Vec<Finding> {
    let Facts { config, joined, .. } = *facts;
    if facts.role != Role::Agent || config.is_incomplete() || config.is_elsewhere() {
        return Vec::new();
    }
    let severity = if facts.place.is_some() { Severity::Fatal } else { Severity::Note };
    let server = config.server.as_ref().filter(|server| !server.value.is_empty());
    let missing = |flag: &str, set: Option<&Setting<String>>, value: &str| {
        let origin = set.and_then(|setting| setting.origin.as_ref());
        Finding::new(Code::AgentCannotJoin, flag)
            .severity(severity)
            .expected(format!("`{flag}`"))
            .actual(if set.is_some() { "empty" } else { "not set" })
            .origin(origin.cloned())
            .message(format!(
                "--{flag} is required: an agent joins a cluster and does not start without it{}",
                at(origin)
            ))
            .remedy(format!("{}: {flag}: {value}", edit(origin)))
    };
    let mut findings = Vec::new();
    if !config.has_token && !joined {
        findings.push(missing("token", None, "THE TOKEN OF THE CLUSTER"));
    }
    if server.is_none() {
        findings.push(missing("server", config.server.as_ref(), "https://ADDRESS:9345"));
    }
    findings
}

/// RKE2 hands `etcd-arg` on as it is; with another directory etcd's data is outside of what RKE2
/// backs up, restores and gives to the etcd user.
///
/// `guarded`: under a profile, where etcd's data must be the etcd user's. There it would be
/// unhardened at best, and RKE2 says nothing about it.
fn etcd_arg(argument: &Setting<String>, guarded: bool) -> Option<Finding> {
    let bare = argument.value.trim_start_matches('-');
    let (name, _) = bare.split_once('=').unwrap_or((bare, ""));
    if !matches!(name, "data-dir" | "wal-dir") {
        return None;
    }
    let origin = argument.origin.as_ref();
    let value = shown::argument(&argument.value);
    let severity = if guarded { Severity::Fatal } else { Severity::Warning };
    Some(
        Finding::new(Code::EtcdArgUnsupported, "etcd-arg")
            .severity(severity)
            .expected(format!("no `{name}`"))
            .actual(value.clone())
            .origin(origin.cloned())
            .message(format!(
                "etcd-arg `{value}`{} is not supported by RKE2: snapshots are restored \
                 elsewhere, and nobody gives that directory to the user etcd",
                at(origin)
            ))
            .remedy(format!(
                "{}: remove `{name}`; to move etcd's data, set RKE2's own data-dir before \
                 the first start",
                edit(origin)
            )),
    )
}

/// `disable-etcd` alone means a database of RKE2's own, and with `server` the etcd of another
/// server. RKE2 asks whether `server` is there, then whether it says something.
fn disable_etcd(facts: &Facts<'_>) -> Option<Finding> {
    let Config { disable_etcd, server, datastore_endpoint, .. } = facts.config;
    let external = datastore_endpoint.as_ref().is_some_and(|endpoint| !endpoint.value.is_empty());
    if facts.role == Role::Agent || !disable_etcd.value || external {
        return None;
    }
    // Before that RKE2 had no database of its own.
    let kine = facts.version.is_none_or(has_own_database);
    let cause = match server {
        Some(Setting { value, key, origin }) if value.is_empty() => {
            format!("{key} is empty{}", at(origin.as_ref()))
        }
        None if !kine => "server is not set".into(),
        _ => return None,
    };
    let origin = disable_etcd.origin.as_ref();
    Some(
        Finding::new(Code::DisableEtcdWithoutServer, "disable-etcd")
            .expected("the address of a server with an etcd")
            .actual(cause.clone())
            .origin(origin.cloned())
            .message(format!(
                "invalid flag use; --server is required with --disable-etcd: {} is true{}, {cause}",
                disable_etcd.key,
                at(origin)
            ))
            .remedy(format!("{}: server: https://ADDRESS:9345\nor remove both keys", edit(origin))),
    )
}

/// What is judged by rules that may be too old.
fn version(facts: &Facts<'_>) -> Option<Finding> {
    let version = facts.version.filter(|version| profile::is_newer_than_known(version))?;
    let newest = profile::NEWEST_MINOR;
    Some(
        Finding::new(Code::VersionNewer, "version")
            .expected(format!("RKE2 v1.{newest} or older"))
            .actual(format!("v{version}"))
            .message(format!(
                "RKE2 v{version} is newer than what nodeguard knows (v1.{newest}): the rules of \
                 v1.{newest} are used"
            ))
            .remedy("update nodeguard"),
    )
}
