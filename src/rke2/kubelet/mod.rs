// SPDX-License-Identifier: Apache-2.0
//! What the kubelet that RKE2 starts makes of `protect-kernel-defaults`: RKE2's `kubelet-arg`, merged
//! into a command line, and files of kind `KubeletConfiguration`.
//!
//! From v1.32 on RKE2 hands the kubelet a directory of its own, `agent/etc/kubelet.conf.d` in the
//! data directory, with its defaults as the first file, and copies what `config=` and
//! `config-dir=` name into it. Before that both were handed on. Either way a later file wins over an
//! earlier one, and the command line over all of them.

mod files;

use std::collections::{BTreeMap, VecDeque};

use super::{Problem, ProblemKind, Setting, Variable, scalar, shown};
use crate::model::Origin;

pub use files::{Outcome, read};

/// RKE2's own directory of drop-ins, below its data directory.
pub const DROP_IN_DIR: &str = "agent/etc/kubelet.conf.d";

/// What RKE2 writes there before each start of the kubelet: its defaults.
pub const DEFAULTS: &str = "00-rke2-defaults.conf";

/// As what RKE2 copies the file of `config=` there.
pub const COPIED_FILE: &str = "10-cli-config.conf";

/// As what RKE2 copies the directory of `config-dir=` there.
pub const COPIED_DIR: &str = "20-cli-config-dir";

/// How the name of a drop-in of the kubelet's ends.
pub const SUFFIX: &str = ".conf";

/// The first minor version of RKE2 with a directory of drop-ins.
const FIRST_WITH_DROP_INS: u64 = 32;

/// The first one whose kubelet has the flag `config-dir`.
const FIRST_WITH_DIR: u64 = 28;

/// The first one whose kubelet takes it without asking for the variable.
const FIRST_WITHOUT_VARIABLE: u64 = 30;
const DIR_VARIABLE: &str = "KUBELET_CONFIG_DROPIN_DIR_ALPHA";

/// Files of the kubelet's that are read.
pub const MAX_FILES: usize = 256;

/// The largest of them that is read, in bytes.
pub const MAX_SIZE: usize = 256 << 10;

/// What all of them together may have, in bytes.
pub const MAX_TOTAL: usize = 1 << 20;

const FLAG: &str = "protect-kernel-defaults";

/// What all `kubelet-arg` together say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `protect-kernel-defaults` on the kubelet's command line, which wins over every file.
    pub protect: Option<Setting<bool>>,
    /// `--config` on that command line.
    pub file: Option<Setting<String>>,
    /// `--config-dir` on it, where it is another than RKE2's own directory.
    pub dir: Option<Setting<String>>,
    /// The file that RKE2 copies into its own directory.
    pub copied_file: Option<Setting<String>>,
    /// The directory that it copies there.
    pub copied_dir: Option<Setting<String>>,
    /// What RKE2 or the kubelet refuses.
    pub problems: Vec<Problem>,
}

/// A value of the kubelet's command line and the argument that it comes from. RKE2's own value, which
/// is its directory, is `None`.
type Given<'a> = (Option<&'a str>, &'a Setting<String>);

/// Whether this RKE2 has a directory of drop-ins for the kubelet.
pub fn has_drop_ins(version: Option<&semver::Version>) -> bool {
    version.is_none_or(|version| version.major > 1 || version.minor >= FIRST_WITH_DROP_INS)
}

/// Why the kubelet of an old RKE2 does not start with this `config-dir`. It has the environment of
/// RKE2, which is `None` where it is not known.
pub fn refused_dir(
    dir: &Setting<String>,
    version: &semver::Version,
    environment: Option<&[Variable]>,
) -> Option<Problem> {
    let is_set = |environment: &[Variable]| environment.iter().any(|v| v.name == DIR_VARIABLE);
    match version.minor {
        _ if version.major > 1 => None,
        ..FIRST_WITH_DIR => {
            let words = "failed to parse kubelet flag: unknown flag: --config-dir".to_owned();
            Some(refused(dir, words, "no config-dir, which the kubelet has from v1.28 on"))
        }
        // An empty one is none.
        ..FIRST_WITHOUT_VARIABLE
            if !dir.value.is_empty() && environment.is_some_and(|all| !is_set(all)) =>
        {
            let words = format!(
                "flag config-dir specified but environment variable {DIR_VARIABLE} not set, cannot \
                 start kubelet"
            );
            Some(refused(dir, words, "no config-dir, or the variable in RKE2's environment"))
        }
        _ => None,
    }
}

