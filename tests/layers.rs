// SPDX-License-Identifier: Apache-2.0
//! Folder = layer: who may use whom, and what may stand only in one place. The table here is the
//! one in ARCHITECTURE.md.

mod sources;

use std::collections::{BTreeMap, BTreeSet};
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
    let surfaces = ["crate::bus", "crate::gate", "crate::journal", "crate::render"];
    let top = ["crate::daemon", "crate::cli", "crate::watch", "crate::service"];
    let mut found = offenders("model", &["crate::"]);
    let pure = ["config", "rke2", "sysctl_d"];
    for layer in pure {
        found.extend(offenders(layer, &["crate::system", "crate::systemd", "crate::controls"]));
    }
    for layer in ["config", "sysctl_d"] {
        found.extend(offenders(layer, &["crate::rke2"]));
    }
    found.extend(offenders("system", &["crate::systemd", "crate::controls"]));
    found.extend(offenders("systemd", &["crate::controls"]));
    for layer in pure.into_iter().chain(["system", "systemd", "controls"]) {
        found.extend(offenders(layer, &["crate::engine"]));
        found.extend(offenders(layer, &surfaces));
        found.extend(offenders(layer, &top));
    }
    for layer in ["engine", "bus", "gate", "render", "journal", "watch", "service"] {
        found.extend(offenders(layer, &["crate::daemon", "crate::cli"]));
    }
    found.extend(offenders("engine", &surfaces));
    assert_eq!(found, Vec::<String>::new());
}

/// What a file's `use` and its paths name, as the module that it is in sees it: from the crate's root.
fn imports(file: &str, code: &str) -> BTreeSet<String> {
    let module: Vec<&str> =
        file.trim_end_matches(".rs").trim_end_matches("/mod").split('/').collect();
    let mut found = BTreeSet::new();
    let mut rest = code;
    while let Some(at) = rest.find("crate::").into_iter().chain(rest.find("super::")).min() {
        let (before, from) = rest.split_at(at);
        let word = |text: &str| -> String {
            text.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect()
        };
        let path = word(from);
        rest = &from[path.len().max(1)..];
        if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let mut names: Vec<&str> = path.trim_end_matches("::").split("::").collect();
        let mut base: Vec<&str> = if names[0] == "crate" { Vec::new() } else { module.clone() };
        while names.first().is_some_and(|name| ["crate", "super"].contains(name)) {
            if names.remove(0) == "super" {
                base.pop();
            }
        }
        base.extend(names);
        let path = base.join("/");
        // `use crate::controls::{sysctl, …};`
        match path.is_empty() || rest.starts_with('{') {
            true => {
                let list = rest.strip_prefix('{').unwrap_or_default().split('}').next().unwrap();
                let names = list.split([',', '{']).map(|name| word(name.trim()));
                found.extend(names.map(|name| {
                    let name = name.replace("::", "/");
                    [path.as_str(), name.as_str()].join("/").trim_matches('/').to_owned()
                }));
            }
            false => drop(found.insert(path)),
        }
    }
    found
}

/// In each folder, whatever is in it is a part: a file, or a folder with all below it. No part leads
/// back to itself over the others. The folder's own `mod.rs` is above its parts.
#[test]
fn no_folder_has_a_circle_of_imports() {
    let files = sources();
    let folders: BTreeSet<String> =
        files.iter().filter_map(|(file, _)| Some(file.rsplit_once('/')?.0.to_owned())).collect();
    let mut circles = Vec::new();
    for folder in folders.iter().map(String::as_str).chain([""]) {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let part = |path: &str| -> Option<String> {
            let part = path.strip_prefix(&prefix)?.split('/').next()?.trim_end_matches(".rs");
            (!["mod", "lib", "main", ""].contains(&part)).then(|| part.to_owned())
        };
        let parts: BTreeSet<String> = files.iter().filter_map(|(file, _)| part(file)).collect();
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (file, code) in &files {
            let Some(from) = part(file) else { continue };
            let to = imports(file, code);
            let to = to.iter().filter_map(|path| part(path)).filter(|to| *to != from);
            uses.entry(from.clone()).or_default().extend(to.filter(|to| parts.contains(to)));
        }
        for from in &parts {
            let mut seen = BTreeSet::new();
            let mut ahead: Vec<&String> = uses.get(from).into_iter().flatten().collect();
            while let Some(next) = ahead.pop() {
                if seen.insert(next) {
                    ahead.extend(uses.get(next).into_iter().flatten());
                }
            }
            if seen.contains(from) {
                circles.push(format!("src/{prefix}{from} uses {:?}", uses[from]));
            }
        }
    }
    assert_eq!(circles, Vec::<String>::new());
}

