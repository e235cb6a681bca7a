// SPDX-License-Identifier: Apache-2.0
//! An image's builder as an attacker: in the place of each name that is opened in an image stands a
//! link that leads out of it, a device, a fifo, and whatever else is no file. The names are those
//! that were really opened, so that a new one is attacked from its first day.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, mpsc};
    use std::time::Duration;

    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use rustix::fs::{CWD, FileType, Mode as Bits, makedev, mknodat};

    use crate::engine::{Engine, Mode};
    use crate::model::{Finding, Role};
    use crate::render;
    use crate::system::root::{Root, opened};

    /// A pass that waits for something would take longer: for a lock ten seconds, for the other end
    /// of a fifo for ever.
    const LIMIT: Duration = Duration::from_secs(8);

    const DATA: &str = "var/lib/rancher/rke2";

    /// A server's image with one of everything.
    const FILES: [(&str, &str); 40] = [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
        ("etc/group", "root:x:0:\nusers:x:100:\n"),
        ("etc/shadow", "root:*:19000:0:99999:7:::\n"),
        ("etc/gshadow", "root:*::\nusers:*::\n"),
        ("etc/subuid", "alice:100000:65536\n"),
        ("etc/subgid", "alice:100000:65536\n"),
        ("etc/login.defs", "SYS_UID_MAX 900\nSYS_GID_MAX 900\n"),
        ("etc/login.defs.d/a.defs", "SYS_UID_MAX 900\n"),
        ("etc/default/useradd", "SHELL=/bin/sh\n"),
        ("etc/nsswitch.conf", "passwd: files sss\n"),
        ("usr/etc/login.defs", "SYS_UID_MAX 900\n"),
        ("usr/etc/default/useradd", "SHELL=/bin/sh\n"),
        ("usr/lib/passwd", "daemon:x:1:1::/:/sbin/nologin\n"),
        ("usr/lib/group", "daemon:x:1:\n"),
        ("etc/userdb/alice.user", "{}"),
        ("etc/rancher/rke2/config.yaml", "profile: cis\n"),
        ("etc/rancher/rke2/config.yaml.d/a.yaml", "selinux: true\n"),
        (
            "usr/lib/systemd/system/rke2-server.service",
            "[Service]\nEnvironmentFile=-/etc/default/rke2-server\nEnvironmentFile=-/etc/more/*.env\n\
             ExecStart=/usr/local/bin/rke2 server\n[Install]\nWantedBy=multi-user.target\n",
        ),
        ("usr/lib/systemd/system/rke2-server.service.d/a.conf", "[Service]\nEnvironment=A=1\n"),
        ("usr/lib/systemd/system/service.d/a.conf", "[Service]\nEnvironment=B=1\n"),
        ("etc/systemd/system.conf", "[Manager]\n"),
        ("etc/systemd/system.conf.d/a.conf", "[Manager]\n"),
        ("etc/default/rke2-server", "C=1\n"),
        ("etc/more/a.env", "D=1\n"),
        ("usr/local/bin/rke2", ""),
        ("usr/local/share/rke2/rke2-cis-sysctl.conf", "vm.panic_on_oom=0\n"),
        ("etc/sysctl.d/99-a.conf", "kernel.panic = 5\n"),
        ("run/sysctl.d/a.conf", "vm.swappiness = 1\n"),
        ("usr/local/lib/sysctl.d/a.conf", "vm.swappiness = 1\n"),
        ("usr/lib/sysctl.d/a.conf", "vm.swappiness = 1\n"),
        ("lib/sysctl.d/b.conf", "vm.swappiness = 1\n"),
        ("etc/sysctl.conf", "vm.swappiness = 1\n"),
        ("etc/tuned/active_profile", "mine\n"),
        ("etc/tuned/tuned-main.conf", "reapply_sysctl = 1\n"),
        ("etc/tuned/mine/tuned.conf", "[main]\ninclude=base\n"),
        ("usr/lib/tuned/base/tuned.conf", "[sysctl]\nvm.swappiness=1\n"),
        ("etc/nodeguard/nodeguard.toml", "poll-interval = '9s'\n"),
        ("etc/nodeguard/nodeguard.toml.d/a.toml", "attribution = false\n"),
        ("usr/lib/nodeguard/nodeguard.toml", ""),
        ("usr/sbin/nologin", ""),
    ];

    /// What is in a data directory that came with the image.
    const TREE: [&str; 5] = [
        "server/db/etcd/member/snap/db",
        "server/db/etcd/member/wal/0.wal",
        "server/db/etcd/name",
        "server/tls/etcd/server-client.key",
        "data/v1.34.1-rke2r1-0123456789ab/bin/kubelet",
    ];

    /// What shadow-utils open by themselves beside a file.
    const BESIDE: [&str; 4] = ["-", "+", ".lock", ""];
    /// Names that have a part in making the account and the drop-in.
    const PARTS: [&str; 6] = [
        "etc",
        "usr",
        "/etc/login.defs",
        "/etc/default/useradd",
        "/usr/etc/login.defs",
        "/etc/sysctl.d/60-rke2-cis.conf",
    ];
    const DROP_IN: &str = "vm.panic_on_oom=0\nvm.overcommit_memory=1\nkernel.panic=10\n\
                           kernel.panic_on_oops=1\nfs.protected_hardlinks=1\n";
    const ACCOUNTS: [&str; 6] = ["passwd", "group", "shadow", "gshadow", "subuid", "subgid"];

    fn make(image: &Path, prepared: bool) {
        let write = |path: &str, text: &str| {
            let path = image.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (path, text) in FILES {
            write(path, text);
        }
        for path in TREE {
            write(&format!("{DATA}/{path}"), "data");
        }
        let wants = image.join("etc/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants).unwrap();
        let unit = "/usr/lib/systemd/system/rke2-server.service";
        symlink(unit, wants.join("rke2-server.service")).unwrap();
        if prepared {
            write("etc/sysctl.d/60-rke2-cis.conf", DROP_IN);
            let line = "root:x:0:0:root:/root:/bin/bash\netcd:x:555:555:etcd user:/home/etcd:/sbin/nologin\n";
            write("etc/passwd", line);
            write("etc/group", "root:x:0:\netcd:x:555:\n");
        }
    }

    /// What is put in a name's place.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Kind {
        LinkToFile,
        LinkToDirectory,
        RelativeLink,
        DanglingLink,
        Loop,
        Fifo,
        Device,
        BlockDevice,
        Socket,
        Directory,
        /// A terabyte that takes no room.
        Sparse,
    }

    const KINDS: [Kind; 11] = [
        Kind::LinkToFile,
        Kind::LinkToDirectory,
        Kind::RelativeLink,
        Kind::DanglingLink,
        Kind::Loop,
        Kind::Fifo,
        Kind::Device,
        Kind::BlockDevice,
        Kind::Socket,
        Kind::Directory,
        Kind::Sparse,
    ];

    fn plant(kind: Kind, path: &Path, outside: &Path) {
        match fs::symlink_metadata(path) {
            Ok(stat) if stat.is_dir() => fs::remove_dir_all(path).unwrap(),
            Ok(_) => fs::remove_file(path).unwrap(),
            Err(_) => fs::create_dir_all(path.parent().unwrap()).unwrap(),
        }
        let node = |kind, device| mknodat(CWD, path, kind, Bits::from_raw_mode(0o644), device);
        match kind {
            Kind::LinkToFile => symlink(outside.join("file"), path).unwrap(),
            Kind::LinkToDirectory => symlink(outside, path).unwrap(),
            Kind::RelativeLink => {
                let up = "../".repeat(30);
                let target = outside.join("file");
                let target = target.strip_prefix("/").unwrap();
                symlink(Path::new(&up).join(target), path).unwrap();
            }
            Kind::DanglingLink => symlink(outside.join("none"), path).unwrap(),
            Kind::Loop => symlink(path.file_name().unwrap(), path).unwrap(),
            Kind::Fifo => node(FileType::Fifo, 0).unwrap(),
            // /dev/zero: to open it does nothing, and to read it does not end.
            Kind::Device => node(FileType::CharacterDevice, makedev(1, 5)).unwrap(),
            // A floppy drive: a motor would start.
            Kind::BlockDevice => node(FileType::BlockDevice, makedev(2, 0)).unwrap(),
            Kind::Socket => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
            Kind::Directory => fs::create_dir(path).unwrap(),
            Kind::Sparse => fs::File::create(path).unwrap().set_len(1 << 40).unwrap(),
        }
    }

    /// Everything below a directory that a write to it would change.
    fn state(dir: &Path) -> Vec<String> {
        let mut out = Vec::new();
        let mut pending = vec![dir.to_path_buf()];
        while let Some(path) = pending.pop() {
            let stat = fs::symlink_metadata(&path).unwrap();
            let content = if stat.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let times = (stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec());
            out.push(format!(
                "{path:?} {} {} {:o} {} {} {times:?} {content:?}",
                stat.dev(),
                stat.ino(),
                stat.mode(),
                stat.uid(),
                stat.gid(),
            ));
            if stat.is_dir() {
                pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        out.sort();
        out
    }

    /// Sees whether something is opened, without opening it.
    struct Watch(rustix::fd::OwnedFd);

    impl Watch {
        fn on(paths: &[&Path]) -> Self {
            let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
            let flags = WatchFlags::OPEN
                | WatchFlags::ACCESS
                | WatchFlags::MODIFY
                | WatchFlags::CREATE
                | WatchFlags::MOVE
                | WatchFlags::DELETE
                | WatchFlags::DONT_FOLLOW;
            for path in paths {
                inotify::add_watch(&fd, *path, flags).unwrap();
            }
            Self(fd)
        }

        fn saw_nothing(&self) -> bool {
            rustix::io::read(&self.0, &mut [0u8; 4096]) == Err(rustix::io::Errno::AGAIN)
        }
    }

    fn pass(image: &Path, mode: Mode) -> (Vec<Finding>, String) {
        let root = Root::image(image).unwrap();
        let pass = Engine::new(root, Some(Role::Server)).pass(mode, &mut |_, _| {});
        let findings = pass.report.controls.iter().flat_map(|control| control.findings.clone());
        (findings.collect(), render::json(&pass.report))
    }

    /// Every name that is opened in an image, and every one on the way to it.
    fn names() -> BTreeSet<PathBuf> {
        opened::take();
        for prepared in [false, true] {
            let image = tempfile::tempdir().unwrap();
            make(image.path(), prepared);
            pass(image.path(), Mode::Check);
            pass(image.path(), Mode::Apply);
        }
        let mut names = opened::take();
        assert!(names.len() > 100, "they were recorded: {}", names.len());
        for known in ["/etc/shadow", "/etc/gshadow", "/etc/login.defs", "/etc/passwd.lock"] {
            assert!(names.contains(Path::new(known)), "{known} is opened");
        }
        names.extend(FILES.map(|(path, _)| Path::new("/").join(path)));
        names.extend(TREE.map(|path| Path::new("/").join(DATA).join(path)));
        for file in ACCOUNTS {
            names.extend(BESIDE.map(|end| PathBuf::from(format!("/etc/{file}{end}"))));
        }
        let on_the_way: Vec<_> =
            names.iter().flat_map(|path| path.ancestors().skip(1)).map(Path::to_path_buf).collect();
        names.extend(on_the_way);
        names.retain(|path| path.parent().is_some() && !path.starts_with("/proc"));
        names
    }

    /// An image, and beside it what must not be touched.
    struct Case {
        dir: tempfile::TempDir,
        outside_before: Vec<String>,
    }

    impl Case {
        fn new(prepared: bool) -> Self {
            let dir = tempfile::tempdir().unwrap();
            make(&dir.path().join("image"), prepared);
            let outside = dir.path().join("outside");
            fs::create_dir_all(outside.join("member")).unwrap();
            // What would be believed, and what would be changed.
            fs::write(outside.join("file"), "etcd:x:555:555:etcd user:/:/sbin/nologin\n").unwrap();
            fs::write(outside.join("etcd.conf"), "kernel.panic = 5\n").unwrap();
            let mode = fs::Permissions::from_mode(0o640);
            fs::set_permissions(outside.join("file"), mode).unwrap();
            Self { outside_before: state(&outside), dir }
        }

        fn at(&self, path: &str) -> PathBuf {
            self.dir.path().join(path)
        }
    }

    /// Whether the name has no part in making the account and the drop-in: then nothing is left to be
    /// made, the image stays as it is, and the next case can have it.
    fn is_apart(name: &Path) -> bool {
        let of_an_account =
            |file: &&str| name.starts_with("/etc") && last_of(name).starts_with(*file);
        !PARTS.iter().any(|part| name.starts_with(part) || *part == last_of(name))
            && !ACCOUNTS.iter().any(of_an_account)
    }

    fn attack(prepared: &Case, name: &Path, kind: Kind) {
        if !is_apart(name) {
            return attack_in(&Case::new(false), name, kind);
        }
        let planted = prepared.at("image").join(name.strip_prefix("/").unwrap());
        let stash = prepared.at("stash");
        let was_there = fs::rename(&planted, &stash).is_ok();
        attack_in(prepared, name, kind);
        match fs::symlink_metadata(&planted) {
            Ok(stat) if stat.is_dir() => fs::remove_dir_all(&planted).unwrap(),
            _ => fs::remove_file(&planted).unwrap(),
        }
        if was_there {
            fs::rename(&stash, &planted).unwrap();
        }
    }

    fn attack_in(there: &Case, name: &Path, kind: Kind) {
        let case = format!("{} is {kind:?}", name.display());
        let below = name.strip_prefix("/").unwrap();
        let (image, outside) = (there.at("image"), there.at("outside"));
        let before = &there.outside_before;
        let planted = image.join(below);
        plant(kind, &planted, &outside);
        let (file, member) = (outside.join("file"), outside.join("member"));
        let mut watched = vec![outside.as_path(), &file, &member];
        if matches!(kind, Kind::Fifo | Kind::Device | Kind::BlockDevice | Kind::Socket) {
            watched.push(&planted);
        }
        let watch = Watch::on(&watched);

        let (sender, receiver) = mpsc::channel();
        let at = image.clone();
        std::thread::spawn(move || {
            let _ = sender.send(pass(&at, Mode::Apply));
        });
        let seen = receiver.recv_timeout(LIMIT);
        let (findings, json) = seen.unwrap_or_else(|e| panic!("{case}: no end: {e}"));
        assert!(watch.saw_nothing(), "{case}: something was opened that must not be");
        assert_eq!(&state(&outside), before, "{case}");
        assert!(!json.contains("nodeguard-image."), "{case}: our own directory: {json}");
        let made = |file: &str| {
            let path = image.join(file);
            let small = |stat: fs::Metadata| stat.is_file() && stat.len() < 1 << 20;
            let text =
                fs::symlink_metadata(&path).is_ok_and(small).then(|| fs::read_to_string(path));
            let text = text.transpose().unwrap().unwrap_or_default();
            text.lines().any(|line| line.starts_with("etcd:"))
        };
        if kind != Kind::Sparse && !(made("etc/passwd") && made("etc/group")) {
            let last = below.file_name().unwrap().to_str().unwrap();
            let said = findings.iter().any(|finding| finding.message.contains(last));
            assert!(said, "{case}: no account, and the reason is not told: {findings:#?}");
        }
        let left = fs::read_dir(image.join("etc")).into_iter().flatten().flatten();
        let left: Vec<_> = left
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|left| left.contains("nodeguard.") || left.ends_with(".lock"))
            .filter(|left| last_of(name) != *left)
            .collect();
        assert_eq!(left, [""; 0], "{case}: left behind");
    }

    fn last_of(path: &Path) -> String {
        path.file_name().unwrap().to_string_lossy().into_owned()
    }

    #[test]
    fn whatever_stands_in_a_names_place_nothing_outside_is_touched_and_nothing_waits() {
        let names = names();
        let cases: Vec<_> =
            names.iter().flat_map(|name| KINDS.map(|kind| (name.clone(), kind))).collect();
        println!("{} names, {} cases", names.len(), cases.len());
        let begin = std::time::Instant::now();
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut prepared = Case::new(true);
                    while let Some((name, kind)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let attack =
                            std::panic::AssertUnwindSafe(|| attack(&prepared, name, *kind));
                        if std::panic::catch_unwind(attack).is_err() {
                            prepared = Case::new(true);
                            failed.lock().unwrap().push(format!("{} {kind:?}", name.display()));
                        }
                    }
                });
            }
        });
        println!("took {:?}", begin.elapsed());
        assert_eq!(failed.into_inner().unwrap(), Vec::<String>::new());
    }
}
