// SPDX-License-Identifier: Apache-2.0
//! The files of an operator's override, one for each role, below /run/nodeguard: the word that
//! the next start may be let through, which that start's gate takes away, and the note of a start
//! that was. Only root writes there, and a boot empties it.

use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::time::ClockId;

use super::judge::overrides::{Facts, Token, Used};
use crate::model::Role;
use crate::system::root::Root;
use crate::system::temporary::name_beside;
use crate::system::{HostError, files};

/// Bytes of either file.
const LIMIT: usize = 16 * 1024;

/// The word that has not been used.
pub fn token(role: Role) -> PathBuf {
    format!("/run/nodeguard/override-{role}").into()
}

/// The note of the start that used one.
pub fn note(role: Role) -> PathBuf {
    format!("/run/nodeguard/overridden-{role}").into()
}

/// What a pass reports.
pub(crate) fn observe(root: &Root, role: Role) -> Facts {
    if !root.is_live() || role == Role::Unknown {
        return Facts::default();
    }
    let pending = read(root, &token(role)).and_then(|content| counting(root, &content).ok());
    let used = read(root, &note(role));
    let used = used.and_then(|content| serde_json::from_slice::<Used>(&content).ok());
    Facts { role: Some(role), pending, used }
}

/// Writes the word for the next start down. `by` and `reason` are the operator's.
pub fn ask(root: &Root, role: Role, reason: &str, at: &str) -> Result<Token, HostError> {
    let path = token(role);
    let Now { boot, since_boot } = now(root)?;
    let word = Token { by: who(root), reason: reason.into(), at: at.into(), since_boot, boot };
    files::put(root, &path, &serde_json::to_vec(&word).unwrap_or_default())?;
    Ok(word)
}

/// Takes the word back; whether there was one.
pub fn withdraw(root: &Root, role: Role) -> Result<bool, HostError> {
    take_away(root, &token(role))
}

/// The word for this start, if there is one, taken away before anybody goes by it: of two gates
/// one has it, and neither has it twice. The error says why one that was there does not count.
pub fn claim(root: &Root, role: Role) -> Option<Result<Token, String>> {
    let path = token(role);
    let dir = path.parent()?;
    // Nobody but root may have put it there, whatever somebody did to the directory.
    if let Some((path, reason)) = root.unsafe_component(&path) {
        let reason = format!("{} {reason}: no override below it counts", path.display());
        return root.stat(&token(role)).is_ok().then_some(Err(reason));
    }
    let dir = match root.open(dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
        Ok(dir) => dir,
        Err(_) => return None,
    };
    let name = path.file_name()?;
    // Named like what a killed writer leaves, so that it is swept if this is the end of us, and
    // locked, so that it is not before.
    let ours = name_beside(name);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let lock = rustix::fs::openat(&dir, name, flags, Mode::empty()).ok();
    let _lock =
        lock.filter(|fd| rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive).is_ok());
    match rustix::fs::renameat(&dir, name, &dir, &ours) {
        Ok(()) => {}
        Err(Errno::NOENT) => return None,
        Err(e) => return Some(Err(format!("{} cannot be taken away: {e}", path.display()))),
    }
    let content = open_trusted(root, &path.with_file_name(&ours));
    if let Err(e) = rustix::fs::unlinkat(&dir, &ours, AtFlags::empty()) {
        return Some(Err(format!("{} cannot be removed: {e}", path.display())));
    }
    Some(content.and_then(|content| counting(root, &content)))
}

/// Notes that RKE2 was started by an override, until its next start.
pub fn remember(root: &Root, role: Role, used: &Used) -> Result<(), HostError> {
    files::put(root, &note(role), &serde_json::to_vec(used).unwrap_or_default())
}

/// A new start of RKE2's is not that one any more.
pub fn forget(root: &Root, role: Role) -> Result<bool, HostError> {
    take_away(root, &note(role))
}

fn take_away(root: &Root, path: &Path) -> Result<bool, HostError> {
    let (dir, name) = match root.open_parent(path) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(false),
        Err(e) => return Err(HostError::io("open the directory of", path, e)),
    };
    match rustix::fs::unlinkat(&dir, &name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(HostError::io("remove", path, e)),
    }
}

fn read(root: &Root, path: &Path) -> Option<Vec<u8>> {
    open_trusted(root, path).ok()
}

