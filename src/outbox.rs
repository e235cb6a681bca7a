// SPDX-License-Identifier: Apache-2.0
//! Messages that wait for a thread of their own to send them.
//!
//! A reader that stalls (journald, systemd) stalls whoever sends to it and waits. Here that is a thread
//! that does nothing else: whoever has something to send puts it into a queue with a limit, and
//! goes on. Each reader has an outbox of its own, so that one that stalls holds up no other.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a message that could not be sent waits for the next attempt.
const RETRY: Duration = Duration::from_secs(5);

/// How long whoever ends waits for what has not been sent yet.
const FLUSH: Duration = Duration::from_millis(500);

/// Sends the messages of an outbox, in its thread: it may wait.
pub trait Transport<T>: Send + 'static {
    /// After an error the message is kept, and is the next one again.
    fn send(&mut self, message: &T) -> io::Result<()>;

    /// Says that so many messages were lost. Called when all others are sent; after an error it is
    /// called again.
    fn say_lost(&mut self, count: u64) -> io::Result<()>;
}

/// A queue and the thread that sends what is in it. When it is dropped, it waits a moment for what
/// has not been sent yet.
#[derive(Debug)]
pub struct Outbox<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    /// Messages kept at most, the one that is being sent included.
    limit: usize,
    queue: Mutex<Queue<T>>,
    /// There is something to do for the thread.
    work: Condvar,
    /// The thread has sent something, or tried to.
    progress: Condvar,
}

#[derive(Debug)]
struct Queue<T> {
    messages: VecDeque<T>,
    /// The thread is sending: a message, or how many were lost.
    sending: bool,
    /// Messages that had no room, and were not told of yet.
    lost: u64,
    /// Attempts that failed so far.
    failures: u64,
    /// After a failure: when to try again.
    retry: Option<Instant>,
    ended: bool,
}

/// What the thread has to do next.
enum Task<T> {
    Send(T),
    SayLost(u64),
}

impl<T: Send + 'static> Outbox<T> {
    /// Starts the thread. `limit`: messages kept at most; of more, the oldest is lost and counted.
    pub fn start(
        thread: &str,
        limit: usize,
        mut transport: impl Transport<T>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            limit,
            queue: Mutex::new(Queue {
                messages: VecDeque::new(),
                sending: false,
                lost: 0,
                failures: 0,
                retry: None,
                ended: false,
            }),
            work: Condvar::new(),
            progress: Condvar::new(),
        });
        let theirs = shared.clone();
        std::thread::Builder::new().name(thread.into()).spawn(move || {
            while let Some(task) = theirs.next() {
                let failed = match &task {
                    Task::Send(message) => transport.send(message).is_err(),
                    Task::SayLost(count) => transport.say_lost(*count).is_err(),
                };
                theirs.done(task, failed);
            }
        })?;
        Ok(Self(shared))
    }

    /// Leaves a message for the thread. Never waits for who is to read it.
    pub fn put(&self, message: T) {
        let mut queue = self.0.lock();
        if queue.kept() >= self.0.limit {
            queue.messages.pop_front();
            queue.lost += 1;
        }
        queue.messages.push_back(message);
        // While nothing can be sent the thread waits for its next attempt.
        if queue.retry.is_none() {
            self.0.work.notify_one();
        }
    }

    /// Waits until everything is sent, or one more attempt has failed, or for half a second.
    pub fn flush(&self) {
        let mut queue = self.0.lock();
        let failures = queue.failures;
        queue.retry = None;
        self.0.work.notify_one();
        let under_way = |queue: &mut Queue<T>| {
            (queue.kept() > 0 || queue.lost > 0) && queue.failures == failures
        };
        // Who ends does not care how the wait ended.
        let _ = self.0.progress.wait_timeout_while(queue, FLUSH, under_way);
    }
}

impl<T> Drop for Outbox<T> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.work.notify_one();
    }
}

impl<T> Queue<T> {
    fn kept(&self) -> usize {
        self.messages.len() + usize::from(self.sending)
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do; `None` at the end.
    fn next(&self) -> Option<Task<T>> {
        let mut queue = self.lock();
        loop {
            if queue.ended {
                return None;
            }
            let pause = queue.retry.map(|at| at.saturating_duration_since(Instant::now()));
            if let Some(pause) = pause.filter(|pause| !pause.is_zero()) {
                let waited = self.work.wait_timeout(queue, pause);
                queue = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            if let Some(message) = queue.messages.pop_front() {
                queue.sending = true;
                return Some(Task::Send(message));
            }
            if queue.lost > 0 {
                queue.sending = true;
                return Some(Task::SayLost(queue.lost));
            }
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, task: Task<T>, failed: bool) {
        let mut queue = self.lock();
        queue.sending = false;
        queue.retry = failed.then(|| Instant::now() + RETRY);
        match task {
            Task::Send(message) if failed => queue.messages.push_front(message),
            Task::Send(_) => {}
            Task::SayLost(_) if failed => {}
            // More may have been lost while that was said.
            Task::SayLost(count) => queue.lost -= count,
        }
        queue.failures += u64::from(failed);
        drop(queue);
        self.progress.notify_all();
    }
}
