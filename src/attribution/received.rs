// SPDX-License-Identifier: Apache-2.0
//! A descriptor that came in an event.

use std::os::fd::RawFd;

/// A descriptor that the kernel made for us and names by number in an event.
#[derive(Debug)]
pub(super) struct Received(pub(super) RawFd);

impl Received {
    pub(super) fn number(&self) -> RawFd {
        self.0
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // There is nothing to be done about an error, and the number is free in any case.
        let _ = nix::unistd::close(self.0);
    }
}
