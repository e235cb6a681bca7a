// SPDX-License-Identifier: Apache-2.0
//! nodeguard(8) names everything that scripts match on: codes of findings, fields of JSON and of
//! the journal, members of the D-Bus interfaces. Taken from the program, its source and the golden
//! files, so that nothing can be added and not be told.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nodeguard::model::{Code, ControlId};
use nodeguard::render::explain_code::sentence;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// One section of the manual, as plain words.
fn section(name: &str) -> String {
    let text = read("packaging/man/nodeguard.8").replace("\\-", "-");
    let from = text.split(&format!("\n.SH {name}\n")).nth(1);
    let section = from.unwrap_or_else(|| panic!("the manual has no section {name}"));
    section.split("\n.SH ").next().unwrap().to_owned()
}

/// Everything in a text that can be a name.
fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
        .map(|word| word.trim_matches('-').to_owned())
        .collect()
}

fn not_in(section: &str, names: impl IntoIterator<Item = String>) -> Vec<String> {
    let told = words(section);
    names.into_iter().filter(|name| !told.contains(name)).collect()
}

/// The Rust sources below a path, without comments and tests.
fn code(path: &str) -> String {
    let mut out = String::new();
    let mut pending: Vec<PathBuf> = vec![repository().join(path)];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("\n#[cfg(test)]").next().unwrap();
            let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            lines.for_each(|line| {
                out += line;
                out.push('\n');
            });
        }
    }
    out
}

/// String literals that consist of these characters only.
fn literals(code: &str, allowed: impl Fn(char) -> bool) -> BTreeSet<String> {
    code.lines()
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|text| !text.is_empty() && text.chars().all(&allowed))
        .map(str::to_owned)
        .collect()
}

/// What the manual has below the title of a control about its codes, or below "Any control".
fn told_about(title: &str) -> String {
    let mut out = String::new();
    for code in Code::ALL {
        let controls = code.controls();
        let above = match controls.len() {
            all if all == ControlId::ALL.len() => "Any control",
            _ => controls[0].as_str(),
        };
        if above != title {
            continue;
        }
        let name = code.as_str().replace('-', "\\-");
        let severities: Vec<_> = code.severities().iter().map(|s| s.as_str()).collect();
        out += &format!(".TP\n.BR {name} \" ({})\"\n", severities.join(", "));
        out += &format!(
            "{}\n.br\n{}\n",
            roff(code.cause()),
            roff(&format!("To do: {}", code.remedy()))
        );
        for rule in code.when_fatal().rules() {
            out += &format!(".br\n{}\n", roff(&format!("Fatal: {}.", sentence(rule))));
        }
    }
    out
}

/// A text as the source of a manual page: what stands between backticks in bold, in lines of a length
/// that one can read.
fn roff(text: &str) -> String {
    let literal = |(n, part): (usize, &str)| match n % 2 {
        0 => part.to_owned(),
        _ => format!("\\fB{}\\fR", part.replace('-', "\\-").replace('\'', "\\(aq")),
    };
    let text: String = text.split('`').enumerate().map(literal).collect();
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().unwrap();
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= 80 {
            line.push_str(&format!(" {word}"));
        } else {
            lines.push(word.to_owned());
        }
    }
    // Such a line would be a request.
    let quoted = |line: &String| match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line.clone(),
    };
    lines.iter().map(quoted).collect::<Vec<_>>().join("\n")
}

