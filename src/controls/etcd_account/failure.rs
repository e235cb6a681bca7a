// SPDX-License-Identifier: Apache-2.0
//! Why an account tool failed. Its words name the step that failed and rarely the cause: "cannot
//! open /etc/passwd" is all that is said of an immutable file. So the words are taken for a hint,
//! and the cause is looked for. Nothing here changes the host.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use super::NAME;
use super::fixed::{WRITTEN, fixed};
use super::locks::{self, Lock};
use super::login_defs::{self, Assignment};
use super::observe::{self, Accounts};
use crate::model::{LockState, NumberRange, Obstacle, Origin, shown};
use crate::system::listing::{has_suffix, sorted_names};
use crate::system::obstacle;
use crate::system::root::Root;

/// Where the ranges are, the vendor's file only where there is no other (shadow with libeconf).
const LOGIN_DEFS: [&str; 2] = ["/etc/login.defs", "/usr/etc/login.defs"];
const DROP_INS: &str = "/etc/login.defs.d";

/// Bytes of one file.
const LIMIT: usize = 64 * 1024;

/// Drop-ins that are read.
const FILES: usize = 64;

/// Numbers that systemd and the distributions leave alone: neither people's nor a service's.
const UNUSED: std::ops::RangeInclusive<u32> = 60_578..=61_183;

/// What kept `tool`, which was run with `arguments` and ended with `words`, from its work.
pub(crate) fn obstacle(root: &Root, tool: &str, arguments: &[&str], words: &str) -> Obstacle {
    let says = |text: &str| words.contains(text);
    if says(&format!("no {tool} in ")) {
        return Obstacle::NoTool { name: tool.into() };
    }
    if says("expected a program that only root can change") {
        let path = words.split(" is ").next().unwrap_or_default();
        return Obstacle::UntrustedTool { path: path.into() };
    }
    if (says("lock") || says("did not end within"))
        && let Some(found) = lock(root, words)
    {
        return found;
    }
    if says("did not end within") {
        return Obstacle::ToolHangs { name: tool.into() };
    }
    if says("was changed by somebody else") {
        return Obstacle::Changing;
    }
    if let Some(found) = files(root) {
        return found;
    }
    let failed = || Obstacle::ToolFailed { name: tool.into() };
    if let Some(Assignment { origin: Origin { file, line: Some(line) }, .. }) =
        login_defs(root).into_iter().find(|set| says(&set.origin.to_string()) && set.is_unsafe())
    {
        return Obstacle::BrokenLine { file, line };
    }
    let Ok(db) = observe::read(root) else { return failed() };
    if ["no more available", "get unique", "Invalid configuration"].iter().any(|text| says(text)) {
        return numbers(root, &db, tool, arguments);
    }
    if says("multiple entries named") || says("more than once") {
        let twice = db.groups.groups_named(NAME).count() > 1;
        return Obstacle::Twice { file: if twice { "/etc/group" } else { "/etc/passwd" } };
    }
    if says("already exists") || says("is not unique") || says("exists - if you want") {
        return taken(&db);
    }
    if says("Permission denied") {
        return Obstacle::Denied { path: "/etc".into() };
    }
    failed()
}

fn lock(root: &Root, words: &str) -> Option<Obstacle> {
    let told = |path: &str, state| Some(Obstacle::Lock { path: path.into(), state });
    match locks::look(root) {
        Lock::Special { path, .. } => told(path, LockState::NotRegular),
        Lock::Held { path, pid } => {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            told(path, LockState::Held { pid, name: shown(Path::new(name.trim())) })
        }
        Lock::Nobodys { path } => told(path, LockState::Nameless),
        // The tools take a dead one's away themselves; we do not.
        Lock::Open if words.contains("a dead process's") => {
            let path = locks::FILES.into_iter().find(|path| words.contains(path))?;
            told(path, LockState::Stale)
        }
        Lock::Open => None,
    }
}

/// Whether the files, or the file system they are on, cannot be written.
fn files(root: &Root) -> Option<Obstacle> {
    let etc = Path::new("/etc");
    let directory = root.open(etc, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).ok()?;
    if obstacle::is_read_only(&directory) {
        let what = obstacle::what_is_read_only(&directory);
        return Some(Obstacle::ReadOnly { path: etc.into(), what });
    }
    if let Some(found) = fixed(root) {
        return Some(found);
    }
    let odd = WRITTEN[1..].iter().find(|path| {
        let stat = root.stat(Path::new(path));
        stat.is_ok_and(|s| FileType::from_raw_mode(s.st_mode) != FileType::RegularFile)
    });
    if let Some(path) = odd {
        return Some(Obstacle::NotRegular { path: path.into() });
    }
    let space = rustix::fs::fstatvfs(&directory).ok()?;
    // A file system that counts no inodes has none of either.
    let full = space.f_bfree == 0 && space.f_blocks > 0 || space.f_ffree == 0 && space.f_files > 0;
    full.then(|| Obstacle::NoSpace { path: etc.into() })
}

