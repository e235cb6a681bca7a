// SPDX-License-Identifier: Apache-2.0
//! Gathering what this node's RKE2 is: its units, its configuration files, its version.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use semver::Version;

use super::facts::Place;
use super::judge::mounts::keeps_cluster;
use super::judge::overrides;
use super::version::VersionCache;
use super::{Units, observe_beside, observe_kubelet, observe_place};
use crate::model::Role;
use crate::rke2::exec::{self, CommandLine, Fits, MAX_STRING};
use crate::rke2::unit::MAX_TOGETHER;
use crate::rke2::unit::Service;
use crate::rke2::{
    self, Config, DEFAULT_CONFIG, FileContent, Inputs, MAX_DROP_INS, MAX_FILE_SIZE, MAX_TOTAL_SIZE,
    Problem, ProblemKind, Release, SourceFile, Variable,
};
use crate::system::listing::{exists, sorted_names};
use crate::system::root::Root;
use crate::system::{HostError, mountinfo, runtime};
use crate::systemd::fstab;
use crate::systemd::promised;
use crate::systemd::search_path;
use crate::systemd::units::{self, Unit};

/// What a pass knows about RKE2 on this node.
#[derive(Debug)]
pub struct Node {
    pub role: Role,
    pub units: Units,
    /// The unit that starts RKE2; the server's where the role is not known.
    pub unit: Unit,
    /// What `config` was resolved from.
    pub inputs: Inputs,
    pub config: Config,
    /// Whether an agent has the certificate that a cluster gave it.
    pub joined: bool,
    /// Where its data directory is; `None` for an image.
    pub place: Option<Place>,
    pub version: Option<Version>,
    /// What an operator lets RKE2 do all the same.
    pub overrides: overrides::Facts,
    /// Directories whose change may change any of this.
    pub watched: Vec<PathBuf>,
}

/// Looks at RKE2. `said`: the role the command line names. `remember`: what its binary says of its
/// version may be written down.
pub fn observe(
    root: &Root,
    versions: &mut VersionCache,
    said: Option<Role>,
    remember: bool,
) -> Node {
    let mut units = Units {
        server: search_path::facts(root, "rke2-server.service"),
        agent: search_path::facts(root, "rke2-agent.service"),
    };
    // Where one is enabled, what still runs of the other is what its stop left behind
    // (KillMode=process), as on a server that was turned into an agent.
    units.server.active &= units.server.enabled || !units.agent.enabled;
    units.agent.active &= units.agent.enabled || !units.server.enabled;
    let said = said.or_else(|| root.is_live().then(|| runtime::gate_role(root)).flatten());
    let role = units.role(said);
    let unit = units::read(root, unit_name(role));
    let (environment, mut problems) = units::environment(root, &unit);
    let (mut inputs, mut watched, too_long) = inputs(root, role, &unit.service, environment);
    problems.extend(too_long);
    watched.extend(unit.directories.iter().cloned());
    watched.push(PathBuf::from(fstab::PATH));
    // Which flags there are depends on the version, and the version may have to be looked for in the
    // data directory that a flag names: every release has that one.
    let mut config = rke2::resolve(&inputs);
    let binary = unit.service.binary.as_deref();
    let version = versions.get(root, binary, &config.data_dir.value, remember);
    inputs.release = match &version {
        Some(version) => Release::of(version),
        None if root.is_live() && VersionCache::is_installed(root, binary) => Release::unknown(),
        None => Release::newest(),
    };
    if inputs.release != config.release {
        config = rke2::resolve(&inputs);
    }
    config.problems.extend(problems);
    let joined = has_certificate(root, &config.data_dir.value);
    let environment = &inputs.environment;
    watched.extend(observe_kubelet::observe(root, &mut config, version.as_ref(), environment));
    config.beside = observe_beside::observe(root, &inputs, &config);
    let place = observe_place::observe(root, &config, &unit.pulls);
    let overrides = super::overrides::observe(root, role);
    Node { role, units, unit, inputs, config, joined, place, version, overrides, watched }
}

/// Whether the two files are there by which an agent is known to its cluster.
fn has_certificate(root: &Root, data_dir: &Path) -> bool {
    let files = ["agent/client-kubelet.crt", "agent/client-kubelet.key"];
    data_dir.is_absolute() && files.iter().all(|file| exists(root, &data_dir.join(file)))
}

/// A mount that systemd is to make before RKE2.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct First {
    pub(crate) unit: String,
    /// RKE2's unit pulls it in: without it the gate keeps RKE2 down anyway, and a wish for any other
    /// mount would have each start of RKE2 wait for it once more.
    pub(crate) wanted: bool,
}

