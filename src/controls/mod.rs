// SPDX-License-Identifier: Apache-2.0
//! The controls: facts in, findings and planned actions out.
//!
//! Nothing here reads or changes the host: no file, no system call, no clock, no log. What the
//! host looks like arrives as facts (gathered in `host::observe`), what should be done about it
//! leaves as [`crate::model::Planned`]. `tests/layers.rs` holds that line.

pub mod account_db;
pub mod data_dir_place;
pub mod etcd_access;
pub mod etcd_account;
mod etcd_account_ids;
mod etcd_account_oddity;
pub mod etcd_data_dir;
pub mod etcd_oddity;
pub mod etcd_tls;
pub mod hidden;
pub mod obstacle;
pub mod overrides;
pub mod own_config;
pub mod rke2_config;
pub mod running_etcd;
pub mod sysctl;
pub mod sysctl_conf;
mod sysctl_drop_in;
pub mod sysctl_override;
pub mod sysctl_wanted;
