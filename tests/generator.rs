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
    let dir = tempfile::tempdir().unwrap();
    let ours = dir.path().join("nodeguard");
    if let Some(program) = program {
        fs::write(&ours, program).unwrap();
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/nodeguard-generator");
    let text = fs::read_to_string(script).unwrap();
    assert_eq!(text.matches("/usr/bin/nodeguard ").count(), 1, "the script names the program once");
    let text = text
        .replace("/usr/bin/nodeguard ", &format!("{} ", ours.display()))
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
    // Three calls of 3 s each; systemd would wait for 90 s.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
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
