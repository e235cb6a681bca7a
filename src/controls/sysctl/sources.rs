// SPDX-License-Identifier: Apache-2.0
//! Gathering what decides about kernel parameters at boot: sysctl.d, the command line, the
//! credential, TuneD's profile. Nothing here changes the host.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::sysctl_d::{
    self, ACTIVE_PROFILE, Body, File, KERNEL_FILE, PROFILE_DIRECTORIES, Place, SUFFIX, SYSCTL_CONF,
    Sources, TUNED_MAIN, TunedSources,
};
use crate::system::HostError;
use crate::system::root::Root;

/// Bytes of one file. What systemd-sysctl has a limit for is one line, and it is this one; a
/// file larger than that is none that somebody wrote.
const FILE_LIMIT: usize = 1 << 20;

/// Bytes of all files together. A distribution ships a dozen of some kilobytes.
const TOTAL_LIMIT: usize = 4 << 20;

/// Lines of all files together, empty ones and comments left out. Each takes some 200 bytes once it
/// is read, and every parameter is looked for in all of them.
const LINES_LIMIT: usize = 16_384;

/// Files in one directory.
const FILES_LIMIT: usize = 1024;

/// Profiles of TuneD that include one another.
const PROFILES_LIMIT: usize = 32;

/// Where systemd-sysctl's credential comes from, the first that is there.
const CREDENTIALS: [&str; 5] = [
    "/run/credentials/@system/sysctl.extra",
    "/etc/credstore/sysctl.extra",
    "/run/credstore/sysctl.extra",
    "/usr/local/lib/credstore/sysctl.extra",
    "/usr/lib/credstore/sysctl.extra",
];

const COMMAND_LINE: &str = "/proc/cmdline";
const RELEASE: &str = "/proc/sys/kernel/osrelease";
const TUNED_ENABLED: &str = "/etc/systemd/system/multi-user.target.wants/tuned.service";

/// Everything that decides about kernel parameters at boot, as it is now.
pub fn observe(root: &Root) -> Sources {
    let mut gathering =
        Gathering { root, left: TOTAL_LIMIT, lines: LINES_LIMIT, unread: Vec::new() };
    let mut directories = Vec::new();
    for place in Place::ALL {
        if place == Place::Lib && same_directory(root, Place::UsrLib, Place::Lib) {
            continue;
        }
        let files = gathering.directory(place);
        if !files.is_empty() {
            directories.push((place, files));
        }
    }
    let sysctl_conf = gathering.file(SYSCTL_CONF);
    let credential = CREDENTIALS.iter().find_map(|path| gathering.file(path));
    let tuned = gathering.tuned();
    let of_the_kernel = |path: &str| {
        let text =
            root.is_live().then(|| root.read(Path::new(path), FILE_LIMIT).ok()?).flatten()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    };
    let command_line = of_the_kernel(COMMAND_LINE);
    let kernel_file = of_the_kernel(RELEASE)
        .and_then(|release| gathering.file(&format!("{KERNEL_FILE}{}", release.trim())));
    let unread = gathering.unread;
    Sources { directories, sysctl_conf, kernel_file, command_line, credential, tuned, unread }
}

struct Gathering<'r> {
    root: &'r Root,
    /// Bytes that may still be read.
    left: usize,
    /// Lines that may still be read.
    lines: usize,
    unread: Vec<(String, String)>,
}

