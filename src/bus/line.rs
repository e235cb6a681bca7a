// SPDX-License-Identifier: Apache-2.0
//! One connection to a bus, opened within a time limit and closed for certain.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::sync::mpsc;
use zbus::Message;
use zbus::connection::Builder;

use super::{BusAddress, flow};

/// How long the bus may take for one answer of its own.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// A connection, and a second handle on its socket.
///
/// The handle is for hanging up. A `zbus::Connection` lives on in every task that still wants to
/// write a reply; when the bus no longer reads, those tasks wait for ever and the socket with
/// them. Shutting the socket down ends them all.
pub(super) struct BusConnection {
    connection: zbus::Connection,
    socket: UnixStream,
    /// Calls that are not answered, to be told so.
    refused: mpsc::Receiver<Message>,
}

/// What a line is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// A connection that asks.
    Client,
    /// Being asked, by anybody.
    Server,
}

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("connect to {address}: {source}")]
    Connect { address: BusAddress, source: io::Error },
    #[error("the bus at {address} did not take the connection: {source}")]
    Handshake { address: BusAddress, source: zbus::Error },
}

impl BusConnection {
    /// Connects and says hello. The caller limits the time: a stopped bus takes the connection
    /// and then says nothing.
    pub(super) async fn open(
        address: &BusAddress,
        role: For,
        prepare: impl FnOnce(Builder<'static>) -> Builder<'static>,
    ) -> Result<Self, ConnectError> {
        let connect = |source| ConnectError::Connect { address: address.clone(), source };
        // Tokio's connect: the one of std would block the whole thread once a stopped bus has a
        // full backlog, this one fails with EAGAIN.
        let stream = tokio::net::UnixStream::connect(address.socket()).await.map_err(connect)?;
        let stream = stream.into_std().map_err(connect)?;
        let guard = HangUp(Some(stream.try_clone().map_err(connect)?));
        let stream = tokio::net::UnixStream::from_std(stream).map_err(connect)?;
        let (split, refused) = match role {
            For::Client => (flow::of_a_client(stream), mpsc::channel(1).1),
            For::Server => flow::of_the_server(stream),
        };
        let connection =
            prepare(Builder::socket(split).method_timeout(CALL_LIMIT))
                .build()
                .await
                .map_err(|source| ConnectError::Handshake { address: address.clone(), source })?;
        guard.into_line(connection, refused, address)
    }

    /// The next call that is not answered; never, once the socket is gone. Cancellation safe.
    pub(super) async fn refused(&mut self) -> Message {
        match self.refused.recv().await {
            Some(message) => message,
            None => std::future::pending().await,
        }
    }

    pub(super) fn connection(&self) -> &zbus::Connection {
        &self.connection
    }
}

impl Drop for BusConnection {
    fn drop(&mut self) {
        hang_up(&self.socket);
    }
}

/// Hangs up when a handshake is given up half-way.
struct HangUp(Option<UnixStream>);

impl HangUp {
    fn into_line(
        mut self,
        connection: zbus::Connection,
        refused: mpsc::Receiver<Message>,
        address: &BusAddress,
    ) -> Result<BusConnection, ConnectError> {
        match self.0.take() {
            Some(socket) => Ok(BusConnection { connection, socket, refused }),
            None => Err(ConnectError::Connect {
                address: address.clone(),
                source: io::ErrorKind::NotConnected.into(),
            }),
        }
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            hang_up(socket);
        }
    }
}

fn hang_up(socket: &UnixStream) {
    // It fails only where the other side was faster.
    let _ = socket.shutdown(Shutdown::Both);
}
