// SPDX-License-Identifier: Apache-2.0
//! The resolved configuration as lines for somebody who wants to know where a value comes from.

use std::path::Path;

use serde::Serialize;

use super::flags::{self, RESOLVED};
use super::{Config, Inputs, Setting, given, shown};
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

/// The values that decide how the node has to be, in a fixed order.
pub fn resolved(config: &Config) -> Vec<Value> {
    let mut values = vec![
        text("profile", config.profile.as_ref()),
        value("data-dir", &config.data_dir, |dir| {
            shown::value("data-dir", &dir.display().to_string())
        }),
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
    if let Some(file) = &config.kubelet_file_protect_kernel_defaults {
        values.insert(4, value("protectKernelDefaults", file, bool::to_string));
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
        value: Some(shown::variable(&variable.name, &variable.value)),
        written: None,
        origin: Some(variable.origin.clone()),
    })
    .collect()
}

/// A command line with those of its words that may be shown.
pub fn arguments(inputs: &Inputs) -> Vec<String> {
    // The flag whose value the next word is.
    let mut flag: Option<&str> = None;
    let mut out = Vec::with_capacity(inputs.arguments.len());
    for word in &inputs.arguments {
        if let Some(flag) = flag.take() {
            out.push(shown::value(flag, word));
            continue;
        }
        let name = word.trim_start_matches('-');
        let dashes = &word[..word.len() - name.len()];
        out.push(match name.split_once('=') {
            _ if dashes.is_empty() && ["server", "agent"].contains(&name) => name.to_owned(),
            _ if dashes.is_empty() => shown::HIDDEN.to_owned(),
            Some((name, value)) => {
                format!("{}={}", shown::flag(dashes, name), shown::value(name, value))
            }
            None => {
                flag = (!name.is_empty() && !flags::is_boolean(name)).then_some(name);
                shown::flag(dashes, name)
            }
        });
    }
    out
}

fn text(flag: &str, setting: Option<&Setting<String>>) -> Value {
    match setting {
        Some(setting) => value(flag, setting, |value| shown::value(flag, value)),
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
        flag: shown::name(flag).into(),
        value: Some(show(&setting.value)),
        written: setting.is_set().then(|| written(&setting.key)),
        origin: setting.origin.clone(),
    }
}

/// A key, a variable or a flag with its dashes.
fn written(key: &str) -> String {
    let name = key.trim_start_matches('-');
    format!("{}{}", &key[..key.len() - name.len()], shown::name(name))
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
    fn of_a_command_line_only_what_may_be_shown_is() {
        let mut inputs = Inputs::none(crate::model::Role::Server);
        let line = "server --token K10 --agent-token=y -t z --tls-san a --debug K10 --x=K10";
        inputs.arguments = line.split(' ').map(str::to_owned).collect();
        assert_eq!(
            arguments(&inputs).join(" "),
            "server --token (not shown) --agent-token=(not shown) -t (not shown) --tls-san a --debug \
             (not shown) --x=(not shown)"
        );
    }
}
