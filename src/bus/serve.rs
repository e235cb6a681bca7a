// SPDX-License-Identifier: Apache-2.0
//! The task that keeps the objects on the bus, however often the bus goes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{Variant, fdo};

use super::line::{Line, LineError};
use super::objects::{Control, Node};
use super::view::{ControlView, NodeView, details, seen, text};
use super::{BusAddress, BusStatus, CONTROL_INTERFACE, NAME, Notice, PATH, Request, Snapshot};
use super::{client, control_path};
use crate::model::ControlId;

/// How long the bus may take to take us in: connection, hello, name.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a signal may take to leave. Longer, and the bus does not read any more.
const SEND_LIMIT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Serves the objects on the bus at `address`, and connects again whenever it goes: when `wake`
/// is notified (the socket appeared), and otherwise after 1 s, 2 s, 4 s … 30 s.
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
            Ok(line) => {
                server.tell(BusStatus::Connected);
                pause = FIRST_PAUSE;
                match server.attend(&line).await {
                    End::MainLoopGone => return,
                    End::Lost(reason) => reason,
                }
            }
            Err(reason) => reason,
        };
        server.tell(BusStatus::Absent { reason: lost });
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = wake.notified() => pause = FIRST_PAUSE,
            () = server.drop_notices() => return,
        }
    }
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
    async fn connect(&self) -> Result<Line, String> {
        match timeout(CONNECT_LIMIT, self.take_the_name()).await {
            Ok(result) => result,
            Err(_) => Err(format!(
                "the bus at {} takes connections but has not answered for {} s",
                self.address,
                CONNECT_LIMIT.as_secs()
            )),
        }
    }

    async fn take_the_name(&self) -> Result<Line, String> {
        let line = Line::open(&self.address, |builder| {
            let node = Node::new(self.snapshots.clone(), self.requests.clone());
            ControlId::ALL.into_iter().fold(builder.serve_at(PATH, node), |builder, id| {
                builder.serve_at(control_path(id), Control::new(id, self.snapshots.clone()))
            })
        })
        .await
        .map_err(|e: LineError| e.to_string())?;
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
    async fn attend(&mut self, line: &Line) -> End {
        let mut shown = self.snapshots.borrow_and_update().clone();
        loop {
            // In this order: who hears a signal finds the properties up to date.
            tokio::select! {
                biased;
                () = line.connection().closed() => {
                    return End::Lost(format!("the bus at {} closed the connection", self.address));
                }
                changed = self.snapshots.changed() => {
                    if changed.is_err() {
                        return End::MainLoopGone;
                    }
                    let now = self.snapshots.borrow_and_update().clone();
                    if let Err(end) = self.limited(publish(line, &shown, &now)).await {
                        return end;
                    }
                    shown = now;
                }
                notice = self.notices.recv() => {
                    let Some(notice) = notice else { return End::MainLoopGone };
                    if let Err(end) = self.limited(announce(line, &notice)).await {
                        return end;
                    }
                }
            }
        }
    }

    /// A send that is given up half-way leaves half a message on the line, so the line has to go.
    async fn limited(&self, send: impl Future<Output = zbus::Result<()>>) -> Result<(), End> {
        match timeout(SEND_LIMIT, send).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(End::Lost(format!("send to the bus at {}: {e}", self.address))),
            Err(_) => Err(End::Lost(format!(
                "the bus at {} has read nothing for {} s",
                self.address,
                SEND_LIMIT.as_secs()
            ))),
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
async fn publish(line: &Line, old: &Snapshot, new: &Snapshot) -> zbus::Result<()> {
    let (before, after) = (NodeView::of(old), NodeView::of(new));
    changed(line, PATH, NAME, after.changed_since(&before)).await?;
    for id in ControlId::ALL {
        let (before, after) = (ControlView::of(old, id), ControlView::of(new, id));
        let properties = after.changed_since(&before);
        changed(line, &control_path(id), CONTROL_INTERFACE, properties).await?;
    }
    Ok(())
}

async fn changed(
    line: &Line,
    path: &str,
    interface: &'static str,
    properties: HashMap<&'static str, Variant<'_>>,
) -> zbus::Result<()> {
    if properties.is_empty() {
        return Ok(());
    }
    let emitter = SignalEmitter::new(line.connection(), path)?;
    let interface = InterfaceName::try_from(interface)?;
    fdo::Properties::properties_changed(&emitter, interface, properties, Cow::Borrowed(&[])).await
}

/// The signal of one notice.
async fn announce(line: &Line, notice: &Notice) -> zbus::Result<()> {
    let emitter = SignalEmitter::new(line.connection(), PATH)?;
    match notice {
        Notice::Ready => Node::turned_ready(&emitter).await,
        Notice::Fatal(finding) => {
            let (control, message) = (finding.control.as_str(), text(&finding.message));
            let details = details(finding);
            Node::fatal_misconfiguration(&emitter, control, finding.code, &message, details).await
        }
        Notice::Corrected(c) => {
            let (subject, from, to) = (text(&c.subject), text(&c.from), text(&c.to));
            let control = c.control.as_str();
            let seen = seen(c.before.as_deref(), c.writer.as_ref());
            Node::drift_corrected(&emitter, control, c.code, &subject, &from, &to, seen).await
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
