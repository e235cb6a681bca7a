// SPDX-License-Identifier: Apache-2.0
//! Numbers that sysusers.d(5) names: for the account `etcd`, and those that are somebody else's. On a
//! host systemd-sysusers has made the account of them before us; where it has not, as in an image or
//! without it, whoever makes the account gives it these.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::{Declared, DeclaredId, Kind, NAME};
use crate::model::Origin;
use crate::system::root::Root;
use crate::systemd::search_path;

/// The first one wins where two have a file of one name.
const DIRECTORIES: [&str; 4] =
    ["/etc/sysusers.d", "/run/sysusers.d", "/usr/local/lib/sysusers.d", "/usr/lib/sysusers.d"];

/// Bytes of one file.
const FILE_LIMIT: usize = 64 * 1024;

/// Lines that are kept. A distribution with everything installed has some hundred.
const MOST: usize = 4096;

/// -1 in 16 bits and in 32.
const NONE: [u32; 2] = [u16::MAX as u32, u32::MAX];

/// A line that makes a user or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) kind: Kind,
    pub(super) name: String,
    id: Option<Id>,
    /// Of a user, what stands behind a colon.
    group: Option<u32>,
    pub(super) origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Id {
    Number(u32),
    /// The number of a file's owner.
    OwnerOf(PathBuf),
}

impl Line {
    /// Whether its number is one of the two that mean "none".
    fn names_none(&self) -> bool {
        let number = match self.id {
            Some(Id::Number(id)) => Some(id),
            _ => None,
        };
        [number, self.group].into_iter().flatten().any(|id| NONE.contains(&id))
    }

    /// Whether it names a number for a user, or for a group.
    pub(super) fn names(&self, kind: Kind, id: u32) -> bool {
        let own = self.kind == kind && self.id == Some(Id::Number(id));
        own || kind == Kind::Group && self.kind == Kind::User && self.group == Some(id)
    }
}

/// All lines, in the order in which systemd-sysusers reads them. Of two for one name the first counts,
/// and the later ones are left out; one that systemd-sysusers refuses for its number counts where there
/// is no other.
pub(super) fn read(root: &Root) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for path in search_path::drop_in_files(root, &DIRECTORIES.map(PathBuf::from)) {
        let Ok(Some(content)) = root.read(&path, FILE_LIMIT) else { continue };
        let text = String::from_utf8_lossy(&content);
        for (number, line) in (1..).zip(text.lines()) {
            let origin = Origin::at(path.display().to_string(), number);
            let Some(line) = parse(line, origin) else { continue };
            let known = lines.iter().position(|it| it.kind == line.kind && it.name == line.name);
            match known {
                Some(at) if lines[at].names_none() && !line.names_none() => lines[at] = line,
                None if lines.len() < MOST => lines.push(line),
                _ => {}
            }
        }
    }
    lines
}

/// A line for a user or a group; `None` for others, and for what systemd-sysusers refuses.
fn parse(line: &str, origin: Origin) -> Option<Line> {
    let line = line.trim();
    let mut words = line.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
    let kind = match words.next()? {
        "u" | "u!" => Kind::User,
        "g" => Kind::Group,
        _ => return None,
    };
    let name = words.next().filter(|name| !name.contains('%'))?.to_owned();
    let id = words.next().filter(|id| !id.contains('%')).unwrap_or("-");
    let (id, group) = match id.split_once(':') {
        Some((id, group)) if !id.starts_with('/') && kind == Kind::User => (id, Some(group)),
        _ => (id, None),
    };
    let id = match id {
        "-" | "" => None,
        path if path.starts_with('/') => Some(Id::OwnerOf(path.into())),
        digits => Some(Id::Number(number(digits)?)),
    };
    // Behind the colon there may be a name as well.
    let group = group.and_then(number);
    Some(Line { kind, name, id, group, origin })
}

/// As systemd reads an id: digits without a sign and without a 0 before them. It refuses the two numbers
/// that stand for "none" as well; here they are kept, since whoever wrote one for etcd is to be told.
fn number(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with("00");
    let plain = plain && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| plain)
}

/// The numbers that the lines name for `etcd`.
pub(super) fn declared(root: &Root, lines: &[Line]) -> Declared {
    let line = |kind| lines.iter().find(move |line| line.kind == kind && line.name == NAME);
    let (user, group) = (line(Kind::User), line(Kind::Group));
    let certain = |line: &Line, id, required| {
        let origin = line.origin.clone();
        DeclaredId { id, required, origin }
    };
    let numbered = |line: &Line| match &line.id {
        Some(Id::Number(id)) => Some(certain(line, *id, false)),
        _ => None,
    };
    let owner = |line: Option<&Line>| match &line?.id {
        Some(Id::OwnerOf(path)) => owner_of(root, path),
        _ => None,
    };
    let of_the_users = || user.and_then(|line| Some(certain(line, line.group?, true)));
    let uid = user.and_then(numbered);
    let gid = group.and_then(numbered).or_else(of_the_users);
    Declared {
        uid_if_free: owner(user).map(|(uid, _)| uid),
        // A user without a group of its own in the lines gets one with its number.
        gid_if_free: owner(group)
            .or(owner(user))
            .map(|(_, gid)| gid)
            .or(uid.as_ref().map(|uid| uid.id)),
        uid,
        gid,
    }
}

