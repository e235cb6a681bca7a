// SPDX-License-Identifier: Apache-2.0
//! Walking and owning a real tree, as root: what is changed, and above all what is not.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nodeguard::controls::etcd_data_dir::tree::{self, Look};
use nodeguard::controls::etcd_data_dir::{Oddity, TreeFacts};
use nodeguard::model::{Depth, ModeRule, Outcome, Owner};
use nodeguard::system::root::Root;
use nodeguard::system::walk;

/// Some uid and gid of nobody's.
const ETCD: Owner = Owner { uid: 52034, gid: 52035 };

struct Tree {
    dir: tempfile::TempDir,
    root: Root,
}

impl Tree {
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "changing owners needs root");
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        Self { dir, root: Root::host().unwrap() }
    }

    fn top(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.top().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        path
    }

    fn outside(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, "precious").unwrap();
        path
    }

    fn own(&self) -> Outcome {
        own(&self.root, &self.top(), Path::new(""))
    }

    fn look(&self) -> TreeFacts {
        tree::observe(&self.root, &self.top(), Look::full(ETCD), &mut |_, _| {}).unwrap().unwrap()
    }
}

fn own_entry(root: &Root, base: &Path, below: &Path, rule: ModeRule) -> Outcome {
    let look = Look { rule, ..Look::full(ETCD) };
    tree::own(root, base, below, Depth::Entry, look, &mut |_, _| {}).outcome
}

fn own(root: &Root, base: &Path, below: &Path) -> Outcome {
    tree::own(root, base, below, Depth::Subtree, Look::full(ETCD), &mut |_, _| {}).outcome
}

