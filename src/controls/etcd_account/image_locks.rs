// SPDX-License-Identifier: Apache-2.0
//! Taking the locks of an image's account database, in the place of shadow-utils and by their rules:
//! their tools in the image, or beside us, keep away, and what a killed process left is no obstacle.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::locks::{FILES, LIMIT, Lock, one, wait};
use crate::system::root::{Root, stat_entry};
use crate::system::temporary::{self, Temporary, name_beside};

/// Behind the NUL of our own locks, where the tools do not read on: what a killed process of ours left
/// is told from what one of theirs did.
const MARK: &str = "nodeguard";

/// The locks of an image's account database, which nobody else's tool has: given back when they are
/// dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    etc: OwnedFd,
    /// Those that were taken so far.
    names: Vec<&'static str>,
}

/// Takes them as the tools do, who would look for them below the same prefix, and takes away what a
/// process that was killed here left behind.
pub(crate) fn take(image: &Root, end: Instant) -> Result<Taken, String> {
    let directory = OFlags::RDONLY | OFlags::DIRECTORY;
    let etc = image
        .open(Path::new("/etc"), directory, Mode::empty())
        .map_err(|e| format!("/etc in the image: {}", std::io::Error::from(e)))?;
    loop {
        wait(image, end)?;
        temporary::sweep_directory(&etc);
        if let Some(taken) = try_all(image, &etc)? {
            return Ok(taken);
        }
        // Somebody was faster. Where that is so again and again, the end comes all the same.
        if Instant::now() >= end {
            return Err("the locks of the image's account files are taken again and again".into());
        }
    }
}

/// All of them, or none.
fn try_all(image: &Root, etc: &OwnedFd) -> Result<Option<Taken>, String> {
    let cannot = |e: Errno| format!("{} in the image: {}", FILES[0], std::io::Error::from(e));
    let again = etc.try_clone().map_err(|e| format!("/etc in the image: {e}"))?;
    let mut taken = Taken { etc: again, names: Vec::new() };
    // Linked when it is written: an empty one would be nobody's, for ever.
    let ours = Temporary::make(etc, OsStr::new("passwd.lock.new")).map_err(cannot)?;
    let number = format!("{}\0{MARK}", std::process::id());
    match rustix::io::write(&ours, number.as_bytes()).map_err(cannot)? {
        written if written == number.len() => {}
        _ => return Err(cannot(Errno::NOSPC)),
    }
    for path in FILES {
        let name = path.trim_start_matches("/etc/");
        if one(image, path) == Lock::Open {
            remove_dead(image, etc, path, name).map_err(cannot)?;
        }
        match ours.link(OsStr::new(name)) {
            Ok(true) => taken.names.push(name),
            Ok(false) => return Ok(None),
            Err(e) => return Err(format!("{path} in the image: {}", std::io::Error::from(e))),
        }
    }
    Ok(Some(taken))
}

/// Takes the lock of a dead process away, and no other one: it is renamed first and looked at again,
/// since somebody else may have done the same meanwhile and have put its own there.
fn remove_dead(image: &Root, etc: &OwnedFd, path: &'static str, name: &str) -> Result<(), Errno> {
    let inode = |name: &OsStr| stat_entry(etc, name).map(|stat| stat.st_ino);
    let Ok(dead) = inode(OsStr::new(name)) else { return Ok(()) };
    if one(image, path) != Lock::Open {
        return Ok(());
    }
    let aside = name_beside(OsStr::new(name));
    match rustix::fs::renameat(etc, name, etc, &aside) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(e),
    }
    if inode(&aside)? != dead {
        // Where there is yet another one by now, that counts.
        let _ = rustix::fs::linkat(etc, &aside, etc, name, AtFlags::empty());
    }
    rustix::fs::unlinkat(etc, &aside, AtFlags::empty())
}

