// SPDX-License-Identifier: Apache-2.0
//! RKE2's command line, read as Go's flag package reads it.

use super::{ConfigPath, DEFAULT_CONFIG, Variable, flags, shown};
use crate::model::Origin;

/// The variable that names the configuration file and wins over `--config`.
const CONFIG_FILE: &str = "RKE2_CONFIG_FILE";

/// The most words that are looked at; systemd's own limit on a line is far below what would
/// make more.
const MAX_ARGUMENTS: usize = 4096;

/// Where this unit's RKE2 looks for its configuration: `RKE2_CONFIG_FILE`, else `--config` or
/// `-c`, else the default path.
///
/// `arguments` are the words of `ExecStart=` after the binary, `origin` is where they stand.
pub fn config_path(
    arguments: &[String],
    origin: Option<&Origin>,
    environment: &[Variable],
) -> ConfigPath {
    let variable = environment.iter().rev().find(|variable| variable.name == CONFIG_FILE);
    if let Some(variable) = variable.filter(|variable| !variable.value.is_empty()) {
        return path(&variable.value, variable.origin.clone());
    }
    for (index, argument) in arguments.iter().enumerate().take(MAX_ARGUMENTS) {
        let value = match argument.as_str() {
            "--config" | "-c" => arguments.get(index + 1).map(String::as_str),
            other => match other.strip_prefix("--config=").or_else(|| other.strip_prefix("-c=")) {
                Some(value) => Some(value),
                None => continue,
            },
        };
        // With an empty path RKE2 reads no file at all; without a word for it, it does not start.
        let origin = command_line(origin);
        return match value {
            Some(value) if !value.is_empty() => path(value, origin),
            _ => ConfigPath::Missing { origin },
        };
    }
    ConfigPath::File { path: DEFAULT_CONFIG.into(), origin: None }
}

fn path(value: &str, origin: Origin) -> ConfigPath {
    let scheme = value.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("http" | "https") => ConfigPath::Remote { url: value.to_owned(), origin },
        _ => ConfigPath::File { path: value.to_owned(), origin: Some(origin) },
    }
}

/// Where a value on the command line was set.
pub(super) fn command_line(origin: Option<&Origin>) -> Origin {
    origin.cloned().unwrap_or_else(|| Origin::file("command line"))
}

/// A flag on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argument {
    /// Without its dashes.
    pub(super) name: String,
    pub(super) value: String,
}

