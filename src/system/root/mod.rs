// SPDX-License-Identifier: Apache-2.0
//! The directory a pass works on: `/` of the running host, or an unpacked image.

pub mod observed;
mod regular;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::system::HostError;
use crate::system::root::observed::{Observed, Record};

use regular::reopen;
pub(crate) use regular::{open_regular, read_file, read_regular};

/// Links that are followed in finding out where a path leads, as the kernel has it; more is a loop.
pub(crate) const LINKS: usize = 40;

/// How often a lookup in an image is tried that something else on the machine disturbs.
const LOOKUPS: u32 = 256;

/// An open directory below which every path is looked up.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
    live: bool,
    /// Only its files count: see [`Self::host_files`].
    files_only: bool,
    record: Record,
    /// When what is started because of it has to be over.
    end: Option<Instant>,
}

impl Root {
    /// The running host.
    pub fn host() -> Result<Self, HostError> {
        Self::open_root(Path::new("/"), true)
    }

    /// The files of the running host and nothing else of it: no program is started, and systemd, which
    /// answers nobody while it waits for a generator, is not asked.
    pub fn host_files() -> Result<Self, HostError> {
        Ok(Self { files_only: true, ..Self::host()? })
    }

    /// An image unpacked below `path`: links in it are resolved inside it, no live kernel value
    /// belongs to it.
    pub fn image(path: &Path) -> Result<Self, HostError> {
        let whole =
            path.canonicalize().map_err(|e| HostError::io("open the root directory", path, e))?;
        let image = Self::open_root(&whole, false)?;
        // What is opened counts, and not what the name led to a moment ago: whoever builds an image
        // may have put a link in its place, and this machine is no image that somebody else names.
        let meant = path.components().all(|part| part == Component::RootDir);
        if !meant && image.is_the_hosts()? {
            return Err(HostError::OwnRoot { path: path.into() });
        }
        Ok(image)
    }

    /// Whether this is the root directory of the running host, whatever it is called.
    fn is_the_hosts(&self) -> Result<bool, HostError> {
        let cannot = |e| HostError::io("look at", "/", e);
        let (ours, host) =
            (rustix::fs::fstat(&self.fd).map_err(cannot)?, rustix::fs::stat("/").map_err(cannot)?);
        Ok((ours.st_dev, ours.st_ino) == (host.st_dev, host.st_ino))
    }