/// Takes away the locks that a process of ours left in an image when it was killed. Best effort: what
/// is in the way is told by who meets it.
pub(crate) fn tidy(image: &Root) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let Ok(etc) = image.open(Path::new("/etc"), flags, Mode::empty()) else { return };
    for path in FILES {
        let content = image.read(Path::new(path), LIMIT).ok().flatten().unwrap_or_default();
        if content.ends_with(MARK.as_bytes()) {
            let _ = remove_dead(image, &etc, path, path.trim_start_matches("/etc/"));
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        for name in self.names.iter().rev() {
            // Left behind it is a dead process's, which the tools and we take away.
            let _ = rustix::fs::unlinkat(&self.etc, *name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::locks::PATIENCE;
    use super::*;
    use rustix::fs::FileType;

    fn image() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let root = Root::image(dir.path()).unwrap();
        (dir, root)
    }

    const NAMES: [&str; 4] = ["passwd.lock", "group.lock", "gshadow.lock", "shadow.lock"];

    fn entries(dir: &tempfile::TempDir) -> Vec<String> {
        let entries = std::fs::read_dir(dir.path().join("etc")).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_locks_of_an_image_are_one_mans_and_are_given_back() {
        let (dir, root) = image();
        let path = dir.path().join("etc/passwd.lock");
        let taken = take(&root, Instant::now()).unwrap();
        let mut expected = NAMES;
        expected.sort();
        assert_eq!(entries(&dir), expected);
        for name in NAMES {
            let content = std::fs::read_to_string(path.with_file_name(name)).unwrap();
            let ours = format!("{}\0nodeguard", std::process::id());
            assert_eq!(content, ours, "as the tools read it, to the NUL");
        }
        drop(taken);
        assert_eq!(entries(&dir), [""; 0]);
    }

    #[test]
    fn one_lock_that_is_held_keeps_all_of_them_and_is_left_alone() {
        let holder = std::os::unix::process::parent_id();
        for held in NAMES {
            let (dir, root) = image();
            let path = dir.path().join("etc").join(held);
            std::fs::write(&path, format!("{holder}\0")).unwrap();
            let refused = take(&root, Instant::now()).unwrap_err();
            assert!(refused.contains(&format!("/etc/{held} is held by process {holder}")));
            assert_eq!(try_all(&root, &etc(&root)).unwrap().map(|_| ()), None, "{held}");
            assert_eq!(entries(&dir), [held]);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{holder}\0"));
        }
    }

    fn etc(root: &Root) -> OwnedFd {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        root.open(Path::new("/etc"), flags, Mode::empty()).unwrap()
    }

    #[test]
    fn what_a_killed_process_left_in_an_image_is_taken_away_and_nothing_else() {
        let (dir, root) = image();
        let write = |name: &str, text: &str| {
            std::fs::write(dir.path().join("etc").join(name), text).unwrap();
        };
        for name in NAMES {
            write(name, "4194303");
        }
        let ours = std::process::id();
        for name in [
            ".passwd.lock.nodeguard.4194303".to_owned(),
            ".shadow.nodeguard.4194303".to_owned(),
            format!(".passwd.nodeguard.{ours}"),
        ] {
            write(&name, "torn");
        }
        let others = [".passwd.nodeguard.x", "passwd.nodeguard.4194303"];
        for name in others {
            write(name, "somebody's");
        }
        drop(take(&root, Instant::now()).unwrap());
        assert_eq!(entries(&dir), others);
    }

    #[test]
    fn of_locks_that_nobody_holds_only_our_own_are_tidied_away() {
        let (dir, root) = image();
        let ours = std::process::id();
        let locks = [
            ("passwd.lock", "4194303\0nodeguard".to_owned()),
            ("group.lock", "4194303\0".to_owned()),
            ("gshadow.lock", format!("{ours}\0nodeguard")),
        ];
        for (name, content) in &locks {
            std::fs::write(dir.path().join("etc").join(name), content).unwrap();
        }
        tidy(&root);
        assert_eq!(entries(&dir), ["group.lock"]);
    }

    #[test]
    fn a_lock_that_is_no_regular_file_is_told_at_once_and_left_alone() {
        use std::os::unix::fs::symlink;
        type Make = fn(&Path);
        let kinds: [(&str, Make); 5] = [
            ("link", |path| symlink("/no/such/file", path).unwrap()),
            ("link", |path| symlink("/etc/passwd", path).unwrap()),
            ("directory", |path| std::fs::create_dir(path).unwrap()),
            ("fifo", |path| mknod(path, FileType::Fifo, 0)),
            ("device", |path| mknod(path, FileType::CharacterDevice, rustix::fs::makedev(1, 3))),
        ];
        for (kind, make) in kinds {
            for name in NAMES {
                let (dir, root) = image();
                let path = dir.path().join("etc").join(name);
                make(&path);
                let begin = Instant::now();
                let refused = take(&root, begin + PATIENCE).unwrap_err();
                assert!(refused.contains(&format!("/etc/{name} is a {kind}")), "{refused}");
                assert!(begin.elapsed() < PATIENCE / 10, "{refused}");
                assert_eq!(entries(&dir), [name]);
            }
        }
        let (dir, root) = image();
        let huge = std::fs::File::create(dir.path().join("etc/passwd.lock")).unwrap();
        huge.set_len(1 << 40).unwrap();
        let refused = take(&root, Instant::now() + PATIENCE).unwrap_err();
        assert!(refused.contains("has no process id in it"), "{refused}");
    }

    fn mknod(path: &Path, kind: FileType, device: u64) {
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, device).unwrap();
    }
}
