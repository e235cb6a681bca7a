// SPDX-License-Identifier: Apache-2.0
//! Control `etcd-data-dir`: owner and mode of everything below etcd's data directory, and of its TLS
//! files.

pub mod facts;
pub mod judge;
mod links;
pub mod mend;
pub mod observe;
pub mod running;
pub mod tree;

pub use facts::*;
pub use judge::*;
