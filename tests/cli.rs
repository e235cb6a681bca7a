// SPDX-License-Identifier: Apache-2.0
//! The real program on a root directory: what it prints, what it changes, how it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

/// An unpacked image.
struct Image(tempfile::TempDir);

impl Image {
    fn new(files: &[(&str, &str)]) -> Self {
        let image = Self(tempfile::tempdir().unwrap());
        image.write("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n");
        image.write("etc/group", "root:x:0:\nusers:x:100:\n");
        image.write("etc/shadow", "root:*:19000:0:99999:7:::\n");
        for (path, text) in files {
            image.write(path, text);
        }
        image
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.path().join(path)).unwrap_or_default()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let root = self.0.path().to_str().unwrap();
        nodeguard(&[arguments, &["--root", root]].concat())
    }

    fn check(&self) -> (Option<i32>, serde_json::Value) {
        let output = self.run(&["check", "--json", "--role", "server"]);
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
    }
}

fn nodeguard(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nodeguard")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Code, origin and message of each finding.
fn findings(report: &serde_json::Value) -> Vec<(String, String, String)> {
    let mut out = Vec::new();
    for control in report["controls"].as_array().unwrap() {
        for finding in control["findings"].as_array().unwrap() {
            let origin = &finding["origin"];
            let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let origin = format!("{}:{}", word(&origin["file"]), origin["line"]);
            out.push((word(&finding["code"]), origin, word(&finding["message"])));
        }
    }
    out
}

#[test]
fn an_image_is_judged_then_made_right_then_found_right() {
    let image = Image::new(&[("etc/rancher/rke2/config.yaml", "profile: cis\n")]);
    let (code, report) = image.check();
    assert_eq!(code, Some(2), "{report}");
    let codes: Vec<_> = findings(&report).into_iter().map(|f| f.0).collect();
    assert_eq!(codes, ["sysctl-dropin", "etcd-user-missing"]);
    assert_eq!(image.read("etc/sysctl.d/60-rke2-cis.conf"), "", "check changes nothing");

    let output = image.run(&["apply", "--role", "server"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(image.read("etc/sysctl.d/60-rke2-cis.conf").contains("vm.overcommit_memory=1\n"));
    assert!(image.read("etc/passwd").contains("\netcd:x:"));
    assert!(image.read("etc/group").contains("\netcd:"));

    let (code, report) = image.check();
    assert_eq!((code, findings(&report)), (Some(0), vec![]));
}

#[test]
fn each_half_made_account_is_completed_by_the_real_tools_and_keeps_its_ids() {
    let cis = ("etc/rancher/rke2/config.yaml", "profile: cis\n");
    let only_group = Image::new(&[cis, ("etc/group", "root:x:0:\netcd:x:777:\n")]);
    assert_eq!(only_group.run(&["apply", "--role", "server"]).status.code(), Some(0));
    let passwd = only_group.read("etc/passwd");
    let line = passwd.lines().find(|l| l.starts_with("etcd:")).unwrap();
    assert_eq!(line.split(':').nth(3), Some("777"), "{line}");

    let passwd =
        "root:x:0:0:root:/root:/bin/bash\netcd:x:555:100:etcd user:/home/etcd:/sbin/nologin\n";
    let only_user = Image::new(&[cis, ("etc/passwd", passwd)]);
    let output = only_user.run(&["apply", "--role", "server"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let group = only_user.read("etc/group");
    let gid = group.lines().find(|l| l.starts_with("etcd:")).unwrap().split(':').nth(2).unwrap();
    let passwd = only_user.read("etc/passwd");
    let line = passwd.lines().find(|l| l.starts_with("etcd:")).unwrap();
    let fields: Vec<_> = line.split(':').collect();
    assert_eq!((fields[2], fields[3]), ("555", gid), "uid kept, primary group etcd: {line}");
}

#[test]
fn every_bad_configuration_is_fatal_in_rke2s_words_with_file_and_line() {
    let config = "etc/rancher/rke2/config.yaml";
    /// Code, files, where, words.
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a str);
    let rows: [Row<'_>; 4] = [
        (
            "profile-invalid",
            &[(config, "# one\nprofile: cis-1.99\n")],
            "/etc/rancher/rke2/config.yaml:2",
            "invalid value provided for --profile flag",
        ),
        (
            "protect-kernel-defaults-conflict",
            &[(config, "profile: cis\nprotect-kernel-defaults: false\n")],
            "/etc/rancher/rke2/config.yaml:2",
            "--protect-kernel-defaults must be true when using --profile=cis",
        ),
        (
            "config-invalid",
            &[(config, "profile: cis\n"), ("etc/rancher/rke2/config.yaml.d/x.YML", "a: [\n")],
            "/etc/rancher/rke2/config.yaml.d/x.YML:",
            "yaml",
        ),
        (
            "protect-kernel-defaults-conflict",
            &[
                (config, "profile: cis\n"),
                (
                    "etc/rancher/rke2/config.yaml.d/50-rancher.yaml",
                    "{\n \"protect-kernel-defaults\": false\n}",
                ),
            ],
            "/etc/rancher/rke2/config.yaml.d/50-rancher.yaml:2",
            "--protect-kernel-defaults must be true",
        ),
    ];
    for (wanted, files, origin, words) in rows {
        let image = Image::new(files);
        let (code, report) = image.check();
        assert_eq!(code, Some(78), "{report}");
        let found = findings(&report);
        let row = found.iter().find(|f| f.0 == wanted).unwrap_or_else(|| panic!("{found:?}"));
        assert!(row.1.starts_with(origin), "{row:?}");
        assert!(row.2.contains(words), "{row:?}");
    }
}

#[test]
fn a_file_that_rke2_does_not_read_is_not_read() {
    let image = Image::new(&[
        ("etc/rancher/rke2/config.yaml", "profile: cis\n"),
        ("etc/rancher/rke2/config.yaml.d/x.yaml.bak", "a: [\n"),
    ]);
    assert_eq!(image.run(&["apply", "--role", "server"]).status.code(), Some(0));
}

#[test]
fn a_server_without_a_profile_wants_attention_and_an_agent_needs_no_account() {
    let image = Image::new(&[]);
    let output = image.run(&["apply", "--role", "server"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("not running in CIS mode"), "{}", text(&output.stdout));
    let agent = Image::new(&[("etc/rancher/rke2/config.yaml", "profile: cis\n")]);
    assert_eq!(agent.run(&["apply", "--role", "agent"]).status.code(), Some(0));
    assert!(!agent.read("etc/passwd").contains("etcd"));
}

/// Runs the program where the image is read-only, in a mount namespace of its own.
fn read_only(image: &Image, command: &str) -> Output {
    let script = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" &&
        exec "$2" "$3" --json --role server --root "$1""#;
    Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(image.0.path())
        .args([env!("CARGO_BIN_EXE_nodeguard"), command])
        .output()
        .unwrap()
}

#[test]
fn a_read_only_image_is_judged_and_apply_says_why_it_cannot_mend_it() {
    let image = Image::new(&[("etc/rancher/rke2/config.yaml", "profile: cis\n")]);
    let report = |output: &Output| serde_json::from_slice(&output.stdout).unwrap();
    let output = read_only(&image, "check");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let codes: Vec<_> = findings(&report(&output)).into_iter().map(|f| f.0).collect();
    assert_eq!(codes, ["sysctl-dropin", "etcd-user-missing"]);
    let output = read_only(&image, "apply");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    for (code, _, message) in findings(&report(&output)) {
        assert!(message.to_lowercase().contains("read-only file system"), "{code}: {message}");
    }
    assert_eq!(image.run(&["apply", "--role", "server"]).status.code(), Some(0));
    assert_eq!(read_only(&image, "check").status.code(), Some(0));
}

#[test]
fn preparing_an_image_leaves_this_machine_its_bus_and_its_kernel_alone() {
    let image = Image::new(&[("etc/rancher/rke2/config.yaml", "profile: cis\n")]);
    let bus = tempfile::tempdir().unwrap();
    let socket = bus.path().join("bus");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let keys = ["kernel/panic", "vm/overcommit_memory", "vm/panic_on_oom"];
    let live = || keys.map(|key| fs::read_to_string(Path::new("/proc/sys").join(key)).unwrap());
    let accounts = || ["/etc/passwd", "/etc/group"].map(|file| fs::read_to_string(file).unwrap());
    let before = (live(), accounts());
    let output = Command::new(env!("CARGO_BIN_EXE_nodeguard"))
        .args(["apply", "--role", "server", "--root"])
        .arg(image.0.path())
        .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", socket.display()))
        .env("NOTIFY_SOCKET", &socket)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(listener.accept().is_err(), "nobody called the bus");
    assert_eq!((live(), accounts()), before);
    let made: Vec<_> =
        fs::read_dir(image.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(made, ["etc"], "neither /run nor /var was made in it");
    let locks = fs::read_dir(image.0.path().join("etc")).unwrap();
    let locks =
        locks.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "lock"));
    assert_eq!(locks.count(), 0);
}

#[test]
fn links_in_an_image_never_lead_out_of_it() {
    let image = Image::new(&[]);
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir_all(image.0.path().join("etc")).unwrap();
    std::os::unix::fs::symlink(outside.path(), image.0.path().join("etc/sysctl.d")).unwrap();
    let output = image.run(&["apply", "--role", "agent"]);
    assert_ne!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

const OWN: &str = "etc/nodeguard/nodeguard.toml";

#[test]
fn an_image_in_report_mode_is_judged_and_not_made_right() {
    let image = Image::new(&[
        ("etc/rancher/rke2/config.yaml", "profile: cis\n"),
        ("etc/nodeguard/nodeguard.toml.d/10-report.toml", "mode = 'report'\n"),
    ]);
    let output = image.run(&["apply", "--role", "server"]);
    assert_eq!(output.status.code(), Some(2), "the judgement's: {}", text(&output.stdout));
    let said = text(&output.stderr);
    assert!(said.contains("10-report.toml:1): nothing was changed"), "{said}");
    let told = text(&output.stdout);
    let would = "report mode: 2 things would have been corrected, and RKE2 would have been started";
    assert!(told.contains(would) && !told.contains("nodeguard apply"), "{told}");
    assert_eq!(image.read("etc/sysctl.d/60-rke2-cis.conf"), "");
    assert!(!image.read("etc/passwd").contains("etcd"));
    image.write("etc/fstab", "/dev/sdb1 /var/lib/rancher/rke2 ext4 defaults 0 2\n");
    let mounts = image.run(&["mounts", "rke2-server"]);
    assert_eq!((mounts.status.code(), text(&mounts.stdout).as_str()), (Some(0), ""));
    image.write("etc/nodeguard/nodeguard.toml.d/10-report.toml", "mode = 'enforce'\n");
    let mounts = text(&image.run(&["mounts", "rke2-server"]).stdout);
    assert!(mounts.contains("Wants=var-lib-rancher-rke2.mount"), "{mounts}");
    fs::remove_file(image.0.path().join("etc/fstab")).unwrap();
    assert_eq!(image.run(&["apply", "--role", "server"]).status.code(), Some(0));
    assert!(image.read("etc/passwd").contains("\netcd:x:"));
}

#[test]
fn a_demoted_code_is_a_warning_and_the_exit_code_is_that_of_the_rest() {
    let image = Image::new(&[("etc/rancher/rke2/config.yaml", "profile: cis-1.99\n")]);
    assert_eq!(image.check().0, Some(78));
    image.write(OWN, "[gate]\nwarn = ['profile-invalid']\n");
    let (code, report) = image.check();
    assert_eq!((code, &report["state"]), (Some(2), &"degraded".into()));
    let told = findings(&report).into_iter().find(|f| f.0 == "profile-invalid").unwrap();
    let by = " (fatal, and demoted to a warning by /etc/nodeguard/nodeguard.toml:2)";
    assert!(told.2.ends_with(by), "{told:?}");
    image.write(OWN, "[gate]\nwarn = ['profile-invalit', 'etcd-home']\n");
    assert_eq!(image.check().0, Some(78));
    let output = image.run(&["config"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(
        said.contains("unknown code profile-invalit in gate.warn, did you mean profile-invalid?")
    );
    assert!(said.contains("what is named here is left out, and all else is in force"), "{said}");
}

#[test]
fn an_account_file_that_rke2_reads_and_we_do_not_is_no_reason_to_shut_the_gate() {
    let passwd = "root:x:0:0:root:/root:/bin/bash\netcd:x:997:996::/:/sbin/nologin\n";
    let cis = ("etc/rancher/rke2/config.yaml", "profile: cis\n");
    let image =
        Image::new(&[cis, ("etc/passwd", passwd), ("etc/group", "root:x:0:\netcd:x:996:\n")]);
    let of = |image: &Image| {
        let (code, report) = image.check();
        let told = findings(&report).into_iter().map(|f| f.0);
        (code, told.filter(|code| code == "account-database-unreadable").count())
    };
    assert_eq!(of(&image), (Some(2), 0));
    image.write("etc/passwd", &format!("{passwd}#{}\n", "x".repeat(16 << 20)));
    assert_eq!(of(&image), (Some(2), 1), "too large");
    let many: String = (0..400_000).map(|n| format!("u{n}:x:{}:1::/:\n", n + 1000)).collect();
    image.write("etc/passwd", &format!("{passwd}{many}"));
    assert_eq!(of(&image).0, Some(2), "too many lines");
    fs::remove_file(image.0.path().join("etc/passwd")).unwrap();
    fs::create_dir(image.0.path().join("etc/passwd")).unwrap();
    assert_eq!(of(&image), (Some(78), 1), "RKE2 cannot read it either");
}

#[test]
fn the_own_configuration_is_printed_with_its_origins() {
    let image = Image::new(&[
        ("usr/lib/nodeguard/nodeguard.toml", "attribution = true\npoll-interval = '9s'\n"),
        (OWN, "poll-interval = '10s'\n"),
        ("usr/lib/nodeguard/nodeguard.toml.d/10-a.toml", "[etcd-account]\nuid = 1\n"),
        ("usr/lib/nodeguard/nodeguard.toml.d/20-b.toml", "[etcd-account]\nuid = 2\n"),
        ("run/nodeguard/nodeguard.toml.d/20-b.toml", "[etcd-account]\ngid = 3\n"),
        ("etc/nodeguard/nodeguard.toml.d/ignored.conf", "broken"),
    ]);
    let output = image.run(&["config"]);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    let wanted = "\
# /usr/lib/nodeguard/nodeguard.toml
# /etc/nodeguard/nodeguard.toml
# /usr/lib/nodeguard/nodeguard.toml.d/10-a.toml
# /run/nodeguard/nodeguard.toml.d/20-b.toml
mode = \"enforce\"       # built-in default
poll-interval = \"10s\"  # /etc/nodeguard/nodeguard.toml:1
attribution = true     # /usr/lib/nodeguard/nodeguard.toml:1

[etcd-account]
uid = 1                # /usr/lib/nodeguard/nodeguard.toml.d/10-a.toml:2
gid = 3                # /run/nodeguard/nodeguard.toml.d/20-b.toml:2
";
    assert_eq!(text(&output.stdout), wanted);
    let json: serde_json::Value =
        serde_json::from_slice(&image.run(&["config", "--json"]).stdout).unwrap();
    assert_eq!(json["settings"]["poll-interval"]["value"], "10s");
    assert_eq!(json["settings"]["poll-interval"]["origin"]["line"], 1);
    assert_eq!(json["errors"], serde_json::json!([]));

    // An operator's mask takes away the package's file as well.
    fs::remove_file(image.0.path().join(OWN)).unwrap();
    std::os::unix::fs::symlink("/dev/null", image.0.path().join(OWN)).unwrap();
    let mask = image.0.path().join("etc/nodeguard/nodeguard.toml.d/10-a.toml");
    std::os::unix::fs::symlink("/dev/null", mask).unwrap();
    let output = image.run(&["config"]);
    let wanted = "\
# /run/nodeguard/nodeguard.toml.d/20-b.toml
mode = \"enforce\"      # built-in default
poll-interval = \"5s\"  # built-in default
attribution = false   # built-in default

[etcd-account]
gid = 3               # /run/nodeguard/nodeguard.toml.d/20-b.toml:2
";
    assert_eq!(text(&output.stdout), wanted);
}

#[test]
fn every_error_of_the_own_configuration_is_on_stderr_with_its_line_and_stops_nothing() {
    let cis = ("etc/rancher/rke2/config.yaml", "profile: cis\n");
    let image = Image::new(&[
        cis,
        (OWN, "[sysctl.extra]\nvm.swappiness = 10\nkernel.panic = 3\n"),
        ("etc/nodeguard/nodeguard.toml.d/10-a.toml", "\natribution = true\n"),
    ]);
    let output = image.run(&["config"]);
    assert_eq!(output.status.code(), Some(78));
    let words = text(&output.stderr);
    let mut lines = words.lines();
    assert_eq!(
        lines.next(),
        Some(
            "nodeguard: /etc/nodeguard/nodeguard.toml:3: kernel.panic is 3, expected 10: nothing \
             else will do for RKE2"
        )
    );
    assert_eq!(
        lines.next(),
        Some(
            "nodeguard: /etc/nodeguard/nodeguard.toml.d/10-a.toml:2: unknown key atribution, did \
             you mean attribution?"
        )
    );
    assert!(lines.next().unwrap().starts_with("nodeguard: until that is corrected"), "{words}");
    let shown = text(&output.stdout);
    assert!(shown.contains("# built-in default") && !shown.contains("swappiness"), "{shown}");

    let output = image.run(&["apply", "--role", "server"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    let drop_in = image.read("etc/sysctl.d/60-rke2-cis.conf");
    assert!(drop_in.contains("kernel.panic=10\n") && !drop_in.contains("swappiness"), "{drop_in}");
    let (_, report) = image.check();
    let found = findings(&report);
    let origins: Vec<_> = found.iter().map(|f| (f.0.as_str(), f.1.as_str())).collect();
    let file = "/etc/nodeguard/nodeguard.toml";
    let (first, second) = (format!("{file}:3"), format!("{file}.d/10-a.toml:2"));
    assert_eq!(origins, [("own-config", first.as_str()), ("own-config", second.as_str())]);

    image.write(OWN, "[sysctl.extra]\nvm.swappiness = 10\n");
    image.write("etc/nodeguard/nodeguard.toml.d/10-a.toml", "attribution = true\n");
    assert_eq!(image.run(&["apply", "--role", "server"]).status.code(), Some(0));
    let drop_in = image.read("etc/sysctl.d/60-rke2-cis.conf");
    assert!(drop_in.contains("vm.swappiness=10\n"), "{drop_in}");
}

#[test]
fn a_mask_that_somebody_else_could_have_made_takes_nothing_away() {
    use std::os::unix::fs::{lchown, symlink};
    let dir = "etc/nodeguard/nodeguard.toml.d";
    for (owner, mode, words) in [
        (1000, 0o755, "is a link owned by uid 1000"),
        (0, 0o777, "is writable by others (mode 0777)"),
    ] {
        let vendor = "usr/lib/nodeguard/nodeguard.toml.d/50-a.toml";
        let image = Image::new(&[(vendor, "attribution = true\n")]);
        let at = |path: &str| image.0.path().join(path);
        fs::create_dir_all(at(dir)).unwrap();
        fs::set_permissions(at(dir), fs::Permissions::from_mode(mode)).unwrap();
        let mask = at(&format!("{dir}/50-a.toml"));
        symlink("/dev/null", &mask).unwrap();
        lchown(&mask, Some(owner), None).unwrap();
        let output = image.run(&["config"]);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(text(&output.stderr).contains(words), "{output:?}");
    }
}

#[test]
fn a_file_that_sets_a_parameter_later_is_no_finding_where_the_policy_leaves_it_alone() {
    for (policy, codes) in
        [("enforce", vec!["sysctl-overridden"]), ("warn", vec![]), ("ignore", vec![])]
    {
        let image = Image::new(&[
            ("etc/rancher/rke2/config.yaml", "profile: cis\n"),
            ("etc/sysctl.d/99-local.conf", "kernel.panic = 3\n"),
            (OWN, &format!("[sysctl.policy]\nkernel.panic = \"{policy}\"\n")),
        ]);
        image.run(&["apply", "--role", "server"]);
        let found: Vec<_> = findings(&image.check().1).into_iter().map(|f| f.0).collect();
        assert_eq!(found, codes, "{policy}");
        let explained = image.run(&["explain", "kernel.panic", "--role", "server", "--json"]);
        let answer: serde_json::Value = serde_json::from_slice(&explained.stdout).unwrap();
        let wanted = &answer["keys"][0]["wanted"];
        assert_eq!(wanted["policy"], policy);
        assert_eq!(wanted["policy_origin"]["line"], 2, "{wanted}");
    }
}

#[test]
fn the_own_configuration_of_an_image_is_never_read_through_a_link_out_of_it() {
    let image = Image::new(&[]);
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.toml");
    fs::write(&secret, "attribution = true\n").unwrap();
    fs::create_dir_all(image.0.path().join("etc/nodeguard")).unwrap();
    std::os::unix::fs::symlink(&secret, image.0.path().join(OWN)).unwrap();
    let output = image.run(&["config"]);
    assert!(text(&output.stdout).contains("attribution = false"), "{output:?}");
}

#[test]
fn wrong_usage_and_a_missing_permission_have_codes_of_their_own() {
    assert_eq!(nodeguard(&["frobnicate"]).status.code(), Some(64));
    assert_eq!(nodeguard(&["gate"]).status.code(), Some(64), "a gate without a role");
    let long = "x".repeat(201);
    for reason in [&[][..], &["--reason", " "], &["--reason", "a\nb"], &["--reason", &long]] {
        let output = nodeguard(&[&["override", "--role", "server"], reason].concat());
        assert_eq!(output.status.code(), Some(64), "an override for {reason:?}");
    }
    for limit in ["0", "601", "-1", "x"] {
        let output = nodeguard(&["gate", "--role", "server", "--limit", limit]);
        assert_eq!(output.status.code(), Some(64), "a gate for {limit} s");
    }
    assert_eq!(nodeguard(&["--version"]).status.code(), Some(0));
    let missing = nodeguard(&["check", "--root", "/no/such/directory"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("/no/such/directory"), "{missing:?}");

    // As nobody, who must be able to reach the program.
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("nodeguard");
    fs::copy(env!("CARGO_BIN_EXE_nodeguard"), &program).unwrap();
    let overriding = &["override", "--role", "server", "--reason", "x"][..];
    for command in [&["apply"][..], &["run"], &["gate", "--role", "server"], overriding] {
        let output = Command::new(&program).args(command).uid(65534).gid(65534).output().unwrap();
        assert_eq!(output.status.code(), Some(77), "{command:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_report_that_nobody_reads_to_its_end_is_no_failure() {
    let image = Image::new(&[]);
    let root = image.0.path().to_str().unwrap();
    let line = format!(
        "{} check --root {root} | true; echo ${{PIPESTATUS[0]}}",
        Path::new(env!("CARGO_BIN_EXE_nodeguard")).display()
    );
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert!(["2\n", "141\n"].contains(&text(&output.stdout).as_str()), "{output:?}");
    assert!(!text(&output.stderr).contains("panicked"), "{output:?}");
}

const STIG: (&str, &str) = ("etc/sysctl.d/99-stig.conf", "# STIG\nkernel.panic = 0\n");

#[test]
fn a_file_that_defeats_the_drop_in_at_boot_is_a_finding_and_explain_names_its_line() {
    let image = Image::new(&[("etc/rancher/rke2/config.yaml", "profile: cis\n"), STIG]);
    let output = image.run(&["apply", "--role", "agent"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    let (_, report) = image.check();
    let found = findings(&report);
    let row =
        found.iter().find(|f| f.0 == "sysctl-overridden").unwrap_or_else(|| panic!("{found:?}"));
    assert_eq!(row.1, "/etc/sysctl.d/99-stig.conf:2");

    let output = image.run(&["explain", "kernel.panic", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let key = &answer["keys"][0];
    assert_eq!(key["wanted"]["value"], "10");
    assert_eq!(key["live"]["state"], "not-looked-at", "an image has no kernel");
    assert_eq!(key["next_boot"]["value"], "0");
    assert_eq!(key["next_boot"]["origin"]["file"], "/etc/sysctl.d/99-stig.conf");
    assert_eq!(key["next_boot"]["origin"]["line"], 2);
    assert_eq!(key["shadowed"][0]["origin"]["file"], "/etc/sysctl.d/60-rke2-cis.conf");

    // As the remedy says.
    image.write(STIG.0, "# STIG\nkernel.panic = 10\n");
    let report = image.check().1;
    assert!(findings(&report).iter().all(|f| f.0 != "sysctl-overridden"), "{report}");
}

#[test]
fn explain_takes_any_spelling_tells_all_held_keys_and_refuses_what_is_no_key() {
    let image = Image::new(&[("etc/sysctl.d/a.conf", "net/ipv4/conf/eth0.1/rp_filter=2\n")]);
    for spelling in ["net/ipv4/conf/eth0.1/rp_filter", "net.ipv4.conf.eth0/1.rp_filter"] {
        let output = image.run(&["explain", spelling]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let said = text(&output.stdout);
        assert!(said.contains("next boot:  2 (/etc/sysctl.d/a.conf:1)"), "{said}");
    }
    let said = text(&image.run(&["explain"]).stdout);
    for key in ["vm.panic_on_oom", "vm.overcommit_memory", "kernel.panic", "kernel.panic_on_oops"] {
        assert!(said.contains(&format!("{key}\n")), "{said}");
    }
    for word in ["rke", "kernel.*", "kernel..panic", "kernel.panic=1", ""] {
        let output = image.run(&["explain", word]);
        assert_eq!(output.status.code(), Some(64), "{word:?}: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains("vm.overcommit_memory"), "{word:?}");
    }
}

#[test]
fn explain_tells_what_a_code_means_and_names_the_nearest_ones_for_a_word_that_is_none() {
    let output = nodeguard(&["explain", "etcd-owner", "contested"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.starts_with("etcd-owner\n  control:    etcd-data-dir (etcd data directory)\n"));
    assert!(said.contains("\n  CIS:        1.1.12\n  severity:   drift, fatal\n"), "{said}");
    assert!(said.contains("\ncontested\n  control:    sysctl (kernel parameters), "), "{said}");
    let output = nodeguard(&["explain", "--json", "etcd-owner"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["codes"][0]["code"], "etcd-owner");
    for (words, said) in [
        (&["etcd-ovner"][..], "nor is it the code of a finding, did you mean etcd-owner"),
        (&["nothing-of-ours"], "nor is it the code of a finding; nodeguard(8) lists them"),
        (&["etcd-owner", "kernel.panic"], "it is the code of a finding, and codes are explained"),
    ] {
        let output = nodeguard(&[&["explain"], words].concat());
        assert_eq!(output.status.code(), Some(64), "{words:?}: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains(said), "{words:?}: {}", text(&output.stderr));
    }
}

#[test]
fn explain_rke2_names_what_sets_each_value_and_keeps_secrets() {
    let unit = "[Service]\nEnvironmentFile=-/etc/default/%N\n\
                ExecStart=/usr/local/bin/rke2 server --token K10\n";
    let image = Image::new(&[
        ("usr/local/lib/systemd/system/rke2-server.service", unit),
        ("etc/default/rke2-server", "RKE2_CIS_PROFILE=etcd\nRKE2_DATA_DIR=/opt/rke2\n"),
        ("etc/rancher/rke2/config.yaml", "datastore-endpoint: mysql://me:pw@x/\n"),
        ("etc/rancher/rke2/config.yaml.d/50.yaml", "{\"profile\": \"cis\"}"),
        ("opt/rke2/data/v1.33.6-rke2r1-56ce02dfd353/bin/rke2", ""),
    ]);
    let output = image.run(&["explain", "rke2", "--role", "server", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(!said.contains("K10") && !said.contains("pw@"), "{said}");
    let answer: serde_json::Value = serde_json::from_str(&said).unwrap();
    let value = |flag: &str| {
        let values = answer["values"].as_array().unwrap();
        let value = values.iter().find(|value| value["flag"] == flag).unwrap();
        let origin = &value["origin"];
        format!("{} {}:{}", value["value"], origin["file"], origin["line"]).replace('"', "")
    };
    assert_eq!(value("profile"), "cis /etc/rancher/rke2/config.yaml.d/50.yaml:1");
    assert_eq!(value("data-dir"), "/opt/rke2 /etc/default/rke2-server:2");
    assert_eq!(value("selinux"), "false null:null");
    assert_eq!(answer["rke2_version"], "1.33.6+rke2r1");
    assert_eq!(answer["etcd"]["local"], false, "the datastore is elsewhere");

    let said = text(&image.run(&["explain", "rke2", "--role", "server"]).stdout);
    assert!(said.contains("profile = cis (/etc/rancher/rke2/config.yaml.d/50.yaml:1)"), "{said}");
    assert!(said.contains("data-dir = /opt/rke2 (/etc/default/rke2-server:2 as RKE2_DATA_DIR)"));
    let both = image.run(&["explain", "rke2", "kernel.panic"]);
    assert_eq!(both.status.code(), Some(64), "rke2 stands alone: {both:?}");
}

/// Runs a script in a mount namespace in which /var/lib, /sys/fs and /etc are ours to fill, and
/// gives the codes of `check`.
fn codes_where(script: &str) -> Vec<(String, String)> {
    let line = format!(
        "set -e; for dir in /var/lib /sys/fs /etc; do mount -t tmpfs tmpfs $dir; done\n\
         printf 'root:x:0:0::/root:/bin/sh\\netcd:x:998:998::/:/sbin/nologin\\n' >/etc/passwd\n\
         printf 'root:x:0:\\netcd:x:998:\\n' >/etc/group\n\
         mkdir -p /etc/rancher/rke2; echo 'profile: cis' >/etc/rancher/rke2/config.yaml\n\
         {script}\nexec \"$0\" check --role server --json"
    );
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &line])
        .arg(env!("CARGO_BIN_EXE_nodeguard"))
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)));
    let report: serde_json::Value = report;
    let rke2 = report["controls"].as_array().unwrap().iter().find(|c| c["id"] == "rke2-config");
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let findings = rke2.unwrap()["findings"].as_array().unwrap();
    findings.iter().map(|f| (word(&f["code"]), word(&f["severity"]))).collect()
}

#[test]
fn a_data_dir_on_a_file_system_that_is_read_only_is_fatal_and_a_read_only_view_is_none() {
    let mount = "mkdir -p /var/lib/rancher/rke2; mount -t tmpfs -o";
    let found = codes_where(&format!("{mount} ro tmpfs /var/lib/rancher/rke2"));
    assert_eq!(found, [("data-dir-read-only".to_owned(), "fatal".to_owned())]);
    let found = codes_where(&format!("{mount} rw tmpfs /var/lib/rancher/rke2"));
    assert_eq!(found, []);
    // As a sandboxed service sees it.
    let found = codes_where("mount --bind /var/lib /var/lib; mount -o remount,ro,bind /var/lib");
    assert_eq!(found, []);
    // etcd's disk alone.
    let db = "/var/lib/rancher/rke2/server/db/etcd";
    let found = codes_where(&format!("mkdir -p {db}; mount -t tmpfs -o ro tmpfs {db}"));
    assert_eq!(found, [("data-dir-read-only".to_owned(), "fatal".to_owned())]);
}

#[test]
fn a_custom_data_dir_without_labels_is_fatal_where_selinux_enforces_until_the_remedy_is_done() {
    let files = "/etc/selinux/targeted/contexts/files";
    let enforcing = format!(
        "mkdir -p /sys/fs/selinux {files}; printf 1 >/sys/fs/selinux/enforce\n\
         echo SELINUXTYPE=targeted >/etc/selinux/config\n\
         printf 'data-dir: /opt/rke2\\nselinux: true\\n' >>/etc/rancher/rke2/config.yaml"
    );
    let fatal = [("data-dir-unlabelled".to_owned(), "fatal".to_owned())];
    assert_eq!(codes_where(&enforcing), fatal);
    let permissive = format!("{enforcing}\nprintf 0 >/sys/fs/selinux/enforce");
    assert_eq!(codes_where(&permissive), []);
    // What `semanage fcontext -a -e` leaves.
    let equivalent = "/opt/rke2 /var/lib/rancher/rke2";
    let done = format!("{enforcing}\necho '{equivalent}' >{files}/file_contexts.subs");
    assert_eq!(codes_where(&done), []);
}
