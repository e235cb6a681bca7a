// SPDX-License-Identifier: Apache-2.0
//! RKE2's command line as Go's package flag and the library urfave/cli read it.

use super::flags::{self, Flag, Release};
use super::shown;
use crate::model::Role;

/// The most words that are looked at; systemd's own limit on a line is far below what would
/// make more.
pub(super) const MAX_ARGUMENTS: usize = 4096;

/// As the last word it has RKE2 print what could be typed.
const COMPLETION: &str = "--generate-bash-completion";

/// A flag with its value.
#[derive(Clone, Debug)]
pub(super) struct Argument {
    pub(super) flag: &'static Flag,
    /// As it was used, without its dashes.
    pub(super) name: String,
    pub(super) value: String,
}

/// Why RKE2 does not take a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) words: String,
    /// It rests on the list of flags, which another release may have more of.
    pub(super) by_list: bool,
    pub(super) expected: &'static str,
}

/// What a word is.
pub(super) enum WordKind<'a> {
    /// No flag, or `--`: what follows is no flag either.
    End,
    /// With too many dashes or no name; `words` as Go puts it, without a value.
    Bad {
        words: String,
    },
    Flag {
        name: &'a str,
        value: Option<&'a str>,
    },
}

/// Takes one word apart.
pub(super) fn take(word: &str) -> WordKind<'_> {
    let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
        return WordKind::End;
    };
    let flag = flag.strip_prefix('-').unwrap_or(flag);
    if flag.is_empty() && word.len() == 2 {
        return WordKind::End;
    }
    if flag.is_empty() || flag.starts_with(['-', '=']) {
        let (name, value) = match flag.split_once('=') {
            Some((name, _)) => (name, "=…"),
            None => (flag, ""),
        };
        let shown = shown::key(&word[..word.len() - flag.len() + name.len()]);
        return WordKind::Bad { words: format!("bad flag syntax: {shown}{value}") };
    }
    match flag.split_once('=') {
        Some((name, value)) => WordKind::Flag { name, value: Some(value) },
        None => WordKind::Flag { name: flag, value: None },
    }
}

/// Whether RKE2 reads its files before what follows this word.
pub(super) fn is_subcommand(word: &str) -> bool {
    word == "server" || word == "agent"
}

/// The flags after the subcommand, and what RKE2 refuses, if it does. `arguments` are the words
/// after the program.
pub(super) fn parse(
    role: Role,
    release: Release,
    arguments: &[String],
) -> (Vec<Argument>, Option<Refused>) {
    // Without one it is a wrapper that starts RKE2, in a way that is not known.
    let Some(start) = arguments.iter().position(|word| is_subcommand(word)) else {
        return (Vec::new(), None);
    };
    let completes = arguments.last().is_some_and(|word| word == COMPLETION);
    let early = completes.then(|| ends(&COMPLETION[2..])).or_else(|| before(&arguments[..start]));
    let words = &arguments[start + 1..];
    let words = &words[..words.len().min(MAX_ARGUMENTS)];
    // The first version of the library puts flags before all other words; with subcommands below
    // it, as an agent's command has them, it does not.
    let (found, refused) = if release.has_second_cli() || role == Role::Agent {
        parse_words(role, release, words.iter().map(String::as_str))
    } else {
        let is_flag = |word: &str| {
            // Up to three dashes are taken away here, and the flags' own parser takes two.
            let bare = word.strip_prefix("--").unwrap_or(word);
            let bare = bare.strip_prefix('-').unwrap_or(bare);
            let name = bare.split('=').next().unwrap_or_default();
            word.starts_with('-') && flags::on_command_line(role, release, name).is_some()
        };
        parse_words(role, release, flags_first(words, is_flag).into_iter())
    };
    (found, early.or(refused))
}

/// RKE2 itself, before its subcommand, has no flags but those that end it at once. A wrapper's own
/// words, as those of `env` and `nice`, are not looked at.
fn before(words: &[String]) -> Option<Refused> {
    if words.iter().any(|word| !word.starts_with('-')) {
        return None;
    }
    let WordKind::Flag { name, .. } = take(words.first()?) else { return None };
    if ["help", "h", "version", "v"].contains(&name) {
        return Some(ends(name));
    }
    Some(Refused {
        words: format!("flag provided but not defined: {}", unknown(words.first()?, name)),
        by_list: false,
        expected: "flags behind the subcommand",
    })
}

fn ends(flag: &str) -> Refused {
    Refused {
        words: format!("with `{flag}` RKE2 prints and ends"),
        by_list: false,
        expected: "a command line that starts RKE2",
    }
}

/// A flag that is none, as Go names it: with one dash, however many it has.
fn unknown(word: &str, name: &str) -> String {
    if word.starts_with("--") { format!("-{}", shown::name(name)) } else { shown::flag("-", name) }
}

fn flags_first(words: &[String], is_flag: impl Fn(&str) -> bool) -> Vec<&str> {
    let (mut flags, mut others) = (Vec::new(), Vec::new());
    let mut value_may_follow = false;
    let mut left = words.iter().map(String::as_str);
    while let Some(word) = left.next() {
        if is_flag(word) {
            value_may_follow = !word.contains('=');
            flags.push(word);
        } else if value_may_follow {
            value_may_follow = false;
            flags.push(word);
        } else if word == "--" {
            others.insert(0, word);
            others.extend(left);
            break;
        } else {
            others.push(word);
        }
    }
    flags.extend(others);
    flags
}

