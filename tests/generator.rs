// SPDX-License-Identifier: Apache-2.0
//! The generator of systemd's: it ends well and soon whatever the program does, and writes what the
//! program printed only where that ended well.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const UNITS: [&str; 3] = ["rke2-server", "rke2-agent", "nodeguard"];

/// Runs the script with another program in the place of ours. Gives what it wrote for each unit.
fn run(program: Option<&str>, variables: &[(&str, &str)]) -> (Output, Vec<Option<String>>) {
    run_beside(program, None, variables)
}

/// The same with a file of which the program is to be like; by default it is like itself.
fn run_beside(
    program: Option<&str>,
    shell: Option<&str>,
    variables: &[(&str, &str)],
) -> (Output, Vec<Option<String>>) {
    let dir = tempfile::tempdir().unwrap();
    let ours = dir.path().join("nodeguard");
    if let Some(program) = program {
        fs::write(&ours, program).unwrap();
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/nodeguard-generator");
    let text = fs::read_to_string(script).unwrap();
    for (name, count) in [("/usr/bin/nodeguard", 2), ("processor /bin/sh)", 1)] {
        assert_eq!(text.matches(name).count(), count, "{name} in the script");
    }
    let like = shell.map_or_else(|| ours.display().to_string(), str::to_owned);
    let text = text
        .replace("/usr/bin/nodeguard", &ours.display().to_string())
        .replace("processor /bin/sh)", &format!("processor {like})"))
        .replace("/etc/initrd-release", &dir.path().join("initrd-release").display().to_string());
    let script = dir.path().join("generator");
    fs::write(&script, text).unwrap();
    let normal = dir.path().join("normal");
    fs::create_dir(&normal).unwrap();
    let output = Command::new("sh")
        .arg(&script)
        .args([&normal, &dir.path().join("early"), &dir.path().join("late")])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let written = UNITS.map(|unit| {
        let path = normal.join(format!("{unit}.service.d/50-nodeguard-mounts.conf"));
        fs::read_to_string(path).ok()
    });
    (output, written.to_vec())
}

#[test]
fn what_the_program_prints_is_the_drop_in_of_each_unit() {
    let program = "#!/bin/sh\n[ \"$1\" = mounts ] && printf '[Unit]\\nAfter=%s\\n' \"$2.mount\"\n";
    let (output, written) = run(Some(program), &[]);
    assert!(output.status.success(), "{output:?}");
    let expected = UNITS.map(|unit| Some(format!("[Unit]\nAfter={unit}.mount\n")));
    assert_eq!(written, expected);
    assert_eq!((output.stdout, output.stderr), (Vec::new(), Vec::new()));
}

#[test]
fn a_broken_program_leaves_nothing_and_the_script_ends_well() {
    for (what, program) in [
        ("is missing", None),
        ("fails", Some("#!/bin/sh\necho '[Unit]'\nexit 1\n")),
        ("is killed", Some("#!/bin/sh\necho '[Unit]'\nkill -SEGV $$\n")),
        ("is of another kind", Some("\u{7f}ELF nonsense")),
        ("says nothing", Some("#!/bin/sh\nexit 0\n")),
        ("knows no such command", Some("#!/bin/sh\necho 'unknown' >&2\nexit 64\n")),
    ] {
        let (output, written) = run(program, &[]);
        assert!(output.status.success(), "{what}: {output:?}");
        assert_eq!(written, [None, None, None], "{what}");
    }
}

#[test]
fn a_program_that_hangs_is_ended_and_holds_up_no_boot() {
    let began = Instant::now();
    // It does not end for being asked to.
    let (output, written) = run(Some("#!/bin/sh\ntrap '' TERM\nexec sleep 600\n"), &[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(written, [None, None, None]);
    // Three calls of 3 s, all at once; one after the other they would take 9 s.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn in_an_initrd_it_does_nothing() {
    let program = Some("#!/bin/sh\necho '[Unit]'\n");
    let (output, written) = run(program, &[("SYSTEMD_IN_INITRD", "1")]);
    assert!(output.status.success());
    assert_eq!(written, [None, None, None]);
    let (_, written) = run(program, &[("SYSTEMD_IN_INITRD", "0")]);
    assert!(written.iter().all(Option::is_some));
}

#[test]
fn a_call_that_fails_or_hangs_leaves_the_others() {
    let program = "#!/bin/sh\ncase $2 in rke2-server) exec sleep 600 ;; rke2-agent) exit 1 ;; esac\n\
                   echo '[Unit]'\n";
    let (output, written) = run(Some(program), &[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(written, [None, None, Some("[Unit]\n".to_owned())]);
}

#[test]
fn a_program_for_another_processor_is_not_run_by_a_shell() {
    // As the header of such a program, but a shell that takes it for a script prints a drop-in.
    let program = "\u{7f}ELF\u{2}\u{1}\u{1}#########\u{2}#\u{1}#\necho '[Unit]'\n";
    assert_eq!(&program.as_bytes()[18..20], [1, b'#']);
    let (_, written) = run_beside(Some(program), None, &[]);
    assert!(
        written.iter().all(Option::is_some),
        "without the comparison a shell runs it: {written:?}"
    );
    let (output, written) = run_beside(Some(program), Some("/bin/sh"), &[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(written, [None, None, None]);
}

/// The lines of the program's own drop-in for a unit, by the fstab of an image.
fn drop_in(unit: &str, fstab: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("etc/fstab"), fstab).unwrap();
    fs::write(dir.path().join("etc/os-release"), "ID=debian\n").unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_nodeguard"));
    let output = program.args(["mounts", unit, "--root"]).arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn rke2_wants_what_it_does_not_start_without_and_no_mount_that_is_noauto_or_late() {
    let place = "/var/lib/rancher/rke2";
    let unit = |name: &str| format!("var-lib-rancher-rke2{name}");
    let after = |name: &str| format!("After={}", unit(name));
    let wants = |name: &str| format!("Wants={}", unit(name));
    for (line, expected) in [
        (format!("LABEL=x {place} ext4 nofail"), vec![wants(".mount"), after(".mount")]),
        (
            format!("LABEL=x {place} ext4 noauto,x-systemd.automount"),
            vec![wants(".automount"), after(".automount")],
        ),
        (
            format!("LABEL=x {place} ext4 noauto,x-systemd.wanted-by=rke2-server.service"),
            vec![after(".mount")],
        ),
        (
            format!("nfs:/x {place}/server/db/snapshots nfs nofail"),
            vec![after("-server-db-snapshots.mount")],
        ),
        (format!("LABEL=x {place} ext4 noauto"), vec![]),
        (format!("LABEL=x {place} ext4 x-systemd.wanted-by=backup.service"), vec![]),
        (format!("LABEL=x {place} ext4 x-systemd.after=late.service"), vec![]),
    ] {
        let found = drop_in("rke2-server", &line);
        assert_eq!(found.get(1..).unwrap_or_default(), expected, "{line}");
    }
    // An agent starts without each of its mounts, as far as the gate goes.
    let line = format!("LABEL=x {place} ext4 nofail");
    assert_eq!(drop_in("rke2-agent", &line), ["[Unit]".to_owned(), after(".mount")]);
    assert_eq!(drop_in("nodeguard", &line), ["[Unit]".to_owned(), after(".mount")]);
}
