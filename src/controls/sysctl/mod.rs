// SPDX-License-Identifier: Apache-2.0
//! Control `sysctl`: the kernel parameters that RKE2 and its kubelet insist on.

pub mod facts;
pub mod judge;
pub mod observe;
pub mod proc_sys;
pub mod sources;

pub use facts::*;
pub use judge::*;
