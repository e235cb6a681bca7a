// SPDX-License-Identifier: Apache-2.0
#![forbid(unsafe_code)]
//! nodeguard makes a Linux host fit for a CIS-hardened RKE2, and keeps it so.
//!
//! How a change of the host becomes a correction is drawn in ARCHITECTURE.md.
//!
//! The modules in reading order:

pub mod model;

pub mod config;
pub mod controls;
pub mod rke2;
pub mod sysctl_d;

pub mod system;
pub mod systemd;

pub mod engine;

pub mod attribution;
pub mod bus;
pub mod gate;
pub mod journal;
pub mod mounts;
pub mod outbox;
pub mod pace;
pub mod processor;
pub mod render;
pub mod service;
pub mod watch;

pub mod cli;
pub mod daemon;

#[cfg(test)]
mod hostile_image;
