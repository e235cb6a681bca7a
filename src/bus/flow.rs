// SPDX-License-Identifier: Apache-2.0
//! The socket below a connection: what comes off it goes on only as far as somebody needs it.
//!
//! zbus reads whatever comes, whole, into memory of its size, and makes a task of each call. That
//! is as much memory as others like. So the limits are here, below zbus: a message that is larger
//! than any that we need is read through a buffer of fixed size and forgotten; so is everything
//! that nobody needs, and the calls beyond what [`Calls`] lets through. Reading never stops for
//! that: the bus's answers to our own questions lie behind the flood in the same socket.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{Shutdown, shutdown};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use zbus::Message;
use zbus::connection::socket::{BoxedSplit, ReadHalf, Split, WriteHalf};
use zbus::export::async_trait::async_trait;
use zbus::message::Type;

use super::calls::{Calls, Kind, Verdict};
use super::pace::Pace;
use super::{BUS, NAME, PATH};

/// What is read at once.
const BUFFER: usize = 16 * 1024;
/// The part of a message that says how long it is.
const HEAD: usize = 16;
/// The flag NO_REPLY_EXPECTED of a call.
const NO_REPLY: u8 = 1;

/// The largest message that the daemon needs: a call has two short strings at most, and what the
/// bus answers are names and numbers.
const CALL: usize = 8 * 1024;
/// The largest that somebody needs who asks the daemon: a report, with a large margin.
const REPORT: usize = 1024 * 1024;

/// What may lie in the socket that the bus has not read, which is twice this as the kernel counts.
/// A bus that is flooded reads a little from each of its connections in turn, 2 KiB in dbus-daemon,
/// and a signal comes after all that was written before it.
const UNREAD: usize = 4 * 1024;

/// Calls that wait to be told that they are one too many.
const REFUSED: usize = 16;

/// The socket of one who only asks: what comes besides answers is of no use to him.
pub(super) fn of_a_client(stream: UnixStream) -> BoxedSplit {
    split(stream, REPORT, None)
}

/// The socket of the daemon, and the calls that it does not answer.
pub(super) fn of_the_server(stream: UnixStream) -> (BoxedSplit, mpsc::Receiver<Message>) {
    // Where it fails, signals wait longer.
    let _ = set_socket_send_buffer_size(&stream, UNREAD);
    let (refused, refusals) = mpsc::channel(REFUSED);
    let calls = Arc::new(Mutex::new(Calls::new(Instant::now())));
    (split(stream, CALL, Some(CallFilter { calls, refused })), refusals)
}

fn split(stream: UnixStream, limit: usize, filter: Option<CallFilter>) -> BoxedSplit {
    let (read, write) = stream.into_split();
    let calls = filter.as_ref().map(|filter| filter.calls.clone());
    let pace = filter.is_some().then(Pace::new);
    let reader =
        Reader { socket: read, unread: Unread::default(), limit, filter, pace, passed: false };
    Split::new(Box::new(reader), Box::new(Writer { socket: write, calls }))
}

/// What lets calls in.
#[derive(Debug)]
struct CallFilter {
    calls: Arc<Mutex<Calls>>,
    refused: mpsc::Sender<Message>,
}

impl CallFilter {
    /// Whether the call is to be answered. `wanted`: the caller waits for the answer.
    fn lets_in(&self, message: &Message, wanted: bool) -> bool {
        let header = message.header();
        // Without a sender it is not from the bus, and without a destination not for us.
        let (Some(sender), Some(_)) = (header.sender(), header.destination()) else { return false };
        let is_ours = header.interface().is_some_and(|interface| interface == NAME)
            && header.path().is_some_and(|path| path.as_str() == PATH);
        let member = header.member().map_or("", |member| member.as_str());
        let kind = match member {
            "Check" | "Reconcile" if is_ours => Kind::Pass,
            _ => Kind::Short,
        };
        let serial = header.primary().serial_num();
        let verdict = locked(&self.calls).admit(sender, serial, kind, wanted, Instant::now());
        if verdict == Verdict::Refuse {
            // Nobody is told while the bus does not read.
            let _ = self.refused.try_send(message.clone());
        }
        verdict == Verdict::Answer
    }
}

fn locked(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    // Counters have no half-done state.
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was read off the socket and not yet looked at.
#[derive(Debug, Default)]
struct Unread {
    bytes: Vec<u8>,
    /// How many of these bytes were handed on.
    seen: usize,
}

impl Unread {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.seen..]
    }

    /// The next ones, `most` at most.
    fn take(&mut self, most: usize) -> &[u8] {
        let begin = self.seen;
        self.seen = self.bytes.len().min(begin.saturating_add(most));
        &self.bytes[begin..self.seen]
    }
}

#[derive(Debug)]
struct Reader {
    socket: OwnedReadHalf,
    unread: Unread,
    /// How large a message may be.
    limit: usize,
    /// `None`: no call is let in.
    filter: Option<CallFilter>,
    pace: Option<Pace>,
    /// Whether the last message was handed on.
    passed: bool,
}

