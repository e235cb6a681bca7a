// SPDX-License-Identifier: Apache-2.0
//! Part of control `sysctl`: what defeats our drop-in at boot. Nothing here is mended: the files
//! are the operator's, and the live values are set back before RKE2 starts all the same.

use std::path::Path;

use super::{DROP_IN, Wanted};
use crate::model::{Code, Finding, Origin, Planned, shown};
use crate::sysctl_d::{
    Assigned, Body, File, Key, Loader, Moment, Place, Resolution, Resolver, SetBy, Sources, Verdict,
};

/// Files that could not be read and are told one by one; the rest is counted.
const UNREAD_TOLD: usize = 8;

/// Findings for the keys whose wanted value a file that is read after our drop-in, the
/// credential, or TuneD's profile takes away again, and for files that may do so; and for each key what
/// sets it.
pub fn judge(sources: &Sources, wanted: &[Wanted]) -> (Vec<Planned>, Vec<Option<Assigned>>) {
    if masked(sources) {
        // Nothing of ours is there to be defeated.
        return (Vec::new(), Vec::new());
    }
    let mut out = unread(&sources.unread);
    let mut winners = Vec::with_capacity(wanted.len());
    // With the files of /run: systemd-sysctl is run again whenever a package is upgraded.
    let resolver = Resolver::new(sources, Loader::Systemd, Moment::Now);
    for want in wanted {
        let Ok(key) = Key::parse(&want.key) else {
            winners.push(None);
            continue;
        };
        let resolution = resolver.resolve(&key);
        let by_file = by_file(&resolution, want);
        winners.push(resolution.winner);
        let by_tuned = sources.verdict(&key).and_then(|verdict| by_tuned(&verdict, want));
        // A file that TuneD applies once more is named once.
        let same = |tuned: &Planned| {
            by_file.as_ref().is_some_and(|file| file.finding.origin == tuned.finding.origin)
        };
        let by_tuned = by_tuned.filter(|tuned| !same(tuned));
        out.extend(by_file);
        out.extend(by_tuned);
    }
    (out, winners)
}

/// What could not be read may defeat our drop-in as well.
fn unread(files: &[(String, String)]) -> Vec<Planned> {
    let finding = |subject: &str, actual: String, message: String| {
        Planned::only(
            Finding::new(Code::SysctlUnread, subject)
                .expected("a file that can be read")
                .actual(actual)
                .origin(Origin::file(subject))
                .message(format!(
                    "{message}; whether it sets a kernel parameter at boot is not known, nodeguard \
                     sets the live values back"
                ))
                .remedy(format!("correct {subject}, or take it away")),
        )
    };
    let told = files.iter().take(UNREAD_TOLD).map(|(path, reason)| {
        let path = shown(Path::new(path));
        finding(&path, reason.clone(), format!("{path} cannot be used: {reason}"))
    });
    let mut out: Vec<_> = told.collect();
    if let (Some(last), Some(more)) = (out.last_mut(), files.len().checked_sub(UNREAD_TOLD + 1)) {
        last.finding.message += &format!(" (and {} more files)", more + 1);
    }
    out
}

fn masked(sources: &Sources) -> bool {
    let ours = |file: &&File| file.path == DROP_IN;
    let found = sources.directories.iter().flat_map(|(_, files)| files).find(ours);
    found.is_some_and(|file| file.body == Body::Masked)
}

fn by_file(resolution: &Resolution, want: &Wanted) -> Option<Planned> {
    match (&resolution.winner, &resolution.excluded) {
        (Some(winner), _) if differs(&winner.value, want) && is_later(winner) => {
            let message = format!(
                "{}={} is set after {DROP_IN} and wins at boot, expected {}",
                want.key, winner.value, want.value
            );
            Some(planned(want, winner, winner.value.clone(), message))
        }
        (None, Some(excluded)) if name(excluded) >= name_of(DROP_IN) => {
            let message = format!(
                "a line -{} takes the value of {DROP_IN} back at boot, expected {}",
                want.key, want.value
            );
            let taker = Assigned {
                value: String::new(),
                set_by: SetBy::File,
                origin: excluded.clone(),
                link_to: None,
                pattern: None,
            };
            Some(planned(want, &taker, "not set".into(), message))
        }
        _ => None,
    }
}

/// Whether it is read after our drop-in. What is read before is overwritten by a drop-in that is
/// as it should be, and one that is not has a finding of its own.
fn is_later(assigned: &Assigned) -> bool {
    assigned.set_by == SetBy::Credential
        || assigned.pattern.is_none() && name(&assigned.origin) > name_of(DROP_IN)
}

