// SPDX-License-Identifier: Apache-2.0
//! Gathering what this node's RKE2 is: its units, its configuration files, its version.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::observe::{exists, has_suffix, is_directory, sorted_names};
use super::root::Root;
use super::{HostError, command, runtime};
use crate::controls::rke2_config::{UnitFacts, Units};
use crate::model::Role;
use crate::rke2::unit::{self, Service, UnitText};
use crate::rke2::{
    self, Config, DEFAULT_CONFIG, FileContent, Inputs, MAX_DROP_INS, MAX_FILE_SIZE, SourceFile,
};

/// Where systemd looks for units, the first one wins.
const UNIT_DIRECTORIES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Where RKE2's installers put the binary (rke2-facts, section 3).
const BINARIES: [&str; 3] = ["/usr/bin/rke2", "/usr/local/bin/rke2", "/opt/rke2/bin/rke2"];

/// `rke2 --version` prints two lines and ends.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// After a binary that gave no version it is asked again.
const RETRY: Duration = Duration::from_secs(60);

/// What a pass knows about RKE2 on this node.
#[derive(Debug)]
pub struct Node {
    pub role: Role,
    pub units: Units,
    pub config: Config,
    pub version: Option<Version>,
    /// Directories whose change may change any of this.
    pub watched: Vec<PathBuf>,
}

/// The version of the installed binary. Asking it takes a good part of a second, so it is asked
/// once for each binary, and the answer kept over restarts and reboots.
#[derive(Debug, Default)]
pub struct VersionCache {
    known: Option<Known>,
    failed: Option<Instant>,
}

/// What a binary answered. A replaced or rewritten binary differs in one of the numbers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    binary: PathBuf,
    device: u64,
    inode: u64,
    size: i64,
    /// Of the last change of the inode, which nobody can set: seconds and nanoseconds.
    changed: (i64, u64),
    version: Option<Version>,
}

impl Known {
    fn same_binary(&self, other: &Self) -> bool {
        (&self.binary, self.device, self.inode, self.size, self.changed)
            == (&other.binary, other.device, other.inode, other.size, other.changed)
    }
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
        server: unit_facts(root, "rke2-server.service"),
        agent: unit_facts(root, "rke2-agent.service"),
    };
    // Where one is enabled, what still runs of the other is what its stop left behind
    // (KillMode=process), as on a server that was turned into an agent.
    units.server.active &= units.server.enabled || !units.agent.enabled;
    units.agent.active &= units.agent.enabled || !units.server.enabled;
    let said = said.or_else(|| root.is_live().then(|| runtime::gate_role(root)).flatten());
    let role = units.role(said);
    let service = service(root, role);
    let (inputs, watched) = inputs(root, role, &service);
    let config = rke2::resolve(&inputs);
    let version = if root.is_live() { versions.get(root, &service, remember) } else { None };
    Node { role, units, config, version, watched }
}

fn unit_facts(root: &Root, name: &str) -> UnitFacts {
    let installed = UNIT_DIRECTORIES.iter().any(|dir| exists(root, &Path::new(dir).join(name)));
    let masked = UNIT_DIRECTORIES.iter().any(|dir| {
        let target = root.read_link(&Path::new(dir).join(name));
        target.is_ok_and(|target| target == Path::new("/dev/null"))
    });
    let wanted = ["/etc/systemd/system", "/run/systemd/system"].iter().any(|dir| {
        sorted_names(root, Path::new(dir)).unwrap_or_default().iter().any(|wants| {
            (has_suffix(wants, ".wants") || has_suffix(wants, ".requires"))
                && exists(root, &wants.join(name))
        })
    });
    let enabled = wanted && !masked;
    // A unit that runs has a control group; asking systemd would need the bus.
    let active = root.is_live()
        && ["/sys/fs/cgroup/system.slice", "/sys/fs/cgroup/systemd/system.slice"]
            .iter()
            .any(|slice| is_directory(root, &Path::new(slice).join(name)));
    UnitFacts { installed, enabled, active }
}

