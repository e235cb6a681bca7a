// SPDX-License-Identifier: Apache-2.0
//! An operator's word that RKE2 may start once although the node is fatal: asked for and not yet
//! used, or used by the start that RKE2 now runs from. Both are in every report, so that nobody
//! takes the node for what it is not.

use serde::{Deserialize, Serialize};

use crate::model::{Code, Finding, Planned, Role, shown};

/// How long the word counts for, in seconds.
pub const LASTS: u64 = 600;

/// Characters of a reason.
pub const REASON_LIMIT: usize = 200;

/// Findings that are kept with a used one; further ones are in the journal.
pub const CODES: usize = 16;

/// Who asked, why and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub by: String,
    pub reason: String,
    /// When it was asked for, for a person: `2026-11-22T08:42:35Z`.
    pub at: String,
    /// The same in seconds since the boot, by which it expires: nobody sets that clock.
    pub since_boot: u64,
    /// The id of that boot.
    pub boot: String,
}

impl Token {
    /// Whether it still counts.
    pub fn counts(&self, boot: &str, since_boot: u64) -> bool {
        self.boot == boot && since_boot.checked_sub(self.since_boot).is_some_and(|age| age < LASTS)
    }
}

/// A start of RKE2's that was let through by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    pub word: Token,
    /// When RKE2 started, as above.
    pub at: String,
    /// What was overridden: codes of fatal findings, the first few.
    pub codes: Vec<String>,
}

/// What there is on this node, for its role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub role: Option<Role>,
    pub pending: Option<Token>,
    pub used: Option<Used>,
}

/// Facts → findings. Both want an operator's eye, and neither is what is wrong with the node.
pub fn judge(facts: &Facts) -> Vec<Planned> {
    let role = facts.role.map_or("server", Role::as_str);
    let said = |word: &Token| {
        format!("{} at {}: {}", shown(word.by.as_ref()), word.at, shown(word.reason.as_ref()))
    };
    let pending = facts.pending.as_ref().map(|word| {
        Finding::new(Code::OverridePending, "override")
            .expected("RKE2 starts when the node is fit for it")
            .actual("the next start is let through")
            .message(format!(
                "RKE2's next start as {role} is let through once, whatever is wrong ({})",
                said(word)
            ))
            .remedy(format!("nodeguard override --role {role} --withdraw takes it back"))
    });
    let used = facts.used.as_ref().map(|used| {
        Finding::new(Code::OverrideUsed, "override")
            .expected("RKE2 runs from a start on a fit node")
            .actual(format!("let through, although {}", used.codes.join(", ")))
            .message(format!(
                "RKE2 was started by an override at {}, although the node was fatal: {} (asked for \
                 by {})",
                used.at,
                used.codes.join(", "),
                said(&used.word)
            ))
            .remedy(format!("mend what `nodeguard check` says, then systemctl restart rke2-{role}"))
    });
    pending.into_iter().chain(used).map(Planned::only).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Severity;

    fn word() -> Token {
        Token {
            by: "alice".into(),
            reason: "vendor says so".into(),
            at: "2026-11-22T08:42:35Z".into(),
            since_boot: 1000,
            boot: "b".into(),
        }
    }

    #[test]
    fn a_word_counts_for_ten_minutes_of_its_own_boot() {
        for (boot, since_boot, counts) in [
            ("b", 1000, true),
            ("b", 1000 + LASTS - 1, true),
            ("b", 1000 + LASTS, false),
            ("b", 999, false),
            ("c", 1001, false),
        ] {
            assert_eq!(word().counts(boot, since_boot), counts, "{boot} {since_boot}");
        }
    }

    #[test]
    fn a_used_override_says_who_why_when_and_what() {
        let used = Used {
            word: word(),
            at: "2026-11-22T08:43:00Z".into(),
            codes: vec!["etcd-link-foreign".into(), "profile-invalid".into()],
        };
        let facts = Facts { role: Some(Role::Server), pending: Some(word()), used: Some(used) };
        let findings: Vec<_> = judge(&facts).into_iter().map(|planned| planned.finding).collect();
        assert_eq!(
            findings[1].message,
            "RKE2 was started by an override at 2026-11-22T08:43:00Z, although the node was \
             fatal: etcd-link-foreign, profile-invalid (asked for by alice at \
             2026-11-22T08:42:35Z: vendor says so)"
        );
        assert!(findings.iter().all(|finding| finding.severity == Severity::Warning));
        assert_eq!(judge(&Facts::default()), []);
    }
}
