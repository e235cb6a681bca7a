// SPDX-License-Identifier: Apache-2.0
//! inotify → [`Hints`]: where to look again. A hint is never evidence; whatever is lost, doubled
//! or reordered here changes how soon a pass looks, never what it finds.
//!
//! inotify itself and no library above it, because the tree under guard is written by another
//! user: its directories are watched through the descriptor the walk holds (`/proc/self/fd/N`),
//! never by a path that could have been swapped, and before their entries are read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::model::shown;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

/// More entries than this in one turn, and looking at the whole tree is cheaper.
const ENTRY_LIMIT: usize = 512;

/// Reads of the event queue in one turn; what is left makes the descriptor ready again.
const READ_LIMIT: usize = 64;

/// Bytes for the events of one read.
const BUFFER: usize = 8192;

/// What one event takes at most: a header of 16 bytes and a name, which no file system makes longer
/// than a path may be; and what the reader may lose to alignment.
const LARGEST_EVENT: usize = 16 + 4096 + 3;

/// What is told about a directory on the way to something of interest.
const WAY: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::MASK_ADD);

/// What is told about a directory of the guarded tree. No data event is in it: etcd's own writes
/// cost no wakeup. What goes away matters only to a node that is not ready because of it.
const TREE: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::EXCL_UNLINK)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::MASK_ADD);

/// Directories of the guarded tree that are watched, and the bytes of their paths. etcd makes four;
/// whoever makes thousands must cost neither memory nor the watches of root's other programs.
const TREE_WATCHES: usize = 4096;
const TREE_BYTES: usize = 512 * 1024;

/// An entry of the guarded tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its path below the top.
    pub below: PathBuf,
    /// It is a directory that came: what is in it has raised no event.
    pub whole: bool,
    /// It was not there before.
    pub came: bool,
}

/// Where to look again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// A whole pass.
    pub look: bool,
    /// The bus's socket came or went.
    pub bus: bool,
    /// These kernel parameters.
    pub sysctls: Vec<String>,
    pub entries: HashSet<Entry>,
    /// What reading them took.
    pub took: Duration,
}

impl Hints {
    /// Whether they ask for a whole pass and for nothing besides.
    pub fn is_only_for_a_look(&self) -> bool {
        self.look && !self.bus && self.sysctls.is_empty() && self.entries.is_empty()
    }
}

/// Something whose appearance, change or disappearance matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interest {
    pub path: PathBuf,
    /// Everything directly in the directory `path` matters, not only `path` itself.
    pub content: bool,
    /// It is the bus's socket.
    pub bus: bool,
}

impl Interest {
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), content: false, bus: false }
    }

    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), content: true, bus: false }
    }

    pub fn bus(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), content: false, bus: true }
    }
}

#[derive(Debug)]
struct Target {
    what: What,
    /// Of the last arming that still wanted it.
    generation: u64,
}

#[derive(Debug)]
enum What {
    /// A directory on the way to an interest: the names in it that matter, and whether the name
    /// is the bus's. With `any`, every name does.
    Way { names: BTreeMap<OsString, bool>, any: bool },
    /// A directory of the guarded tree, by its path below the top.
    Tree { below: PathBuf },
    /// A kernel parameter.
    Sysctl { key: String },
}

#[derive(Debug)]
enum Instance {
    Listening(AsyncFd<OwnedFd>),
    /// Not looked at: else every event would wake us, only to be left alone.
    Resting(OwnedFd),
}

impl Instance {
    fn fd(&self) -> &OwnedFd {
        match self {
            Self::Listening(fd) => fd.get_ref(),
            Self::Resting(fd) => fd,
        }
    }
}

