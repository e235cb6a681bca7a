// SPDX-License-Identifier: Apache-2.0
//! Reading nodeguard's own configuration files. Who can change them decides what a root process
//! does, so only root may be able to.

use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::root::{Root, read_regular};
use crate::config::{BASE, DROP_INS, MAX_DROP_INS, MAX_FILE_SIZE, Source, order};
use crate::model::shown;

/// All files that count, the least important first.
pub fn sources(root: &Root) -> Vec<Source> {
    let mut out = Vec::new();
    let [vendor, admin] = BASE.map(Path::new);
    // As a drop-in of the operator's masks the package's of the same name.
    if !is_mask(root, admin) {
        out.extend(source(root, vendor));
        out.extend(source(root, admin));
    }
    let mut listed = Vec::new();
    for dir in DROP_INS {
        match root.list(Path::new(dir), MAX_DROP_INS) {
            Ok(names) => listed.push((dir, names.unwrap_or_default())),
            Err(e) => out.push(Source { path: dir.into(), content: Err(e.to_string()) }),
        }
    }
    out.extend(order(&listed).iter().filter_map(|path| source(root, path)));
    out
}

/// A link to /dev/null: not this file, and none below it.
fn is_mask(root: &Root, path: &Path) -> bool {
    root.read_link(path).is_ok_and(|target| target == Path::new("/dev/null"))
}

/// `None` where there is no file, or it is masked.
fn source(root: &Root, path: &Path) -> Option<Source> {
    if is_mask(root, path) {
        return None;
    }
    let content = read(root, path).transpose()?;
    Some(Source { path: shown(path), content })
}

fn read(root: &Root, path: &Path) -> Result<Option<Vec<u8>>, String> {
    // NONBLOCK: a fifo in the file's place must not hold us up.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match root.open(path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(e) => return Err(std::io::Error::from(e).to_string()),
    };
    let stat = rustix::fs::fstat(&fd).map_err(|e| std::io::Error::from(e).to_string())?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        if stat.st_uid != 0 {
            return Err(format!("it is owned by uid {}, expected root", stat.st_uid));
        }
        let others = if stat.st_gid == 0 { 0o002 } else { 0o022 };
        let mode = stat.st_mode & 0o7777;
        if mode & others != 0 {
            return Err(format!("others than root can write to it (mode {mode:04o})"));
        }
    }
    if let Some((component, reason)) = root.unsafe_component(path) {
        return Err(format!("{} {reason}", shown(&component)));
    }
    read_regular(fd, path, MAX_FILE_SIZE).map(Some).map_err(|e| e.to_string())
}
