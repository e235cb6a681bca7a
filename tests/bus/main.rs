// SPDX-License-Identifier: Apache-2.0
//! `org.nodeguard.NodeGuard1` on a real dbus-daemon of the test's own. Run as root: some tests
//! play both root and nobody.

mod asking;
mod flood;
mod interface;
mod main_loop;
mod outages;
mod private_bus;
