// SPDX-License-Identifier: Apache-2.0
//! Control `nodeguard-config`: nodeguard's own configuration. Wrong, it is never fatal by
//! itself: the last whole one, or the built-in one, stays in force. Its mode is told as a note.

use super::facts::Facts;
use crate::config::{Problem, nearest};
use crate::controls::sysctl::judge::wanted::FIXED;
use crate::model::{Code, Finding, OperatingMode, Planned, Severity};

/// Facts → findings.
pub fn judge(facts: &Facts<'_>) -> Vec<Planned> {
    let mut out: Vec<_> = report_mode(facts).into_iter().collect();
    let stays = match (facts.kept, facts.settings.mode.value) {
        (true, _) => "the last whole configuration stays in force",
        (false, OperatingMode::Enforce) if facts.settings.unclear.is_some() => {
            "the built-in configuration stays in force, and since the files may say mode = \"report\" \
             nothing on this host is corrected until then"
        }
        (false, OperatingMode::Enforce) => "the built-in configuration stays in force",
        (false, OperatingMode::Report) => {
            "the built-in configuration stays in force, in the mode that the files name"
        }
    };
    out.extend(facts.problems.iter().map(|problem| wrong(problem, stays)));
    let left_out = facts.settings.gate.left_out.iter();
    out.extend(left_out.map(|problem| wrong(problem, "all else is in force")));
    out.extend(unused_policies(facts));
    out
}

fn wrong(problem: &Problem, besides: &str) -> Planned {
    let Problem { origin, subject, expected, actual, message, remedy } = problem.clone();
    Planned::only(
        Finding::new(Code::OwnConfig, subject)
            .expected(expected)
            .actual(actual)
            .origin(origin)
            .message(format!("{message}; {besides}"))
            .remedy(remedy),
    )
}

/// No fault of the node's: what keeps it from being ready is told by itself.
fn report_mode(facts: &Facts<'_>) -> Option<Planned> {
    let mode = &facts.settings.mode;
    mode.value.only_reports().then(|| {
        Planned::only(
            Finding::new(Code::ReportMode, "mode")
                .severity(Severity::Note)
                .expected(OperatingMode::Enforce.as_str())
                .actual(OperatingMode::Report.as_str())
                .origin(mode.origin.clone())
                .message(
                    "report mode: nodeguard changes nothing on this host, and RKE2 starts whatever is \
                     found",
                )
                .remedy(format!(
                    "write mode = \"enforce\" in {} when what is told is what you want done",
                    mode.origin
                )),
        )
    })
}

/// A policy for a parameter that is not held does nothing, which its author may not know. No
/// error: which parameters are held depends on RKE2's version and profile.
fn unused_policies<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = Planned> + 'a {
    let known = |key: &str| {
        FIXED.iter().any(|(fixed, _)| *fixed == key) || facts.wanted.iter().any(|w| w.key == key)
    };
    let policies = facts.settings.sysctl.policy.iter().filter(move |(key, _)| !known(key));
    policies.map(|(key, policy)| {
        let keys = facts.wanted.iter().map(|w| w.key.as_str());
        let meant = nearest(key, FIXED.iter().map(|(fixed, _)| *fixed).chain(keys));
        let hint = meant.map(|meant| format!(", did you mean {meant}?")).unwrap_or_default();
        Planned::only(
            Finding::new(Code::OwnConfigUnused, key.clone())
                .expected(meant.unwrap_or("a kernel parameter that is held"))
                .actual(key.clone())
                .origin(policy.origin.clone())
                .message(format!(
                    "the policy \"{}\" for {key} has no effect: nodeguard does not hold it{hint}",
                    policy.value.as_str()
                ))
                .remedy(format!("correct {}, or declare {key} in [sysctl.extra]", policy.origin)),
        )
    })
}
