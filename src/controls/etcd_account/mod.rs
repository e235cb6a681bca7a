// SPDX-License-Identifier: Apache-2.0
//! Control `etcd-account`: the user and the group `etcd`.

mod elsewhere;
pub mod facts;
pub mod failure;
mod home;
pub mod image;
pub mod image_locks;
pub mod judge;
pub mod locks;
mod login_defs;
pub mod observe;
pub mod tool;

pub use facts::*;
pub use judge::*;
