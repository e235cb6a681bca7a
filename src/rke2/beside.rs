// SPDX-License-Identifier: Apache-2.0
//! Which names look as if they were meant for RKE2's configuration, where RKE2 reads none of them:
//! `config.yml`, `config.yalm`, `50-cis.yaml.txt`.

use std::path::PathBuf;

/// The longest name that is compared.
const LONGEST: usize = 64;

/// A file that RKE2 does not read, and that looks as if it were meant to be its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// As it is.
    pub path: PathBuf,
    /// As what RKE2 would read it.
    pub meant: PathBuf,
    /// The profile that it sets, and the line.
    pub profile: Option<(String, u32)>,
}

/// How much a name looks like one that RKE2 reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// Like many others: a copy that somebody keeps.
    Copy,
    /// A slip.
    Slip,
}

/// How much `name` looks like the file `meant`, beside which it is; `None`: not at all.
pub fn of_file(name: &str, meant: &str) -> Option<Likeness> {
    let lower = name.to_lowercase();
    let wanted = meant.to_lowercase();
    if name == meant || name.len() > LONGEST {
        return None;
    }
    let (stem, _) = wanted.rsplit_once('.').unwrap_or((&wanted, ""));
    let of_stem = lower.strip_prefix(stem).unwrap_or_default();
    if lower == wanted || is_slip(&lower, &wanted) || [".yml", ".yaml"].contains(&of_stem) {
        return Some(Likeness::Slip);
    }
    let begins = of_stem.starts_with(['.', '-', '_', ' ', '~']) || !of_stem.is_empty();
    begins.then_some(Likeness::Copy)
}

/// The same for a name in the directory of drop-ins.
pub fn of_drop_in(name: &str) -> Option<Likeness> {
    let lower = name.to_lowercase();
    if name.len() > LONGEST || super::is_drop_in(name) {
        return None;
    }
    let ending = lower.rsplit_once('.').map_or("", |(_, ending)| ending);
    if ["yaml", "yml"].iter().any(|wanted| is_slip(ending, wanted)) {
        return Some(Likeness::Slip);
    }
    let copied = [".yaml", ".yml"].iter().any(|wanted| lower.contains(wanted));
    (copied || ["", "json", "conf", "cfg", "txt"].contains(&ending)).then_some(Likeness::Copy)
}

/// The same for a directory beside the file `meant`, where its drop-ins would be in `meant.d`.
pub fn of_directory(name: &str, meant: &str) -> Option<Likeness> {
    let wanted = format!("{meant}.d");
    if name == wanted || name.len() > LONGEST {
        return None;
    }
    let lower = name.to_lowercase();
    let known = ["config.yml.d", "config.d", "conf.d", "config.yaml"].contains(&lower.as_str());
    (known || is_slip(&lower, &wanted.to_lowercase())).then_some(Likeness::Slip)
}

/// A letter too many, too few, another one, or two in the wrong order. What editors and people hang on
/// to a name for a copy is none.
fn is_slip(name: &str, wanted: &str) -> bool {
    let copy = name.strip_prefix(wanted).is_some_and(|more| !more.is_empty());
    !copy && !name.ends_with('~') && strsim::osa_distance(name, wanted) == 1
}

#[cfg(test)]
mod tests {
    use super::Likeness::{Copy, Slip};
    use super::*;

    #[test]
    fn a_name_that_was_meant_is_told_from_a_copy_and_from_another_file() {
        for (name, likeness) in [
            ("config.yml", Some(Slip)),
            ("config.yalm", Some(Slip)),
            ("config.ymal", Some(Slip)),
            ("conifg.yaml", Some(Slip)),
            ("Config.yaml", Some(Slip)),
            ("CONFIG.YML", Some(Slip)),
            ("confi.yaml", Some(Slip)),
            ("config-yaml", Some(Slip)),
            (".config.yaml", Some(Slip)),
            ("config.yaml~", Some(Copy)),
            ("config.yaml.bak", Some(Copy)),
            ("config.yaml.txt", Some(Copy)),
            ("config.yaml1", Some(Copy)),
            ("config.json", Some(Copy)),
            ("config-old.yaml", Some(Copy)),
            ("config.yaml", None),
            ("registries.yaml", None),
            ("rke2.yaml", None),
            ("audit-policy.yaml", None),
        ] {
            assert_eq!(of_file(name, "config.yaml"), likeness, "{name}");
        }
        for (name, likeness) in [
            ("50-cis.yalm", Some(Slip)),
            ("50-cis.ymal", Some(Slip)),
            ("50-cis.yam", Some(Slip)),
            ("50-cis.ym", Some(Slip)),
            ("50-cis.yaml.txt", Some(Copy)),
            ("50-cis.yaml.bak", Some(Copy)),
            ("50-cis.json", Some(Copy)),
            ("50-cis.conf", Some(Copy)),
            ("50-cis", Some(Copy)),
            ("50-cis.yaml~", Some(Copy)),
            ("50-cis.YML", None),
            ("50-cis.sh", None),
        ] {
            assert_eq!(of_drop_in(name), likeness, "{name}");
        }
        for (name, likeness) in [
            ("config.yml.d", Some(Slip)),
            ("config.d", Some(Slip)),
            ("config.yaml.dd", None),
            ("config.yamld", Some(Slip)),
            ("conf.d", Some(Slip)),
            ("config.yaml.d", None),
            ("manifests", None),
        ] {
            assert_eq!(of_directory(name, "config.yaml"), likeness, "{name}");
        }
        let long = "config".repeat(LONGEST);
        assert_eq!(of_file(&long, "config.yaml"), None);
        assert_eq!(of_drop_in(&format!("{long}.yalm")), None);
    }
}
