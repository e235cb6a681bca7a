// SPDX-License-Identifier: Apache-2.0
//! A profile that a file plainly means and RKE2 does not take: below another key, in a list, behind
//! an empty first document, or under a key that has an invisible character or a slip in it. RKE2
//! says a line about a key that it skips, or nothing, and starts without a profile.
//!
//! This looks at lines and not at YAML: what is looked for is what a person reads there.

use super::{FileContent, Inputs, SourceFile, flags, shown, yaml};
use crate::model::{Origin, Role};

/// The longest key or value that is compared.
const LONGEST: usize = 64;

/// Keys under which somebody writes what RKE2 takes at the top of the file alone; their letters and
/// digits. RKE2 has flags of the names of some, and none that takes a mapping.
const WRAPPERS: [&str; 13] = [
    "agent",
    "agentconfig",
    "config",
    "machineglobalconfig",
    "machineselectorconfig",
    "rke2",
    "rke2agent",
    "rke2config",
    "rke2server",
    "rkeconfig",
    "server",
    "serverconfig",
    "spec",
];

/// Why RKE2 does not take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// It is below a key that is only there to hold others, or in a list.
    Nested,
    /// It is below a key that RKE2 does not know and that may mean something by itself.
    Below,
    /// The key is another one: a slip, or a character that cannot be seen.
    Key,
    /// The first document of the file is empty, and RKE2 reads no other.
    EmptyFirstDocument,
    /// It is in a later document, and the first one has settings.
    LaterDocument,
    /// It is a variable that RKE2 does not know.
    Variable,
}

/// A profile that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meant {
    pub form: Form,
    /// The key as it is written, with what cannot be seen spelled as `U+200B`.
    pub written: String,
    pub value: String,
    pub origin: Origin,
}

/// What the files that RKE2 reads, and its environment, mean for a profile where none is set.
pub(super) fn meant(inputs: &Inputs) -> Option<Meant> {
    let mut files: Vec<&SourceFile> = inputs.drop_ins.iter().collect();
    files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    let found = std::iter::once(&inputs.base).chain(files).filter_map(in_file);
    // One that would have made RKE2 start hardened comes first.
    let mut found: Vec<Meant> = found.collect();
    found.sort_by_key(|meant| matches!(meant.form, Form::LaterDocument | Form::Below));
    found.into_iter().next().or_else(|| in_environment(inputs))
}

/// The profile that a file with this content sets or means, and its line: of a file that RKE2 does not
/// read at all.
pub fn profile_in(content: &[u8]) -> Option<(String, u32)> {
    let text = String::from_utf8_lossy(content);
    scan(&text).into_iter().find(|hit| !hit.doubtful).map(|hit| (hit.value, hit.line))
}

fn in_file(file: &SourceFile) -> Option<Meant> {
    let FileContent::Bytes(bytes) = &file.content else { return None };
    let text = std::str::from_utf8(bytes).ok()?;
    let hits = scan(text);
    let hit = hits.iter().min_by_key(|hit| (hit.doubtful, hit.document > 0))?;
    let form = match hit.document {
        _ if hit.doubtful => Form::Below,
        0 if hit.key.trim() == "profile" => Form::Nested,
        0 => Form::Key,
        _ if yaml::parse(bytes).is_ok_and(|entries| entries.is_empty()) => Form::EmptyFirstDocument,
        _ => Form::LaterDocument,
    };
    Some(Meant {
        form,
        written: spelled(&hit.key),
        value: hit.value.clone(),
        origin: Origin::at(&file.path, hit.line),
    })
}

/// `RKE2_PROFILE=cis`, where RKE2 looks for `RKE2_CIS_PROFILE`.
fn in_environment(inputs: &Inputs) -> Option<Meant> {
    let ours = inputs.environment.iter().filter(|v| v.name.starts_with("RKE2_"));
    let mut means = ours.filter(|v| is_key(&v.name["RKE2_".len()..]) && is_profile(&v.value));
    means.next_back().map(|variable| Meant {
        form: Form::Variable,
        written: spelled(&variable.name),
        value: variable.value.clone(),
        origin: variable.origin.clone(),
    })
}

