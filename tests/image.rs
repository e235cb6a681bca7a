// SPDX-License-Identifier: Apache-2.0
//! Preparing an image with the real program and this machine's real shadow-utils: what the image
//! keeps of its files, what an end half-way leaves, and that this machine's own files are left
//! alone. That nothing leads out of an image is shown for each name that is opened in one by
//! `src/hostile_image.rs`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const ACCOUNTS: [&str; 4] = ["gshadow", "group", "shadow", "passwd"];

struct Image(tempfile::TempDir);

impl Image {
    fn new() -> Self {
        let image = Self(tempfile::tempdir().unwrap());
        for (path, text) in [
            ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
            ("etc/group", "root:x:0:\nusers:x:100:\n"),
            ("etc/shadow", "root:*:19000:0:99999:7:::\n"),
            ("etc/gshadow", "root:*::\nusers:*::\n"),
            ("etc/rancher/rke2/config.yaml", "profile: cis\n"),
        ] {
            image.write(path, text);
        }
        image
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_default()
    }

    fn command(&self, command: &str) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_nodeguard"));
        program.args([command, "--role", "server", "--root"]).arg(self.0.path());
        program
    }

    fn apply(&self) -> Output {
        self.command("apply").output().unwrap()
    }

    /// The line about etcd in a file of the account database.
    fn etcd(&self, file: &str) -> Option<String> {
        let text = self.read(&format!("etc/{file}"));
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("etcd:")).collect();
        assert!(lines.len() <= 1, "{file} has it twice: {text}");
        lines.first().map(|line| (*line).to_owned())
    }

    /// The account as a pass leaves it: all four lines, and the two numbers belong together.
    fn assert_whole(&self, case: &str) {
        let lines = ACCOUNTS
            .map(|file| self.etcd(file).unwrap_or_else(|| panic!("{case}: nothing in {file}")));
        let field = |line: &str, at: usize| line.split(':').nth(at).unwrap().to_owned();
        assert_eq!(field(&lines[3], 3), field(&lines[1], 2), "{case}: {lines:?}");
        assert_eq!(field(&lines[3], 1), "x", "{case}: {lines:?}");
        assert!(field(&lines[2], 1).starts_with('!'), "{case}: the password is locked: {lines:?}");
    }

    fn names_in_etc(&self) -> Vec<String> {
        let entries = fs::read_dir(self.at("etc")).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command in a mount namespace of its own, after `script`.
fn apart(script: &str, command: &Command) -> Output {
    Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec"])
        .arg(format!("{script}; exec \"$@\""))
        .arg("sh")
        .arg(command.get_program())
        .args(command.get_args())
        .output()
        .unwrap()
}

#[test]
fn the_files_keep_their_owner_mode_list_and_labels_and_no_backup_is_made() {
    let image = Image::new();
    let label = "system_u:object_r:shadow_t:s0";
    for (file, mode, gid) in
        [("passwd", 0o644, 0), ("group", 0o664, 7), ("shadow", 0o640, 42), ("gshadow", 0o400, 42)]
    {
        let path = image.at(&format!("etc/{file}"));
        chown(&path, Some(0), Some(gid)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let set = |name: &str, value: &str| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&path, name, value.as_bytes(), flags).is_ok()
        };
        // tmpfs takes no `user.` attribute on older kernels; labels it does.
        assert!(set("security.selinux", label), "{}", path.display());
        set("user.builder", file);
        let given = Command::new("setfacl").args(["-m", "u:4321:r"]).arg(&path).status().unwrap();
        assert!(given.success());
    }
    let facts = || {
        ACCOUNTS.map(|file| {
            let path = image.at(&format!("etc/{file}"));
            let stat = fs::symlink_metadata(&path).unwrap();
            let attribute = |name: &str| {
                let mut value = [0u8; 256];
                let length = rustix::fs::getxattr(&path, name, &mut value[..]).unwrap_or(0);
                value[..length].to_vec()
            };
            let attributes =
                ["security.selinux", "user.builder", "system.posix_acl_access"].map(attribute);
            (file, stat.uid(), stat.gid(), stat.mode(), attributes)
        })
    };
    let (before, names) = (facts(), image.names_in_etc());
    let output = image.apply();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    image.assert_whole("prepared");
    assert_eq!(facts(), before);
    let mut expected = [names, vec!["sysctl.d".into()]].concat();
    expected.sort();
    assert_eq!(image.names_in_etc(), expected, "no backup, no lock, no temporary file");
}

