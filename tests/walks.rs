// SPDX-License-Identifier: Apache-2.0
//! How often a full pass walks etcd's tree, which is what it costs.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use nodeguard::engine::{Engine, Mode};
use nodeguard::model::{Role, State};
use nodeguard::system::root::Root;

const ETCD: &str = "var/lib/rancher/rke2/server/db/etcd";
const TLS: &str = "var/lib/rancher/rke2/server/tls/etcd";
const IDS: (u32, u32) = (990, 991);

fn image() -> tempfile::TempDir {
    assert!(rustix::process::geteuid().is_root(), "changing owners needs root");
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for path in ["etc/rancher/rke2", ETCD, TLS].map(|path| dir.path().join(path)) {
        fs::create_dir_all(path).unwrap();
    }
    fs::create_dir(dir.path().join(ETCD).join("member")).unwrap();
    for (file, text) in [
        ("etc/passwd", "etcd:x:990:991:etcd user:/home/etcd:/sbin/nologin\n"),
        ("etc/group", "etcd:x:991:\n"),
        ("etc/shadow", "etcd:!:19000::::::\n"),
        ("etc/gshadow", "etcd:!::\n"),
        ("etc/rancher/rke2/config.yaml", "profile: cis\n"),
        (&format!("{ETCD}/member/db"), "x"),
        (&format!("{TLS}/server-ca.crt"), "x"),
    ] {
        fs::write(dir.path().join(file), text).unwrap();
    }
    dir
}

/// Walks of the tree by one pass that leaves the node ready.
fn walks(root: &Path, mode: Mode) -> usize {
    let mut engine = Engine::new(Root::image(root).unwrap(), Some(Role::Server));
    let mut walks = 0;
    let pass = engine.pass(mode, &mut |_, below| walks += usize::from(below == Path::new("")));
    assert_eq!(pass.report.state, State::Ready, "{:?}", pass.report);
    walks
}

#[test]
fn the_tree_is_walked_again_only_where_it_was_owned() {
    let dir = image();
    let root = dir.path();
    let ids = |file: &str| {
        let metadata = fs::metadata(root.join(file)).unwrap();
        (metadata.uid(), metadata.gid())
    };
    let (db, ca) = (format!("{ETCD}/member/db"), format!("{TLS}/server-ca.crt"));
    assert_eq!(walks(root, Mode::Apply), 2, "looked at, then owned and read back");
    assert_eq!((ids(&db), ids(&ca)), (IDS, IDS));
    assert_eq!((walks(root, Mode::Apply), walks(root, Mode::Check)), (1, 1), "all is right");

    chown(root.join(&ca), Some(0), Some(0)).unwrap();
    assert_eq!(walks(root, Mode::Apply), 1, "a file beside the tree says nothing of it");
    assert_eq!(ids(&ca), IDS);
}
