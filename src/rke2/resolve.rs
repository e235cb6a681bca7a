// SPDX-License-Identifier: Apache-2.0
//! resolve
use super::{Config, Inputs};

/// How many drop-ins are read.
pub const MAX_DROP_INS: usize = 256;

/// Whether RKE2 reads a file of this name in the drop-in directory.
pub fn is_drop_in(file_name: &str) -> bool {
    let name = file_name.to_ascii_lowercase();
    name.ends_with(".yaml") || name.ends_with(".yml")
}

/// Resolves the configuration as RKE2 does.
pub fn resolve(inputs: &Inputs) -> Config {
    Config::unset(inputs.role, inputs.path.clone())
}
