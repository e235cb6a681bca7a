// SPDX-License-Identifier: Apache-2.0
//! The task that keeps the objects on the bus, however often the bus goes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, Message, Variant, fdo};

use super::line::{BusConnection, ConnectError, For};
use super::objects::{Control, Node};
use super::view::{ControlView, NodeView, details, seen, text};
use super::{BusAddress, BusStatus, CONTROL_INTERFACE, NAME, Notice, PATH, Request, Snapshot};
use super::{client, control_path};
use crate::model::ControlId;

/// How long the bus may take to take us in: connection, hello, name.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a signal may take to leave. Longer, and the bus does not read any more, which is told.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// How long notices are kept after that. A signal that comes much later would only mislead.
const KEPT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Serves the objects on the bus at `address`, and connects again whenever it goes: when `wake`
/// is notified (the socket appeared), and otherwise after 1 s, 2 s, 4 s … 30 s. From the beginning
/// again after a connection that lasted, so that who makes the bus hang up makes no storm.
///
/// Never fails and never holds anybody up: what goes wrong is a [`BusStatus`]. It returns when
/// the main loop has dropped the sending side of `snapshots` or `notices`.
///
/// Notices that arrive while there is no bus are dropped. Whoever comes back with the bus reads
/// the properties; a signal of an hour ago would only mislead.
pub async fn serve(
    address: BusAddress,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    notices: mpsc::Receiver<Notice>,
    requests: mpsc::Sender<Request>,
    status: watch::Sender<BusStatus>,
    wake: Arc<Notify>,
) {
    let mut server = Server { address, snapshots, notices, requests, status };
    let mut pause = FIRST_PAUSE;
    loop {
        let lost = match server.connect().await {
            Ok(mut line) => {
                server.tell(BusStatus::Connected);
                let since = Instant::now();
                let end = server.attend(&mut line).await;
                if since.elapsed() > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
                match end {
                    End::MainLoopGone => return,
                    End::Lost(reason) => reason,
                }
            }
            Err(reason) => reason,
        };
        server.tell(BusStatus::Absent { reason: lost });
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = longer(pause),
            () = wake.notified() => pause = FIRST_PAUSE,
            () = server.drop_notices() => return,
        }
    }
}

/// The pause after another try in vain.
fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}

struct Server {
    address: BusAddress,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    notices: mpsc::Receiver<Notice>,
    requests: mpsc::Sender<Request>,
    status: watch::Sender<BusStatus>,
}

/// How a connection ended.
enum End {
    MainLoopGone,
    Lost(String),
}

impl Server {
    /// A line with the objects on it and the name taken, or one line why not.
    async fn connect(&self) -> Result<BusConnection, String> {
        match timeout(CONNECT_LIMIT, self.take_the_name()).await {
            Ok(result) => result,
            Err(_) => Err(format!(
                "the bus at {} takes connections but has not answered for {} s",
                self.address,
                CONNECT_LIMIT.as_secs()
            )),
        }
    }

    async fn take_the_name(&self) -> Result<BusConnection, String> {
        let line = BusConnection::open(&self.address, For::Server, |builder| {
            let node = Node::new(self.snapshots.clone(), self.requests.clone());
            ControlId::ALL.into_iter().fold(builder.serve_at(PATH, node), |builder, id| {
                builder.serve_at(control_path(id), Control::new(id, self.snapshots.clone()))
            })
        })
        .await
        .map_err(|e: ConnectError| e.to_string())?;
        // The objects are there before the name, so nobody who knows the name finds nothing.
        // Without AllowReplacement the bus gives the name to nobody else while we live.
        let flags = fdo::RequestNameFlags::DO_NOT_QUEUE;
        match line.connection().request_name_with_flags(NAME, flags).await {
            Ok(_) => Ok(line),
            Err(zbus::Error::NameTaken) => Err(format!(
                "the name {NAME} is taken by {}",
                client::owner(line.connection()).await
            )),
            Err(zbus::Error::FDO(e)) if matches!(*e, fdo::Error::AccessDenied(_)) => Err(format!(
                "the bus policy does not let us have the name {NAME}: is {NAME}.conf in \
                 /usr/share/dbus-1/system.d, and did the bus reload? ({e})"
            )),
            Err(e) => Err(format!("request the name {NAME}: {e}")),
        }
    }

    /// Publishes what comes until the connection ends.
    async fn attend(&mut self, line: &mut BusConnection) -> End {
        let connection = line.connection().clone();
        let mut shown = self.snapshots.borrow_and_update().clone();
        loop {
            // In this order: who hears a signal finds the properties up to date.
            let sent = tokio::select! {
                biased;
                () = connection.closed() => return self.closed(),
                changed = self.snapshots.changed() => {
                    if changed.is_err() {
                        return End::MainLoopGone;
                    }
                    let before = shown;
                    shown = self.snapshots.borrow_and_update().clone();
                    self.patiently(&connection, publish(&connection, &before, &shown)).await
                }
                notice = self.notices.recv() => {
                    let Some(notice) = notice else { return End::MainLoopGone };
                    self.patiently(&connection, announce(&connection, &notice)).await
                }
                call = line.refused() => {
                    self.patiently(&connection, refuse(&connection, &call)).await
                }
            };
            if let Err(end) = sent {
                return end;
            }
        }
    }