/// A key that reads as `profile`, with a value that is one.
#[derive(Debug)]
struct Hit {
    key: String,
    value: String,
    line: u32,
    /// Counted from 0.
    document: u32,
    /// A key above it may mean something by itself.
    doubtful: bool,
}

/// A key that has others below it.
#[derive(Debug)]
struct Level {
    /// How far it is indented; `None` for what a bracket opens.
    column: Option<usize>,
    /// Empty for a bracket that has none before it.
    key: String,
}

/// Whether something below these keys may mean what they do not say; `None` where it surely does: the
/// value of a flag is that flag's.
fn doubtful(above: &[Level]) -> Option<bool> {
    let mut doubtful = false;
    for level in above.iter().filter(|level| !level.key.is_empty()) {
        let plain = level.key.trim_matches(['-', '+', ' ']);
        let letters: String = plain.chars().filter(char::is_ascii_alphanumeric).collect();
        if WRAPPERS.contains(&letters.to_ascii_lowercase().as_str()) {
            continue;
        }
        if [Role::Server, Role::Agent].iter().any(|role| flags::is_known(*role, plain)) {
            return None;
        }
        doubtful = true;
    }
    Some(doubtful)
}

fn scan(text: &str) -> Vec<Hit> {
    let mut hits = Vec::new();
    let (mut document, mut explicit, mut content) = (0, false, false);
    // The indentation of what has a block of text below it.
    let mut block: Option<usize> = None;
    // A key whose value may follow on the next line, and whether it is doubtful.
    let mut pending: Option<(String, u32, bool)> = None;
    let mut above: Vec<Level> = Vec::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let mut line = line;
        if let Some((mark, rest)) = marker(line) {
            document += u32::from(explicit || content);
            (explicit, content) = (mark == "---", false);
            (block, pending) = (None, None);
            above.clear();
            line = rest;
        }
        let bare = line.trim();
        if bare.is_empty() || !content && line.starts_with('%') {
            continue;
        }
        let indentation = line.len() - line.trim_start_matches(' ').len();
        if block.is_some_and(|above| indentation > above) {
            continue;
        }
        block = None;
        let mut column = column(line, indentation, &mut above);
        for (piece, mark) in pieces(line) {
            content = true;
            let piece = without_indicators(piece);
            let pair = pair(piece);
            let doubt = doubtful(&above);
            match &pair {
                Some((key, value)) => {
                    pending = None;
                    if value.starts_with(['|', '>']) {
                        block = Some(indentation);
                    } else if let (true, Some(doubtful)) = (is_key(key), doubt) {
                        if value.is_empty() {
                            pending = Some((key.clone(), number, doubtful));
                        } else if is_profile(value) {
                            let (key, value) = (key.clone(), value.clone());
                            hits.push(Hit { key, value, line: number, document, doubtful });
                        }
                    }
                }
                None if piece.trim().is_empty() => {}
                None => {
                    let value = unquoted(piece);
                    if let Some((key, line, doubtful)) =
                        pending.take().filter(|_| is_profile(&value))
                    {
                        hits.push(Hit { key, value, line, document, doubtful });
                    }
                }
            }
            enter(&mut above, pair, column.take(), piece.trim().is_empty(), mark);
        }
    }
    hits
}

/// Leaves the keys that what stands on a line is not below, and gives the column of the line's own
/// key; `None` within brackets.
fn column(line: &str, indentation: usize, above: &mut Vec<Level>) -> Option<usize> {
    if above.last().is_some_and(|level| level.column.is_none()) {
        return None;
    }
    let text = line.trim_start_matches(' ');
    let own = without_indicators(text);
    // A list may begin in the column of its key.
    let is_item = text.starts_with("- ") || text.trim_end() == "-";
    above.retain(|level| {
        level.column.is_some_and(|at| at < indentation || is_item && at == indentation)
    });
    Some(indentation + text.trim_end_matches([' ', '\t']).len() - own.len())
}

