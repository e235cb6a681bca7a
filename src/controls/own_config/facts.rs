// SPDX-License-Identifier: Apache-2.0
//! What is known of nodeguard's own configuration.

use crate::config::{Problem, Settings};
use crate::controls::sysctl::Wanted;

/// What was observed.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// What is wrong with the files; empty where they are in force.
    pub problems: &'a [Problem],
    /// Whether the configuration in force was read from files, and is not the built-in one.
    pub kept: bool,
    /// The settings that are in force.
    pub settings: &'a Settings,
    /// The kernel parameters of this pass.
    pub wanted: Vec<Wanted>,
}
