// SPDX-License-Identifier: Apache-2.0
#![forbid(unsafe_code)]
//! nodeguard

pub mod bus;
pub mod controls;
pub mod engine;
pub mod host;
pub mod model;
pub mod rke2;
