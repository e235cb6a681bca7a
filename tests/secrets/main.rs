// SPDX-License-Identifier: Apache-2.0
//! A secret in every flag of RKE2's, in every form in which somebody may write it, right or wrong:
//! it is in nothing that nodeguard says.

#[path = "../rke2_image/mod.rs"]
mod rke2_image;

use std::path::Path;
use std::process::Command;

use nodeguard::journal::Entry;
use nodeguard::render;
use rke2_image::Image;

/// Nothing else says this.
const CANARY: &str = "K10c4n4ry5ecr3t";

/// Flags of which a plain word, or a path, is shown: none of them takes a secret. Whoever is in an
/// address is hidden in them as well.
const SHOWN: [&str; 22] = [
    "advertise-address",
    "bind-address",
    "cloud-provider-name",
    "cluster-cidr",
    "cluster-dns",
    "cluster-domain",
    "cni",
    "data-dir",
    "disable",
    "egress-selector-mode",
    "etcd-snapshot-retention",
    "ingress-controller",
    "node-external-ip",
    "node-ip",
    "node-name",
    "secrets-encryption-provider",
    "service-cidr",
    "service-node-port-range",
    "snapshotter",
    "tls-san",
    "v",
    "write-kubeconfig-mode",
];

struct Flag {
    name: &'static str,
    variables: Vec<&'static str>,
}

fn flags() -> Vec<Flag> {
    let lines = include_str!("flags.txt").lines().filter(|line| !line.starts_with('#'));
    let flags: Vec<Flag> = lines
        .map(|line| {
            let mut words = line.split(' ');
            let name = words.next().unwrap();
            let variables = words.nth(1).map(|names| names.split(',').collect());
            Flag { name, variables: variables.unwrap_or_default() }
        })
        .collect();
    assert!(flags.len() > 120, "{}", flags.len());
    flags
}

/// What holds the secret, and whether it is one for this flag.
fn secrets(flag: &str) -> Vec<String> {
    let mut out = vec![
        format!("https://me:{CANARY}@host.example/x"),
        format!("https://host.example/x?key={CANARY}"),
        format!("mysql://me:{CANARY}@tcp(host)/db"),
        format!("me:{CANARY}@host"),
        format!("client-secret={CANARY}"),
        format!("--token={CANARY}"),
        format!("--token {CANARY}"),
    ];
    if !SHOWN.contains(&flag) {
        out.push(CANARY.into());
    }
    out
}

/// Forms of a key with a value in a file; `F` and `S` are the flag and the secret.
const FORMS: [&str; 47] = [
    "F: S\n",
    "F: 'S'\n",
    "F: \"S\"\n",
    "F: |\n  S\n",
    "F: >-\n  S\n",
    "F: [S]\n",
    "F: ['S', x]\n",
    "F:\n- S\n- x\n",
    "F:\n- [S]\n",
    "F:\n- - S\n  - x\n",
    "F: {a: S}\n",
    "F:\n  a:\n    b: S\n",
    "F: {S: a}\n",
    "F+: S\n",
    "F+: [S]\n",
    "F: x\nF: S\n",
    "F: S\nF: x\n",
    "F: !!str S\n",
    "F: !!int S\n",
    "F: !!float S\n",
    "F: !!bool S\n",
    "F: !!null S\n",
    "F: !!timestamp S\n",
    "F: !!binary S\n",
    "F: !S x\n",
    "F: &a S\nx: *a\n",
    "x: &a S\nF: *a\n",
    "F: S\r\nx: y\r\n",
    "--F: S\n",
    "FF: S\n",
    "F : S\n",
    "F:S\n",
    "x: y\nF:S\n",
    "F=S\n",
    "F S\n",
    "x: y\nF S\n",
    "F: \"S\n",
    "F: 'S\n",
    "F: [S\n",
    "F: {S\n",
    "F: @S\n",
    "F: *S\n",
    "F: S\n  x: S\n",
    "F:\n\tS\n",
    "- F: S\n",
    "- S\n",
    "{\"F\": \"S\"\n\"x\": 1}\n",
];

