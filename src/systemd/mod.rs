// SPDX-License-Identifier: Apache-2.0
//! What systemd is to us: RKE2's units as it would load them, and the environment that it gives them.

pub mod environment;
pub mod search_path;
pub mod units;
