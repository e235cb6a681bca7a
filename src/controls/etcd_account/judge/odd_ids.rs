// SPDX-License-Identifier: Apache-2.0
//! Numbers of the account that RKE2 takes and that come to nothing.
//!
//! RKE2 finds the user with Go's os/user, whose reader takes for a number what `strconv.Atoi` takes,
//! and makes 64 bits of it with `strconv.ParseInt`. `os.Chown` hands these to the kernel, which takes
//! the lower 32 bits, and leaves the owner as it is where they are all set (`-1`, `4294967295`). The
//! same number is etcd's pod's `runAsUser`, and the kubelet takes no pod with one below 0 or above
//! 2147483647: etcd never starts.

use super::{Facts, Kind, OddId, unmended};
use crate::model::{Code, Finding, Origin, Planned, Severity};

/// The greatest number that Kubernetes takes as a pod's user or group.
pub const MOST_OF_A_POD: i64 = 0x7fff_ffff;

/// What the kernel makes of a number that it gets as 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chown {
    /// It leaves the owner as it is.
    Nothing,
    Gives(u32),
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // as the kernel does
fn chown(value: i64) -> Chown {
    match value as u32 {
        u32::MAX => Chown::Nothing,
        id => Chown::Gives(id),
    }
}

pub(crate) fn judge(facts: &Facts) -> Vec<Planned> {
    facts.odd_ids.iter().map(|odd| Planned::only(told(facts, odd))).collect()
}

fn told(facts: &Facts, odd: &OddId) -> Finding {
    let OddId { kind, word, value, line } = *odd;
    let of_the_pod = kind == Kind::User;
    let severity = match of_the_pod && facts.runs_etcd {
        true => unmended(facts),
        // RKE2 asks whether the group is there, and gives files to the user's own gid.
        false => Severity::Warning,
    };
    let (file, tool) = match kind {
        Kind::User => ("/etc/passwd", "vipw"),
        Kind::Group => ("/etc/group", "vigr"),
    };
    let given = match chown(value) {
        Chown::Nothing => "its chown to it leaves the owner as it is".to_owned(),
        Chown::Gives(id) => format!("its chown to it gives files to {id}"),
    };
    let consequence = match of_the_pod {
        true => {
            let field = if word == "uid" { "runAsUser" } else { "runAsGroup" };
            format!(
                "spec.securityContext.{field}: Invalid value: {value}: must be between 0 and \
                 {MOST_OF_A_POD}, inclusive: the kubelet takes no pod of etcd's with it, and {given}"
            )
        }
        false => format!("RKE2 takes it for a number, and {given}"),
    };
    Finding::new(Code::EtcdIdInvalid, kind.subject())
        .severity(severity)
        .expected(format!("a {word} from 1 to {MOST_OF_A_POD}"))
        .actual(value.to_string())
        .origin(Origin::at(file, line))
        .message(format!("{} has {word} {value}: {consequence}", kind.subject()))
        .remedy(format!("{tool}: write a free {word} into line {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_the_lower_half_of_what_go_hands_it() {
        for (value, expected) in [
            (-1, Chown::Nothing),
            (4_294_967_295, Chown::Nothing),
            (8_589_934_591, Chown::Nothing),
            (4_294_967_296, Chown::Gives(0)),
            (4_294_968_293, Chown::Gives(997)),
            (-2, Chown::Gives(4_294_967_294)),
            (3_000_000_000, Chown::Gives(3_000_000_000)),
        ] {
            assert_eq!(chown(value), expected, "{value}");
        }
    }

    #[test]
    fn a_number_that_no_pod_can_have_is_fatal_where_etcd_is_to_run_with_it() {
        let facts = |kind, word, value, checked, runs_etcd| Facts {
            odd_ids: vec![OddId { kind, word, value, line: 20 }],
            checked,
            runs_etcd,
            ..Facts::default()
        };
        for (kind, word, value, checked, runs_etcd, severity, words) in [
            (Kind::User, "uid", -1, true, true, Severity::Fatal, "leaves the owner as it is"),
            (Kind::User, "uid", 1 << 32, true, true, Severity::Fatal, "gives files to 0"),
            (Kind::User, "gid", 3_000_000_000, true, true, Severity::Fatal, "runAsGroup"),
            (Kind::User, "uid", -1, true, false, Severity::Warning, "runAsUser"),
            (Kind::User, "uid", -1, false, true, Severity::Warning, "runAsUser"),
            (Kind::Group, "gid", -1, true, true, Severity::Warning, "takes it for a number"),
        ] {
            let planned = judge(&facts(kind, word, value, checked, runs_etcd));
            let finding = &planned[0].finding;
            assert_eq!(finding.severity, severity, "{finding:?}");
            assert!(finding.message.contains(words), "{}", finding.message);
            assert!(finding.remedy.ends_with("line 20"), "{}", finding.remedy);
        }
        assert_eq!(judge(&Facts::default()), []);
    }
}
