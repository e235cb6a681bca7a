// SPDX-License-Identifier: Apache-2.0
//! Our reading of TuneD's profiles against TuneD itself: its own loader, merger and plug-in, on
//! random profiles and files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nodeguard::sysctl_d::{Key, SetBy};
use nodeguard::system::root::Root;

use crate::layout::Chance;
use crate::{number, seed};

/// Paths below the pretended /proc/sys.
const KEYS: [&str; 4] =
    ["kernel/panic", "vm/panic_on_oom", "net/ipv4/conf/eth0.1/rp_filter", "vm/swappiness"];

/// The same as profiles and files name them, one in a second spelling.
const NAMES: [&str; 6] = [
    "kernel.panic",
    "kernel.panic",
    "kernel..panic",
    "vm.panic_on_oom",
    "net.ipv4.conf.eth0/1.rp_filter",
    "vm/swappiness",
];

/// What a parameter is at before anybody sets it.
const STOCK: &str = "77";

const PROFILES: [&str; 4] = ["a", "b", "c", "d"];

/// After this no further layout is made; TuneD does some fifty a second.
const LIMIT: Duration = Duration::from_secs(25);

/// TuneD in a root of its own.
struct Tuned {
    dir: tempfile::TempDir,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Tuned {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for own in ["etc/tuned", "usr/lib/tuned", "etc/sysctl.d", "run", "proc/sys"] {
            fs::create_dir_all(dir.path().join(own)).unwrap();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sysctl_d/tuned");
        let mut child = Command::new(script)
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { dir, child, input, output }
    }

    fn run(&mut self) -> BTreeMap<String, String> {
        writeln!(self.input.as_mut().unwrap(), "start").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("TuneD said {line:?}: {e}"))
    }
}

impl Drop for Tuned {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// Paths and texts; a text of `null` is a link to /dev/null.
struct Layout(Vec<(String, String)>);

impl Layout {
    fn random(chance: &mut Chance) -> Self {
        let mut files = vec![];
        let count = 1 + chance.below(PROFILES.len());
        let names = &PROFILES[..count];
        for name in names {
            let place = chance.of(&["etc/tuned/profiles", "usr/lib/tuned/profiles"]);
            files.push((format!("{place}/{name}/tuned.conf"), profile(chance, names)));
            if chance.one_in(4) {
                // Twice, so that one may include the other.
                let other = ["etc/tuned/profiles", "usr/lib/tuned/profiles"]
                    .into_iter()
                    .find(|other| *other != place)
                    .unwrap();
                files.push((format!("{other}/{name}/tuned.conf"), profile(chance, names)));
            }
        }
        let mut active = vec![chance.of(names)];
        if chance.one_in(3) {
            active.push(chance.of(names));
        }
        files.push(("etc/tuned/active_profile".into(), active.join(" ") + "\n"));
        let reapply =
            chance.of(&["", "1", "0", "0", "0", "true", "False", "no", "yes # x", "0 # x"]);
        let main = match reapply {
            "" => "daemon = 1\n".to_owned(),
            word => format!("daemon = 1\nreapply_sysctl = {word}\n"),
        };
        files.push(("etc/tuned/tuned-main.conf".into(), main));
        for name in ["10-a.conf", "60-rke2-cis.conf", "99-z.conf", "README"] {
            if chance.one_in(2) {
                let text = if chance.one_in(8) { "null".into() } else { conf(chance) };
                files.push((format!("etc/sysctl.d/{name}"), text));
            }
        }
        Self(files)
    }