fn owner(path: &Path) -> Owner {
    let metadata = fs::symlink_metadata(path).unwrap();
    Owner { uid: metadata.uid(), gid: metadata.gid() }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

const ROOT: Owner = Owner { uid: 0, gid: 0 };

#[test]
fn a_tree_of_roots_is_given_to_etcd_whole_and_a_second_time_nothing_is_left_to_do() {
    let tree = Tree::new();
    let db = tree.file("member/snap/db");
    let wal = tree.file("member/wal/0.wal");
    let strange = tree.file(OsStr::from_bytes(b"member/new\nline \xff"));
    set_mode(&db, 0o644);
    set_mode(&wal, 0o4755);
    let before = tree.look();
    assert_eq!((before.entries, before.directories), (7, 4));
    assert_eq!(before.wrong_owner.count, 7);

    assert_eq!(tree.own(), Outcome::Applied { changes: 7 });

    for path in [&db, &wal, &strange, &tree.top(), &tree.top().join("member/snap")] {
        assert_eq!(owner(path), ETCD, "{}", path.display());
    }
    assert_eq!((mode(&db), mode(&wal), mode(&tree.top())), (0o644, 0o755, 0o700));
    let after = tree.look();
    assert_eq!((after.wrong_owner.count, after.wrong_mode.count), (0, 0));
    assert_eq!(tree.own(), Outcome::AlreadyDone);
}

#[test]
fn a_wrong_group_or_mode_alone_is_seen_and_mended() {
    let tree = Tree::new();
    let db = tree.file("db");
    tree.own();
    chown(&db, None, Some(100)).unwrap();
    assert_eq!(tree.look().wrong_owner.count, 1);
    assert_eq!(tree.own(), Outcome::Applied { changes: 1 });
    set_mode(&db, 0o666);
    assert_eq!(tree.own(), Outcome::Applied { changes: 1 });
    assert_eq!(mode(&db), 0o644);
    set_mode(&tree.top(), 0o755);
    let facts = tree.look();
    let told = facts.wrong_mode.told.unwrap();
    assert_eq!((told.actual.as_str(), told.expected.as_str()), ("0755", "0700"));
    assert_eq!((told.below, told.locks_out), (PathBuf::new(), false));
    assert_eq!(tree.own(), Outcome::Applied { changes: 1 });
    assert_eq!(mode(&tree.top()), 0o700);
}

/// Walks by `look` a tree with two directories; when the walk is in the first one, `swap` is called
/// with the path of the other, which is gone by then.
fn walk_with_a_swap(tree: &Tree, swap: &dyn Fn(&Path), look: impl FnOnce(walk::OnDirectory<'_>)) {
    let mut left = vec!["a", "b"];
    for name in &left {
        tree.file(format!("{name}/file"));
    }
    tree.own();
    look(&mut |_, below| {
        let Some(here) = left.iter().position(|name| below == Path::new(name)) else { return };
        left.remove(here);
        if let [other] = left[..] {
            let other = tree.top().join(other);
            fs::remove_dir_all(&other).unwrap();
            swap(&other);
            left.clear();
        }
    });
    assert!(left.is_empty(), "the walk came by");
}

#[test]
fn a_directory_that_is_swapped_before_it_is_entered_is_what_it_is_by_then() {
    let look = |swap: &dyn Fn(&Path)| {
        let tree = Tree::new();
        let mut facts = None;
        walk_with_a_swap(&tree, swap, |on_directory| {
            facts = tree::observe(&tree.root, &tree.top(), Look::full(ETCD), on_directory).unwrap();
        });
        facts.unwrap()
    };
    let facts = look(&|path| fs::write(path, "x").unwrap());
    assert_eq!((facts.wrong_owner.count, facts.odd.len()), (1, 0));
    let facts = look(&|path| {
        symlink("/etc", path).unwrap();
        lchown(path, Some(1000), Some(1000)).unwrap();
    });
    assert!(matches!(facts.odd[..], [(_, Oddity::ForeignLink { uid: 1000, .. })]), "{facts:?}");
    assert_eq!((facts.wrong_owner.count, facts.entries), (0, 4));
    let facts = look(&|_| {});
    assert_eq!((facts.wrong_owner.count, facts.odd.len(), facts.entries), (0, 0, 3), "gone");
}

#[test]
fn what_a_directory_is_swapped_for_is_owned_if_it_is_a_file_and_never_if_it_is_a_link() {
    let own = |tree: &Tree, swap: &dyn Fn(&Path)| {
        walk_with_a_swap(tree, swap, |on_directory| {
            let look = Look::full(ETCD);
            tree::own(&tree.root, &tree.top(), Path::new(""), Depth::Subtree, look, on_directory);
        });
        let is_there = |name: &&str| fs::symlink_metadata(tree.top().join(name)).unwrap().is_dir();
        let swapped = ["a", "b"].into_iter().find(|name| !is_there(name)).unwrap();
        owner(&tree.top().join(swapped))
    };
    assert_eq!(own(&Tree::new(), &|path| fs::write(path, "x").unwrap()), ETCD);
    let tree = Tree::new();
    let precious = tree.outside("precious");
    assert_eq!(own(&tree, &|path| symlink(&precious, path).unwrap()), ROOT);
    assert_eq!(owner(&precious), ROOT);
}

#[test]
fn an_access_control_list_that_lets_others_in_is_taken_away() {
    let tree = Tree::new();
    let snap = tree.file("member/snap/1.snap");
    let quiet = tree.file("member/snap/db");
    set_mode(&quiet, 0o600);
    let strange = tree.file(OsStr::from_bytes(b"member/new\nline \xff"));
    tree.own();
    let acl = |arguments: &[&str], path: &Path| {
        let status = std::process::Command::new("setfacl").args(arguments).arg(path).status();
        assert!(status.expect("setfacl (package acl)").success());
    };
    acl(&["-m", "u:1000:rw"], &snap);
    acl(&["-m", "u:1000:r"], &strange);
    acl(&["-d", "-m", "u:1000:rwx"], &tree.top().join("member"));
    assert_eq!(tree.look().acls.count, 3);

    assert_eq!(tree.own(), Outcome::Applied { changes: 3 });

    assert_eq!(tree.look().acls.count, 0);
    let output = std::process::Command::new("getfacl").arg("-cp").arg(&snap).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("1000"), "{output:?}");
    assert_eq!(tree.own(), Outcome::AlreadyDone);
}

#[test]
fn links_are_never_followed_and_neither_they_nor_their_targets_change() {
    let tree = Tree::new();
    let precious = tree.outside("precious");
    let directory = tree.dir.path().join("outside");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("file"), "precious").unwrap();
    symlink(&precious, tree.top().join("file")).unwrap();
    symlink(&directory, tree.top().join("directory")).unwrap();
    symlink("/nowhere", tree.top().join("dangling")).unwrap();
    symlink(&precious, tree.top().join("foreign")).unwrap();
    lchown(tree.top().join("foreign"), Some(52034), Some(52034)).unwrap();

    tree.own();

    for path in [&precious, &directory, &directory.join("file"), &tree.top().join("file")] {
        assert_eq!(owner(path), ROOT, "{}", path.display());
    }
    let mut odd = tree.look().odd;
    odd.sort_by(|a, b| a.0.cmp(&b.0));
    let target = |path: &Path| path.to_str().unwrap().to_owned();
    assert_eq!(
        odd,
        [
            ("dangling".into(), Oddity::RootLinkOut { target: "/nowhere".into(), dangling: true }),
            (
                "directory".into(),
                Oddity::RootLinkOut { target: target(&directory), dangling: false }
            ),
            ("file".into(), Oddity::RootLinkOut { target: target(&precious), dangling: false }),
            ("foreign".into(), Oddity::ForeignLink { uid: 52034, target: target(&precious) }),
        ]
    );
}