    fn closed(&self) -> End {
        End::Lost(format!("the bus at {} closed the connection", self.address))
    }

    /// Waits for a send, however long it takes: there is nothing that a new connection could do
    /// better. A bus that is stopped does not take one, and one that reads no more from us because
    /// others do not read what we answered (dbus-daemon keeps 127 MB of that) would keep as much
    /// again for the new one. It is told, though, and notices that wait for longer are dropped.
    async fn patiently(
        &mut self,
        connection: &Connection,
        send: impl Future<Output = zbus::Result<()>>,
    ) -> Result<(), End> {
        let mut send = pin!(async {
            tokio::select! {
                biased;
                sent = send => Some(sent),
                () = connection.closed() => None,
            }
        });
        let mut sent = timeout(SEND_LIMIT, &mut send).await;
        let stalled = sent.is_err();
        if stalled {
            let reason = format!(
                "the bus at {} has read nothing for {} s",
                self.address,
                SEND_LIMIT.as_secs()
            );
            self.tell(BusStatus::Absent { reason });
            sent = timeout(KEPT, &mut send).await;
        }
        let sent = match sent {
            Ok(sent) => sent,
            Err(_) => tokio::select! {
                biased;
                sent = send => sent,
                () = self.drop_notices() => return Err(End::MainLoopGone),
            },
        };
        match sent {
            Some(Ok(())) => {
                if stalled {
                    self.tell(BusStatus::Connected);
                }
                Ok(())
            }
            Some(Err(e)) => Err(End::Lost(format!("send to the bus at {}: {e}", self.address))),
            None => Err(self.closed()),
        }
    }

    /// Returns when the main loop is gone.
    async fn drop_notices(&mut self) {
        while self.notices.recv().await.is_some() {}
    }

    /// Wakes the readers of the status only when it changed: a bus that stays away is one line
    /// in the journal, not one every 30 s.
    fn tell(&self, status: BusStatus) {
        self.status.send_if_modified(|current| {
            let changed = *current != status;
            *current = status;
            changed
        });
    }
}

/// PropertiesChanged of every object whose properties differ.
async fn publish(to: &Connection, old: &Snapshot, new: &Snapshot) -> zbus::Result<()> {
    let (before, after) = (NodeView::of(old), NodeView::of(new));
    changed(to, PATH, NAME, after.changed_since(&before)).await?;
    for id in ControlId::ALL {
        let (before, after) = (ControlView::of(old, id), ControlView::of(new, id));
        let properties = after.changed_since(&before);
        changed(to, &control_path(id), CONTROL_INTERFACE, properties).await?;
    }
    Ok(())
}

async fn changed(
    to: &Connection,
    path: &str,
    interface: &'static str,
    properties: HashMap<&'static str, Variant<'_>>,
) -> zbus::Result<()> {
    if properties.is_empty() {
        return Ok(());
    }
    let emitter = SignalEmitter::new(to, path)?;
    let interface = InterfaceName::try_from(interface)?;
    fdo::Properties::properties_changed(&emitter, interface, properties, Cow::Borrowed(&[])).await
}

/// Tells a caller that his call is one too many.
async fn refuse(to: &Connection, call: &Message) -> zbus::Result<()> {
    let why =
        "nodeguard is asked more than it answers; the report is in /run/nodeguard/report.json";
    to.reply_dbus_error(&call.header(), fdo::Error::LimitsExceeded(why.into())).await
}

/// The signal of one notice.
async fn announce(to: &Connection, notice: &Notice) -> zbus::Result<()> {
    let emitter = SignalEmitter::new(to, PATH)?;
    match notice {
        Notice::Ready => Node::turned_ready(&emitter).await,
        Notice::Fatal(finding) => {
            let (control, code) = (finding.control.as_str(), finding.code.as_str());
            let (message, details) = (text(&finding.message), details(finding));
            Node::fatal_misconfiguration(&emitter, control, code, &message, details).await
        }
        Notice::Corrected(c) => {
            let (subject, from, to) = (text(&c.subject), text(&c.from), text(&c.to));
            let (control, code) = (c.control.as_str(), c.code.as_str());
            let seen = seen(c.before.as_deref(), c.writer.as_ref());
            Node::drift_corrected(&emitter, control, code, &subject, &from, &to, seen).await
        }
        Notice::Contested { control, subject, ours, theirs, writer } => {
            let (subject, ours, theirs) = (text(subject), text(ours), text(theirs));
            let (control, seen) = (control.as_str(), seen(None, writer.as_ref()));
            Node::contested(&emitter, control, &subject, &ours, &theirs, seen).await
        }
        Notice::ContestEnded { control, subject } => {
            Node::contest_ended(&emitter, control.as_str(), &text(subject)).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_before_a_new_connection_doubles_up_to_half_a_minute() {
        let pauses = std::iter::successors(Some(FIRST_PAUSE), |pause| Some(longer(*pause)));
        let seconds: Vec<u64> = pauses.take(8).map(|pause| pause.as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(longer(LONGEST_PAUSE), LONGEST_PAUSE);
    }
}
