// SPDX-License-Identifier: Apache-2.0
//! The guard's own code stays in memory.
//!
//! Without swap the first thing that a kernel short of memory takes back is the code of programs
//! that sleep, and a guard sleeps nearly always. To read it again takes tens of page faults on a
//! disk that is busy just then.

use rustix::mm::{MlockAllFlags, mlockall};

/// Keeps what is mapped now, page by page as it is used, so that it costs no memory that was not
/// used anyway. To be called before there are threads: their arenas are large and mostly empty,
/// and count as a whole. Not what is mapped later, the growing heap included: the limit on locked
/// memory would be one on all memory, and what is allocated has no file to be taken back to. The
/// stack alone grows against that limit.
pub(super) fn keep() -> std::io::Result<()> {
    Ok(mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT)?)
}
