// SPDX-License-Identifier: Apache-2.0
//! The codes of the control `etcd-account`. RKE2 looks for the account under a profile only: without one,
//! what is fatal with it is a warning.

use super::FatalClass::Refuses;
use super::Severity::{Drift, Fatal, Note, Warning};
use super::{About, ControlId, Rule, WhenFatal};

const ETCD_ACCOUNT: About = About::of(&[ControlId::EtcdAccount]);

const ACCOUNT_MISSING: Rule = Rule {
    class: Refuses,
    rule: "Under a profile a server looks the user and the group etcd up in the files, and ends \
           where one is missing.",
    versions: "all; the group from 1.20.14, 1.21.8 and 1.22.5 on",
    source: "rke2 pkg/cli/cmds/profile_linux.go, validateETCDReqs; in older ones validateCISReqs",
};

pub(super) const ETCD_USER_MISSING: About = About {
    name: "etcd-user-missing",
    severities: &[Drift, Warning, Fatal],
    fatal: WhenFatal::By(&[ACCOUNT_MISSING]),
    cis_ids: &["1.1.12"],
    cause: "There is no user etcd in `/etc/passwd`; fatal, or a warning without a profile, where \
            it cannot be made.",
    remedy: "`nodeguard apply` makes it; where it cannot, the message has the reason.",
    ..ETCD_ACCOUNT
};

pub(super) const ETCD_GROUP_MISSING: About = About {
    name: "etcd-group-missing",
    severities: &[Drift, Warning, Fatal],
    fatal: WhenFatal::By(&[ACCOUNT_MISSING]),
    cis_ids: &["1.1.12"],
    cause: "There is no group etcd in `/etc/group`; fatal, or a warning without a profile, where \
            it cannot be made.",
    remedy: "`nodeguard apply` makes it; where it cannot, the message has the reason.",
    ..ETCD_ACCOUNT
};

pub(super) const ETCD_ELSEWHERE: About = About {
    name: "etcd-elsewhere",
    severities: &[Warning, Fatal],
    fatal: WhenFatal::By(&[ACCOUNT_MISSING]),
    cis_ids: &["1.1.12"],
    cause: "The account is missing in the files, and cannot be copied from what knows it (NSS, \
            user records, `/usr/lib/passwd`), since its number is taken, root's, or not the pinned \
            one. A warning where a number that sysusers.d suggests is taken and another one is given.",
    remedy: "Correct what knows it, give whoever has the number another one, or pin the number \
             that is meant.",
    ..ETCD_ACCOUNT
};

pub(super) const ETCD_PINNED_ID_TAKEN: About = About {
    name: "etcd-pinned-id-taken",
    severities: &[Warning, Fatal],
    fatal: WhenFatal::By(&[ACCOUNT_MISSING]),
    cis_ids: &["1.1.12"],
    cause: "The account is missing, and somebody has the number that it should get.",
    remedy: "Set a free number in `[etcd-account]`, or give whoever has it another one.",
    ..ETCD_ACCOUNT
};

pub(super) const ETCD_PINNED_ID_DIFFERS: About = About {
    name: "etcd-pinned-id-differs",
    severities: &[Warning],
    cause: "The account has another number than the pinned one; one that exists is not renumbered.",
    remedy: "Stop RKE2 with `rke2-killall.sh`, renumber the account with `usermod -u` or `groupmod \
             -g`, and start RKE2; or pin the number that it has.",
    ..ETCD_ACCOUNT
};

pub(super) const ETCD_PRIMARY_GROUP: About = About {
    name: "etcd-primary-group",
    severities: &[Drift, Warning],
    cis_ids: &["1.1.12"],
    cause: "The primary group of the user etcd is not the group etcd; a warning where it cannot be \
            changed.",
    remedy: "`nodeguard apply` changes it; by hand it is `usermod -g etcd etcd`.",
    ..ETCD_ACCOUNT
};

pub(super) const ETCD_USER_IS_ROOT: About = About {
    name: "etcd-user-is-root",
    severities: &[Warning],
    cis_ids: &["1.1.12"],
    cause: "The user etcd has uid 0, and etcd would run as root.",
    remedy: "Take its line out with `vipw`; nodeguard makes the user again. `userdel` would not: \
             it finds root's processes.",
    ..ETCD_ACCOUNT
};

