// SPDX-License-Identifier: Apache-2.0
//! A profile that a file plainly means and RKE2 does not take: RKE2 starts, and unhardened.

use super::edit;
use crate::model::{Code, Finding, Severity};
use crate::rke2::{Config, Form, Meant, Problem, ProblemKind, shown};

pub(super) fn judge(config: &Config) -> Option<Finding> {
    config.meant.as_ref().map(finding)
}

/// Whether RKE2 would start without what the files ask for. In a later document it may be a leftover,
/// since the first one is what somebody tends; below a key of its own it may be no profile.
pub(super) fn is_fatal(config: &Config) -> bool {
    config.meant.as_ref().is_some_and(|meant| severity(meant.form) == Severity::Fatal)
}

fn severity(form: Form) -> Severity {
    match form {
        Form::LaterDocument | Form::Below => Severity::Warning,
        _ => Severity::Fatal,
    }
}

/// Whether a problem is about the same key, of which more is said here.
pub(super) fn covers(config: &Config, problem: &Problem) -> bool {
    let same = |meant: &Meant| meant.form == Form::Key && meant.origin == problem.origin;
    matches!(problem.kind, ProblemKind::Misspelt | ProblemKind::UnknownKey)
        && config.meant.as_ref().is_some_and(same)
}

fn finding(meant: &Meant) -> Finding {
    let Meant { form, written, value, origin } = meant;
    let value = shown::value("profile", value);
    let (edit, line) = (edit(Some(origin)), format!("profile: {value}"));
    let (why, remedy) = match form {
        Form::Nested | Form::Below => (
            "it is below another key or in a list, and RKE2 takes keys at the top of the file alone"
                .to_owned(),
            format!("{edit}: write `{line}` at the beginning of a line, with no key or dash above it"),
        ),
        Form::Key => (
            format!("RKE2 skips the key `{written}`, which is another one than `profile`"),
            format!("{edit}: type the key anew: {line}"),
        ),
        Form::EmptyFirstDocument => (
            "RKE2 reads the first document of the file alone, and it is empty".to_owned(),
            format!("edit {}: remove the line `---` above the settings", origin.file),
        ),
        Form::LaterDocument => (
            "RKE2 reads the first document of the file alone".to_owned(),
            format!(
                "{edit}: move what is meant above the line `---`, or remove what is below it"
            ),
        ),
        Form::Variable => (
            format!("RKE2 knows no variable {written}"),
            format!("{edit}: RKE2_CIS_PROFILE={value}"),
        ),
    };
    let separator = if *form == Form::Variable { "=" } else { ": " };
    Finding::new(Code::ProfileIgnored, "profile")
        .severity(severity(*form))
        .expected(line)
        .actual(format!("{written}{separator}{value}"))
        .origin(origin.clone())
        .message(format!(
            "not running in CIS mode: {origin} says `{written}{separator}{value}` and {why}; RKE2 \
             starts unhardened"
        ))
        .remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Origin, Role};
    use crate::rke2::Inputs;

    #[test]
    fn each_form_says_why_and_what_to_write() {
        for (form, written, severity, remedy) in [
            (Form::Nested, "profile", Severity::Fatal, "at the beginning of a line"),
            (Form::Below, "profile", Severity::Warning, "at the beginning of a line"),
            (Form::Key, "profileU+200B", Severity::Fatal, "type the key anew: profile: cis"),
            (Form::EmptyFirstDocument, "profile", Severity::Fatal, "remove the line `---`"),
            (Form::LaterDocument, "profile", Severity::Warning, "above the line `---`"),
            (Form::Variable, "RKE2_PROFILE", Severity::Fatal, "RKE2_CIS_PROFILE=cis"),
        ] {
            let mut config = Config::unset(Role::Server, Inputs::none(Role::Server).path);
            let origin = Origin::at("/etc/rancher/rke2/config.yaml", 3);
            let (written, value) = (written.to_owned(), "cis".to_owned());
            config.meant = Some(Meant { form, written: written.clone(), value, origin });
            let finding = judge(&config).unwrap();
            assert_eq!((finding.code.as_str(), finding.severity), ("profile-ignored", severity));
            assert_eq!(is_fatal(&config), severity == Severity::Fatal);
            assert!(finding.remedy.contains(remedy), "{finding:?}");
            assert!(finding.message.contains(&written), "{finding:?}");
        }
    }
}