/// The states that an end half-way leaves, by the files that have the new line, in the order in
/// which they are put back; and those of shadow-utils' own order, which a tool in the image may have
/// left.
#[test]
fn whatever_an_end_half_way_leaves_the_next_run_makes_whole() {
    let whole = Image::new();
    assert_eq!(whole.apply().status.code(), Some(0));
    let ours: [&[&str]; 3] = [&["gshadow"], &["gshadow", "group"], &["gshadow", "group", "shadow"]];
    for present in ours {
        let image = Image::new();
        for file in present {
            let path = format!("etc/{file}");
            image.write(&path, &whole.read(&path));
        }
        let output = image.apply();
        assert_eq!(output.status.code(), Some(0), "{present:?}: {}", text(&output.stdout));
        image.assert_whole(&format!("{present:?}"));
    }
    // By themselves, as something else may have left them.
    for file in ["group", "shadow", "gshadow"] {
        let image = Image::new();
        let path = format!("etc/{file}");
        image.write(&path, &whole.read(&path));
        assert_eq!(image.apply().status.code(), Some(0), "{file} alone");
        let check = image.command("check").output().unwrap();
        assert_eq!(check.status.code(), Some(0), "{file} alone");
    }
    // A group without a line in gshadow, for a user that has one: groupadd's half.
    let image = Image::new();
    let user = "etcd:x:450:100:etcd user:/home/etcd:/sbin/nologin\n";
    image.write("etc/passwd", &(image.read("etc/passwd") + user));
    image.write("etc/gshadow", &(image.read("etc/gshadow") + "etcd:!::\n"));
    let output = image.apply();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(image.etcd("group").is_some() && image.etcd("gshadow").is_some());
}

#[test]
fn a_program_that_is_killed_at_any_moment_leaves_what_the_next_run_makes_whole() {
    const KILLS: u32 = 60;
    let time = {
        let begin = std::time::Instant::now();
        assert_eq!(Image::new().apply().status.code(), Some(0));
        begin.elapsed()
    };
    let mut killed = 0;
    for kill in 0..KILLS {
        let image = Image::new();
        let mut child = image
            .command("apply")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        // Anywhere in a run, by the time that one takes.
        let exited = wait_at_most(&mut child, time * kill / KILLS);
        killed += u32::from(!exited);
        let _ = child.kill();
        child.wait().unwrap();
        for file in ACCOUNTS {
            let now = image.read(&format!("etc/{file}"));
            assert!(now.starts_with("root:") && now.ends_with('\n'), "{file} is torn: {now:?}");
        }
        if image.etcd("passwd").is_some() {
            image.assert_whole("passwd comes last");
        }
        let output = image.apply();
        assert_eq!(output.status.code(), Some(0), "kill {kill}: {}", text(&output.stdout));
        image.assert_whole(&format!("kill {kill}"));
        let left: Vec<_> = image
            .names_in_etc()
            .into_iter()
            .filter(|name| {
                name.contains("passwd.") || name.contains("nodeguard") || name.contains("lock")
            })
            .collect();
        assert_eq!(left, [""; 0], "kill {kill} of {pid}");
    }
    assert!(killed > KILLS / 4, "{killed} of {KILLS} were killed before their end");
    println!("{killed} of {KILLS} runs were killed before their end");
}

