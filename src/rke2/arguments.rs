// SPDX-License-Identifier: Apache-2.0
//! Where RKE2's unit says that its configuration is.

use super::command_line::{MAX_ARGUMENTS, is_subcommand};
use super::{ConfigPath, DEFAULT_CONFIG, Variable};
use crate::model::Origin;

/// The variable that names the configuration file and wins over `--config`.
const CONFIG_FILE: &str = "RKE2_CONFIG_FILE";

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
    // A shell that starts RKE2 has a `-c` of its own.
    let words = if arguments.iter().any(|word| is_subcommand(word)) { MAX_ARGUMENTS } else { 0 };
    for (index, argument) in arguments.iter().enumerate().take(words) {
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
        assert_eq!(path("-c rke2-server.sh", &[]), default);
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
    fn words_beyond_the_limit_are_not_looked_at() {
        let line = |before: usize| -> Vec<String> {
            let debug = std::iter::repeat_n("--debug", before - 1);
            let words = std::iter::once("server").chain(debug).chain(["--config=/a"]);
            words.map(str::to_owned).collect()
        };
        let found = |line: &[String]| matches!(config_path(line, None, &[]), ConfigPath::File { path, .. } if path == "/a");
        assert!(found(&line(MAX_ARGUMENTS - 1)) && !found(&line(MAX_ARGUMENTS)));
    }
}
