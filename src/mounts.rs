// SPDX-License-Identifier: Apache-2.0
//! Mounts that come and go raise no inotify event where they come: a data dir on a disk that is
//! mounted again would be out of sight. The kernel tells of them through /proc/self/mountinfo.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Tells when something was mounted or unmounted in our mount namespace.
#[derive(Debug)]
pub struct MountEvents {
    /// `None`: the kernel does not tell, and the passes by the clock have to do.
    mountinfo: Option<AsyncFd<OwnedFd>>,
}

impl MountEvents {
    /// Needs a running tokio runtime.
    pub fn new() -> Self {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(c"/proc/self/mountinfo", flags, Mode::empty()).ok();
        // See `watch::inotify::listening` for why the deprecated way is sound here.
        #[allow(deprecated)]
        let mountinfo = fd.and_then(|fd| AsyncFd::with_interest(fd, Interest::PRIORITY).ok());
        Self { mountinfo }
    }

    /// Waits for the next change. Cancellation safe.
    pub async fn changed(&mut self) {
        let Some(mountinfo) = &self.mountinfo else { return std::future::pending().await };
        match mountinfo.ready(Interest::PRIORITY).await {
            Ok(mut guard) => guard.clear_ready(),
            Err(_) => std::future::pending().await,
        }
    }
}

impl Default for MountEvents {
    fn default() -> Self {
        Self::new()
    }
}
