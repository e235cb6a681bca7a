// SPDX-License-Identifier: Apache-2.0
//! Control `sysctl`: the kernel parameters RKE2 and its kubelet insist on, live and in the
//! drop-in that sets them at boot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::sysctl_conf;
use super::sysctl_wanted::BASELINE;
use crate::config::{self, Policy};
use crate::model::{Action, ControlId, Finding, Origin, Planned, Severity, shown};

pub use super::sysctl_wanted::{
    FIXED, PROTECTED_HARDLINKS, RKE2_SOURCES, Scope, Wanted, is_fixed, wanted,
};

/// Where the hardening guide tells operators to put RKE2's file.
pub const DROP_IN: &str = "/etc/sysctl.d/60-rke2-cis.conf";

/// The code of a live value that is not the wanted one.
pub const LIVE: &str = "sysctl-live";

const ADDED: &str = "# Added by nodeguard:";

/// What was observed.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// RKE2's own file, if one is installed.
    pub source: Option<(String, String)>,
    pub drop_in: DropIn,
    /// Live values by key; `None` when the pass does not work on the running host.
    pub live: Option<BTreeMap<String, Live>>,
    /// Which of them belong to the baseline.
    pub scope: Scope,
    /// What the operator's configuration says about them.
    pub own: config::Sysctl,
}

/// The state of [`DROP_IN`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DropIn {
    #[default]
    Absent,
    /// A link to /dev/null: the operator does not want it.
    Masked,
    /// Any other link, with what is behind it: the operator's, never written through.
    Link {
        target: String,
        content: Option<String>,
    },
    Content(Vec<u8>),
    /// Neither a regular file nor a link, too large, or not readable.
    Unusable(String),
}

/// One kernel parameter as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    Value(String),
    /// This kernel has no such parameter.
    Missing,
    Unreadable(String),
}

/// Facts → findings.
pub fn judge(facts: &Facts) -> Vec<Planned> {
    let wanted = wanted(facts.source.as_ref(), facts.scope, &facts.own);
    let (held, left): (Vec<Wanted>, Vec<Wanted>) =
        wanted.iter().cloned().partition(Wanted::is_held);
    let mut out: Vec<Planned> = judge_drop_in(facts, &held, &left).into_iter().collect();
    if let Some(live) = &facts.live {
        for want in &wanted {
            let actual = live.get(&want.key).unwrap_or(&Live::Missing);
            out.extend(judge_live(want, actual, facts.scope));
        }
    }
    out
}

