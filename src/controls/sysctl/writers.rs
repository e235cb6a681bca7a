// SPDX-License-Identifier: Apache-2.0
//! Gathering files besides sysctl.d whose lines may write kernel parameters, for `nodeguard explain`.
//! Nothing here changes the host.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::model::shown;
use crate::sysctl_d::writers::{FILES, Kind, PLACES};
use crate::system::HostError;
use crate::system::root::Root;

/// Bytes of one file. A crontab or a rule is some lines.
const FILE_LIMIT: usize = 256 << 10;

/// Bytes of all files together.
const TOTAL_LIMIT: usize = 4 << 20;

/// Entries of one directory.
const FILES_LIMIT: usize = 1024;

/// What was found.
#[derive(Debug)]
pub struct Writers {
    pub files: Vec<Writer>,
    /// What could not be looked at, and why: path and reason.
    pub unread: Vec<(String, String)>,
}

/// One file.
#[derive(Debug)]
pub struct Writer {
    pub kind: Kind,
    /// As it is shown.
    pub path: String,
    pub text: Vec<u8>,
}

/// Every such file of this host or image.
pub fn observe(root: &Root) -> Writers {
    let mut found = Writers { files: Vec::new(), unread: Vec::new() };
    let mut left = TOTAL_LIMIT;
    for (kind, dir, suffix) in PLACES {
        let dir = Path::new(dir);
        let mut names = match root.list(dir, FILES_LIMIT) {
            Ok(names) => names.unwrap_or_default(),
            Err(e) => {
                found.unread.push((shown(dir), e.to_string()));
                continue;
            }
        };
        names.retain(|name| name.as_bytes().ends_with(suffix.as_bytes()));
        names.sort();
        for name in names {
            found.read(root, kind, &dir.join(name), &mut left);
        }
    }
    for path in FILES {
        found.read(root, Kind::Commands, Path::new(path), &mut left);
    }
    found
}

impl Writers {
    fn read(&mut self, root: &Root, kind: Kind, path: &Path, left: &mut usize) {
        match root.read(path, FILE_LIMIT.min(*left)) {
            Ok(Some(text)) => {
                *left -= text.len();
                self.files.push(Writer { kind, path: shown(path), text });
            }
            // A directory, a link to nothing, a mask: none of them has a line.
            Ok(None) | Err(HostError::NotRegular { .. }) => {}
            Err(e) => self.unread.push((shown(path), e.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn image(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let image = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = image.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        image
    }

    fn observed(image: &tempfile::TempDir) -> (Vec<String>, Vec<String>) {
        let found = observe(&Root::image(image.path()).unwrap());
        let paths = found.files.into_iter().map(|file| file.path).collect();
        (paths, found.unread.into_iter().map(|(path, _)| path).collect())
    }

    #[test]
    fn files_of_each_kind_are_read_and_others_beside_them_not() {
        let image = image(&[
            ("etc/tmpfiles.d/a.conf", b""),
            ("etc/tmpfiles.d/a.conf.bak", b""),
            ("etc/udev/rules.d/9.rules", b""),
            ("etc/cron.d/x", b""),
            ("etc/crontab", b""),
            ("var/spool/cron/crontabs/root", b""),
            ("var/spool/cron/crontabs/someone", b""),
            ("etc/systemd/system/x.service", b""),
            ("etc/rc.local", b""),
        ]);
        fs::create_dir_all(image.path().join("etc/cron.d/directory")).unwrap();
        std::os::unix::fs::symlink("/dev/null", image.path().join("etc/cron.d/link")).unwrap();
        let (paths, unread) = observed(&image);
        let expected = [
            "/etc/tmpfiles.d/a.conf",
            "/etc/udev/rules.d/9.rules",
            "/etc/cron.d/x",
            "/etc/systemd/system/x.service",
            "/etc/crontab",
            "/etc/rc.local",
            "/var/spool/cron/crontabs/root",
        ];
        assert_eq!((paths, unread), (expected.map(str::to_owned).to_vec(), vec![]));
    }

    #[test]
    fn what_is_too_much_is_said_and_the_rest_is_read() {
        let (large, full) = (vec![b'#'; FILE_LIMIT + 1], vec![b'#'; FILE_LIMIT]);
        let mut files: Vec<(String, &[u8])> = vec![("etc/tmpfiles.d/0.conf".into(), &large)];
        let whole = TOTAL_LIMIT / FILE_LIMIT;
        files.extend((0..=whole).map(|n| (format!("etc/cron.d/{n:03}"), &full[..])));
        let files: Vec<(&str, &[u8])> = files.iter().map(|(p, t)| (p.as_str(), *t)).collect();
        let (paths, unread) = observed(&image(&files));
        assert_eq!(paths.len(), whole);
        assert_eq!(
            unread,
            ["/etc/tmpfiles.d/0.conf".to_owned(), format!("/etc/cron.d/{whole:03}")]
        );

        let many: Vec<String> = (0..=FILES_LIMIT).map(|n| format!("etc/cron.d/{n}")).collect();
        let files: Vec<(&str, &[u8])> = many.iter().map(|path| (path.as_str(), &b""[..])).collect();
        let (paths, unread) = observed(&image(&files));
        assert_eq!((paths.len(), unread), (0, vec!["/etc/cron.d/".to_owned()]));
    }
}