impl Reader {
    /// More of what comes, when all that came was looked at.
    async fn fill(&mut self) -> io::Result<()> {
        if !self.unread.rest().is_empty() {
            return Ok(());
        }
        if let Some(pace) = &mut self.pace {
            pace.keep().await;
        }
        self.unread.seen = 0;
        self.unread.bytes.resize(BUFFER, 0);
        let read = receive(&self.socket, &mut self.unread.bytes).await;
        self.unread.bytes.truncate(*read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the bus closed the connection")),
            _ => Ok(()),
        }
    }

    /// The next `count` bytes, behind those in `out`.
    async fn read(&mut self, count: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let end = out.len() + count;
        while out.len() < end {
            self.fill().await?;
            out.extend(self.unread.take(end - out.len()));
        }
        Ok(())
    }

    async fn skip(&mut self, mut count: usize) -> io::Result<()> {
        while count > 0 {
            self.fill().await?;
            count -= self.unread.take(count).len();
        }
        Ok(())
    }

    /// Whether a message goes on.
    fn takes(&self, message: &Message, wanted: bool) -> bool {
        match (message.message_type(), &self.filter) {
            (Type::MethodReturn | Type::Error, None) => true,
            // All that the daemon asks, it asks the bus.
            (Type::MethodReturn | Type::Error, Some(_)) => {
                message.header().sender().is_some_and(|sender| *sender == BUS)
            }
            (Type::MethodCall, Some(filter)) => filter.lets_in(message, wanted),
            (Type::MethodCall, None) | (Type::Signal, _) => false,
        }
    }
}

#[async_trait]
impl ReadHalf for Reader {
    async fn receive_message(
        &mut self,
        seq: u64,
        already_received_bytes: &mut Vec<u8>,
        _already_received_fds: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        if !already_received_bytes.is_empty() {
            // What followed the handshake; before anything was read here.
            self.unread = Unread { bytes: std::mem::take(already_received_bytes), seen: 0 };
        }
        if std::mem::take(&mut self.passed) {
            // To whom the message went, and to whoever waits for that.
            tokio::task::yield_now().await;
        }
        loop {
            let mut bytes = Vec::with_capacity(HEAD);
            self.read(HEAD, &mut bytes).await?;
            let head = Head::of(&bytes)?;
            // A signal reaches us only when it is sent to us alone: by the bus, that the name is
            // ours, which its answer says as well, or by anybody.
            if head.length > self.limit || head.is_signal {
                self.skip(head.length - HEAD).await?;
                continue;
            }
            bytes.reserve_exact(head.length - HEAD);
            self.read(head.length - HEAD, &mut bytes).await?;
            // zbus answers what expects an answer, and by the answer is known that a call is over.
            bytes[2] &= !NO_REPLY;
            // What the bus lets through and zbus does not understand is no reason to hang up.
            let Ok(message) = Whole.receive_message(seq, &mut bytes, &mut Vec::new()).await else {
                continue;
            };
            if self.takes(&message, head.wants_answer) {
                self.passed = true;
                return Ok(message);
            }
        }
    }

    /// The handshake reads and writes by these two as well.
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        Ok((receive(&self.socket, buffer).await?, Vec::new()))
    }
}

/// zbus's own reader, of a message that is there as a whole.
#[derive(Debug)]
struct Whole;

#[async_trait]
impl ReadHalf for Whole {
    async fn recvmsg(&mut self, _buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// What the first bytes of a message tell.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// Bytes of the whole message.
    length: usize,
    is_signal: bool,
    wants_answer: bool,
}

impl Head {
    /// The largest message that D-Bus has.
    const LONGEST: usize = 128 * 1024 * 1024;

    /// `bytes`: the first [`HEAD`] ones.
    fn of(bytes: &[u8]) -> io::Result<Self> {
        let no_message = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let &[order, kind, flags, _, b0, b1, b2, b3, _, _, _, _, f0, f1, f2, f3] = bytes else {
            return Err(no_message("half a message"));
        };
        // A message is in the byte order of who sent it.
        let number = match order {
            b'l' => u32::from_le_bytes,
            b'B' => u32::from_be_bytes,
            _ => return Err(no_message("what the bus sends is no message")),
        };
        let body = u64::from(number([b0, b1, b2, b3]));
        let fields = u64::from(number([f0, f1, f2, f3]));
        let length = (HEAD as u64 + fields).next_multiple_of(8) + body;
        let length = usize::try_from(length).ok().filter(|length| *length <= Self::LONGEST);
        Ok(Self {
            length: length.ok_or_else(|| no_message("a message longer than D-Bus has any"))?,
            is_signal: kind == Type::Signal as u8,
            wants_answer: flags & NO_REPLY == 0,
        })
    }
}

#[derive(Debug)]
struct Writer {
    socket: OwnedWriteHalf,
    calls: Option<Arc<Mutex<Calls>>>,
}

impl Writer {
    async fn write(&self, message: &Message) -> io::Result<()> {
        let mut left: &[u8] = message.data();
        while !left.is_empty() {
            left = &left[send(&self.socket, left).await?..];
        }
        Ok(())
    }
}

#[async_trait]
impl WriteHalf for Writer {
    async fn send_message(&mut self, message: &Message) -> zbus::Result<()> {
        let (Some(calls), Some((caller, serial))) = (self.calls.clone(), answered(message)) else {
            return Ok(self.write(message).await?);
        };
        let mut bytes = 0;
        if locked(&calls).is_wanted(&caller, serial) {
            bytes = message.data().len() as u64;
            locked(&calls).writing = true;
            let written = self.write(message).await;
            locked(&calls).writing = false;
            written?;
        }
        locked(&calls).answered(&caller, serial, bytes, Instant::now());
        Ok(())
    }

