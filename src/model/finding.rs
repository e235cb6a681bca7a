// SPDX-License-Identifier: Apache-2.0
//! A finding, and how it is made: from its code and its subject, and then what else is to be said.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Code, ControlId, Named, Origin, Severity, shown};

/// One thing wrong, or worth knowing. Made by [`Finding::new`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    #[serde(default)]
    pub control: Named<ControlId>,
    /// Stable, kebab-case; what scripts match on.
    pub code: Named<Code>,
    pub severity: Severity,
    /// The object: a sysctl key, a path, a configuration key.
    pub subject: String,
    pub expected: String,
    pub actual: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// One line for a person; where RKE2 would refuse to start it begins with RKE2's own words.
    pub message: String,
    /// What an operator can do; one command or edit a line.
    pub remedy: String,
    /// It is fatal, and the operator's configuration demotes it to a warning: in this line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demoted_by: Option<Origin>,
}

impl Finding {
    /// As severe as a finding with this code can be, and with nothing said yet.
    pub fn new(code: Code, subject: impl Into<String>) -> Self {
        let control = code.controls().first().copied().map(Named::Known).unwrap_or_default();
        Self {
            control,
            code: code.into(),
            severity: code.severities().iter().copied().max().unwrap_or(Severity::Fatal),
            subject: subject.into(),
            expected: String::new(),
            actual: String::new(),
            origin: None,
            message: String::new(),
            remedy: String::new(),
            demoted_by: None,
        }
    }

    /// The same about a file or a directory, which is where it is as well.
    pub fn at_path(code: Code, path: &Path) -> Self {
        Self::new(code, shown(path)).origin(Origin::file(shown(path)))
    }

    /// The control, for a code that several have.
    #[must_use]
    pub fn of(mut self, control: impl Into<Named<ControlId>>) -> Self {
        self.control = control.into();
        debug_assert!(self.is_as_its_code_says(), "{self:?}");
        self
    }

    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        debug_assert!(self.is_as_its_code_says(), "{self:?}");
        self
    }

    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = expected.into();
        self
    }

    #[must_use]
    pub fn actual(mut self, actual: impl Into<String>) -> Self {
        self.actual = actual.into();
        self
    }

    /// Where the actual value was set, if that is known.
    #[must_use]
    pub fn origin(mut self, origin: impl Into<Option<Origin>>) -> Self {
        self.origin = origin.into();
        self
    }

    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// Whether control and severity are among those that its code lists.
    pub fn is_as_its_code_says(&self) -> bool {
        let Some(code) = self.code.known() else { return false };
        let weighed = match self.demoted_by {
            None => self.severity,
            Some(_) if self.severity == Severity::Warning => Severity::Fatal,
            Some(_) => return false,
        };
        code.severities().contains(&weighed)
            && self.control.known().is_some_and(|control| code.controls().contains(&control))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_as_its_code_says_until_it_has_a_weight_or_a_control_that_the_code_does_not_list()
     {
        for code in Code::ALL {
            let finding = Finding::new(*code, "x");
            assert!(finding.is_as_its_code_says(), "{code}");
            for severity in [Severity::Note, Severity::Warning, Severity::Drift, Severity::Fatal] {
                let listed = code.severities().contains(&severity);
                let weighed = Finding { severity, ..finding.clone() };
                assert_eq!(weighed.is_as_its_code_says(), listed, "{code} {severity}");
            }
            for id in ControlId::ALL {
                let listed = code.controls().contains(&id);
                let moved = Finding { control: id.into(), ..finding.clone() };
                assert_eq!(moved.is_as_its_code_says(), listed, "{code} {id}");
            }
        }
        let unknown = Named::Unknown("port-open".into());
        let finding = Finding { code: unknown, ..Finding::new(Code::EtcdOwner, "x") };
        assert!(!finding.is_as_its_code_says());
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "etcd-owner")]
    fn a_severity_that_the_code_does_not_list_ends_a_debug_build() {
        let _ = Finding::new(Code::EtcdOwner, "etcd-owner").severity(Severity::Note);
    }
}
