// SPDX-License-Identifier: Apache-2.0
//! What is known of the kernel parameters.

use std::collections::BTreeMap;

use super::judge::{DropIn, Scope};
use crate::config;

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

/// One kernel parameter as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    Value(String),
    /// This kernel has no such parameter.
    Missing,
    Unreadable(String),
}
