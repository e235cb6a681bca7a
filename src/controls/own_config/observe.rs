// SPDX-License-Identifier: Apache-2.0
//! Reading nodeguard's own configuration files. Who can change them decides what a root process
//! does, so only root may be able to.

use std::ffi::OsString;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::config::{
    self, BASE, DROP_INS, MAX_DROP_INS, MAX_ENTRIES, MAX_FILE_SIZE, MAX_SIZE, Problem, Settings,
    Source, is_drop_in, order,
};
use crate::controls::sysctl;
use crate::model::shown;
use crate::system::root::Root;

/// The configuration of whoever has none yet, and what is wrong with its files.
pub fn first(sources: &[Source]) -> (Settings, Vec<Problem>) {
    match config::resolve(sources, &sysctl::FIXED) {
        Ok(settings) => (settings, Vec::new()),
        Err(problems) => (config::fallback(sources), problems),
    }
}

/// All files that count, the least important first.
pub fn sources(root: &Root) -> Vec<Source> {
    let mut out = Vec::new();
    let [vendor, admin] = BASE.map(Path::new);
    // As a drop-in of the operator's masks the package's of the same name.
    if !matches!(look(root, admin), Found::Masked) {
        out.extend(source(root, vendor));
    }
    out.extend(source(root, admin));
    let (mut listed, mut unusable) = (Vec::new(), Vec::new());
    for dir in DROP_INS {
        match drop_ins(root, dir) {
            Ok(names) => listed.push((dir, names)),
            Err(reason) => unusable.push(Source { path: dir.into(), content: Err(reason) }),
        }
    }
    out.extend(order(&listed).iter().filter_map(|path| source(root, path)));
    // Behind all, since there may be a file in it that counts for more than any other.
    out.extend(unusable);
    limited(out)
}

/// The names in a directory that are read; a backup beside them takes no room from them.
fn drop_ins(root: &Root, dir: &str) -> Result<Vec<OsString>, String> {
    let names = root.list(Path::new(dir), MAX_ENTRIES).map_err(|e| e.to_string())?;
    let mut names = names.unwrap_or_default();
    names.retain(|name| is_drop_in(name));
    if names.len() > MAX_DROP_INS {
        return Err(format!("more than {MAX_DROP_INS} files in it end in .toml"));
    }
    Ok(names)
}

/// Every pass reads them all, so there is an end to what they may hold together.
fn limited(mut sources: Vec<Source>) -> Vec<Source> {
    let mut left = MAX_SIZE;
    for source in &mut sources {
        let size = source.content.as_ref().map_or(0, Vec::len);
        match left.checked_sub(size) {
            Some(rest) => left = rest,
            None => source.content = Err(format!("more than {MAX_SIZE} bytes in all such files")),
        }
    }
    sources
}

/// What is at a path.
enum Found {
    Nothing,
    /// A link to /dev/null: not this file, and none that it hides.
    Masked,
    Content(Vec<u8>),
    /// Why it is not believed.
    Unusable(String),
}

/// `None` where there is no file, or it is masked.
fn source(root: &Root, path: &Path) -> Option<Source> {
    let content = match look(root, path) {
        Found::Nothing | Found::Masked => return None,
        Found::Content(bytes) => Ok(bytes),
        Found::Unusable(reason) => Err(reason),
    };
    Some(Source { path: shown(path), content })
}

fn look(root: &Root, path: &Path) -> Found {
    let result = if root.is_masked(path) {
        // Taking a file away is as much as writing one: a mask must be root's as well.
        only_roots(root, path).map(|()| Found::Masked)
    } else {
        read(root, path).map(|content| content.map_or(Found::Nothing, Found::Content))
    };
    result.unwrap_or_else(Found::Unusable)
}

/// Whether only root can put something else at `path`.
fn only_roots(root: &Root, path: &Path) -> Result<(), String> {
    match root.unsafe_component(path) {
        Some((component, reason)) => Err(format!("{} {reason}", shown(&component))),
        None => Ok(()),
    }
}

