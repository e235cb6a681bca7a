// SPDX-License-Identifier: Apache-2.0
//! Changing the account database, by the distribution's own tools: they know its locks,
//! subordinate ids, SELinux contexts and audit.

use std::path::Path;
use std::time::Duration;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::command;
use super::root::Root;

/// shadow-utils wait up to 15 s for a lock themselves.
const DEADLINE: Duration = Duration::from_secs(20);

/// Where the distributions have them; PATH is not asked.
const DIRECTORIES: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Runs one of `useradd`, `groupadd`, `usermod` on the database below `root`. The error says what
/// went wrong in the tool's own words.
pub(super) fn run(root: &Root, tool: &'static str, arguments: &[&str]) -> Result<(), String> {
    let Some(program) =
        DIRECTORIES.iter().map(|dir| Path::new(dir).join(tool)).find(|path| path.is_file())
    else {
        return Err(format!("no {tool} in /usr/sbin, expected shadow-utils (package passwd)"));
    };
    if !root.is_live() {
        stays_inside(root)?;
    }
    let prefix = (!root.is_live()).then(|| [Path::new("--prefix"), root.path()]);
    let arguments = prefix
        .into_iter()
        .flatten()
        .map(Path::as_os_str)
        .chain(arguments.iter().map(std::ffi::OsStr::new));
    match command::run(&program, arguments, DEADLINE) {
        Ok(_) => Ok(()),
        Err(e) => Err(e.to_string()),
    }
}

/// The tools know nothing of a root that links must not leave, so there must be none.
fn stays_inside(root: &Root) -> Result<(), String> {
    let wanted = [
        ("/etc", FileType::Directory),
        ("/etc/passwd", FileType::RegularFile),
        ("/etc/group", FileType::RegularFile),
        ("/etc/shadow", FileType::RegularFile),
        ("/etc/gshadow", FileType::RegularFile),
        ("/etc/login.defs", FileType::RegularFile),
    ];
    for (path, kind) in wanted {
        match root.stat(Path::new(path)) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == kind => {}
            Err(Errno::NOENT) if path != "/etc" => {}
            Ok(_) => {
                return Err(format!(
                    "{path} in the image is a link or a special file: it could lead outside"
                ));
            }
            Err(e) => return Err(format!("{path} in the image: {}", std::io::Error::from(e))),
        }
    }
    Ok(())
}
