// SPDX-License-Identifier: Apache-2.0
//! Control `rke2-config`: a configuration with which this RKE2 starts.

pub mod facts;
pub mod judge;
pub mod observe;
mod observe_place;
pub mod overrides;
pub mod version;

pub use facts::*;
pub use judge::judge;