impl Image {
    /// What stands behind RKE2's program in its unit.
    fn starts(&self, words: &str) {
        self.unit(&format!("ExecStart=/usr/local/bin/rke2 {words}\n"));
    }

    /// All that is said of it must not have the secret in it.
    #[track_caller]
    fn keeps_it(&self, what: &str) {
        self.keep_it(
            what,
            &[&["check", "--json"], &["explain", "rke2"], &["explain", "rke2", "--json"]],
        );
    }

    /// The same of everything that it can be asked.
    #[track_caller]
    fn keeps_it_whatever_is_asked(&self, what: &str) {
        self.keeps_it(what);
        self.keep_it(
            what,
            &[
                &["check"],
                &["check", "--json"],
                &["config"],
                &["config", "--json"],
                &["explain", "kernel.panic"],
                &["apply", "--json"],
                &["apply"],
            ],
        );
    }

    #[track_caller]
    fn keep_it(&self, what: &str, commands: &[&[&str]]) {
        let mut said = Vec::new();
        for &words in commands {
            let output = Command::new(env!("CARGO_BIN_EXE_nodeguard"))
                .args(words)
                .arg("--root")
                .arg(self.path())
                .output()
                .unwrap();
            for text in [&output.stdout, &output.stderr] {
                said.push((words.join(" "), String::from_utf8_lossy(text).into_owned()));
            }
            if words == ["check", "--json"] {
                said.extend(told(&output.stdout));
            }
        }
        assert!(said.iter().any(|(_, text)| text.contains("RKE2 configuration")), "{said:?}");
        // Nor a piece of it.
        for (command, text) in &said {
            for secret in [CANARY, &CANARY[3..], &CANARY[..8]] {
                let place = text.find(secret).map(|at| {
                    let from = (at.saturating_sub(200)..=at).find(|&n| text.is_char_boundary(n));
                    text[from.unwrap_or(at)..].chars().take(400).collect::<String>()
                });
                assert_eq!(place, None, "{command}, {what}");
            }
        }
    }
}

/// What gate, journal and status line make of a report.
fn told(json: &[u8]) -> Vec<(String, String)> {
    let view = render::parse(std::str::from_utf8(json).unwrap()).unwrap();
    let mut said = vec![("check".into(), render::text(&view))];
    for finding in view.findings() {
        said.push(("gate".into(), render::finding_text(finding, "nodeguard: ")));
        said.push(("status".into(), render::finding_line(finding)));
    }
    said
}

#[test]
fn no_form_of_a_key_in_a_file_shows_its_value() {
    let flags = flags();
    for (at, form) in FORMS.into_iter().enumerate() {
        for bare in [true, false] {
            let image = Image::new();
            for (number, flag) in flags.iter().enumerate() {
                let secrets = secrets(flag.name);
                // The last is the secret alone, where that is one for this flag; the others take
                // turns.
                let secret = match bare {
                    true => secrets.last().unwrap(),
                    false => &secrets[(at + number) % 7],
                };
                let text = form.replace("FF", &format!("{}x", flag.name));
                let text = text.replace('F', flag.name).replace('S', secret);
                // A file each: where one is broken, nothing else in it is read.
                image.write(&format!("etc/rancher/rke2/config.yaml.d/{}.yaml", flag.name), &text);
            }
            let what = format!("{form:?}");
            if at % 8 == 0 {
                image.keeps_it_whatever_is_asked(&what)
            } else {
                image.keeps_it(&what)
            }
        }
    }
}