/// The flags after the subcommand, and the words with which RKE2 refuses them, if it does.
pub(super) fn parse(arguments: &[String]) -> (Vec<Argument>, Option<String>) {
    let start = arguments.iter().position(|word| word == "server" || word == "agent");
    let mut words = arguments.iter().skip(start.map_or(0, |start| start + 1)).take(MAX_ARGUMENTS);
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        // The first word that is no flag ends the flags; so does `--`.
        let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) else { break };
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        if flag.is_empty() {
            break;
        }
        if flag.starts_with(['-', '=']) {
            let (name, value) = match flag.split_once('=') {
                Some((name, _)) => (name, "=…"),
                None => (flag, ""),
            };
            let bare = name.trim_start_matches('-');
            let dashes = &word[..word.len() - flag.len() + name.len() - bare.len()];
            let words = format!("bad flag syntax: {dashes}{}{value}", shown::name(bare));
            return (found, Some(words));
        }
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None if flags::is_boolean(flag) => (flag, Some("true".to_owned())),
            None => (flag, words.next().cloned()),
        };
        let Some(value) = value else {
            return (found, Some(format!("flag needs an argument: {}", shown::flag("-", name))));
        };
        found.push(Argument { name: name.to_owned(), value });
    }
    (found, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn set(name: &str, value: &str) -> Variable {
        Variable { name: name.into(), value: value.into(), origin: Origin::at("/etc/env", 3) }
    }

    #[test]
    fn the_configuration_is_where_rke2_looks_for_it() {
        let unit = Origin::at("/etc/systemd/system/rke2-server.service", 20);
        let path =
            |line: &str, variables: &[Variable]| config_path(&words(line), Some(&unit), variables);
        let default = ConfigPath::File { path: DEFAULT_CONFIG.into(), origin: None };
        let by_unit =
            |path: &str| ConfigPath::File { path: path.into(), origin: Some(unit.clone()) };
        assert_eq!(path("server", &[]), default);
        assert_eq!(path("server --config /a", &[]), by_unit("/a"));
        assert_eq!(path("server --config=/a --config=/b", &[]), by_unit("/a"));
        assert_eq!(path("server -c /a", &[]), by_unit("/a"));
        assert_eq!(path("server -c=/a", &[]), by_unit("/a"));
        // RKE2 looks for `--config` and `-c` as they are, whatever else Go's flags would take.
        assert_eq!(path("server -config /a", &[]), default);
        assert_eq!(path("server --configs /a", &[]), default);
        assert_eq!(path("server --config", &[]), ConfigPath::Missing { origin: unit.clone() });
        let by_env =
            ConfigPath::File { path: "/e".into(), origin: Some(Origin::at("/etc/env", 3)) };
        assert_eq!(path("server --config /a", &[set("RKE2_CONFIG_FILE", "/e")]), by_env);
        assert_eq!(
            path("server", &[set("RKE2_CONFIG_FILE", "/x"), set("RKE2_CONFIG_FILE", "/e")]),
            by_env
        );
        assert_eq!(path("server", &[set("RKE2_CONFIG_FILE", "")]), default);
        let url = "HTTPS://example.org/config.yaml";
        assert_eq!(
            path(&format!("server --config {url}"), &[]),
            ConfigPath::Remote { url: url.into(), origin: unit.clone() }
        );
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let read = |line: &str| {
            let (found, error) = parse(&words(line));
            let found: Vec<String> =
                found.into_iter().map(|flag| format!("{}={}", flag.name, flag.value)).collect();
            (found.join(" "), error)
        };
        for (line, expected) in [
            ("server --profile=cis", "profile=cis"),
            ("server --profile cis --selinux", "profile=cis selinux=true"),
            ("server -profile cis", "profile=cis"),
            ("server -d /x", "d=/x"),
            ("server --selinux=false", "selinux=false"),
            ("server --selinux false --profile=cis", "selinux=true"),
            ("server -- --profile=cis", ""),
            ("server - --profile=cis", ""),
            ("--debug server --profile=cis", "profile=cis"),
            ("server --token --profile=cis", "token=--profile=cis"),
            ("server --a=b=c", "a=b=c"),
            ("--profile=cis", "profile=cis"),
            ("", ""),
        ] {
            assert_eq!(read(line), (expected.to_owned(), None), "{line}");
        }
        assert_eq!(
            read("server --data-dir").1.as_deref(),
            Some("flag needs an argument: -data-dir")
        );
        assert_eq!(read("server ---x").1.as_deref(), Some("bad flag syntax: ---x"));
        assert_eq!(read("server --=x").1.as_deref(), Some("bad flag syntax: --=…"));
    }

    #[test]
    fn words_beyond_the_limit_are_not_looked_at() {
        let line = |before: usize| -> Vec<String> {
            let words = std::iter::repeat_n("--debug", before).chain(["--config=/a"]);
            words.map(str::to_owned).collect()
        };
        let found = |line: &[String]| {
            let path = matches!(config_path(line, None, &[]), ConfigPath::File { path, .. } if path == "/a");
            let flag = parse(line).0.iter().any(|flag| flag.name == "config");
            (path, flag)
        };
        assert_eq!(found(&line(MAX_ARGUMENTS - 1)), (true, true));
        assert_eq!(found(&line(MAX_ARGUMENTS)), (false, false));
    }
}
