// SPDX-License-Identifier: Apache-2.0
//! A node's configuration, built up in one expression, and what comes of it as lines.

#![allow(dead_code)] // Not every test binary needs all of it.

use nodeguard::model::{Origin, Role};
use nodeguard::rke2::{
    Config, ConfigPath, FileContent, Inputs, Release, Setting, SourceFile, Variable, config_path,
    resolve,
};

pub const FILE: &str = "/etc/rancher/rke2/config.yaml";
const UNIT: &str = "/usr/local/lib/systemd/system/rke2-server.service:24";
const ENV: &str = "/etc/default/rke2-server";

/// Compares everything that is set, and every problem, in a fixed order.
#[track_caller]
pub fn check(node: &Node, expected: &[&str]) {
    let expected: Vec<String> = expected
        .iter()
        .map(|line| line.replace("FILE", FILE).replace("UNIT", UNIT).replace("ENV", ENV))
        .collect();
    assert_eq!(described(&resolve(&node.inputs())), expected, "{node:#?}");
}

#[derive(Clone, Debug)]
pub struct Node {
    role: Role,
    release: Release,
    base: FileContent,
    drop_ins: Vec<(String, FileContent)>,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Node {
    pub fn new(role: Role) -> Self {
        let subcommand = if role == Role::Agent { "agent" } else { "server" };
        Self {
            role,
            release: Release::newest(),
            base: FileContent::Absent,
            drop_ins: Vec::new(),
            environment: Vec::new(),
            arguments: vec![subcommand.into()],
        }
    }

    pub fn release(mut self, release: Release) -> Self {
        self.release = release;
        self
    }

    pub fn file(self, text: &str) -> Self {
        self.content(FileContent::Bytes(text.into()))
    }

    pub fn content(mut self, content: FileContent) -> Self {
        self.base = content;
        self
    }

    pub fn drop_in(self, name: &str, text: &str) -> Self {
        self.drop_in_content(name, FileContent::Bytes(text.into()))
    }

    pub fn drop_in_content(mut self, name: &str, content: FileContent) -> Self {
        self.drop_ins.push((name.into(), content));
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn arguments(mut self, line: &str) -> Self {
        self.arguments = line.split_whitespace().map(str::to_owned).collect();
        self
    }

    pub fn inputs(&self) -> Inputs {
        let environment: Vec<Variable> = (1u32..)
            .zip(&self.environment)
            .map(|(line, (name, value))| Variable {
                name: name.clone(),
                value: value.clone(),
                origin: Origin::at("/etc/default/rke2-server", line),
            })
            .collect();
        let unit = Origin::at("/usr/local/lib/systemd/system/rke2-server.service", 24);
        let path = config_path(&self.arguments, Some(&unit), &environment);
        let file = match &path {
            ConfigPath::File { path, .. } => path.clone(),
            _ => String::new(),
        };
        let source =
            |path: String, content: &FileContent| SourceFile { path, content: content.clone() };
        Inputs {
            role: self.role,
            release: self.release,
            base: source(file.clone(), &self.base),
            drop_ins: self
                .drop_ins
                .iter()
                .map(|(name, content)| source(format!("{file}.d/{name}"), content))
                .collect(),
            path,
            drop_in_dir_error: None,
            environment,
            arguments: self.arguments.clone(),
            arguments_origin: Some(unit),
        }
    }
}

/// Everything that is set, one line a value, and every problem.
pub fn described(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let origin = |origin: &Option<Origin>| origin.as_ref().map(ToString::to_string);
    let mut add = |name: &str, value: String, at: Option<String>| {
        lines.extend(at.map(|at| format!("{name} = {value} @ {at}")));
    };
    let mut text = |name: &str, setting: Option<&Setting<String>>| {
        if let Some(setting) = setting {
            add(name, setting.value.clone(), origin(&setting.origin));
        }
    };
    text("profile", config.profile.as_ref());
    let data_dir = Setting {
        value: config.data_dir.value.display().to_string(),
        key: config.data_dir.key.clone(),
        origin: config.data_dir.origin.clone(),
    };
    text("data-dir", Some(&data_dir));
    let boolean = |setting: &Setting<bool>| Setting {
        value: setting.value.to_string(),
        key: setting.key.clone(),
        origin: setting.origin.clone(),
    };
    let defaults = config.protect_kernel_defaults.as_ref().map(boolean);
    text("protect-kernel-defaults", defaults.as_ref());
    let kubelet = config.kubelet_protect_kernel_defaults.as_ref().map(boolean);
    text("kubelet-arg", kubelet.as_ref());
    text("disable-etcd", Some(&boolean(&config.disable_etcd)));
    text("datastore-endpoint", config.datastore_endpoint.as_ref());
    text("server", config.server.as_ref());
    text("selinux", Some(&boolean(&config.selinux)));
    for argument in &config.etcd_args {
        text("etcd-arg", Some(argument));
    }
    for problem in &config.problems {
        lines.push(format!("{:?}: {} @ {}", problem.kind, problem.words, problem.origin));
    }
    lines
}