pub(super) const ETCD_GROUP_IS_ROOT: About = About {
    name: "etcd-group-is-root",
    severities: &[Warning],
    cis_ids: &["1.1.12"],
    cause: "The group etcd has gid 0, and etcd's files would be root's group's.",
    remedy: "Take its line out with `vigr`; nodeguard makes the group again.",
    ..ETCD_ACCOUNT
};

pub(super) const ETCD_LOGIN_SHELL: About = About {
    name: "etcd-login-shell",
    severities: &[Warning],
    cause: "The user etcd can log in.",
    remedy: "`usermod -s /sbin/nologin etcd`.",
    ..ETCD_ACCOUNT
};

pub(super) const ETCD_PASSWORD: About = About {
    name: "etcd-password",
    severities: &[Warning],
    cause: "The user etcd has a password, or needs none.",
    remedy: "`usermod -p '!' etcd`.",
    ..ETCD_ACCOUNT
};

pub(super) const ETCD_HOME: About = About {
    name: "etcd-home",
    severities: &[Note],
    cause: "The home of the user etcd exists; it needs none.",
    remedy: "Look what is in it.",
    ..ETCD_ACCOUNT
};

pub(super) const ETCD_GROUP_MEMBERS: About = About {
    name: "etcd-group-members",
    severities: &[Warning],
    cis_ids: &["1.1.12"],
    cause: "The group etcd has other members, who can use etcd's files.",
    remedy: "`gpasswd -d USER etcd`, or for a primary group `usermod -g GROUP USER`.",
    ..ETCD_ACCOUNT
};

pub(super) const ETCD_ID_INVALID: About = About {
    name: "etcd-id-invalid",
    severities: &[Warning, Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: Refuses,
        rule: "RKE2 writes the numbers into etcd's pod as they are; the kubelet takes 0 to 2147483647, \
               and chown(2) to -1 changes nothing, so that etcd does not start.",
        versions: "all",
        source: "kubernetes pkg/apis/core/validation; rke2 pkg/executor/staticpod/staticpod.go, ETCD",
    }]),
    cis_ids: &["1.1.12"],
    cause: "A number of etcd's in `/etc/passwd` or `/etc/group` that RKE2 reads (as Go's \
            `strconv.Atoi` does: with a sign, to 64 bits) and that is none: the kernel changes no \
            owner to it or cuts it to 32 bits, and the kubelet takes a pod's user and group from 0 \
            to 2147483647 only. Fatal where etcd's pod is to run with it.",
    remedy: "Write a free number from 1 to 2147483647 in the line, with `vipw` or `vigr`.",
    ..ETCD_ACCOUNT
};

pub(super) const ETCD_DUPLICATE_NAME: About = About {
    name: "etcd-duplicate-name",
    severities: &[Warning],
    cause: "The name etcd is in the file more than once. RKE2 takes the first line, others may \
            take another.",
    remedy: "Leave one line of it, with `vipw` or `vigr`.",
    ..ETCD_ACCOUNT
};

pub(super) const ETCD_SHARED_ID: About = About {
    name: "etcd-shared-id",
    severities: &[Warning],
    cis_ids: &["1.1.12"],
    cause: "Somebody else has the same number as the user or the group etcd, and can use etcd's \
            files.",
    remedy: "Give the other one a free number.",
    ..ETCD_ACCOUNT
};

pub(super) const ACCOUNT_LINE_MALFORMED: About = About {
    name: "account-line-malformed",
    severities: &[Note, Warning],
    cause: "A line of `/etc/passwd` or `/etc/group` that counts for nothing; a warning where it is \
            etcd's.",
    remedy: "Correct the line or take it away, with `vipw` or `vigr`.",
    ..ETCD_ACCOUNT
};

pub(super) const ACCOUNT_DATABASE_UNREADABLE: About = About {
    name: "account-database-unreadable",
    severities: &[Warning, Fatal],
    fatal: WhenFatal::By(&[ACCOUNT_MISSING]),
    cis_ids: &["1.1.12"],
    cause: "`/etc/passwd` or `/etc/group` cannot be read, so that the account cannot be looked \
            for; a warning where it is only larger than nodeguard reads, which RKE2 does.",
    remedy: "Make it a regular file that root can read.",
    ..ETCD_ACCOUNT
};
