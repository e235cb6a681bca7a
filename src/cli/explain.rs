// SPDX-License-Identifier: Apache-2.0
//! `nodeguard explain KEY...`: who sets a kernel parameter, now and at the next boot.

use super::{CliError, Exit, ExplainArgs, engine, explain_code, explain_rke2, need_root, out};
use crate::controls::sysctl;
use crate::model::Origin;
use crate::render::explain::{self, Answer, KeyAnswer, Line, Live, Unread, Wanted};
use crate::sysctl_d::writers::writes;
use crate::sysctl_d::{Explainer, Key, Sources, misread};

pub(super) fn run(args: &ExplainArgs) -> Result<Exit, CliError> {
    // A word without a dot or a slash is no parameter, and so free for another thing to explain.
    if args.keys == ["rke2"] {
        return explain_rke2::run(&args.pass);
    }
    if let Some(codes) = explain_code::asked(&args.keys) {
        return explain_code::run(&codes, args.pass.json);
    }
    let key = |word: &String| Key::parse(word).map_err(|bad| explain_code::neither(word, bad));
    let asked = args.keys.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    if args.pass.root.is_none() {
        // What is wanted depends on RKE2's configuration, which is root's to read.
        need_root("explain")?;
    }
    let mut engine = engine(&args.pass)?;
    let held = engine.wanted();
    let keys = if asked.is_empty() {
        held.iter().filter_map(|want| Key::parse(&want.key).ok()).collect()
    } else {
        asked
    };
    let sources = sysctl::sources::observe(engine.root());
    let writers = sysctl::writers::observe(engine.root());
    let explainer = Explainer::new(&sources);
    let answers = keys
        .iter()
        .map(|key| {
            let name = key.dotted();
            let want = held.iter().find(|want| want.key == name).map(wanted);
            let live = if engine.root().is_live() {
                live(engine.proc_sys().read(&name))
            } else {
                Live::NotLookedAt
            };
            KeyAnswer {
                key: name,
                wanted: want,
                live,
                explanation: explainer.explain(key),
                no_assignment: no_assignment(&sources, key),
                also_written: also_written(&writers, key),
            }
        })
        .collect();
    let unread =
        |(path, reason): &(String, String)| Unread { path: path.clone(), reason: reason.clone() };
    let answer = Answer {
        schema: Answer::SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        root: engine.root().path().display().to_string(),
        keys: answers,
        unread: sources.unread.iter().chain(&writers.unread).map(unread).collect(),
    };
    if args.pass.json {
        out(&format!("{}\n", explain::json(&answer)));
    } else {
        out(&explain::text(&answer));
    }
    Ok(Exit::Ok)
}

/// Lines of each kind that are told of one parameter.
const LINES: usize = 64;

fn no_assignment(sources: &Sources, key: &Key) -> Vec<Line> {
    let files = sources.directories.iter().flat_map(|(_, files)| files).chain(&sources.sysctl_conf);
    let lines = files.flat_map(|file| {
        misread(file.text(), std::slice::from_ref(key)).into_iter().map(|(_, line)| Line {
            origin: Origin::at(&file.path, line.line),
            text: Some(line.text),
        })
    });
    lines.take(LINES).collect()
}

fn also_written(writers: &sysctl::writers::Writers, key: &Key) -> Vec<Line> {
    let lines = writers.files.iter().flat_map(|file| {
        writes(file.kind, &file.text, key)
            .into_iter()
            .map(|write| Line { origin: Origin::at(&file.path, write.line), text: write.value })
    });
    lines.take(LINES).collect()
}

fn wanted(want: &sysctl::Wanted) -> Wanted {
    Wanted {
        single: sysctl::is_fixed(&want.key),
        value: want.value.clone(),
        source: want.source.clone(),
        policy: want.policy.value,
        policy_origin: want.policy.origin.clone(),
    }
}

fn live(value: sysctl::Live) -> Live {
    match value {
        sysctl::Live::Value(value) => Live::Value { value },
        sysctl::Live::Missing => Live::Missing,
        sysctl::Live::Unreadable(reason) => Live::Unreadable { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysctl_d::fixture::sources;
    use crate::sysctl_d::writers::Kind;

    #[test]
    fn no_more_lines_are_told_of_a_parameter_than_the_limit() {
        let key = Key::parse("kernel.panic").unwrap();
        let lines = "kernel.panic: 10\n".repeat(LINES + 1);
        let sources = sources(&[("/etc/sysctl.d/a.conf", &lines)]);
        assert_eq!(no_assignment(&sources, &key).len(), LINES);
        let text = "sysctl -w kernel.panic=10\n".repeat(LINES + 1).into_bytes();
        let file = sysctl::writers::Writer { kind: Kind::Commands, path: "/x".into(), text };
        let writers = sysctl::writers::Writers { files: vec![file], unread: Vec::new() };
        assert_eq!(also_written(&writers, &key).len(), LINES);
    }
}