fn by_tuned(verdict: &Verdict, want: &Wanted) -> Option<Planned> {
    let left =
        verdict.leaves.as_ref().filter(|left| verdict.enabled && differs(&left.value, want))?;
    let what = match left.set_by {
        SetBy::Tuned => format!("TuneD's profile {} sets", verdict.profile),
        // systemd-sysctl may not have read it: /etc/sysctl.conf.
        _ => "TuneD applies the files in /etc once more and sets".to_owned(),
    };
    let message = format!("{what} {}={} after boot, expected {}", want.key, left.value, want.value);
    Some(planned(want, left, left.value.clone(), message))
}

fn planned(want: &Wanted, by: &Assigned, actual: String, message: String) -> Planned {
    Planned::only(
        Finding::new(Code::SysctlOverridden, want.key.clone())
            .expected(want.value.clone())
            .actual(actual)
            .origin(by.origin.clone())
            .message(format!("{message}; nodeguard sets the live value back"))
            .remedy(remedy(want, by)),
    )
}

fn remedy(want: &Wanted, by: &Assigned) -> String {
    let Origin { file, line } = &by.origin;
    let line = line.map_or(String::new(), |line| format!("line {line} of "));
    let assignment = format!("{} = {}", want.key, want.value);
    match by.set_by {
        SetBy::Credential => format!("take {} out of the credential sysctl.extra", want.key),
        SetBy::Tuned if file.starts_with("/usr/") => format!(
            "make a profile below /etc/tuned that includes this one and says {assignment} in its \
             [sysctl], and activate it with tuned-adm profile"
        ),
        SetBy::Tuned => format!("take {line}{file} away, then systemctl restart tuned"),
        _ if file.starts_with(Place::Etc.path()) || !file.starts_with("/usr/") => {
            let real = by.link_to.as_ref().map(|to| format!(" (a link to {to})"));
            format!("remove {line}{file}{}, or make it {assignment}", real.unwrap_or_default())
        }
        _ => format!(
            "copy {file} to {}/{} and remove line {} there: a file below /etc is read instead of \
             one of the same name below /usr",
            Place::Etc.path(),
            name_of(file),
            by.origin.line.unwrap_or_default()
        ),
    }
}

/// As the kernel takes it: what follows a number is not looked at.
fn differs(value: &str, want: &Wanted) -> bool {
    !want.is_set_by(value)
}