/// The content of a file that only root can change.
fn read(root: &Root, path: &Path) -> Result<Option<Vec<u8>>, String> {
    let fd = match root.open(path, OFlags::PATH, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(e) => return Err(std::io::Error::from(e).to_string()),
    };
    let stat = rustix::fs::fstat(&fd).map_err(|e| std::io::Error::from(e).to_string())?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        if stat.st_uid != 0 {
            return Err(format!("it is owned by uid {}, expected root", stat.st_uid));
        }
        let others = if stat.st_gid == 0 { 0o002 } else { 0o022 };
        let mode = stat.st_mode & 0o7777;
        if mode & others != 0 {
            return Err(format!("others than root can write to it (mode {mode:04o})"));
        }
    }
    only_roots(root, path)?;
    root.read_opened(&fd, path, MAX_FILE_SIZE).map(Some).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OperatingMode;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown};

    #[test]
    fn files_that_are_too_much_together_are_not_believed_and_are_told() {
        let file = |path: &str, size| Source { path: path.into(), content: Ok(vec![b'#'; size]) };
        let half = MAX_SIZE / 2;
        let got = limited(vec![file("a", half), file("b", half), file("c", 1), file("d", 0)]);
        let told: Vec<_> = got.iter().map(|source| source.content.is_err()).collect();
        assert_eq!(told, [false, false, true, false]);
        let reason = got[2].content.as_ref().unwrap_err();
        assert_eq!(reason, "more than 524288 bytes in all such files");
    }

    #[test]
    fn a_directory_with_more_drop_ins_than_the_limit_is_told_and_none_of_it_read() {
        let image = tempfile::tempdir().unwrap();
        let dir = image.path().join(&DROP_INS[0][1..]);
        fs::create_dir_all(&dir).unwrap();
        let root = Root::image(image.path()).unwrap();
        for n in 0..MAX_DROP_INS {
            fs::write(dir.join(format!("{n}.toml")), "").unwrap();
        }
        assert_eq!(sources(&root).len(), MAX_DROP_INS);
        fs::write(dir.join("more.toml"), "").unwrap();
        let got = sources(&root);
        let [Source { path, content: Err(reason) }] = &got[..] else { panic!("{got:?}") };
        assert_eq!(path, DROP_INS[0]);
        assert!(reason.contains(&MAX_DROP_INS.to_string()), "{reason}");
    }

    #[test]
    fn names_that_are_not_read_take_no_room_from_those_that_are() {
        let image = tempfile::tempdir().unwrap();
        let dir = image.path().join(&DROP_INS[0][1..]);
        fs::create_dir_all(&dir).unwrap();
        let root = Root::image(image.path()).unwrap();
        fs::write(dir.join("10-report.toml"), "mode = 'report'\n").unwrap();
        for n in 1..MAX_ENTRIES {
            let name = match n % 3 {
                0 => format!("{n}.toml.bak"),
                1 => format!(".{n}.toml"),
                _ => format!("{n}"),
            };
            fs::write(dir.join(name), "").unwrap();
        }
        let (settings, problems) = first(&sources(&root));
        assert_eq!((settings.mode.value, problems), (OperatingMode::Report, vec![]));
        fs::write(dir.join("more.bak"), "").unwrap();
        let (settings, problems) = first(&sources(&root));
        assert!(settings.changes_nothing() && !settings.mode.value.only_reports(), "{settings:?}");
        assert!(problems[0].message.contains(&MAX_ENTRIES.to_string()), "{problems:?}");
    }

    #[test]
    fn while_a_file_cannot_be_used_nothing_is_changed_and_the_gate_is_no_more_open_than_before() {
        let image = tempfile::tempdir().unwrap();
        let root = Root::image(image.path()).unwrap();
        let [main, dir] = [&BASE[1][1..], &DROP_INS[0][1..]].map(|path| image.path().join(path));
        let drop_in = dir.join("10.toml");
        fs::create_dir_all(&dir).unwrap();
        let set = |mode: u32, owner: u32, group: u32| {
            fs::set_permissions(&main, fs::Permissions::from_mode(mode)).unwrap();
            chown(&main, Some(owner), Some(group)).unwrap();
        };
        // Whose it is and what is in it changes nothing: nobody but root has a word in this.
        for text in ["mode = 'report'\n", "mode = 'enforce'\n", "", "\u{0}"] {
            for (mode, owner, group) in [(0o664, 0, 1000), (0o666, 0, 0), (0o644, 1000, 0)] {
                fs::write(&main, text).unwrap();
                set(mode, owner, group);
                let (settings, problems) = first(&sources(&root));
                assert_eq!(problems.len(), 1, "{text:?} {mode:o} {owner}:{group}: {problems:?}");
                assert_eq!(settings.unclear.as_ref().map(|origin| &*origin.file), Some(BASE[1]));
                assert_eq!(settings.mode.value, OperatingMode::Enforce);
            }
        }
        // What counts for more and can be used is the word of root.
        fs::write(&drop_in, "mode = 'report'\n").unwrap();
        assert!(first(&sources(&root)).0.mode.value.only_reports());
        fs::write(&drop_in, "mode = 'enforce'\n").unwrap();
        let (settings, _) = first(&sources(&root));
        assert!(settings.changes_nothing() && !settings.mode.value.only_reports());
        // The same of a file that is too large, and is no file.
        set(0o644, 0, 0);
        fs::write(&main, "#".repeat(MAX_FILE_SIZE + 1)).unwrap();
        assert!(first(&sources(&root)).0.changes_nothing());
        fs::remove_file(&main).unwrap();
        fs::create_dir(&main).unwrap();
        assert!(first(&sources(&root)).0.changes_nothing());
        fs::remove_dir(&main).unwrap();
        fs::write(&main, "mode = 'report'\n").unwrap();
        fs::remove_file(&drop_in).unwrap();
        fs::create_dir(&drop_in).unwrap();
        let (settings, _) = first(&sources(&root));
        assert!(settings.changes_nothing() && !settings.mode.value.only_reports());
    }
}
