// SPDX-License-Identifier: Apache-2.0
//! The account database of an image, changed by this machine's own tools without any of them being
//! given a path into the image. They know nothing of a root that must not be left: they open
//! `etc/passwd`, and with it `passwd-`, `passwd+` and `passwd.PID`, by path, and follow what is
//! there. So what they need is copied through [`Root`] into a directory of ours, they run on that,
//! and what they made of it is put back through [`Root`] under the image's own locks, where the
//! image is still as it was copied.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::image_locks::{self, Taken};
use super::judge::account_db;
use super::locks::PATIENCE;
use super::{failure, login_defs};
use crate::model::{Obstacle, Outcome, shown};
use crate::system::files::Written;
use crate::system::private_dir::PrivateDir;
use crate::system::rewrite::{self, Before};
use crate::system::root::Root;
use crate::system::{HostError, command};

/// What the tools change, in the order in which it is put back: each file of secrets before the one
/// whose names it is about, and passwd last. Whoever finds a name finds all that belongs to it, and
/// RKE2, which looks for both names, finds both when everything is there. After an end half-way the
/// next run starts from what is there: a name in gshadow or shadow alone is replaced by the tools,
/// and a group without its user is one of the states that a pass mends.
const FILES: [&str; 6] = ["subuid", "subgid", "gshadow", "group", "shadow", "passwd"];

/// What they go by: the ranges of numbers, above all. As a distribution without a file of its own in
/// /etc has them (SUSE) as well.
const SETTINGS: [&str; 4] =
    ["etc/login.defs", "etc/default/useradd", "usr/etc/login.defs", "usr/etc/default/useradd"];

/// Directories with more of them, whose names end in `.defs` (libeconf).
const DROP_INS: [&str; 2] = ["etc/login.defs.d", "usr/etc/login.defs.d"];

/// Bytes of one file of settings, and entries in a directory of them.
const SETTINGS_LIMIT: usize = 1 << 20;
const DROP_INS_LIMIT: usize = 64;

/// Runs `program`, which is shadow-utils' `name`, on the database of an image. All of it ends within
/// `limit`. The error says what went wrong, in the tool's own words where it did.
pub(crate) fn run(
    image: &Root,
    program: &Path,
    name: &str,
    arguments: &[&str],
    limit: Duration,
) -> Result<(), String> {
    let begin = Instant::now();
    let _locks = lock(image)?;
    let copy = Copy::of(image)?;
    let left = limit.saturating_sub(begin.elapsed());
    let prefix = [OsStr::new("--prefix"), copy.private.path().as_os_str()];
    // Else useradd puts back what *this* machine noted of the logins of the number.
    let own = (name == "useradd").then_some(OsStr::new("--no-log-init"));
    let arguments = prefix.into_iter().chain(own).chain(arguments.iter().map(OsStr::new));
    command::run(image, program, arguments, left).map_err(|e| copy.of_the_image(&e.to_string()))?;
    copy.put_back()
}

fn lock(image: &Root) -> Result<Taken, String> {
    image_locks::take(image, Instant::now() + PATIENCE)
}

/// The database of an image in a directory of ours.
struct Copy {
    /// The image's /etc.
    etc: OwnedFd,
    private: PrivateDir,
    private_etc: OwnedFd,
    /// The files of [`FILES`] as they were, `None` where there is none.
    before: Vec<(&'static str, Option<Before>)>,
}

impl Copy {
    fn of(image: &Root) -> Result<Self, String> {
        let etc = open_etc(image)?;
        let private = PrivateDir::make()?;
        let directory = |name: &str| make_directory(private.fd(), name);
        let private_etc = directory("etc")?;
        for name in ["etc/default", "etc/login.defs.d", "usr", "usr/etc", "usr/etc/default"] {
            directory(name)?;
        }
        directory("usr/etc/login.defs.d")?;
        let mut before = Vec::new();
        for name in FILES {
            let path = path_of(name);
            let file = rewrite::read(&etc, name, Path::new(&path), account_db::MAX_SIZE);
            let file = file.map_err(|e| in_the_image(&e))?;
            if let Some(file) = &file {
                write(&private_etc, name, &file.content)?;
            }
            before.push((name, file));
        }
        let copy = Self { etc, private, private_etc, before };
        for path in SETTINGS {
            copy.setting(image, path)?;
        }
        for dir in DROP_INS {
            let names = image.list(&Path::new("/").join(dir), DROP_INS_LIMIT);
            let names = names.map_err(|e| in_the_image(&e))?.unwrap_or_default();
            let names = names.iter().filter_map(|name| name.to_str());
            for name in names.filter(|name| name.ends_with(".defs")) {
                copy.setting(image, &format!("{dir}/{name}"))?;
            }
        }
        Ok(copy)
    }