/// A regular file of root's that nobody else can write.
fn open_trusted(root: &Root, path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |reason: &str| format!("{}: {reason}", path.display());
    let fd = root
        .open(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
        .map_err(|e| wrong(&e.to_string()))?;
    let stat = rustix::fs::fstat(&fd).map_err(|e| wrong(&e.to_string()))?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !regular || stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
        return Err(wrong("expected a regular file that only root can write"));
    }
    root.read_opened(&fd, path, LIMIT).map_err(|e| e.to_string())
}

/// The word in a token, if it still counts.
fn counting(root: &Root, content: &[u8]) -> Result<Token, String> {
    let word: Token = serde_json::from_slice(content).map_err(|e| format!("it is broken: {e}"))?;
    let Now { boot, since_boot } = now(root).map_err(|e| e.to_string())?;
    if word.counts(&boot, since_boot) {
        Ok(word)
    } else {
        Err(format!("it expired: {} asked for it at {}", word.by, word.at))
    }
}

struct Now {
    boot: String,
    since_boot: u64,
}

fn now(root: &Root) -> Result<Now, HostError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let boot = root.read(path, 64)?.unwrap_or_default();
    let since_boot = rustix::time::clock_gettime(ClockId::Boottime).tv_sec;
    Ok(Now {
        boot: String::from_utf8_lossy(boot.trim_ascii()).into_owned(),
        since_boot: u64::try_from(since_boot).unwrap_or_default(),
    })
}

/// Who logged in to ask, as the kernel keeps it through sudo and su.
fn who(root: &Root) -> String {
    let login = root.read(Path::new("/proc/self/loginuid"), 32).ok().flatten().unwrap_or_default();
    let login = String::from_utf8_lossy(login.trim_ascii()).parse::<u32>().ok();
    // All ones: nobody logged in, as for a service.
    let Some(uid) = login.filter(|&uid| uid != u32::MAX) else { return "root".into() };
    let name = crate::controls::etcd_account::observe::read(root)
        .ok()
        .and_then(|db| db.users.users_with_uid(uid).next().map(|user| user.name.clone()));
    name.unwrap_or_else(|| format!("uid {uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    const TOKEN: &str = "run/nodeguard/override-server";

    fn image() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for path in ["run/nodeguard", "proc/sys/kernel/random", "etc"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        fs::write(dir.path().join("proc/sys/kernel/random/boot_id"), "one\n").unwrap();
        let root = Root::image(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn a_word_is_had_once_and_only_by_its_role() {
        let (dir, root) = image();
        assert_eq!(claim(&root, Role::Server), None);
        let word = ask(&root, Role::Server, "because", "then").unwrap();
        assert_eq!(claim(&root, Role::Agent), None);
        assert_eq!(claim(&root, Role::Server), Some(Ok(word)));
        assert_eq!(claim(&root, Role::Server), None);
        assert_eq!(fs::read_dir(dir.path().join("run/nodeguard")).unwrap().count(), 0);
        ask(&root, Role::Server, "because", "then").unwrap();
        assert!(withdraw(&root, Role::Server).unwrap());
        assert_eq!(claim(&root, Role::Server), None);
    }

    #[test]
    fn what_does_not_count_is_taken_away_with_the_reason() {
        let (dir, root) = image();
        let token = dir.path().join(TOKEN);
        let refused = |what: &str| {
            let reason = claim(&root, Role::Server).unwrap().unwrap_err();
            assert!(reason.contains(what), "{reason}");
            assert!(fs::symlink_metadata(&token).is_err(), "{what}: it is gone");
        };
        fs::write(&token, "{").unwrap();
        refused("broken");

        ask(&root, Role::Server, "because", "then").unwrap();
        fs::write(dir.path().join("proc/sys/kernel/random/boot_id"), "two\n").unwrap();
        refused("expired");

        ask(&root, Role::Server, "because", "then").unwrap();
        chown(&token, Some(4321), None).unwrap();
        refused("only root can write");

        ask(&root, Role::Server, "because", "then").unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o666)).unwrap();
        refused("only root can write");

        ask(&root, Role::Server, "because", "then").unwrap();
        fs::rename(&token, dir.path().join("run/elsewhere")).unwrap();
        symlink("../elsewhere", &token).unwrap();
        assert!(claim(&root, Role::Server).unwrap().is_err());
        assert!(dir.path().join("run/elsewhere").exists(), "the link went, not what it leads to");
    }

    #[test]
    fn below_a_directory_of_somebody_elses_no_word_counts() {
        let (dir, root) = image();
        ask(&root, Role::Server, "because", "then").unwrap();
        fs::set_permissions(dir.path().join("run/nodeguard"), fs::Permissions::from_mode(0o777))
            .unwrap();
        assert!(claim(&root, Role::Server).unwrap().is_err());
    }
}
