// SPDX-License-Identifier: Apache-2.0
//! The resolved configuration as types: what goes in, what comes out, and where each value was
//! set.

use std::path::PathBuf;

use super::kubelet;
use super::profile::{self, Verdict};
use super::{DEFAULT_CONFIG, DEFAULT_DATA_DIR, Meant, beside::Beside};
use crate::model::{Origin, Role};

/// A configuration file as it was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The path as it is shown to the operator.
    pub path: String,
    pub content: FileContent,
}

/// What reading a file gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileContent {
    Absent,
    Bytes(Vec<u8>),
    /// The system's reason (`Is a directory`, `Permission denied`).
    Unreadable(String),
    /// Above [`super::MAX_FILE_SIZE`], or all files together above [`super::MAX_TOTAL_SIZE`]; not
    /// read.
    TooLarge,
}

/// One environment variable of the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub value: String,
    /// The environment file and line, or the unit file.
    pub origin: Origin,
}

impl Variable {
    /// What it takes of an environment, in bytes.
    pub fn size(&self) -> usize {
        self.name.len() + self.value.len() + 2
    }
}

/// Everything that [`super::resolve`] looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// The subcommand; with [`Role::Unknown`] the keys of a server are known.
    pub role: Role,
    /// What [`super::config_path`] gave.
    pub path: ConfigPath,
    /// The file that `path` names. For a remote configuration: [`FileContent::Absent`].
    pub base: SourceFile,
    /// Every entry of the drop-in directory that is not a directory itself, in any order. Which of
    /// them count, and in which order, is decided by [`super::resolve`]; the caller may leave out
    /// what [`super::is_drop_in`] refuses. Paths must be full ones.
    pub drop_ins: Vec<SourceFile>,
    /// The directory and the reason, where it exists and could not be read.
    pub drop_in_dir_error: Option<(String, String)>,
    /// The unit's environment; a later variable of the same name wins.
    pub environment: Vec<Variable>,
    /// The words of `ExecStart=` after the binary; may be empty where no unit was found.
    pub arguments: Vec<String>,
    /// Where `ExecStart=` stands.
    pub arguments_origin: Option<Origin>,
}

impl Inputs {
    /// No file, no environment, no argument: what RKE2 does without any configuration.
    pub fn none(role: Role) -> Self {
        Self {
            role,
            path: ConfigPath::File { path: DEFAULT_CONFIG.into(), origin: None },
            base: SourceFile { path: DEFAULT_CONFIG.into(), content: FileContent::Absent },
            drop_ins: Vec::new(),
            drop_in_dir_error: None,
            environment: Vec::new(),
            arguments: Vec::new(),
            arguments_origin: None,
        }
    }
}

/// Where RKE2 looks for its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigPath {
    /// A path; a relative one is meant from the unit's working directory (`/` by default).
    File {
        path: String,
        /// What named it; `None` for the default.
        origin: Option<Origin>,
    },
    /// An http or https address. nodeguard does not fetch it.
    Remote { url: String, origin: Origin },
    /// `--config` is the last word of the command line, and RKE2 does not start; or it is empty,
    /// and RKE2 starts without any of its files.
    Missing { origin: Origin },
}

impl ConfigPath {
    /// The file to read, if it is one.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Remote { .. } | Self::Missing { .. } => None,
        }
    }

    /// The directory of drop-ins that goes with the file.
    pub fn drop_in_dir(&self) -> Option<String> {
        self.file().map(|path| format!("{path}.d"))
    }
}

/// A value, and what set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    pub value: T,
    /// The key as it was written: `profile`, `RKE2_CIS_PROFILE`, `--profile`.
    pub key: String,
    /// `None` for RKE2's default.
    pub origin: Option<Origin>,
}

impl<T> Setting<T> {
    /// RKE2's default for `key`.
    pub fn default_of(key: &str, value: T) -> Self {
        Self { value, key: key.into(), origin: None }
    }