/// Whether a process has ended by itself.
fn wait_at_most(child: &mut std::process::Child, limit: Duration) -> bool {
    let pid = rustix::process::Pid::from_child(child);
    let end = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    let mut polled = [rustix::event::PollFd::new(&end, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap(),
        tv_nsec: limit.subsec_nanos().into(),
    };
    rustix::event::poll(&mut polled, Some(&limit)).unwrap() > 0
}

#[test]
fn the_image_decides_about_the_numbers_by_whatever_file_its_distribution_has() {
    for (file, text) in [
        ("etc/login.defs", "SYS_UID_MIN 200\nSYS_UID_MAX 250\nSYS_GID_MIN 200\nSYS_GID_MAX 250\n"),
        ("usr/lib/login.defs", ""),
    ] {
        let image = Image::new();
        image.write(file, text);
        if text.is_empty() {
            // As a link inside the image.
            let text = "SYS_UID_MIN 200\nSYS_UID_MAX 250\nSYS_GID_MIN 200\nSYS_GID_MAX 250\n";
            image.write(file, text);
            symlink(format!("/{file}"), image.at("etc/login.defs")).unwrap();
        }
        assert_eq!(image.apply().status.code(), Some(0), "{file}");
        let number = |file, at| -> u32 {
            image.etcd(file).unwrap().split(':').nth(at).unwrap().parse().unwrap()
        };
        assert!((200..=250).contains(&number("passwd", 2)), "{:?}", image.etcd("passwd"));
        assert!((200..=250).contains(&number("group", 2)), "{:?}", image.etcd("group"));
    }
}

#[test]
fn an_image_gets_no_file_of_secrets_that_its_distribution_does_not_have() {
    for (name, absent) in [
        ("busybox has no gshadow", &["etc/gshadow"][..]),
        ("none of both", &["etc/gshadow", "etc/shadow"]),
    ] {
        let image = Image::new();
        for file in absent {
            fs::remove_file(image.at(file)).unwrap();
        }
        assert_eq!(image.apply().status.code(), Some(0), "{name}");
        for file in absent {
            assert!(!image.at(file).exists(), "{name}: {file}");
        }
        let password = image.etcd("passwd").unwrap().split(':').nth(1).unwrap().to_owned();
        assert_eq!(password, if absent.len() == 2 { "!" } else { "x" }, "{name}: locked");
        assert!(image.etcd("group").is_some(), "{name}");
        for file in ["etc/subuid", "etc/subgid", "etc/login.defs"] {
            assert!(!image.at(file).exists(), "{name}: {file}");
        }
    }
    // A system account has no numbers for containers of its own, where others do.
    let image = Image::new();
    let others = "alice:100000:65536\n";
    image.write("etc/subuid", others);
    image.write("etc/subgid", others);
    assert_eq!(image.apply().status.code(), Some(0));
    assert_eq!(
        (image.read("etc/subuid"), image.read("etc/subgid")),
        (others.into(), others.into())
    );
}

#[test]
fn what_this_machine_noted_of_logins_is_left_alone() {
    let image = Image::new();
    let notes = tempfile::tempdir().unwrap();
    // useradd would clear the records of the new account's number: here, of all numbers.
    let full = vec![0x55; 1000 * 300];
    for file in ["lastlog", "faillog"] {
        fs::write(notes.path().join(file), &full).unwrap();
    }
    let script = format!("mount --bind {} /var/log", notes.path().display());
    let output = apart(&script, &image.command("apply"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    image.assert_whole("prepared");
    for file in ["lastlog", "faillog"] {
        assert!(fs::read(notes.path().join(file)).unwrap() == full, "{file} was written to");
    }
}

#[test]
fn where_nothing_private_can_be_made_the_reason_is_told_and_the_image_is_left_alone() {
    let image = Image::new();
    let places = ["/run", "/tmp", "/var/tmp"].into_iter().filter(|place| Path::new(place).is_dir());
    // The image itself is below /tmp.
    let hold = image.0.path().display().to_string();
    let script: String = places
        .map(|place| format!("mount --bind {place} {place}; mount -o remount,bind,ro {place}; "))
        .collect::<String>()
        + &format!(
            "mount -t tmpfs -o mode=755 tmpfs /mnt; cp -a {hold}/. /mnt/; exec \"$1\" apply --role server --root /mnt"
        );
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", &script, "sh"])
        .arg(env!("CARGO_BIN_EXE_nodeguard"))
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(said.contains("no place on this machine for a private copy"), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    assert_eq!(image.etcd("passwd"), None);
    // A number that is no more than suggested is passed over, as by systemd-sysusers.
    for line in ["u etcd 450\n", "u! etcd 0\n", "g etcd 100\nu etcd -\n"] {
        let image = Image::new();
        image.write("usr/lib/sysusers.d/e.conf", line);
        let passwd = image.read("etc/passwd");
        image.write("etc/passwd", &format!("{passwd}other:x:450:100::/:/sbin/nologin\n"));
        let before = image.command("check").output().unwrap();
        assert!(text(&before.stdout).contains("it gets another one"), "{line}: {before:?}");
        let output = image.apply();
        assert_eq!(output.status.code(), Some(0), "{line}: {}", text(&output.stdout));
        image.assert_whole(line);
        let made = image.etcd("passwd").unwrap();
        let uid = made.split(':').nth(2).unwrap();
        assert!(!["0", "450"].contains(&uid), "{line}: {made}");
    }
}

#[test]
fn without_proc_nothing_is_opened_and_that_is_said() {
    let image = Image::new();
    let output =
        apart("umount --lazy /proc || mount -t tmpfs tmpfs /proc", &image.command("check"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("/proc is not mounted here"), "{said}");
}

#[test]
fn a_primary_group_is_set_with_all_else_kept() {
    let image = Image::new();
    let user = "etcd:x:450:100:etcd user:/home/etcd:/sbin/nologin\n";
    image.write("etc/passwd", &(image.read("etc/passwd") + user));
    image.write("etc/group", &(image.read("etc/group") + "etcd:x:451:\n"));
    let path = image.at("etc/passwd");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    chown(&path, Some(0), Some(42)).unwrap();
    assert_eq!(image.apply().status.code(), Some(0));
    assert_eq!(image.etcd("passwd").unwrap(), user.trim().replace(":100:", ":451:"));
    let stat = fs::symlink_metadata(&path).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.gid()), (0o640, 42));
    assert!(!image.names_in_etc().iter().any(|name| name.contains("lock")));
}

/// The findings about a link in etcd's tree.
fn about(image: &Image, link: &str) -> (String, String) {
    let output = image.command("check").arg("--json").output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let controls = report["controls"].as_array().unwrap();
    let findings = controls.iter().flat_map(|control| control["findings"].as_array().unwrap());
    let mut found = findings.filter(|finding| finding["subject"].as_str().unwrap().ends_with(link));
    let finding = found.next().unwrap_or_else(|| panic!("{report:#}"));
    let word = |key: &str| finding[key].as_str().unwrap().to_owned();
    (word("code"), word("message"))
}

#[test]
fn what_a_link_in_an_images_tree_leads_to_is_looked_for_in_the_image() {
    const TREE: &str = "var/lib/rancher/rke2/server/db/etcd";
    let outside = tempfile::tempdir().unwrap();
    let there = outside.path().to_str().unwrap();
    let up = "../".repeat(20);
    // Target, what is made in the image, whether the link leads somewhere on the node.
    let cases: [(String, &str, bool); 12] = [
        ("/fast/wal".into(), "fast/wal", true),
        ("/fast/wal".into(), "", false),
        (there.into(), "", false),
        (there.into(), there.trim_start_matches('/'), true),
        ("/etc/hostname".into(), "", false),
        ("/".into(), "", true),
        (format!("{up}fast/wal"), "fast/wal", true),
        (format!("{up}{there}"), "", false),
        (format!("{up}etc/hostname"), "", false),
        ("../../wal".into(), "var/lib/rancher/rke2/server/db/wal", true),
        ("snap".into(), "", true),
        ("wal".into(), "", false),
    ];
    for (target, made, leads) in cases {
        let image = Image::new();
        for line in [("passwd", "etcd:x:450:451::/:/sbin/nologin"), ("group", "etcd:x:451:")] {
            let path = format!("etc/{}", line.0);
            image.write(&path, &format!("{}{}\n", image.read(&path), line.1));
        }
        fs::create_dir_all(image.at(TREE).join("member/snap")).unwrap();
        fs::create_dir_all(image.at(made)).unwrap();
        // By way of a link of the image's own as well.
        fs::create_dir_all(image.at("srv")).unwrap();
        symlink("/srv/lib", image.at("var/moved")).unwrap();
        fs::rename(image.at("var/lib"), image.at("srv/lib")).unwrap();
        symlink("moved", image.at("var/lib")).unwrap();
        symlink(&target, image.at("srv/lib/rancher/rke2/server/db/etcd/member/link")).unwrap();
        let (code, message) = about(&image, "member/link");
        let dangling = message.contains("does not exist");
        assert_eq!(dangling, !leads, "{target} with {made:?} in it: {code}: {message}");
    }
}

#[test]
fn a_tls_link_in_an_image_to_a_file_of_roots_of_the_image_holds_the_node_and_says_the_way_back() {
    const TLS: &str = "var/lib/rancher/rke2/server/tls/etcd";
    let image = Image::new();
    for line in [("passwd", "etcd:x:450:451::/:/sbin/nologin"), ("group", "etcd:x:451:")] {
        let path = format!("etc/{}", line.0);
        image.write(&path, &format!("{}{}\n", image.read(&path), line.1));
    }
    fs::create_dir_all(image.at(TLS)).unwrap();
    image.write("opt/secret", "precious");
    let key = "server-client.key";
    symlink("/opt/secret", image.at(TLS).join(key)).unwrap();
    symlink("/only/on/the/machine", image.at(TLS).join("peer-ca.crt")).unwrap();
    let (code, message) = about(&image, key);
    assert_eq!(code, "etcd-tls-link", "{message}");
    assert!(message.contains("/opt/secret, which belongs to 0:0"), "{message}");
    assert_eq!(about(&image, "peer-ca.crt").0, "etcd-link-dangling");

    image.apply();
    let owner = |path: &str| fs::metadata(image.at(path)).unwrap().uid();
    assert_eq!(owner("opt/secret"), 0);

    // Without a profile RKE2 gives nothing away.
    image.write("etc/rancher/rke2/config.yaml", "write-kubeconfig-mode: \"0600\"\n");
    let output = image.command("check").output().unwrap();
    assert!(!text(&output.stdout).contains("etcd-tls-link"), "{output:?}");
}

#[test]
fn ranges_of_numbers_that_the_tools_write_beside_are_refused_before_they_run() {
    for (file, setting) in [
        ("etc/login.defs", "UID_MIN 0"),
        ("etc/login.defs", "SYS_UID_MAX 4294967295"),
        ("etc/login.defs", "SYS_GID_MAX 0xffffffff"),
        ("etc/login.defs.d/a.defs", "GID_MIN 0"),
    ] {
        let image = Image::new();
        image.write(file, &format!("# ours\n{setting}\n"));
        let before = ACCOUNTS.map(|file| image.read(&format!("etc/{file}")));
        let output = image.apply();
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(78), "{setting}: {told}");
        let key = setting.split(' ').next().unwrap();
        assert!(told.contains(&format!("in the image: /{file}:2: {key} is ")), "{told}");
        assert!(told.contains("correct line 2 or take it away"), "{told}");
        assert!(!told.contains("signal"), "{setting}: a tool was run and crashed: {told}");
        assert_eq!(ACCOUNTS.map(|file| image.read(&format!("etc/{file}"))), before);
        image.write(file, "SYS_UID_MAX 700\nSYS_GID_MAX 600\n");
        let output = image.apply();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        image.assert_whole(setting);
    }
}

#[test]
fn a_link_to_this_machines_own_root_is_no_image() {
    let image = Image::new();
    let link = image.at("link");
    symlink("/", &link).unwrap();
    // Where nothing could be changed, should it be tried.
    let mut command = Command::new(env!("CARGO_BIN_EXE_nodeguard"));
    command.args(["apply", "--role", "server", "--root"]).arg(&link);
    let output = apart("mount -t tmpfs none /etc", &command);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("this machine's own root directory"), "{output:?}");
}

/// Numbers for the account that sysusers.d(5) or a user record names come before whatever is free.
#[test]
fn numbers_that_are_named_for_the_account_are_given_to_it() {
    let record = "{\"userName\":\"etcd\",\"uid\":52034,\"gid\":52035,\"disposition\":\"system\"}";
    let group = "{\"groupName\":\"etcd\",\"gid\":52035}";
    for (what, files, numbers) in [
        ("a user's", vec![("usr/lib/sysusers.d/e.conf", "u etcd 52034\n")], ("52034", "52034")),
        (
            "a locked user's with a group",
            vec![("etc/sysusers.d/e.conf", "g etcd 52035\nu! etcd 52034:52035 \"etcd\"\n")],
            ("52034", "52035"),
        ),
        ("a group's", vec![("run/sysusers.d/e.conf", "g etcd 52035\n")], ("", "52035")),
        (
            "a record's",
            vec![("usr/lib/userdb/etcd.user", record), ("usr/lib/userdb/etcd.group", group)],
            ("52034", "52035"),
        ),
    ] {
        let image = Image::new();
        files.iter().for_each(|(path, text)| image.write(path, text));
        let output = image.apply();
        assert_eq!(output.status.code(), Some(0), "{what}: {}", text(&output.stdout));
        image.assert_whole(what);
        let fields = |file: &str| -> Vec<String> {
            image.etcd(file).unwrap().split(':').map(str::to_owned).collect()
        };
        let (uid, gid) = numbers;
        assert!(uid.is_empty() || fields("passwd")[2] == uid, "{what}: {:?}", fields("passwd"));
        assert_eq!(fields("group")[2], gid, "{what}");
    }
    // Somebody has it: that is told, and no other number is taken.
    let image = Image::new();
    image.write("usr/lib/sysusers.d/e.conf", "# etcd's\nu etcd 100:100\n");
    let output = image.apply();
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stdout));
    let words = text(&output.stdout);
    assert!(words.contains("/usr/lib/sysusers.d/e.conf:2 names gid 100 for it"), "{words}");
    assert!(words.contains("group users's (/etc/group:2)"), "{words}");
    assert_eq!(image.etcd("passwd"), None);
}
