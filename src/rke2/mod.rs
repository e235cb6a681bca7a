// SPDX-License-Identifier: Apache-2.0
//! What this node's RKE2 is: its configuration as RKE2 itself would read it, its version, and the
//! profiles that version knows.
//!
//! Everything here is pure: the bytes were read elsewhere, nothing is opened, run or
//! logged. Input comes from files that an operator wrote, so every parser has limits and none
//! of them fails on what it meets; what is wrong becomes a [`Problem`].
//!
//! ```text
//! unit files ──► unit ──► argv, Environment=, EnvironmentFile= ──► env_file ─┐
//! config.yaml, config.yaml.d ──► yaml ──► resolve ◄── arguments ◄────────────┘
//!                                            └──► Config
//! ```

mod arguments;
pub mod beside;
mod config;
pub mod env_file;
mod etcd_manifest;
pub mod exec;
pub mod explain;
mod flags;
pub mod kubelet;
mod location;
mod meant;
pub mod profile;
mod resolve;
mod scalar;
pub mod shown;
pub mod unit;
mod version;
mod yaml;

use std::path::{Path, PathBuf};

pub use arguments::config_path;
pub use config::{
    Config, ConfigPath, FileContent, Inputs, Problem, ProblemKind, Setting, SourceFile, Variable,
};
pub use etcd_manifest::{MAX_MANIFEST_SIZE, etcd_manifest, runs_as};
pub use meant::{Form, Meant, profile_in};
pub use resolve::{MAX_DROP_INS, MAX_TOTAL_SIZE, given, is_drop_in, resolve};
pub use version::{VersionError, has_own_database, parse_version, staged_version};
pub use yaml::MAX_FILE_SIZE;

/// Where RKE2 looks for its configuration when nobody says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/rancher/rke2/config.yaml";

/// RKE2's data directory when nobody says otherwise.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/rancher/rke2";

/// etcd's data directory below RKE2's.
pub fn etcd_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("server/db/etcd")
}