    /// The handshake reads and writes by these two as well.
    async fn sendmsg(&mut self, buffer: &[u8], _fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        send(&self.socket, buffer).await
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(shutdown(self.socket.as_ref(), Shutdown::Write)?)
    }
}

async fn receive(socket: &OwnedReadHalf, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        socket.readable().await?;
        match socket.try_read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

async fn send(socket: &OwnedWriteHalf, bytes: &[u8]) -> io::Result<usize> {
    loop {
        socket.writable().await?;
        match socket.try_write(bytes) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            written => return written,
        }
    }
}

/// Whose call a message answers, and which one.
fn answered(message: &Message) -> Option<(String, NonZeroU32)> {
    let header = message.header();
    match message.message_type() {
        Type::MethodReturn | Type::Error => {
            Some((header.destination()?.to_string(), header.reply_serial()?))
        }
        Type::MethodCall | Type::Signal => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream as Plain;

    use super::*;

    fn head(order: u8, kind: u8, flags: u8, body: u32, fields: u32) -> Vec<u8> {
        let number = |n: u32| if order == b'B' { n.to_be_bytes() } else { n.to_le_bytes() };
        let mut head = vec![order, kind, flags, 1];
        head.extend([body, 7, fields].into_iter().flat_map(number));
        head
    }

    #[test]
    fn the_first_bytes_of_a_message_tell_its_length_in_either_byte_order() {
        for order in [b'l', b'B'] {
            let call = Head::of(&head(order, 1, 0, 10, 61)).unwrap();
            assert_eq!(call, Head { length: 80 + 10, is_signal: false, wants_answer: true });
            let signal = Head::of(&head(order, 4, NO_REPLY, 0, 64)).unwrap();
            assert_eq!(signal, Head { length: 80, is_signal: true, wants_answer: false });
            let longest = Head::of(&head(order, 1, 0, Head::LONGEST as u32 - 16, 0)).unwrap();
            assert_eq!(longest.length, Head::LONGEST);
            for (body, fields) in [(u32::MAX, 0), (0, u32::MAX), (u32::MAX, u32::MAX)] {
                assert!(Head::of(&head(order, 1, 0, body, fields)).is_err(), "{body} {fields}");
            }
        }
        assert!(Head::of(&head(b'x', 1, 0, 0, 0)).is_err());
        assert!(Head::of(b"l").is_err());
    }

    /// A socket as it is split here, once more, and its other end.
    fn pair() -> (UnixStream, Plain, Plain) {
        let (ours, other) = Plain::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let again = ours.try_clone().unwrap();
        (UnixStream::from_std(ours).unwrap(), again, other)
    }

    #[tokio::test]
    async fn what_waits_to_be_sent_by_the_daemon_has_a_limit() {
        let (ours, mut again, _bus) = pair();
        let (_split, refusals) = of_the_server(ours);
        let mut unread = 0;
        while let Ok(written) = again.write(&[0; 256]) {
            unread += written;
            assert!(unread <= 2 * UNREAD, "{unread}");
        }
        assert!(unread > 0);
        // So many can wait in it; what is told beyond that is dropped.
        assert_eq!(refusals.max_capacity(), REFUSED);
    }

    #[tokio::test]
    async fn who_asks_the_daemon_reads_no_message_larger_than_a_report_and_the_next_one() {
        let call = Message::method_call("/", "GetReport").build(&()).unwrap();
        let answer = |bytes: usize| {
            Message::method_return(&call.header()).build(&"x".repeat(bytes)).unwrap()
        };
        let around = answer(0).data().len();
        let (too_large, largest) = (answer(REPORT - around + 1), answer(REPORT - around));
        let (ours, _again, mut bus) = pair();
        let sender = std::thread::spawn(move || {
            for message in [too_large, largest] {
                bus.write_all(message.data()).unwrap();
            }
        });
        let (mut reader, _writer) = of_a_client(ours).take();
        let got = reader.receive_message(0, &mut Vec::new(), &mut Vec::new()).await.unwrap();
        assert_eq!(got.data().len(), REPORT);
        sender.join().unwrap();
    }
}
