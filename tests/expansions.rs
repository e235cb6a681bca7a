// SPDX-License-Identifier: Apache-2.0
//! What files that make much of little cost: memory and time of the program itself, on trees that
//! are made for it. Each is within the limits, and says what was left out.

mod rke2_image;

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rke2_image::Image;

/// Memory of a debug build, above what an ordinary tree costs. The daemon has 256 MiB.
const MEMORY_KIB: u64 = 48 * 1024;

/// Time of a debug build on a machine that does something else as well.
const TIME: Duration = Duration::from_secs(30);

impl Image {
    fn drop_in(&self, name: &str, text: &str) {
        self.write(&format!("etc/rancher/rke2/config.yaml.d/{name}.yaml"), text);
    }

    /// The most memory in KiB, and the report. The program is looked at while it waits for somebody
    /// to read what it prints, which is when it has done all its work.
    fn cost(&self, words: &[&str]) -> (u64, String) {
        let (mut read, write) = full_pipe();
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_nodeguard"))
            .args(words)
            .arg("--root")
            .arg(self.path())
            .stdout(Stdio::from(write))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let proc = PathBuf::from(format!("/proc/{}", child.id()));
        while !waits_for_a_reader(&proc) {
            assert!(began.elapsed() < TIME, "{words:?}");
            assert_eq!(child.try_wait().unwrap(), None, "it printed nothing");
            std::thread::yield_now();
        }
        let took = began.elapsed();
        let peak = peak(&proc);
        let mut text = Vec::new();
        read.read_to_end(&mut text).unwrap();
        child.wait().unwrap();
        println!("figure: {words:?} {} KiB, {} ms", peak, took.as_millis());
        (peak, String::from_utf8_lossy(&text).trim_start_matches('\0').to_owned())
    }
}

/// A pipe without room.
fn full_pipe() -> (PipeReader, PipeWriter) {
    /// What Linux gives a pipe (pipe(7)).
    const SIZE: usize = 64 * 1024;
    let (read, mut write) = std::io::pipe().unwrap();
    write.write_all(&[0; SIZE]).unwrap();
    (read, write)
}

fn waits_for_a_reader(proc: &Path) -> bool {
    fs::read_to_string(proc.join("wchan")).is_ok_and(|place| place.contains("pipe_write"))
}

