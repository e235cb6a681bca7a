// SPDX-License-Identifier: Apache-2.0
//! What the service does not see of the host, since its own unit or a mount that did not reach it
//! shows it something else in its place. The gate, which is not in that unit, finds it out.

use std::path::Path;

use crate::model::{Code, Finding, quoted, shown};

/// Settings of the service's unit that hide a directory, with what takes them back.
const SETTINGS: [(&str, &str); 6] = [
    ("/tmp", "PrivateTmp=no"),
    ("/var/tmp", "PrivateTmp=no"),
    ("/home", "ProtectHome=no"),
    ("/root", "ProtectHome=no"),
    ("/run/user", "ProtectHome=no"),
    ("/dev", "PrivateDevices=no"),
];

/// Whether the service's own unit shows it another thing in the place of a path, or of what is above it.
pub(crate) fn is_hidden(path: &Path) -> bool {
    SETTINGS.iter().any(|(hidden, _)| path.starts_with(hidden))
}

/// `path`: the first on the path to something that RKE2 uses at which the service sees another object.
pub fn judge(path: &Path) -> Finding {
    let (name, word) = (shown(path), quoted(path));
    let setting = SETTINGS.iter().find(|(hidden, _)| path.starts_with(hidden));
    let remedy = match setting {
        Some((_, setting)) => format!(
            "systemctl edit nodeguard with the lines `[Service]` and `{setting}`, then systemctl \
             restart nodeguard; or move what RKE2 uses out of {word}"
        ),
        None => format!(
            "systemctl restart nodeguard, if {word} was mounted after its start; else look for what \
             hides it in systemctl cat nodeguard (RootDirectory=, TemporaryFileSystem=, \
             InaccessiblePaths=, BindPaths= and the like)"
        ),
    };
    Finding::new(Code::HiddenFromService, name.as_str())
        .expected(format!("the service sees the host's {name}"))
        .actual("another one")
        .message(format!(
            "the service sees another {name} than RKE2: what RKE2 uses there is neither judged nor \
             guarded by the service; the gate looks by itself at each start of RKE2"
        ))
        .remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Severity;

    #[test]
    fn the_remedy_is_the_setting_that_hides_it_or_where_to_look_for_one() {
        for (path, remedy) in [
            ("/tmp", "`PrivateTmp=no`"),
            ("/var/tmp/rke2", "`PrivateTmp=no`"),
            ("/home/rke2", "`ProtectHome=no`"),
            ("/root", "`ProtectHome=no`"),
            ("/dev/shm", "`PrivateDevices=no`"),
            ("/tmpfiles", "systemctl cat nodeguard"),
            ("/etc/rancher", "systemctl cat nodeguard"),
        ] {
            let finding = judge(Path::new(path));
            assert!(finding.remedy.contains(remedy), "{path}: {}", finding.remedy);
            assert_eq!((finding.subject.as_str(), finding.severity), (path, Severity::Warning));
        }
    }
}
