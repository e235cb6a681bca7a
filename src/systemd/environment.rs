// SPDX-License-Identifier: Apache-2.0
//! The variables that systemd gives every service, from systemd itself: no file has what
//! `systemctl set-environment` set.
//!
//! One question over systemd's own socket, in D-Bus's format and without a bus: half a millisecond,
//! where `systemctl show-environment` takes eight, and no dbus-daemon that could be stopped. Where
//! systemd runs and does not answer in time, what it holds is not known, and that is said.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// systemd's socket for root.
pub(crate) const SOCKET: &str = "/run/systemd/private";

/// For all of it. systemd answers nobody while it reloads its units.
const LIMIT: Duration = Duration::from_secs(1);

/// Bytes of one message; what systemd holds is some hundred bytes.
const MESSAGE_LIMIT: usize = 1 << 20;

/// Messages before the answer: systemd tells everybody on this socket what happens to its units.
const MESSAGES: usize = 1024;

/// `NAME=value` each, or why systemd did not tell; `None` where no systemd runs.
pub(crate) fn ask() -> Option<Result<Vec<String>, String>> {
    ask_at(Path::new(SOCKET), LIMIT)
}

fn ask_at(socket: &Path, limit: Duration) -> Option<Result<Vec<String>, String>> {
    let end = Instant::now() + limit;
    let stream = match connect(socket) {
        Ok(stream) => stream,
        Err(Errno::NOENT) => return None,
        Err(e) => return Some(Err(format!("cannot connect to {}: {e}", socket.display()))),
    };
    let answer = converse(Line { stream, end, read: Vec::new() });
    Some(answer.ok_or_else(|| {
        let socket = socket.display();
        if Instant::now() < end {
            format!("systemd's answer on {socket} is not what was expected")
        } else {
            format!("systemd did not answer on {socket} within {} s", limit.as_secs_f32())
        }
    }))
}

fn converse(mut line: Line) -> Option<Vec<String>> {
    // Authentication: that we are root, which the socket knows by itself.
    line.send(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n")?;
    if !line.take_line()?.starts_with(b"OK ") {
        return None;
    }
    line.send(&question())?;
    for _ in 0..MESSAGES {
        let head = line.take(16)?;
        let (fields, body) = lengths(&head)?;
        line.take(fields.next_multiple_of(8))?;
        let body = line.take(body)?;
        match head[1] {
            RETURN => return strings(&body),
            SIGNAL => {}
            _ => return None,
        }
    }
    None
}

/// Not by std, which waits where systemd takes nobody on.
fn connect(socket: &Path) -> Result<UnixStream, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let address = SocketAddrUnix::new(socket)?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &address)?;
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(UnixStream::from(socket))
}

struct Line {
    stream: UnixStream,
    end: Instant,
    /// Bytes that were read and belong to a message that is not complete.
    read: Vec<u8>,
}

impl Line {
    fn left(&self) -> Option<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.set_write_timeout(Some(self.left()?)).ok()?;
        self.stream.write_all(bytes).ok()
    }

    fn read_more(&mut self) -> Option<()> {
        self.stream.set_read_timeout(Some(self.left()?)).ok()?;
        let mut buffer = [0; 4096];
        let read = match self.stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(read) => read,
            // The kernel's clock is coarser than ours: whether it is over is asked above.
            Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return None,
        };
        self.read.extend(&buffer[..read]);
        (self.read.len() <= 2 * MESSAGE_LIMIT).then_some(())
    }

    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.read.len() < length {
            self.read_more()?;
        }
        let rest = self.read.split_off(length);
        Some(std::mem::replace(&mut self.read, rest))
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\r\n") {
                return self.take(end + 2);
            }
            self.read_more()?;
        }
    }
}

// Types of messages, and codes of their header fields (D-Bus specification, "Message Format").
const CALL: u8 = 1;
const RETURN: u8 = 2;
const SIGNAL: u8 = 4;
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// `Properties.Get("org.freedesktop.systemd1.Manager", "Environment")`, in little-endian.
fn question() -> Vec<u8> {
    let mut fields = Vec::new();
    for (code, kind, value) in [
        (PATH, b'o', "/org/freedesktop/systemd1"),
        (INTERFACE, b's', "org.freedesktop.DBus.Properties"),
        (MEMBER, b's', "Get"),
        (DESTINATION, b's', "org.freedesktop.systemd1"),
        (SIGNATURE, b'g', "ss"),
    ] {
        pad(&mut fields, 8);
        fields.extend([code, 1, kind, 0]);
        if kind == b'g' {
            // A signature's length is a byte.
            fields.extend([2, b's', b's', 0]);
        } else {
            push_string(&mut fields, value);
        }
    }
    let mut body = Vec::new();
    push_string(&mut body, "org.freedesktop.systemd1.Manager");
    push_string(&mut body, "Environment");
    let mut out = vec![b'l', CALL, 0, 1];
    for number in [body.len(), 1, fields.len()] {
        out.extend((number as u32).to_le_bytes());
    }
    out.extend(fields);
    pad(&mut out, 8);
    out.extend(body);
    out
}

fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    pad(out, 4);
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
    out.push(0);
}

/// The lengths of the header fields and of the body, from the first 16 bytes of a message.
fn lengths(head: &[u8]) -> Option<(usize, usize)> {
    // systemd speaks as this machine does, and we run on nothing that is big-endian.
    (head.first() == Some(&b'l')).then_some(())?;
    let (fields, body) = (number(head, 12)?, number(head, 4)?);
    (fields <= MESSAGE_LIMIT && body <= MESSAGE_LIMIT).then_some((fields, body))
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(four)).ok()
}

/// The strings of a body that is a variant with an array of strings.
fn strings(body: &[u8]) -> Option<Vec<String>> {
    body.starts_with(b"\x02as\0").then_some(())?;
    let end = 8 + number(body, 4)?;
    let mut out = Vec::new();
    let mut at = 8usize;
    while at < end {
        at = at.next_multiple_of(4);
        let begin = at + 4;
        let length = number(body, at)?;
        let text = body.get(begin..begin.checked_add(length)?)?;
        // What is no text is no variable that RKE2 could use.
        out.extend(String::from_utf8(text.to_vec()));
        at = begin + length + 1;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer's body with these strings in it.
    fn body(texts: &[&str]) -> Vec<u8> {
        let mut array = Vec::new();
        for text in texts {
            push_string(&mut array, text);
        }
        let mut out = b"\x02as\0".to_vec();
        out.extend((array.len() as u32).to_le_bytes());
        out.extend(array);
        out
    }

    #[test]
    fn the_variables_of_an_answer_are_read_and_a_broken_answer_is_none() {
        for texts in [&[][..], &["A=1"], &["LANG=C.UTF-8", "A=", "RKE2_CIS_PROFILE=cis", "B=\n'"]] {
            let body = body(texts);
            assert_eq!(strings(&body).unwrap(), texts);
            for length in 0..body.len() - usize::from(!texts.is_empty()) {
                assert_eq!(strings(&body[..length]), None, "{texts:?} cut to {length}");
            }
        }
        for broken in
            [&b"\x01s\0\0"[..], b"\x02as\0\xff\xff\xff\xff", b"\x02as\0\x08\0\0\0\xff\xff\xff\xff"]
        {
            assert_eq!(strings(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn a_systemd_that_does_not_answer_is_told_from_none() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("private");
        let limit = Duration::from_millis(100);
        assert_eq!(ask_at(&socket, limit), None, "no systemd runs");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let silent = ask_at(&socket, limit).unwrap().unwrap_err();
        assert!(silent.contains("did not answer") && silent.contains("within 0.1 s"), "{silent}");
        drop(listener);
        let refused = ask_at(&socket, limit).unwrap().unwrap_err();
        assert!(refused.contains("Connection refused"), "{refused}");
    }

    #[test]
    fn the_question_is_a_message_as_the_specification_has_it() {
        let question = question();
        let (fields, body) = lengths(&question).unwrap();
        let begin = 16 + fields.next_multiple_of(8);
        assert_eq!(question.len(), begin + body);
        assert_eq!(number(&question, begin), Some("org.freedesktop.systemd1.Manager".len()));
        let huge = [b'l', RETURN, 0, 1, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(lengths(&huge), None, "more than we take");
    }

    #[test]
    fn an_answer_behind_more_messages_than_the_limit_is_none() {
        let answered_after = |signals: usize| {
            let (stream, mut systemds) = UnixStream::pair().unwrap();
            let head = |kind, body: u32| {
                let numbers = [body, 1, 0].into_iter().flat_map(u32::to_le_bytes);
                [b'l', kind, 0, 1].into_iter().chain(numbers).collect::<Vec<u8>>()
            };
            let body = body(&["A=1"]);
            let mut said = b"OK 0\r\n".to_vec();
            said.extend(head(SIGNAL, 0).repeat(signals));
            said.extend(head(RETURN, body.len() as u32));
            said.extend(body);
            systemds.write_all(&said).unwrap();
            let end = Instant::now() + Duration::from_secs(10);
            converse(Line { stream, end, read: Vec::new() })
        };
        assert_eq!(answered_after(MESSAGES - 1), Some(vec!["A=1".to_owned()]));
        assert_eq!(answered_after(MESSAGES), None);
    }
}
