// SPDX-License-Identifier: Apache-2.0
//! An inotify instance: the guarded tree, kernel parameters, and directories on the path to something.
//!
//! The tree's directories are watched through the descriptor the walk holds (`/proc/self/fd/N`),
//! never by a path that could have been swapped, and before their entries are read.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, WatchDescriptor};
use rustix::fs::inotify::{ReadFlags, Reader};
use tokio::io::unix::AsyncFd;

use super::{Entry, Hints, Interest, Names, directories_above};
use crate::model::shown;

/// More entries than this in one turn, and looking at the whole tree is cheaper.
const ENTRY_LIMIT: usize = 512;

/// Reads of the event queue in one turn; what is left makes the descriptor ready again.
const READ_LIMIT: usize = 64;

/// Bytes for the events of one read.
const BUFFER: usize = 8192;

/// What one event takes at most: a header of 16 bytes and a name, which no file system makes longer
/// than a path may be; and what the reader may lose to alignment.
const LARGEST_EVENT: usize = 16 + 4096 + 3;

/// Two flags that nix has no name for: what an inode that is watched already is watched for is added
/// to and not replaced; and no event tells of what happens to a file after its name is gone.
const MASK_ADD: AddWatchFlags = AddWatchFlags::from_bits_retain(0x2000_0000);
const EXCL_UNLINK: AddWatchFlags = AddWatchFlags::from_bits_retain(0x0400_0000);

/// What is told about a directory on the path to something of interest.
const ON_PATH: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR)
    .union(MASK_ADD);

/// What is told about a directory of the guarded tree. No data event is in it: etcd's own writes
/// cost no wakeup. What goes away matters only to a node that is not ready because of it.
const TREE: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(EXCL_UNLINK)
    .union(AddWatchFlags::IN_ONLYDIR)
    .union(MASK_ADD);

/// Directories of the guarded tree that are watched, and the bytes of their paths. etcd makes four;
/// whoever makes thousands must cost neither memory nor the watches of root's other programs.
const TREE_WATCHES: usize = 4096;
const TREE_BYTES: usize = 512 * 1024;

#[derive(Debug)]
struct Target {
    what: What,
    watch: WatchDescriptor,
    /// The last arming that still wanted it.
    generation: u64,
}

#[derive(Debug)]
enum What {
    /// A directory on the path to an interest.
    OnPath(Names),
    /// A directory of the guarded tree, by its path below the top.
    Tree { below: PathBuf },
    /// A kernel parameter.
    Sysctl { key: String },
}

