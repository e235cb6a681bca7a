// SPDX-License-Identifier: Apache-2.0
//! What systemd is to us: RKE2's units as it would load them, and the environment that it gives them.

pub mod environment;
pub(crate) mod fstab;
pub(crate) mod mounts;
pub(crate) mod near;
mod order;
pub mod promised;
pub mod pulls;
pub mod search_path;
pub(crate) mod unit_name;
pub mod units;
