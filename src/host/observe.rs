// SPDX-License-Identifier: Apache-2.0
//! Gathering facts. Nothing here changes the host.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use semver::Version;

use super::HostError;
use super::accounts;
use super::proc_sys::ProcSys;
use super::root::Root;
use super::running_etcd;
use super::tree;
use crate::config;
use crate::controls::{etcd_account, etcd_data_dir, etcd_tls, running_etcd as decided, sysctl};
use crate::model::Owner;
use crate::rke2::{Config, etcd_manifest};

/// A configuration file of an operator's is a few lines.
const FILE_LIMIT: usize = 1 << 20;

/// The kernel parameters and their drop-in.
pub fn sysctl(
    root: &Root,
    proc_sys: &mut ProcSys,
    scope: sysctl::Scope,
    own: &config::Sysctl,
) -> sysctl::Facts {
    let source = sysctl_source(root);
    let live = root.is_live().then(|| {
        sysctl::wanted(source.as_ref(), scope, own)
            .into_iter()
            .map(|want| {
                let value = proc_sys.read(&want.key);
                (want.key, value)
            })
            .collect()
    });
    let drop_in = drop_in(root);
    sysctl::Facts { source, drop_in, live, scope, own: own.clone() }
}

/// RKE2's own file of kernel parameters, with its path; `None` where it has none.
pub fn sysctl_source(root: &Root) -> Option<(String, String)> {
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

/// How the tree in a directory is, which should be an owner's.
pub type TreeLook<'a> =
    &'a mut dyn FnMut(&Path, Owner) -> Result<Option<etcd_data_dir::TreeFacts>, Errno>;

/// etcd's data directory and its TLS files; `None` while there is nobody to own them.
pub fn data_dir(
    root: &Root,
    config: &Config,
    version: Option<&Version>,
    look: TreeLook<'_>,
) -> Option<etcd_data_dir::Facts> {
    let account = etcd_owner(root)?;
    let data_dir = &config.data_dir.value;
    let dir = etcd_data_dir::etcd_dir(data_dir);
    let tls_dir = etcd_tls::tls_dir(data_dir);
    let mut facts = etcd_data_dir::Facts {
        account,
        owner: account,
        running: None,
        manifest: etcd_manifest(data_dir),
        unsafe_path: root
            .unsafe_component(&dir)
            // What is in the TLS directory is looked at one by one: the directory counts too.
            .or_else(|| root.unsafe_component(&tls_dir.join("server-ca.crt"))),
        dir,
        tree: None,
        tls_dir,
        tls: Vec::new(),
        link: None,
        unreadable: Vec::new(),
    };
    if facts.unsafe_path.is_some() {
        return Some(facts);
    }
    facts.running = running_etcd::observe(root, data_dir, &facts.dir);
    let owner = facts.running.as_ref().map_or(account, |it| decided::owner(account, it));
    facts.owner = owner;
    match look(&facts.dir, owner) {
        Ok(tree) => facts.tree = tree,
        // A link at the end of the way, or something else that is no directory.
        Err(Errno::LOOP | Errno::NOTDIR) if root.read_link(&facts.dir).is_ok() => {
            let leads = is_directory(root, &facts.dir);
            facts.link = root.read_link(&facts.dir).ok().map(|target| (target, leads));
        }
        Err(e) => facts.unreadable.push((facts.dir.clone(), reason(e))),
    }
    for file in etcd_tls::tls_files(version, owner) {
        match tree::observe_file(root, &facts.tls_dir, file.name, file.owner, file.rule) {
            Ok(entry) => facts.tls.extend(entry.map(|entry| (file, entry))),
            Err(e) => facts.unreadable.push((facts.tls_dir.join(file.name), reason(e))),
        }
    }
    Some(facts)
}

/// Who etcd's files belong to: the uid and the *group's* gid, as CIS 1.1.12 has it.
pub fn etcd_owner(root: &Root) -> Option<Owner> {
    let db = accounts::read(root).ok()?;
    let user = db.user(etcd_account::NAME)?;
    let group = db.group(etcd_account::NAME)?;
    (user.uid != 0).then_some(Owner { uid: user.uid, gid: group.gid })
}

fn reason(e: Errno) -> String {
    match e {
        Errno::LOOP | Errno::NOTDIR => "not a directory (a link is not followed)".into(),
        e => std::io::Error::from(e).to_string(),
    }
}

/// The names in a directory that systemd or RKE2 would read, sorted by bytes.
pub(super) fn sorted_names(root: &Root, dir: &Path) -> Result<Vec<PathBuf>, HostError> {
    /// More than any directory of units or drop-ins has.
    const LIMIT: usize = 4096;
    let mut names = root.list(dir, LIMIT)?.unwrap_or_default();
    names.sort();
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

/// Whether there is anything at `path`, a dangling link included.
pub(super) fn exists(root: &Root, path: &Path) -> bool {
    root.stat(path).is_ok()
}

/// Whether there is a directory at `path`.
pub(super) fn is_directory(root: &Root, path: &Path) -> bool {
    root.open(path, OFlags::PATH | OFlags::DIRECTORY, rustix::fs::Mode::empty()).is_ok()
}

/// Whether a path's name ends in `suffix`.
pub(super) fn has_suffix(path: &Path, suffix: &str) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_more_entries_than_the_limit_is_told_and_not_read_in_part() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::image(dir.path()).unwrap();
        for n in 0..4096 {
            std::fs::write(dir.path().join(n.to_string()), "").unwrap();
        }
        assert_eq!(sorted_names(&root, Path::new("/")).unwrap().len(), 4096);
        std::fs::write(dir.path().join("more"), "").unwrap();
        let refused = sorted_names(&root, Path::new("/"));
        assert!(matches!(refused, Err(HostError::TooMany { .. })), "{refused:?}");
    }
}
