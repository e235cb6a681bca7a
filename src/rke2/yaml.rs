// SPDX-License-Identifier: Apache-2.0
//! yaml

/// The largest configuration file that is read, in bytes.
pub const MAX_FILE_SIZE: usize = 1 << 20;
