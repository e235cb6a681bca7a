// SPDX-License-Identifier: Apache-2.0
//! What the thread of the library notify does for us: it sets flags and wakes the loop, and keeps no
//! event. Nor does it read on for as long as somebody raises events.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventHandler, EventKind};
use tokio::sync::Notify;

use super::{Hints, Names};

/// Events between two armings, after which the library's thread waits for the next one. What comes
/// meanwhile the kernel keeps to its own limit.
pub(super) const EVENTS: usize = 4096;

/// A directory that the library watches.
#[derive(Debug)]
pub(super) struct Dir {
    pub(super) names: Names,
    /// Something came into it or got other rights: whether all of it is root's is not known.
    pub(super) changed: bool,
}

/// What happened to a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Came,
    Went,
    /// Its owner, mode or times, which others may have set.
    Rights,
    Content,
}

/// What the loop and the library's thread share.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Of the present watcher.
    pub(super) generation: u64,
    /// By the path that the library has.
    pub(super) dirs: HashMap<PathBuf, Dir>,
    pub(super) pass: bool,
    pub(super) bus: bool,
    /// The library may have lost a watch.
    pub(super) stale: bool,
    /// The thread is not held up, since the loop waits for it.
    pub(super) arming: bool,
    /// Since the last arming.
    pub(super) events: usize,
    /// A thread of a watcher that is gone waits for ever, since events do not end.
    pub(super) parked: bool,
}

impl State {
    fn note(&mut self, event: &notify::Result<Event>) {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            // Events were lost, and with them perhaps what the library goes by.
            _ => {
                (self.pass, self.bus, self.stale) = (true, true, true);
                return;
            }
        };
        let [path] = &event.paths[..] else { return };
        let what = match event.kind {
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                What::Went
            }
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                What::Came
            }
            EventKind::Modify(ModifyKind::Metadata(_)) => What::Rights,
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => What::Content,
            _ => return,
        };
        // A directory itself.
        if let Some(dir) = self.dirs.get(path) {
            if what == What::Went {
                (self.pass, self.stale) = (true, true);
            }
            self.pass |= what == What::Rights && dir.names.any;
        }
        // An entry of one.
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return };
        let Some(dir) = self.dirs.get_mut(parent) else { return };
        dir.changed |= matches!(what, What::Came | What::Rights);
        if what == What::Rights && !dir.names.any {
            return;
        }
        match dir.names.names.get(name) {
            Some(true) => self.bus = true,
            Some(false) => self.pass = true,
            None => self.pass |= dir.names.any,
        }
    }

    /// What is to be told, once.
    pub(super) fn hints(&mut self) -> Option<Hints> {
        let hints = Hints { pass: self.pass, bus: self.bus, ..Hints::default() };
        (self.pass, self.bus) = (false, false);
        (hints.pass || hints.bus).then_some(hints)
    }
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// There are hints.
    pub(super) wake: Notify,
    /// The thread may go on.
    pub(super) go_on: Condvar,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.go_on.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Arming begins or ends; what the thread waited for is there.
    pub(super) fn arming(&self, arming: bool) {
        let mut state = self.state();
        state.arming = arming;
        state.events = 0;
        self.go_on.notify_all();
    }
}

/// What the library's thread calls. It keeps no event: flags are set, and the loop is woken.
pub(super) struct Handler {
    shared: Arc<Shared>,
    /// Of its watcher.
    generation: u64,
    /// Events since that watcher is gone.
    late: usize,
}

impl Handler {
    /// For the watcher that is made now.
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: shared.clone(), generation: shared.state().generation, late: 0 }
    }
}

impl EventHandler for Handler {
    fn handle_event(&mut self, event: notify::Result<Event>) {
        let mut state = self.shared.state();
        if state.generation == self.generation {
            let told = state.pass || state.bus;
            state.note(&event);
            state.events += 1;
            state.pass |= state.events > EVENTS;
            if !told && (state.pass || state.bus) {
                self.shared.wake.notify_one();
            }
            // Reading on would cost a processor for as long as somebody likes.
            while state.events > EVENTS && !state.arming && state.generation == self.generation {
                state = self.shared.wait(state);
            }
        } else {
            // It ends when it has read everything. Who sees to it that this is never so has it wait
            // for ever instead.
            self.late += 1;
            if self.late > EVENTS {
                state.parked = true;
                loop {
                    state = self.shared.wait(state);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_thread_that_is_flooded_after_the_end_of_its_watcher_reads_to_a_limit_and_tells_nothing() {
        let shared = Arc::<Shared>::default();
        let mut old = Handler::new(&shared);
        shared.state().generation += 1;
        for _ in 0..EVENTS {
            old.handle_event(Err(notify::Error::generic("late")));
        }
        assert!(!shared.state().parked);
        std::thread::spawn(move || old.handle_event(Err(notify::Error::generic("late"))));
        let end = Instant::now() + Duration::from_secs(20);
        while !shared.state().parked {
            assert!(Instant::now() < end, "it goes on reading");
            std::thread::yield_now();
        }
        assert_eq!(shared.state().hints(), None);
    }
}
