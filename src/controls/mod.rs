// SPDX-License-Identifier: Apache-2.0
//! Controls

pub mod account_db;
pub mod rke2_config;
