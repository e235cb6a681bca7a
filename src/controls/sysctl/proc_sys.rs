// SPDX-License-Identifier: Apache-2.0
//! Live kernel parameters, through open descriptors below /proc/sys.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Live;
use crate::model::sysctl_path;

/// Longer than any value of ours; the kernel's own limit for one write is a page.
const VALUE_LIMIT: usize = 4096;

/// Reads kernel parameters, and keeps each open once read: a `pread` of an open descriptor costs
/// a microsecond, and only as long as it is open do inode and inotify watch live.
#[derive(Debug, Default)]
pub struct ProcSys {
    open: BTreeMap<String, OwnedFd>,
    /// By key: a value that we wrote, and the other one that the kernel then showed.
    altered: BTreeMap<String, (String, String)>,
}

impl ProcSys {
    pub fn read(&mut self, key: &str) -> Live {
        match self.hold(key).and_then(|fd| pread(fd)) {
            Ok(value) => Live::Value(value),
            Err(Errno::NOENT) => Live::Missing,
            Err(e) => {
                self.open.remove(key);
                Live::Unreadable(std::io::Error::from(e).to_string())
            }
        }
    }

    /// What the kernel made of `value`, when it was last written, if that was another one (`0x10`
    /// is shown as `16`). Writing it once more would change nothing.
    pub fn altered(&self, key: &str, value: &str) -> Option<&str> {
        self.altered.get(key).filter(|(wrote, _)| wrote == value).map(|(_, shown)| shown.as_str())
    }

    pub(crate) fn remember_altered(&mut self, key: &str, altered: Option<(String, String)>) {
        match altered {
            Some(altered) => self.altered.insert(key.to_owned(), altered),
            None => self.altered.remove(key),
        };
    }

    /// The descriptor of a parameter, opened where it is not yet.
    pub fn hold(&mut self, key: &str) -> Result<BorrowedFd<'_>, Errno> {
        if !self.open.contains_key(key) {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(sysctl_path(key), flags, Mode::empty())?;
            self.open.insert(key.to_owned(), fd);
        }
        self.open.get(key).map(AsFd::as_fd).ok_or(Errno::NOENT)
    }
}

/// Writes one value; the caller compares before and reads back after.
pub(crate) fn write(key: &str, value: &str) -> Result<(), Errno> {
    let fd = rustix::fs::open(sysctl_path(key), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let line = format!("{value}\n");
    // The kernel takes a value in one write or not at all.
    match rustix::io::write(&fd, line.as_bytes())? {
        n if n == line.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

fn pread(fd: BorrowedFd<'_>) -> Result<String, Errno> {
    let mut buffer = [0u8; VALUE_LIMIT];
    let n = rustix::io::pread(fd, &mut buffer, 0)?;
    Ok(String::from_utf8_lossy(&buffer[..n]).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernels_values_are_read_again_and_again_from_one_descriptor() {
        let mut proc_sys = ProcSys::default();
        let expected = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
        for _ in 0..2 {
            assert_eq!(proc_sys.read("kernel.pid_max"), Live::Value(expected.trim().to_owned()));
        }
        assert_eq!(proc_sys.read("kernel.no_such_parameter"), Live::Missing);
    }

    #[test]
    fn of_a_value_no_more_is_read_than_the_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "x".repeat(10 * VALUE_LIMIT)).unwrap();
        assert_eq!(pread(file.as_file().as_fd()).unwrap().len(), VALUE_LIMIT);
    }
}