/// How the unit of `role` starts RKE2; of the server where the role is not known.
fn service(root: &Root, role: Role) -> Service {
    let name = match role {
        Role::Agent => "rke2-agent.service",
        Role::Server | Role::Unknown => "rke2-server.service",
    };
    let mut texts = Vec::new();
    let fragment = UNIT_DIRECTORIES
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| exists(root, path));
    texts.extend(fragment.and_then(|path| unit_text(root, path)));
    // Drop-ins of all directories are sorted by name together; of two of the same name the one in
    // the earlier directory counts.
    let mut drop_ins: Vec<PathBuf> = Vec::new();
    for dir in UNIT_DIRECTORIES {
        let dir = Path::new(dir).join(format!("{name}.d"));
        for path in sorted_names(root, &dir).unwrap_or_default() {
            let masked = drop_ins.iter().any(|known| known.file_name() == path.file_name());
            if has_suffix(&path, ".conf") && !masked {
                drop_ins.push(path);
            }
        }
    }
    drop_ins.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    texts.extend(drop_ins.into_iter().filter_map(|path| unit_text(root, path)));
    unit::parse(name, &texts)
}

fn unit_text(root: &Root, path: PathBuf) -> Option<UnitText> {
    let content = root.read(&path, MAX_FILE_SIZE).ok()??;
    Some(UnitText { path: path.display().to_string(), content })
}

fn inputs(root: &Root, role: Role, service: &Service) -> (Inputs, Vec<PathBuf>) {
    let mut environment = service.environment.clone();
    for file in &service.environment_files {
        if let Ok(Some(content)) = root.read(Path::new(&file.path), MAX_FILE_SIZE) {
            environment.extend(rke2::env_file::parse(&file.path, &content));
        }
    }
    // Where no unit is installed yet, RKE2's own defaults are all there is.
    let arguments = unit::substitute(&service.arguments, &environment);
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
    if inputs.path.file().is_some() {
        inputs.base = source_file(root, &file);
    }
    if let Some(dir) = inputs.path.drop_in_dir() {
        let dir = absolute(&dir);
        match drop_in_names(root, &dir) {
            Ok(paths) => {
                inputs.drop_ins = paths.iter().map(|path| source_file(root, path)).collect();
            }
            Err(e) => {
                inputs.drop_in_dir_error = Some((dir.display().to_string(), e.to_string()));
            }
        }
        watched.push(dir);
    }
    (inputs, watched)
}

fn absolute(path: &str) -> PathBuf {
    Path::new("/").join(path)
}

fn drop_in_names(root: &Root, dir: &Path) -> Result<Vec<PathBuf>, HostError> {
    let mut paths = sorted_names(root, dir)?;
    paths.retain(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(rke2::is_drop_in)
            && !is_directory(root, path)
    });
    // One more than counts, so that the resolver sees that there are too many.
    paths.truncate(MAX_DROP_INS + 1);
    Ok(paths)
}

fn source_file(root: &Root, path: &Path) -> SourceFile {
    let content = match root.read(path, MAX_FILE_SIZE) {
        Ok(Some(bytes)) => FileContent::Bytes(bytes),
        Ok(None) => FileContent::Absent,
        Err(HostError::TooLarge { .. }) => FileContent::TooLarge,
        Err(e) => FileContent::Unreadable(e.to_string()),
    };
    SourceFile { path: path.display().to_string(), content }
}

impl VersionCache {
    fn get(&mut self, root: &Root, service: &Service, remember: bool) -> Option<Version> {
        let path = service
            .binary
            .as_deref()
            .into_iter()
            .chain(BINARIES)
            .map(PathBuf::from)
            // A wrapper with another name is not asked: it may start a server instead.
            .find(|path| path.ends_with("rke2") && exists(root, path))?;
        let stat = rustix::fs::stat(&path).ok()?;
        let mut found = Known {
            binary: path,
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
            version: None,
        };
        if self.known.is_none() {
            self.known = runtime::read_version(root)
                .and_then(|content| serde_json::from_slice(&content).ok());
        }
        if let Some(known) = self.known.as_ref().filter(|known| known.same_binary(&found)) {
            return known.version.clone();
        }
        if self.failed.is_some_and(|at| at.elapsed() < RETRY) {
            return None;
        }
        found.version = command::run(&found.binary, ["--version"], VERSION_LIMIT)
            .ok()
            .and_then(|output| rke2::parse_version(&output).ok());
        if found.version.is_none() {
            // A slow disk at boot is no answer for good.
            self.failed = Some(Instant::now());
            return None;
        }
        if remember && let Ok(json) = serde_json::to_string(&found) {
            // Without it the next start asks again, and that is all.
            let _ = runtime::write_version(root, &json);
        }
        self.known.insert(found).version.clone()
    }
}