/// nix's instance, as tokio wants a descriptor.
#[derive(Debug)]
struct Descriptor(nix::sys::inotify::Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[derive(Debug)]
enum Instance {
    Listening(AsyncFd<Descriptor>),
    /// Not looked at: else every event would wake us, only to be left alone.
    Paused(Descriptor),
}

impl Instance {
    fn inotify(&self) -> &nix::sys::inotify::Inotify {
        match self {
            Self::Listening(descriptor) => &descriptor.get_ref().0,
            Self::Paused(descriptor) => &descriptor.0,
        }
    }
}

/// A source of hints: one inotify instance.
#[derive(Debug)]
pub struct Watcher {
    /// `None`: the kernel has no instance left for us; tried again at each arming.
    instance: Option<Instance>,
    targets: HashMap<i32, Target>,
    /// The guarded tree's directories that are watched in this arming and since, and the bytes of their
    /// paths.
    tree_watches: usize,
    tree_bytes: usize,
    /// No more directories of the tree are watched in this arming: each try would be an event.
    full: bool,
    generation: u64,
    /// Why a watch could not be set, since the last arming; events may be missed then.
    events_missed: Option<String>,
}

impl Default for Watcher {
    fn default() -> Self {
        Self::new()
    }
}

impl Watcher {
    /// Needs a running tokio runtime.
    pub fn new() -> Self {
        Self {
            instance: None,
            targets: HashMap::new(),
            tree_watches: 0,
            tree_bytes: 0,
            full: false,
            generation: 0,
            events_missed: None,
        }
    }

    /// Begins a new arming: watches that it does not renew are dropped by [`Self::finish`].
    pub fn begin(&mut self) {
        self.generation += 1;
        self.events_missed = None;
        self.tree_watches = 0;
        self.tree_bytes = 0;
        self.full = false;
        if self.instance.is_none() {
            match open() {
                Ok(inotify) => self.instance = Some(Instance::Listening(inotify)),
                Err(e) => {
                    let hint = "raise fs.inotify.max_user_instances if it is the limit";
                    self.events_missed = Some(format!("no inotify: {e}; {hint}"));
                }
            }
        }
    }

    /// Watches the path to each interest as far as it exists.
    pub fn watch_paths(&mut self, interests: &[Interest]) {
        for (dir, names) in directories_above(interests) {
            // What is in a directory matters with its owner and mode as well.
            let flags = if names.any { ON_PATH | AddWatchFlags::IN_ATTRIB } else { ON_PATH };
            match self.add(&dir, flags) {
                Ok(wd) => self.aim(wd, What::OnPath(names)),
                // Not there yet: its parent tells when it comes.
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(e) => self.cannot_watch(&shown(&dir), e),
            }
        }
    }

    /// Watches a directory of the guarded tree through the walk's own descriptor.
    pub fn watch_tree(&mut self, dir: BorrowedFd<'_>, below: &Path) {
        if self.full {
            return;
        }
        let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
        let watch = match self.add(Path::new(&link), TREE) {
            Ok(watch) => watch,
            // Which one is of no use to an operator, and its name is another user's.
            Err(e) => return self.cannot_watch("a directory below the data dir", e),
        };
        // A pass may come by twice.
        let wd = watch.as_raw();
        let known = self.targets.get(&wd).is_some_and(|t| t.generation == self.generation);
        if !known {
            let bytes = below.as_os_str().len();
            if self.tree_watches >= TREE_WATCHES || self.tree_bytes + bytes > TREE_BYTES {
                self.full = true;
                self.targets.remove(&wd);
                self.remove(watch);
                let text = format!("more than {TREE_WATCHES} directories below the data dir");
                self.events_missed.get_or_insert(text);
                return;
            }
            self.tree_watches += 1;
            self.tree_bytes += bytes;
        }
        self.aim(watch, What::Tree { below: below.to_path_buf() });
    }

    /// Watches a kernel parameter, whose file must be kept open as long as the watch shall live.
    pub fn watch_sysctl(&mut self, key: &str, path: &Path) {
        match self.add(path, AddWatchFlags::IN_MODIFY) {
            Ok(wd) => self.aim(wd, What::Sysctl { key: key.to_owned() }),
            Err(Errno::ENOENT) => {}
            Err(e) => self.cannot_watch(&shown(path), e),
        }
    }

    /// Ends an arming.
    pub fn finish(&mut self) {
        let generation = self.generation;
        let (wanted, old): (HashMap<_, _>, HashMap<_, _>) =
            self.targets.drain().partition(|(_, target)| target.generation == generation);
        self.targets = wanted;
        for target in old.into_values() {
            self.remove(target.watch);
        }
    }

    fn remove(&self, watch: WatchDescriptor) {
        if let Some(instance) = &self.instance {
            // The kernel may have dropped it with its inode already.
            let _ = instance.inotify().rm_watch(watch);
        }
    }

    /// Why events may be missed since the last arming began, if they may.
    pub fn events_missed(&self) -> Option<&str> {
        self.events_missed.as_deref()
    }

    fn add(&self, path: &Path, flags: AddWatchFlags) -> Result<WatchDescriptor, Errno> {
        match &self.instance {
            Some(instance) => instance.inotify().add_watch(path, flags),
            // Said once, in `begin`.
            None => Err(Errno::ENOENT),
        }
    }

    fn aim(&mut self, watch: WatchDescriptor, what: What) {
        let generation = self.generation;
        match (self.targets.get_mut(&watch.as_raw()), what) {
            (
                Some(Target { what: What::OnPath(names), generation: old, .. }),
                What::OnPath(more),
            ) if *old == generation => {
                names.merge(more);
            }
            (_, what) => {
                self.targets.insert(watch.as_raw(), Target { what, watch, generation });
            }
        }
    }

    fn cannot_watch(&mut self, what: &str, e: Errno) {
        let hint = if e == Errno::ENOSPC { "; raise fs.inotify.max_user_watches" } else { "" };
        let error = std::io::Error::from(e);
        self.events_missed.get_or_insert_with(|| format!("cannot watch {what}: {error}{hint}"));
    }

    /// Events wake nobody from now on, until [`Self::hints`] is asked for them.
    pub fn pause(&mut self) {
        self.instance = self.instance.take().map(|instance| match instance {
            Instance::Listening(descriptor) => Instance::Paused(descriptor.into_inner()),
            paused => paused,
        });
    }

    fn listen(&mut self) -> std::io::Result<()> {
        self.instance = match self.instance.take() {
            Some(Instance::Paused(descriptor)) => Some(Instance::Listening(listening(descriptor)?)),
            other => other,
        };
        Ok(())
    }

    /// Waits for events and reads what is there. Cancellation safe.
    pub async fn hints(&mut self) -> std::io::Result<Hints> {
        self.listen()?;
        let mut hints = Hints::default();
        let mut buffer = [MaybeUninit::<u8>::uninit(); BUFFER];
        let Some(Instance::Listening(inotify)) = &self.instance else {
            return std::future::pending().await;
        };
        let mut guard = inotify.readable().await?;
        let began = Instant::now();
        let mut gone = Vec::new();
        let mut drained = false;
        for _ in 0..READ_LIMIT {
            let mut reader = Reader::new(guard.get_inner().0.as_fd(), &mut buffer);
            let mut used = 0;
            loop {
                let event = match reader.next() {
                    Ok(event) => event,
                    Err(rustix::io::Errno::AGAIN) => {
                        drained = true;
                        break;
                    }
                    Err(rustix::io::Errno::INTR) => break,
                    Err(e) => return Err(e.into()),
                };
                let name = event.file_name().map(|n| OsStr::from_bytes(n.to_bytes()));
                used += size(name);
                note(&self.targets, &mut hints, &mut gone, event.wd(), event.events(), name);
                if reader.is_buffer_empty() {
                    // With room for one more, that was all. Who makes events as fast as they are
                    // read would have each of them read by a call of its own.
                    drained = used + LARGEST_EVENT <= BUFFER;
                    break;
                }
            }
            if drained {
                break;
            }
        }
        if drained {
            guard.clear_ready();
        }
        for wd in gone {
            self.targets.remove(&wd);
        }
        if hints.entries.len() > ENTRY_LIMIT {
            hints.entries.clear();
            hints.pass = true;
        }
        hints.took = began.elapsed();
        Ok(hints)
    }
}

fn open() -> std::io::Result<AsyncFd<Descriptor>> {
    let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
    listening(Descriptor(nix::sys::inotify::Inotify::init(flags)?))
}

fn listening(descriptor: Descriptor) -> std::io::Result<AsyncFd<Descriptor>> {
    // `register` is the same, unsafe because of types that lend out another descriptor on the next
    // call or close it early. nix's instance does neither.
    #[allow(deprecated)]
    AsyncFd::new(descriptor)
}

/// What an event takes in the buffer: inotify(7) pads its name, with at least one NUL.
fn size(name: Option<&OsStr>) -> usize {
    16 + name.map_or(0, |name| (name.len() + 1).next_multiple_of(16))
}

fn note(
    targets: &HashMap<i32, Target>,
    hints: &mut Hints,
    gone: &mut Vec<i32>,
    wd: i32,
    events: ReadFlags,
    name: Option<&OsStr>,
) {
    if events.contains(ReadFlags::QUEUE_OVERFLOW) {
        hints.pass = true;
        return;
    }
    if events.contains(ReadFlags::IGNORED) {
        gone.push(wd);
        return;
    }
    // An event of a watch that is no longer ours.
    let Some(target) = targets.get(&wd) else { return };
    let moved =
        events.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT);
    match &target.what {
        What::OnPath(_) if moved => hints.pass = true,
        What::OnPath(Names { names, any }) => match name.and_then(|name| names.get(name)) {
            Some(true) => hints.bus = true,
            Some(false) => hints.pass = true,
            None => hints.pass |= *any,
        },
        What::Tree { .. } if moved => hints.pass = true,
        What::Tree { below } => {
            let below = name.map_or_else(|| below.clone(), |name| below.join(name));
            let came = events.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
            let subtree = came && events.contains(ReadFlags::ISDIR);
            let entry = Entry { below, subtree, came };
            if hints.entries.len() <= ENTRY_LIMIT {
                hints.entries.insert(entry);
            }
        }
        What::Sysctl { key } => {
            if !hints.sysctls.contains(key) {
                hints.sysctls.push(key.clone());
            }
        }
    }
}