    fn install(&self, root: &Path) {
        for emptied in ["etc/tuned", "usr/lib/tuned", "etc/sysctl.d"] {
            for entry in fs::read_dir(root.join(emptied)).unwrap() {
                let path = entry.unwrap().path();
                let removed =
                    if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.unwrap();
            }
        }
        for (path, text) in &self.0 {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if text == "null" {
                symlink("/dev/null", path).unwrap();
            } else {
                fs::write(path, text).unwrap();
            }
        }
        for key in KEYS {
            let path = root.join("proc/sys").join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{STOCK}\n")).unwrap();
        }
    }
}

fn profile(chance: &mut Chance, names: &[&str]) -> String {
    let mut text = String::new();
    if chance.one_in(2) {
        let included = chance.of(names);
        let more = chance.of(&["", "", ",-absent", " ; -absent"]);
        let _ = writeln!(text, "[main]\nsummary = x\ninclude = {included}{more}");
    }
    for _ in 0..1 + chance.below(4) {
        let section = chance.of(&["sysctl", "sysctl", "sysctl", "more", "net"]);
        let _ = writeln!(text, "[{section}]");
        for _ in 0..1 + chance.below(7) {
            let line = match chance.below(24) {
                0 => "type = sysctl".to_owned(),
                1 => format!("enabled = {}", chance.of(&["true", "false", "1", "0", "no"])),
                2 => format!("replace = {}", chance.of(&["true", "1", "0"])),
                3 => format!("drop = {}", chance.of(&NAMES)),
                4 => format!("drop = {}, {}", chance.of(&NAMES), chance.of(&NAMES)),
                5 => format!("# {} = 5", chance.of(&NAMES)),
                _ => {
                    let (name, equals) = (chance.of(&NAMES), chance.of(&["=", " = "]));
                    let value = chance.of(&[
                        "0", "1", "2", "3", "1 2", "\"4\"", "5 # why", "=6", "<5", ">99", "${x}",
                    ]);
                    format!("{name}{equals}{value}")
                }
            };
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

fn conf(chance: &mut Chance) -> String {
    let mut text = String::new();
    for _ in 0..1 + chance.below(4) {
        let (name, value) = (chance.of(&NAMES), chance.of(&["10", "11", "12", "1 2", "13 # x"]));
        let before = chance.of(&["", "", "", " ", "#", ";", "-"]);
        let _ = writeln!(text, "{before}{name} = {value}");
    }
    text
}

#[test]
fn every_value_that_tuned_leaves_is_the_one_that_it_really_leaves() {
    let wanted = number("NODEGUARD_TUNED_LAYOUTS").unwrap_or(800);
    let seed = seed();
    let mut chance = Chance::new(seed);
    let mut tuned = Tuned::start();
    let (mut mismatches, mut values, mut by_profile, mut by_file, mut depends) = (0, 0, 0, 0, 0);
    // The first one waits for the root to be there, and for Python.
    let mut began = None;
    let mut layouts = 0;
    while layouts < wanted {
        let layout = Layout::random(&mut chance);
        layout.install(tuned.dir.path());
        let sources =
            nodeguard::controls::sysctl::sources::observe(&Root::image(tuned.dir.path()).unwrap());
        let found = tuned.run();
        let began = *began.get_or_insert_with(Instant::now);
        for path in KEYS {
            let verdict = sources.verdict(&Key::parse(path).unwrap()).unwrap();
            let expected = match &verdict.leaves {
                Some(left) if left.set_by == SetBy::Tuned => {
                    by_profile += 1;
                    left.value.as_str()
                }
                Some(left) => {
                    by_file += 1;
                    left.value.as_str()
                }
                None if verdict.sets.is_some() => {
                    // On a variable, or on the value that is there.
                    depends += 1;
                    continue;
                }
                None => STOCK,
            };
            values += 1;
            if found[path] != expected {
                mismatches += 1;
                println!("{path}: TuneD leaves {:?}, we say {expected:?}", found[path]);
                println!("  layout {layouts} of seed {seed}:");
                layout.0.iter().for_each(|(path, text)| println!("    {path}: {text:?}"));
            }
        }
        layouts += 1;
        if mismatches >= 10 || began.elapsed() > LIMIT {
            break;
        }
    }
    println!(
        "TuneD: {layouts} layouts, {mismatches} mismatches (seed {seed}; {values} values, \
         {by_profile} set by profiles, {by_file} by files after them; {depends} that depend on \
         more were left out)"
    );
    assert_eq!(mismatches, 0);
    assert!(layouts >= wanted.min(100), "too few layouts in {LIMIT:?}");
    assert!(by_profile * 10 > values && by_file * 30 > values, "the layouts set next to nothing");
}