/// A name that the tool met and we did not.
fn taken(db: &Accounts) -> Obstacle {
    let lines = [("/etc/passwd", &db.users.malformed), ("/etc/group", &db.groups.malformed)];
    let ours = lines.into_iter().find_map(|(file, lines)| {
        let line = lines.iter().find(|line| line.name == NAME)?.line;
        Some(Obstacle::BrokenLine { file: file.into(), line })
    });
    ours.unwrap_or_else(|| Obstacle::NameTaken { name: NAME.into() })
}

/// The ranges that are empty or used up, of those that the tool chooses from.
fn numbers(root: &Root, db: &Accounts, tool: &str, arguments: &[&str]) -> Obstacle {
    let uids: BTreeSet<u64> = db.users.entries.iter().map(|user| user.uid.into()).collect();
    let gids: BTreeSet<u64> = db.groups.entries.iter().map(|group| group.gid.into()).collect();
    let settings = login_defs(root);
    let both = |n: &u32| !uids.contains(&u64::from(*n)) && !gids.contains(&u64::from(*n));
    let free = UNUSED.into_iter().find(both);
    let has = |flag: &str| arguments.contains(&flag);
    let chosen = match tool {
        "groupadd" => [false, !has("-g")],
        _ => [!has("-u"), has("-U")],
    };
    let ranges = [range(&settings, "uid", free), range(&settings, "gid", free)];
    let mut wanted: Vec<_> = ranges
        .into_iter()
        .zip([&uids, &gids])
        .zip(chosen)
        .filter_map(|(of, chosen)| chosen.then_some(of))
        .collect();
    if let Some((range, _)) = wanted.iter().find(|(range, _)| range.least > range.greatest) {
        return Obstacle::EmptyRange { range: range.clone() };
    }
    let is_used_up = |(range, used): &(NumberRange, &BTreeSet<u64>)| {
        // Ends at the first one that is free.
        (range.least..=range.greatest).all(|number| used.contains(&number))
    };
    if wanted.iter().any(is_used_up) {
        wanted.retain(is_used_up);
    }
    Obstacle::NoFreeNumber { ranges: wanted.into_iter().map(|(range, _)| range).collect() }
}

fn login_defs(root: &Root) -> Vec<Assignment> {
    let mut paths: Vec<PathBuf> = LOGIN_DEFS
        .iter()
        .map(PathBuf::from)
        .filter(|path| root.stat(path).is_ok())
        .take(1)
        .collect();
    let drop_ins = sorted_names(root, Path::new(DROP_INS)).unwrap_or_default();
    paths.extend(drop_ins.into_iter().filter(|path| has_suffix(path, ".defs")).take(FILES));
    let mut out = Vec::new();
    for path in paths {
        let content = root.read(&path, LIMIT).ok().flatten().unwrap_or_default();
        out.extend(login_defs::parse(&shown(&path), &content));
    }
    out
}

