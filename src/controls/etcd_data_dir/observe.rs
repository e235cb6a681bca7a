// SPDX-License-Identifier: Apache-2.0
//! Looking at etcd's data directory and its TLS files. Nothing here changes the host.

use std::path::Path;

use rustix::io::Errno;
use semver::Version;

use super::judge::{running as decided, tls};
use super::tree::Look;
use super::{running, tree};
use crate::controls::etcd_account::NO_ID;
use crate::controls::{etcd_account, etcd_data_dir};
use crate::model::{ModeRule, Owner};
use crate::rke2::{Config, etcd_dir, etcd_manifest};
use crate::system::listing::is_directory;
use crate::system::root::Root;

/// How the tree in a directory is, which should be an owner's.
pub type TreeLook<'a> =
    &'a mut dyn FnMut(&Path, Owner) -> Result<Option<etcd_data_dir::TreeFacts>, Errno>;

/// etcd's data directory and its TLS files; `None` while there is nobody to own them.
pub fn observe(
    root: &Root,
    config: &Config,
    version: Option<&Version>,
    look: TreeLook<'_>,
) -> Option<etcd_data_dir::Facts> {
    let account = etcd_owner(root)?;
    let data_dir = &config.data_dir.value;
    let dir = etcd_dir(data_dir);
    let tls_dir = tls::tls_dir(data_dir);
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
        tls_rest: etcd_data_dir::TreeFacts::default(),
        link: None,
        unreadable: Vec::new(),
    };
    if facts.unsafe_path.is_some() {
        return Some(facts);
    }
    facts.running = running::observe(root, data_dir, &facts.dir);
    let owner = facts.running.as_ref().map_or(account, |it| decided::owner(account, it));
    facts.owner = owner;
    match look(&facts.dir, owner) {
        Ok(tree) => facts.tree = tree,
        // A link at the end of the path, or something else that is no directory.
        Err(Errno::LOOP | Errno::NOTDIR) if root.read_link(&facts.dir).is_ok() => {
            let leads = is_directory(root, &facts.dir);
            facts.link = root.read_link(&facts.dir).ok().map(|target| (target, leads));
        }
        Err(e) => facts.unreadable.push((facts.dir.clone(), reason(e))),
    }
    let whole = tls::gives_the_directory(version);
    let mut given = vec![facts.dir.clone()];
    given.extend(whole.then(|| facts.tls_dir.clone()));
    let look_at = |rule, owner| Look { rule, given: &given, ..Look::full(owner) };
    for file in tls::tls_files(version, owner) {
        let look = look_at(file.rule, file.owner);
        match tree::observe_file(root, &facts.tls_dir, file.name, look) {
            Ok(entry) => facts.tls.extend(entry.map(|entry| (file, entry))),
            Err(e) => facts.unreadable.push((facts.tls_dir.join(file.name), reason(e))),
        }
    }
    if whole {
        let look = look_at(ModeRule::TlsCertificate, owner);
        match tree::observe(root, &facts.tls_dir, look, &mut |_, _| {}) {
            Ok(walked) => facts.tls_rest = tls::rest_of(walked.unwrap_or_default(), owner),
            Err(e) => facts.unreadable.push((facts.tls_dir.clone(), reason(e))),
        }
    }
    Some(facts)
}

/// Who etcd's files belong to: the uid and the *group's* gid, as CIS 1.1.12 has it.
pub fn etcd_owner(root: &Root) -> Option<Owner> {
    let db = etcd_account::observe::read(root).ok()?;
    let user = db.user(etcd_account::NAME)?;
    let group = db.group(etcd_account::NAME)?;
    // Nobody is there to own them as long as one of the numbers is none.
    let fit = user.uid != 0 && user.uid != NO_ID && group.gid != NO_ID;
    fit.then_some(Owner { uid: user.uid, gid: group.gid })
}

fn reason(e: Errno) -> String {
    match e {
        Errno::LOOP | Errno::NOTDIR => "not a directory (a link is not followed)".into(),
        e => std::io::Error::from(e).to_string(),
    }
}
