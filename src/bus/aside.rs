// SPDX-License-Identifier: Apache-2.0
//! The bus in a thread of its own.
//!
//! What comes over the bus is up to others, and so is how much of it. In a thread of its own it
//! has the processor when the kernel gives it some, beside the thread that guards the node and
//! never before it; in the same one, each correction would wait until the messages that came first
//! are looked at.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};

use super::{BusAddress, BusStatus, Notice, Request, Snapshot, serve};

/// [`serve`]s in a thread of its own, which ends with the process, or as `serve` does.
pub fn serve_aside(
    address: BusAddress,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    notices: mpsc::Receiver<Notice>,
    requests: mpsc::Sender<Request>,
    status: watch::Sender<BusStatus>,
    wake: Arc<Notify>,
) {
    let failed = status.clone();
    let begun = std::thread::Builder::new().name("nodeguard-bus".into()).spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
            Ok(runtime) => {
                runtime.block_on(serve(address, snapshots, notices, requests, status, wake));
            }
            Err(e) => absent(&status, &e),
        }
    });
    if let Err(e) = begun {
        absent(&failed, &e);
    }
}

/// The node is guarded without a bus.
fn absent(status: &watch::Sender<BusStatus>, why: &std::io::Error) {
    let reason = format!("cannot start the thread for the bus: {why}");
    status.send_replace(BusStatus::Absent { reason });
}