/// A range as the tools make it of login.defs and their own defaults; of a key the last line counts.
fn range(settings: &[Assignment], word: &'static str, free: Option<u32>) -> NumberRange {
    let (least_key, greatest_key, people) = match word {
        "uid" => ("SYS_UID_MIN", "SYS_UID_MAX", "UID_MIN"),
        _ => ("SYS_GID_MIN", "SYS_GID_MAX", "GID_MIN"),
    };
    let last = |key: &str| settings.iter().rev().find(|assignment| assignment.key == key);
    let (least, greatest) = (last(least_key), last(greatest_key));
    let first_of_people = last(people).map_or(1000, |assignment| assignment.value);
    NumberRange {
        word,
        least_key,
        greatest_key,
        least: least.map_or(101, |assignment| assignment.value),
        greatest: greatest.map_or(first_of_people.saturating_sub(1), |set| set.value),
        origin: greatest.or(least).map(|assignment| assignment.origin.clone()),
        free,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn image(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let root = Root::image(dir.path()).unwrap();
        (dir, root)
    }

    const FULL: &str = "useradd: Can't get unique UID (no more available UIDs)";

    fn people(numbers: std::ops::RangeInclusive<u32>) -> String {
        numbers.map(|n| format!("u{n}:x:{n}:{n}::/:/bin/false\n")).collect()
    }

    fn groups(numbers: std::ops::RangeInclusive<u32>) -> String {
        numbers.map(|n| format!("g{n}:x:{n}:\n")).collect()
    }

    #[test]
    fn a_used_up_range_is_named_with_the_line_that_sets_it_and_a_number_that_is_free() {
        let defs = "# SYS_UID_MAX 5\nSYS_UID_MIN 100\nSYS_UID_MAX\t0x6e # 110\n";
        let defs = &defs.replace(" # 110", "");
        let (_dir, root) = image(&[
            ("etc/login.defs", defs),
            ("etc/passwd", &(people(100..=110) + &people(60_578..=60_578))),
            ("etc/group", &groups(101..=999)),
        ]);
        let found = |arguments: &[&str]| {
            let Obstacle::NoFreeNumber { ranges } = obstacle(&root, "useradd", arguments, FULL)
            else {
                panic!()
            };
            let described = |range: NumberRange| {
                let origin = range.origin.map_or("-".into(), |origin| origin.to_string());
                format!(
                    "{} {}-{} {origin} {:?}",
                    range.word, range.least, range.greatest, range.free
                )
            };
            ranges.into_iter().map(described).collect::<Vec<_>>()
        };
        let uid = "uid 100-110 /etc/login.defs:3 Some(60579)";
        assert_eq!(found(&["-r", "-U"]), [uid, "gid 101-999 - Some(60579)"]);
        assert_eq!(found(&["-r", "-g", "etcd"]), [uid]);
    }

    #[test]
    fn a_range_without_a_number_in_it_is_another_mistake() {
        let (_dir, root) = image(&[("etc/login.defs.d/x.defs", "SYS_UID_MIN 500\nUID_MIN 400\n")]);
        let words = "useradd: Invalid configuration: SYS_UID_MIN (500), UID_MIN (400), SYS_UID_MAX";
        let Obstacle::EmptyRange { range } = obstacle(&root, "useradd", &["-r"], words) else {
            panic!()
        };
        assert_eq!((range.least, range.greatest), (500, 399));
        assert_eq!(range.origin, Some(Origin::at("/etc/login.defs.d/x.defs", 1)));
    }

    #[test]
    fn of_login_defs_no_more_is_read_than_anybody_writes() {
        let (dir, root) = image(&[("etc/login.defs", "SYS_UID_MAX 1\n")]);
        fs::create_dir(dir.path().join("etc/login.defs.d")).unwrap();
        for n in 0..FILES + 9 {
            let path = dir.path().join(format!("etc/login.defs.d/{n:03}.defs"));
            fs::write(path, format!("SYS_UID_MAX {n}\n")).unwrap();
        }
        assert_eq!(login_defs(&root).len(), 1 + FILES);
        let large = format!("SYS_UID_MAX 1\n{}", "#".repeat(LIMIT));
        let (_dir, root) = image(&[("etc/login.defs", &large)]);
        assert_eq!(login_defs(&root).len(), 0);
    }

    #[test]
    fn a_lock_is_told_by_what_it_is() {
        let words = "useradd: cannot lock /etc/passwd; try again later.";
        let of = |make: &dyn Fn(&Path)| {
            let (dir, root) = image(&[]);
            make(&dir.path().join("etc/passwd.lock"));
            match obstacle(&root, "useradd", &[], words) {
                Obstacle::Lock { state, .. } => state,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(of(&|path| fs::create_dir(path).unwrap()), LockState::NotRegular);
        assert_eq!(of(&|path| symlink("/nowhere", path).unwrap()), LockState::NotRegular);
        assert_eq!(of(&|path| fs::write(path, "").unwrap()), LockState::Nameless);
        let holder = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        let held = of(&|path| fs::write(path, format!("{holder}\0")).unwrap());
        assert!(matches!(held, LockState::Held { pid, .. } if pid == holder), "{held:?}");
    }

    #[test]
    fn what_the_tools_say_of_names_and_programs_is_understood() {
        let (_dir, root) = image(&[("etc/passwd", "root:x:0:0::/root:/bin/sh\netcd:x:12\n")]);
        let of = |words: &str| obstacle(&root, "useradd", &["-r"], words);
        let broken = Obstacle::BrokenLine { file: "/etc/passwd".into(), line: 2 };
        assert_eq!(of("useradd: user 'etcd' already exists"), broken);
        assert_eq!(
            of("no useradd in /usr/sbin, expected"),
            Obstacle::NoTool { name: "useradd".into() }
        );
        let hangs = "/usr/sbin/useradd did not end within 20 s and was killed";
        assert_eq!(of(hangs), Obstacle::ToolHangs { name: "useradd".into() });
        let untrusted =
            "/usr/sbin/useradd is owned by uid 7, expected a program that only root can change";
        assert_eq!(of(untrusted), Obstacle::UntrustedTool { path: "/usr/sbin/useradd".into() });
        let failed = Obstacle::ToolFailed { name: "useradd".into() };
        assert_eq!(of("useradd: something new"), failed);
        let twice = Obstacle::Twice { file: "/etc/passwd" };
        assert_eq!(of("usermod: multiple entries named 'etcd' in /etc/passwd"), twice);
    }
}
