// SPDX-License-Identifier: Apache-2.0
//! Control `nodeguard-config`: nodeguard's own configuration. Wrong, it is never fatal and stops
//! nothing: the last whole one, or the built-in one, stays in force.

use super::facts::Facts;
use crate::config::{Problem, nearest};
use crate::controls::sysctl::judge::wanted::FIXED;
use crate::model::{Code, Finding, Planned};

/// Facts → findings.
pub fn judge(facts: &Facts<'_>) -> Vec<Planned> {
    let mut out: Vec<_> =
        facts.problems.iter().map(|problem| broken(problem, facts.kept)).collect();
    out.extend(unused_policies(facts));
    out
}

fn broken(problem: &Problem, kept: bool) -> Planned {
    let stays = if kept { "the last whole" } else { "the built-in" };
    let Problem { origin, subject, expected, actual, message, remedy } = problem.clone();
    Planned::only(
        Finding::new(Code::OwnConfig, subject)
            .expected(expected)
            .actual(actual)
            .origin(origin)
            .message(format!("{message}; {stays} configuration stays in force"))
            .remedy(remedy),
    )
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