/// uid and gid of a file; root's are nobody else's.
fn owner_of(root: &Root, path: &Path) -> Option<(u32, u32)> {
    let fd = root.open(path, OFlags::PATH, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&fd).ok()?;
    (stat.st_uid != 0 && stat.st_gid != 0).then_some((stat.st_uid, stat.st_gid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn image(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let root = Root::image(dir.path()).unwrap();
        (dir, root)
    }

    /// uid, gid, uid if free, gid if free.
    fn of(files: &[(&str, &str)]) -> String {
        let (_dir, root) = image(files);
        shown(&declared(&root, &read(&root)))
    }

    fn shown(declared: &Declared) -> String {
        let id = |id: &Option<DeclaredId>| id.as_ref().map_or("-".into(), |id| id.id.to_string());
        let free = |id: Option<u32>| id.map_or("-".into(), |id| id.to_string());
        let Declared { uid, gid, uid_if_free, gid_if_free } = declared;
        format!("{} {} {} {}", id(uid), id(gid), free(*uid_if_free), free(*gid_if_free))
    }

    #[test]
    fn a_line_names_the_numbers_that_systemd_would_give() {
        for (lines, expected) in [
            ("u etcd 52034", "52034 - - 52034"),
            ("u! etcd 52034 \"etcd user\"", "52034 - - 52034"),
            ("u etcd \"52034\"", "52034 - - 52034"),
            ("u etcd 52034:52035", "52034 52035 - 52034"),
            ("u etcd 52034:daemon", "52034 - - 52034"),
            ("u etcd -:52035", "- 52035 - -"),
            ("g etcd 52035", "- 52035 - -"),
            ("g etcd 52035\nu etcd 52034:52036", "52034 52035 - 52034"),
            ("u etcd -", "- - - -"),
            ("u etcd", "- - - -"),
            ("\tu\tetcd\t52034\n", "52034 - - 52034"),
            ("# u etcd 52034", "- - - -"),
            ("u etcd2 52034", "- - - -"),
            ("m etcd daemon", "- - - -"),
            ("r - 500-900", "- - - -"),
            ("u etcd /nowhere", "- - - -"),
            // The first valid line of a name wins.
            ("u etcd 1000\nu etcd 2000", "1000 - - 1000"),
            ("u etcd 01000\nu etcd 2000", "2000 - - 2000"),
            ("u etcd +5\nu etcd -5\nu etcd 4294967296", "- - - -"),
            // Refused as well, and told where no other line has a number.
            ("u etcd 65535", "65535 - - 65535"),
            ("u etcd 4294967295", "4294967295 - - 4294967295"),
            ("u etcd 52034:65535", "52034 65535 - 52034"),
            ("g etcd 65535", "- 65535 - -"),
            ("u etcd 65535\nu etcd 4294967295\nu etcd 2000\nu etcd 3000", "2000 - - 2000"),
            ("u etcd 2000\nu etcd 65535", "2000 - - 2000"),
            ("u+ etcd 7\nx etcd 7\nu etcd %U", "- - - -"),
        ] {
            assert_eq!(of(&[("usr/lib/sysusers.d/etcd.conf", lines)]), expected, "{lines:?}");
        }
    }

    #[test]
    fn of_two_files_of_one_name_the_first_directorys_counts_and_lines_are_read_by_file_name() {
        let at = |dir: &str, name: &str| format!("{dir}/sysusers.d/{name}.conf");
        let (etc, run, usr) = (at("etc", "x"), at("run", "x"), at("usr/lib", "x"));
        let line = |id: u32| format!("u etcd {id}\n");
        let (one, two, three) = (line(1001), line(1002), line(1003));
        let all = [(etc.as_str(), one.as_str()), (run.as_str(), &two), (usr.as_str(), &three)];
        assert_eq!(of(&all), "1001 - - 1001");
        assert_eq!(of(&all[1..]), "1002 - - 1002");
        assert_eq!(of(&all[2..]), "1003 - - 1003");
        let earlier = at("usr/lib", "a");
        assert_eq!(of(&[(&etc, &one), (&earlier, &two)]), "1002 - - 1002");
        assert_eq!(
            of(&[("etc/sysusers.d/x.conf.bak", &one), ("etc/sysusers.d/.x.conf", &one)]),
            "- - - -"
        );
        let (dir, root) = image(&[(&usr, &three)]);
        fs::create_dir_all(dir.path().join("etc/sysusers.d")).unwrap();
        symlink("/dev/null", dir.path().join(&etc)).unwrap();
        assert_eq!(read(&root), [], "it is taken away");
    }

    #[test]
    fn the_owner_of_a_file_is_taken_where_it_is_not_roots() {
        let (dir, root) = image(&[("usr/lib/sysusers.d/x.conf", "u etcd /srv/etcd\n")]);
        fs::create_dir_all(dir.path().join("srv/etcd")).unwrap();
        let numbers = || shown(&declared(&root, &read(&root)));
        std::os::unix::fs::chown(dir.path().join("srv/etcd"), Some(0), Some(0)).unwrap();
        assert_eq!(numbers(), "- - - -");
        std::os::unix::fs::chown(dir.path().join("srv/etcd"), Some(812), Some(813)).unwrap();
        assert_eq!(numbers(), "- - 812 813");
    }

    #[test]
    fn there_is_a_limit_to_a_file_and_to_lines() {
        let large = format!("u etcd 1000\n{}", "#".repeat(FILE_LIMIT));
        assert_eq!(of(&[("etc/sysusers.d/x.conf", &large)]), "- - - -");
        let part = |from: usize| -> String {
            (from..from + 1024).map(|n| format!("u u{n} {}\n", 70_000 + n)).collect()
        };
        let parts: Vec<_> =
            (0..5).map(|n| (format!("etc/sysusers.d/{n}.conf"), part(n * 1024))).collect();
        let files: Vec<_> =
            parts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let (_dir, root) = image(&files);
        let lines = read(&root);
        assert_eq!(lines.len(), MOST);
        assert!(lines[0].names(Kind::User, 70_000) && !lines[0].names(Kind::Group, 70_000));
    }
}
