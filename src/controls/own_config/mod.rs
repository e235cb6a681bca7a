// SPDX-License-Identifier: Apache-2.0
//! Control `nodeguard-config`: nodeguard's own configuration.

pub mod facts;
pub mod judge;
pub mod observe;

pub use facts::*;
pub use judge::*;
