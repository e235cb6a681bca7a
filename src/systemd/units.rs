// SPDX-License-Identifier: Apache-2.0
//! RKE2's units as systemd would load them: the unit file and its drop-ins (`search_path.rs`), the
//! manager's own default environment, environment files. What no file has, `systemctl
//! set-environment`, is asked of systemd (`environment.rs`).

use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use crate::model::Origin;
use crate::rke2::unit::MAX_TOGETHER;
use crate::rke2::unit::{self, EnvironmentFile, Manager, Service, UnitText};
use crate::rke2::{MAX_FILE_SIZE, Problem, ProblemKind, Variable, env_file};
use crate::sysctl_d::glob;
use crate::system::HostError;
use crate::system::listing::{exists, is_directory, sorted_names};
use crate::system::root::Root;
use crate::systemd::environment;
use crate::systemd::pulls::Pulls;
use crate::systemd::search_path::{self, MANAGER, MAX_FILES, drop_in_directories, fragment};

/// Bytes of all units together, and once more of all environment files.
const MAX_TEXT: usize = 4 << 20;

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
    /// What of this could not be read.
    pub unknown: Vec<Problem>,
    /// The names that `PassEnvironment=` takes from where we cannot read, and the reason.
    unread: Option<Unread>,
    /// Mounts that it has systemd make before it.
    pub pulls: Pulls,
    /// Directories whose change may change this.
    pub directories: Vec<PathBuf>,
}

/// Variables of RKE2's that systemd has and that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unread {
    variables: Vec<(String, Origin)>,
    reason: String,
}

/// How a unit starts its service.
pub(crate) fn read(root: &Root, name: &'static str) -> Unit {
    let mut directories: Vec<PathBuf> =
        drop_in_directories(name).into_iter().filter(|dir| is_directory(root, dir)).collect();
    let mut files: Vec<PathBuf> = fragment(root, name).into_iter().collect();
    let mut unknown: Vec<Problem> = Vec::new();
    files.extend(drop_ins(root, &directories, &mut unknown));
    let texts = texts(root, &files, &mut unknown);
    let service = unit::parse(name, &texts);
    if let Some(origin) = &service.left_out {
        unknown.push(beyond(
            origin.clone(),
            format!("the unit's words are longer than {MAX_TOGETHER} bytes in all"),
        ));
    }
    let mut manager = manager(root, &mut unknown);
    unknown.extend(add_asked(root, &mut manager.defaults).err());
    let (passed, unread) = passed(root, Path::new("/proc/1/environ"), &service, &manager.own);
    directories.extend(["/etc/systemd/system", "/run/systemd/system"].map(PathBuf::from));
    Unit {
        name,
        service,
        files: texts.iter().map(|text| PathBuf::from(&text.path)).collect(),
        defaults: manager.defaults,
        passed,
        unknown,
        unread,
        pulls: Pulls::of(&texts),
        directories,
    }
}

/// The texts of a unit's file and of its drop-ins, as far as they are not too long; empty where it has
/// no file.
pub(super) fn loaded(root: &Root, name: &str) -> Vec<UnitText> {
    let Some(fragment) = fragment(root, name) else { return Vec::new() };
    let drop_ins = drop_in_directories(name);
    let drop_ins: Vec<_> = drop_ins.into_iter().filter(|dir| is_directory(root, dir)).collect();
    let files = [vec![fragment], search_path::drop_ins(root, &drop_ins).files].concat();
    texts(root, &files, &mut Vec::new())
}

/// The drop-ins that are read, in their order.
fn drop_ins(root: &Root, directories: &[PathBuf], problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let found = search_path::drop_ins(root, directories);
    let beyond =
        |(dir, words): (PathBuf, String)| beyond(Origin::file(dir.display().to_string()), words);
    problems.extend(found.incomplete.map(beyond));
    found.files
}

/// What the files say, as far as they are not too long together.
fn texts(root: &Root, files: &[PathBuf], problems: &mut Vec<Problem>) -> Vec<UnitText> {
    let mut left = MAX_TEXT;
    let mut out = Vec::new();
    for path in files {
        let read = root.read(path, MAX_FILE_SIZE);
        let path = path.display().to_string();
        let content = match read {
            Ok(Some(content)) => content,
            Err(e @ HostError::TooLarge { .. }) => {
                problems.push(beyond(Origin::file(path), e.to_string()));
                continue;
            }
            Ok(None) | Err(_) => continue,
        };
        match left.checked_sub(content.len()) {
            Some(rest) => left = rest,
            None => {
                let words = format!("more than {MAX_TEXT} bytes in all unit files and drop-ins");
                problems.push(beyond(Origin::file(path), words));
                break;
            }
        }
        out.push(UnitText { path, content });
    }
    out
}

