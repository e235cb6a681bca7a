// SPDX-License-Identifier: Apache-2.0
//! Where systemd looks for a unit: the directories of its search path, which unit file counts, and
//! which drop-ins add to it, in their order.

use std::path::{Path, PathBuf};

use crate::rke2::unit::UnitFacts;
use crate::system::HostError;
use crate::system::listing::{exists, has_suffix, is_directory, sorted_names};
use crate::system::root::Root;

/// Where systemd looks for units, the first one wins (systemd.unit(5)).
pub(super) const DIRECTORIES: [&str; 13] = [
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
pub(super) const MANAGER: [&str; 4] =
    ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];

/// Unit files and drop-ins, and environment files, that are read.
pub(super) const MAX_FILES: usize = 1024;

/// Whether a unit is there, enabled, running.
pub(crate) fn facts(root: &Root, name: &'static str) -> UnitFacts {
    let fragment = fragment(root, name);
    let masked = fragment.as_deref().is_some_and(|path| is_masked(root, path));
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

/// Whether systemd takes a unit file for none: a link to /dev/null and an empty file alike.
pub(super) fn is_masked(root: &Root, path: &Path) -> bool {
    root.is_masked(path) || root.stat(path).is_ok_and(|stat| stat.st_size == 0)
}

/// The unit file that counts.
pub(super) fn fragment(root: &Root, name: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|dir| Path::new(dir).join(name)).find(|path| exists(root, path))
}

/// The drop-in directories of a unit, the first one wins: in each directory of the search path
/// that of `rke2-server.service` and that of its prefix `rke2-`, and after all of them those of all
/// services.
pub(super) fn drop_in_directories(unit: &str) -> Vec<PathBuf> {
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

/// Drop-ins in the order in which they are applied.
#[derive(Debug, Default)]
pub(super) struct DropIns {
    pub files: Vec<PathBuf>,
    /// A directory of which not all are among them, and why.
    pub incomplete: Option<(PathBuf, String)>,
}

/// The files of `drop_ins`, of directories that are not a unit's.
pub(crate) fn drop_in_files(root: &Root, directories: &[PathBuf]) -> Vec<PathBuf> {
    drop_ins(root, directories).files
}

/// The drop-ins of all directories, sorted by name together; of two of the same name the one in
/// the earlier directory counts, and a link to /dev/null there takes the later ones away.
pub(super) fn drop_ins(root: &Root, directories: &[PathBuf]) -> DropIns {
    let mut found = DropIns::default();
    for dir in directories {
        let names = match sorted_names(root, dir) {
            Err(e @ HostError::TooMany { .. }) => {
                found.incomplete.get_or_insert_with(|| (dir.clone(), e.to_string()));
                continue;
            }
            // systemd goes without a directory that it cannot read.
            names => names.unwrap_or_default(),
        };
        for path in names {
            let known = found.files.iter().any(|known| known.file_name() == path.file_name());
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            if !has_suffix(&path, ".conf") || known || hidden {
                continue;
            }
            if found.files.len() == MAX_FILES {
                let words = format!("more than {MAX_FILES} drop-ins");
                found.incomplete.get_or_insert_with(|| (dir.clone(), words));
                break;
            }
            found.files.push(path);
        }
    }
    found.files.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    found
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
    fn more_drop_ins_than_the_limit_are_told_and_the_first_of_them_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::image(dir.path()).unwrap();
        for name in ["few", "many", "crowd"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let write = |path: String| std::fs::write(dir.path().join(path), "").unwrap();
        (0..MAX_FILES).for_each(|n| write(format!("many/{n:04}.conf")));
        // None of these is one more.
        write("few/0000.conf".into());
        write("many/0001.txt".into());
        write("many/.0002.conf".into());
        let [few, many, crowd] = ["/few", "/many", "/crowd"].map(PathBuf::from);
        let found = drop_ins(&root, &[few.clone(), many.clone()]);
        assert_eq!((found.files.len(), found.incomplete), (MAX_FILES, None));
        assert_eq!(found.files[0], Path::new("/few/0000.conf"));
        write("few/one-more.conf".into());
        let found = drop_ins(&root, &[few.clone(), many.clone()]);
        assert_eq!(found.files.len(), MAX_FILES);
        assert_eq!(found.incomplete, Some((many, format!("more than {MAX_FILES} drop-ins"))));
        // A directory with more entries than are listed is told as well, and the others count.
        (0..4097).for_each(|n| write(format!("crowd/{n}")));
        let found = drop_ins(&root, &[crowd.clone(), few]);
        assert_eq!(found.files.len(), 2);
        assert_eq!(found.incomplete.map(|(path, _)| path), Some(crowd));
    }
}
