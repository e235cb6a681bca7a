// SPDX-License-Identifier: Apache-2.0
//! RKE2's units as systemd would load them: every directory of its search path, drop-ins for the
//! unit, for its prefixes and for all services, the manager's own default environment.

use std::path::{Path, PathBuf};

use super::observe::{exists, has_suffix, is_directory, sorted_names};
use super::root::Root;
use crate::controls::rke2_config::UnitFacts;
use crate::rke2::unit::{self, EnvironmentFile, Service, UnitText};
use crate::rke2::{MAX_FILE_SIZE, Problem, ProblemKind, Variable, env_file};
use crate::sysctl_d::glob;

/// Where systemd looks for units, the first one wins (systemd.unit(5)).
const DIRECTORIES: [&str; 13] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    // Where /lib is a directory of its own; the same files otherwise.
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// The manager's own configuration and its drop-in directories, the first one wins.
const MANAGER: [&str; 4] =
    ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];

/// A unit as it is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    pub name: &'static str,
    /// The unit file and its drop-ins in the order in which they are applied.
    pub files: Vec<PathBuf>,
    pub service: Service,
    /// The manager's `DefaultEnvironment=`.
    pub defaults: Vec<Variable>,
    /// Directories whose change may change this.
    pub directories: Vec<PathBuf>,
}

/// Whether a unit is there, enabled, running.
pub(super) fn facts(root: &Root, name: &'static str) -> UnitFacts {
    let fragment = fragment(root, name);
    // systemd takes a link to /dev/null and an empty file alike.
    let masked = fragment.as_deref().is_some_and(|path| {
        root.is_masked(path) || root.stat(path).is_ok_and(|stat| stat.st_size == 0)
    });
    let wanted = DIRECTORIES.iter().any(|dir| {
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
    UnitFacts { installed: fragment.is_some(), enabled: wanted && !masked, active }
}

fn fragment(root: &Root, name: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|dir| Path::new(dir).join(name)).find(|path| exists(root, path))
}

/// How a unit starts its service.
pub(super) fn read(root: &Root, name: &'static str) -> Unit {
    let mut directories: Vec<PathBuf> =
        drop_in_directories(name).into_iter().filter(|dir| is_directory(root, dir)).collect();
    let mut files: Vec<PathBuf> = fragment(root, name).into_iter().collect();
    files.extend(fragments(root, &directories));
    let texts: Vec<UnitText> = files.iter().filter_map(|path| text(root, path)).collect();
    let defaults = manager(root);
    directories.extend(["/etc/systemd/system", "/run/systemd/system"].map(PathBuf::from));
    Unit {
        name,
        service: unit::parse(name, &texts),
        files: texts.into_iter().map(|text| PathBuf::from(text.path)).collect(),
        defaults,
        directories,
    }
}

/// The drop-in directories of a unit, the first one wins: in each directory of the search path
/// that of `rke2-server.service` and that of its prefix `rke2-`, and after all of them those of all
/// services.
fn drop_in_directories(unit: &str) -> Vec<PathBuf> {
    let (mut stem, suffix) = unit.rsplit_once('.').unwrap_or((unit, "service"));
    let mut names = vec![format!("{unit}.d")];
    while let Some((prefix, _)) = stem.rsplit_once('-') {
        names.push(format!("{prefix}-.{suffix}.d"));
        stem = prefix;
    }
    let below = |names: &[String]| -> Vec<PathBuf> {
        DIRECTORIES
            .iter()
            .flat_map(|dir| names.iter().map(move |name| Path::new(dir).join(name)))
            .collect()
    };
    [below(&names), below(&[format!("{suffix}.d")])].concat()
}

/// The drop-ins of all directories, sorted by name together; of two of the same name the one in
/// the earlier directory counts, and a link to /dev/null there takes the later ones away.
fn fragments(root: &Root, directories: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for dir in directories {
        for path in sorted_names(root, dir).unwrap_or_default() {
            let known = found.iter().any(|known| known.file_name() == path.file_name());
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            if has_suffix(&path, ".conf") && !known && !hidden {
                found.push(path);
            }
        }
    }
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    found
}

fn text(root: &Root, path: &Path) -> Option<UnitText> {
    let content = root.read(path, MAX_FILE_SIZE).ok()??;
    Some(UnitText { path: path.display().to_string(), content })
}

fn manager(root: &Root) -> Vec<Variable> {
    let main = MANAGER.iter().map(|dir| Path::new(dir).join("system.conf"));
    let drop_ins: Vec<PathBuf> =
        MANAGER.iter().map(|dir| Path::new(dir).join("system.conf.d")).collect();
    let mut files: Vec<PathBuf> = main.filter(|path| exists(root, path)).take(1).collect();
    files.extend(fragments(root, &drop_ins));
    let texts: Vec<UnitText> = files.iter().filter_map(|path| text(root, path)).collect();
    unit::default_environment(&texts)
}

/// The environment that systemd gives the service, a later variable winning, and what keeps
/// systemd from making it.
pub(super) fn environment(root: &Root, unit: &Unit) -> (Vec<Variable>, Vec<Problem>) {
    let mut variables = [&unit.defaults[..], &unit.service.environment].concat();
    let mut problems = Vec::new();
    for file in &unit.service.environment_files {
        let mut met = false;
        for path in named(root, &file.path) {
            if let Ok(Some(content)) = root.read(&path, MAX_FILE_SIZE) {
                met = true;
                variables.extend(env_file::parse(&path.display().to_string(), &content));
            }
        }
        if !met && !file.optional {
            problems.push(missing(file));
        }
    }
    unit::unset(&mut variables, &unit.service.unset);
    (variables, problems)
}

/// The files that an `EnvironmentFile=` names; wildcards count in the last component only.
fn named(root: &Root, pattern: &str) -> Vec<PathBuf> {
    let path = PathBuf::from(pattern);
    let (Some(dir), true) = (path.parent(), pattern.contains(['*', '?', '['])) else {
        return vec![path];
    };
    let mut names = sorted_names(root, dir).unwrap_or_default();
    names.retain(|path| path.to_str().is_some_and(|path| glob::components(pattern, path)));
    names
}

fn missing(file: &EnvironmentFile) -> Problem {
    Problem {
        kind: ProblemKind::Unreadable,
        origin: file.origin.clone(),
        key: Some("EnvironmentFile".into()),
        words: format!(
            "Failed to load environment files: No such file or directory: {}",
            file.path
        ),
        expected: format!("a file {}, or `-` before its name", file.path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_drop_ins_of_its_own_of_its_prefix_and_of_all_services() {
        let directories = drop_in_directories("rke2-server.service");
        let at = |path: &str| directories.iter().position(|dir| dir == Path::new(path)).unwrap();
        let etc = "/etc/systemd/system";
        let run = "/run/systemd/system";
        let order = [
            at(&format!("{etc}/rke2-server.service.d")),
            at(&format!("{etc}/rke2-.service.d")),
            at(&format!("{run}/rke2-server.service.d")),
            at(&format!("{etc}/service.d")),
            at(&format!("{run}/service.d")),
        ];
        assert!(order.is_sorted(), "{order:?}");
    }
}