/// What is not looked at, since there is too much of it.
fn beyond(origin: Origin, words: String) -> Problem {
    let expected = format!(
        "at most {MAX_FILES} files of at most {MAX_TEXT} bytes together, and at most {MAX_TOGETHER} \
         bytes of words and variables"
    );
    Problem::beyond_limits(origin, words, expected)
}

fn manager(root: &Root, problems: &mut Vec<Problem>) -> Manager {
    let main = MANAGER.iter().map(|dir| Path::new(dir).join("system.conf"));
    let directories: Vec<PathBuf> =
        MANAGER.iter().map(|dir| Path::new(dir).join("system.conf.d")).collect();
    let mut files: Vec<PathBuf> = main.filter(|path| exists(root, path)).take(1).collect();
    files.extend(drop_ins(root, &directories, problems));
    unit::manager(&texts(root, &files, problems))
}

/// Adds what `systemctl set-environment` gave to all services.
fn add_asked(root: &Root, defaults: &mut Vec<Variable>) -> Result<(), Problem> {
    // Only the systemd that runs this host can be asked.
    let asked = if root.is_live() { environment::ask() } else { None };
    let origin = Origin::file("systemctl set-environment");
    let asked = asked.unwrap_or_else(|| Ok(Vec::new())).map_err(|reason| Problem {
        kind: ProblemKind::EnvironmentUnknown,
        origin: origin.clone(),
        key: None,
        words: format!("systemd's own variables for all services cannot be read: {reason}"),
        expected: format!("an answer of systemd's on {}", environment::SOCKET),
    })?;
    for variable in unit::assignments(asked.iter().map(String::as_str), &origin) {
        // What a file gives has its line already.
        let known = defaults.iter().rev().find(|known| known.name == variable.name);
        if known.is_none_or(|known| known.value != variable.value) {
            defaults.push(variable);
        }
    }
    Ok(())
}

/// systemd's own variables that the service gets by name. Those it was started with are in /proc,
/// those it gave itself in its configuration. `environ` is the former's file.
fn passed(
    root: &Root,
    environ: &Path,
    service: &Service,
    own: &[Variable],
) -> (Vec<Variable>, Option<Unread>) {
    if service.passed.is_empty() || !root.is_live() {
        return (Vec::new(), None);
    }
    // The kernel shows them to those only who have every capability that systemd has.
    let content = match root.read(environ, MAX_FILE_SIZE) {
        Ok(Some(content)) => Ok(content),
        Ok(None) => Err(format!("{}: {NO_SUCH_FILE}", environ.display())),
        Err(e) => Err(e.to_string()),
    };
    let text = String::from_utf8_lossy(content.as_deref().unwrap_or_default()).into_owned();
    let mut all = unit::assignments(text.split('\0'), &Origin::file(environ.display().to_string()));
    all.extend(own.iter().cloned());
    let mut found = Vec::new();
    let mut variables = Vec::new();
    for (name, origin) in &service.passed {
        match all.iter().rev().find(|variable| variable.name == *name) {
            Some(variable) => {
                found.push(Variable { origin: origin.clone(), ..variable.clone() });
            }
            None if name.starts_with("RKE2_") => variables.push((name.clone(), origin.clone())),
            None => {}
        }
    }
    let unread = content.err().filter(|_| !variables.is_empty());
    (found, unread.map(|reason| Unread { variables, reason }))
}

/// Where one of the variables reaches RKE2: nothing that counts more sets it or takes it away.
fn unread(unit: &Unit, set: &[Variable]) -> Option<Problem> {
    let Unread { variables, reason } = unit.unread.as_ref()?;
    let mut open: Vec<Variable> = variables
        .iter()
        .filter(|(name, _)| !set.iter().any(|variable| variable.name == *name))
        .map(|(name, origin)| Variable {
            name: name.clone(),
            value: String::new(),
            origin: origin.clone(),
        })
        .collect();
    unit::unset(&mut open, &unit.service.unset);
    let names: Vec<_> = open.iter().map(|variable| variable.name.as_str()).collect();
    Some(Problem {
        kind: ProblemKind::EnvironmentUnknown,
        origin: open.first()?.origin.clone(),
        key: Some("PassEnvironment".into()),
        words: format!("{} of systemd's own cannot be read: {reason}", names.join(", ")),
        expected: "`Environment=` with the value in the place of `PassEnvironment=`".into(),
    })
}

