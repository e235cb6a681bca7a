// SPDX-License-Identifier: Apache-2.0
//! What the account tools write, and whether `chattr` keeps them from it.

use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::model::Obstacle;
use crate::system::obstacle;
use crate::system::root::Root;

/// What the tools write, and their directory. Of each file they keep a copy with a `-` behind it.
pub(super) const WRITTEN: [&str; 11] = [
    "/etc",
    "/etc/passwd",
    "/etc/group",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/subuid",
    "/etc/subgid",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
];

/// Whether one of the files is immutable, or may only grow.
pub(crate) fn fixed(root: &Root) -> Option<Obstacle> {
    WRITTEN.iter().find_map(|path| {
        let path = Path::new(path);
        let fd = root.open(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).ok()?;
        obstacle::attribute(&fd, path)
    })
}
