// SPDX-License-Identifier: Apache-2.0
//! What the kubelet that RKE2 starts refuses of its arguments and files. RKE2 itself starts, and tries
//! to start the kubelet again and again.

use super::edit;
use crate::model::{Code, Finding, Severity};
use crate::rke2::{Config, Problem, ProblemKind};

/// Refusals that are told; the kubelet stops at the first one.
const TOLD: usize = 8;

pub(super) fn judge(config: &Config) -> Vec<Finding> {
    config.kubelet_problems.iter().take(TOLD).map(finding).collect()
}

fn finding(problem: &Problem) -> Finding {
    let Problem { kind, origin, key, words, expected } = problem;
    let subject = key.clone().unwrap_or_else(|| origin.file.clone());
    let (code, severity, message) = match kind {
        ProblemKind::BeyondLimits => (
            Code::ConfigUnread,
            Severity::Warning,
            format!("{origin} is beyond what nodeguard reads: {words}; the kubelet may read it"),
        ),
        ProblemKind::Unlisted => (
            Code::FlagUnlisted,
            Severity::Warning,
            format!(
                "{words} ({origin}): so says every kubelet that nodeguard knows, and this one is \
                 newer or not known"
            ),
        ),
        _ => (
            Code::KubeletConfigInvalid,
            Severity::Fatal,
            format!("{words} ({origin}): the kubelet does not start; expected {expected}"),
        ),
    };
    Finding::new(code, subject)
        .severity(severity)
        .expected(expected.clone())
        .actual(words.clone())
        .origin(origin.clone())
        .message(message)
        .remedy(format!("{}: expected {expected}", edit(Some(origin))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Origin, Role};
    use crate::rke2::{ConfigPath, Inputs};

    #[test]
    fn what_the_kubelet_refuses_is_fatal_and_what_is_not_read_a_warning() {
        let ConfigPath::File { .. } = Inputs::none(Role::Server).path else { panic!() };
        let mut config = Config::unset(Role::Server, Inputs::none(Role::Server).path);
        let problem = |kind| Problem {
            kind,
            origin: Origin::at("/etc/k.yaml", 3),
            key: None,
            words: "no".into(),
            expected: "yes".into(),
        };
        config.kubelet_problems =
            [ProblemKind::InvalidValue, ProblemKind::BeyondLimits, ProblemKind::Unlisted]
                .map(problem)
                .to_vec();
        let found = judge(&config);
        let got: Vec<_> = found.iter().map(|f| (f.code.as_str(), f.severity)).collect();
        assert_eq!(
            got,
            [
                ("kubelet-config-invalid", Severity::Fatal),
                ("config-unread", Severity::Warning),
                ("flag-unlisted", Severity::Warning)
            ]
        );
        assert_eq!(found[0].remedy, "edit /etc/k.yaml line 3: expected yes");
        config.kubelet_problems = vec![problem(ProblemKind::InvalidValue); TOLD + 1];
        assert_eq!(judge(&config).len(), TOLD);
    }
}
