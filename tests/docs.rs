// SPDX-License-Identifier: Apache-2.0
//! The documents are true where a program can tell: links lead somewhere, files that are named
//! exist, the map has every folder and says who uses whom, a decision has its form and its line in
//! the index, and SECURITY.md names tests that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every file of the repository whose name ends so, as a path in it. What is built or hidden is left
/// out, except the forms of the hosting site.
fn files(ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending: Vec<PathBuf> = vec![repository().to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if entry.file_type().unwrap().is_dir() {
                if name != "target" && (!name.starts_with('.') || name == ".github") {
                    pending.push(path);
                }
            } else if name.ends_with(ending) {
                found.push(path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The parts of a text between two marks, without the blocks of code.
fn between<'a>(text: &'a str, open: &str, close: char) -> Vec<&'a str> {
    text.split("```")
        .step_by(2)
        .flat_map(|prose| prose.split(open).skip(1).filter_map(|rest| rest.split(close).next()))
        .collect()
}

/// What stands between backquotes, in a line or in prose.
fn quoted(text: &str) -> Vec<String> {
    let lines = text.split("```").step_by(2).flat_map(str::lines);
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// The title of a heading as it is linked to.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    heading.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let documents = files(".md");
    assert!(documents.len() > 40, "they were found: {documents:?}");
    let mut broken = Vec::new();
    let mut seen = 0;
    for document in &documents {
        for link in between(&read(document), "](", ')') {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (path, place) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => repository().join(document),
                path => repository().join(document).parent().unwrap().join(path),
            };
            if !target.exists() {
                broken.push(format!("{document}: ({link}) is not there"));
            } else if !place.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let mut headings = headings.map(|line| anchor(line.trim_start_matches('#')));
                if !headings.any(|heading| heading == place) {
                    broken.push(format!("{document}: ({link}) has no such heading"));
                }
            }
        }
    }
    assert!(seen > 60, "links were found: {seen}");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let mut missing = Vec::new();
    let mut seen = 0;
    for document in files(".md").iter().filter(|name| *name != "CHANGELOG.md") {
        for name in quoted(&read(document)) {
            let word = name.split([' ', ':']).next().unwrap_or_default();
            let ours = ["src/", "tests/", "docs/", "packaging/", "systemd/", "fuzz/", ".github/"];
            if !ours.iter().any(|folder| word.starts_with(folder)) || word.contains(['*', '<', '…'])
            {
                continue;
            }
            seen += 1;
            if !repository().join(word).exists() {
                missing.push(format!("{document} names `{word}`"));
            }
        }
    }
    assert!(seen > 100, "names of files were found: {seen}");
    assert!(missing.is_empty(), "no such file; did it move?\n{}", missing.join("\n"));
}

#[test]
fn a_decision_has_its_form_and_its_line_in_the_index() {
    let index = read("docs/decisions/README.md");
    let mut wrong = Vec::new();
    let mut numbers = BTreeSet::new();
    let pages: Vec<String> = files(".md")
        .into_iter()
        .filter_map(|file| file.strip_prefix("docs/decisions/").map(str::to_owned))
        .filter(|name| name != "README.md")
        .collect();
    assert!(pages.len() > 30, "they were found: {pages:?}");
    for page in &pages {
        let text = read(&format!("docs/decisions/{page}"));
        let (number, _) = page.split_once('-').unwrap_or((page, ""));
        if number.len() != 4 || number.parse::<u32>().is_err() || !numbers.insert(number) {
            wrong.push(format!("{page}: its name begins with four digits that no other page has"));
        }
        let title = text.lines().next().unwrap_or_default();
        let Some(title) = title.strip_prefix(&format!("# {number}. ")) else {
            wrong.push(format!("{page}: its first line is `# {number}. A decision as a sentence`"));
            continue;
        };
        if !index.lines().any(|line| line == format!("* [{number}]({page}) {title}")) {
            wrong.push(format!("README.md lacks the line: * [{number}]({page}) {title}"));
        }
        if !text.lines().any(|line| line.starts_with("Status: ") && line.contains("Date: 20")) {
            wrong.push(format!("{page}: no line `Status: accepted. Date: YYYY-MM-DD`"));
        }
        let headings: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("## ")).collect();
        let form = [
            "Context",
            "Decision",
            "Alternatives considered",
            "Consequences",
            "What would change it",
        ];
        if headings != form {
            wrong.push(format!("{page}: its headings are {headings:?}, expected {form:?}"));
        }
    }
    assert!(wrong.is_empty(), "docs/decisions:\n{}", wrong.join("\n"));
}

/// A row of the map.
struct Row {
    layers: BTreeSet<String>,
    /// What they may use; `None`: everything but `except`.
    only: Option<BTreeSet<String>>,
    except: Vec<String>,
}