/// What is said of the codes themselves comes from the program; `NODEGUARD_BLESS=1` writes it anew.
#[test]
fn the_manual_tells_of_each_code_what_the_program_does_and_of_no_other() {
    const MANUAL: &str = "packaging/man/nodeguard.8";
    let manual = read(MANUAL);
    let from = manual.find("\n.SH FINDINGS\n").unwrap() + 1;
    let to = from + manual[from..].find("\n.SH JOURNAL\n").unwrap() + 1;
    let mut section = String::new();
    let mut titles = Vec::new();
    for (n, part) in manual[from..to].split(".SS ").enumerate() {
        if n == 0 {
            section += part;
            continue;
        }
        let title = part.lines().next().unwrap().replace("\\-", "-");
        // What stands above the codes is the manual's own.
        let above = part.split(".TP\n").next().unwrap();
        section += &format!(".SS {above}{}", told_about(&title));
        titles.push(title);
    }
    let mut all: Vec<_> = ControlId::ALL.iter().map(|id| id.as_str()).collect();
    all.push("Any control");
    assert_eq!(titles, all, "each control has its codes below its name");
    for code in Code::ALL {
        let name = code.as_str().replace('-', "\\-");
        assert_eq!(section.matches(&format!("\n.BR {name} \" (")).count(), 1, "{code}");
    }
    if std::env::var_os("NODEGUARD_BLESS").is_some() {
        let manual = [&manual[..from], &section, &manual[to..]].concat();
        fs::write(repository().join(MANUAL), manual).unwrap();
        return;
    }
    for (told, expected) in manual[from..to].lines().zip(section.lines()) {
        assert_eq!(told, expected, "NODEGUARD_BLESS=1 writes it anew");
    }
    assert_eq!(manual[from..to].len(), section.len());
}

#[test]
fn every_field_and_every_kind_of_entry_of_the_journal_is_in_the_manual() {
    let upper = |c: char| c.is_ascii_uppercase() || c == '_';
    let mut fields = literals(&code("src/journal/mod.rs"), upper);
    assert!(fields.contains("NODEGUARD_CODE") && fields.contains("OURVALUE"), "{fields:?}");
    // What every entry of every program has, and a variable of systemd's.
    for common in ["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "JOURNAL_STREAM"] {
        fields.remove(common);
    }
    // Read from the source as well: a kind of entry that is new must be in the manual.
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let ids = literals(&code("src/journal/mod.rs"), hex);
    let kinds: Vec<_> = ids.into_iter().filter(|id| id.len() == 32).collect();
    assert!(kinds.len() > 3, "{kinds:?}");
    fields.extend(kinds);
    assert_eq!(not_in(&section("JOURNAL"), fields), Vec::<String>::new());
}

/// The names of fields, at any depth.
fn keys(value: &serde_json::Value, out: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            out.insert(key.clone());
            keys(value, out);
        }),
        serde_json::Value::Array(values) => values.iter().for_each(|value| keys(value, out)),
        _ => {}
    }
}

#[test]
fn every_field_of_every_json_is_in_the_manual() {
    for (snapshot, name, more) in [
        (
            "src/render/snapshots/nodeguard__render__tests__report.json.snap",
            "JSON OF THE REPORT",
            &["recent", "unknown", "corrections_left_out", "demoted_by"][..],
        ),
        (
            "src/render/snapshots/nodeguard__render__explain__tests__explain.json.snap",
            "JSON OF EXPLAIN",
            &[],
        ),
        (
            "src/render/snapshots/nodeguard__render__explain_code__tests__explain_code.json.snap",
            "JSON OF EXPLAIN CODE",
            &[],
        ),
        (
            "src/render/snapshots/nodeguard__render__explain_rke2__tests__explain_rke2.json.snap",
            "JSON OF EXPLAIN RKE2",
            &[],
        ),
        (
            "tests/own_config/snapshots/own_config__config.json.snap",
            "JSON OF THE CONFIGURATION",
            &["subject", "expected", "actual", "message", "remedy"],
        ),
    ] {
        let text = read(snapshot);
        // Behind the head of the file.
        let json = text.splitn(3, "---\n").nth(2).unwrap();
        let mut fields = BTreeSet::new();
        keys(&serde_json::from_str(json).unwrap(), &mut fields);
        assert!(fields.contains("schema"), "{snapshot}");
        fields.extend(more.iter().map(|field| (*field).to_owned()));
        assert_eq!(not_in(&section(name), fields), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn every_member_of_the_bus_interfaces_is_in_the_manual() {
    let xml = read("packaging/dbus/org.nodeguard.NodeGuard1.xml");
    let mut members = Vec::new();
    for kind in ["<method name=\"", "<signal name=\"", "<property name=\""] {
        let named = xml.split(kind).skip(1).filter_map(|rest| rest.split('"').next());
        members.extend(named.map(str::to_owned));
    }
    assert!(members.len() > 15, "{members:?}");
    assert_eq!(not_in(&section("D-BUS"), members), Vec::<String>::new());
}