/// What becomes of a link of root's at `member/link`, with some more links around it.
fn link_to(target: &str, mounts: &[&str]) -> Oddity {
    let tree = Tree::new();
    tree.outside("precious");
    let base = tree.dir.path().to_str().unwrap();
    tree.file("member/snap/db");
    fs::create_dir(tree.dir.path().join("disk")).unwrap();
    for (name, to) in [
        ("alias", base.to_owned()),
        ("tree/inner", "member/snap".into()),
        ("tree/outer", "../disk".into()),
        ("tree/there", format!("{base}/disk")),
        ("tree/member/again", "link".into()),
    ] {
        symlink(to, tree.dir.path().join(name)).unwrap();
    }
    let at = |path: &str| path.replace("BASE", base);
    symlink(at(target), tree.top().join("member/link")).unwrap();
    let mounts: Vec<_> = mounts.iter().map(|mount| PathBuf::from(at(mount))).collect();
    let look = Look { mounts: &mounts, ..Look::full(ETCD) };
    let facts = tree::observe(&tree.root, &tree.top(), look, &mut |_, _| {}).unwrap().unwrap();
    let mut odd = facts.odd.into_iter();
    odd.find(|(path, _)| path == Path::new("member/link")).unwrap().1
}

#[test]
fn a_link_that_etcds_pod_can_follow_is_told_from_one_that_it_cannot() {
    for (target, leaves, leads_nowhere) in [
        ("snap", false, false),
        ("./snap/../snap/db", false, false),
        ("../member", false, false),
        ("..", false, false),
        ("BASE/tree/member/snap/db", false, false),
        ("../../tree/member/snap", false, false),
        ("../inner/db", false, false),
        ("/../BASE/tree/inner", false, false),
        ("nothing", false, true),
        ("link", false, true),
        ("again", false, true),
        ("BASE/disk", true, false),
        ("../../disk", true, false),
        ("BASE/nothing", true, true),
        ("../../nothing/else", true, true),
        ("../outer", true, false),
        ("../there", true, false),
        ("BASE/tree/outer/.", true, false),
        ("../..", true, false),
        ("/", true, false),
        ("/dev/null", true, false),
        // The same directory by another path, which the pod does not have.
        ("BASE/alias/tree/member/snap", true, false),
        ("../../disk/../tree/member/snap", true, false),
        ("BASE/tree-other", true, true),
    ] {
        let (out, dangling) = match link_to(target, &[]) {
            Oddity::RootLinkOut { dangling, .. } => (true, dangling),
            Oddity::RootLink { dangling, .. } => (false, dangling),
            other => panic!("{target}: {other:?}"),
        };
        assert_eq!((out, dangling), (leaves, leads_nowhere), "{target}");
    }
}

