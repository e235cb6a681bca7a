// SPDX-License-Identifier: Apache-2.0
//! nodeguard(8) and the program's own help.

use std::collections::BTreeSet;

use clap::{Arg, Command};

use super::{arguments, commands, holds, program, read};

const MANUAL: &str = "packaging/man/nodeguard.8";

/// Where a section begins and ends in the manual.
fn section(manual: &str, name: &str) -> std::ops::Range<usize> {
    let title = format!("\n.SH {name}\n");
    let from = manual.find(&title).unwrap_or_else(|| panic!("no section {name}")) + title.len();
    from..from + manual[from..].find("\n.SH ").unwrap() + 1
}

fn escaped(text: &str) -> String {
    text.replace('-', "\\-")
}

/// What an option is given, as the source of a page.
fn value(arg: &Arg) -> Option<(&'static str, String)> {
    if !arg.get_action().takes_values() {
        return None;
    }
    let possible: Vec<_> =
        arg.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect();
    Some(match possible.is_empty() {
        true => ("I", arg.get_value_names().unwrap()[0].to_string()),
        false => ("B", possible.join(" | ")),
    })
}

/// An option in a synopsis, without brackets.
fn option(arg: &Arg) -> (String, Option<(&'static str, String)>) {
    (escaped(&format!("--{}", arg.get_long().unwrap())), value(arg))
}

/// One command in a synopsis.
fn synopsis_of(command: &Command) -> String {
    let mut out = format!(".SY nodeguard\n.B {}\n", command.get_name());
    let told: Vec<&Arg> = arguments(command).collect();
    let excludes = |one: &Arg, other: &Arg| {
        let conflicts = |a: &Arg, b: &Arg| command.get_arg_conflicts_with(a).contains(&b);
        conflicts(one, other) || conflicts(other, one)
    };
    for (n, arg) in told.iter().enumerate() {
        // One of two that exclude each other is told with the other one, where the first of them stands.
        if let Some(at) = told.iter().position(|other| excludes(arg, other)) {
            if at > n {
                let ((first, value), (last, _)) = (option(arg), option(told[at]));
                let value = value.map_or_else(String::new, |(_, value)| value);
                out += &format!(".RB {{ {first}\n.IR {value} | \\c\n.BR {last} }}\n");
            }
            continue;
        }
        out += &match (arg.is_positional(), arg.is_required_set()) {
            (true, _) => format!(".RI [ {} ...]\n", arg.get_value_names().unwrap()[0]),
            (false, required) => {
                let (name, value) = option(arg);
                match (value, required) {
                    (None, true) => format!(".B {name}\n"),
                    (None, false) => format!(".RB [ {name} ]\n"),
                    (Some(("I", value)), true) => format!(".B {name}\n.I {value}\n"),
                    (Some(("I", value)), false) => format!(".RB [ {name}\n.IR {value} ]\n"),
                    (Some((_, value)), true) => format!(".B {name}\n.BR {value}\n"),
                    (Some((_, value)), false) => format!(".RB [ {name}\n.BR {value} ]\n"),
                }
            }
        };
    }
    out + ".YS\n"
}

/// What else the synopsis has of a command: forms that say what a KEY may be. They are the manual's own.
fn further_forms(synopsis: &str, command: &str) -> String {
    let forms = synopsis
        .split_inclusive(".YS\n")
        .skip_while(|form| form.lines().nth(1) != Some(&format!(".B {command}")));
    let mine = |form: &&str| {
        let line = form.lines().nth(1).unwrap_or_default();
        line.strip_prefix(".B ").and_then(|words| words.split(' ').next()) == Some(command)
    };
    forms.skip(1).take_while(mine).collect()
}

#[test]
fn the_synopsis_is_made_from_the_command_line() {
    let manual = read(MANUAL);
    let section = section(&manual, "SYNOPSIS");
    let synopsis = &manual[section.clone()];
    let made: String = commands()
        .iter()
        .map(|command| synopsis_of(command) + &further_forms(synopsis, command.get_name()))
        .collect();
    holds(MANUAL, &[&manual[..section.start], &made, &manual[section.end..]].concat());
}

/// The titles of a section's entries, without their type faces.
fn entries(manual: &str, name: &str) -> Vec<String> {
    let text = &manual[section(manual, name)];
    let entries = text.split(".TP\n").skip(1);
    entries
        .map(|entry| {
            let line = entry.lines().next().unwrap();
            let words = line.split_once(' ').unwrap().1;
            let plain = words.replace("\\-", "-").replace("\\fR", "").replace('"', "");
            plain.split_whitespace().collect::<Vec<_>>().join(" ")
        })
        .collect()
}

#[test]
fn each_command_has_its_entry_in_the_order_of_the_help_and_there_is_no_other() {
    let manual = read(MANUAL);
    let mut told: Vec<String> =
        entries(&manual, "COMMANDS").iter().map(|e| e.split(' ').next().unwrap().into()).collect();
    // A command that can be asked for several things has an entry for each.
    told.dedup();
    let names: Vec<String> = commands().iter().map(|c| c.get_name().to_owned()).collect();
    assert_eq!(told, names);
}

/// An option as its entry has it.
fn titled(arg: &Arg) -> String {
    let value = value(arg).map_or_else(String::new, |(_, value)| format!(" {value}"));
    format!("--{}{value}", arg.get_long().unwrap())
}

#[test]
fn each_option_has_its_entry_and_there_is_no_other() {
    let manual = read(MANUAL);
    let all = commands();
    let options: BTreeSet<String> = all
        .iter()
        .flat_map(arguments)
        .filter(|arg| !arg.is_positional())
        .map(titled)
        .chain(["--help".to_owned(), "--version".to_owned()])
        .collect();
    let told: Vec<String> = entries(&manual, "OPTIONS");
    assert_eq!(told.iter().cloned().collect::<BTreeSet<_>>(), options);
    assert_eq!(told.len(), options.len(), "each once: {told:?}");
}

/// What a number of the program's is told as, where the page tells one.
#[test]
fn defaults_and_exit_codes_are_told_as_they_are() {
    let manual = read(MANUAL).replace("\\-", "-");
    let gate = commands().into_iter().find(|c| c.get_name() == "gate").unwrap();
    let limit = gate.get_arguments().find(|arg| arg.get_id() == "limit").unwrap();
    let default = limit.get_default_values()[0].to_str().unwrap();
    let told = format!("at most ({default} by default, 1 to 600)");
    assert!(manual.contains(&told), "the manual has no {told:?}");
    for (value, taken) in [("0", false), ("1", true), ("600", true), ("601", false)] {
        let given = program().try_get_matches_from([
            "nodeguard",
            "gate",
            "--role=server",
            "--limit",
            value,
        ]);
        assert_eq!(given.is_ok(), taken, "--limit {value}");
    }
    let help = program().get_after_help().unwrap().to_string();
    let codes: BTreeSet<String> = help
        .split(|c: char| !c.is_ascii_digit())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let told: BTreeSet<String> = entries(&read(MANUAL), "EXIT STATUS").into_iter().collect();
    assert_eq!(told, codes);
}
