// SPDX-License-Identifier: Apache-2.0
//! Folder = layer: who may use whom, and what may stand only in one place. The table here is the
//! one in ARCHITECTURE.md.

mod sources;

use std::fs;
use std::path::Path;

use sources::{rust_files, without_tests};

/// The code below `src/`, without its comments and without its tests.
fn sources() -> Vec<(String, String)> {
    let below = |name: String| name.trim_start_matches("src/").to_owned();
    rust_files("src").into_iter().map(|(name, text)| (below(name), code(&text))).collect()
}

fn code(text: &str) -> String {
    let lines = without_tests(text).lines();
    lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The files of a layer: a folder or one file.
fn in_layer(file: &str, layer: &str) -> bool {
    file == layer || file.starts_with(&format!("{layer}/")) || file == format!("{layer}.rs")
}

fn offenders(layer: &str, forbidden: &[&str]) -> Vec<String> {
    let files = sources();
    assert!(files.iter().any(|(file, _)| in_layer(file, layer)), "no such layer: {layer}");
    files
        .iter()
        .filter(|(file, _)| in_layer(file, layer))
        .flat_map(|(file, code)| {
            forbidden
                .iter()
                .filter(|word| code.contains(**word))
                .map(move |word| format!("src/{file} uses {word}"))
        })
        .collect()
}

#[test]
fn every_layer_uses_only_the_layers_below_it() {
    let up_from_host =
        ["crate::engine", "crate::bus", "crate::gate", "crate::journal", "crate::render"];
    let top = ["crate::daemon", "crate::cli", "crate::watch", "crate::service"];
    let mut found = offenders("model", &["crate::"]);
    for pure in ["config", "controls", "rke2", "sysctl_d"] {
        found.extend(offenders(pure, &["crate::host"]));
    }
    for pure in ["config", "sysctl_d"] {
        found.extend(offenders(pure, &["crate::controls", "crate::rke2"]));
    }
    for layer in ["config", "controls", "rke2", "sysctl_d", "host"] {
        found.extend(offenders(layer, &up_from_host));
        found.extend(offenders(layer, &top));
    }
    for layer in ["engine", "bus", "gate", "render", "journal", "watch", "service"] {
        found.extend(offenders(layer, &["crate::daemon", "crate::cli"]));
    }
    found.extend(offenders(
        "engine",
        &["crate::bus", "crate::gate", "crate::journal", "crate::render"],
    ));
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn judging_does_no_io_and_reads_no_clock() {
    let io = [
        "std::fs",
        "std::net",
        "std::process",
        "std::os",
        "std::env",
        "rustix",
        "tokio",
        "zbus",
        "File::",
        "Command::",
        "SystemTime",
        "Instant",
        "println!",
        "eprintln!",
        "thread::",
    ];
    let mut found = offenders("controls", &io);
    found.extend(offenders("config", &io));
    found.extend(offenders("rke2", &io));
    found.extend(offenders("sysctl_d", &io));
    found.extend(offenders("model", &io));
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn pacing_does_no_io_and_is_told_the_time() {
    // The time is an argument, so its type is used and no clock is read.
    let io = [
        "std::fs",
        "std::net",
        "std::process",
        "std::os",
        "std::env",
        "std::sync",
        "rustix",
        "tokio",
        "zbus",
        "File::",
        "Command::",
        "SystemTime",
        "::now()",
        ".elapsed()",
        "println!",
        "thread::",
    ];
    assert_eq!(offenders("pace", &io), Vec::<String>::new());
    let above = ["crate::host", "crate::engine", "crate::daemon", "crate::bus", "crate::watch"];
    assert_eq!(offenders("pace", &above), Vec::<String>::new());
    // A number anywhere else would be missed by who looks for all of them.
    let elsewhere: Vec<String> = sources()
        .into_iter()
        .filter(|(file, code)| {
            in_layer(file, "pace")
                && file != "pace/limits.rs"
                && ["Duration::from_", ": u32 =", ": u64 =", ": f64 =", ": usize ="]
                    .iter()
                    .any(|word| code.contains(word))
        })
        .map(|(file, _)| file)
        .collect();
    assert_eq!(elsewhere, Vec::<String>::new());
}

#[test]
fn only_the_host_layer_changes_the_host() {
    let changing = [
        "chown",
        "chmod",
        "renameat",
        "fs::rename",
        "mkdir",
        "unlinkat",
        "fs::write",
        "fs::remove",
        "fs::create",
        "File::create",
        "OpenOptions",
        "Command::new",
        "symlinkat",
        "linkat",
        "rustix::io::write",
        "setxattr",
    ];
    let found: Vec<String> = sources()
        .iter()
        .filter(|(file, _)| !in_layer(file, "host"))
        // Judgements name commands in their remedies; they can run none (see the test above).
        .filter(|(file, _)| !in_layer(file, "controls") && !in_layer(file, "rke2"))
        .flat_map(|(file, code)| {
            changing
                .iter()
                .filter(|word| code.contains(**word))
                .map(move |word| format!("src/{file} uses {word}"))
        })
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn inside_the_host_layer_only_the_executor_calls_what_writes() {
    let writers = [
        "tree::own",
        "proc_sys::write",
        "account::run",
        "account_image::set_primary_group",
        "image_locks::tidy",
        "files::replace",
    ];
    let found: Vec<String> = sources()
        .iter()
        .filter(|(file, _)| !["host/apply.rs", "host/runtime.rs"].contains(&file.as_str()))
        .flat_map(|(file, code)| {
            writers
                .iter()
                .filter(|word| code.contains(**word))
                .map(move |word| format!("src/{file} calls {word}"))
        })
        .collect();
    assert_eq!(found, Vec::<String>::new());
    // The account files of an image have a writer of their own, which keeps what a file has besides.
    let rewriters: Vec<String> = sources()
        .into_iter()
        .filter(|(_, code)| code.contains("rewrite::replace") || code.contains("rewrite::create"))
        .map(|(file, _)| file)
        .collect();
    assert_eq!(rewriters, ["host/account_image.rs"]);
    let files = sources();
    let apply = &files.iter().find(|(file, _)| file == "host/apply.rs").unwrap().1;
    let run = apply.split("pub fn run(").nth(1).unwrap().split("\n}\n").next().unwrap();
    assert!(!run.contains("\n        _ =>"), "every action is named in the executor");
    assert_eq!(run.matches("\n        Action::").count(), 7, "a new action is a decision");
}

#[test]
fn no_path_into_an_image_is_ever_made() {
    // What is looked up by such a path leaves the image by the first link in it, and so does a
    // program that is given one.
    let paths = ["root.path()", "image.path()"];
    assert_eq!(offenders("host", &paths), Vec::<String>::new());
}

#[test]
fn only_the_daemon_and_the_commands_log() {
    let found: Vec<String> = sources()
        .iter()
        .filter(|(file, _)| !in_layer(file, "daemon") && file != "journal.rs")
        .filter(|(file, _)| !in_layer(file, "cli"))
        .filter(|(_, code)| {
            ["crate::journal", "eprintln!", "println!", "eprint!("].iter().any(|w| code.contains(w))
        })
        .map(|(file, _)| file.clone())
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn no_unsafe_code_no_tcp_and_no_sleeping() {
    for (file, code) in sources() {
        assert!(!code.contains("unsafe "), "src/{file}");
        for word in ["TcpListener", "TcpStream", "UdpSocket", "thread::sleep"] {
            assert!(!code.contains(word), "src/{file} uses {word}");
        }
    }
    for file in ["src/lib.rs", "src/main.rs"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{file}");
    }
}

#[test]
fn every_source_file_names_its_licence_and_no_folder_is_a_drawer() {
    for (file, _) in sources() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(&file);
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("// SPDX-License-Identifier: Apache-2.0\n"), "src/{file}");
        for drawer in ["util", "common", "misc", "helper"] {
            assert!(!file.contains(drawer), "src/{file}");
        }
    }
}