#[test]
fn a_link_to_what_is_mounted_into_the_pod_besides_is_a_note() {
    let stays =
        |target, mounts: &[&str]| matches!(link_to(target, mounts), Oddity::RootLink { .. });
    assert!(stays("BASE/disk", &["BASE/disk"]));
    assert!(stays("../../disk/wal", &["/x", "BASE/disk"]));
    assert!(stays("../outer", &["BASE/disk"]));
    assert!(!stays("BASE/disk", &["BASE/disk/wal"]), "the way to it is the container's");
    assert!(!stays("BASE/disk-2", &["BASE/disk"]));
}

#[test]
fn a_file_with_another_name_elsewhere_is_never_changed() {
    let tree = Tree::new();
    let precious = tree.outside("precious");
    fs::hard_link(&precious, tree.top().join("planted")).unwrap();
    let right = tree.file("right");
    tree.own();
    fs::hard_link(&right, tree.dir.path().join("backup")).unwrap();

    assert_eq!(tree.own(), Outcome::AlreadyDone);

    assert_eq!(owner(&precious), ROOT);
    let odd = tree.look().odd;
    assert!(odd.contains(&("planted".into(), Oddity::HardlinkedWrong { links: 2, owner: ROOT })));
    assert!(odd.contains(&("right".into(), Oddity::Hardlinked { links: 2 })));
}

/// A mount that goes with the test.
struct Mounted(PathBuf);

impl Mounted {
    fn bind(from: &Path, to: &Path) -> Self {
        let status = std::process::Command::new("mount").arg("--bind").arg(from).arg(to).status();
        assert!(status.unwrap().success());
        Self(to.to_path_buf())
    }
}

impl Mounted {
    fn tmpfs(to: &Path) -> Self {
        let status =
            std::process::Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(to).status();
        assert!(status.unwrap().success());
        Self(to.to_path_buf())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_file_system_of_its_own_that_is_mounted_in_the_tree_is_guarded_like_the_rest() {
    let tree = Tree::new();
    let wal = tree.top().join("wal");
    fs::create_dir(&wal).unwrap();
    let _mounted = Mounted::tmpfs(&wal);
    let segment = tree.file("wal/0.wal");
    tree.file("wal/below/1.wal");

    assert_eq!(tree.own(), Outcome::Applied { changes: 5 });

    assert_eq!((owner(&wal), owner(&segment), mode(&wal)), (ETCD, ETCD, 0o700));
    chown(&segment, Some(0), Some(0)).unwrap();
    let narrow = own(&tree.root, &tree.top(), Path::new("wal/0.wal"));
    assert_eq!(narrow, Outcome::Applied { changes: 1 });
    assert_eq!(tree.look().odd, []);
    // A bind mount of it, inside it, is still one.
    let shown = wal.join("below");
    let elsewhere = tree.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let _bound = Mounted::bind(&elsewhere, &shown);
    assert_eq!(tree.own(), Outcome::AlreadyDone);
    assert_eq!(owner(&elsewhere), ROOT);
    assert_eq!(tree.look().odd, [("wal/below".into(), Oddity::Mount)]);
}

#[test]
fn what_is_bound_in_the_tree_is_not_entered_by_a_whole_walk_nor_by_a_narrow_one() {
    let tree = Tree::new();
    let outside = tree.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("key"), "precious").unwrap();
    let file = tree.outside("file");
    fs::create_dir(tree.top().join("backup")).unwrap();
    let covered = tree.file("covered");
    let _directory = Mounted::bind(&outside, &tree.top().join("backup"));
    let _file = Mounted::bind(&file, &covered);

    tree.own();
    for below in ["backup", "backup/key", "covered"] {
        own(&tree.root, &tree.top(), Path::new(below));
        own_entry(&tree.root, &tree.top(), Path::new(below), ModeRule::EtcdTree);
    }

    for path in [&outside, &outside.join("key"), &file] {
        assert_eq!(owner(path), ROOT, "{}", path.display());
    }
    let mut odd = tree.look().odd;
    odd.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(odd, [("backup".into(), Oddity::Mount), ("covered".into(), Oddity::Mount)]);
}

#[test]
fn a_tree_that_is_being_removed_and_made_again_is_never_unreadable() {
    let tree = Tree::new();
    let stop = Arc::new(AtomicBool::new(false));
    let maker = {
        let (dir, stop) = (tree.top().join("d"), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                fs::create_dir(&dir).unwrap();
                fs::write(dir.join("f"), "x").unwrap();
                fs::remove_dir_all(&dir).unwrap();
            }
        })
    };
    for _ in 0..5000 {
        assert_eq!(tree.look().odd, []);
    }
    stop.store(true, Ordering::Relaxed);
    maker.join().unwrap();
}