/// The mounts near RKE2's data that systemd makes by itself, for a role: by files alone. No program is
/// started and systemd is not asked, since it answers nobody while its generators run.
pub(crate) fn mounts(root: &Root, role: Role) -> Vec<First> {
    let unit = units::read(root, unit_name(role));
    let (environment, _) = units::environment(root, &unit);
    let (inputs, ..) = inputs(root, role, &unit.service, environment);
    let config = rke2::resolve(&inputs);
    let data_dir = &config.data_dir.value;
    if !data_dir.is_absolute() {
        return Vec::new();
    }
    let text = root.read(Path::new(mountinfo::PATH), mountinfo::LIMIT).ok().flatten();
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    let (near, described) = promised::near_data(root, data_dir, &unit.pulls, &text);
    let keeps = keeps_cluster(&config, None);
    let first = described.into_iter().filter(|it| it.promised && !it.late).map(|it| {
        let wanted = keeps && !it.noauto && near.holds_cluster(&it.place);
        First { unit: it.unit, wanted }
    });
    first.collect()
}

fn unit_name(role: Role) -> &'static str {
    match role {
        Role::Agent => "rke2-agent.service",
        Role::Server | Role::Unknown => "rke2-server.service",
    }
}

fn inputs(
    root: &Root,
    role: Role,
    service: &Service,
    environment: Vec<Variable>,
) -> (Inputs, Vec<PathBuf>, Option<Problem>) {
    // Where no unit is installed yet, RKE2's own defaults are all there is.
    let CommandLine { words: arguments, fits } =
        exec::command_line(&service.arguments, &environment);
    let too_long = too_long(service, fits);
    let path = rke2::config_path(&arguments, service.exec_start.as_ref(), &environment);
    let file = absolute(path.file().unwrap_or(DEFAULT_CONFIG));
    let mut inputs = Inputs {
        path,
        environment,
        arguments,
        arguments_origin: service.exec_start.clone(),
        ..Inputs::none(role)
    };
    let mut watched = vec![file.clone()];
    watched.extend(service.environment_files.iter().map(|file| absolute(&file.path)));
    let mut left = MAX_TOTAL_SIZE;
    if inputs.path.file().is_some() {
        inputs.base = source_file(root, &file, &mut left);
    }
    if let Some(dir) = inputs.path.drop_in_dir() {
        let dir = absolute(&dir);
        match drop_in_names(root, &dir) {
            Ok(paths) => {
                inputs.drop_ins =
                    paths.iter().map(|path| source_file(root, path, &mut left)).collect();
            }
            Err(e) => {
                inputs.drop_in_dir_error = Some((dir.display().to_string(), e.to_string()));
            }
        }
        watched.push(dir);
    }
    (inputs, watched, too_long)
}

/// What systemd says where the kernel does not take a command line with its environment.
fn too_long(service: &Service, fits: Fits) -> Option<Problem> {
    let binary = service.binary.as_deref().filter(|_| fits != Fits::Yes)?;
    let limits = format!(
        "arguments and variables of at most {MAX_STRING} bytes each and {MAX_TOGETHER} bytes \
         together"
    );
    let (kind, words) = match fits {
        Fits::Never => (
            ProblemKind::TooLong,
            format!("Failed at step EXEC spawning {binary}: Argument list too long"),
        ),
        _ => (
            ProblemKind::BeyondLimits,
            format!(
                "arguments and variables are longer than {MAX_TOGETHER} bytes together, with which \
                 {binary} can be started only where LimitSTACK= is raised"
            ),
        ),
    };
    Some(Problem {
        kind,
        origin: service.exec_start.clone()?,
        key: Some("ExecStart".into()),
        words,
        expected: limits,
    })
}

fn absolute(path: &str) -> PathBuf {
    Path::new("/").join(path)
}

fn drop_in_names(root: &Root, dir: &Path) -> Result<Vec<PathBuf>, HostError> {
    let mut paths = sorted_names(root, dir)?;
    // RKE2 forgives the directory only that it is not there, and not a file on the way to it.
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match root.open(dir, flags, Mode::empty()) {
        Ok(_) | Err(Errno::NOENT) => {}
        Err(e) => return Err(HostError::io("open", dir, e)),
    }
    paths.retain(|path| {
        // A name need not be text.
        path.file_name().is_some_and(|name| rke2::is_drop_in(&name.to_string_lossy()))
            // A link to one is read, and fails RKE2's start: Go's directory entry is the link.
            && !root.is_directory_itself(path)
    });
    // One more than counts, so that the resolver sees that there are too many.
    paths.truncate(MAX_DROP_INS + 1);
    Ok(paths)
}

/// `left`: what may still be read of all files together.
fn source_file(root: &Root, path: &Path, left: &mut usize) -> SourceFile {
    let content = match root.read(path, MAX_FILE_SIZE.min(*left)) {
        // RKE2 reads nothing from the null device, which an image may not have.
        _ if root.is_masked(path) => FileContent::Bytes(Vec::new()),
        Ok(Some(bytes)) => {
            *left -= bytes.len();
            FileContent::Bytes(bytes)
        }
        Ok(None) => FileContent::Absent,
        Err(HostError::TooLarge { .. }) => FileContent::TooLarge,
        Err(e) => FileContent::Unreadable(e.to_string()),
    };
    SourceFile { path: path.display().to_string(), content }
}
