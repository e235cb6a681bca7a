// SPDX-License-Identifier: Apache-2.0
//! The objects as a caller sees them. The comments on what is exported go out with the
//! introspection data and into the interface file of the package.
//!
//! Methods take `&self` only: a `&mut self` method holds the interface's lock, and anything in
//! it that looks the interface up again waits for itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, Variant, fdo, interface};

use super::view::{ControlView, FindingOnBus, NodeView};
use super::{MAX_REQUESTS, Request, Snapshot, json};
use crate::model::limits::REPORT_LIMIT;
use crate::model::{ControlId, Report};

/// How long a pass may take before its caller is sent away. The pass itself goes on.
const PASS_LIMIT: Duration = Duration::from_secs(60);

/// The node's object.
pub(super) struct Node {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    requests: mpsc::Sender<Request>,
    in_flight: Semaphore,
}

impl Node {
    pub(super) fn new(
        snapshots: watch::Receiver<Arc<Snapshot>>,
        requests: mpsc::Sender<Request>,
    ) -> Self {
        Self { snapshots, requests, in_flight: Semaphore::new(MAX_REQUESTS) }
    }

    fn view(&self) -> NodeView {
        NodeView::of(&self.snapshots.borrow())
    }

    /// Has the main loop make a pass for a caller who is root.
    async fn ask(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        request: fn(oneshot::Sender<Arc<Report>>) -> Request,
    ) -> fdo::Result<String> {
        // Before the question who it is, since that too keeps something in flight.
        let _permit = self.in_flight.try_acquire().map_err(|_| busy())?;
        root_only(connection, header).await?;
        let (answer, report) = oneshot::channel();
        self.requests.try_send(request(answer)).map_err(|e| match e {
            TrySendError::Full(_) => busy(),
            TrySendError::Closed(_) => stopping(),
        })?;
        answered(report, PASS_LIMIT).await
    }
}

/// The node: what it is, whether RKE2 may start on it, and what was found.
#[interface(name = "org.nodeguard.NodeGuard1")]
impl Node {
    /// Judge the node now and change nothing. Answers with the report as JSON. Root only.
    #[zbus(out_args("report"))]
    async fn check(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<String> {
        self.ask(connection, &header, Request::Check).await
    }

    /// Judge the node now and mend what can be mended. Answers with the report as JSON. Root
    /// only.
    #[zbus(out_args("report"))]
    async fn reconcile(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<String> {
        self.ask(connection, &header, Request::Reconcile).await
    }

    /// The report of the last pass as JSON.
    #[zbus(out_args("report"))]
    fn get_report(&self) -> fdo::Result<String> {
        limited(self.snapshots.borrow().json())
    }

    /// starting, ready, degraded (RKE2 may run, something wants attention) or fatal (RKE2 would
    /// refuse to start, or would start unhardened).
    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.view().state
    }

    /// enforce, or report: nothing on the host is changed, RKE2 starts whatever State is, and a
    /// finding that weighs drift is what would have been corrected.
    #[zbus(property)]
    fn mode(&self) -> &'static str {
        self.view().mode
    }

    /// Whether State is ready.
    #[zbus(property)]
    fn ready(&self) -> bool {
        self.view().ready
    }

    /// What RKE2 runs as: server, agent or unknown.
    #[zbus(property)]
    fn role(&self) -> &'static str {
        self.view().role
    }

    /// RKE2's profile; empty where none is set.
    #[zbus(property)]
    fn profile(&self) -> String {
        self.view().profile
    }

    /// RKE2's version; empty where no RKE2 was found.
    #[zbus(property)]
    fn rke2_version(&self) -> String {
        self.view().rke2_version
    }

    /// nodeguard's own version.
    #[zbus(property)]
    fn version(&self) -> String {
        self.view().version
    }

    /// Since when State is what it is: CLOCK_REALTIME, microseconds since the epoch.
    #[zbus(property)]
    fn state_since(&self) -> u64 {
        self.view().state_since
    }

    /// How many corrections were made since the daemon's start.
    #[zbus(property)]
    fn corrections(&self) -> u64 {
        self.view().corrections
    }

    /// The node turned ready.
    #[zbus(signal, name = "Ready")]
    pub(super) async fn turned_ready(emitter: &SignalEmitter<'_>) -> zbus::Result<()>;

    /// Something was found that keeps RKE2 from starting, or from starting hardened, and that
    /// only an operator can mend. The details have severity, subject, expected, actual, origin
    /// and remedy, all strings.
    #[zbus(signal)]
    pub(super) async fn fatal_misconfiguration(
        emitter: &SignalEmitter<'_>,
        control: &str,
        code: &str,
        message: &str,
        details: std::collections::HashMap<&'static str, Variant<'_>>,
    ) -> zbus::Result<()>;

    /// Something was not as it should be and has been put right. The details of a kernel
    /// parameter have what was seen: before (the value before somebody changed it) and writer (in
    /// words), both strings; where it certainly was one process, its pid (u), comm, exe and unit.
    #[zbus(signal)]
    pub(super) async fn drift_corrected(
        emitter: &SignalEmitter<'_>,
        control: &str,
        code: &str,
        subject: &str,
        from: &str,
        to: &str,
        details: std::collections::HashMap<&'static str, Variant<'_>>,
    ) -> zbus::Result<()>;

    /// Somebody keeps undoing a correction; it is now made less often. The details tell who it
    /// was the last time, as those of DriftCorrected do.
    #[zbus(signal)]
    pub(super) async fn contested(
        emitter: &SignalEmitter<'_>,
        control: &str,
        subject: &str,
        ours: &str,
        theirs: &str,
        details: std::collections::HashMap<&'static str, Variant<'_>>,
    ) -> zbus::Result<()>;

    /// Nobody undoes the corrections of a contested subject any more: a look after its pause found
    /// it right.
    #[zbus(signal)]
    pub(super) async fn contest_ended(
        emitter: &SignalEmitter<'_>,
        control: &str,
        subject: &str,
    ) -> zbus::Result<()>;
}