#[test]
fn special_files_are_reported_and_left_alone_and_a_fifo_does_not_block() {
    let tree = Tree::new();
    let fifo = tree.top().join("fifo");
    let status = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(status.success());
    let _socket = std::os::unix::net::UnixListener::bind(tree.top().join("socket")).unwrap();
    let device = tree.top().join("null");
    let status = std::process::Command::new("mknod").arg(&device).args(["c", "1", "3"]).status();
    assert!(status.unwrap().success());

    tree.own();

    for path in [&fifo, &device, &tree.top().join("socket")] {
        assert_eq!(owner(path), ROOT, "{}", path.display());
    }
    let mut odd: Vec<_> = tree.look().odd.into_iter().map(|(_, oddity)| oddity).collect();
    odd.sort_by_key(|oddity| format!("{oddity:?}"));
    assert_eq!(
        odd,
        [Oddity::Device, Oddity::Special { kind: "fifo" }, Oddity::Special { kind: "socket" },]
    );
}

#[test]
fn a_chain_of_directories_deeper_than_the_limit_is_not_entered() {
    let tree = Tree::new();
    let mut path = tree.top();
    for _ in 0..walk::DEPTH_LIMIT + 20 {
        path.push("d");
        fs::create_dir(&path).unwrap();
    }
    tree.own();
    assert_eq!(owner(&path), ROOT, "the deepest is out of reach");
    assert_eq!(owner(&tree.top().join("d/d/d")), ETCD);
    let odd = tree.look().odd;
    assert!(matches!(odd[..], [(_, Oddity::TooDeep)]), "{odd:?}");
}

#[test]
fn one_entry_is_owned_without_its_neighbours_and_never_through_a_link() {
    let tree = Tree::new();
    let key = tree.file("server-client.key");
    let other = tree.file("client.key");
    let precious = tree.outside("precious");
    symlink(&precious, tree.top().join("link")).unwrap();
    symlink(tree.dir.path(), tree.top().join("way")).unwrap();
    let own = |below: &str| own_entry(&tree.root, &tree.top(), Path::new(below), ModeRule::TlsKey);
    assert_eq!(own("server-client.key"), Outcome::Applied { changes: 1 });
    assert_eq!(own("link"), Outcome::AlreadyDone);
    assert_eq!(own("way/precious"), Outcome::AlreadyDone, "a link on the way is the end of it");
    assert!(matches!(own("../precious"), Outcome::Failed { .. }));
    assert_eq!(own("missing"), Outcome::AlreadyDone);
    assert_eq!((owner(&key), owner(&other), owner(&precious)), (ETCD, ROOT, ROOT));
}

