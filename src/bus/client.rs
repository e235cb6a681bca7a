// SPDX-License-Identifier: Apache-2.0
//! Asking a running daemon, for `nodeguard gate` and `nodeguard status`.
//!
//! RKE2's start waits for the answer, so every question has a limit that holds whatever hangs:
//! the connection, the bus, the daemon. And since the answer decides whether RKE2 starts, it is
//! taken from a daemon that runs as root and from nobody else.

use std::time::Duration;

use zbus::fdo;

use super::line::{BusConnection, ConnectError, For};
use super::{BUS, BusAddress, NAME, PATH};

const BUS_PATH: &str = "/org/freedesktop/DBus";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens there, or it is no bus.
    #[error("no D-Bus: {0}")]
    NoBus(String),
    /// The bus works and nobody owns the name.
    #[error("nodeguard is not on the bus at {address}: nobody owns the name {NAME}")]
    NoDaemon { address: BusAddress },
    /// Bus or daemon did not answer in time.
    #[error(
        "no answer within {} ms over the bus at {address}; `systemctl status nodeguard dbus` \
         tells which of them hangs",
        limit.as_millis()
    )]
    Timeout { address: BusAddress, limit: Duration },
    /// The name's owner is not root, so its answer was not asked for.
    #[error(
        "{NAME} on the bus at {address} is owned by uid {uid} and not by root: its answer does \
         not count; look for what took the name with `busctl status {NAME}`"
    )]
    Untrusted { address: BusAddress, uid: u32 },
    /// The daemon or the bus said no.
    #[error("refused over the bus at {address}: {why}")]
    Refused { address: BusAddress, why: String },
    /// The answer cannot be read.
    #[error("nodeguard's answer over the bus at {address} cannot be used: {why}")]
    BadAnswer { address: BusAddress, why: String },
}

/// The report of the daemon's last pass, as JSON.
pub async fn get_report(address: &BusAddress, limit: Duration) -> Result<String, ClientError> {
    ask(address, "GetReport", limit).await
}

/// The report of a pass that the daemon makes now and that mends, as JSON. Root only.
pub async fn reconcile(address: &BusAddress, limit: Duration) -> Result<String, ClientError> {
    ask(address, "Reconcile", limit).await
}

/// The report of a pass that the daemon makes now and that changes nothing, as JSON. Root only.
pub async fn check(address: &BusAddress, limit: Duration) -> Result<String, ClientError> {
    ask(address, "Check", limit).await
}

async fn ask(
    address: &BusAddress,
    method: &'static str,
    limit: Duration,
) -> Result<String, ClientError> {
    match tokio::time::timeout(limit, converse(address, method, limit)).await {
        Ok(result) => result,
        Err(_) => Err(ClientError::Timeout { address: address.clone(), limit }),
    }
}

async fn converse(
    address: &BusAddress,
    method: &'static str,
    limit: Duration,
) -> Result<String, ClientError> {
    // The line's own limit for a call would end a pass that the caller is willing to wait for.
    let line = BusConnection::open(address, For::Client, |builder| builder.method_timeout(limit))
        .await
        .map_err(|e: ConnectError| ClientError::NoBus(e.to_string()))?;
    let connection = line.connection();
    let failed = |e| failed(address, limit, e);

    let owner = match name_owner(connection).await {
        Ok(owner) => owner,
        Err(zbus::Error::FDO(e)) if matches!(*e, fdo::Error::NameHasNoOwner(_)) => {
            return Err(ClientError::NoDaemon { address: address.clone() });
        }
        Err(e) => return Err(failed(e)),
    };
    let uid = uid_of(connection, &owner).await.map_err(failed)?;
    if uid != 0 {
        return Err(ClientError::Untrusted { address: address.clone(), uid });
    }
    // To the very connection that was judged, not to the name: the name may have changed hands.
    // A unique name cannot be activated either, so asking never starts anything.
    let reply = connection
        .call_method(Some(owner.as_str()), PATH, Some(NAME), method, &())
        .await
        .map_err(failed)?;
    reply.body().deserialize::<String>().map_err(|e| ClientError::BadAnswer {
        address: address.clone(),
        why: format!("{method}: {e}"),
    })
}

fn failed(address: &BusAddress, limit: Duration, error: zbus::Error) -> ClientError {
    let address = address.clone();
    match error {
        zbus::Error::InputOutput(e) if e.kind() == std::io::ErrorKind::TimedOut => {
            ClientError::Timeout { address, limit }
        }
        zbus::Error::InputOutput(e) => ClientError::NoBus(format!("{address}: {e}")),
        zbus::Error::FDO(e) => match *e {
            // It was there when it was judged and went before it answered.
            fdo::Error::NameHasNoOwner(_)
            | fdo::Error::ServiceUnknown(_)
            | fdo::Error::NoReply(_)
            | fdo::Error::Disconnected(_) => ClientError::NoDaemon { address },
            e => ClientError::Refused { address, why: e.to_string() },
        },
        e => ClientError::Refused { address, why: e.to_string() },
    }
}

/// The unique name of the connection that owns [`NAME`].
async fn name_owner(connection: &zbus::Connection) -> zbus::Result<String> {
    ask_bus(connection, "GetNameOwner", NAME).await
}

/// The uid that the bus saw on the other end when that connection was made.
pub(super) async fn uid_of(connection: &zbus::Connection, unique: &str) -> zbus::Result<u32> {
    ask_bus(connection, "GetConnectionUnixUser", unique).await
}

/// Who owns [`NAME`], as far as the bus tells, for a message.
pub(super) async fn owner(connection: &zbus::Connection) -> String {
    let Ok(owner) = name_owner(connection).await else {
        return "somebody who has just left".into();
    };
    let pid: zbus::Result<u32> = ask_bus(connection, "GetConnectionUnixProcessID", &owner).await;
    match (uid_of(connection, &owner).await, pid) {
        (Ok(uid), Ok(pid)) => format!("{owner} (pid {pid}, uid {uid})"),
        _ => owner,
    }
}

async fn ask_bus<T>(connection: &zbus::Connection, method: &str, name: &str) -> zbus::Result<T>
where
    T: for<'d> serde::Deserialize<'d> + zbus::Type,
{
    let reply = connection.call_method(Some(BUS), BUS_PATH, Some(BUS), method, &name).await?;
    reply.body().deserialize()
}
