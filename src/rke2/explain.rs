// SPDX-License-Identifier: Apache-2.0
//! The resolved configuration as lines for somebody who wants to know where a value comes from.

use std::path::Path;

use serde::Serialize;

use super::flags::RESOLVED;
use super::{Config, Inputs, Setting, given};
use crate::model::Origin;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Value {
    /// RKE2's name of the flag.
    pub flag: String,
    /// Null where nobody sets it and RKE2 has no default of its own.
    pub value: Option<String>,
    /// The key, flag or variable as it is written where it is set.
    pub written: Option<String>,
    /// Null for a default.
    pub origin: Option<Origin>,
}

/// What is shown instead of a value that is nobody's business.
const SECRET: &str = "(secret)";

/// The values that decide how the node has to be, in a fixed order.
pub fn resolved(config: &Config) -> Vec<Value> {
    let mut values = vec![
        text("profile", config.profile.as_ref()),
        value("data-dir", &config.data_dir, |dir| dir.display().to_string()),
        option("protect-kernel-defaults", config.protect_kernel_defaults.as_ref()),
        option("kubelet-arg", config.kubelet_protect_kernel_defaults.as_ref()),
        value("disable-etcd", &config.disable_etcd, bool::to_string),
        text("datastore-endpoint", config.datastore_endpoint.as_ref()),
        text("server", config.server.as_ref()),
        value("selinux", &config.selinux, bool::to_string),
    ];
    if let Some(argument) = &mut values[3].value {
        *argument = format!("protect-kernel-defaults={argument}");
    }
    values.extend(config.etcd_args.iter().map(|argument| text("etcd-arg", Some(argument))));
    values
}

/// Every other flag that is given, in RKE2's order, so that of several the last counts.
pub fn others(inputs: &Inputs) -> Vec<Value> {
    let resolved = |flag: &str| RESOLVED.contains(&flag) && flag != "kubelet-arg";
    let mut given = given(inputs);
    given.retain(|(flag, _)| !resolved(flag));
    given.iter().map(|(flag, setting)| text(flag, Some(setting))).collect()
}

/// The variables of the unit that RKE2 looks at; others may hold anything.
pub fn environment(inputs: &Inputs) -> Vec<Value> {
    let ours = inputs.environment.iter().filter(|variable| variable.name.starts_with("RKE2_"));
    ours.map(|variable| Value {
        flag: variable.name.clone(),
        value: Some(public(&variable.name, &variable.value)),
        written: None,
        origin: Some(variable.origin.clone()),
    })
    .collect()
}

/// A command line without what is secret in it.
pub fn arguments(inputs: &Inputs) -> Vec<String> {
    let mut hidden = false;
    let show = |word: &String| {
        let name = word.trim_start_matches('-');
        if std::mem::take(&mut hidden) {
            return SECRET.to_owned();
        }
        match name.split_once('=') {
            Some((flag, value)) if word.starts_with('-') => {
                let dashes = &word[..word.len() - name.len()];
                format!("{dashes}{flag}={}", public(flag, value))
            }
            _ => {
                hidden = word.starts_with('-') && is_secret(name);
                word.clone()
            }
        }
    };
    inputs.arguments.iter().map(show).collect()
}

fn text(flag: &str, setting: Option<&Setting<String>>) -> Value {
    match setting {
        Some(setting) => value(flag, setting, |value| public(flag, value)),
        None => Value { flag: flag.into(), value: None, written: None, origin: None },
    }
}

fn option(flag: &str, setting: Option<&Setting<bool>>) -> Value {
    match setting {
        Some(setting) => value(flag, setting, bool::to_string),
        None => text(flag, None),
    }
}

fn value<T>(flag: &str, setting: &Setting<T>, show: impl Fn(&T) -> String) -> Value {
    Value {
        flag: flag.into(),
        value: Some(show(&setting.value)),
        written: setting.is_set().then(|| setting.key.clone()),
        origin: setting.origin.clone(),
    }
}

/// A value as it may stand in a terminal or a ticket.
fn public(flag: &str, value: &str) -> String {
    if is_secret(flag) && !value.is_empty() {
        // Of an address the kind of database is worth knowing, and who may log in is not.
        return match value.split_once("://") {
            Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
                format!("{scheme}://{SECRET}")
            }
            _ => SECRET.to_owned(),
        };
    }
    value.to_owned()
}

/// By name, in a flag and in the variable that stands in for it; a path to a secret is none.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let name = name.strip_prefix("rke2-").unwrap_or(&name);
    let words = ["token", "secret-key", "access-key", "datastore-endpoint", "password", "env"];
    name == "t" || words.iter().any(|word| name.ends_with(word)) || name.ends_with("-s3-proxy")
}

/// How many drop-ins are read.
pub fn drop_ins(inputs: &Inputs) -> Vec<String> {
    let name =
        |path: &str| Path::new(path).file_name().map(|name| name.as_encoded_bytes().to_vec());
    let mut paths: Vec<String> = inputs.drop_ins.iter().map(|file| file.path.clone()).collect();
    paths.sort_by_key(|path| name(path));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_not_shown_whatever_way_it_is_given() {
        for (flag, value, shown) in [
            ("token", "K10abc", "(secret)"),
            ("t", "K10abc", "(secret)"),
            ("agent-token", "x", "(secret)"),
            ("RKE2_TOKEN", "x", "(secret)"),
            ("RKE2_AGENT_TOKEN", "x", "(secret)"),
            ("token-file", "/etc/token", "/etc/token"),
            ("etcd-s3-secret-key", "x", "(secret)"),
            ("etcd-s3-access-key", "x", "(secret)"),
            ("etcd-s3-session-token", "x", "(secret)"),
            ("kube-apiserver-extra-env", "A=secret", "(secret)"),
            ("datastore-endpoint", "mysql://me:pw@tcp(x)/", "mysql://(secret)"),
            ("RKE2_DATASTORE_ENDPOINT", "me:pw://x", "(secret)"),
            ("token", "", ""),
            ("tls-san", "a.example", "a.example"),
        ] {
            assert_eq!(public(flag, value), shown, "{flag}");
        }
        let mut inputs = Inputs::none(crate::model::Role::Server);
        let line = "server --token K10 --agent-token=y -t z --tls-san a --debug";
        inputs.arguments = line.split(' ').map(str::to_owned).collect();
        assert_eq!(
            arguments(&inputs).join(" "),
            "server --token (secret) --agent-token=(secret) -t (secret) --tls-san a --debug"
        );
    }
}
