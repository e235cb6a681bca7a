// SPDX-License-Identifier: Apache-2.0
//! The socket on which gates ask the daemon. Its directory is root's, so nobody else can put
//! anything in its place.

use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::system::root::{Root, stat_entry};
use crate::system::{HostError, files};

/// No socket of systemd's: one that systemd holds takes connections while the daemon is down, and
/// the gate would wait for nobody.
pub const SOCKET: &str = "/run/nodeguard/gate.sock";

/// Connections that the kernel keeps until they are taken; one more fails at once.
const BACKLOG: i32 = 64;

/// The socket of this process.
#[derive(Debug)]
pub struct GateSocket {
    /// Device and inode.
    file: (u64, u64),
}

/// Listens, in the place of whatever a daemon that has ended left there.
pub fn listen(root: &Root) -> Result<(GateSocket, UnixListener), HostError> {
    listen_at(root, Path::new(SOCKET))
}

fn listen_at(root: &Root, path: &Path) -> Result<(GateSocket, UnixListener), HostError> {
    let failed = |operation| move |e: Errno| HostError::io(operation, path, e);
    if let Some((component, reason)) = root.unsafe_component(path) {
        return Err(HostError::NotRoots { path: component, reason });
    }
    let (directory, name) = files::parent(root, path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(failed("make"))?;
    // The file gets the mode of the socket that it is bound to: at no time can others connect.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600)).map_err(failed("set the mode of"))?;
    match rustix::fs::unlinkat(&directory, &name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(failed("remove the old")(e)),
    }
    let address = SocketAddrUnix::new(path).map_err(failed("name"))?;
    rustix::net::bind(&socket, &address).map_err(failed("bind"))?;
    let stat = stat_entry(&directory, &name).map_err(failed("look at"))?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed("listen on"))?;
    Ok((GateSocket { file: (stat.st_dev, stat.st_ino) }, UnixListener::from(socket)))
}

impl GateSocket {
    /// Whether gates still find it: it was not removed, and no other process has taken its place.
    pub fn is_there(&self, root: &Root) -> bool {
        root.stat(Path::new(SOCKET)).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::Socket
                && (stat.st_dev, stat.st_ino) == self.file
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_nobody_takes_wait_to_a_limit_and_one_more_fails_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gate.sock");
        let _listener = listen_at(&Root::host().unwrap(), &path).unwrap();
        let address = SocketAddrUnix::new(&path).unwrap();
        let connect = || {
            let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
            let socket = rustix::net::socket_with(family, kind, SocketFlags::NONBLOCK, None)?;
            rustix::net::connect(&socket, &address).map(|()| socket)
        };
        let mut waiting = Vec::new();
        let refused = loop {
            match connect() {
                Ok(socket) => waiting.push(socket),
                Err(e) => break e,
            }
            assert!(waiting.len() < 1000);
        };
        // The kernel takes one more than it was told.
        assert_eq!((refused, waiting.len()), (Errno::AGAIN, BACKLOG as usize + 1));
    }
}