/// What reaches anything outside of the program.
const IO: [&str; 11] = [
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
    "thread::",
];

/// What prints.
const PRINTS: [&str; 2] = ["println!", "eprintln!"];

#[test]
fn judging_does_no_io_and_reads_no_clock() {
    let others = ["SystemTime", "Instant", "crate::system::", "crate::systemd::"];
    let io: Vec<&str> = IO.into_iter().chain(PRINTS).chain(others).collect();
    let mut found = Vec::new();
    for pure in ["config", "rke2", "sysctl_d", "model", "controls/obstacle.rs"] {
        found.extend(offenders(pure, &io));
    }
    // In the folder of a control it is the name that makes a file pure.
    for control in controls() {
        let inside = format!("controls/{control}/");
        let pure = ["facts", "judge"];
        pure.iter().for_each(|name| found.extend(offenders(&format!("{inside}{name}"), &io)));
        // Nor does it any by way of what stands beside it.
        let part = |path: &str| path.strip_prefix(&inside)?.split('/').next().map(str::to_owned);
        let parts: BTreeSet<String> =
            sources().iter().filter_map(|(file, _)| part(file.strip_suffix(".rs")?)).collect();
        for (file, code) in sources() {
            if part(file.trim_end_matches(".rs")).is_some_and(|it| pure.contains(&it.as_str())) {
                found.extend(imports(&file, &code).into_iter().filter(|path| {
                    part(path).is_some_and(|to| parts.contains(&to) && !pure.contains(&to.as_str()))
                }));
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

/// The folders of the controls.
fn controls() -> BTreeSet<String> {
    let names = sources().into_iter().filter_map(|(file, _)| {
        let (folder, _) = file.strip_prefix("controls/")?.split_once('/')?;
        Some(folder.to_owned())
    });
    names.collect()
}

#[test]
fn pacing_does_no_io_and_is_told_the_time() {
    // The time is an argument, so its type is used and no clock is read.
    let others = ["std::sync", "SystemTime", "::now()", ".elapsed()"];
    let io: Vec<&str> = IO.into_iter().chain(PRINTS).chain(others).collect();
    assert_eq!(offenders("pace", &io), Vec::<String>::new());
    let above = ["crate::system", "crate::engine", "crate::daemon", "crate::bus", "crate::watch"];
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
fn only_what_observes_and_mends_reaches_the_host() {
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
        "fs::symlinkat",
        "fs::linkat",
        "rustix::io::write",
        "setxattr",
    ];
    // Judgements and codes name commands in their remedies; they can run none (see the test above).
    let judges = |file: &str| {
        file.contains("/judge") || file == "controls/obstacle.rs" || in_layer(file, "model/code")
    };
    let found: Vec<String> = sources()
        .iter()
        .filter(|(file, _)| !in_layer(file, "system") && !in_layer(file, "rke2"))
        .filter(|(file, _)| !judges(file) && !MAY_CHANGE.contains(&file.as_str()))
        .flat_map(|(file, code)| {
            changing
                .iter()
                .filter(|word| code.contains(**word))
                .map(move |word| format!("src/{file} uses {word}"))
        })
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

/// Files outside of `system` that change something themselves: an account of an image, an entry of
/// etcd's tree, a kernel parameter, and files of our own in /run/nodeguard.
const MAY_CHANGE: [&str; 8] = [
    "controls/etcd_account/image.rs",
    "controls/etcd_account/image_locks.rs",
    "controls/etcd_account/locks.rs",
    "controls/etcd_data_dir/mend.rs",
    "controls/rke2_config/overrides.rs",
    "controls/sysctl/proc_sys.rs",
    "gate/look.rs",
    "gate/socket.rs",
];

#[test]
fn only_the_executor_calls_what_writes() {
    let writers = [
        "tree::own",
        "proc_sys::write",
        "tool::run",
        "image::set_primary_group",
        "image_locks::tidy",
        "files::replace",
        "mend::create_group",
        "mend::create_user",
        "mend::set_primary_group",
        "mend::set",
    ];
    let executors = [
        "engine/executor.rs",
        "controls/etcd_account/mend.rs",
        "controls/sysctl/mend.rs",
        "system/runtime.rs",
    ];
    let found: Vec<String> = sources()
        .iter()
        .filter(|(file, _)| !executors.contains(&file.as_str()))
        .flat_map(|(file, code)| {
            writers
                .iter()
                .filter(|word| code.contains(**word))
                .map(move |word| format!("src/{file} calls {word}"))
        })
        .collect();
    assert_eq!(found, Vec::<String>::new());
    // What these two files do is called by the executor alone.
    let menders = ["etcd_account::mend", "etcd_account::{image_locks, mend}", "sysctl::mend"];
    let callers: BTreeSet<String> = sources()
        .into_iter()
        .filter(|(_, code)| menders.iter().any(|word| code.contains(word)))
        .map(|(file, _)| file)
        .collect();
    assert_eq!(callers, BTreeSet::from(["engine/executor.rs".to_owned()]));
    // The account files of an image have a writer of their own, which keeps what a file has besides.
    let rewriters: Vec<String> = sources()
        .into_iter()
        .filter(|(_, code)| code.contains("rewrite::replace") || code.contains("rewrite::create"))
        .map(|(file, _)| file)
        .collect();
    assert_eq!(rewriters, ["controls/etcd_account/image.rs"]);
    let files = sources();
    let executor = &files.iter().find(|(file, _)| file == "engine/executor.rs").unwrap().1;
    let run = executor.split("pub fn run(").nth(1).unwrap().split("\n}\n").next().unwrap();
    assert!(!run.contains("\n        _ =>"), "every action is named in the executor");
    assert_eq!(run.matches("\n        Action::").count(), 6, "a new action is a decision");
}

#[test]
fn no_path_into_an_image_is_ever_made() {
    // What is looked up by such a path leaves the image by the first link in it, and so does a
    // program that is given one.
    let paths = ["root.path()", "image.path()"];
    for layer in ["system", "systemd", "controls"] {
        assert_eq!(offenders(layer, &paths), Vec::<String>::new());
    }
}

#[test]
fn only_the_daemon_and_the_commands_log() {
    let found: Vec<String> = sources()
        .iter()
        .filter(|(file, _)| !in_layer(file, "daemon") && file != "journal/mod.rs")
        .filter(|(file, _)| !in_layer(file, "cli"))
        .filter(|(_, code)| {
            ["crate::journal", "eprintln!", "println!", "eprint!("].iter().any(|w| code.contains(w))
        })
        .map(|(file, _)| file.clone())
        .collect();
    assert_eq!(found, Vec::<String>::new());
    // What the service manager was not told is logged in the thread that did not tell it.
    let found: Vec<String> = sources()
        .into_iter()
        .filter(|(_, code)| code.contains("tracing::"))
        .map(|(file, _)| file)
        .filter(|file| !in_layer(file, "journal") && file != "service.rs")
        .collect();
    assert_eq!(found, Vec::<String>::new(), "they log through the journal's entries");
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
