// SPDX-License-Identifier: Apache-2.0
//! Looking at the kernel parameters and their drop-in. Nothing here changes the host.

use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::proc_sys::ProcSys;
use crate::config;
use crate::controls::sysctl::{self, Wanted};
use crate::system::root::Root;

/// A configuration file of an operator's is a few lines.
const FILE_LIMIT: usize = 1 << 20;

/// The kernel parameters and their drop-in.
pub fn observe(
    root: &Root,
    proc_sys: &mut ProcSys,
    scope: sysctl::Scope,
    own: &config::Sysctl,
) -> sysctl::Facts {
    let source = source(root);
    let wanted = sysctl::wanted(source.as_ref(), scope, own);
    let live = root.is_live().then(|| {
        let value = |want: &Wanted| (want.key.clone(), proc_sys.read(&want.key));
        wanted.iter().map(value).collect()
    });
    let drop_in = drop_in(root);
    sysctl::Facts { source, drop_in, live, scope, wanted }
}

/// RKE2's own file of kernel parameters, with its path; `None` where it has none.
pub fn source(root: &Root) -> Option<(String, String)> {
    sysctl::RKE2_SOURCES.iter().find_map(|path| {
        let content = root.read(Path::new(path), FILE_LIMIT).ok()??;
        Some(((*path).to_owned(), String::from_utf8(content).ok()?))
    })
}

fn drop_in(root: &Root) -> sysctl::DropIn {
    use sysctl::DropIn;
    let path = Path::new(sysctl::DROP_IN);
    let stat = match root.stat(path) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return DropIn::Absent,
        Err(e) => return DropIn::Unusable(e.to_string()),
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return match root.read_link(path) {
            Ok(target) if target == Path::new("/dev/null") => DropIn::Masked,
            Ok(target) => DropIn::Link {
                target: target.display().to_string(),
                content: root
                    .read(path, FILE_LIMIT)
                    .ok()
                    .flatten()
                    .and_then(|content| String::from_utf8(content).ok()),
            },
            Err(e) => DropIn::Unusable(e.to_string()),
        };
    }
    match root.read(path, FILE_LIMIT) {
        Ok(Some(content)) => DropIn::Content(content),
        Ok(None) => DropIn::Absent,
        Err(e) => DropIn::Unusable(e.to_string()),
    }
}
