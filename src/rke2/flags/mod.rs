// SPDX-License-Identifier: Apache-2.0
//! The flags of `rke2 server` and `rke2 agent`, of every release in the table: what kind of value
//! each takes, its short name, the variables that stand in for it.
//!
//! RKE2 skips every key of a file that is none of them, and refuses such a flag on its command line.

mod release;
mod table;

use crate::model::Role;

pub use release::Release;

/// The flags whose values are resolved here.
pub(super) const RESOLVED: [&str; 9] = [
    "profile",
    "data-dir",
    "protect-kernel-defaults",
    "kubelet-arg",
    "disable-etcd",
    "datastore-endpoint",
    "server",
    "selinux",
    "etcd-arg",
];

/// Every subcommand has it; none of RKE2's files can set it.
const HELP: Flag =
    Flag { name: "help", kind: Kind::Bool, short: "h", variables: &[], server: &[], agent: &[] };

/// What kind of value a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Go's words for a boolean; stands alone on a command line.
    Bool,
    /// A whole number of 64 bits, in any base that Go's prefixes name.
    Int,
    /// A number with its unit.
    Duration,
    /// Anything; the last one counts.
    Text,
    /// Anything; each one counts.
    List,
}

/// A flag.
#[derive(Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Its other name, of one letter; empty for most.
    pub(super) short: &'static str,
    /// The first of them that is there stands in for it.
    pub(super) variables: &'static [&'static str],
    /// The minor versions from and to, and the first patch release of each of them that has it.
    server: &'static [(u8, u8, u8)],
    agent: &'static [(u8, u8, u8)],
}

impl Flag {
    /// Whether the subcommand of this role has it. For an unknown role the server's counts.
    pub(super) fn is_of(&self, role: Role, release: Release) -> bool {
        let spans = if role == Role::Agent { self.agent } else { self.server };
        spans.iter().any(|&(from, to, patch)| {
            (from..=to).contains(&release.minor()) && release.patch() >= u64::from(patch)
        })
    }

    fn is_of_some_release(&self, role: Role) -> bool {
        !(if role == Role::Agent { self.agent } else { self.server }).is_empty()
    }
}

/// Every flag of a subcommand, in the order of names.
pub(super) fn of(role: Role, release: Release) -> impl Iterator<Item = &'static Flag> {
    table::FLAGS.iter().filter(move |flag| flag.is_of(role, release))
}

/// A flag by one of its names, whoever has it.
fn by_name(name: &str) -> Option<&'static Flag> {
    match table::FLAGS.binary_search_by_key(&name, |flag| flag.name) {
        Ok(at) => Some(&table::FLAGS[at]),
        Err(_) if name.len() == 1 => table::FLAGS.iter().find(|flag| flag.short == name),
        Err(_) => None,
    }
}

/// A flag that may stand in a file of this subcommand, by one of its names.
pub(super) fn in_file(role: Role, release: Release, name: &str) -> Option<&'static Flag> {
    by_name(name).filter(|flag| flag.is_of(role, release))
}

/// A flag that may stand on the command line of this subcommand, by one of its names.
pub(super) fn on_command_line(role: Role, release: Release, name: &str) -> Option<&'static Flag> {
    if [HELP.name, HELP.short].contains(&name) {
        return Some(&HELP);
    }
    in_file(role, release, name)
}

/// Whether it asks for RKE2's help, in which case RKE2 starts nothing.
pub(super) fn is_help(flag: &str) -> bool {
    flag == HELP.name
}

/// The long name of a flag.
pub(super) fn canonical(name: &str) -> &str {
    match by_name(name) {
        Some(flag) => flag.name,
        None if name == HELP.short => HELP.name,
        None => name,
    }
}

/// Whether some release knows the flag for this role.
pub(super) fn is_known(role: Role, name: &str) -> bool {
    by_name(name).is_some_and(|flag| flag.is_of_some_release(role))
}

/// Whether the flag stands alone on a command line.
pub(super) fn is_boolean(name: &str) -> bool {
    let flag = by_name(name);
    canonical(name) == HELP.name || flag.is_some_and(|flag| flag.kind == Kind::Bool)
}

