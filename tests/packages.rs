// SPDX-License-Identifier: Apache-2.0
//! What the packages are made of, without making them: the list in Cargo.toml, and packaging/contents,
//! which packaging/check compares the packages themselves with.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use toml::de::DeTable;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Source, destination and mode, as a reader of TOML sees the list.
fn assets() -> Vec<[String; 3]> {
    let text = read("Cargo.toml");
    let manifest = DeTable::parse(&text).unwrap();
    let mut table = manifest.get_ref();
    for key in ["package", "metadata", "deb"] {
        table = table.get(key).unwrap().get_ref().as_table().unwrap();
    }
    let list = table.get("assets").unwrap().get_ref().as_array().unwrap();
    list.iter()
        .map(|asset| {
            let asset = asset.get_ref().as_array().unwrap();
            [0, 1, 2].map(|n| asset[n].get_ref().as_str().unwrap().to_owned())
        })
        .collect()
}

/// packaging/rpm.sh over a directory with a Cargo.toml.
fn rpm_assets(directory: &Path) -> Output {
    let root = env!("CARGO_MANIFEST_DIR");
    let lines = format!(
        "set -euo pipefail; . {root}/packaging/script.sh; . {root}/packaging/rpm.sh; rpm_assets"
    );
    Command::new("bash").args(["-c", &lines]).current_dir(directory).output().unwrap()
}

#[test]
fn every_file_of_the_list_is_in_both_packages_and_no_other() {
    let mut listed = BTreeSet::new();
    for [source, mut dest, mode] in assets() {
        if dest.ends_with('/') {
            dest.push_str(source.rsplit('/').next().unwrap());
        }
        // cargo-deb compresses these, as Debian's policy asks for.
        if dest.starts_with("usr/share/man/") || dest.ends_with("/changelog") {
            dest.push_str(".gz");
        }
        listed.insert((dest, mode));
    }
    // What cargo-deb adds by itself.
    for (dest, mode) in [
        ("usr/lib/systemd/system/nodeguard.service", "644"),
        ("usr/share/doc/nodeguard/changelog.Debian.gz", "644"),
        ("usr/share/doc/nodeguard/copyright", "644"),
    ] {
        assert!(listed.insert((dest.into(), mode.into())), "{dest} is listed, and added besides");
    }

    let contents = read("packaging/contents");
    let mut in_deb = BTreeSet::new();
    let mut in_one = Vec::new();
    for line in contents.lines().filter(|line| !line.starts_with('#')) {
        let [package, mode, owner, path] = line.split_whitespace().take(4).collect::<Vec<_>>()[..]
        else {
            panic!("packaging/contents: {line}");
        };
        assert_eq!(owner, "root/root", "{line}");
        let mode = match mode {
            "-rwxr-xr-x" => "755",
            "-rw-r--r--" => "644",
            _ => panic!("a mode that nothing of ours should have: {line}"),
        };
        let path = path.trim_start_matches('/').to_owned();
        if package != "rpm" {
            in_deb.insert((path.clone(), mode.to_owned()));
        }
        if package != "both" {
            in_one.push(path);
        }
    }
    assert_eq!(listed, in_deb, "packaging/build, then packaging/check --bless and a look at it");
    // What the program does anywhere is in both.
    for path in in_one {
        let distributions_differ =
            ["usr/share/doc/", "usr/share/licenses/", "usr/share/lintian/", "usr/share/zsh/"];
        assert!(distributions_differ.iter().any(|start| path.starts_with(start)), "{path}");
    }
}

#[test]
fn the_rpm_has_what_the_deb_has_where_its_distributions_look_for_it() {
    let output = rpm_assets(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let sources: BTreeSet<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
    for [source, dest, _] in assets() {
        let debians = dest.starts_with("usr/share/lintian/");
        assert_eq!(sources.contains(source.as_str()), !debians, "{source}:\n{said}");
    }

    let dir = TempDir::new().unwrap();
    let manifest = |line: &str| {
        let text = format!("[package.metadata.deb]\nassets = [\n    # a comment\n{line}\n]\n");
        fs::write(dir.path().join("Cargo.toml"), text).unwrap();
        let output = rpm_assets(dir.path());
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.success(), said.concat())
    };
    for (asset, expected) in [
        ("a/b\", \"usr/bin/\", \"755", "a/b usr/bin/b 755\n"),
        (
            "a/_x\", \"usr/share/zsh/vendor-completions/\", \"644",
            "a/_x usr/share/zsh/site-functions/_x 644\n",
        ),
        (
            "N.md\", \"usr/share/doc/nodeguard/changelog\", \"644",
            "N.md usr/share/doc/nodeguard/N.md 644\n",
        ),
    ] {
        let (fine, said) = manifest(&format!("    [\"{asset}\"],"));
        assert!(fine && said.starts_with(expected), "{asset}: {said}");
    }
    for asset in [
        r#"    { source = "a", dest = "usr/bin/", mode = "755" },"#,
        r#"    ["a", "usr/bin/"],"#,
        r#"    ["a b", "usr/bin/", "755"],"#,
        r#"    ["a", "usr/bin/", "755"], ["b", "usr/bin/", "755"],"#,
        r#"    ["a", "usr/bin/", "u=rwx"],"#,
        "",
    ] {
        let (fine, said) = manifest(asset);
        assert!(!fine && said.contains("Cargo.toml"), "{asset}: {said}");
    }
}
