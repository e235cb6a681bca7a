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

/// A queue and the thread that sends what is in it. The thread ends when this is dropped, with what
/// has not been sent by then; whoever wants it sent calls [`Outbox::flush`] before.
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
    pub fn start(thread: &str, limit: usize, mut transport: impl Transport<T>) -> io::Result<Self> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::path::PathBuf;

    impl<T> Outbox<T> {
        /// Messages that were not sent yet, and how many were lost that nobody was told of.
        pub fn kept(&self) -> (usize, u64) {
            let queue = self.0.lock();
            (queue.kept(), queue.lost)
        }
    }

    /// Waits for whoever reads the socket.
    struct Socket(PathBuf);

    impl Transport<usize> for Socket {
        fn send(&mut self, message: &usize) -> io::Result<()> {
            let text = message.to_string();
            UnixDatagram::unbound()?.send_to(text.as_bytes(), &self.0).map(drop)
        }

        fn say_lost(&mut self, count: u64) -> io::Result<()> {
            let text = format!("{count} lost");
            UnixDatagram::unbound()?.send_to(text.as_bytes(), &self.0).map(drop)
        }
    }

    fn received(reader: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        reader.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let read = reader.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..read]).into_owned()
    }

    fn until(what: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !what() {
            assert!(Instant::now() < end, "waited in vain");
            std::thread::yield_now();
        }
    }

    const LIMIT: usize = 256;

    #[test]
    fn while_nobody_is_there_to_read_messages_are_kept_to_a_limit_and_the_rest_is_counted_and_said()
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let outbox = Outbox::start("test", LIMIT, Socket(path.clone())).unwrap();
        outbox.put(0);
        until(|| outbox.0.lock().retry.is_some());
        for n in 1..LIMIT + 3 {
            outbox.put(n);
        }
        assert_eq!(outbox.kept(), (LIMIT, 3));
        // One attempt, and no wait for half a second after it failed.
        let before = outbox.0.lock().failures;
        outbox.flush();
        assert_eq!(outbox.0.lock().failures, before + 1);
        assert_eq!(outbox.kept(), (LIMIT, 3));

        let reader = UnixDatagram::bind(&path).unwrap();
        outbox.0.lock().retry = None;
        outbox.put(LIMIT + 3);
        assert_eq!(received(&reader), "4", "the oldest are the lost ones");
        for n in 5..LIMIT + 4 {
            assert_eq!(received(&reader), n.to_string());
        }
        assert_eq!(received(&reader), "4 lost");
        until(|| outbox.kept() == (0, 0));
        outbox.put(1);
        assert_eq!(received(&reader), "1");
    }

    #[test]
    fn a_reader_that_stalls_holds_up_neither_who_sends_nor_who_ends_nor_another_outbox() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stalled");
        let stalled = UnixDatagram::bind(&path).unwrap();
        let outbox = Outbox::start("test", LIMIT, Socket(path)).unwrap();
        let begin = Instant::now();
        for n in 0..100_000 {
            outbox.put(n);
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        let (kept, lost) = outbox.kept();
        assert_eq!(kept, LIMIT, "the reader's queue is full");

        let path = dir.path().join("other");
        let reader = UnixDatagram::bind(&path).unwrap();
        let other = Outbox::start("test", LIMIT, Socket(path)).unwrap();
        other.put(1);
        assert_eq!(received(&reader), "1");

        let begin = Instant::now();
        outbox.flush();
        let waited = begin.elapsed();
        assert!(waited >= FLUSH && waited < FLUSH * 10, "{waited:?}");
        // All that are not lost arrive in the end, and how many are lost is said.
        let mut sent = 0;
        loop {
            let text = received(&stalled);
            if let Some(count) = text.strip_suffix(" lost") {
                assert_eq!(count.parse::<u64>().unwrap(), lost);
                break;
            }
            sent += 1;
        }
        assert_eq!(sent + lost as usize, 100_000);
    }

    #[test]
    fn who_ends_waits_until_all_is_sent_and_the_thread_ends_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let reader = UnixDatagram::bind(&path).unwrap();
        let outbox = Outbox::start("test", LIMIT, Socket(path)).unwrap();
        let shared = Arc::downgrade(&outbox.0);
        outbox.put(1);
        outbox.put(2);
        outbox.flush();
        assert_eq!(outbox.kept(), (0, 0));
        assert_eq!((received(&reader), received(&reader)), ("1".into(), "2".into()));
        drop(outbox);
        until(|| shared.strong_count() == 0);
    }
}
