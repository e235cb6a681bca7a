// SPDX-License-Identifier: Apache-2.0
//! Which file sets a kernel parameter: sysctl.d as its readers read it.
//!
//! **Pure**: directory listings, file contents and the command line in; for a key the value that
//! wins, its file and line, and everything that loses and why out. The files are gathered in
//! `host::sysctl_d`.
//!
//! There are three readers and they differ. systemd-sysctl is what runs at boot. procps'
//! `sysctl --system` is what people type; it reads /etc/sysctl.conf and hidden files as well,
//! treats a lone `-key` and repeated separators differently, and knows no braces in globs. TuneD
//! has an order of its own. `tests/sysctl_d` holds the first two against the real programs.

mod command_line;
mod explain;
pub(crate) mod glob;
mod key;
mod line;
mod misread;
mod resolve;
mod tuned;
pub mod value;
mod winner;
pub mod writers;

use serde::Serialize;

use crate::model::Origin;
pub use explain::{Explainer, Explanation};
pub use key::{BadKey, Key};
pub use line::{Setting, count, parse};
pub use misread::{Misread, misread};
pub use resolve::{Moment, Resolution, Resolver, Shadowed, Why};
pub use tuned::{
    PROFILE_DIRECTORIES, Sources as TunedSources, Verdict, includes, names, reapplies,
};

/// Who reads the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// systemd-sysctl, at boot. Versions 252 to 262 agree in what they set.
    Systemd,
    /// procps' `sysctl --system` up to version 4.0.4.
    Procps,
    /// The same in newer versions (4.0.7), where a lone `-pattern` excludes what it meets.
    NewerProcps,
}

/// A directory that is read, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Etc,
    /// Empty after a reboot.
    Run,
    UsrLocalLib,
    UsrLib,
    /// Only where it is not the same as [`Self::UsrLib`].
    Lib,
}

impl Place {
    pub const ALL: [Self; 5] = [Self::Etc, Self::Run, Self::UsrLocalLib, Self::UsrLib, Self::Lib];

    pub fn path(self) -> &'static str {
        match self {
            Self::Etc => "/etc/sysctl.d",
            Self::Run => "/run/sysctl.d",
            Self::UsrLocalLib => "/usr/local/lib/sysctl.d",
            Self::UsrLib => "/usr/lib/sysctl.d",
            Self::Lib => "/lib/sysctl.d",
        }
    }
}

/// Read last by procps, and by systemd only where a link in sysctl.d leads to it (Debian's
/// `99-sysctl.conf` up to bookworm).
pub const SYSCTL_CONF: &str = "/etc/sysctl.conf";

/// Followed by the release of the kernel: what SUSE's kernels bring for themselves.
pub const KERNEL_FILE: &str = "/boot/sysctl.conf-";

/// Who TuneD's profile is, and how it is applied.
pub const ACTIVE_PROFILE: &str = "/etc/tuned/active_profile";
pub const TUNED_MAIN: &str = "/etc/tuned/tuned-main.conf";

/// The files besides those in the directories that a look must follow when they change.
pub const FILES: [&str; 3] = [SYSCTL_CONF, ACTIVE_PROFILE, TUNED_MAIN];

/// Files whose names end otherwise are not read.
pub const SUFFIX: &str = ".conf";

/// One file as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub path: String,
    /// Where it leads, if it is a link.
    pub link_to: Option<String>,
    pub body: Body,
}

impl File {
    /// Its name, by which it stands in the order and hides files of the same name.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Its lines; none where it could not be read.
    pub fn text(&self) -> &[u8] {
        match &self.body {
            Body::Text(text) => text,
            _ => &[],
        }
    }
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Text(Vec<u8>),
    /// A link to /dev/null: it hides the files of the same name, and that is its purpose.
    Masked,
    /// A link to nothing. It hides files of the same name all the same.
    Dangling,
    /// A directory, too large, or refused to us.
    Unreadable(String),
}

/// Everything that decides about kernel parameters at boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The `.conf` files of each directory, in any order.
    pub directories: Vec<(Place, Vec<File>)>,
    /// [`SYSCTL_CONF`].
    pub sysctl_conf: Option<File>,
    /// What the running kernel's package brings for it (SUSE); applied in a run of its own before
    /// all other files. None for an image, whose kernel is not known.
    pub kernel_file: Option<File>,
    /// The command line of the running kernel; none for an image.
    pub command_line: Option<String>,
    /// The credential `sysctl.extra`, which systemd-sysctl reads after all files.
    pub credential: Option<File>,
    pub tuned: Option<TunedSources>,
    /// What could not be looked at, and why: path and reason.
    pub unread: Vec<(String, String)>,
}

impl Sources {
    /// The files of all directories whose place nothing stronger takes.
    pub fn read_at_boot(&self) -> impl Iterator<Item = &File> {
        let all =
            || self.directories.iter().flat_map(|(p, files)| files.iter().map(move |f| (*p, f)));
        let mut strongest: std::collections::BTreeMap<&str, (Place, &File)> = Default::default();
        for (place, file) in all() {
            let known = strongest.entry(file.name()).or_insert((place, file));
            if place < known.0 {
                *known = (place, file);
            }
        }
        strongest.into_values().map(|(_, file)| file)
    }

    /// What TuneD does with a key after the next boot; `None` where it has no active profile.
    pub fn verdict(&self, key: &Key) -> Option<Verdict> {
        tuned::verdict(self, key, Moment::NextBoot)
    }
}

/// What kind of thing sets a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetBy {
    File,
    /// The credential `sysctl.extra` of systemd-sysctl.
    Credential,
    CommandLine,
    Tuned,
}

/// A value, and who sets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assigned {
    pub value: String,
    pub set_by: SetBy,
    pub origin: Origin,
    /// Where the file leads, if it is a link.
    pub link_to: Option<String>,
    /// The glob that meets the key, where the line has one.
    pub pattern: Option<String>,
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::*;

    /// A file with a text, a link to /dev/null where the text is `!mask`, a link to nothing where
    /// it is `!dangling`.
    pub fn file(path: &str, text: &str) -> File {
        let body = match text {
            "!mask" => Body::Masked,
            "!dangling" => Body::Dangling,
            _ => Body::Text(text.as_bytes().to_vec()),
        };
        File { path: path.into(), link_to: None, body }
    }

    /// Sources from absolute paths and texts.
    pub fn sources(files: &[(&str, &str)]) -> Sources {
        let mut sources = Sources::default();
        for (path, text) in files {
            let file = file(path, text);
            if *path == SYSCTL_CONF {
                sources.sysctl_conf = Some(file);
                continue;
            }
            if path.starts_with(KERNEL_FILE) {
                sources.kernel_file = Some(file);
                continue;
            }
            let directory = path.rsplit_once('/').unwrap().0;
            let place = Place::ALL.into_iter().find(|p| p.path() == directory).unwrap();
            match sources.directories.iter_mut().find(|(known, _)| *known == place) {
                Some((_, files)) => files.push(file),
                None => sources.directories.push((place, vec![file])),
            }
        }
        sources
    }
}