    /// A link is followed, inside the image: some distributions have one in this place.
    fn setting(&self, image: &Root, path: &str) -> Result<(), String> {
        match image.read(&Path::new("/").join(path), SETTINGS_LIMIT) {
            Ok(Some(content)) if path.ends_with(".defs") => {
                let given = login_defs::for_the_tools(&format!("/{path}"), &content);
                write(self.private.fd(), path, &given.map_err(|e| format!("in the image: {e}"))?)
            }
            Ok(Some(content)) => write(self.private.fd(), path, &content),
            Ok(None) => Ok(()),
            Err(e) => Err(in_the_image(&e)),
        }
    }

    /// Puts back what differs now.
    fn put_back(&self) -> Result<(), String> {
        let mut changed = Vec::new();
        for (name, before) in &self.before {
            let path = path_of(name);
            let path = Path::new(&path);
            let ours = rewrite::read(&self.private_etc, name, path, account_db::MAX_SIZE);
            match (ours.map_err(|e| e.to_string())?, before) {
                (None, None) => {}
                (None, Some(_)) => return Err(format!("the tool took {} away", path.display())),
                (Some(now), Some(before)) if now.content == before.content => {}
                (Some(now), before) => changed.push((*name, now, before)),
            }
        }
        // All of them before any of them.
        for (name, _, before) in &changed {
            let path = path_of(name);
            let still = match before {
                Some(before) => rewrite::is_still(&self.etc, name, Path::new(&path), before),
                None => crate::system::root::stat_entry(&self.etc, *name)
                    .map_or_else(|e| Ok(e == Errno::NOENT), |_| Ok(false)),
            };
            if !still.map_err(|e| in_the_image(&e))? {
                return Err(changed_meanwhile(Path::new(&path)));
            }
        }
        for (name, now, before) in &changed {
            let path = path_of(name);
            let path = Path::new(&path);
            let written = match before {
                Some(before) => rewrite::replace(&self.etc, name, path, &now.content, before),
                // As the tool made it: one that the image has not is not one of secrets.
                None => now
                    .mode()
                    .and_then(|mode| rewrite::create(&self.etc, name, path, &now.content, mode)),
            };
            match written.map_err(|e| in_the_image(&e))? {
                Written::Replaced | Written::Same => {}
                Written::Changed => return Err(changed_meanwhile(path)),
            }
        }
        Ok(())
    }

    /// Words about our directory as words about the image.
    fn of_the_image(&self, words: &str) -> String {
        let ours = self.private.path().display().to_string();
        words.replace(&format!("{ours}//"), "/").replace(&format!("{ours}/"), "/")
    }
}

/// Gives a user of an image another primary group. `usermod --prefix` looks for the group on the
/// machine it runs on and not below its prefix, so it refuses every group that only the image has.
pub(crate) fn set_primary_group(image: &Root, name: &str, gid: u32, expect_gid: u32) -> Outcome {
    let failed = |reason: String| {
        let obstacle = failure::obstacle(image, "usermod", &[], &reason);
        Outcome::Failed { reason, obstacle }
    };
    let changing = |reason| Outcome::Refused { reason, obstacle: Obstacle::Changing };
    let (_locks, etc) = match lock(image).and_then(|locks| Ok((locks, open_etc(image)?))) {
        Ok(found) => found,
        Err(reason) => return failed(reason),
    };
    let path = Path::new("/etc/passwd");
    let before = match rewrite::read(&etc, "passwd", path, account_db::MAX_SIZE) {
        Ok(before) => before,
        Err(e) => return failed(in_the_image(&e)),
    };
    let users = before.as_ref().map(|before| account_db::parse_passwd(&before.content));
    let user = users.as_ref().and_then(|users| users.user(name));
    let (Some(before), Some(users), Some(user)) =
        (&before, &users, user.filter(|user| user.gid == expect_gid))
    else {
        return changing("the account is not as it was judged".into());
    };
    if users.users_named(name).count() > 1 {
        return failed(format!("user {name} is in {} more than once", path.display()));
    }
    let Some(new) = account_db::with_primary_group(&before.content, user.line, gid) else {
        let reason = format!("{}:{} has no fourth field", path.display(), user.line);
        let obstacle = Obstacle::BrokenLine { file: "/etc/passwd".into(), line: user.line };
        return Outcome::Failed { reason, obstacle };
    };
    match rewrite::replace(&etc, "passwd", path, &new, before) {
        Ok(Written::Replaced | Written::Same) => Outcome::Applied { changes: 1 },
        Ok(Written::Changed) => changing(changed_meanwhile(path)),
        Err(e) => failed(in_the_image(&e)),
    }
}

fn open_etc(image: &Root) -> Result<OwnedFd, String> {
    image
        .open(Path::new("/etc"), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
        .map_err(|e| format!("/etc in the image: {}", std::io::Error::from(e)))
}

fn path_of(name: &str) -> String {
    format!("/etc/{name}")
}

fn in_the_image(e: &HostError) -> String {
    format!("in the image: {e}")
}

fn changed_meanwhile(path: &Path) -> String {
    format!("{} was changed by somebody else meanwhile", shown(path))
}

fn make_directory(dir: &OwnedFd, name: &str) -> Result<OwnedFd, String> {
    let cannot = |e| HostError::io("create a directory for the copy of", name, e).to_string();
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)).map_err(cannot)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(cannot)
}

