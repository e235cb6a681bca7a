// SPDX-License-Identifier: Apache-2.0
//! Looking at the files that the kubelet reads: the ones that `kubelet-arg` names, and those in RKE2's
//! own directory of drop-ins.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use semver::Version;

use crate::model::{Origin, shown};
use crate::rke2::kubelet::{self, COPIED_DIR, COPIED_FILE, DEFAULTS, DROP_IN_DIR};
use crate::rke2::shown::source;
use crate::rke2::{Config, FileContent, Problem, ProblemKind, Setting, SourceFile, Variable};
use crate::system::HostError;
use crate::system::listing::exists;
use crate::system::root::Root;

/// Entries of one directory.
const ENTRIES: usize = 1024;

/// Entries of all directories together.
const ALL_ENTRIES: usize = 4096;

/// Directories within one another that are looked into.
const DEPTH: usize = 8;

/// Completes `config` by what the kubelet's files say, and gives the paths whose change may change
/// that.
pub(super) fn observe(
    root: &Root,
    config: &mut Config,
    version: Option<&Version>,
    environment: &[Variable],
) -> Vec<PathBuf> {
    let drop_ins = kubelet::has_drop_ins(version);
    let given = kubelet::arguments(&config.kubelet_args, drop_ins);
    let mut looking = Looking {
        root,
        left: kubelet::MAX_TOTAL,
        entries: Some(ALL_ENTRIES),
        problems: given.problems.clone(),
    };
    let own = Path::new("/").join(&config.data_dir.value).join(DROP_IN_DIR);
    let mut watched = Vec::new();
    // By their place in the directory, in whose order the kubelet goes through it.
    let mut files = BTreeMap::new();
    let dir = given.dir.as_ref().map(|dir| absolute(&dir.value));
    let unknown = |problem: &Problem| problem.kind == ProblemKind::EnvironmentUnknown;
    let environment = (!config.problems.iter().any(unknown)).then_some(environment);
    let refused = given
        .dir
        .as_ref()
        .zip(version)
        .and_then(|(dir, version)| kubelet::refused_dir(dir, version, environment));
    let is_empty = given.dir.as_ref().is_some_and(|dir| dir.value.is_empty());
    match &dir {
        // The kubelet reads none of it.
        Some(_) if refused.is_some() || is_empty => {}
        Some(dir) => looking.walk(dir, &[], &mut files),
        None if drop_ins => {
            looking.walk(&own, &[], &mut files);
            looking.copied(&own, &given, &mut files, &mut watched);
            // RKE2 writes it anew.
            files.remove(&vec![OsString::from(DEFAULTS)]);
            watched.push(own);
        }
        None => {}
    }
    looking.problems.extend(refused);
    watched.extend(dir.filter(|_| !is_empty));
    let main = given.file.as_ref().map(|file| absolute(&file.value));
    let main = main.map(|path| {
        watched.push(path.clone());
        SourceFile { path: named(&path), ..looking.file(&path) }
    });
    if files.len() > kubelet::MAX_FILES {
        let words = format!("{} files of the kubelet's", files.len());
        let expected = format!("at most {} such files", kubelet::MAX_FILES);
        let origin = Origin::file(shown(watched.last().map_or(Path::new("/"), PathBuf::as_path)));
        looking.problems.push(Problem::beyond_limits(origin, words, expected));
    }
    let files: Vec<_> =
        files.values().take(kubelet::MAX_FILES).map(|path| looking.file(path)).collect();
    let read = kubelet::read(main.as_ref(), &files, config.release);
    config.kubelet_protect_kernel_defaults = given.protect;
    config.kubelet_file_protect_kernel_defaults = read.protect;
    config.kubelet_problems = looking.problems;
    config.kubelet_problems.extend(read.problems);
    watched
}

/// Relative to the directory that RKE2's unit starts it in.
fn absolute(path: &str) -> PathBuf {
    Path::new("/").join(path)
}

/// A path that an argument names: it may be anything that stands where a path should.
fn named(path: &Path) -> String {
    source(&path.to_string_lossy())
}

type Files = BTreeMap<Vec<OsString>, PathBuf>;

struct Looking<'r> {
    root: &'r Root,
    /// Bytes that may still be read.
    left: usize,
    /// Entries that may still be listed; `None`: there were more, which was told.
    entries: Option<usize>,
    problems: Vec<Problem>,
}

