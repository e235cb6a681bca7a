// SPDX-License-Identifier: Apache-2.0
//! Which kernel parameters are wanted, at which value, by whom, and what is done about a wrong
//! one: RKE2's own file, what RKE2 and its kubelet check for, and the operator's configuration.

use super::conf::{self, same_value};
use crate::config::{self, Policy, Setting};
use crate::controls::sysctl::facts::{Scope, Wanted};
use crate::model::Origin;
use crate::sysctl_d::value;

/// Where RKE2 ships its own file: RPM, tarball, tarball under /opt (rke2-facts, section 3).
pub const RKE2_SOURCES: [&str; 3] = [
    "/usr/share/rke2/rke2-cis-sysctl.conf",
    "/usr/local/share/rke2/rke2-cis-sysctl.conf",
    "/opt/rke2/share/rke2/rke2-cis-sysctl.conf",
];

/// Used where no RKE2 is installed: the four values RKE2 itself checks
/// (rke2 pkg/cli/cmds/profile_linux.go).
pub(crate) const BASELINE: &str = "\
# Kernel parameters that RKE2 checks when it runs under a CIS profile.
vm.panic_on_oom=0
vm.overcommit_memory=1
kernel.panic=10
kernel.panic_on_oops=1
";

/// What the kubelet checks besides, when `protect-kernel-defaults` is in force
/// (kubernetes pkg/kubelet/cm/container_manager_linux.go; rke2#389, rke2#3804).
const KUBELET: [(&str, &str); 2] =
    [("kernel.keys.root_maxkeys", "1000000"), ("kernel.keys.root_maxbytes", "25000000")];

/// What keeps etcd from linking somebody else's file into its data directory, where an ownership
/// change could meet it: without it a tree that another user writes cannot be owned safely.
pub const PROTECTED_HARDLINKS: &str = "fs.protected_hardlinks";

/// Every parameter for which one value alone will do, now or under a profile: the four of
/// [`BASELINE`], the kubelet's, and the guard's.
pub const FIXED: [(&str, &str); 7] = [
    ("vm.panic_on_oom", "0"),
    ("vm.overcommit_memory", "1"),
    ("kernel.panic", "10"),
    ("kernel.panic_on_oops", "1"),
    KUBELET[0],
    KUBELET[1],
    (PROTECTED_HARDLINKS, "1"),
];

/// Parameters that are taken from RKE2's file. It has four.
pub(crate) const FROM_FILE: usize = 256;

impl Scope {
    /// Whether a wrong value of this parameter keeps RKE2 down, or us from guarding.
    pub(crate) fn is_fatal(self, key: &str) -> bool {
        match key {
            PROTECTED_HARDLINKS => self.guarding,
            _ => self.kernel_defaults_in_force && is_fixed(key),
        }
    }
}

impl Wanted {
    /// Whether a line with this text leaves the parameter at its value. Those that RKE2, the kubelet
    /// and the guard want hold one number each.
    pub(crate) fn is_set_by(&self, text: &str) -> bool {
        value::sets(text, &self.value, is_fixed(&self.key))
    }

    /// Whether it is written, live and in the drop-in.
    pub fn is_held(&self) -> bool {
        self.policy.value == Policy::Enforce
    }
}

/// The parameters to hold, in a fixed order: RKE2's file (else the baseline), then the kubelet's,
/// then the operator's own as they were declared. Values are written in this order.
pub fn wanted(
    source: Option<&(String, String)>,
    scope: Scope,
    own: &config::Sysctl,
) -> Vec<Wanted> {
    let (name, text) =
        source.map_or(("built-in baseline", BASELINE), |(path, text)| (path.as_str(), text));
    let mut out: Vec<Wanted> = Vec::new();
    for entry in conf::parse(text).into_iter().filter(|e| plain_key(&e.key)).take(FROM_FILE) {
        // What is compared with the live value has no comment.
        let value = value::without_comment(&entry.value).to_owned();
        add(&mut out, entry.key, value, Origin::at(name, entry.line));
    }
    // RKE2 checks for these values whatever its file says, and whether it is whole or not.
    for entry in conf::parse(BASELINE) {
        let named = out.iter().any(|w| w.key == entry.key && same_value(&w.value, &entry.value));
        if !named {
            add(&mut out, entry.key, entry.value, Origin::file("built-in baseline"));
        }
    }
    if scope.kernel_defaults_in_force {
        for (key, value) in KUBELET {
            let source = Origin::file("kubelet --protect-kernel-defaults");
            add(&mut out, key.into(), value.into(), source);
        }
    }
    if scope.guarding {
        let source = Origin::file("guard of etcd's data directory");
        add(&mut out, PROTECTED_HARDLINKS.into(), "1".into(), source);
    }
    for (key, setting) in &own.extra {
        add(&mut out, key.clone(), setting.value.clone(), setting.origin.clone());
    }
    for want in &mut out {
        if let Some(policy) = own.policy.get(&want.key) {
            want.policy = policy.clone();
        }
    }
    out
}