/// Reads `kubelet-arg` in its order, as RKE2 makes a command line of it: `name+=value` goes behind
/// the values that are there, `name-=value` before them; the last one counts. `drop_ins`:
/// [`has_drop_ins`].
pub fn arguments(given: &[Setting<String>], drop_ins: bool) -> Arguments {
    let mut found = Arguments::default();
    let mut line: BTreeMap<&str, VecDeque<Given<'_>>> = BTreeMap::new();
    let mut words = given.iter().peekable();
    while let Some(word) = words.next() {
        let argument = word.value.strip_prefix("--").unwrap_or(&word.value);
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (argument, None),
        };
        if drop_ins && ["config", "config-dir"].contains(&name) {
            // Without `=` its value is the next argument.
            let value = value.or_else(|| words.next().map(|next| next.value.as_str()));
            let Some(value) = value.filter(|value| !value.is_empty()) else {
                let words = format!(
                    "failed to start kubelet: prepare user configuration drop-ins: value required \
                     for kubelet-arg --{name}"
                );
                found.problems.push(refused(word, words, "the path of a file or directory"));
                continue;
            };
            let place =
                if name == "config" { &mut found.copied_file } else { &mut found.copied_dir };
            *place = Some(Setting { value: value.to_owned(), ..word.clone() });
            continue;
        }
        let bare = name.trim_end_matches(['-', '+']);
        let values = line.entry(bare).or_default();
        if drop_ins && bare == "config-dir" && values.is_empty() {
            values.push_back((None, word));
        }
        let value = (Some(value.unwrap_or("true")), word);
        if name.ends_with('-') { values.push_front(value) } else { values.push_back(value) }
    }
    // The kubelet is given them in the order of their names, and takes an underscore for a dash.
    for (name, values) in &line {
        let name = name.trim_start_matches("--").replace('_', "-");
        for (value, word) in values {
            let setting = value.map(|value| Setting { value: value.into(), ..(*word).clone() });
            match name.as_str() {
                FLAG => match scalar::parse_bool(value.unwrap_or_default()) {
                    Some(value) => {
                        let Setting { key, origin, .. } = (*word).clone();
                        found.protect = Some(Setting { value, key, origin });
                    }
                    None => {
                        let value = shown::boolean(value.unwrap_or_default());
                        let words = format!(
                            "failed to parse kubelet flag: invalid argument {value:?} for \
                             \"--{FLAG}\" flag: strconv.ParseBool: parsing {value:?}: invalid syntax"
                        );
                        found.problems.push(refused(word, words, "true or false"));
                    }
                },
                "config" => found.file = setting.filter(|file| !file.value.is_empty()),
                "config-dir" => found.dir = setting,
                _ => {}
            }
        }
    }
    found
}