    fn open_root(path: &Path, live: bool) -> Result<Self, HostError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| HostError::io("open the root directory", path, e))?;
        Ok(Self {
            fd,
            path: path.to_path_buf(),
            live,
            files_only: false,
            record: Record::default(),
            end: None,
        })
    }

    /// Whether this is the running host, with a kernel behind it.
    pub fn is_live(&self) -> bool {
        self.live && !self.files_only
    }

    /// The directory as the operator named it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whoever started this process ends it in `within`: every program that is started because of
    /// this root ends before. The group that is killed then is ours alone, since what we start has
    /// groups of its own.
    pub fn end_within(mut self, within: Duration) -> Self {
        let spare = Duration::from_secs(1).min(within / 4);
        self.end = Some(Instant::now() + within.saturating_sub(spare));
        self
    }

    /// What is left of that; `None`: as long as it takes.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// From now on it is taken down what is looked at, until [`Self::recorded`].
    pub fn record(&self) {
        self.record.begin();
    }

    /// What was looked at since [`Self::record`].
    pub fn recorded(&self) -> Observed {
        self.record.end(self)
    }

    /// What takes down what is looked at.
    pub(crate) fn recording(&self) -> &Record {
        &self.record
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Opens `path`, which is absolute below this root.
    ///
    /// On the host a plain lookup: the components are root's. In an image `RESOLVE_IN_ROOT`, so
    /// that an absolute link in it leads to the image's file and not to the host's.
    ///
    /// Nothing but a directory is opened for reading by its name: opening a device can do
    /// something (arm a watchdog, rewind a tape), and opening a fifo can be seen at its other end.
    /// A file is opened `O_PATH`, looked at, and read by [`Self::read_opened`].
    pub fn open(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        debug_assert!(
            flags.intersects(OFlags::PATH | OFlags::DIRECTORY | OFlags::CREATE),
            "{} would be opened before it is known what it is",
            path.display()
        );
        #[cfg(test)]
        opened::note(path);
        let flags = flags | OFlags::CLOEXEC;
        let below = below(path);
        let opened = if self.live {
            rustix::fs::openat(&self.fd, &below, flags, mode)
        } else {
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            let mut again = LOOKUPS;
            loop {
                match rustix::fs::openat2(&self.fd, &below, flags, mode, resolve) {
                    // Something was renamed anywhere on this machine while the kernel went up a
                    // `..`.
                    Err(Errno::AGAIN) if again > 1 => again -= 1,
                    other => break other,
                }
            }
        };
        self.record.opened(&self.fd, path, flags, &opened);
        opened
    }

    /// Opens the directory that holds `path`, and gives the last component.
    pub fn open_parent(&self, path: &Path) -> Result<(OwnedFd, OsString), Errno> {
        #[cfg(test)]
        opened::note(path);
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

    /// Whether there is a directory at `path`: itself, and no link to one.
    pub fn is_directory_itself(&self, path: &Path) -> bool {
        self.stat(path)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Whether `path` is a link to /dev/null, which is how systemd's tools and ours have a file
    /// taken away.
    pub fn is_masked(&self, path: &Path) -> bool {
        self.read_link(path).is_ok_and(|target| target == Path::new("/dev/null"))
    }

    /// Where a link points.
    pub fn read_link(&self, path: &Path) -> Result<PathBuf, Errno> {
        let (parent, name) = self.open_parent(path)?;
        let target = rustix::fs::readlinkat(&parent, &name, Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// A regular file's content; `None` when there is no such file.
    pub fn read(&self, path: &Path, limit: usize) -> Result<Option<Vec<u8>>, HostError> {
        match self.open(path, OFlags::PATH, Mode::empty()) {
            Ok(fd) => self.read_opened(&fd, path, limit).map(Some),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(HostError::io("open", path, e)),
        }
    }

    /// The content of a regular file that [`Self::open`] opened as `O_PATH` by this path.
    pub(crate) fn read_opened(
        &self,
        fd: &OwnedFd,
        path: &Path,
        limit: usize,
    ) -> Result<Vec<u8>, HostError> {
        let content = read_regular(fd, path, limit);
        if let Err(HostError::Io { .. }) = content {
            self.record.unread(path);
        }
        content
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

    /// Whether this kernel can keep an image's lookups inside the image, and whether a file can be
    /// opened that was looked at.
    pub fn check_supported(&self) -> Result<(), HostError> {
        match self.open(Path::new("/"), OFlags::PATH, Mode::empty()) {
            Err(Errno::NOSYS) => Err(HostError::NoOpenat2 { path: self.path.clone() }),
            Err(e) => Err(HostError::io("open", &self.path, e)),
            Ok(fd) => match reopen(&fd, OFlags::PATH) {
                Err(Errno::NOENT | Errno::NOTDIR) => Err(HostError::NoProc),
                Err(e) => Err(HostError::io("open", &self.path, e)),
                Ok(_) => Ok(()),
            },
        }
    }

    /// The first component on the path to `path` that somebody besides root can change, and why.
    /// Links are resolved by hand, so that the path behind them is looked at too; `path` itself is
    /// not judged, and a missing component ends the search.
    pub fn unsafe_component(&self, path: &Path) -> Option<(PathBuf, String)> {
        let mut links = 0;
        let mut so_far = PathBuf::from("/");
        let mut pending: Vec<OsString> = reversed(path);
        while let Some(name) = pending.pop() {
            if name == ".." {
                so_far.pop();
                continue;
            }
            let here = so_far.join(&name);
            let stat = self.stat(&here).ok()?;
            let (uid, mode) = (stat.st_uid, stat.st_mode & 0o7777);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                links += 1;
                if uid != 0 {
                    return Some((here, format!("is a link owned by uid {uid}")));
                }
                if links > LINKS {
                    return Some((here, "is a loop of links".into()));
                }
                let target = self.read_link(&here).ok()?;
                if target.is_absolute() {
                    so_far = PathBuf::from("/");
                }
                pending.extend(reversed(&target));
                continue;
            }
            if pending.is_empty() {
                return None;
            }
            if uid != 0 {
                return Some((here, format!("is owned by uid {uid}")));
            }
            // In a sticky directory only the owner (root) can replace what is root's.
            let others = if stat.st_gid == 0 { 0o002 } else { 0o022 };
            if mode & others != 0 && mode & 0o1000 == 0 {
                return Some((here, format!("is writable by others (mode {mode:04o})")));
            }
            so_far = here;
        }
        None
    }
}

/// The components of a path, the last first; a leading slash and dots left out.
pub(crate) fn reversed(path: &Path) -> Vec<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(name).collect()
}

/// Every path that this thread looked up, for the test that attacks each of them.
#[cfg(test)]
pub(crate) mod opened {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    thread_local! {
        static PATHS: RefCell<BTreeSet<PathBuf>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(crate) fn note(path: &Path) {
        PATHS.with_borrow_mut(|paths| paths.insert(path.to_path_buf()));
    }

    pub(crate) fn take() -> BTreeSet<PathBuf> {
        PATHS.with_borrow_mut(std::mem::take)
    }
}

/// `path` relative to the root: without the leading slash, `.` for the root itself.
pub(crate) fn below(path: &Path) -> PathBuf {
    let path = path.strip_prefix("/").unwrap_or(path);
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_path_buf() }
}

/// `fstatat` without following a link.
pub(crate) fn stat_entry(dir: impl AsFd, name: impl rustix::path::Arg) -> Result<Stat, Errno> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_lookup_in_an_image_is_not_disturbed_by_renames_elsewhere_on_the_machine() {
        let (image, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(image.path().join("a")).unwrap();
        fs::write(image.path().join("file"), "here").unwrap();
        let root = Root::image(image.path()).unwrap();
        let path = Path::new("/").join("a/../".repeat(20)).join("file");
        let over = AtomicBool::new(false);
        let (one, other) = (elsewhere.path().join("1"), elsewhere.path().join("2"));
        fs::create_dir(&one).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    fs::rename(&one, &other).unwrap();
                    fs::rename(&other, &one).unwrap();
                }
            });
            for _ in 0..20_000 {
                let found = root.open(&path, OFlags::PATH, Mode::empty());
                if found.is_err() {
                    over.store(true, Ordering::Relaxed);
                    panic!("{found:?}");
                }
            }
            over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn an_image_is_not_this_machine_itself_but_where_the_operator_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("image");
        for (target, refused) in [("/", true), ("//../.", true), (".", false)] {
            std::os::unix::fs::symlink(target, &link).unwrap();
            let opened = Root::image(&link);
            assert_eq!(matches!(opened, Err(HostError::OwnRoot { .. })), refused, "{target}");
            assert_eq!(opened.is_ok(), !refused, "{target}: {opened:?}");
            fs::remove_file(&link).unwrap();
        }
        assert!(matches!(
            Root::image(Path::new("/proc/self/root")),
            Err(HostError::OwnRoot { .. })
        ));
        assert!(Root::image(Path::new("/")).is_ok());
    }

    #[test]
    fn what_is_no_regular_file_is_not_read_on_the_host_either() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::host().unwrap();
        let at = |name: &str| dir.path().join(name);
        let node = |name, kind, device| {
            let mode = Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, at(name), kind, mode, device).unwrap();
        };
        node("device", FileType::CharacterDevice, rustix::fs::makedev(1, 5));
        node("fifo", FileType::Fifo, 0);
        fs::create_dir(at("directory")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
        std::os::unix::fs::symlink("device", at("link")).unwrap();
        let watch = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::NONBLOCK).unwrap();
        for name in ["device", "fifo"] {
            let flags = rustix::fs::inotify::WatchFlags::OPEN;
            rustix::fs::inotify::add_watch(&watch, at(name), flags).unwrap();
        }
        for name in ["device", "fifo", "directory", "socket", "link"] {
            let read = root.read(&at(name), 10);
            assert!(matches!(read, Err(HostError::NotRegular { .. })), "{name}: {read:?}");
        }
        let events = rustix::io::read(&watch, &mut [0u8; 1024]);
        assert_eq!(events, Err(Errno::AGAIN), "nothing was opened");

        fs::File::create(at("huge")).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(root.read(&at("huge"), 10), Err(HostError::TooLarge { .. })));
        fs::write(at("file"), "0123456789").unwrap();
        assert_eq!(root.read(&at("file"), 10).unwrap().unwrap(), b"0123456789");
        assert!(matches!(root.read(&at("file"), 9), Err(HostError::TooLarge { .. })));
        assert_eq!(root.read(&at("none"), 10).unwrap(), None);
        // A file of /proc says that it is empty.
        assert!(root.read(Path::new("/proc/self/stat"), 4096).unwrap().unwrap().len() > 10);
    }
}
