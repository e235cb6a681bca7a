// SPDX-License-Identifier: Apache-2.0
//! Gathering what this node's RKE2 is: its units, its configuration files, its version.

use std::path::{Path, PathBuf};
use std::time::Duration;

use semver::Version;

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

/// The version of the installed binary, asked once for each binary.
#[derive(Debug, Default)]
pub struct VersionCache {
    known: Option<(Identity, Option<Version>)>,
}

/// Path, device, inode, size, change time: a replaced or rewritten binary differs.
type Identity = (PathBuf, u64, u64, i64, i64, u64);

/// Looks at RKE2. `said`: the role the command line names.
pub fn observe(root: &Root, versions: &mut VersionCache, said: Option<Role>) -> Node {
    let units = Units {
        server: unit_facts(root, "rke2-server.service"),
        agent: unit_facts(root, "rke2-agent.service"),
    };
    let said = said.or_else(|| root.is_live().then(|| runtime::gate_role(root)).flatten());
    let role = units.role(said);
    let service = service(root, role);
    let (inputs, watched) = inputs(root, role, &service);
    let config = rke2::resolve(&inputs);
    let version = if root.is_live() { versions.get(root, &service) } else { None };
    Node { role, units, config, version, watched }
}

fn unit_facts(root: &Root, name: &str) -> UnitFacts {
    let installed = UNIT_DIRECTORIES.iter().any(|dir| exists(root, &Path::new(dir).join(name)));
    let enabled = ["/etc/systemd/system", "/run/systemd/system"].iter().any(|dir| {
        sorted_names(root, Path::new(dir)).unwrap_or_default().iter().any(|wants| {
            (has_suffix(wants, ".wants") || has_suffix(wants, ".requires"))
                && exists(root, &wants.join(name))
        })
    });
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
    let path = rke2::config_path(&service.arguments, service.exec_start.as_ref(), &environment);
    let file = absolute(path.file().unwrap_or(DEFAULT_CONFIG));
    let mut inputs = Inputs {
        path,
        environment,
        arguments: service.arguments.clone(),
        arguments_origin: service.exec_start.clone(),
        ..Inputs::none(role)
    };
    let mut watched = vec![file.clone()];
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
    fn get(&mut self, root: &Root, service: &Service) -> Option<Version> {
        let path = service
            .binary
            .as_deref()
            .into_iter()
            .chain(BINARIES)
            .map(PathBuf::from)
            .find(|path| exists(root, path))?;
        let stat = rustix::fs::stat(&path).ok()?;
        let identity = (
            path.clone(),
            stat.st_dev,
            stat.st_ino,
            stat.st_size,
            stat.st_ctime,
            stat.st_ctime_nsec,
        );
        if let Some((known, version)) = &self.known
            && *known == identity
        {
            return version.clone();
        }
        let version = command::run(&path, ["--version"], VERSION_LIMIT)
            .ok()
            .and_then(|output| rke2::parse_version(&output).ok());
        self.known = Some((identity, version.clone()));
        version
    }
}
