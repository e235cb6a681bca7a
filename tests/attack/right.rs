// SPDX-License-Identifier: Apache-2.0
//! Whether a guarded tree is as it should be, said by nothing of the program under test.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What is wrong in the tree at `top`: its directories and its files with one link must be
/// `owner`'s, directories 0700, files written by their owner only and without set-id bits. What
/// is gone when it is looked at is not wrong.
pub fn wrong(top: &Path, owner: (u32, u32)) -> Vec<String> {
    let mut out = Vec::new();
    let mut pending = vec![top.to_path_buf()];
    while let Some(path) = pending.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let file_type = metadata.file_type();
        let mode = metadata.mode() & 0o7777;
        let right = if file_type.is_dir() {
            pending.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.path()));
            mode == 0o700
        } else if file_type.is_file() && metadata.nlink() == 1 {
            mode & 0o7022 == 0 && mode & 0o600 == 0o600
        } else {
            continue;
        };
        if !right || (metadata.uid(), metadata.gid()) != owner {
            let (uid, gid) = (metadata.uid(), metadata.gid());
            out.push(format!("{} is {uid}:{gid} {mode:04o}", path.display()));
        }
    }
    out
}