/// Goes below a key, or below what a bracket opens behind a piece, or out of it.
fn enter(
    above: &mut Vec<Level>,
    pair: Option<(String, String)>,
    column: Option<usize>,
    is_empty: bool,
    mark: Option<char>,
) {
    let within = above.last().is_some_and(|level| level.column.is_none());
    // Behind other text a bracket is text as well.
    let opens = is_empty || pair.as_ref().is_some_and(|(_, value)| value.is_empty());
    let key = pair.map(|(key, _)| key).unwrap_or_default();
    match mark {
        Some('{' | '[') if opens => above.push(Level { column: None, key: key.clone() }),
        Some('}' | ']') if within => drop(above.pop()),
        _ => {}
    }
    if let (Some(_), false) = (column, key.is_empty()) {
        let place = above.len() - usize::from(matches!(mark, Some('{' | '[')) && opens);
        above.insert(place, Level { column, key });
    }
}

/// A document marker at the beginning of a line, and what follows it.
fn marker(line: &str) -> Option<(&str, &str)> {
    let (mark, rest) = line.split_at_checked(3)?;
    let whole = rest.is_empty() || rest.starts_with([' ', '\t', '\r']);
    (["---", "..."].contains(&mark) && whole).then_some((mark, rest))
}

/// What stands between brackets, braces and commas, without a comment, each with the one behind it.
fn pieces(line: &str) -> Vec<(&str, Option<char>)> {
    let mut out = Vec::new();
    let (mut start, mut quote, mut before) = (0, None, ' ');
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open && before != '\\' => quote = None,
            (Some(_), _) => {}
            // A quotation mark begins something; within a word it is one like any other.
            (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(c),
            (None, '#') if before.is_whitespace() => {
                out.push((&line[start..at], None));
                return out;
            }
            (None, '{' | '}' | '[' | ']' | ',') => {
                out.push((&line[start..at], Some(c)));
                start = at + 1;
            }
            _ => {}
        }
        before = c;
    }
    out.push((&line[start..], None));
    out
}

/// Without the dashes of lists and the question mark of a key.
fn without_indicators(piece: &str) -> &str {
    let blank = [' ', '\t'];
    let mut piece = piece.trim_matches(blank);
    while let Some(rest) = piece.strip_prefix(['-', '?']).filter(|rest| rest.starts_with(blank)) {
        piece = rest.trim_start_matches(blank);
    }
    piece
}

/// `key: value`, both without quotes.
fn pair(piece: &str) -> Option<(String, String)> {
    let quoted = piece.chars().next().filter(|c| ['"', '\''].contains(c));
    let behind = match quoted {
        Some(quote) => piece[1..].find(quote).map(|at| at + 2)?,
        None => 0,
    };
    let colon = piece[behind..].match_indices(':').map(|(at, _)| behind + at).find(|at| {
        let rest = &piece[at + 1..];
        quoted.is_some() || rest.is_empty() || rest.starts_with(char::is_whitespace)
    })?;
    let key = match quoted {
        Some(_) => &piece[1..behind - 1],
        None => piece[..colon].trim_end_matches([' ', '\t']),
    };
    (key.len() <= LONGEST).then(|| (key.to_owned(), unquoted(&piece[colon + 1..])))
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_prefix("!!str").unwrap_or(text).trim_start();
    text.trim_matches(['"', '\'']).trim().to_owned()
}

/// Whether a key reads as `profile`: whatever is no letter is passed over, and a slip of one.
fn is_key(key: &str) -> bool {
    if key.len() > LONGEST {
        return false;
    }
    let letters: String = key.chars().filter(char::is_ascii_alphanumeric).collect();
    let letters = letters.to_ascii_lowercase();
    // A letter that only looks like one of ours leaves a gap.
    ["profile", "cisprofile", "profiles"].contains(&letters.as_str())
        || strsim::osa_distance("profile", &letters) <= 1
}

/// Whether a value is one that some RKE2 knows as a profile.
fn is_profile(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let version = value.strip_prefix("cis").map(|rest| rest.strip_prefix('-').unwrap_or(rest));
    value == "etcd"
        || version.is_some_and(|version| {
            version.len() <= 5 && version.chars().all(|c| c.is_ascii_digit() || c == '.')
        })
}

