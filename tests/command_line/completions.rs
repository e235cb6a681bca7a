// SPDX-License-Identifier: Apache-2.0
//! The shells' completions: made from the command line, and tried in the shells that are here.

use std::path::Path;
use std::process::Command;

use clap::CommandFactory;
use clap_complete::Shell;
use nodeguard::cli::Cli;

use super::{holds, read};

const NOTE: &str = "SPDX-License-Identifier: Apache-2.0\n\
                    # Made from the command line's definition by tests/command_line.";

/// Each shell, the file of its completions, and a program that only reads such a file.
const SHELLS: [(Shell, &str, &[&str]); 3] = [
    (Shell::Bash, "packaging/completions/nodeguard.bash", &["bash", "-n"]),
    (Shell::Zsh, "packaging/completions/_nodeguard", &["zsh", "-n"]),
    (Shell::Fish, "packaging/completions/nodeguard.fish", &["fish", "--no-execute"]),
];

/// The command line without what is told to nobody, which clap_complete would offer all the same.
fn told() -> clap::Command {
    let program = Cli::command();
    let commands = program.get_subcommands().map(|command| {
        let about = command.get_about().cloned().unwrap_or_default();
        let arguments = command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned();
        clap::Command::new(&*command.get_name().to_owned().leak()).about(about).args(arguments)
    });
    let about = program.get_about().cloned().unwrap_or_default();
    clap::Command::new("nodeguard").about(about).version("").subcommands(commands)
}

#[test]
fn completions_are_made_from_the_command_line() {
    for (shell, path, _) in SHELLS {
        let mut made = Vec::new();
        clap_complete::generate(shell, &mut told(), "nodeguard", &mut made);
        let made = String::from_utf8(made).unwrap();
        // zsh goes by the first line.
        let made = match made.strip_prefix("#compdef nodeguard\n") {
            Some(rest) => format!("#compdef nodeguard\n# {NOTE}\n{rest}"),
            None => format!("# {NOTE}\n{made}"),
        };
        // No line of it ends in blanks, which some editors would take away.
        let lines: Vec<&str> = made.lines().map(str::trim_end).collect();
        holds(path, &(lines.join("\n") + "\n"));
    }
}

#[test]
fn each_shell_that_is_here_can_read_its_own() {
    for (shell, path, reader) in SHELLS {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let read = Command::new(reader[0]).args(&reader[1..]).arg(file).output();
        match read {
            Ok(output) => assert!(
                output.status.success() && output.stderr.is_empty(),
                "{path}: {}",
                String::from_utf8_lossy(&output.stderr)
            ),
            // bash is on every machine that can build the package.
            Err(e) => assert!(shell != Shell::Bash, "{}: {e}", reader[0]),
        }
    }
}

/// What bash offers where the last of these words is being typed, as readline asks for it.
fn offered(words: &[&str]) -> Vec<String> {
    let script = r#"
        . "$1"; shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
        spec=$(complete -p nodeguard) || exit 1
        [[ $spec =~ -F\ ([^ ]+) ]] || exit 1
        "${BASH_REMATCH[1]}" nodeguard "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(SHELLS[0].1);
    let bash = Command::new("bash")
        .args(["--norc", "-c", script, "bash"])
        .arg(file)
        .args(words)
        .output()
        .unwrap();
    assert!(bash.status.success(), "{words:?}: {}", String::from_utf8_lossy(&bash.stderr));
    let said = String::from_utf8(bash.stdout).unwrap();
    said.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_roles() {
    for (words, expected) in [
        (&["nodeguard", "ch"][..], &["check"][..]),
        (&["nodeguard", "a"], &["apply"]),
        (&["nodeguard", "gate", "--ro"], &["--role"]),
        (&["nodeguard", "check", "--role", ""], &["server", "agent"]),
        (&["nodeguard", "gate", "--role", "s"], &["server"]),
        (&["nodeguard", "override", "--w"], &["--withdraw"]),
        (&["nodeguard", "config", "--r"], &["--root"]),
        // Nobody types what only the gate says.
        (&["nodeguard", "apply", "--wi"], &[]),
        (&["nodeguard", "nothing-of-this-name"], &[]),
    ] {
        assert_eq!(offered(words), expected, "{words:?}");
    }
    let all = offered(&["nodeguard", ""]);
    for command in super::commands() {
        assert!(all.iter().any(|word| word == command.get_name()), "{command}: {all:?}");
    }
}

#[test]
fn the_package_installs_them_where_the_shells_look() {
    let assets = read("Cargo.toml");
    for (path, directory) in [
        ("packaging/completions/nodeguard.bash", "usr/share/bash-completion/completions/nodeguard"),
        ("packaging/completions/_nodeguard", "usr/share/zsh/vendor-completions/"),
        ("packaging/completions/nodeguard.fish", "usr/share/fish/vendor_completions.d/"),
    ] {
        let asset = format!("[\"{path}\", \"{directory}\", \"644\"]");
        assert!(assets.contains(&asset), "Cargo.toml has no asset {asset}");
    }
}
