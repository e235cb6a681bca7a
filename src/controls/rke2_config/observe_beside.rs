// SPDX-License-Identifier: Apache-2.0
//! Looking for files that were meant to be RKE2's configuration and have names that it does not read.

use std::path::{Path, PathBuf};

use crate::rke2::beside::{self, Beside, Likeness};
use crate::rke2::{self, Config, DEFAULT_CONFIG, FileContent, Inputs};
use crate::system::listing::is_directory;
use crate::system::root::Root;

/// Entries of one directory.
const ENTRIES: usize = 1024;

/// Files that are looked into.
const FILES: usize = 16;

/// Bytes of one of them.
const SIZE: usize = 256 << 10;

/// Where other guides and other programs have such a file.
const ELSEWHERE: [&str; 3] =
    ["/etc/rancher/config.yaml", "/etc/rke2/config.yaml", "/etc/rancher/k3s/config.yaml"];

/// What is told: a slip wherever it is, and a copy only where it sets a profile and nothing that RKE2
/// reads does.
pub(super) fn observe(root: &Root, inputs: &Inputs, config: &Config) -> Vec<Beside> {
    let Some(file) = inputs.path.file() else { return Vec::new() };
    let file = Path::new("/").join(file);
    let (Some(dir), Some(name)) = (file.parent(), file.file_name()) else { return Vec::new() };
    let name = name.to_string_lossy();
    let mut candidates: Vec<(Likeness, PathBuf, PathBuf)> = Vec::new();
    let drop_ins = dir.join(format!("{name}.d"));
    for entry in names(root, dir) {
        let path = dir.join(&entry);
        if let Some(likeness) =
            beside::of_file(&entry, &name).filter(|_| !is_directory(root, &path))
        {
            candidates.push((likeness, path, file.clone()));
        } else if let Some(likeness) = beside::of_directory(&entry, &name)
            .filter(|_| path != file && is_directory(root, &path))
        {
            let read = names(root, &path).into_iter().filter(|name| rke2::is_drop_in(name));
            candidates.extend(read.map(|name| (likeness, path.join(&name), drop_ins.join(name))));
        }
    }
    for entry in names(root, &drop_ins) {
        if let Some(likeness) = beside::of_drop_in(&entry) {
            let stem = entry.split('.').next().unwrap_or_default();
            let meant = drop_ins.join(format!("{stem}.yaml"));
            candidates.push((likeness, drop_ins.join(&entry), meant));
        }
    }
    let absent = inputs.base.content == FileContent::Absent;
    let elsewhere = ELSEWHERE.iter().chain([&DEFAULT_CONFIG]).map(Path::new);
    let elsewhere = elsewhere.filter(|path| absent && *path != file);
    candidates.extend(elsewhere.map(|path| {
        // What RKE2 reads where nobody names another file.
        let is_default = path == Path::new(DEFAULT_CONFIG);
        let likeness = if is_default { Likeness::Slip } else { Likeness::Copy };
        (likeness, path.to_owned(), file.clone())
    }));
    // What was meant by a slip first, however many copies there are.
    candidates.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let unset = config.profile.is_none();
    let mut found = Vec::new();
    for (likeness, path, meant) in candidates.into_iter().take(FILES) {
        let Ok(Some(content)) = root.read(&path, SIZE) else { continue };
        let profile = rke2::profile_in(&content);
        let says = content.split(|b| *b == b'\n').any(|line| {
            line.trim_ascii_start().first().is_some_and(|b| *b != b'#') && line.contains(&b':')
        });
        if likeness == Likeness::Slip && says || unset && profile.is_some() {
            found.push(Beside { path, meant, profile });
        }
    }
    found
}