fn parse_words<'a>(
    role: Role,
    release: Release,
    mut words: impl Iterator<Item = &'a str>,
) -> (Vec<Argument>, Option<Refused>) {
    let mut found: Vec<Argument> = Vec::new();
    let mut help = false;
    while let Some(word) = words.next() {
        let (name, value) = match take(word) {
            WordKind::End => {
                // The one subcommand that each has; an agent has one without a name besides.
                let first = if word == "--" { words.next() } else { Some(word) };
                help |= (release.has_second_cli() || role == Role::Agent)
                    && first.is_some_and(|word| {
                        ["help", "h"].contains(&word) || role == Role::Agent && word.is_empty()
                    });
                break;
            }
            WordKind::Bad { words } => {
                let expected = "one or two dashes and a name";
                return (found, Some(Refused { words, by_list: false, expected }));
            }
            WordKind::Flag { name, value } => (name, value),
        };
        let Some(flag) = flags::on_command_line(role, release, name) else {
            let words = format!("flag provided but not defined: {}", unknown(word, name));
            let expected = "flags of this subcommand";
            return (found, Some(Refused { words, by_list: true, expected }));
        };
        let value = match value {
            Some(value) => value,
            None if flags::is_boolean(name) => "true",
            None => match words.next() {
                Some(value) => value,
                None => {
                    let words = format!("flag needs an argument: {}", shown::flag("-", name));
                    let expected = "a value behind the flag";
                    return (found, Some(Refused { words, by_list: false, expected }));
                }
            },
        };
        help |= flags::is_help(flag.name) && super::scalar::parse_bool(value) == Some(true);
        found.push(Argument { flag, name: name.to_owned(), value: value.to_owned() });
    }
    (found, help.then(|| ends("help")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rke2::parse_version;

    fn read(line: &str, version: &str) -> (String, Option<String>) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let release = Release::of(&parse_version(version).unwrap());
        let role = if line.contains("agent") { Role::Agent } else { Role::Server };
        let (found, refused) = parse(role, release, &words);
        let found: Vec<String> =
            found.into_iter().map(|flag| format!("{}={}", flag.name, flag.value)).collect();
        (found.join(" "), refused.map(|refused| refused.words))
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        for (line, expected) in [
            ("server --profile=cis", "profile=cis"),
            ("server --profile cis --selinux", "profile=cis selinux=true"),
            ("server -profile cis", "profile=cis"),
            ("server -d /x", "d=/x"),
            ("server -i=1.2.3.4", "i=1.2.3.4"),
            ("server --selinux=false", "selinux=false"),
            ("server --selinux false --profile=cis", "selinux=true"),
            ("server -- --profile=cis", ""),
            ("server - --profile=cis", ""),
            ("server --token --profile=cis", "token=--profile=cis"),
            ("server --etcd-arg=b=c", "etcd-arg=b=c"),
            ("server --help=false --profile=cis", "help=false profile=cis"),
            ("/usr/bin/rke2 -x server --profile=cis", "profile=cis"),
            ("--profile=cis", ""),
            ("-lc exec\u{a0}rke2\u{a0}server", ""),
            ("", ""),
        ] {
            assert_eq!(read(line, "v1.36.4"), (expected.to_owned(), None), "{line}");
        }
    }

    #[test]
    fn what_rke2_refuses_is_refused_in_its_words() {
        for (line, words) in [
            ("server --data-dir", "flag needs an argument: -data-dir"),
            ("server -s", "flag needs an argument: -s"),
            ("server ---x", "bad flag syntax: ---x"),
            ("server --=x", "bad flag syntax: --=…"),
            ("server --foo=1 -s", "flag provided but not defined: -foo"),
            ("agent --cni=canal", "flag provided but not defined: -cni"),
            ("agent --disable-etcd", "flag provided but not defined: -disable-etcd"),
            ("server -tsecret", "flag provided but not defined: -t(not shown)"),
            ("server --version", "flag provided but not defined: -version"),
            ("--debug server", "flag provided but not defined: -debug"),
            ("--version server", "with `version` RKE2 prints and ends"),
            ("server -h", "with `help` RKE2 prints and ends"),
            ("server --help", "with `help` RKE2 prints and ends"),
            ("server --selinux help", "with `help` RKE2 prints and ends"),
            ("agent --debug --generate-bash-completion", "with `generate-bash-completion` RKE2"),
        ] {
            let refused = read(line, "v1.36.4").1;
            assert!(
                refused.as_deref().is_some_and(|r| r.starts_with(words)),
                "{line}: {refused:?}"
            );
        }
    }

    #[test]
    fn the_librarys_first_version_puts_flags_before_other_words() {
        for (line, first, second) in [
            ("server x --profile=cis", "profile=cis", ""),
            ("server --selinux false --profile=cis", "selinux=true", "selinux=true"),
            ("server x --token y --selinux", "token=y selinux=true", ""),
            ("server x -- --profile=cis", "", ""),
            ("agent x --profile=cis", "", ""),
        ] {
            assert_eq!(read(line, "v1.30.14").0, first, "{line}");
            assert_eq!(read(line, "v1.36.4").0, second, "{line}");
        }
    }

    #[test]
    fn words_beyond_the_limit_are_not_looked_at() {
        let found = |before: usize| {
            let debug = std::iter::repeat_n("--debug", before);
            let words = std::iter::once("server").chain(debug).chain(["--config=/a"]);
            let words: Vec<String> = words.map(str::to_owned).collect();
            let (found, _) = parse(Role::Server, Release::newest(), &words);
            found.iter().any(|argument| argument.name == "config")
        };
        assert!(found(MAX_ARGUMENTS - 1) && !found(MAX_ARGUMENTS));
    }
}
