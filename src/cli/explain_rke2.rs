// SPDX-License-Identifier: Apache-2.0
//! `nodeguard explain rke2`: RKE2's configuration as RKE2 resolves it, each value with its origin.

use super::{CliError, Exit, PassArgs, need_root, out, root};
use crate::controls::rke2_config::observe::{Node, observe};
use crate::controls::rke2_config::version::VersionCache;
use crate::model::Role;
use crate::render::explain_rke2::{self, Answer, Configuration, Etcd, Problem, Unit};
use crate::rke2::{ConfigPath, FileContent, explain, profile, shown};

pub(super) fn run(args: &PassArgs) -> Result<Exit, CliError> {
    if args.root.is_none() {
        // RKE2's configuration is root's to read.
        need_root("explain")?;
    }
    let root = root(args.root.as_deref())?;
    let node = observe(&root, &mut VersionCache::default(), args.role.map(Role::from), false);
    let answer = answer(&node, root.path().display().to_string());
    if args.json {
        out(&format!("{}\n", explain_rke2::json(&answer)));
    } else {
        out(&explain_rke2::text(&answer));
    }
    Ok(Exit::Ok)
}

fn answer(node: &Node, root: String) -> Answer {
    let Node { config, inputs, unit, version, .. } = node;
    let (path, origin) = match &inputs.path {
        ConfigPath::File { path, origin } => (Some(shown::source(path)), origin.clone()),
        ConfigPath::Remote { url, origin } => (Some(shown::address(url)), Some(origin.clone())),
        ConfigPath::Missing { origin } => (None, Some(origin.clone())),
    };
    let service = &unit.service;
    let problems = config.problems.iter();
    Answer {
        schema: Answer::SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        root,
        role: node.role.as_str(),
        rke2_version: version.as_ref().map(ToString::to_string),
        cis_benchmarks: version
            .as_ref()
            .map_or(Vec::new(), |v| profile::cis_benchmarks(v).to_vec()),
        profiles: profile::known(version.as_ref()).to_vec(),
        unit: Unit {
            name: unit.name.into(),
            files: unit.files.iter().map(|path| path.display().to_string()).collect(),
            binary: service.binary.clone(),
            arguments: explain::arguments(inputs),
            origin: service.exec_start.clone(),
            environment_files: service.environment_files.iter().map(|f| f.path.clone()).collect(),
        },
        configuration: Configuration {
            path,
            origin,
            exists: inputs.base.content != FileContent::Absent,
            drop_ins: explain::drop_ins(inputs),
        },
        environment: explain::environment(inputs),
        values: explain::resolved(config),
        others: explain::others(inputs),
        etcd: Etcd {
            local: config.runs_local_etcd(),
            dir: shown::value("data-dir", &config.etcd_data_dir().to_string_lossy()),
        },
        problems: problems
            .map(|problem| Problem {
                message: problem.words.clone(),
                origin: problem.origin.clone(),
            })
            .collect(),
    }
}