#[test]
fn a_directory_that_is_swapped_for_a_link_all_the_time_never_leads_outside() {
    let tree = Tree::new();
    let outside = tree.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let precious = outside.join("db");
    fs::write(&precious, "precious").unwrap();
    tree.file("snap/db");
    let link = tree.top().join("link");
    symlink(&outside, &link).unwrap();
    let (snap, stop) = (tree.top().join("snap"), Arc::new(AtomicBool::new(false)));
    let swapper = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let mut swaps = 0u64;
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &snap, rustix::fs::CWD, &link, flags)
                    .unwrap();
                swaps += 1;
            }
            swaps
        })
    };
    let mut passes = 0;
    while passes < 3000 {
        tree.own();
        own(&tree.root, &tree.top(), Path::new("snap/db"));
        own(&tree.root, &tree.top(), Path::new("link/db"));
        passes += 1;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(swapper.join().unwrap() > 1000, "there was a race");
    assert_eq!((owner(&precious), owner(&outside)), (ROOT, ROOT));
}

#[test]
fn a_way_that_somebody_else_can_change_is_named() {
    let tree = Tree::new();
    let base = tree.dir.path();
    set_mode(base, 0o755);
    let etcd = base.join("rke2/server/db/etcd");
    fs::create_dir_all(&etcd).unwrap();
    chown(&etcd, Some(52034), Some(52034)).unwrap();
    assert_eq!(tree.root.unsafe_component(&etcd), None, "the top itself is etcd's");
    set_mode(&base.join("rke2/server"), 0o777);
    let found = tree.root.unsafe_component(&etcd).unwrap();
    assert_eq!(found.0, base.join("rke2/server"));
    assert!(found.1.contains("0777"), "{found:?}");
    set_mode(&base.join("rke2/server"), 0o755);
    chown(base.join("rke2"), Some(1000), None).unwrap();
    let found = tree.root.unsafe_component(&etcd).unwrap();
    assert!(found.1.contains("uid 1000"), "{found:?}");
}

#[test]
fn a_file_alone_that_needs_another_mode_and_is_somewhere_else_too_is_odd() {
    let tree = Tree::new();
    let look = |name: &str, rule| {
        let look = Look { rule, ..Look::full(ETCD) };
        tree::observe_file(&tree.root, &tree.top(), name, look).unwrap().unwrap().oddity
    };
    let key = tree.file("peer-server-client.key");
    chown(&key, Some(ETCD.uid), Some(ETCD.gid)).unwrap();
    set_mode(&key, 0o644);
    fs::hard_link(&key, tree.dir.path().join("another name")).unwrap();
    let wrong = Oddity::HardlinkedWrong { links: 2, owner: ETCD };
    assert_eq!(look("peer-server-client.key", ModeRule::TlsKey), Some(wrong));
    let right = Oddity::Hardlinked { links: 2 };
    assert_eq!(look("peer-server-client.key", ModeRule::TlsCertificate), Some(right));
}

/// What becomes of links of root's among TLS files, by their names: (name, what the link says).
fn tls_links(root: &Root, base: &Path, links: &[(&str, &str)]) -> Vec<Option<Oddity>> {
    let (dir, etcd) = (base.join("d/server/tls/etcd"), base.join("d/server/db/etcd"));
    let inside = |path: &Path| Path::new("/").join(path.strip_prefix(base).unwrap());
    let (dir_inside, given) = match root.is_live() {
        true => (dir.clone(), [etcd]),
        false => (inside(&dir), [inside(&etcd)]),
    };
    let look = Look { rule: ModeRule::TlsKey, given: &given, ..Look::full(ETCD) };
    let looked = links.iter().map(|(name, target)| {
        let _ = fs::remove_file(dir.join(name));
        let target = match root.is_live() {
            true => target.replace("BASE", base.to_str().unwrap()),
            false => target.replace("BASE", ""),
        };
        symlink(target, dir.join(name)).unwrap();
        let looked = tree::observe_file(root, &dir_inside, name, look).unwrap().unwrap();
        fs::remove_file(dir.join(name)).unwrap();
        looked.oddity
    });
    looked.collect()
}

