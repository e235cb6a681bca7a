// SPDX-License-Identifier: Apache-2.0
//! The controls, a folder each. `judge` of each, and everything below it, is pure: facts in, findings
//! and planned actions out; it reads no file and no clock. What is beside it looks at the host and
//! changes it.

pub mod etcd_account;
pub mod etcd_data_dir;
pub mod obstacle;
pub mod own_config;
pub mod rke2_config;
pub mod sysctl;