    /// Whether somebody set the value, and be it to the default.
    pub fn is_set(&self) -> bool {
        self.origin.is_some()
    }
}

/// RKE2's configuration: what wins after files, drop-ins, environment and command line.
///
/// Where a file could not be read or parsed, the others are resolved all the same, so that
/// everything that is wrong is known at once; [`Config::problems`] says that something is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub role: Role,
    pub path: ConfigPath,
    /// `None` where nobody set it; may be set to the empty string, which RKE2 takes as unset.
    pub profile: Option<Setting<String>>,
    pub data_dir: Setting<PathBuf>,
    /// `None` where nobody set it; RKE2 treats "not set" and "set to false" differently.
    pub protect_kernel_defaults: Option<Setting<bool>>,
    /// From `kubelet-arg: protect-kernel-defaults=…`, which the kubelet gets as it is.
    pub kubelet_protect_kernel_defaults: Option<Setting<bool>>,
    /// The same from a file of kind `KubeletConfiguration`, which the flag wins over; `None` until
    /// somebody has looked at them.
    pub kubelet_file_protect_kernel_defaults: Option<Setting<bool>>,
    /// Each `kubelet-arg`, in order.
    pub kubelet_args: Vec<Setting<String>>,
    /// What the kubelet refuses of its arguments and files.
    pub kubelet_problems: Vec<Problem>,
    pub disable_etcd: Setting<bool>,
    pub datastore_endpoint: Option<Setting<String>>,
    pub server: Option<Setting<String>>,
    pub selinux: Setting<bool>,
    /// Each `etcd-arg`, in order.
    pub etcd_args: Vec<Setting<String>>,
    /// Each `etcd-extra-mount`, in order.
    pub etcd_extra_mounts: Vec<Setting<String>>,
    /// A profile that a file plainly means and RKE2 does not take, where none is set.
    pub meant: Option<Meant>,
    /// Neither the file nor a drop-in is there, so that RKE2 starts without any.
    pub has_no_file: bool,
    /// Files that look like its configuration and are not read; none until somebody has looked.
    pub beside: Vec<Beside>,
    pub problems: Vec<Problem>,
}