impl Gathering<'_> {
    fn directory(&mut self, place: Place) -> Vec<File> {
        let names = match self.root.list(Path::new(place.path()), FILES_LIMIT) {
            Ok(names) => names.unwrap_or_default(),
            Err(e) => {
                self.unread.push((place.path().into(), e.to_string()));
                return Vec::new();
            }
        };
        names
            .iter()
            .filter(|name| name.as_bytes().ends_with(SUFFIX.as_bytes()))
            .filter_map(|name| {
                let path = format!("{}/{}", place.path(), name.to_string_lossy());
                if name.to_str().is_none() {
                    self.unread.push((path, "its name is no text".into()));
                    return None;
                }
                self.file(&path)
            })
            .collect()
    }

    /// `None` where there is no such entry.
    fn file(&mut self, path: &str) -> Option<File> {
        let mut link_to = None;
        let flags = OFlags::PATH;
        let mut opened = self.root.open(Path::new(path), flags | OFlags::NOFOLLOW, Mode::empty());
        if opened.as_ref().is_ok_and(|fd| is(fd, FileType::Symlink)) {
            let target = self.root.read_link(Path::new(path)).ok()?;
            link_to = Some(target.to_string_lossy().into_owned());
            if target == Path::new("/dev/null") {
                return Some(File { path: path.into(), link_to, body: Body::Masked });
            }
            // Whatever it leads to counts; in an image the lookup stays in the image.
            opened = self.root.open(Path::new(path), flags, Mode::empty());
        }
        let body = match opened {
            Err(Errno::NOENT | Errno::NOTDIR) if link_to.is_none() => return None,
            Err(Errno::NOENT | Errno::NOTDIR) => Body::Dangling,
            Err(e) => self.refused(path, std::io::Error::from(e).to_string()),
            // /dev/null and the like, behind however many links: nothing is in it.
            Ok(fd) if is(&fd, FileType::CharacterDevice) => Body::Masked,
            Ok(fd) => {
                match self.root.read_opened(&fd, Path::new(path), FILE_LIMIT.min(self.left)) {
                    Ok(text) => self.taken(path, text),
                    Err(HostError::TooLarge { .. }) if self.left < FILE_LIMIT => {
                        let reason = format!("more than {TOTAL_LIMIT} bytes in all such files");
                        self.refused(path, reason)
                    }
                    Err(e) => self.refused(path, e.to_string()),
                }
            }
        };
        Some(File { path: path.into(), link_to, body })
    }

    /// What was read counts, unless all files together have said too much by now.
    fn taken(&mut self, path: &str, text: Vec<u8>) -> Body {
        let lines = sysctl_d::count(&text);
        if lines > self.lines {
            return self.refused(path, format!("more than {LINES_LIMIT} lines in all such files"));
        }
        self.left -= text.len();
        self.lines -= lines;
        Body::Text(text)
    }

    fn refused(&mut self, path: &str, reason: String) -> Body {
        self.unread.push((path.into(), reason.clone()));
        Body::Unreadable(reason)
    }

    fn tuned(&mut self) -> Option<TunedSources> {
        let Body::Text(active) = self.file(ACTIVE_PROFILE)?.body else { return None };
        let profile = String::from_utf8_lossy(&active).into_owned();
        let mut profiles = Vec::new();
        for name in sysctl_d::names(&profile) {
            self.profile(name, &mut profiles, &mut Vec::new());
        }
        Some(TunedSources {
            enabled: self.root.stat(Path::new(TUNED_ENABLED)).is_ok(),
            main: self.file(TUNED_MAIN),
            profile,
            profiles,
        })
    }

    /// A profile's file behind those of the profiles that it includes. As in TuneD a file is taken
    /// once, so that a profile of /etc may include the one of the same name below /usr.
    fn profile(&mut self, name: &str, out: &mut Vec<File>, taken: &mut Vec<String>) {
        let name = name.strip_prefix('-').unwrap_or(name);
        // Only dots: a directory above.
        if name.chars().all(|c| c == '.') || taken.len() >= PROFILES_LIMIT {
            return;
        }
        for directory in PROFILE_DIRECTORIES {
            let path = format!("{directory}/{name}/tuned.conf");
            if taken.contains(&path) || out.iter().any(|file| file.path == path) {
                continue;
            }
            let Some(file) = self.file(&path) else { continue };
            taken.push(path);
            if let Body::Text(text) = &file.body {
                for included in sysctl_d::includes(text) {
                    self.profile(&included, out, taken);
                }
            }
            out.push(file);
            return;
        }
    }
}

fn is(fd: &OwnedFd, kind: FileType) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind)
}