/// One control's object.
pub(super) struct Control {
    id: ControlId,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl Control {
    pub(super) fn new(id: ControlId, snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        Self { id, snapshots }
    }

    fn view(&self) -> ControlView {
        ControlView::of(&self.snapshots.borrow(), self.id)
    }
}

/// One requirement on the host.
#[interface(name = "org.nodeguard.NodeGuard1.Control")]
impl Control {
    /// The control's name, as in the report and the journal.
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> &'static str {
        self.id.as_str()
    }

    /// One line for a person.
    #[zbus(property(emits_changed_signal = "const"))]
    fn title(&self) -> &'static str {
        self.id.title()
    }

    /// The recommendations of the CIS Kubernetes Benchmark that the control serves.
    #[zbus(property(emits_changed_signal = "const"))]
    fn cis_ids(&self) -> Vec<&'static str> {
        self.id.cis_ids().to_vec()
    }

    /// As the node's State, of this control alone.
    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.view().state
    }

    /// What was found, at most 256: code, severity, subject, expected, actual, origin, message,
    /// remedy.
    #[zbus(property)]
    fn findings(&self) -> Vec<FindingOnBus> {
        self.view().findings
    }

    /// How many corrections this control made since the daemon's start.
    #[zbus(property)]
    fn corrections(&self) -> u64 {
        self.view().corrections
    }
}

/// Refuses everybody but root, whatever the bus policy says.
///
/// The bus is asked about the unique name that it wrote into the message itself: that name is
/// never given to another connection, so the answer cannot be about somebody else.
async fn root_only(connection: &Connection, header: &Header<'_>) -> fdo::Result<()> {
    let denied = |why: String| {
        fdo::Error::AccessDenied(format!("only root may ask nodeguard for a pass: {why}"))
    };
    let sender = header.sender().ok_or_else(|| denied("the call names no sender".into()))?;
    match super::client::uid_of(connection, sender.as_str()).await {
        Ok(0) => Ok(()),
        Ok(uid) => Err(denied(format!("the caller has uid {uid}"))),
        Err(e) => Err(denied(format!("the bus does not say who the caller is: {e}"))),
    }
}

/// The report as JSON, or why there is none within the limit.
async fn answered(report: oneshot::Receiver<Arc<Report>>, limit: Duration) -> fdo::Result<String> {
    match tokio::time::timeout(limit, report).await {
        Ok(Ok(report)) => limited(&json(&report)),
        Ok(Err(_)) => Err(stopping()),
        Err(_) => Err(fdo::Error::TimedOut(format!(
            "the pass has not ended after {} s; read GetReport later",
            limit.as_secs()
        ))),
    }
}

fn limited(report: &str) -> fdo::Result<String> {
    if report.len() > REPORT_LIMIT {
        return Err(fdo::Error::LimitsExceeded(format!(
            "the report has {} bytes, more than the {REPORT_LIMIT} that go over the bus; run \
             `nodeguard check --json`",
            report.len()
        )));
    }
    Ok(report.to_owned())
}

fn busy() -> fdo::Error {
    fdo::Error::LimitsExceeded(format!(
        "{MAX_REQUESTS} requests wait for their pass already; ask again when one is answered"
    ))
}

fn stopping() -> fdo::Error {
    fdo::Error::Failed("nodeguard is stopping".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_caller_whose_pass_does_not_end_is_sent_away() {
        let (pass, report) = oneshot::channel();
        let waits = answered(report, Duration::from_millis(10));
        let limit = Duration::from_secs(10);
        let sent_away = tokio::time::timeout(limit, waits).await.expect("nobody waits longer");
        assert!(matches!(sent_away, Err(fdo::Error::TimedOut(_))), "{sent_away:?}");
        drop(pass);
        let (pass, report) = oneshot::channel();
        drop(pass);
        let stopping = answered(report, PASS_LIMIT).await;
        assert!(matches!(stopping, Err(fdo::Error::Failed(_))), "{stopping:?}");
    }
}