impl Looking<'_> {
    fn file(&mut self, path: &Path) -> SourceFile {
        let content = match self.root.read(path, kubelet::MAX_SIZE.min(self.left)) {
            Ok(Some(bytes)) => {
                self.left -= bytes.len();
                FileContent::Bytes(bytes)
            }
            Ok(None) => FileContent::Absent,
            Err(HostError::TooLarge { .. }) => FileContent::TooLarge,
            Err(e) => FileContent::Unreadable(e.to_string()),
        };
        SourceFile { path: shown(path), content }
    }

    /// The drop-ins below a directory. Go walks into directories and into no link to one.
    fn walk(&mut self, dir: &Path, place: &[OsString], files: &mut Files) {
        if place.len() > DEPTH {
            let words = format!("more than {DEPTH} directories within one another");
            let expected = "a directory of drop-ins".into();
            let origin = Origin::file(shown(dir));
            return self.problems.push(Problem::beyond_limits(origin, words, expected));
        }
        let Some(left) = self.entries else { return };
        let names = match self.root.list(dir, ENTRIES.min(left)) {
            Ok(names) => names.unwrap_or_default(),
            Err(HostError::TooMany { .. }) if left < ENTRIES => {
                self.entries = None;
                let words = format!("more than {ALL_ENTRIES} entries in all its directories");
                let expected = format!("at most {ALL_ENTRIES}");
                let origin = Origin::file(shown(dir));
                return self.problems.push(Problem::beyond_limits(origin, words, expected));
            }
            Err(HostError::TooMany { limit, .. }) => {
                let words = format!("more than {limit} entries");
                let expected = format!("at most {limit}");
                let origin = Origin::file(shown(dir));
                return self.problems.push(Problem::beyond_limits(origin, words, expected));
            }
            Err(e) => return self.refused(dir, format!("open {}: {e}", shown(dir)), None),
        };
        self.entries = Some(left.saturating_sub(names.len()));
        for name in names {
            let path = dir.join(&name);
            let place: Vec<OsString> = place.iter().cloned().chain([name]).collect();
            if self.root.is_directory_itself(&path) {
                self.walk(&path, &place, files);
            } else if path.as_os_str().as_bytes().ends_with(kubelet::SUFFIX.as_bytes()) {
                files.insert(place, path);
            }
        }
    }

    /// What RKE2 copies into its own directory before the kubelet starts, taken from where it is.
    fn copied(
        &mut self,
        own: &Path,
        given: &kubelet::Arguments,
        files: &mut Files,
        watched: &mut Vec<PathBuf>,
    ) {
        // What is named as in that directory is not copied.
        let copied = |setting: &Option<Setting<String>>| {
            let setting = setting.clone()?;
            let inside = setting.value.as_bytes().starts_with(own.as_os_str().as_bytes());
            (!inside).then(|| (absolute(&setting.value), setting))
        };
        if let Some((path, setting)) = copied(&given.copied_file) {
            let target = own.join(COPIED_FILE);
            let copy = format!(
                "failed to start kubelet: prepare user configuration drop-ins: copy config {:?} into \
                 managed drop-in dir {:?}",
                named(&path),
                shown(&target),
            );
            // Whether it can be read is all that is asked here.
            match self.root.read(&path, 0) {
                Ok(None) => {
                    let words = format!("{copy}: open {}: no such file or directory", named(&path));
                    self.refused(&path, words, Some(&setting));
                }
                Err(e @ (HostError::NotRegular { .. } | HostError::Io { .. })) => {
                    self.refused(&path, format!("{copy}: {e}"), Some(&setting));
                }
                _ => drop(files.insert(vec![COPIED_FILE.into()], path.clone())),
            }
            watched.push(path);
        }
        if let Some((dir, setting)) = copied(&given.copied_dir) {
            if exists(self.root, &dir) {
                self.walk(&dir, &[COPIED_DIR.into()], files);
            } else {
                let words = format!(
                    "failed to start kubelet: prepare user configuration drop-ins: copy config-dir \
                     {0:?} into managed drop-in dir {1:?}: lstat {0}: no such file or directory",
                    named(&dir),
                    shown(&own.join(COPIED_DIR)),
                );
                self.refused(&dir, words, Some(&setting));
            }
            watched.push(dir);
        }
    }

    /// `by`: the argument that names the path.
    fn refused(&mut self, path: &Path, words: String, by: Option<&Setting<String>>) {
        let origin = by.and_then(|by| by.origin.clone());
        self.problems.push(Problem {
            kind: ProblemKind::InvalidValue,
            origin: origin.unwrap_or_else(|| Origin::file(shown(path))),
            key: by.map(|by| by.key.clone()),
            words,
            expected: "a path that is there".into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::Role;
    use crate::rke2::{DEFAULT_DATA_DIR, Inputs, Release, resolve};

    const OWN: &str = "var/lib/rancher/rke2/agent/etc/kubelet.conf.d";

    struct Image(tempfile::TempDir);

    impl Image {
        /// Each file sets the field to the value, or has the text as it is.
        fn new(files: &[(&str, &str)]) -> Self {
            let image = Self(tempfile::tempdir().unwrap());
            for (path, text) in files {
                let path = image.0.path().join(path.trim_start_matches('/'));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let text = match *text {
                    "true" | "false" => format!(
                        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
                         protectKernelDefaults: {text}\n"
                    ),
                    text => text.to_owned(),
                };
                fs::write(path, text).unwrap();
            }
            image
        }

        fn observe(&self, arguments: &[&str], version: &str) -> (Config, Vec<PathBuf>) {
            let mut inputs = Inputs::none(Role::Server);
            inputs.arguments = std::iter::once("server".to_owned())
                .chain(arguments.iter().map(|argument| format!("--kubelet-arg={argument}")))
                .collect();
            let mut config = resolve(&inputs);
            assert_eq!(config.data_dir.value, Path::new(DEFAULT_DATA_DIR));
            let version = Version::parse(version).unwrap();
            config.release = Release::of(&version);
            let root = Root::image(self.0.path()).unwrap();
            let watched = observe(&root, &mut config, Some(&version), &[]);
            (config, watched)
        }
    }

    #[test]
    fn what_is_in_force_is_what_the_kubelet_reads_last() {
        let own = |name: &str| format!("{OWN}/{name}");
        for (files, arguments, version, in_force) in [
            (&[("/k.yaml", "true")][..], &["config=/k.yaml"][..], "1.34.1", true),
            (&[("/k.yaml", "false")], &["config=/k.yaml"], "1.34.1", false),
            (&[("/k.yaml", "true")], &[], "1.34.1", false),
            (&[("/k.yaml", "true")], &["config=k.yaml"], "1.31.1", true),
            (&[("/d/a.conf", "true")], &["config-dir=/d"], "1.34.1", true),
            (&[("/d/deep/a.conf", "true")], &["config-dir=/d"], "1.34.1", true),
            (&[("/d/a.yaml", "true")], &["config-dir=/d"], "1.34.1", false),
            (&[("/d/a.conf", "true"), ("/d/b.conf", "false")], &["config-dir=/d"], "1.31.1", false),
            (&[(&own("99-a.conf"), "true")], &[], "1.34.1", true),
            (&[(&own("99-a.conf"), "true")], &[], "1.31.1", false),
            // RKE2 writes it anew, from its own flag.
            (&[(&own("00-rke2-defaults.conf"), "true")], &[], "1.34.1", false),
            // What was copied once stays until it is replaced.
            (&[(&own("10-cli-config.conf"), "true")], &[], "1.34.1", true),
            (
                &[(&own("10-cli-config.conf"), "true"), ("/k.yaml", "false")],
                &["config=/k.yaml"],
                "1.34.1",
                false,
            ),
            (
                &[(&own("09-a.conf"), "false"), ("/k.yaml", "true")],
                &["config=/k.yaml"],
                "1.34.1",
                true,
            ),
            (
                &[("/k.yaml", "true"), ("/d/a.conf", "false"), (&own("30-a.conf"), "true")],
                &["config=/k.yaml", "config-dir=/d"],
                "1.34.1",
                true,
            ),
            (
                &[("/k.yaml", "false")],
                &["config=/k.yaml", "protect-kernel-defaults=true"],
                "1.34.1",
                true,
            ),
            (
                &[("/k.yaml", "true")],
                &["config=/k.yaml", "protect-kernel-defaults=false"],
                "1.34.1",
                false,
            ),
            // On its own command line the kubelet reads another directory than RKE2's.
            (&[(&own("a.conf"), "true"), ("/d/a", "")], &["config-dir+=/d"], "1.34.1", false),
        ] {
            let (config, _) = Image::new(files).observe(arguments, version);
            assert_eq!(config.kubelet_problems, [], "{files:?} {arguments:?}");
            assert_eq!(config.kernel_defaults_in_force(), in_force, "{files:?} {arguments:?}");
        }
    }

    #[test]
    fn what_is_not_there_or_no_file_keeps_the_kubelet_down_and_is_watched() {
        let image = Image::new(&[("/d/a.conf", "true")]);
        for (argument, words, path) in [
            ("config=/none", "open /none: no such file or directory", "/none"),
            ("config=/d", "is not a regular file", "/d"),
            ("config-dir=/none", "lstat /none: no such file or directory", "/none"),
            ("config+=/none", "failed to load kubelet config file, path: /none", "/none"),
        ] {
            let (config, watched) = image.observe(&[argument], "1.34.1");
            let [problem] = &config.kubelet_problems[..] else { panic!("{config:#?}") };
            assert!(problem.words.contains(words), "{argument}: {problem:?}");
            assert_eq!(problem.kind, ProblemKind::InvalidValue);
            assert!(watched.contains(&path.into()), "{argument}: {watched:?}");
        }
    }

    #[test]
    fn an_api_version_that_is_not_known_stops_no_rke2_that_is_not_known() {
        let text = "apiVersion: kubelet.config.k8s.io/v1\nkind: KubeletConfiguration\n";
        let image = Image::new(&[("/etc/k", text)]);
        for (version, kind) in [
            ("1.36.4", ProblemKind::InvalidValue),
            ("1.30.1", ProblemKind::InvalidValue),
            ("1.37.1", ProblemKind::Unlisted),
            ("1.99.0", ProblemKind::Unlisted),
            ("2.1.0", ProblemKind::Unlisted),
        ] {
            let (config, _) = image.observe(&["config=/etc/k"], version);
            let kinds: Vec<_> = config.kubelet_problems.iter().map(|p| p.kind).collect();
            assert_eq!(kinds, [kind], "{version}");
        }
    }

    #[test]
    fn a_directory_that_an_old_kubelet_does_not_take_is_refused_and_not_read() {
        let image = Image::new(&[("/d/a.conf", "true")]);
        for (argument, version, words) in [
            ("config-dir=/d", "1.27.16", "unknown flag: --config-dir"),
            ("config-dir=/d", "1.28.15", "KUBELET_CONFIG_DROPIN_DIR_ALPHA not set"),
            ("config-dir=/d", "1.29.3", "KUBELET_CONFIG_DROPIN_DIR_ALPHA not set"),
            ("config-dir=/d", "1.30.0", ""),
            ("config-dir=", "1.30.0", ""),
        ] {
            let (config, _) = image.observe(&[argument], version);
            let told: Vec<_> = config.kubelet_problems.iter().map(|p| p.words.as_str()).collect();
            assert_eq!(told.len(), usize::from(!words.is_empty()), "{version}: {told:?}");
            assert!(told.iter().all(|told| told.contains(words)), "{version}: {told:?}");
            let in_force = (argument, version) == ("config-dir=/d", "1.30.0");
            assert_eq!(config.kernel_defaults_in_force(), in_force, "{argument} {version}");
        }
    }

    #[test]
    fn beyond_the_limits_nothing_is_read_and_that_is_said() {
        let beyond = |image: &Image| {
            let (config, _) = image.observe(&[], "1.34.1");
            let kinds: Vec<_> = config.kubelet_problems.iter().map(|p| p.kind).collect();
            assert!(kinds.iter().all(|kind| *kind == ProblemKind::BeyondLimits), "{config:#?}");
            kinds.len()
        };
        let large = format!("# {}", "x".repeat(kubelet::MAX_SIZE));
        assert_eq!(beyond(&Image::new(&[(&format!("{OWN}/a.conf"), &large)])), 1);
        let full = "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\n#";
        let full = format!("{full}{}", "x".repeat(kubelet::MAX_SIZE - full.len()));
        let names: Vec<String> = (0..6).map(|n| format!("{OWN}/{n}.conf")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), &*full)).collect();
        let whole = kubelet::MAX_TOTAL / kubelet::MAX_SIZE;
        assert_eq!(beyond(&Image::new(&files)), names.len() - whole);
        let names: Vec<String> =
            (0..=kubelet::MAX_FILES).map(|n| format!("{OWN}/{n}.conf")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "true")).collect();
        assert_eq!(beyond(&Image::new(&files)), 1);
        let deep = format!("{OWN}/{}a.conf", "d/".repeat(DEPTH + 1));
        assert_eq!(beyond(&Image::new(&[(&deep, "true")])), 1);
        // The directories are entries as well.
        let names: Vec<String> =
            (0..ALL_ENTRIES - 8).map(|n| format!("{OWN}/{}/{n}", n % 8)).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        let image = Image::new(&files);
        assert_eq!(beyond(&image), 0);
        for more in ["0/more", "7/more", "8/more", "9/more"] {
            let path = image.0.path().join(OWN).join(more);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
            assert_eq!(beyond(&image), 1, "told once");
        }
        let names: Vec<String> = (0..=ENTRIES).map(|n| format!("{OWN}/{n}")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        assert_eq!(beyond(&Image::new(&files)), 1);
    }
}
