// SPDX-License-Identifier: Apache-2.0
//! Control `sysctl`: the kernel parameters RKE2 and its kubelet insist on, live and in the
//! drop-in that sets them at boot.

pub mod conf;
mod drop_in;
pub mod lines;
pub mod overridden;
pub mod wanted;

use std::path::Path;

use super::facts::{Facts, Live, Scope, Wanted};
use crate::config::Policy;
use crate::model::{Action, Code, Finding, Origin, Planned, Severity, shown};
use conf::same_value;

pub use drop_in::DROP_IN;
pub use wanted::{FIXED, PROTECTED_HARDLINKS, RKE2_SOURCES, is_fixed, wanted};

/// Facts → findings.
pub fn judge(facts: &Facts) -> Vec<Planned> {
    let wanted = &facts.wanted;
    let (held, left): (Vec<Wanted>, Vec<Wanted>) =
        wanted.iter().cloned().partition(Wanted::is_held);
    let mut out: Vec<Planned> =
        drop_in::judge(&facts.drop_in, facts.source.as_ref(), &held, &left).into_iter().collect();
    out.extend(facts.source.as_ref().and_then(|(path, text)| too_many(path, text)));
    if let Some(live) = &facts.live {
        for want in wanted {
            let actual = live.get(&want.key).unwrap_or(&Live::Missing);
            out.extend(judge_live(want, actual, facts.scope));
        }
    }
    out
}

fn too_many(path: &str, text: &str) -> Option<Planned> {
    let left_out = wanted::left_out(text);
    let limit = wanted::FROM_FILE;
    (left_out > 0).then(|| {
        Planned::only(
            Finding::new(Code::SysctlUnread, path)
                .expected(format!("at most {limit} kernel parameters"))
                .actual(format!("{left_out} more"))
                .origin(Origin::file(path))
                .message(format!(
                    "{path} sets {left_out} kernel parameters more than are held, expected at most \
                     {limit}"
                ))
                .remedy("put what is yours into [sysctl.extra], see nodeguard.toml(5)"),
        )
    })
}