/// The key with what cannot be seen, or is no ASCII, spelled.
fn spelled(key: &str) -> String {
    let mut out = String::new();
    for c in key.chars() {
        match c {
            ' '..='~' => out.push(c),
            c => out += &format!("U+{:04X}", u32::from(c)),
        }
    }
    if out.len() > 2 * LONGEST { shown::HIDDEN.into() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;
    use crate::rke2::{DEFAULT_CONFIG, Variable, resolve};

    fn inputs(text: &str) -> Inputs {
        let mut inputs = Inputs::none(Role::Server);
        inputs.base =
            SourceFile { path: DEFAULT_CONFIG.into(), content: FileContent::Bytes(text.into()) };
        inputs
    }

    fn found(text: &str) -> Option<(Form, String, String, u32)> {
        let meant = resolve(&inputs(text)).meant?;
        Some((meant.form, meant.written, meant.value, meant.origin.line.unwrap()))
    }

    #[test]
    fn what_a_person_reads_as_a_profile_and_rke2_does_not_is_found_with_its_line() {
        for (text, form, written, line) in [
            ("- profile: cis\n- selinux: true\n", Form::Nested, "profile", 1),
            ("- selinux: true\n  profile: cis\n", Form::Nested, "profile", 2),
            ("[{\"profile\": \"cis\"}]\n", Form::Nested, "profile", 1),
            ("rke2:\n  selinux: true\n  profile: \"cis\"\n", Form::Nested, "profile", 3),
            ("{\"rke2\": {\n \"profile\":\"cis\",\n \"a\": 1}}\n", Form::Nested, "profile", 2),
            ("spec:\n  server:\n  - profile: cis # x\n", Form::Nested, "profile", 3),
            ("x: &d\n  profile: cis\n<<: *d\n", Form::Below, "profile", 2),
            ("x-notes: {profile: cis}\n", Form::Below, "profile", 1),
            ("x-notes:\n  rke2:\n    profile: cis\n", Form::Below, "profile", 3),
            ("rke2: {x: {profil: cis}}\n", Form::Below, "profil", 1),
            ("x-notes:\n- profile: cis\n", Form::Below, "profile", 2),
            ("x-notes:\n  profile:\n    cis\n", Form::Below, "profile", 2),
            ("x: {a: b}\nspec: {config: {profile: cis}}\n", Form::Nested, "profile", 2),
            ("x:\n  a: b\nagent:\n  profile: cis\n", Form::Nested, "profile", 4),
            ("x: {profile: cis}\nrke2:\n  profile: cis\n", Form::Nested, "profile", 3),
            ("node-label: a{b\nserver:\n  profile: cis\n", Form::Nested, "profile", 3),
            ("node-label: [a,\n  b]\nserver:\n  profile: cis\n", Form::Nested, "profile", 4),
            ("spec:\n  rkeConfig:\n    profile: cis\n", Form::Nested, "profile", 3),
            ("---\n---\nx: {profile: cis}\n", Form::Below, "profile", 3),
            ("rke2:\n  profile:\n    cis\n", Form::Nested, "profile", 2),
            ("rke2:\n  profile: [cis]\n", Form::Nested, "profile", 2),
            ("---\n---\nprofile: cis\n", Form::EmptyFirstDocument, "profile", 3),
            ("# RKE2\n---\n# x\n---\nprofile: cis\n", Form::EmptyFirstDocument, "profile", 5),
            ("---\n...\nprofile: cis\n", Form::EmptyFirstDocument, "profile", 3),
            ("null\n--- {profile: cis}\n", Form::EmptyFirstDocument, "profile", 2),
            ("selinux: true\n---\nprofile: cis\n", Form::LaterDocument, "profile", 3),
            ("profile\u{200b}: cis\n", Form::Key, "profileU+200B", 1),
            ("pro\u{ad}file: cis\n", Form::Key, "proU+00ADfile", 1),
            ("{--  \"profile\": \"cis\"}\n", Form::Key, "--  \"profile\"", 1),
            ("{\u{a0} \"profile\": \"cis\"}\n", Form::Key, "U+00A0 \"profile\"", 1),
            ("\u{2060}profile: cis\n", Form::Key, "U+2060profile", 1),
            ("\u{440}rofile: cis\n", Form::Key, "U+0440rofile", 1),
            ("profile +: cis\n", Form::Key, "profile +", 1),
            ("profile-: \"cis\"\n", Form::Key, "profile-", 1),
            ("Profile: cis-1.23\n", Form::Key, "Profile", 1),
            ("PROFILE: CIS\n", Form::Key, "PROFILE", 1),
            ("profil: etcd\n", Form::Key, "profil", 1),
            ("cis-profile: cis\n", Form::Key, "cis-profile", 1),
            ("cis_profile: cis\n", Form::Key, "cis_profile", 1),
            ("\"'profile'\": cis\n", Form::Key, "'profile'", 1),
        ] {
            let got = found(text).map(|(form, written, _, line)| (form, written, line));
            assert_eq!(got, Some((form, written.to_owned(), line)), "{text:?}");
        }
    }

    #[test]
    fn what_rke2_takes_or_nobody_means_is_not_found() {
        for text in [
            "profile: cis\n",
            "\u{feff}profile: cis\n",
            " profile : cis\n",
            "\"profile\": cis\n",
            "profile\u{a0}: cis\n",
            "profile+: cis\n",
            "profile: ''\n---\nprofile: cis\n",
            "profile: cis-9.9\nrke2:\n  profile: cis\n",
            "--- # x\nprofile: cis\n",
            "%YAML 1.1\n---\nprofile: cis\n",
            "# profile: cis\n",
            "selinux: true # and no profile: cis\n",
            "rke2:\n  # profile: cis\n  selinux: true\n",
            "node-label: |\n  profile: cis\nselinux: true\n",
            "node-label: {profile: cis}\n",
            "node-label:\n  profile: cis\n",
            "node-label:\n- profile: cis\n",
            "node-label:\n  - profile: cis\n",
            "node-label: [{profile: cis}]\n",
            "node-label: [\n{profile: cis}\n]\n",
            "node-label+: [profile: cis]\n",
            "kubelet-arg: {profile: cis}\n",
            "{\"node-label\": {\"profile\": \"cis\"}}\n",
            "x-notes: {node-label: {profile: cis}}\n",
            "node-label:\n  profile:\n    cis\n",
            "node-label:\n- \"profile: cis\"\n",
            "rke2:\n  profile: restricted\n",
            "profiling: true\n",
            "file: cis\n",
            "kube-apiserver-arg: [profiling=false]\n",
            "selinux: true\n",
            "",
        ] {
            assert_eq!(found(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_variable_that_rke2_does_not_know_is_found() {
        let with = |name: &str, value: &str| {
            let mut inputs = inputs("");
            let origin = Origin::at("/etc/default/rke2-server", 3);
            inputs.environment = vec![Variable { name: name.into(), value: value.into(), origin }];
            resolve(&inputs).meant.map(|meant| (meant.form, meant.written))
        };
        let meant = |name: &str| Some((Form::Variable, name.to_owned()));
        assert_eq!(with("RKE2_PROFILE", "cis"), meant("RKE2_PROFILE"));
        assert_eq!(with("RKE2_CISPROFILE", "cis"), meant("RKE2_CISPROFILE"));
        assert_eq!(with("RKE2_CIS_PROFILE", "cis"), None, "it is the right one");
        assert_eq!(with("RKE2_PROFILE", "x"), None);
        assert_eq!(with("PROFILE", "cis"), None);
    }

    #[test]
    fn a_key_that_is_longer_than_any_is_not_compared() {
        let long = format!("profile{}", "\u{200b}".repeat(LONGEST / 3));
        assert_eq!(found(&format!("{long}: cis\n")), None);
        assert_eq!(
            found(&format!("{}: cis\n", &long[..long.len() - 9])).map(|m| m.0),
            Some(Form::Key)
        );
        assert_eq!(profile_in(b"a: b\n---\nprofile: cis\n"), Some(("cis".into(), 3)));
        assert_eq!(profile_in(b"x: {profile: cis}\n"), None);
    }
}
