// SPDX-License-Identifier: Apache-2.0
//! A pass in the log: a span around everything that is logged during it, and an entry at its end.

use std::time::Instant;

use tracing::field::Empty;
use tracing::span::EnteredSpan;
use tracing::trace_span;

use crate::model::State;

/// The span of one pass, from its beginning until this is dropped. It costs nothing unless
/// `NODEGUARD_LOG` is `debug`.
#[derive(Debug)]
pub struct PassSpan {
    span: EnteredSpan,
    began: Instant,
}

impl PassSpan {
    /// `mode`: what the pass does, check or apply everything, or mend one object; `why`: what it is
    /// made for.
    pub fn begin(mode: &'static str, why: &'static str) -> Self {
        let span = trace_span!("pass", mode, why, state = Empty).entered();
        Self { span, began: Instant::now() }
    }

    /// The state in which the pass leaves the node.
    pub fn ended(&self, state: State) {
        self.span.record("state", state.as_str());
    }
}

impl Drop for PassSpan {
    fn drop(&mut self) {
        // Not without the span: another thread's subscriber may be asked for more than ours.
        if !self.span.is_disabled() {
            tracing::trace!("a pass took {} µs", self.began.elapsed().as_micros());
        }
    }
}