/// The environment that systemd gives the service, a later variable winning, and what keeps
/// systemd from making it.
pub(crate) fn environment(root: &Root, unit: &Unit) -> (Vec<Variable>, Vec<Problem>) {
    let mut variables = [&unit.defaults[..], &unit.passed, &unit.service.environment].concat();
    let mut set = unit.service.environment.clone();
    let mut problems = unit.unknown.clone();
    let (mut files, mut bytes) = (0, 0);
    let mut size = variables.iter().map(Variable::size).sum::<usize>();
    'all: for file in &unit.service.environment_files {
        let paths = named(root, &file.path);
        if paths.is_empty() && !file.optional {
            problems.push(unloadable(file, &file.path, NO_SUCH_FILE));
        }
        for path in paths {
            let shown = path.display().to_string();
            files += 1;
            match load(root, &path) {
                Loaded::Variables(found, read) => {
                    bytes += read;
                    size += found.iter().map(Variable::size).sum::<usize>();
                    if files > MAX_FILES || bytes > MAX_TEXT || size > MAX_TOGETHER {
                        let words = "more environment files, or more in them, than are read";
                        problems.push(beyond(file.origin.clone(), words.into()));
                        break 'all;
                    }
                    set.extend(found.iter().cloned());
                    variables.extend(found);
                }
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
    problems.extend(unread(unit, &set));
    unit::unset(&mut variables, &unit.service.unset);
    (variables, problems)
}

const NO_SUCH_FILE: &str = "No such file or directory";

/// What an environment file is to systemd.
enum Loaded {
    /// The variables of the file, and how many bytes were read for them.
    Variables(Vec<Variable>, usize),
    /// systemd cannot load it; its words.
    Never(&'static str),
    /// systemd may well load it, and we do not; why.
    Unread(String),
}

/// systemd reads whatever can be read, /dev/null as an empty file, to 64 MiB.
fn load(root: &Root, path: &Path) -> Loaded {
    if is_null_device(root, path) {
        return Loaded::Variables(Vec::new(), 0);
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
    Loaded::Variables(variables, content.len())
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
    use crate::model::Role;
    use crate::rke2::{Config, ConfigPath};

    #[test]
    fn a_variable_of_rke2s_that_systemd_passes_and_that_cannot_be_read_is_a_problem() {
        let root = Root::host().unwrap();
        let missing = Path::new("/proc/1/there-is-no-such-file");
        for (passes, more, own, told) in [
            ("RKE2_CIS_PROFILE RKE2_X", "", "", Some("RKE2_CIS_PROFILE, RKE2_X of systemd's own")),
            ("HTTP_PROXY", "", "", None),
            ("RKE2_CIS_PROFILE", "Environment=RKE2_CIS_PROFILE=cis", "", None),
            ("RKE2_CIS_PROFILE", "UnsetEnvironment=RKE2_CIS_PROFILE", "", None),
            ("RKE2_CIS_PROFILE", "", "RKE2_CIS_PROFILE=cis", None),
        ] {
            let content = format!("[Service]\nPassEnvironment={passes}\n{more}\n").into_bytes();
            let text = UnitText { path: "/etc/unit".into(), content };
            let service = unit::parse("rke2-server.service", &[text]);
            let own = unit::assignments([own], &Origin::file("/etc/systemd"));
            let (passed, unread) = passed(&root, missing, &service, &own);
            let (_, problems) =
                environment(&root, &Unit { service, passed, unread, ..Unit::default() });
            let words: Vec<_> = problems.iter().map(|problem| problem.words.as_str()).collect();
            assert_eq!(words.len(), usize::from(told.is_some()), "{passes} {more}: {words:?}");
            let path = ConfigPath::File { path: "/c".into(), origin: None };
            let mut config = Config::unset(Role::Server, path);
            config.problems = problems.clone();
            assert_eq!(config.is_incomplete(), told.is_some(), "{passes} {more}");
            if let Some(told) = told {
                assert!(words[0].contains(told) && words[0].contains(NO_SUCH_FILE), "{words:?}");
                assert_eq!(problems[0].kind, ProblemKind::EnvironmentUnknown);
                assert_eq!(problems[0].origin, Origin::at("/etc/unit", 2));
            }
        }
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