/// One live value, by the operator's policy for it. Where RKE2 would refuse to start, no policy
/// makes that any better than it is.
pub fn judge_live(want: &Wanted, actual: &Live, scope: Scope) -> Option<Planned> {
    let fatal = scope.is_fatal(&want.key);
    let unmended = if fatal { Severity::Fatal } else { Severity::Warning };
    if want.policy.value == Policy::Ignore && !fatal {
        return None;
    }
    let finding = |severity, actual: &str, message: String, remedy: String| {
        Finding::new(Code::SysctlLive, want.key.clone())
            .severity(severity)
            .expected(want.value.clone())
            .actual(actual)
            .message(message)
            .remedy(remedy)
    };
    match actual {
        Live::Value(value) if same_value(value, &want.value) => None,
        Live::Value(value) => {
            // RKE2's words.
            let message = format!(
                "invalid kernel parameter value {}={} - expected {}",
                want.key,
                // Some values have lines, and none of them is to look like one of ours.
                shown(Path::new(value)),
                want.value
            );
            let remedy = format!("sysctl -w {}={}", want.key, want.value);
            let policy = &want.policy;
            if want.is_held() {
                return Some(Planned {
                    finding: finding(Severity::Drift, value, message, remedy),
                    actions: vec![Action::SetSysctl {
                        key: want.key.clone(),
                        value: want.value.clone(),
                        expect: value.clone(),
                    }],
                    unmended,
                });
            }
            let word = policy.value.as_str();
            let mut planned = Planned::only(finding(
                unmended,
                value,
                format!("{message} (not corrected: its policy is \"{word}\")"),
                format!("{remedy}, or take the policy away: {}", policy.origin),
            ));
            planned.finding.origin = Some(policy.origin.clone());
            Some(planned)
        }
        Live::Missing => Some(Planned::only(finding(
            unmended,
            "missing",
            format!("this kernel has no parameter {}, expected {}", want.key, want.value),
            "run a kernel that has it".into(),
        ))),
        Live::Unreadable(reason) => Some(Planned::only(finding(
            unmended,
            "unreadable",
            format!("kernel parameter {} cannot be read: {reason}", want.key),
            "check that /proc is mounted and readable".into(),
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::controls::sysctl::facts::DropIn;
    use crate::controls::sysctl::judge::wanted::BASELINE;
    use std::collections::BTreeMap;

    fn right(extra: &[(&str, &str)]) -> Facts {
        let mut live: BTreeMap<String, Live> = [
            ("vm.panic_on_oom", "0"),
            ("vm.overcommit_memory", "1"),
            ("kernel.panic", "10"),
            ("kernel.panic_on_oops", "1"),
        ]
        .iter()
        .map(|(k, v)| ((*k).to_owned(), Live::Value((*v).to_owned())))
        .collect();
        for (k, v) in extra {
            live.insert((*k).to_owned(), Live::Value((*v).to_owned()));
        }
        Facts {
            drop_in: DropIn::Content(BASELINE.as_bytes().to_vec()),
            live: Some(live),
            ..Facts::default()
        }
    }

    /// With what is wanted by these facts where the operator has no wishes of his own.
    fn judged(facts: &Facts) -> Vec<Planned> {
        let wanted = wanted(facts.source.as_ref(), facts.scope, &config::Sysctl::default());
        judge(&Facts { wanted, ..facts.clone() })
    }

    fn codes(facts: &Facts) -> Vec<(Code, Severity, String)> {
        judged(facts)
            .into_iter()
            .filter_map(|p| Some((p.finding.code.known()?, p.finding.severity, p.finding.subject)))
            .collect()
    }

    #[test]
    fn a_node_with_the_four_values_and_the_drop_in_has_no_finding() {
        assert_eq!(codes(&right(&[])), []);
    }

    #[test]
    fn a_wrong_live_value_is_drift_in_rke2s_own_words_and_is_set_by_compare_and_set() {
        let planned = judged(&right(&[("kernel.panic", "0")]));
        assert_eq!(planned.len(), 1);
        assert_eq!(
            planned[0].finding.message,
            "invalid kernel parameter value kernel.panic=0 - expected 10"
        );
        assert_eq!(
            planned[0].actions,
            [Action::SetSysctl {
                key: "kernel.panic".into(),
                value: "10".into(),
                expect: "0".into()
            }]
        );
        assert_eq!(planned[0].unmended, Severity::Warning, "nothing checks it without a profile");
    }

    #[test]
    fn under_a_profile_the_kubelets_two_keys_are_held_too_and_an_unmended_value_is_fatal() {
        let mut facts = right(&[
            ("kernel.keys.root_maxkeys", "200"),
            ("kernel.keys.root_maxbytes", "25000000"),
        ]);
        facts.scope.kernel_defaults_in_force = true;
        let planned = judged(&facts);
        let subjects: Vec<_> = planned.iter().map(|p| p.finding.subject.as_str()).collect();
        assert_eq!(subjects, [DROP_IN, "kernel.keys.root_maxkeys"]);
        assert_eq!(planned[1].unmended, Severity::Fatal);
    }

    #[test]
    fn a_policy_decides_what_is_done_and_never_how_bad_it_is() {
        use Policy::{Enforce, Ignore, Warn};
        use Severity::{Drift, Fatal, Warning};
        /// Policy, whether RKE2 checks, live value, what is found, whether it is acted on.
        const ROWS: [(Policy, bool, &str, Option<Severity>, bool); 10] = [
            (Enforce, false, "0", Some(Drift), true),
            (Enforce, true, "0", Some(Drift), true),
            (Enforce, true, "10", None, false),
            (Warn, false, "0", Some(Warning), false),
            (Warn, true, "0", Some(Fatal), false),
            (Warn, true, "10", None, false),
            (Ignore, false, "0", None, false),
            (Ignore, true, "0", Some(Fatal), false),
            (Ignore, true, "10", None, false),
            (Ignore, false, "10", None, false),
        ];
        for row in ROWS {
            let (policy, checked, value, severity, acted) = row;
            let want = Wanted {
                key: "kernel.panic".into(),
                value: "10".into(),
                source: Origin::file("x"),
                policy: config::Setting { value: policy, origin: Origin::at("own", 3) },
            };
            let scope = Scope { kernel_defaults_in_force: checked, guarding: false };
            let planned = judge_live(&want, &Live::Value(value.into()), scope);
            assert_eq!(planned.as_ref().map(|p| p.finding.severity), severity, "{row:?}");
            assert_eq!(planned.as_ref().is_some_and(|p| !p.actions.is_empty()), acted, "{row:?}");
            if let (Some(planned), false) = (planned, acted) {
                assert_eq!(planned.unmended, planned.finding.severity, "{row:?}");
                assert_eq!(planned.finding.origin, Some(Origin::at("own", 3)));
                let words = "invalid kernel parameter value kernel.panic=0 - expected 10 (not";
                assert!(planned.finding.message.starts_with(words), "{planned:?}");
            }
        }
    }

    #[test]
    fn where_a_tree_is_guarded_hard_links_must_be_protected_or_it_is_fatal() {
        let mut facts = right(&[("fs.protected_hardlinks", "0")]);
        assert_eq!(codes(&facts), [], "elsewhere it is none of our keys");
        facts.scope.guarding = true;
        let planned = judged(&facts);
        let live = planned.iter().find(|p| p.finding.code == Code::SysctlLive).unwrap();
        assert_eq!(
            (live.finding.subject.as_str(), live.unmended),
            (PROTECTED_HARDLINKS, Severity::Fatal)
        );
    }

    #[test]
    fn what_of_rke2s_file_is_not_held_is_said() {
        let mut facts = right(&[]);
        facts.live = None;
        let text: String = (0..300).map(|n| format!("vm.k{n}=1\n")).collect();
        facts.source = Some(("/usr/share/rke2/x.conf".into(), text));
        let planned = judged(&facts);
        let unread = planned.iter().find(|p| p.finding.code == Code::SysctlUnread).unwrap();
        assert_eq!(unread.finding.severity, Severity::Warning);
        let said = "/usr/share/rke2/x.conf sets 44 kernel parameters more than are held, expected \
                    at most 256";
        assert_eq!(unread.finding.message, said);
    }

    #[test]
    fn a_parameter_this_kernel_lacks_is_fatal_only_where_it_is_checked() {
        let mut facts = right(&[]);
        facts.live.as_mut().unwrap().insert("kernel.panic".into(), Live::Missing);
        assert_eq!(codes(&facts)[0].1, Severity::Warning);
        facts.scope.kernel_defaults_in_force = true;
        assert!(codes(&facts).contains(&(
            Code::SysctlLive,
            Severity::Fatal,
            "kernel.panic".into()
        )));
    }
}