impl Config {
    /// A configuration in which nothing is set.
    pub fn unset(role: Role, path: ConfigPath) -> Self {
        Self {
            role,
            path,
            profile: None,
            data_dir: Setting::default_of("data-dir", PathBuf::from(DEFAULT_DATA_DIR)),
            protect_kernel_defaults: None,
            kubelet_protect_kernel_defaults: None,
            kubelet_file_protect_kernel_defaults: None,
            kubelet_args: Vec::new(),
            kubelet_problems: Vec::new(),
            disable_etcd: Setting::default_of("disable-etcd", false),
            datastore_endpoint: None,
            server: None,
            selinux: Setting::default_of("selinux", false),
            etcd_args: Vec::new(),
            etcd_extra_mounts: Vec::new(),
            meant: None,
            has_no_file: false,
            beside: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// The profile that is set, whether RKE2 knows it or not; never empty.
    pub fn profile(&self) -> Option<&Setting<String>> {
        self.profile.as_ref().filter(|setting| !setting.value.is_empty())
    }

    /// Whether something of it could not be read, so that what is not set here may be set all the
    /// same.
    pub fn is_incomplete(&self) -> bool {
        self.problems.iter().any(|problem| {
            matches!(
                problem.kind,
                ProblemKind::InvalidYaml
                    | ProblemKind::Unreadable
                    | ProblemKind::Misnamed
                    | ProblemKind::BeyondLimits
                    | ProblemKind::TooLong
                    | ProblemKind::EnvironmentUnknown
            )
        })
    }

    /// Whether a profile is set that this version of RKE2 takes.
    pub fn hardened(&self, version: Option<&semver::Version>) -> bool {
        self.profile().is_some_and(|profile| {
            !matches!(profile::judge(version, &profile.value), Verdict::Invalid { .. })
        })
    }

    /// Whether RKE2 or the kubelet will refuse to run on other kernel values than the hardened
    /// ones: under any profile but `etcd`, which asks for the account alone, or by the flag.
    ///
    /// With an invalid profile RKE2 does not start at all; the values are then kept as the
    /// operator meant them.
    pub fn kernel_defaults_in_force(&self) -> bool {
        let by_profile = self.profile().is_some_and(|profile| profile.value != profile::ETCD);
        let is_true =
            |setting: &Option<Setting<bool>>| setting.as_ref().is_some_and(|setting| setting.value);
        by_profile
            || is_true(&self.protect_kernel_defaults)
            || is_true(match self.kubelet_protect_kernel_defaults {
                Some(_) => &self.kubelet_protect_kernel_defaults,
                None => &self.kubelet_file_protect_kernel_defaults,
            })
    }

    /// Takes what RKE2 hands to the kubelet.
    pub(super) fn give_kubelet(&mut self, arguments: Vec<Setting<String>>) {
        let read = kubelet::arguments(&arguments, true);
        self.kubelet_protect_kernel_defaults = read.protect;
        self.kubelet_problems = read.problems;
        self.kubelet_args = arguments;
    }

    /// Whether this node runs an etcd of its own, with a data directory to guard.
    pub fn runs_local_etcd(&self) -> bool {
        self.role == Role::Server
            && !self.disable_etcd.value
            && self.datastore_endpoint.as_ref().is_none_or(|endpoint| endpoint.value.is_empty())
    }

    /// Whether a node of this role has an etcd of its own whose data directory is to be guarded.
    pub fn guarding(&self, role: Role, version: Option<&semver::Version>) -> bool {
        role == Role::Server && self.hardened(version) && self.runs_local_etcd()
    }

    /// What etcd's pod has besides its data directory, and can write: `SOURCE:TARGET`, which may go on
    /// with `:rw` or `:TYPE`'s two words.
    pub fn etcd_pod_mounts(&self) -> Vec<PathBuf> {
        let target = |mount: &Setting<String>| {
            let mut words = mount.value.split(':').skip(1);
            let target = words.next().filter(|target| target.starts_with('/'))?;
            let read_only = words.next().is_some_and(|word| word.eq_ignore_ascii_case("ro"));
            (!read_only).then(|| PathBuf::from(target))
        };
        self.etcd_extra_mounts.iter().filter_map(target).collect()
    }

    /// etcd's data directory, as RKE2 derives it.
    pub fn etcd_data_dir(&self) -> PathBuf {
        self.data_dir.value.join("server/db/etcd")
    }
}

/// Something in the configuration that RKE2 refuses, drops, or that we could not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    pub origin: Origin,
    /// The key, where one is concerned.
    pub key: Option<String>,
    /// RKE2's own words, or the system's.
    pub words: String,
    /// What would be right.
    pub expected: String,
}

impl Problem {
    /// There is more of something than we look at; `expected`: how much that is.
    pub fn beyond_limits(origin: Origin, words: String, expected: String) -> Self {
        Self { kind: ProblemKind::BeyondLimits, origin, key: None, words, expected }
    }
}

/// What a [`Problem`] means for RKE2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// RKE2 does not start: the file cannot be parsed.
    InvalidYaml,
    /// RKE2 does not start: the file or directory cannot be read.
    Unreadable,
    /// RKE2 does not start: it takes the name of a file for an address, and it is none.
    Misnamed,
    /// RKE2 does not start: a value or an argument it cannot use.
    InvalidValue,
    /// RKE2 does not start: the kernel does not take its command line.
    TooLong,
    /// RKE2 starts and silently leaves all its configuration files aside.
    Ignored,
    /// RKE2 may start; the file is beyond our limits and was not looked at.
    BeyondLimits,
    /// RKE2 may start; what systemd itself gives it could not be read.
    EnvironmentUnknown,
    /// The configuration comes over the network; not fetched.
    Remote,
    /// RKE2 skips the key, which is close to one that matters.
    Misspelt,
    /// RKE2 skips the key.
    UnknownKey,
}
