// SPDX-License-Identifier: Apache-2.0
//! Reading a regular file, and nothing else in its place.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::system::HostError;

/// A regular file's content. `fd` is an `O_PATH` descriptor of whatever has the name: what it is
/// is looked at before it is opened, and what is opened is what was looked at.
pub(crate) fn read_regular(fd: &OwnedFd, path: &Path, limit: usize) -> Result<Vec<u8>, HostError> {
    open_regular(fd, path).and_then(|file| read_file(file, path, limit))
}

/// A regular file, open for reading, from an `O_PATH` descriptor of whatever has the name.
pub(crate) fn open_regular(fd: &OwnedFd, path: &Path) -> Result<File, HostError> {
    let stat = rustix::fs::fstat(fd).map_err(|e| HostError::io("look at", path, e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(HostError::NotRegular { path: path.into(), kind: kind(&stat) });
    }
    match reopen(fd, OFlags::RDONLY) {
        Ok(fd) => Ok(File::from(fd)),
        // It is open, so it is there.
        Err(Errno::NOENT | Errno::NOTDIR) => Err(HostError::NoProc),
        Err(e) => Err(HostError::io("open", path, e)),
    }
}

/// All of a file that was opened for reading.
pub(crate) fn read_file(
    file: impl Into<File>,
    path: &Path,
    limit: usize,
) -> Result<Vec<u8>, HostError> {
    let file = file.into();
    let too_large = || HostError::TooLarge { path: path.into(), limit };
    // A file of /proc says that it is empty; one that says that it is large is not read to see.
    let size = file.metadata().map_err(|e| HostError::io("look at", path, e))?.len();
    if size > limit as u64 {
        return Err(too_large());
    }
    let mut content = Vec::new();
    let mut file = file.take(limit as u64 + 1);
    file.read_to_end(&mut content).map_err(|e| HostError::io("read", path, e))?;
    if content.len() > limit { Err(too_large()) } else { Ok(content) }
}

/// Opens once more what a descriptor stands for, by its magic link in /proc. Where /proc is not
/// mounted there is no other way that could not end at something else of the same name.
pub(super) fn reopen(fd: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(link, flags, Mode::empty())
}

/// What an entry is, in a word.
fn kind(stat: &Stat) -> &'static str {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "regular file",
        FileType::Directory => "directory",
        FileType::Symlink => "link",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        _ => "device",
    }
}