fn name(origin: &Origin) -> &str {
    name_of(&origin.file)
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Policy, Setting};
    use crate::model::Severity;
    use crate::sysctl_d::TunedSources;
    use crate::sysctl_d::fixture::{file, sources};

    fn wanted() -> Vec<Wanted> {
        let want = |key: &str, value: &str| Wanted {
            key: key.into(),
            value: value.into(),
            source: Origin::file("built-in baseline"),
            policy: Setting::built_in(Policy::Enforce),
        };
        vec![want("kernel.panic", "10"), want("vm.overcommit_memory", "1")]
    }

    fn judged(sources: &Sources) -> Vec<Planned> {
        judge(sources, &wanted()).0
    }

    const OURS: (&str, &str) = (DROP_IN, "kernel.panic=10\nvm.overcommit_memory=1\n");

    fn found(files: &[(&str, &str)]) -> Vec<Finding> {
        let all = [&[OURS], files].concat();
        judged(&sources(&all)).into_iter().map(|p| p.finding).collect()
    }

    #[test]
    fn a_later_file_is_a_warning_with_its_line_and_the_edit_that_helps() {
        let got = found(&[("/etc/sysctl.d/99-stig.conf", "# STIG\nkernel.panic = 0\n")]);
        assert_eq!(got.len(), 1, "{got:?}");
        let finding = &got[0];
        assert_eq!(
            (finding.code.as_str(), finding.severity),
            ("sysctl-overridden", Severity::Warning)
        );
        assert_eq!((finding.subject.as_str(), finding.actual.as_str()), ("kernel.panic", "0"));
        assert_eq!(finding.origin, Some(Origin::at("/etc/sysctl.d/99-stig.conf", 2)));
        assert_eq!(
            finding.remedy,
            "remove line 2 of /etc/sysctl.d/99-stig.conf, or make it kernel.panic = 10"
        );
    }

    #[test]
    fn what_changes_nothing_at_boot_is_no_finding() {
        for files in [
            &[("/etc/sysctl.d/10-a.conf", "kernel.panic=0")][..],
            &[("/etc/sysctl.d/99-a.conf", "kernel.panic = 10 ")],
            &[("/etc/sysctl.d/99-a.conf", "kernel.pan*=0")],
            &[("/etc/sysctl.d/10-a.conf", "-kernel.panic")],
            &[
                ("/usr/lib/sysctl.d/99-a.conf", "kernel.panic=0"),
                ("/etc/sysctl.d/99-a.conf", "!mask"),
            ],
            &[("/usr/lib/sysctl.d/60-rke2-cis.conf", "kernel.panic=0")],
            &[("/etc/sysctl.conf", "kernel.panic=0")],
        ] {
            assert_eq!(found(files), [], "{files:?}");
        }
    }

    #[test]
    fn a_vendors_file_and_a_lone_key_are_named_as_well() {
        let vendor = found(&[("/usr/lib/sysctl.d/99-v.conf", "kernel.panic=0")]);
        assert!(vendor[0].remedy.starts_with("copy /usr/lib/sysctl.d/99-v.conf to /etc/sysctl.d/"));
        let lone = found(&[("/etc/sysctl.d/99-a.conf", "\n-kernel.panic")]);
        assert_eq!(lone[0].origin, Some(Origin::at("/etc/sysctl.d/99-a.conf", 2)));
        assert_eq!(lone[0].actual, "not set");
        let own = sources(&[(DROP_IN, "kernel.panic=10\nvm.overcommit_memory=1\n-kernel.panic")]);
        let own = judged(&own);
        assert_eq!(own[0].finding.origin, Some(Origin::at(DROP_IN, 3)), "in our own file");
    }

    #[test]
    fn a_masked_drop_in_cannot_be_defeated_and_a_missing_one_is_judged_as_if_it_were_there() {
        let later = ("/etc/sysctl.d/99-stig.conf", "kernel.panic=0");
        let masked = sources(&[(DROP_IN, "!mask"), later]);
        assert_eq!(judged(&masked), []);
        assert_eq!(judged(&sources(&[later])).len(), 1);
    }

    #[test]
    fn sysctl_conf_which_nothing_reads_at_boot_counts_where_tuned_applies_it() {
        let mut all = sources(&[OURS, ("/etc/sysctl.conf", "kernel.panic=0")]);
        all.tuned = Some(TunedSources {
            profile: "x".into(),
            enabled: true,
            main: None,
            profiles: vec![file("/etc/tuned/x/tuned.conf", "[sysctl]\nvm.swappiness=1\n")],
        });
        let got = judged(&all);
        assert_eq!(got[0].finding.origin, Some(Origin::at("/etc/sysctl.conf", 1)), "{got:?}");
    }

    #[test]
    fn a_profile_of_tuned_counts_if_it_wins_and_the_service_is_enabled() {
        let path = "/usr/lib/tuned/profiles/x/tuned.conf";
        let mut all = sources(&[OURS]);
        for (enabled, main, count) in
            [(true, "reapply_sysctl=0", 1), (false, "reapply_sysctl=0", 0), (true, "", 0)]
        {
            all.tuned = Some(TunedSources {
                profile: "x".into(),
                enabled,
                main: Some(file("/etc/tuned/tuned-main.conf", main)),
                profiles: vec![file(path, "[sysctl]\nvm.overcommit_memory=0\n")],
            });
            let got = judged(&all);
            assert_eq!(got.len(), count, "{enabled} {main:?}");
            for planned in got {
                assert_eq!(planned.finding.origin, Some(Origin::at(path, 2)));
                assert_eq!(planned.finding.subject, "vm.overcommit_memory");
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_warning_and_many_are_counted() {
        let mut all = sources(&[OURS]);
        all.unread =
            (0..11).map(|n| (format!("/etc/sysctl.d/{n}.conf"), "is odd".into())).collect();
        let got = judged(&all);
        assert_eq!(got.len(), UNREAD_TOLD);
        let first = &got[0].finding;
        assert_eq!((first.code.as_str(), first.severity), ("sysctl-unread", Severity::Warning));
        assert_eq!(first.origin, Some(Origin::file("/etc/sysctl.d/0.conf")));
        let said =
            "/etc/sysctl.d/0.conf cannot be used: is odd; whether it sets a kernel parameter";
        assert!(first.message.starts_with(said), "{first:?}");
        assert!(got[7].finding.message.ends_with(" (and 3 more files)"), "{:?}", got[7]);
        all.directories.clear();
        all.directories = sources(&[(DROP_IN, "!mask")]).directories;
        assert_eq!(judged(&all), [], "nothing of ours is there to be defeated");
    }
}
