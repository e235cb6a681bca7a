// SPDX-License-Identifier: Apache-2.0
//! The gate's end. RKE2's start waits for the answer, so there is a limit that holds whatever
//! hangs; and since the answer decides whether RKE2 starts, it is taken from root and nobody else.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::gate::serve::write;
use crate::gate::{ANSWER_LIMIT, Answer, Program, QUESTION_LIMIT};

/// Why there is no answer that counts.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("nodeguard's service does not listen on {}: {source}", .socket.display())]
    NoService { socket: PathBuf, source: io::Error },
    #[error(
        "no answer within {} ms from nodeguard's service on {}; `systemctl status nodeguard` tells \
         whether it hangs",
        limit.as_millis(),
        .socket.display()
    )]
    Silent { socket: PathBuf, limit: Duration },
    #[error(
        "{} belongs to uid {uid} and not to root: its answer does not count; look for what made it \
         (ss -xlp)",
        .socket.display()
    )]
    NotRoot { socket: PathBuf, uid: u32 },
    #[error(
        "nodeguard's service runs another build ({theirs}) than this gate ({ours}), as during an \
         upgrade; systemctl restart nodeguard if that lasts"
    )]
    Another { theirs: String, ours: String },
    #[error("the answer of nodeguard's service on {} cannot be used: {why}", .socket.display())]
    BadAnswer { socket: PathBuf, why: String },
}

/// The report of a pass that the daemon makes now, with what it looked at. Needs a running tokio
/// runtime.
pub async fn ask(socket: &Path, limit: Duration) -> Result<Answer, AskError> {
    match timeout(limit, converse(socket)).await {
        Ok(result) => result,
        Err(_) => Err(AskError::Silent { socket: socket.into(), limit }),
    }
}

async fn converse(socket: &Path) -> Result<Answer, AskError> {
    let no_service = |source| AskError::NoService { socket: socket.into(), source };
    let bad = |why: String| AskError::BadAnswer { socket: socket.into(), why };
    // Where more gates wait than the kernel queues, this fails at once and does not wait.
    let stream = UnixStream::connect(socket).await.map_err(no_service)?;
    let uid = stream.peer_cred().map_err(no_service)?.uid();
    if uid != 0 {
        return Err(AskError::NotRoot { socket: socket.into(), uid });
    }
    let ours = Program::ours();
    write(&stream, &ours.line()).await.map_err(|e| bad(e.to_string()))?;
    let answer = read(&stream).await.map_err(bad)?;

    let mut lines = answer.split_inclusive(|&byte| byte == b'\n');
    let whole = |line: Option<&'_ [u8]>| match line {
        Some(line) if line.ends_with(b"\n") => Ok(line.to_vec()),
        _ => Err(bad("it ends too early; nodeguard's journal may tell why".into())),
    };
    let theirs: Program =
        serde_json::from_slice(&whole(lines.next())?).map_err(|e| bad(e.to_string()))?;
    if !ours.is(&theirs) {
        return Err(AskError::Another { theirs: theirs.version, ours: ours.version });
    }
    serde_json::from_slice(&whole(lines.next())?).map_err(|e| bad(e.to_string()))
}

/// All of it, to the end of the connection.
async fn read(stream: &UnixStream) -> Result<Vec<u8>, String> {
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        stream.readable().await.map_err(|e| e.to_string())?;
        match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(answer),
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e.to_string()),
        }
        if answer.len() > ANSWER_LIMIT + QUESTION_LIMIT {
            return Err(format!("it is longer than {ANSWER_LIMIT} bytes"));
        }
    }
}
