// SPDX-License-Identifier: Apache-2.0
//! The drop-in that sets the kernel parameters at boot: what is there, and what should be.

use crate::controls::sysctl::facts::DropIn;
use std::path::PathBuf;

use super::Wanted;
use super::conf;
use super::wanted::BASELINE;
use crate::model::{Action, Code, Finding, Origin, Planned, Severity};

/// Where the hardening guide tells operators to put RKE2's file.
pub const DROP_IN: &str = "/etc/sysctl.d/60-rke2-cis.conf";

const ADDED: &str = "# Added by nodeguard:";

/// `source`: RKE2's own file and its text. `wanted`: the parameters to hold. `left`: those that the operator wants left alone, so no line
/// of ours sets them; one that is there already may be the operator's and stays.
pub(crate) fn judge(
    drop_in: &DropIn,
    source: Option<&(String, String)>,
    wanted: &[Wanted],
    left: &[Wanted],
) -> Option<Planned> {
    if wanted.is_empty() {
        return None;
    }
    let finding = |severity, actual: String, message: String, remedy: String| {
        Finding::new(Code::SysctlDropIn, DROP_IN)
            .severity(severity)
            .expected(listed(wanted.iter()))
            .actual(actual)
            .origin(Origin::file(DROP_IN))
            .message(message)
            .remedy(remedy)
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
    match drop_in {
        DropIn::Absent => {
            let text = source.map_or(BASELINE, |(_, text)| text);
            let text = conf::without(text, |key| left.iter().any(|want| want.key == key));
            Some(write(
                None,
                conf::mend(&text, pairs(), ADDED),
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
                conf::mend(text, pairs(), ADDED),
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
    let entries = conf::parse(text);
    wanted
        .iter()
        .filter(|want| {
            !entries.iter().rfind(|e| e.key == want.key).is_some_and(|e| want.is_set_by(&e.value))
        })
        .collect()
}

fn listed<'w>(wanted: impl Iterator<Item = &'w Wanted>) -> String {
    wanted.map(|w| format!("{}={}", w.key, w.value)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::{FIXED, Facts, judge, wanted};
    use super::*;
    use crate::config::{self, Policy};

    /// As it should be; no kernel is looked at.
    fn right() -> Facts {
        Facts { drop_in: DropIn::Content(BASELINE.as_bytes().to_vec()), ..Facts::default() }
    }

    /// With what is wanted by these facts and by the operator.
    fn judged(facts: &Facts, own: &config::Sysctl) -> Vec<Planned> {
        let wanted = wanted(facts.source.as_ref(), facts.scope, own);
        judge(&Facts { wanted, ..facts.clone() })
    }

    #[test]
    fn the_drop_in_is_rke2s_own_file_with_the_values_that_rke2_checks_for() {
        let text = "# shipped by RKE2\nkernel.panic=11\nvm.max_map_count=99\n".to_owned();
        let mut facts = right();
        facts.source = Some(("/usr/share/rke2/rke2-cis-sysctl.conf".into(), text));
        facts.drop_in = DropIn::Absent;
        let planned = judged(&facts, &config::Sysctl::default());
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
        let mut facts = right();
        facts.drop_in = DropIn::Content(
            b"vm.swappiness=1\nvm.panic_on_oom=0\nvm.overcommit_memory=0\nkernel.panic=10\nkernel.panic_on_oops=1"
                .to_vec(),
        );
        let planned = judged(&facts, &config::Sysctl::default());
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
            let mut facts = right();
            facts.drop_in = drop_in;
            let planned = judged(&facts, &config::Sysctl::default());
            assert_eq!(planned.len(), 1);
            assert_eq!(planned[0].finding.severity, severity);
            assert!(planned[0].actions.is_empty());
        }
        let mut facts = right();
        facts.drop_in = DropIn::Link { target: "/srv/x".into(), content: Some(BASELINE.into()) };
        assert_eq!(
            judged(&facts, &config::Sysctl::default()),
            [],
            "a link to a right file is as good"
        );
    }

    #[test]
    fn what_the_operator_wants_left_alone_is_no_part_of_the_drop_in() {
        let left = |value| config::Setting { value, origin: Origin::at("own", 3) };
        let mut facts = right();
        let policy = [
            ("kernel.panic".to_owned(), left(Policy::Warn)),
            ("vm.dirty_ratio".to_owned(), left(Policy::Ignore)),
            ("vm.swappiness".to_owned(), left(Policy::Enforce)),
        ]
        .into();
        let extra =
            |value: &str| config::Setting { value: value.into(), origin: Origin::file("o") };
        let extra =
            vec![("vm.swappiness".into(), extra("1")), ("vm.dirty_ratio".into(), extra("5"))];
        let own = config::Sysctl { policy, extra };
        facts.source =
            Some(("x".into(), "# RKE2's\nvm.panic_on_oom=0\nkernel/panic = 10\n".into()));
        let written = |drop_in| {
            let facts = Facts { drop_in, ..facts.clone() };
            let planned = judged(&facts, &own);
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
        assert_eq!(judged(&facts, &own), []);
    }

    #[test]
    fn a_node_on_which_everything_is_left_alone_gets_no_drop_in() {
        let left = config::Setting { value: Policy::Ignore, origin: Origin::at("own", 3) };
        let mut facts = right();
        facts.drop_in = DropIn::Absent;
        let policy = FIXED.iter().map(|(key, _)| ((*key).to_owned(), left.clone())).collect();
        let own = config::Sysctl { policy, ..config::Sysctl::default() };
        assert_eq!(judged(&facts, &own), []);
    }
}
