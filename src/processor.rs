// SPDX-License-Identifier: Apache-2.0
//! What work costs others on the machine, however long it had to wait for a processor.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Processor time of this thread so far.
pub fn worked() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
