// SPDX-License-Identifier: Apache-2.0
//! RKE2's units as systemd would load them: every directory of its search path, drop-ins for the
//! unit, for its prefixes and for all services, the manager's own default environment. What no file
//! has, `systemctl set-environment`, is asked of systemd (`systemd_environment.rs`).

use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use super::HostError;
use super::observe::{exists, has_suffix, is_directory, sorted_names};
use super::root::Root;
use super::systemd_environment;
use crate::controls::rke2_config::UnitFacts;
use crate::model::Origin;
use crate::rke2::unit::{self, EnvironmentFile, Manager, Service, UnitText};
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
    /// What systemd gives every service.
    pub defaults: Vec<Variable>,
    /// What `PassEnvironment=` takes from systemd's own process.
    pub passed: Vec<Variable>,
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
    let service = unit::parse(name, &texts);
    let mut manager = manager(root);
    add_asked(root, &mut manager.defaults);
    let passed = passed(root, &service, &manager.own);
    directories.extend(["/etc/systemd/system", "/run/systemd/system"].map(PathBuf::from));
    Unit {
        name,
        service,
        files: texts.into_iter().map(|text| PathBuf::from(text.path)).collect(),
        defaults: manager.defaults,
        passed,
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

fn manager(root: &Root) -> Manager {
    let main = MANAGER.iter().map(|dir| Path::new(dir).join("system.conf"));
    let drop_ins: Vec<PathBuf> =
        MANAGER.iter().map(|dir| Path::new(dir).join("system.conf.d")).collect();
    let mut files: Vec<PathBuf> = main.filter(|path| exists(root, path)).take(1).collect();
    files.extend(fragments(root, &drop_ins));
    let texts: Vec<UnitText> = files.iter().filter_map(|path| text(root, path)).collect();
    unit::manager(&texts)
}

/// Adds what `systemctl set-environment` gave to all services.
fn add_asked(root: &Root, defaults: &mut Vec<Variable>) {
    // Only the systemd that runs this host can be asked.
    let asked = if root.is_live() { systemd_environment::ask() } else { None };
    let origin = Origin::file("systemctl set-environment");
    for variable in unit::assignments(asked.iter().flatten().map(String::as_str), &origin) {
        // What a file gives has its line already.
        let known = defaults.iter().rev().find(|known| known.name == variable.name);
        if known.is_none_or(|known| known.value != variable.value) {
            defaults.push(variable);
        }
    }
}

/// systemd's own variables that the service gets by name. Those it was started with are in /proc,
/// those it gave itself in its configuration.
fn passed(root: &Root, service: &Service, own: &[Variable]) -> Vec<Variable> {
    if service.passed.is_empty() || !root.is_live() {
        return Vec::new();
    }
    let path = "/proc/1/environ";
    let content = root.read(Path::new(path), MAX_FILE_SIZE).ok().flatten().unwrap_or_default();
    let content = String::from_utf8_lossy(&content);
    let mut all = unit::assignments(content.split('\0'), &Origin::file(path));
    all.extend(own.iter().cloned());
    service
        .passed
        .iter()
        .filter_map(|(name, origin)| {
            let variable = all.iter().rev().find(|variable| variable.name == *name)?;
            Some(Variable { origin: origin.clone(), ..variable.clone() })
        })
        .collect()
}

/// The environment that systemd gives the service, a later variable winning, and what keeps
/// systemd from making it.
pub(super) fn environment(root: &Root, unit: &Unit) -> (Vec<Variable>, Vec<Problem>) {
    let mut variables = [&unit.defaults[..], &unit.passed, &unit.service.environment].concat();
    let mut problems = Vec::new();
    for file in &unit.service.environment_files {
        let paths = named(root, &file.path);
        if paths.is_empty() && !file.optional {
            problems.push(unloadable(file, &file.path, NO_SUCH_FILE));
        }
        for path in paths {
            let shown = path.display().to_string();
            match load(root, &path) {
                Loaded::Variables(found) => variables.extend(found),
                // It goes without a file that it may go without, whatever is wrong with it.
                Loaded::Never(_) if file.optional => {}
                Loaded::Never(reason) => problems.push(unloadable(file, &shown, reason)),
                Loaded::Unread(reason) => problems.push(Problem {
                    kind: ProblemKind::BeyondLimits,
                    origin: Origin::file(shown),
                    key: Some("EnvironmentFile".into()),
                    words: reason,
                    expected: format!("a regular file of at most {MAX_FILE_SIZE} bytes"),
                }),
            }
        }
    }
    unit::unset(&mut variables, &unit.service.unset);
    (variables, problems)
}

const NO_SUCH_FILE: &str = "No such file or directory";

/// What an environment file is to systemd.
enum Loaded {
    Variables(Vec<Variable>),
    /// systemd cannot load it; its words.
    Never(&'static str),
    /// systemd may well load it, and we do not; why.
    Unread(String),
}

/// systemd reads whatever can be read, /dev/null as an empty file, to 64 MiB.
fn load(root: &Root, path: &Path) -> Loaded {
    if is_null_device(root, path) {
        return Loaded::Variables(Vec::new());
    }
    let content = match root.read(path, MAX_FILE_SIZE) {
        Ok(Some(content)) => content,
        Ok(None) => return Loaded::Never(NO_SUCH_FILE),
        Err(HostError::NotRegular { .. }) if is_directory(root, path) => {
            return Loaded::Never("Is a directory");
        }
        Err(e) => return Loaded::Unread(e.to_string()),
    };
    if content.contains(&0) {
        return Loaded::Never("Bad message");
    }
    let variables = env_file::parse(&path.display().to_string(), &content);
    let replaced = |variable: &Variable| {
        variable.name.contains(char::REPLACEMENT_CHARACTER)
            || variable.value.contains(char::REPLACEMENT_CHARACTER)
    };
    // Bytes that are no UTF-8 may stand in a comment and nowhere else.
    if variables.iter().any(replaced) && std::str::from_utf8(&content).is_err() {
        return Loaded::Never("Invalid argument");
    }
    Loaded::Variables(variables)
}

/// By name as well: an image may have no devices.
fn is_null_device(root: &Root, path: &Path) -> bool {
    let null = Path::new("/dev/null");
    path == null
        || root.read_link(path).is_ok_and(|target| target == null)
        || root.open(path, OFlags::PATH, Mode::empty()).and_then(rustix::fs::fstat).is_ok_and(
            |stat| {
                FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
                    && stat.st_rdev == rustix::fs::makedev(1, 3)
            },
        )
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

fn unloadable(file: &EnvironmentFile, path: &str, reason: &str) -> Problem {
    Problem {
        kind: ProblemKind::Unreadable,
        origin: file.origin.clone(),
        key: Some("EnvironmentFile".into()),
        words: format!("Failed to load environment files: {reason}: {path}"),
        expected: if reason == NO_SUCH_FILE {
            format!("a file {path}, or `-` before its name")
        } else {
            format!("{path} as a text file in UTF-8, or `-` before its name")
        },
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
    #[test]
    fn an_environment_file_that_only_we_do_not_read_is_not_taken_for_missing() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::image(dir.path()).unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/large"), vec![b'#'; MAX_FILE_SIZE + 1]).unwrap();
        let mut unit = Unit::default();
        for (path, kinds) in [
            ("/etc/large", &[ProblemKind::BeyondLimits][..]),
            ("/dev/null", &[]),
            ("/etc/none", &[ProblemKind::Unreadable]),
            ("/etc/none-*", &[ProblemKind::Unreadable]),
            ("/etc", &[ProblemKind::Unreadable]),
        ] {
            let (path, origin) = (path.to_owned(), Origin::at("/etc/unit", 2));
            unit.service.environment_files =
                vec![EnvironmentFile { path: path.clone(), optional: false, origin }];
            let (_, problems) = environment(&root, &unit);
            let found: Vec<_> = problems.iter().map(|problem| problem.kind).collect();
            assert_eq!(found, kinds, "{path}");
        }
    }
}