/// The flag that matters and that an unknown key is probably meant to be.
pub(super) fn meant(role: Role, key: &str) -> Option<&'static str> {
    let plain = key.trim_start_matches('-').replace('_', "-").to_ascii_lowercase();
    let fold = |name: &str| name.replace('-', "");
    RESOLVED.into_iter().filter(|name| is_known(role, name)).find(|name| {
        let allowed = if name.len() > 9 { 2 } else { 1 };
        *name == plain
            || fold(name) == fold(&plain)
            || matches!((*name, plain.as_str()), ("profile", "cis-profile" | "profiles"))
            || (plain.len() <= 32 && strsim::osa_distance(name, &plain) <= allowed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rke2::parse_version;

    fn release(text: &str) -> Release {
        Release::of(&parse_version(text).unwrap())
    }

    #[test]
    fn the_table_is_as_the_search_in_it_needs() {
        assert!(table::FLAGS.is_sorted_by(|a, b| a.name < b.name));
        assert!(RESOLVED.iter().all(|name| is_known(Role::Server, name)));
        for flag in table::FLAGS {
            assert!(flag.short.len() <= 1 && flag.name.len() <= 48, "{}", flag.name);
            for &(from, to, _) in flag.server.iter().chain(flag.agent) {
                assert!(
                    table::MINORS.0 <= from && from <= to && to <= table::MINORS.1,
                    "{}",
                    flag.name
                );
            }
        }
    }

    #[test]
    fn an_agent_does_not_know_a_servers_flags() {
        let newest = Release::newest();
        let known = |role, name| in_file(role, newest, name).is_some();
        for name in ["disable-etcd", "datastore-endpoint", "etcd-arg", "cni", "o"] {
            assert!(known(Role::Server, name) && !known(Role::Agent, name), "{name}");
        }
        for name in ["profile", "protect-kernel-defaults", "data-dir", "d", "server", "s", "i"] {
            assert!(known(Role::Server, name) && known(Role::Agent, name), "{name}");
        }
        assert!(!known(Role::Server, "help") && !known(Role::Server, "h"));
        assert!(on_command_line(Role::Agent, newest, "h").is_some());
    }

    #[test]
    fn a_release_knows_the_flags_that_its_source_has() {
        for (name, role, without, with) in [
            ("ingress-controller", Role::Server, "v1.30.2+rke2r1", "v1.30.3+rke2r1"),
            ("enable-pprof", Role::Agent, "v1.28.10+rke2r1", "v1.28.11+rke2r1"),
            ("datastore-endpoint", Role::Server, "v1.26.15+rke2r1", "v1.30.0+rke2r1"),
            ("write-kubeconfig-name", Role::Server, "v1.36.3+rke2r1", "v1.36.4+rke2r1"),
            ("multi-cluster-cidr", Role::Server, "v1.29.0+rke2r1", "v1.28.1+rke2r1"),
            ("profile", Role::Agent, "v0.0.0", "v1.99.0"),
        ] {
            let known = |version| in_file(role, release(version), name).is_some();
            assert!(known(with), "{name} of {with}");
            assert!(!known(without) || without == "v0.0.0", "{name} of {without}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_traced_to_the_key_that_was_meant() {
        for (written, meant_to_be) in [
            ("Profile", Some("profile")),
            ("profil", Some("profile")),
            ("porfile", Some("profile")),
            ("cis-profile", Some("profile")),
            ("protect_kernel_defaults", Some("protect-kernel-defaults")),
            ("protect-kernel-default", Some("protect-kernel-defaults")),
            ("data_dir", Some("data-dir")),
            ("datadir", Some("data-dir")),
            ("--profile", Some("profile")),
            ("etcd-args", Some("etcd-arg")),
            ("disable-etc", Some("disable-etcd")),
            ("profiling", None),
            ("my-own-key", None),
            ("", None),
        ] {
            assert_eq!(meant(Role::Server, written), meant_to_be, "{written}");
        }
        assert_eq!(meant(Role::Agent, "disable-etc"), None);
    }
}