/// One live value, by the operator's policy for it. Where RKE2 would refuse to start, no policy
/// makes that any better than it is.
pub fn judge_live(want: &Wanted, actual: &Live, scope: Scope) -> Option<Planned> {
    let fatal = scope.is_fatal(&want.key);
    let unmended = if fatal { Severity::Fatal } else { Severity::Warning };
    if want.policy.value == Policy::Ignore && !fatal {
        return None;
    }
    let finding = |severity, actual: &str, message: String, remedy: String| Finding {
        control: ControlId::Sysctl,
        code: LIVE,
        severity,
        subject: want.key.clone(),
        expected: want.value.clone(),
        actual: actual.to_owned(),
        // Who wrote the wrong value is not known from the value.
        origin: None,
        message,
        remedy,
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

/// Kernel values are compared as words: the kernel prints tabs where an operator writes spaces.
pub(super) fn same_value(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

/// `wanted`: the parameters to hold. `left`: those that the operator wants left alone, so no line
/// of ours sets them; one that is there already may be the operator's and stays.
fn judge_drop_in(facts: &Facts, wanted: &[Wanted], left: &[Wanted]) -> Option<Planned> {
    if wanted.is_empty() {
        return None;
    }
    let finding = |severity, actual: String, message: String, remedy: String| Finding {
        control: ControlId::Sysctl,
        code: "sysctl-dropin",
        severity,
        subject: DROP_IN.into(),
        expected: listed(wanted.iter()),
        actual,
        origin: Some(Origin::file(DROP_IN)),
        message,
        remedy,
    };
    let write = |expect: Option<&[u8]>, content: String, actual: String, message: String| Planned {
        finding: finding(
            Severity::Drift,
            actual,
            message,
            "nodeguard apply writes it; foreign lines are kept".into(),
        ),
        actions: vec![Action::WriteFile {
            path: PathBuf::from(DROP_IN),
            content: content.into_bytes(),
            expect: expect.map(<[u8]>::to_vec),
        }],
        unmended: Severity::Warning,
    };
    let pairs = || wanted.iter().map(|w| (w.key.as_str(), w.value.as_str()));
    match &facts.drop_in {
        DropIn::Absent => {
            let text = facts.source.as_ref().map_or(BASELINE, |(_, text)| text);
            let text = sysctl_conf::without(text, |key| left.iter().any(|want| want.key == key));
            Some(write(
                None,
                sysctl_conf::mend(&text, pairs(), ADDED),
                "absent".into(),
                format!("{DROP_IN} does not exist: the next boot would lose the kernel parameters"),
            ))
        }
        DropIn::Content(bytes) => {
            let Ok(text) = std::str::from_utf8(bytes) else {
                return Some(Planned::only(finding(
                    Severity::Warning,
                    "not UTF-8".into(),
                    format!("{DROP_IN} is not a text file, expected a sysctl.d file"),
                    format!("move {DROP_IN} away; nodeguard writes a new one"),
                )));
            };
            let wrong = wrong_keys(text, wanted);
            if wrong.is_empty() {
                return None;
            }
            let names = listed(wrong.iter().copied());
            Some(write(
                Some(bytes),
                sysctl_conf::mend(text, pairs(), ADDED),
                format!("{} wrong or missing", wrong.len()),
                format!("{DROP_IN} does not set {names}"),
            ))
        }
        DropIn::Masked => Some(Planned::only(finding(
            Severity::Note,
            "masked".into(),
            format!("{DROP_IN} is masked (link to /dev/null): left as it is"),
            format!("rm {DROP_IN} to have it written; live values are held all the same"),
        ))),
        DropIn::Link { target, content } => {
            let right = content.as_ref().is_some_and(|text| wrong_keys(text, wanted).is_empty());
            (!right).then(|| {
                Planned::only(finding(
                    Severity::Warning,
                    format!("link to {target}"),
                    format!("{DROP_IN} is a link to {target}, which does not set every key"),
                    format!("set {} in {target}, or remove the link", listed(wanted.iter())),
                ))
            })
        }
        DropIn::Unusable(reason) => Some(Planned::only(finding(
            Severity::Warning,
            "unusable".into(),
            format!("{DROP_IN} cannot be used: {reason}"),
            format!("make {DROP_IN} a regular file, or remove it"),
        ))),
    }
}

/// The wanted keys whose last assignment in `text` is not the wanted value.
fn wrong_keys<'w>(text: &str, wanted: &'w [Wanted]) -> Vec<&'w Wanted> {
    let entries = sysctl_conf::parse(text);
    wanted
        .iter()
        .filter(|want| {
            !entries
                .iter()
                .rfind(|e| e.key == want.key)
                .is_some_and(|e| same_value(&e.value, &want.value))
        })
        .collect()
}

fn listed<'w>(wanted: impl Iterator<Item = &'w Wanted>) -> String {
    wanted.map(|w| format!("{}={}", w.key, w.value)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn codes(facts: &Facts) -> Vec<(&'static str, Severity, String)> {
        judge(facts)
            .into_iter()
            .map(|p| (p.finding.code, p.finding.severity, p.finding.subject))
            .collect()
    }

    #[test]
    fn a_node_with_the_four_values_and_the_drop_in_has_no_finding() {
        assert_eq!(codes(&right(&[])), []);
    }

    #[test]
    fn a_wrong_live_value_is_drift_in_rke2s_own_words_and_is_set_by_compare_and_set() {
        let planned = judge(&right(&[("kernel.panic", "0")]));
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
        let planned = judge(&facts);
        let subjects: Vec<_> = planned.iter().map(|p| p.finding.subject.as_str()).collect();
        assert_eq!(subjects, [DROP_IN, "kernel.keys.root_maxkeys"]);
        assert_eq!(planned[1].unmended, Severity::Fatal);
    }

    #[test]
    fn the_drop_in_is_rke2s_own_file_with_the_values_that_rke2_checks_for() {
        let text = "# shipped by RKE2\nkernel.panic=11\nvm.max_map_count=99\n".to_owned();
        let mut facts = right(&[("vm.max_map_count", "99")]);
        facts.source = Some(("/usr/share/rke2/rke2-cis-sysctl.conf".into(), text));
        facts.drop_in = DropIn::Absent;
        let planned = judge(&facts);
        let [Planned { actions, .. }] = &planned[..] else { panic!("{planned:?}") };
        let [Action::WriteFile { content, expect: None, .. }] = &actions[..] else {
            panic!("{actions:?}")
        };
        assert_eq!(
            String::from_utf8_lossy(content),
            "# shipped by RKE2\nkernel.panic=10\nvm.max_map_count=99\n\
             # Added by nodeguard:\nvm.panic_on_oom=0\n\
             vm.overcommit_memory=1\nkernel.panic_on_oops=1\n"
        );
    }

    #[test]
    fn foreign_lines_of_the_drop_in_survive_and_only_wrong_ones_change() {
        let mut facts = right(&[]);
        facts.drop_in = DropIn::Content(
            b"vm.swappiness=1\nvm.panic_on_oom=0\nvm.overcommit_memory=0\nkernel.panic=10\nkernel.panic_on_oops=1"
                .to_vec(),
        );
        let planned = judge(&facts);
        let [Action::WriteFile { content, .. }] = &planned[0].actions[..] else { panic!() };
        assert_eq!(
            String::from_utf8_lossy(content),
            "vm.swappiness=1\nvm.panic_on_oom=0\nvm.overcommit_memory=1\nkernel.panic=10\nkernel.panic_on_oops=1\n"
        );
    }

    #[test]
    fn a_mask_or_a_link_of_the_operators_is_reported_and_never_written() {
        for (drop_in, severity) in [
            (DropIn::Masked, Severity::Note),
            (DropIn::Link { target: "/srv/x".into(), content: None }, Severity::Warning),
            (DropIn::Unusable("is a directory".into()), Severity::Warning),
        ] {
            let mut facts = right(&[]);
            facts.drop_in = drop_in;
            let planned = judge(&facts);
            assert_eq!(planned.len(), 1);
            assert_eq!(planned[0].finding.severity, severity);
            assert!(planned[0].actions.is_empty());
        }
        let mut facts = right(&[]);
        facts.drop_in = DropIn::Link { target: "/srv/x".into(), content: Some(BASELINE.into()) };
        assert_eq!(codes(&facts), [], "a link to a right file is as good");
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
    fn what_the_operator_wants_left_alone_is_no_part_of_the_drop_in() {
        let left = |value| config::Setting { value, origin: Origin::at("own", 3) };
        let mut facts = right(&[("vm.swappiness", "1"), ("vm.dirty_ratio", "5")]);
        facts.own.policy = [
            ("kernel.panic".to_owned(), left(Policy::Warn)),
            ("vm.dirty_ratio".to_owned(), left(Policy::Ignore)),
            ("vm.swappiness".to_owned(), left(Policy::Enforce)),
        ]
        .into();
        let extra =
            |value: &str| config::Setting { value: value.into(), origin: Origin::file("o") };
        facts.own.extra =
            vec![("vm.swappiness".into(), extra("1")), ("vm.dirty_ratio".into(), extra("5"))];
        facts.source =
            Some(("x".into(), "# RKE2's\nvm.panic_on_oom=0\nkernel/panic = 10\n".into()));
        let written = |drop_in| {
            let facts = Facts { drop_in, ..facts.clone() };
            let planned = judge(&facts);
            let [Planned { actions, .. }] = &planned[..] else { panic!("{planned:?}") };
            let [Action::WriteFile { content, .. }] = &actions[..] else { panic!("{actions:?}") };
            String::from_utf8_lossy(content).into_owned()
        };
        let added = "# Added by nodeguard:\nvm.overcommit_memory=1\nkernel.panic_on_oops=1\n\
                     vm.swappiness=1\n";
        assert_eq!(written(DropIn::Absent), format!("# RKE2's\nvm.panic_on_oom=0\n{added}"));
        assert_eq!(
            written(DropIn::Content(b"kernel.panic=3\nvm.panic_on_oom=0\n".to_vec())),
            format!("kernel.panic=3\nvm.panic_on_oom=0\n{added}"),
            "a line that is there may be the operator's"
        );
        let whole = format!("vm.panic_on_oom=0\n{added}");
        facts.drop_in = DropIn::Content(whole.into_bytes());
        assert_eq!(codes(&facts), []);
    }

    #[test]
    fn a_node_on_which_everything_is_left_alone_gets_no_drop_in() {
        let left = config::Setting { value: Policy::Ignore, origin: Origin::at("own", 3) };
        let mut facts = right(&[("kernel.panic", "3")]);
        facts.drop_in = DropIn::Absent;
        facts.own.policy = FIXED.iter().map(|(key, _)| ((*key).to_owned(), left.clone())).collect();
        assert_eq!(codes(&facts), []);
    }

    #[test]
    fn where_a_tree_is_guarded_hard_links_must_be_protected_or_it_is_fatal() {
        let mut facts = right(&[("fs.protected_hardlinks", "0")]);
        assert_eq!(codes(&facts), [], "elsewhere it is none of our keys");
        facts.scope.guarding = true;
        let planned = judge(&facts);
        let live = planned.iter().find(|p| p.finding.code == "sysctl-live").unwrap();
        assert_eq!(
            (live.finding.subject.as_str(), live.unmended),
            (PROTECTED_HARDLINKS, Severity::Fatal)
        );
    }

    #[test]
    fn a_parameter_this_kernel_lacks_is_fatal_only_where_it_is_checked() {
        let mut facts = right(&[]);
        facts.live.as_mut().unwrap().insert("kernel.panic".into(), Live::Missing);
        assert_eq!(codes(&facts)[0].1, Severity::Warning);
        facts.scope.kernel_defaults_in_force = true;
        assert!(codes(&facts).contains(&("sysctl-live", Severity::Fatal, "kernel.panic".into())));
    }
}