fn refused(word: &Setting<String>, words: String, expected: &str) -> Problem {
    Problem {
        kind: ProblemKind::InvalidValue,
        origin: word.origin.clone().unwrap_or_else(|| Origin::file("command line")),
        key: Some(word.key.clone()),
        words,
        expected: expected.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(arguments: &[&str]) -> Vec<Setting<String>> {
        (1..)
            .zip(arguments)
            .map(|(line, argument)| Setting {
                value: (*argument).into(),
                key: "kubelet-arg".into(),
                origin: Some(Origin::at("config.yaml", line)),
            })
            .collect()
    }

    #[test]
    fn the_flag_is_what_the_kubelet_is_given_last() {
        for (list, protect, refusals) in [
            (&["protect-kernel-defaults=true"][..], Some((true, 1)), 0),
            (&["--protect-kernel-defaults=true"], Some((true, 1)), 0),
            (&["protect-kernel-defaults"], Some((true, 1)), 0),
            (
                &["protect-kernel-defaults=true", "protect-kernel-defaults=false"],
                Some((false, 2)),
                0,
            ),
            (&["protect-kernel-defaults+=true"], Some((true, 1)), 0),
            (
                &["protect-kernel-defaults=false", "protect-kernel-defaults+=true"],
                Some((true, 2)),
                0,
            ),
            (
                &["protect-kernel-defaults=false", "protect-kernel-defaults-=true"],
                Some((false, 1)),
                0,
            ),
            (&["protect-kernel-defaults-=true"], Some((true, 1)), 0),
            (
                &["protect_kernel_defaults=true", "protect-kernel-defaults=false"],
                Some((true, 1)),
                0,
            ),
            (&["protect-kernel-defaults=T"], Some((true, 1)), 0),
            (&["protect-kernel-defaults=yes"], None, 1),
            (&["protect-kernel-defaults="], None, 1),
            (&["protect-kernel-defaults=on", "protect-kernel-defaults=true"], Some((true, 2)), 1),
            (&["max-pods=200"], None, 0),
            (&["protect-kernel-defaults-x=true"], None, 0),
        ] {
            for drop_ins in [true, false] {
                let found = arguments(&given(list), drop_ins);
                let line = |setting: &Setting<bool>| setting.origin.as_ref().unwrap().line.unwrap();
                let got = found.protect.as_ref().map(|setting| (setting.value, line(setting)));
                assert_eq!((got, found.problems.len()), (protect, refusals), "{list:?}");
            }
        }
    }

    #[test]
    fn files_are_copied_by_a_new_rke2_and_handed_on_by_an_old_one() {
        let values = |list: &[&str], drop_ins| {
            let found = arguments(&given(list), drop_ins);
            let text = |setting: Option<Setting<String>>| setting.map(|setting| setting.value);
            assert!(found.problems.is_empty(), "{list:?}: {:?}", found.problems);
            [found.copied_file, found.copied_dir, found.file, found.dir].map(text)
        };
        let some = |text: &str| Some(text.to_owned());
        let both = ["config=/a", "config-dir=/b"];
        assert_eq!(values(&both, true), [some("/a"), some("/b"), None, None]);
        assert_eq!(values(&both, false), [None, None, some("/a"), some("/b")]);
        assert_eq!(values(&["config", "/a"], true), [some("/a"), None, None, None]);
        assert_eq!(values(&["config=/a", "--config=/c"], true), [some("/c"), None, None, None]);
        assert_eq!(values(&["config+=/a"], true), [None, None, some("/a"), None]);
        assert_eq!(values(&["config-dir+=/b"], true), [None, None, None, some("/b")]);
        assert_eq!(values(&["config-dir-=/b"], true), [None, None, None, None]);
        for list in [&["config="][..], &["config-dir"]] {
            assert_eq!(arguments(&given(list), true).problems.len(), 1, "{list:?}");
        }
    }

    #[test]
    fn an_old_kubelet_has_no_directory_or_asks_for_a_variable() {
        let origin = Origin::at("/etc/default/rke2-server", 1);
        let variable = Variable { name: DIR_VARIABLE.into(), value: String::new(), origin };
        let (set, unset) = (&[variable][..], &[][..]);
        let (unknown, needs) = (Some("unknown flag"), Some("environment variable"));
        for (version, value, environment, words) in [
            ("v1.27.16+rke2r1", "/x", Some(set), unknown),
            ("v1.27.16+rke2r1", "", None, unknown),
            ("v1.28.0+rke2r1", "/x", Some(unset), needs),
            ("v1.28.0+rke2r1", "/x", Some(set), None),
            ("v1.28.0+rke2r1", "/x", None, None),
            ("v1.28.0+rke2r1", "", Some(unset), None),
            ("v1.29.15+rke2r1", "/x", Some(unset), needs),
            ("v1.30.0+rke2r1", "/x", Some(unset), None),
            ("v2.1.0+rke2r1", "/x", Some(unset), None),
        ] {
            let version = crate::rke2::parse_version(version).unwrap();
            let dir = &given(&[value])[0];
            let problem = refused_dir(dir, &version, environment);
            assert_eq!(problem.is_some(), words.is_some(), "{version} {value:?}");
            let told = problem.is_none_or(|problem| problem.words.contains(words.unwrap()));
            assert!(told, "{version} {value:?}");
        }
        let version = |text| crate::rke2::parse_version(text).ok();
        assert!(has_drop_ins(version("v2.1.0+rke2r1").as_ref()));
        assert!(!has_drop_ins(version("v1.31.9+rke2r1").as_ref()));
    }
}