#[test]
fn what_an_operator_looks_for_is_shown() {
    let image = Image::new();
    let text = format!("profile: cis\ntls-san: {CANARY}\nserver: https://u:p@s.example:9345\n");
    image.write("etc/rancher/rke2/config.yaml", &text);
    let output = Command::new(env!("CARGO_BIN_EXE_nodeguard"))
        .args(["explain", "rke2", "--root"])
        .arg(image.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for shown in
        ["profile = cis", &format!("tls-san = {CANARY}"), "server = https://s.example:9345"]
    {
        assert!(text.contains(shown), "{shown}: {text}");
    }
}

#[test]
fn a_file_that_is_a_secret_and_nothing_else_is_not_shown() {
    for text in [CANARY, "? K10c4n4ry5ecr3t\n", "K10c4n4ry5ecr3t: token\n", "\"K10c4n4ry5ecr3t\n"] {
        let image = Image::new();
        image.write("etc/rancher/rke2/config.yaml", text);
        image.keeps_it_whatever_is_asked(text);
    }
}

#[test]
fn no_form_of_a_command_line_shows_a_value() {
    for form in [
        "--F=S", "--F S", "-F S", "-F=S", "---F=S", "---F S", "--=S", "--F \"S", "S", "--S", "-S=x",
    ] {
        for (number, _) in secrets("token").iter().enumerate() {
            let words = |flag: &Flag| {
                let secret = secrets(flag.name).get(number)?.replace("--token ", "token ");
                Some(form.replace('F', flag.name).replace('S', &secret))
            };
            let all: Vec<String> = flags().iter().filter_map(words).collect();
            let image = Image::new();
            image.starts(&format!("server {}", all.join(" ")));
            image.keeps_it(&format!("{form:?} with secret {number}"));
        }
    }
    for line in ["-t S", "-s https://me:S@h", "-c https://me:S@h/c", "--config=https://me:S@h/c?S"]
    {
        let image = Image::new();
        image.starts(&format!("server {}", line.replace('S', CANARY)));
        image.keeps_it(line);
    }
    let image = Image::new();
    let line = format!("sh -c 'exec rke2 server --token {CANARY}'");
    image.starts(&line);
    image.keeps_it(&line);
}

#[test]
fn no_variable_shows_its_value() {
    for (number, _) in secrets("token").iter().enumerate() {
        let image = Image::new();
        let mut lines = String::new();
        for flag in flags() {
            // The address alone, since another configuration is read then.
            for variable in flag.variables.iter().filter(|name| **name != "RKE2_CONFIG_FILE") {
                if let Some(secret) = secrets(flag.name).get(number) {
                    lines += &format!("{variable}={secret}\n");
                }
            }
        }
        assert!(lines.contains("RKE2_TOKEN=") && lines.contains("RKE2_URL="), "{lines}");
        lines += &format!("RKE2_SOMETHING_NEW={CANARY}\nOTHER={CANARY}\n");
        image.write("etc/default/rke2-server", &lines);
        image.keeps_it(&format!("variables with secret {number}"));
    }
    for value in ["https://me:S@h/c", "https:/me:S@h/c", "S", "/etc/c --token S"] {
        let image = Image::new();
        let value = value.replace('S', CANARY);
        image.write("etc/default/rke2-server", &format!("RKE2_CONFIG_FILE={value}\n"));
        image.keeps_it(&value);
    }
}

#[test]
fn the_journal_says_of_a_finding_what_the_report_does() {
    let image = Image::new();
    let path = Path::new("etc/rancher/rke2/config.yaml");
    image.write(path.to_str().unwrap(), &format!("token: !!int {CANARY}\n"));
    let root = nodeguard::system::root::Root::image(image.path()).unwrap();
    let mut engine = nodeguard::engine::Engine::new(root, None);
    let pass = engine.pass(nodeguard::engine::Mode::Check, &mut |_, _| {});
    let mut entries = 0;
    for finding in pass.report.findings() {
        let entry = format!("{:?}", Entry::finding(finding));
        assert!(!entry.contains(CANARY), "{entry}");
        entries += 1;
    }
    assert!(entries > 0);
    assert!(!render::status_line(&pass.report, 0).contains(CANARY));
}