/// How many lines of RKE2's file are more than are taken from it.
pub(crate) fn left_out(text: &str) -> usize {
    let plain = conf::parse(text).iter().filter(|entry| plain_key(&entry.key)).count();
    plain.saturating_sub(FROM_FILE)
}

fn add(out: &mut Vec<Wanted>, key: String, value: String, source: Origin) {
    let new = Wanted { key, value, source, policy: Setting::built_in(Policy::Enforce) };
    match out.iter_mut().find(|w| w.key == new.key) {
        Some(old) => *old = new,
        None => out.push(new),
    }
}

/// Whether one value alone will do for this parameter.
pub fn is_fixed(key: &str) -> bool {
    FIXED.iter().any(|(name, _)| *name == key)
}

/// Whether a key names one parameter below /proc/sys and nothing else: no glob, no `..`. None of
/// `net` either: the service has a network namespace of its own, and would hold its own values.
fn plain_key(key: &str) -> bool {
    !key.starts_with("net.")
        && key.split('.').all(|part| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sysctl;

    fn keys(text: &str, own: &Sysctl) -> Vec<String> {
        let source = ("x".to_owned(), text.to_owned());
        wanted(Some(&source), Scope::default(), own).into_iter().map(|w| w.key).collect()
    }

    #[test]
    fn a_key_that_is_no_plain_parameter_of_the_host_is_never_taken_from_a_file() {
        let text =
            "kernel.*=1\nkernel/../../etc/passwd=1\nnet.ipv4.ip_forward=1\nkernel.panic=10\n";
        assert_eq!(
            keys(text, &Sysctl::default()),
            ["kernel.panic", "vm.panic_on_oom", "vm.overcommit_memory", "kernel.panic_on_oops"]
        );
    }

    #[test]
    fn the_fixed_parameters_are_the_baseline_the_kubelets_and_the_guards() {
        let everything = Scope { kernel_defaults_in_force: true, guarding: true };
        let wanted = wanted(None, everything, &Sysctl::default());
        let got: Vec<_> = wanted.iter().map(|w| (w.key.as_str(), w.value.as_str())).collect();
        assert_eq!(got, FIXED);
    }

    #[test]
    fn of_rke2s_file_no_more_is_taken_than_anybody_writes_and_what_it_checks_is_held_all_the_same()
    {
        let text: String = (0..FROM_FILE + 9).map(|n| format!("vm.k{n}=1\n")).collect();
        let keys = keys(&text, &Sysctl::default());
        assert_eq!(keys.len(), FROM_FILE + 4);
        assert_eq!(keys[FROM_FILE..][0], "vm.panic_on_oom");
        assert_eq!(left_out(&text), 9);
        assert_eq!(left_out("kernel.panic=10\n"), 0);
    }

    #[test]
    fn the_operators_own_come_last_in_declared_order_and_win_over_rke2s_file() {
        let setting = |value: &str| Setting { value: value.into(), origin: Origin::at("own", 7) };
        let own = Sysctl {
            extra: vec![
                ("vm.swappiness".into(), setting("1")),
                ("vm.max_map_count".into(), setting("262144")),
                ("fs.file-max".into(), setting("9")),
            ],
            ..Sysctl::default()
        };
        let source = ("x".to_owned(), "vm.max_map_count=99\n".to_owned());
        let wanted = wanted(Some(&source), Scope::default(), &own);
        let got: Vec<_> = wanted.iter().map(|w| (w.key.as_str(), w.value.as_str())).collect();
        assert_eq!(
            got,
            [
                ("vm.max_map_count", "262144"),
                ("vm.panic_on_oom", "0"),
                ("vm.overcommit_memory", "1"),
                ("kernel.panic", "10"),
                ("kernel.panic_on_oops", "1"),
                ("vm.swappiness", "1"),
                ("fs.file-max", "9"),
            ]
        );
        assert_eq!(wanted[0].source, Origin::at("own", 7));
    }
}
