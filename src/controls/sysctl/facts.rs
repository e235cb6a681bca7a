// SPDX-License-Identifier: Apache-2.0
//! What is known of the kernel parameters.

use std::collections::BTreeMap;

use crate::config::{Policy, Setting};
use crate::model::Origin;

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
    /// Which are wanted: RKE2's, and what the operator's configuration says.
    pub wanted: Vec<Wanted>,
}

/// One kernel parameter as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    Value(String),
    /// This kernel has no such parameter.
    Missing,
    Unreadable(String),
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

/// Why parameters beyond RKE2's four are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// RKE2 and its kubelet refuse to start on wrong values.
    pub kernel_defaults_in_force: bool,
    /// etcd's data directory is guarded.
    pub guarding: bool,
}

/// One parameter as it should be, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub key: String,
    pub value: String,
    pub source: Origin,
    pub policy: Setting<Policy>,
}