fn map() -> Vec<Row> {
    let text = read("ARCHITECTURE.md");
    let rows = text.lines().filter(|line| line.starts_with("| `src/"));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let [paths, _, uses] = cells[..] else { panic!("the map has three columns: {line}") };
        let layers = quoted(paths)
            .iter()
            .filter_map(|path| path.strip_prefix("src/"))
            .map(|path| path.trim_end_matches('/').trim_end_matches(".rs").to_owned())
            .collect();
        let all = uses.trim().starts_with("everything");
        let except = if all { quoted(uses) } else { Vec::new() };
        Row { layers, only: (!all).then(|| quoted(uses).into_iter().collect()), except }
    })
    .collect()
}

/// Which layers each layer uses, by its imports, tests left out.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files(".rs") {
        let Some(inside) = file.strip_prefix("src/") else { continue };
        let layer = inside.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        if ["lib", "main"].contains(&layer.as_str()) {
            continue;
        }
        let text = read(&file);
        let code = text.split("\n#[cfg(test)]").next().unwrap();
        let code: String = code
            .lines()
            .filter(|l| !l.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        let uses = out.entry(layer.clone()).or_default();
        for rest in code.split("crate::").skip(1) {
            let name = |text: &str| -> String {
                text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
            };
            match rest.strip_prefix('{') {
                // `use crate::{a, b::c}`: what stands at the first level of the braces.
                Some(list) => {
                    let mut depth = 0;
                    let mut part = String::new();
                    for c in list.chars() {
                        match c {
                            '{' => depth += 1,
                            '}' if depth == 0 => break,
                            '}' => depth -= 1,
                            ',' if depth == 0 => {
                                uses.insert(name(&part));
                                part.clear();
                                continue;
                            }
                            _ => {}
                        }
                        part.push(c);
                    }
                    uses.insert(name(&part));
                }
                None => {
                    uses.insert(name(rest));
                }
            }
        }
        uses.remove(&layer);
        uses.remove("");
    }
    out
}

#[test]
fn the_map_has_every_layer_and_says_whom_it_uses() {
    let map = map();
    let mut wrong = Vec::new();
    for (layer, used) in imports() {
        let Some(row) = map.iter().find(|row| row.layers.contains(&layer)) else {
            wrong.push(format!("the table lacks a row of `src/{layer}`"));
            continue;
        };
        for other in used {
            let allowed = row.only.as_ref().is_none_or(|only| only.contains(&other));
            if !allowed || row.except.contains(&other) {
                wrong.push(format!("`src/{layer}` uses `{other}`, which its row does not allow"));
            }
        }
    }
    assert!(wrong.is_empty(), "ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

/// The names of the tests of a file: what follows an attribute that ends in `test]`.
fn tests_of(file: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(repository().join(file)).unwrap_or_default();
    let after = text.split("test]\n").skip(1).filter_map(|rest| rest.split("fn ").nth(1));
    after.filter_map(|rest| rest.split('(').next().map(str::to_owned)).collect()
}

#[test]
fn every_test_that_the_page_on_security_names_is_one() {
    // Names that are longer than a line's words stand in backquotes all the same.
    let text = read("SECURITY.md");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for name in quoted(&text) {
        let looks_like_one = name.matches('_').count() > 3;
        match name.split_once(": ") {
            Some((file, test)) if file.ends_with(".rs") => {
                seen += 1;
                if !tests_of(file).contains(test) {
                    wrong.push(format!("`{file}` has no test `{test}`"));
                }
            }
            _ if looks_like_one => wrong.push(format!("`{name}` does not say in which file it is")),
            _ => {}
        }
    }
    assert!(seen > 50, "tests were found: {seen}");
    let backquotes = text.lines().filter(|line| line.matches('`').count() % 2 == 1);
    wrong.extend(backquotes.map(|line| format!("a name goes over the end of its line: {line}")));
    assert!(wrong.is_empty(), "SECURITY.md:\n{}", wrong.join("\n"));
}

#[test]
fn the_map_is_short_enough_to_be_read() {
    let words = read("ARCHITECTURE.md").split_whitespace().count();
    assert!(words <= 1500, "ARCHITECTURE.md has {words} words; reasons go to docs/decisions");
}

#[test]
fn every_name_in_the_glossary_is_still_in_the_file_that_it_names() {
    let mut gone = Vec::new();
    let mut seen = 0;
    for line in read("docs/glossary.md").lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, place, _, _] = cells[..] else { continue };
        let places = quoted(place);
        for name in quoted(name) {
            seen += 1;
            let found = places.iter().any(|place| {
                fs::read_to_string(repository().join(place)).is_ok_and(|text| text.contains(&name))
            });
            if !found {
                gone.push(format!("`{name}` is not in {place}; was it renamed?"));
            }
        }
    }
    assert!(seen > 20, "names were found: {seen}");
    assert!(gone.is_empty(), "docs/glossary.md:\n{}", gone.join("\n"));
}
