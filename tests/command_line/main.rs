// SPDX-License-Identifier: Apache-2.0
//! What is told about the command line elsewhere is the program's own: the manual's SYNOPSIS, COMMANDS
//! and OPTIONS, and the shells' completions. `NODEGUARD_BLESS=1` writes what is made from it anew.

mod completions;
mod manual;

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use nodeguard::cli::Cli;

/// The command line as the program has it.
fn program() -> clap::Command {
    let mut program = Cli::command();
    program.build();
    program
}

/// The commands, in the order in which `nodeguard --help` has them.
fn commands() -> Vec<clap::Command> {
    program().get_subcommands().filter(|c| c.get_name() != "help").cloned().collect()
}

/// The arguments of a command that are told to people.
fn arguments(command: &clap::Command) -> impl Iterator<Item = &clap::Arg> {
    let told = |arg: &&clap::Arg| !arg.is_hide_set() && arg.get_id() != "help";
    command.get_arguments().filter(told)
}

fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(file).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The file is what the program makes of it; `NODEGUARD_BLESS=1` writes it.
fn holds(path: &str, expected: &str) {
    if std::env::var_os("NODEGUARD_BLESS").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), expected).unwrap();
    }
    assert!(
        read(path) == expected,
        "{path} is not what the program makes it: NODEGUARD_BLESS=1 cargo nextest run -E \
         'binary(command_line)' writes it anew"
    );
}