/// A new file in our directory.
fn write(dir: &OwnedFd, name: &str, content: &[u8]) -> Result<(), String> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))
        .map_err(std::io::Error::from)
        .and_then(|fd| File::from(fd).write_all(content))
        .map_err(|e| HostError::io("copy", path_of(name), e).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const BEFORE: [(&str, &str); 4] =
        [("passwd", "root:x:0:\n"), ("group", "root\n"), ("shadow", "r\n"), ("gshadow", "g\n")];

    fn image() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        for (name, text) in BEFORE {
            fs::write(dir.path().join("etc").join(name), text).unwrap();
        }
        let root = Root::image(dir.path()).unwrap();
        (dir, root)
    }

    /// A copy on which a tool has worked.
    fn changed(root: &Root) -> Copy {
        let copy = Copy::of(root).unwrap();
        for (name, _) in BEFORE {
            fs::write(copy.private.path().join("etc").join(name), "new\n").unwrap();
        }
        copy
    }

    fn contents(dir: &Path) -> Vec<(String, String)> {
        let mut out: Vec<_> = fs::read_dir(dir.join("etc"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap_or_default())
            })
            .collect();
        out.sort();
        out
    }

    #[test]
    fn what_a_tool_made_of_the_copy_is_put_back_and_no_more() {
        let (dir, root) = image();
        let copy = changed(&root);
        let private = copy.private.path().join("etc");
        for name in ["passwd-", "passwd+", "passwd.lock", "other"] {
            fs::write(private.join(name), "by the tool").unwrap();
        }
        copy.put_back().unwrap();
        let names: Vec<_> = contents(dir.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["group", "gshadow", "passwd", "shadow"]);
        assert!(contents(dir.path()).iter().all(|(_, text)| text == "new\n"));
        drop(copy);
        assert!(!private.exists(), "password hashes are not left lying about");
    }

    #[test]
    fn where_one_file_is_not_as_it_was_copied_none_is_put_back() {
        type Meanwhile = fn(&Path);
        let changes: [(&str, Meanwhile); 4] = [
            ("passwd", |path| fs::write(path, "somebody's\n").unwrap()),
            ("group", |path| fs::remove_file(path).unwrap()),
            ("gshadow", |path| {
                fs::remove_file(path).unwrap();
                std::os::unix::fs::symlink("passwd", path).unwrap();
            }),
            ("subuid", |path| fs::write(path, "new meanwhile\n").unwrap()),
        ];
        for (name, change) in changes {
            let (dir, root) = image();
            let copy = changed(&root);
            fs::write(copy.private.path().join("etc/subuid"), "the tool's\n").unwrap();
            change(&dir.path().join("etc").join(name));
            let before = contents(dir.path());
            let refused = copy.put_back().unwrap_err();
            assert!(refused.contains(&format!("/etc/{name} was changed by somebody else")));
            assert_eq!(contents(dir.path()), before, "{name}");
        }
    }

    #[test]
    fn a_file_that_the_tool_took_away_is_told_and_stays() {
        let (dir, root) = image();
        let copy = changed(&root);
        fs::remove_file(copy.private.path().join("etc/shadow")).unwrap();
        let before = contents(dir.path());
        let refused = copy.put_back().unwrap_err();
        assert!(refused.contains("took /etc/shadow away"), "{refused}");
        assert_eq!(contents(dir.path()), before);
    }

    #[test]
    fn our_own_directory_has_no_place_in_the_words_of_a_tool() {
        let (_dir, root) = image();
        let copy = Copy::of(&root).unwrap();
        let ours = copy.private.path().display();
        let words = format!("useradd: cannot open {ours}//etc/passwd; {ours}/etc/shadow");
        let expected = "useradd: cannot open /etc/passwd; /etc/shadow";
        assert_eq!(copy.of_the_image(&words), expected);
    }

    #[test]
    fn settings_that_are_more_than_any_distribution_has_are_refused() {
        let (dir, root) = image();
        let at = |name: &str| dir.path().join("etc").join(name);
        let settings = |size: usize| fs::write(at("login.defs"), vec![b'#'; size]).unwrap();
        let refused = || Copy::of(&root).err();
        fs::create_dir(at("login.defs.d")).unwrap();
        for n in 0..DROP_INS_LIMIT {
            fs::write(at("login.defs.d").join(format!("{n}.defs")), "").unwrap();
        }
        settings(SETTINGS_LIMIT);
        assert_eq!(refused(), None);
        settings(SETTINGS_LIMIT + 1);
        let words = refused().unwrap();
        assert!(words.contains("/etc/login.defs "), "{words}");
        settings(0);
        fs::write(at("login.defs.d/one more"), "").unwrap();
        let words = refused().unwrap();
        assert!(words.contains("/etc/login.defs.d "), "{words}");
    }
}
