// SPDX-License-Identifier: Apache-2.0
//! Gates: the socket on which they ask, the pass that answers them, and what they found that the
//! daemon does not see.

use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Daemon;
use crate::controls::rke2_config::judge::hidden;
use crate::gate::socket::{self, GateSocket, SOCKET};
use crate::gate::{self, Ask};
use crate::journal::{Entry, Priority};
use crate::model::shown;
use crate::system::root::observed::Difference;
use crate::system::runtime;

/// Where gates ask.
pub(super) struct Gates {
    asks: mpsc::Sender<Ask>,
    /// The socket, and the task that serves it.
    open: Option<(GateSocket, JoinHandle<()>)>,
    /// Why there is none, as it was last logged.
    failed: Option<String>,
    /// The subject of the finding about what the daemon does not see.
    hidden: Option<String>,
}

impl Gates {
    /// The other end of `asks` is the main loop's.
    pub(super) fn new(asks: mpsc::Sender<Ask>) -> Self {
        Self { asks, open: None, failed: None, hidden: None }
    }
}

impl Daemon {
    /// Listens to gates, if it does not do so already: somebody may have removed the socket, and a
    /// second daemon, since ended, may have put its own there.
    pub(super) fn listen_to_gates(&mut self) {
        let root = self.engine.root();
        if let Some((socket, task)) = &self.gates.open {
            if socket.is_there(root) && !task.is_finished() {
                return;
            }
            task.abort();
            self.gates.open = None;
        }
        let opened = socket::listen(root).map_err(|e| e.to_string());
        let opened = opened.and_then(|(socket, listener)| match UnixListener::from_std(listener) {
            Ok(listener) => Ok((socket, listener)),
            Err(e) => Err(format!("cannot listen on {SOCKET}: {e}")),
        });
        match opened {
            Ok((socket, listener)) => {
                let serving = gate::serve(listener, self.gates.asks.clone());
                let task = tokio::spawn(async move {
                    // It is made anew with the next tick.
                    let _ = serving.await;
                });
                self.gates.open = Some((socket, task));
                self.gates.failed = None;
            }
            Err(e) => {
                let text = format!("{e}: gates look by themselves");
                if self.gates.failed.as_ref() != Some(&text) {
                    self.journal.log(Entry::new(Priority::Warning, text.clone()));
                }
                self.gates.failed = Some(text);
            }
        }
    }

    /// What the pass found that was recorded, to all who still wait.
    pub(super) fn answer_gates(&mut self, asks: Vec<Ask>) {
        if asks.is_empty() {
            return;
        }
        let observed = self.engine.root().recorded();
        let answer: Arc<[u8]> = gate::answer(&self.report(), &observed).into();
        for ask in asks {
            let _ = ask.send(answer.clone());
        }
    }

    /// A gate left word of what is another object to it than to us. Here and not in every pass:
    /// whoever looks by hand has eyes of his own.
    pub(super) fn saw_hidden(&mut self) {
        let root = self.engine.root();
        let hidden = match runtime::hidden(root).and_then(|seen| seen.differs(root)) {
            Some(Difference::At(path, _)) => Some(path),
            Some(Difference::Untold) | None => None,
        };
        let subject = hidden.as_deref().map(shown);
        if subject == self.gates.hidden {
            return;
        }
        if let Some(before) = self.gates.hidden.take() {
            self.engine.withdraw(&before);
        }
        if let Some(path) = hidden {
            self.engine.raise(hidden::judge(&path));
        }
        self.gates.hidden = subject;
    }
}
