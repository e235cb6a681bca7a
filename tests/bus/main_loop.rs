// SPDX-License-Identifier: Apache-2.0
//! The main loop's ends of the channels, and a listener's end of the bus.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nodeguard::bus::{self, BusAddress, BusStatus, Notice, Request, Snapshot};
use nodeguard::model::{
    Code, ControlId, ControlReport, Correction, Finding, Origin, Report, Role, State,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use zbus::export::futures_core::Stream;
use zbus::{MatchRule, MessageStream, OwnedVariant};

use crate::private_bus::PATIENCE;

/// Ends the test when `what` takes for ever.
pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing after {PATIENCE:?}"),
    }
}

/// A bus task and everything it is connected to.
pub struct MainLoop {
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    pub notices: mpsc::Sender<Notice>,
    pub requests: mpsc::Receiver<Request>,
    pub wake: Arc<Notify>,
    pub status: watch::Receiver<BusStatus>,
    pub task: JoinHandle<()>,
}

impl MainLoop {
    /// Room for `requests` requests that the main loop has not yet taken.
    pub fn start(address: BusAddress, requests: usize) -> Self {
        let (snapshots, snapshots_rx) = watch::channel(Arc::new(Snapshot::starting(at(1))));
        let (notices, notices_rx) = mpsc::channel(64);
        let (requests_tx, requests) = mpsc::channel(requests);
        let (status_tx, status) = watch::channel(BusStatus::Absent { reason: "not yet".into() });
        let wake = Arc::new(Notify::new());
        let task = tokio::spawn(bus::serve(
            address,
            snapshots_rx,
            notices_rx,
            requests_tx,
            status_tx,
            wake.clone(),
        ));
        Self { snapshots, notices, requests, wake, status, task }
    }

    pub async fn connected(&mut self) {
        let connected = self.status.wait_for(|s| *s == BusStatus::Connected);
        within("the bus task connects", connected).await.unwrap();
    }

    /// Why there is no bus, as soon as the reason has `part` in it.
    pub async fn absent(&mut self, part: &str) -> String {
        let absent = self
            .status
            .wait_for(|s| matches!(s, BusStatus::Absent { reason } if reason.contains(part)));
        let status = within(&format!("absence because of {part:?}"), absent).await.unwrap();
        match &*status {
            BusStatus::Absent { reason } => reason.clone(),
            BusStatus::Connected => unreachable!("waited for absence"),
        }
    }

    pub fn publish(&self, report: Report, second: u64) {
        let report = Arc::new(report);
        self.snapshots.send_modify(|s| *s = Arc::new(s.after(report.clone(), at(second))));
    }
}

impl Drop for MainLoop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second)
}

pub fn finding(actual: &str) -> Finding {
    Finding::new(Code::SysctlLive, "kernel.panic")
        .expected("10")
        .actual(actual)
        .origin(Origin::at("/etc/sysctl.d/99-stig.conf", 3))
        .message("invalid kernel parameter value kernel.panic=0 - expected 10")
        .remedy("remove the line")
}

pub fn correction() -> Correction {
    Correction {
        control: ControlId::Sysctl.into(),
        code: Code::SysctlLive.into(),
        subject: "vm.panic_on_oom".into(),
        from: "1".into(),
        to: "0".into(),
        object: None,
        before: None,
        writer: None,
    }
}

/// A report with one judged control, `sysctl`.
pub fn report(state: State, findings: Vec<Finding>, corrections: Vec<Correction>) -> Report {
    let sysctl = ControlReport { state, ..ControlReport::new(ControlId::Sysctl, findings) };
    Report {
        time: 2,
        state,
        role: Role::Server,
        profile: "cis".into(),
        rke2_version: "1.34.1".into(),
        controls: vec![sysctl],
        corrections,
        ..Report::starting()
    }
}

/// Every signal from below nodeguard's path.
pub struct Ear(MessageStream);

impl Ear {
    pub async fn new(connection: &zbus::Connection) -> Self {
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .path_namespace(bus::PATH)
            .build()
            .unwrap();
        Self(MessageStream::for_match_rule(rule, connection, None).await.unwrap())
    }

    pub async fn next(&mut self) -> zbus::Message {
        let next = std::future::poll_fn(|cx| Pin::new(&mut self.0).poll_next(cx));
        within("a signal", next).await.expect("the connection lives").unwrap()
    }
}

/// `(path, interface, names of the changed properties)` of a PropertiesChanged.
pub fn changed(message: &zbus::Message) -> (String, String, Vec<String>) {
    let header = message.header();
    assert_eq!(header.member().unwrap().as_str(), "PropertiesChanged");
    let path = header.path().unwrap().to_string();
    let body = message.body();
    let (interface, values, invalidated): (String, HashMap<String, OwnedVariant>, Vec<String>) =
        body.deserialize().unwrap();
    assert!(invalidated.is_empty());
    let mut names: Vec<_> = values.into_keys().collect();
    names.sort();
    (path, interface, names)
}
