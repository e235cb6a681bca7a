// SPDX-License-Identifier: Apache-2.0
//! The daemon's end: takes questions, has the main loop answer them, and waits for nobody longer
//! than it has to. Whatever is odd about a connection ends it, and its gate looks by itself.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::gate::{Program, QUESTION_LIMIT};

/// Connections at a time; one more is closed at once. RKE2 has one gate.
pub const CONNECTIONS: usize = 16;

/// How long a gate may take to ask, and to read the answer.
const ASKING: Duration = Duration::from_secs(1);
const READING: Duration = Duration::from_secs(5);

/// Where the main loop puts the answer, a line of [`super::answer`]. Closed when the gate has gone.
pub type Ask = oneshot::Sender<Arc<[u8]>>;

/// Serves gates. Returns when no more connections can be taken, with the reason.
pub async fn serve(listener: UnixListener, asks: mpsc::Sender<Ask>) -> io::Error {
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    let ours = Arc::new(Program::ours());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(e) if e.kind() == ErrorKind::ConnectionAborted => continue,
            Err(e) => return e,
        };
        let Ok(seat) = seats.clone().try_acquire_owned() else { continue };
        // The socket's mode says the same; who was let in otherwise is not answered.
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == 0) {
            continue;
        }
        let (asks, ours) = (asks.clone(), ours.clone());
        tokio::spawn(async move {
            converse(&stream, &asks, &ours).await;
            drop(seat);
        });
    }
}

async fn converse(stream: &UnixStream, asks: &mpsc::Sender<Ask>, ours: &Program) {
    let Ok(Some(question)) = timeout(ASKING, question(stream)).await else { return };
    let Ok(theirs) = serde_json::from_slice::<Program>(&question) else { return };
    let mut answer = ours.line();
    // Another program's gate would not believe us: no pass is made for it.
    if ours.is(&theirs) {
        let (ask, answered) = oneshot::channel();
        if asks.try_send(ask).is_err() {
            return;
        }
        tokio::select! {
            biased;
            answered = answered => match answered {
                Ok(verdict) => answer.extend_from_slice(&verdict),
                Err(_) => return,
            },
            // Nobody waits any more, and no pass is made for him.
            () = gone(stream) => return,
        }
    }
    let _ = timeout(READING, write(stream, &answer)).await;
}

/// One line; `None`: it is none, or too long.
async fn question(stream: &UnixStream) -> Option<Vec<u8>> {
    let mut line = Vec::with_capacity(QUESTION_LIMIT);
    loop {
        stream.readable().await.ok()?;
        let mut buffer = [0; QUESTION_LIMIT];
        match stream.try_read(&mut buffer) {
            Ok(0) => return None,
            Ok(n) => line.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => return None,
        }
        if line.len() > QUESTION_LIMIT {
            return None;
        }
        if line.ends_with(b"\n") {
            return Some(line);
        }
    }
}

/// Returns when the other end is closed, or says more than it was asked.
async fn gone(stream: &UnixStream) {
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match stream.try_read(&mut [0]) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

pub(super) async fn write(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