/// The names in a directory that are text.
fn names(root: &Root, dir: &Path) -> Vec<String> {
    let names = root.list(dir, ENTRIES).ok().flatten().unwrap_or_default();
    let mut names: Vec<String> =
        names.into_iter().filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::{Origin, Role};
    use crate::rke2::{ConfigPath, SourceFile, resolve};

    /// What is told of files below /etc/rancher/rke2, where `config.yaml` is read if it is there.
    fn told(files: &[(&str, &str)]) -> Vec<(String, String, Option<u32>)> {
        told_of(files, DEFAULT_CONFIG)
    }

    fn told_of(files: &[(&str, &str)], config: &str) -> Vec<(String, String, Option<u32>)> {
        let image = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = image.path().join("etc/rancher/rke2").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut inputs = Inputs::none(Role::Server);
        inputs.path = ConfigPath::File { path: config.into(), origin: Some(Origin::file("x")) };
        let read = fs::read(image.path().join(config.trim_start_matches('/')));
        let content = read.map_or(FileContent::Absent, FileContent::Bytes);
        inputs.base = SourceFile { path: config.into(), content };
        let found =
            observe(&Root::image(image.path()).unwrap(), &inputs, &resolve(&inputs)).into_iter();
        let shown = |path: PathBuf| {
            let path = path.display().to_string();
            path.strip_prefix("/etc/rancher/rke2/").unwrap_or(&path).to_owned()
        };
        found.map(|b| (shown(b.path), shown(b.meant), b.profile.map(|(_, line)| line))).collect()
    }

    #[test]
    fn a_slip_is_told_wherever_it_is_and_a_copy_where_its_profile_is_missed() {
        let one = |path: &str, meant: &str, line| vec![(path.to_owned(), meant.to_owned(), line)];
        let base = ("config.yaml", "profile: cis\n");
        for (files, want) in [
            (&[("config.yml", "profile: cis\n")][..], one("config.yml", "config.yaml", Some(1))),
            (&[("config.yalm", "a: b\nprofile: cis")], one("config.yalm", "config.yaml", Some(2))),
            (&[base, ("config.yml", "selinux: true\n")], one("config.yml", "config.yaml", None)),
            (&[base, ("config.yml", "# nothing\n")], vec![]),
            (&[base, ("config.yaml.bak", "profile: cis\n")], vec![]),
            (
                &[("config.yaml", "selinux: true"), ("config.yaml.rpmsave", "profile: cis\n")],
                one("config.yaml.rpmsave", "config.yaml", Some(1)),
            ),
            (&[("config.yaml.rpmsave", "selinux: true\n")], vec![]),
            (
                &[("config.yaml.d/50-cis.yalm", "profile: cis\n")],
                one("config.yaml.d/50-cis.yalm", "config.yaml.d/50-cis.yaml", Some(1)),
            ),
            (
                &[("config.yaml.d/50-cis.yaml.txt", "profile: cis\n")],
                one("config.yaml.d/50-cis.yaml.txt", "config.yaml.d/50-cis.yaml", Some(1)),
            ),
            (&[base, ("config.yaml.d/50-cis.yaml.bak", "profile: etcd\n")], vec![]),
            (
                &[("config.yml.d/a.yaml", "profile: cis\n")],
                one("config.yml.d/a.yaml", "config.yaml.d/a.yaml", Some(1)),
            ),
            (
                &[("config.d/a.yaml", "profile: cis\n")],
                one("config.d/a.yaml", "config.yaml.d/a.yaml", Some(1)),
            ),
            (
                &[("../config.yaml", "profile: cis\n")],
                one("/etc/rancher/config.yaml", "config.yaml", Some(1)),
            ),
            (&[base, ("../k3s/config.yaml", "profile: cis\n")], vec![]),
            (&[("registries.yaml", "profile: cis\n")], vec![]),
        ] {
            assert_eq!(told(files), want, "{files:?}");
        }
        // RKE2 is told of another file, which is not there.
        assert_eq!(
            told_of(&[base], "/srv/rke2.yaml"),
            one("config.yaml", "/srv/rke2.yaml", Some(1))
        );
    }

    #[test]
    fn no_more_is_looked_at_than_the_limits() {
        let names: Vec<String> = (0..=FILES).map(|n| format!("config.d/{n:02}.yaml")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "profile: cis")).collect();
        assert_eq!(told(&files).len(), FILES);
        let large = format!("profile: cis\n#{}", "x".repeat(SIZE));
        assert_eq!(told(&[("config.yml", &large)]), []);
        let names: Vec<String> = (0..=ENTRIES).map(|n| format!("{n}.x")).collect();
        let mut files: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "")).collect();
        files.push(("config.yml", "profile: cis\n"));
        assert_eq!(told(&files), [], "a directory of so many is none that somebody looks after");
    }
}