fn peak(proc: &Path) -> u64 {
    let status = fs::read_to_string(proc.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Looked at and explained, within the limits; each report has these words in it.
#[track_caller]
fn bounded(image: &Image, words: &[&str]) {
    let (usual, _) = Image::new().cost(&["check", "--json"]);
    for command in [&["check", "--json"][..], &["explain", "rke2", "--json"]] {
        let (peak, report) = image.cost(command);
        assert!(peak < usual + MEMORY_KIB, "{command:?}: {peak} KiB, {usual} KiB otherwise");
        for words in words.iter().filter(|_| command[0] == "check") {
            assert!(report.contains(words), "{words}: {:.2000}", report);
        }
    }
}

#[test]
fn a_variable_in_two_thousand_arguments() {
    for (size, code) in
        [(512 << 10, "config-invalid"), (3500, "config-invalid"), (1200, "config-unread")]
    {
        let image = Image::new();
        image.write("etc/default/rke2-server", &format!("A={}\n", "x".repeat(size)));
        for argument in ["${A}", "$A", "--x=${A}${A}"] {
            let arguments = format!(" {argument}").repeat(2000);
            image.unit(&format!("ExecStart=/usr/local/bin/rke2 server{arguments}\n"));
            let long = if code == "config-invalid" || argument.starts_with("--") && size > 3000 {
                "Argument list too long"
            } else {
                "longer than 2097152 bytes"
            };
            bounded(&image, &[code, long]);
        }
    }
}

#[test]
fn specifiers_and_many_drop_ins_of_a_unit() {
    let image = Image::new();
    let names = "%n".repeat(250_000);
    image.unit(&format!("Environment=A={names}\nExecStart=/usr/local/bin/rke2 server\n"));
    bounded(&image, &["config-unread", "longer than 2097152 bytes"]);

    let image = Image::new();
    image.unit(&format!("ExecStart=/usr/local/bin/rke2 server {}\n", "x".repeat(1 << 20)));
    bounded(&image, &["config-unread", "is larger than 1048576 bytes"]);

    let image = Image::new();
    let megabyte = format!("[Service]\nEnvironment=A={}\n", "x".repeat(1_000_000));
    for n in 0..40 {
        image.write(&format!("etc/systemd/system/rke2-server.service.d/{n}.conf"), &megabyte);
    }
    bounded(&image, &["config-unread", "more than 4194304 bytes in all unit files"]);

    let image = Image::new();
    let lines = "Environment=A=1\n".repeat(60_000);
    image.unit(&format!("{lines}ExecStart=/usr/local/bin/rke2 server\n"));
    bounded(&image, &[]);
}

#[test]
fn many_environment_files_and_one_named_often() {
    let image = Image::new();
    for n in 0..40 {
        let text = format!("A{n}={}\n", "x".repeat(1_000_000));
        image.write(&format!("etc/env/{n}.env"), &text);
    }
    image.unit("EnvironmentFile=/etc/env/*.env\nExecStart=/usr/local/bin/rke2 server\n");
    bounded(&image, &["config-unread", "more environment files"]);

    let often = "EnvironmentFile=/etc/env/0.env\n".repeat(4096);
    image.unit(&format!("{often}ExecStart=/usr/local/bin/rke2 server\n"));
    bounded(&image, &["config-unread", "more environment files"]);
}

#[test]
fn anchors_nested_deeply_and_printed_often() {
    // Sixty levels of sixty keys each, of which Go would print every one, seven thousand times.
    let mut text = String::from("a: &a ");
    for level in 0..60 {
        let keys: String = (0..60).map(|key| format!("k{key}: v, ")).collect();
        text += &format!("{{{keys} n{level}: ");
    }
    text += &format!("x{}\n", "}".repeat(60));
    text += &format!("tls-san: [{}]\n", "*a, ".repeat(7000));
    let image = Image::new();
    image.write("etc/rancher/rke2/config.yaml", &text);
    bounded(&image, &["config-invalid", "document contains excessive aliasing"]);

    let image = Image::new();
    image.write(
        "etc/rancher/rke2/config.yaml",
        &text.replace(&"*a, ".repeat(7000), &"*a, ".repeat(40)),
    );
    bounded(&image, &[]);

    let image = Image::new();
    let long = "x".repeat(100_000);
    image.write(
        "etc/rancher/rke2/config.yaml",
        &format!("a: &a {long}\n{}", "tls-san+: *a\n".repeat(9000)),
    );
    bounded(&image, &["config-unread"]);
}

#[test]
fn lists_that_are_appended_over_many_files() {
    let image = Image::new();
    for n in 0..250 {
        image.drop_in(&format!("{n:03}"), &format!("tls-san+: [{}]\n", "a,".repeat(9000)));
    }
    bounded(&image, &["config-unread", "more than 4194304 bytes of values in all files"]);

    let image = Image::new();
    for n in 0..250 {
        let text = format!("a: &a {}\ntls-san+: [{}]\n", "x".repeat(100_000), "*a,".repeat(19));
        image.drop_in(&format!("{n:03}"), &text);
    }
    bounded(&image, &["config-unread", "bytes of values in all files"]);

    let image = Image::new();
    for n in 0..250 {
        image.drop_in(&format!("{n:03}"), &format!("# {}\n", "x".repeat(1_000_000)));
    }
    bounded(&image, &["config-unread", "all files together than 4194304"]);
}

#[test]
fn thousands_of_keys_and_values_that_are_wrong_make_no_long_report() {
    let image = Image::new();
    let keys: String = (0..9000).map(|n| format!("key-{n}: x\n")).collect();
    image.write("etc/rancher/rke2/config.yaml", &keys);
    image.drop_in("a", &format!("disable-etcd: [{}]\n", "x,".repeat(9000)));
    image.drop_in("b", &format!("etcd-arg: [{}]\n", "data-dir=/x,".repeat(9000)));
    bounded(&image, &["and 8968 more such keys"]);
    let (_, report) = image.cost(&["check", "--json"]);
    assert!(report.len() < 64 * 1024, "{} bytes", report.len());
}

#[test]
fn accounts_without_number() {
    let image = Image::new();
    image.write("etc/passwd", &"a:x:1:1:::\n".repeat(1_400_000));
    bounded(&image, &["account-database-unreadable", "more lines or members than are read"]);
    let image = Image::new();
    image.write("etc/group", &format!("g:x:1:{}\n", "a,".repeat(500_000)).repeat(15));
    bounded(&image, &["account-database-unreadable", "more lines or members than are read"]);
}

#[test]
fn patterns_and_profiles_of_kernel_parameters() {
    let image = Image::new();
    let braces = "{a,b}".repeat(200);
    for n in 0..200 {
        let text = format!("net.{braces}.x = 1\n").repeat(20);
        image.write(&format!("etc/sysctl.d/{n}.conf"), &text);
        image.write(
            &format!("etc/tuned/p{n}/tuned.conf"),
            &format!(
                "[main]\ninclude=p{}\n[variables]\na=${{a}}${{a}}\n[sysctl]\nkernel.panic=${{a}}\n",
                n + 1
            ),
        );
    }
    image.write("etc/tuned/active_profile", "p0\n");
    bounded(&image, &[]);
}