/// Files that are not given to etcd, and some that are.
fn with_tls_files() -> Tree {
    let tree = Tree::new();
    let base = tree.dir.path();
    for dir in ["d/server/tls/etcd", "d/server/db/etcd/member", "opt"] {
        fs::create_dir_all(base.join(dir)).unwrap();
    }
    for file in ["peer-server-client.key", "client.key"] {
        fs::write(base.join("d/server/tls/etcd").join(file), "x").unwrap();
    }
    for file in ["opt/secret", "opt/etcds", "opt/members", "d/server/db/etcd/member/key"] {
        fs::write(base.join(file), "x").unwrap();
    }
    chown(base.join("opt/etcds"), Some(ETCD.uid), Some(ETCD.gid)).unwrap();
    chown(base.join("opt/members"), Some(ETCD.uid), Some(0)).unwrap();
    tree
}

#[test]
fn a_link_in_the_place_of_a_tls_file_is_told_where_it_would_give_away_what_is_not_etcds() {
    let tree = with_tls_files();
    let base = tree.dir.path();
    let key = "server-client.key";
    for root in [Root::host().unwrap(), Root::image(base).unwrap()] {
        for (target, owner, dangling) in [
            ("BASE/opt/secret", Some(ROOT), false),
            ("../../../../opt/secret", Some(ROOT), false),
            // The directory itself: RKE2's chown does not enter it and changes its owner.
            ("BASE/opt", Some(ROOT), false),
            ("BASE/opt/members", Some(Owner { uid: ETCD.uid, gid: 0 }), false),
            // RKE2 leaves this one to root, from the releases on that tell them apart.
            ("client.key", Some(ROOT), false),
            ("BASE/opt/etcds", None, false),
            ("peer-server-client.key", None, false),
            ("BASE/d/server/tls/etcd/peer-server-client.key", None, false),
            ("../../db/etcd/member/key", None, false),
            ("BASE/opt/nothing", None, true),
            (key, None, true),
        ] {
            let got = tls_links(&root, base, &[(key, target)]).remove(0);
            match (got, owner) {
                (Some(Oddity::TlsLink { owner: got, .. }), Some(owner)) => {
                    assert_eq!(got, owner, "{target}");
                }
                (Some(Oddity::RootLink { dangling: got, .. }), None) => {
                    assert_eq!(got, dangling, "{target}");
                }
                (got, _) => panic!("{target}: {got:?}"),
            }
        }
        assert_eq!(owner(&base.join("opt/secret")), ROOT, "a look changes nothing");
    }
}

#[test]
fn in_a_tls_directory_that_is_given_away_whole_links_of_any_name_count() {
    let tree = with_tls_files();
    let base = tree.dir.path();
    let dir = base.join("d/server/tls/etcd");
    for (name, target) in [
        ("client.crt", "/opt/secret"),
        ("note", "client.key"),
        ("gone", "/nowhere"),
        ("server-client.key", "/opt/secret"),
    ] {
        symlink(target, dir.join(name)).unwrap();
    }
    fs::create_dir(dir.join("old")).unwrap();
    symlink("/opt/secret", dir.join("old/x")).unwrap();
    fs::hard_link(dir.join("client.key"), base.join("backup")).unwrap();
    let root = Root::image(base).unwrap();
    let given = ["/d/server/tls/etcd", "/d/server/db/etcd"].map(PathBuf::from);
    let rule = ModeRule::TlsCertificate;
    let look = Look { rule, given: &given, ..Look::full(ETCD) };
    let dir = Path::new("/d/server/tls/etcd");
    let walked = tree::observe(&root, dir, look, &mut |_, _| {}).unwrap().unwrap();
    let rest = nodeguard::controls::etcd_data_dir::tls::rest_of(walked, ETCD);
    let mut odd = rest.odd;
    odd.sort_by(|a, b| a.0.cmp(&b.0));
    let link = || Oddity::TlsLink { target: "/opt/secret".into(), owner: ROOT };
    assert_eq!(
        odd,
        [
            ("client.crt".into(), link()),
            ("client.key".into(), Oddity::HardlinkedWrong { links: 2, owner: ROOT }),
            ("gone".into(), Oddity::RootLink { target: "/nowhere".into(), dangling: true }),
            ("old/x".into(), link()),
        ]
    );
    assert_eq!((rest.wrong_owner.count, rest.odd_worst), (0, None), "the rest is RKE2's own");
}