fn same_directory(root: &Root, a: Place, b: Place) -> bool {
    let id = |place: Place| {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let fd = root.open(Path::new(place.path()), flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&fd).ok()?;
        Some((stat.st_dev, stat.st_ino))
    };
    id(b).is_some_and(|b| id(a) == Some(b))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Image(tempfile::TempDir);

    impl Image {
        fn new(files: &[(&str, &[u8])]) -> Self {
            let image = Self(tempfile::tempdir().unwrap());
            for (path, text) in files {
                let path = image.0.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            image
        }

        fn link(&self, target: &str, path: &str) {
            symlink(target, self.0.path().join(path)).unwrap();
        }

        fn observe(&self) -> Sources {
            observe(&Root::image(self.0.path()).unwrap())
        }
    }

    fn bodies(sources: &Sources) -> Vec<(String, Body)> {
        let mut all: Vec<_> = sources
            .directories
            .iter()
            .flat_map(|(_, files)| files)
            .map(|file| (file.name().to_owned(), file.body.clone()))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    #[test]
    fn links_are_followed_inside_the_image_and_never_out_of_it() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::write(outside.path(), "kernel.panic=666").unwrap();
        let image = Image::new(&[("etc/sysctl.d/1.conf", b"a.b=1"), ("etc/sysctl.conf", b"c.d=2")]);
        image.link("../sysctl.conf", "etc/sysctl.d/2.conf");
        image.link("/etc/sysctl.conf", "etc/sysctl.d/3.conf");
        image.link(outside.path().to_str().unwrap(), "etc/sysctl.d/4.conf");
        image.link("/dev/null", "etc/sysctl.d/5.conf");
        image.link("6.conf", "etc/sysctl.d/6.conf");
        fs::create_dir(image.0.path().join("etc/sysctl.d/7.conf")).unwrap();
        let sources = image.observe();
        let got = bodies(&sources);
        let text = |text: &str| Body::Text(text.as_bytes().to_vec());
        assert_eq!(got[0].1, text("a.b=1"));
        assert_eq!((&got[1].1, &got[2].1), (&text("c.d=2"), &text("c.d=2")));
        assert_eq!((&got[3].1, &got[4].1), (&Body::Dangling, &Body::Masked));
        assert!(matches!(got[5].1, Body::Unreadable(_)), "a link to itself: {got:?}");
        assert!(matches!(got[6].1, Body::Unreadable(_)), "a directory: {got:?}");
        assert_eq!(sources.unread.len(), 2);
        assert_eq!(sources.command_line, None, "the running kernel's is none of an image's");
    }

    #[test]
    fn lib_counts_only_where_it_is_a_directory_of_its_own() {
        let merged = Image::new(&[("usr/lib/sysctl.d/a.conf", b"a.b=1")]);
        merged.link("usr/lib", "lib");
        assert_eq!(merged.observe().directories.len(), 1);
        let split = Image::new(&[("usr/lib/sysctl.d/a.conf", b""), ("lib/sysctl.d/b.conf", b"")]);
        assert_eq!(split.observe().directories.len(), 2);
    }

    #[test]
    fn what_is_too_much_is_said_and_the_rest_is_read() {
        let large = vec![b'#'; FILE_LIMIT + 1];
        let full = vec![b'#'; FILE_LIMIT];
        let image = Image::new(&[
            ("etc/sysctl.d/0.conf", &large),
            ("run/sysctl.d/1.conf", &full),
            ("run/sysctl.d/2.conf", &full),
            ("run/sysctl.d/3.conf", &full),
            ("run/sysctl.d/4.conf", &full),
            ("usr/lib/sysctl.d/5.conf", b"a.b=1"),
        ]);
        let sources = image.observe();
        let unread: Vec<&str> = sources.unread.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(unread, ["/etc/sysctl.d/0.conf", "/usr/lib/sysctl.d/5.conf"]);

        let lines = "a.b=1\n# c\n\n".repeat(LINES_LIMIT / 2 + 1).into_bytes();
        let image = Image::new(&[
            ("etc/sysctl.d/1.conf", &lines),
            ("etc/sysctl.d/2.conf", &lines),
            ("usr/lib/sysctl.d/3.conf", b"a.b=1"),
        ]);
        let sources = image.observe();
        let [(path, reason)] = &sources.unread[..] else { panic!("{:?}", sources.unread) };
        assert!(path.starts_with("/etc/sysctl.d/"), "the one that was read last: {path}");
        assert_eq!(reason, "more than 16384 lines in all such files");
        assert_eq!(bodies(&sources)[2].1, Body::Text(b"a.b=1".to_vec()));

        let many = Image::new(&[("usr/lib/sysctl.d/5.conf", b"a.b=1")]);
        fs::create_dir_all(many.0.path().join("etc/sysctl.d")).unwrap();
        for number in 0..=FILES_LIMIT {
            fs::write(many.0.path().join(format!("etc/sysctl.d/{number}.conf")), "").unwrap();
        }
        let sources = many.observe();
        assert_eq!(sources.unread[0].0, "/etc/sysctl.d");
        assert_eq!(bodies(&sources).len(), 1);
    }

    #[test]
    fn a_profile_of_tuned_stands_behind_what_it_includes_and_a_circle_ends() {
        let image = Image::new(&[
            ("etc/tuned/active_profile", b"mine\n"),
            ("etc/tuned/mine/tuned.conf", b"[main]\ninclude=mine,base,-absent"),
            ("usr/lib/tuned/mine/tuned.conf", b"[main]\ninclude=base"),
            ("usr/lib/tuned/profiles/base/tuned.conf", b"[main]\ninclude=mine"),
        ]);
        let tuned = image.observe().tuned.unwrap();
        let paths: Vec<&str> = tuned.profiles.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/usr/lib/tuned/profiles/base/tuned.conf",
                "/usr/lib/tuned/mine/tuned.conf",
                "/etc/tuned/mine/tuned.conf",
            ]
        );
        assert!(!tuned.enabled);
    }
}