/// One inotify instance.
#[derive(Debug)]
pub struct Watcher {
    /// `None`: the kernel has no instance left for us; tried again at each arming.
    inotify: Option<Instance>,
    targets: HashMap<i32, Target>,
    /// Of the guarded tree, in this arming and since.
    tree_watches: usize,
    tree_bytes: usize,
    /// No more directories of the tree are watched in this arming: each try would be an event.
    full: bool,
    generation: u64,
    /// Why a watch could not be set, since the last arming; events may be missed then.
    blind: Option<String>,
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
            inotify: None,
            targets: HashMap::new(),
            tree_watches: 0,
            tree_bytes: 0,
            full: false,
            generation: 0,
            blind: None,
        }
    }

    /// Begins a new arming: watches that it does not renew are dropped by [`Self::finish`].
    pub fn begin(&mut self) {
        self.generation += 1;
        self.blind = None;
        self.tree_watches = 0;
        self.tree_bytes = 0;
        self.full = false;
        if self.inotify.is_none() {
            match open() {
                Ok(inotify) => self.inotify = Some(Instance::Listening(inotify)),
                Err(e) => {
                    let hint = "raise fs.inotify.max_user_instances if it is the limit";
                    self.blind = Some(format!("no inotify: {e}; {hint}"));
                }
            }
        }
    }

    /// Watches the way to each interest as far as it exists.
    pub fn watch_ways(&mut self, interests: &[Interest]) {
        let mut ways: BTreeMap<&Path, (BTreeMap<OsString, bool>, bool)> = BTreeMap::new();
        for interest in interests {
            let mut path = interest.path.as_path();
            if interest.content {
                ways.entry(path).or_default().1 = true;
            }
            while let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
                *ways.entry(parent).or_default().0.entry(name.to_owned()).or_default() |=
                    interest.bus;
                path = parent;
            }
        }
        for (dir, (names, any)) in ways {
            // What is in a directory matters with its owner and mode as well.
            let flags = if any { WAY | WatchFlags::ATTRIB } else { WAY };
            match self.add(dir, flags) {
                Ok(wd) => self.aim(wd, What::Way { names, any }),
                // Not there yet: its parent tells when it comes.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(e) => self.blinded(&shown(dir), e),
            }
        }
    }

    /// Watches a directory of the guarded tree through the walk's own descriptor.
    pub fn watch_tree(&mut self, dir: BorrowedFd<'_>, below: &Path) {
        if self.full {
            return;
        }
        let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
        let wd = match self.add(Path::new(&link), TREE) {
            Ok(wd) => wd,
            // Which one is of no use to an operator, and its name is another user's.
            Err(e) => return self.blinded("a directory below the data dir", e),
        };
        // A pass may come by twice.
        let known = self.targets.get(&wd).is_some_and(|t| t.generation == self.generation);
        if !known {
            let bytes = below.as_os_str().len();
            if self.tree_watches >= TREE_WATCHES || self.tree_bytes + bytes > TREE_BYTES {
                self.full = true;
                self.targets.remove(&wd);
                self.remove(wd);
                let text = format!("more than {TREE_WATCHES} directories below the data dir");
                self.blind.get_or_insert(text);
                return;
            }
            self.tree_watches += 1;
            self.tree_bytes += bytes;
        }
        self.aim(wd, What::Tree { below: below.to_path_buf() });
    }

    /// Watches a kernel parameter, whose file must be held open as long as the watch shall live.
    pub fn watch_sysctl(&mut self, key: &str, path: &Path) {
        match self.add(path, WatchFlags::MODIFY) {
            Ok(wd) => self.aim(wd, What::Sysctl { key: key.to_owned() }),
            Err(Errno::NOENT) => {}
            Err(e) => self.blinded(&shown(path), e),
        }
    }

    /// Ends an arming.
    pub fn finish(&mut self) {
        let generation = self.generation;
        let (wanted, old): (HashMap<_, _>, HashMap<_, _>) =
            self.targets.drain().partition(|(_, target)| target.generation == generation);
        self.targets = wanted;
        for wd in old.into_keys() {
            self.remove(wd);
        }
    }

    fn remove(&self, wd: i32) {
        if let Some(inotify) = &self.inotify {
            // The kernel may have dropped it with its inode already.
            let _ = inotify::remove_watch(inotify.fd(), wd);
        }
    }

    /// Why events may be missed since the last arming began, if they may.
    pub fn blind(&self) -> Option<&str> {
        self.blind.as_deref()
    }

    fn add(&self, path: &Path, flags: WatchFlags) -> Result<i32, Errno> {
        match &self.inotify {
            Some(inotify) => inotify::add_watch(inotify.fd(), path, flags),
            // Said once, in `begin`.
            None => Err(Errno::NOENT),
        }
    }

    fn aim(&mut self, wd: i32, what: What) {
        let generation = self.generation;
        match (self.targets.get_mut(&wd), what) {
            // Two ways may lead over the same inode (a link): both sets of names count.
            (
                Some(Target { what: What::Way { names, any }, generation: old }),
                What::Way { names: more, any: too },
            ) if *old == generation => {
                names.extend(more);
                *any |= too;
            }
            (_, what) => {
                self.targets.insert(wd, Target { what, generation });
            }
        }
    }

    fn blinded(&mut self, what: &str, e: Errno) {
        let hint = if e == Errno::NOSPC { "; raise fs.inotify.max_user_watches" } else { "" };
        let error = std::io::Error::from(e);
        self.blind.get_or_insert_with(|| format!("cannot watch {what}: {error}{hint}"));
    }

    /// Events wake nobody from now on, until [`Self::hints`] is asked for them.
    pub fn rest(&mut self) {
        self.inotify = self.inotify.take().map(|instance| match instance {
            Instance::Listening(fd) => Instance::Resting(fd.into_inner()),
            resting => resting,
        });
    }

    fn listen(&mut self) -> std::io::Result<()> {
        self.inotify = match self.inotify.take() {
            Some(Instance::Resting(fd)) => Some(Instance::Listening(listening(fd)?)),
            other => other,
        };
        Ok(())
    }

    /// Waits for events and reads what is there. Cancellation safe.
    pub async fn hints(&mut self) -> std::io::Result<Hints> {
        self.listen()?;
        let mut hints = Hints::default();
        let mut buffer = [MaybeUninit::<u8>::uninit(); BUFFER];
        let Some(Instance::Listening(inotify)) = &self.inotify else {
            return std::future::pending().await;
        };
        let mut guard = inotify.readable().await?;
        let began = Instant::now();
        let mut gone = Vec::new();
        let mut drained = false;
        for _ in 0..READ_LIMIT {
            let mut reader = Reader::new(guard.get_inner().as_fd(), &mut buffer);
            let mut used = 0;
            loop {
                let event = match reader.next() {
                    Ok(event) => event,
                    Err(Errno::AGAIN) => {
                        drained = true;
                        break;
                    }
                    Err(Errno::INTR) => break,
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
            hints.look = true;
        }
        hints.took = began.elapsed();
        Ok(hints)
    }
}

fn open() -> std::io::Result<AsyncFd<OwnedFd>> {
    listening(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?)
}

fn listening(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // `register` is the same, unsafe because of types that lend out another descriptor on the next
    // call or close it early. An OwnedFd does neither.
    #[allow(deprecated)]
    AsyncFd::new(fd)
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
        hints.look = true;
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
        What::Way { .. } if moved => hints.look = true,
        What::Way { names, any } => match name.and_then(|name| names.get(name)) {
            Some(true) => hints.bus = true,
            Some(false) => hints.look = true,
            None => hints.look |= *any,
        },
        What::Tree { .. } if moved => hints.look = true,
        What::Tree { below } => {
            let below = name.map_or_else(|| below.clone(), |name| below.join(name));
            let came = events.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
            let whole = came && events.contains(ReadFlags::ISDIR);
            let entry = Entry { below, whole, came };
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
