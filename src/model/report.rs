// SPDX-License-Identifier: Apache-2.0
//! The report: what a pass found and did, as every surface prints it and as it is read back.

use serde::{Deserialize, Serialize};

use super::{ControlId, Correction, Finding, Named, OperatingMode, Role, State};

/// One control's part of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlReport {
    pub id: Named<ControlId>,
    pub title: String,
    #[serde(default)]
    pub cis_ids: Vec<String>,
    pub state: State,
    pub findings: Vec<Finding>,
}

/// The result of one pass over the controls; immutable. Every surface prints this and nothing of
/// its own making. It is read back as well, by the gate and by `nodeguard status`, where another
/// version may have written it: fields that this one does not know are ignored, and those that
/// nothing is decided by may be missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this format; raised when a field changes its meaning or goes.
    #[serde(default)]
    pub schema: u32,
    /// nodeguard's own.
    #[serde(default)]
    pub version: String,
    /// Seconds since the epoch, when the pass ended.
    #[serde(default)]
    pub time: u64,
    /// The directory the pass worked on; `/` for the running host.
    #[serde(default)]
    pub root: String,
    /// In `report` nothing was changed, and RKE2 starts whatever the state is.
    #[serde(default)]
    pub mode: OperatingMode,
    pub state: State,
    pub role: Role,
    /// RKE2's `profile`; empty where none is set.
    pub profile: String,
    /// Without the leading `v`; empty where no RKE2 was found.
    pub rke2_version: String,
    /// In the order of [`ControlId::ALL`].
    pub controls: Vec<ControlReport>,
    /// What this pass changed.
    pub corrections: Vec<Correction>,
    /// How many more it changed, which would make the report too long.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub corrections_left_out: usize,
    /// What the daemon changed lately, this pass's changes among it, the latest last; a few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<Recent>,
}

// By reference, since serde asks like this.
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A correction and when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    /// Seconds since the epoch.
    pub time: u64,
    #[serde(flatten)]
    pub correction: Correction,
}

impl ControlReport {
    /// A report with the state that its findings make.
    pub fn new(id: ControlId, findings: Vec<Finding>) -> Self {
        Self {
            id: id.into(),
            title: id.title().into(),
            cis_ids: id.cis_ids().iter().map(|id| (*id).into()).collect(),
            state: State::of(&findings),
            findings,
        }
    }
}

impl Report {
    pub const SCHEMA: u32 = 1;

    /// The report of a daemon that has not ended a pass.
    pub fn starting() -> Self {
        Self {
            schema: Self::SCHEMA,
            version: env!("CARGO_PKG_VERSION").into(),
            time: 0,
            root: "/".into(),
            mode: OperatingMode::Enforce,
            state: State::Starting,
            role: Role::Unknown,
            profile: String::new(),
            rke2_version: String::new(),
            controls: Vec::new(),
            corrections: Vec::new(),
            corrections_left_out: 0,
            recent: Vec::new(),
        }
    }

    /// All findings, in the order of the controls.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.controls.iter().flat_map(|c| &c.findings)
    }
}
