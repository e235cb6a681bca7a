// SPDX-License-Identifier: Apache-2.0
//! The directory a pass works on: `/` of the running host, or an unpacked image.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;

use super::HostError;

/// A held directory below which every path is looked up.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
    live: bool,
}

impl Root {
    /// The running host.
    pub fn host() -> Result<Self, HostError> {
        Self::open_root(Path::new("/"), true)
    }

    /// An image unpacked below `path`: links in it are resolved inside it, no live kernel value
    /// belongs to it.
    pub fn image(path: &Path) -> Result<Self, HostError> {
        Self::open_root(path, false)
    }

    fn open_root(path: &Path, live: bool) -> Result<Self, HostError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| HostError::io("open the root directory", path, e))?;
        Ok(Self { fd, path: path.to_path_buf(), live })
    }

    /// Whether this is the running host, with a kernel behind it.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// As the operator named it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens `path`, which is absolute below this root.
    ///
    /// On the host a plain lookup: the components are root's. In an image `RESOLVE_IN_ROOT`, so
    /// that an absolute link in it leads to the image's file and not to the host's.
    pub fn open(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        let below = below(path);
        if self.live {
            rustix::fs::openat(&self.fd, &below, flags, mode)
        } else {
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            rustix::fs::openat2(&self.fd, &below, flags, mode, resolve)
        }
    }

    /// Opens the directory that holds `path`, and gives the last component.
    pub fn open_parent(&self, path: &Path) -> Result<(OwnedFd, OsString), Errno> {
        let name = path.file_name().ok_or(Errno::INVAL)?.to_owned();
        let parent = path.parent().unwrap_or(Path::new("/"));
        let fd = self.open(parent, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        Ok((fd, name))
    }

    /// `lstat`: of a link itself.
    pub fn stat(&self, path: &Path) -> Result<Stat, Errno> {
        let fd = self.open(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        rustix::fs::fstat(&fd)
    }

    /// Where a link points.
    pub fn read_link(&self, path: &Path) -> Result<PathBuf, Errno> {
        let (parent, name) = self.open_parent(path)?;
        let target = rustix::fs::readlinkat(&parent, &name, Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// A regular file's content; `None` when there is no such file.
    pub fn read(&self, path: &Path, limit: usize) -> Result<Option<Vec<u8>>, HostError> {
        // NONBLOCK: a fifo in the file's place must not hold us up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match self.open(path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(HostError::io("open", path, e)),
        };
        read_regular(fd, path, limit).map(Some)
    }

    /// The names in a directory, in no order; `None` when there is no such directory.
    pub fn list(&self, dir: &Path, limit: usize) -> Result<Option<Vec<OsString>>, HostError> {
        let fd = match self.open(dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(HostError::io("open", dir, e)),
        };
        let mut buffer = Vec::with_capacity(8192);
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|e| HostError::io("list", dir, e))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                if names.len() >= limit {
                    return Err(HostError::TooMany { path: dir.into(), limit });
                }
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        Ok(Some(names))
    }

    /// Whether this kernel can keep an image's lookups inside the image.
    pub fn check_supported(&self) -> Result<(), HostError> {
        match self.open(Path::new("/"), OFlags::PATH, Mode::empty()) {
            Err(Errno::NOSYS) => Err(HostError::NoOpenat2 { path: self.path.clone() }),
            Err(e) => Err(HostError::io("open", &self.path, e)),
            Ok(_) => Ok(()),
        }
    }

    /// The first component on the way to `path` (which is included) that somebody besides root
    /// can change, and why; missing components end the search.
    pub fn unsafe_component(&self, path: &Path) -> Option<(PathBuf, String)> {
        let mut so_far = PathBuf::from("/");
        for component in path.components() {
            match component {
                Component::Normal(name) => so_far.push(name),
                _ => continue,
            }
            let link = self.stat(&so_far).ok()?;
            if FileType::from_raw_mode(link.st_mode) == FileType::Symlink && link.st_uid != 0 {
                return Some((so_far, format!("is a link owned by uid {}", link.st_uid)));
            }
            let directory = self.open(&so_far, OFlags::PATH, Mode::empty()).ok()?;
            let directory = rustix::fs::fstat(&directory).ok()?;
            if so_far == path {
                // The tree's own top belongs to etcd; its parents do not.
                return None;
            }
            if directory.st_uid != 0 {
                return Some((so_far, format!("is owned by uid {}", directory.st_uid)));
            }
            // In a sticky directory only the owner (root) can replace what is root's.
            if directory.st_mode & 0o022 != 0 && directory.st_mode & 0o1000 == 0 {
                let mode = directory.st_mode & 0o7777;
                return Some((so_far, format!("is writable by others (mode {mode:04o})")));
            }
        }
        None
    }
}

/// A regular file's content from an open descriptor.
pub(super) fn read_regular(fd: OwnedFd, path: &Path, limit: usize) -> Result<Vec<u8>, HostError> {
    let stat = rustix::fs::fstat(&fd).map_err(|e| HostError::io("look at", path, e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(HostError::NotRegular { path: path.into() });
    }
    let mut content = Vec::new();
    let mut file = File::from(fd).take(limit as u64 + 1);
    file.read_to_end(&mut content).map_err(|e| HostError::io("read", path, e))?;
    if content.len() > limit {
        return Err(HostError::TooLarge { path: path.into(), limit });
    }
    Ok(content)
}

/// `path` relative to the root: without the leading slash, `.` for the root itself.
fn below(path: &Path) -> PathBuf {
    let path = path.strip_prefix("/").unwrap_or(path);
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_path_buf() }
}

/// `fstatat` without following a link.
pub(super) fn stat_entry(dir: impl AsFd, name: impl rustix::path::Arg) -> Result<Stat, Errno> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}
