// SPDX-License-Identifier: Apache-2.0
//! TuneD, which writes a profile's `[sysctl]` after boot, when systemd-sysctl is long done.
//!
//! By default it then applies sysctl.d once more (`reapply_sysctl` in tuned-main.conf), so that a
//! file wins over the profile after all. But it does so in its own way: /run before /etc, nothing
//! below /usr, no patterns, no prefix `-`, and a slash is always a literal dot.

use serde::Serialize;

use super::key::{Key, simplified, swapped};
use super::{Assigned, Body, File, Moment, Place, SetBy, Sources as AllSources};
use crate::model::Origin;

/// Where profiles are, the strongest first; the last two are those of TuneD before 2.24.
pub const PROFILE_DIRECTORIES: [&str; 4] =
    ["/etc/tuned/profiles", "/usr/lib/tuned/profiles", "/etc/tuned", "/usr/lib/tuned"];

/// What was found of TuneD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The content of /etc/tuned/active_profile.
    pub profile: String,
    /// The service starts at boot.
    pub enabled: bool,
    /// tuned-main.conf, if it could be read.
    pub main: Option<File>,
    /// The active profiles' files, each after those that it includes.
    pub profiles: Vec<File>,
}

/// What TuneD does with one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub profile: String,
    pub enabled: bool,
    /// It applies sysctl.d again after its own values.
    pub reapplies: bool,
    /// What the profile says.
    pub sets: Option<Assigned>,
    /// What applying sysctl.d again makes of it.
    pub reapplied: Option<Assigned>,
    /// The value that TuneD leaves; absent where it leaves the key alone, or where that depends on
    /// variables or on the value it finds.
    pub leaves: Option<Assigned>,
}

/// The names in active_profile, or in an `include`, that TuneD takes for names.
pub fn names(text: &str) -> Vec<&str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    text.split([' ', '\t', '\n', ',', ';'])
        .filter(|name| !name.is_empty() && name.chars().all(allowed))
        .collect()
}

/// What a profile includes, in order. A name with a leading `-` need not exist.
pub fn includes(profile: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(profile);
    options(&text)
        .filter(|option| option.section == "main" && option.name == "include")
        .flat_map(|option| names(option.value).into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Whether tuned-main.conf says that sysctl.d is applied again. It is, unless it says no.
pub fn reapplies(main: &[u8]) -> bool {
    let text = String::from_utf8_lossy(main);
    let said = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .rfind(|(name, _)| name.trim() == "reapply_sysctl");
    said.is_none_or(|(_, value)| {
        let value = value.split('#').next().unwrap_or_default().trim().to_ascii_lowercase();
        !["0", "false", "no", "off"].contains(&value.as_str())
    })
}

/// What TuneD does with `key`; `None` where there is no active profile.
pub(super) fn verdict(all: &AllSources, key: &Key, moment: Moment) -> Option<Verdict> {
    let sources = all.tuned.as_ref().filter(|sources| !sources.profile.trim().is_empty())?;
    let units = units(&sources.profiles, key);
    let sets = units
        .iter()
        .flat_map(|unit| &unit.options)
        .map(|option| option.assigned.clone())
        .next_back();
    let main = sources.main.as_ref().map(|file| file.text()).unwrap_or_default();
    // Only a profile with a section for it starts the plug-in that applies the files.
    let reapplies = !units.is_empty() && reapplies(main);
    let reapplied = if reapplies { reapplied(all, key, moment) } else { None };
    let leaves = match (&reapplied, &sets) {
        (Some(reapplied), _) => Some(reapplied.clone()),
        (None, Some(sets)) if is_plain(&sets.value) => Some(sets.clone()),
        _ => None,
    };
    Some(Verdict {
        profile: sources.profile.trim().to_owned(),
        enabled: sources.enabled,
        reapplies,
        sets,
        reapplied,
        leaves,
    })
}

/// Neither a variable nor a "only if that is more".
fn is_plain(value: &str) -> bool {
    let conditional = value.len() > 1 && value.starts_with(['<', '>']);
    !conditional && !value.contains("${")
}

/// TuneD swaps dots and slashes, whichever came first.
fn path(name: &str) -> String {
    simplified(&swapped(name))
}

/// A section of a profile.
struct Unit {
    name: String,
    is_sysctl: bool,
    enabled: bool,
    /// It takes the place of the section of the same name in profiles before.
    replaces: bool,
    /// Parameters of profiles before that it takes away.
    dropped: Vec<String>,
    options: Vec<Parameter>,
}

impl Unit {
    /// Another value in the place of the first one, as Python's dictionaries have it; where two
    /// spellings mean one parameter, the later place wins.
    fn set(&mut self, option: Parameter) {
        match self.options.iter_mut().find(|known| known.name == option.name) {
            Some(known) => *known = option,
            None => self.options.push(option),
        }
    }
}

struct Parameter {
    name: String,
    assigned: Assigned,
}

/// The sections that are for the kernel parameters, merged over all profiles, with what they say
/// of one key.
fn units(profiles: &[File], key: &Key) -> Vec<Unit> {
    let mut merged: Vec<Unit> = Vec::new();
    for unit in profiles.iter().flat_map(|file| units_of(file, key)) {
        match merged.iter_mut().find(|known| known.name == unit.name) {
            None => merged.push(unit),
            Some(known) if unit.replaces => *known = unit,
            Some(known) => {
                // What the newer one does not say is at its default again.
                (known.is_sysctl, known.enabled) = (unit.is_sysctl, unit.enabled);
                known.options.retain(|option| !unit.dropped.contains(&option.name));
                unit.options.into_iter().for_each(|option| known.set(option));
            }
        }
    }
    merged.retain(|unit| unit.is_sysctl && unit.enabled);
    merged
}

fn units_of(file: &File, key: &Key) -> Vec<Unit> {
    let text = String::from_utf8_lossy(file.text());
    let mut units: Vec<Unit> = Vec::new();
    for IniOption { section, name, value, line } in options(&text) {
        if section == "main" {
            continue;
        }
        let at = units.iter().position(|unit| unit.name == section).unwrap_or_else(|| {
            units.push(Unit {
                name: section.to_owned(),
                is_sysctl: section == "sysctl",
                enabled: true,
                replaces: false,
                dropped: Vec::new(),
                options: Vec::new(),
            });
            units.len() - 1
        });
        let unit = &mut units[at];
        match name {
            "type" => unit.is_sysctl = value == "sysctl",
            "enabled" => unit.enabled = is_true(value),
            "replace" => unit.replaces = is_true(value),
            "drop" => {
                unit.dropped = value.split([',', ';']).map(|name| name.trim().to_owned()).collect();
            }
            // The head of an empty section starts the plug-in all the same.
            "" | "priority" | "devices" | "devices_udev_regex" | "cpuinfo_regex"
            | "uname_regex" | "script_pre" | "script_post" => {}
            name if path(name) != key.path() => {}
            name => {
                unit.set(Parameter {
                    name: name.to_owned(),
                    assigned: Assigned {
                        value: value.trim_matches('"').to_owned(),
                        set_by: SetBy::Tuned,
                        origin: Origin::at(&file.path, line),
                        link_to: None,
                        pattern: None,
                    },
                });
            }
        }
    }
    units
}

fn is_true(value: &str) -> bool {
    ["True", "true", "1"].contains(&value)
}

/// sysctl.d in TuneD's order and TuneD's reading.
fn reapplied(all: &AllSources, key: &Key, moment: Moment) -> Option<Assigned> {
    let mut files: Vec<&File> = Vec::new();
    for place in [Place::Run, Place::Etc] {
        if place == Place::Run && moment == Moment::NextBoot {
            continue;
        }
        for (_, found) in all.directories.iter().filter(|(known, _)| *known == place) {
            for file in found {
                if !files.iter().any(|known| known.name() == file.name()) {
                    files.push(file);
                }
            }
        }
    }
    files.sort_by(|a, b| a.name().as_bytes().cmp(b.name().as_bytes()));
    files.extend(&all.sysctl_conf);
    let mut last = None;
    for file in files.iter().filter(|file| matches!(file.body, Body::Text(_))) {
        let text = String::from_utf8_lossy(file.text());
        for (number, line) in (1..).zip(text.split('\n')) {
            let line = line.trim();
            if line.starts_with(['#', ';']) {
                continue;
            }
            let Some((name, value)) = line.split_once('=') else { continue };
            if path(name.trim()) == key.path() {
                last = Some(Assigned {
                    value: value.trim().to_owned(),
                    set_by: SetBy::File,
                    origin: Origin::at(&file.path, number),
                    link_to: file.link_to.clone(),
                    pattern: None,
                });
            }
        }
    }
    last
}

/// `name=value` of an ini file; a section's head with an empty name.
struct IniOption<'t> {
    section: &'t str,
    name: &'t str,
    value: &'t str,
    line: u32,
}

fn options(text: &str) -> impl Iterator<Item = IniOption<'_>> {
    let mut section = "";
    (1..).zip(text.lines()).filter_map(move |(line, whole)| {
        // An indented line goes on with the value before, which no parameter of ours needs.
        if whole.starts_with([' ', '\t', '#', ';']) {
            return None;
        }
        let whole = whole.find(" #").or(whole.find("\t#")).map_or(whole, |at| &whole[..at]).trim();
        if let Some(name) = whole.strip_prefix('[') {
            section = name.split(']').next().unwrap_or_default();
            return Some(IniOption { section, name: "", value: "", line });
        }
        let (name, value) = whole.split_once('=')?;
        Some(IniOption { section, name: name.trim(), value: value.trim(), line })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysctl_d::fixture::{file, sources};

    fn with_tuned(files: &[(&str, &str)], main: &str, profiles: &[(&str, &str)]) -> AllSources {
        let mut all = sources(files);
        all.tuned = Some(Sources {
            profile: "balanced\n".into(),
            enabled: true,
            main: Some(file("/etc/tuned/tuned-main.conf", main)),
            profiles: profiles.iter().map(|(path, text)| file(path, text)).collect(),
        });
        all
    }

    fn verdict_of(all: &AllSources) -> Verdict {
        verdict(all, &Key::parse("kernel.panic").unwrap(), Moment::NextBoot).unwrap()
    }

    fn value(assigned: &Option<Assigned>) -> &str {
        assigned.as_ref().map_or("-", |assigned| assigned.value.as_str())
    }

    const PROFILE: &str = "/usr/lib/tuned/balanced/tuned.conf";

    #[test]
    fn a_file_in_etc_wins_over_the_profile_unless_nothing_is_applied_again() {
        let files = [("/etc/sysctl.d/60-rke2-cis.conf", "kernel.panic=10")];
        let profile = [(PROFILE, "[main]\nsummary=x\n[sysctl]\nkernel.panic = 30 # why\n")];
        for (main, leaves) in [
            ("", "10"),
            ("reapply_sysctl = 1", "10"),
            ("# reapply_sysctl = 0", "10"),
            ("reapply_sysctl = 0", "30"),
        ] {
            let verdict = verdict_of(&with_tuned(&files, main, &profile));
            assert_eq!(value(&verdict.leaves), leaves, "{main:?}");
            assert_eq!(verdict.sets.unwrap().origin, Origin::at(PROFILE, 4));
        }
    }

    #[test]
    fn what_stands_below_usr_only_does_not_win_over_the_profile() {
        let files = [("/usr/lib/sysctl.d/99-z.conf", "kernel.panic=10")];
        let verdict =
            verdict_of(&with_tuned(&files, "", &[(PROFILE, "[sysctl]\nkernel.panic=30")]));
        assert_eq!(value(&verdict.leaves), "30");
    }

    #[test]
    fn without_a_section_of_its_own_tuned_leaves_the_parameters_alone() {
        let files = [("/etc/sysctl.d/60-rke2-cis.conf", "kernel.panic=10")];
        let verdict = verdict_of(&with_tuned(&files, "", &[(PROFILE, "[cpu]\nkernel.panic=30")]));
        assert_eq!((verdict.reapplies, value(&verdict.leaves)), (false, "-"));
    }

    #[test]
    fn an_empty_section_is_enough_for_the_files_to_be_applied_again() {
        let files = [("/etc/sysctl.conf", "kernel.panic=6")];
        let verdict = verdict_of(&with_tuned(&files, "", &[(PROFILE, "[sysctl]\n[cpu]\nx=1")]));
        assert_eq!((verdict.reapplies, value(&verdict.leaves)), (true, "6"));
    }

    #[test]
    fn profiles_are_merged_in_order_as_tuned_merges_them() {
        for (second, leaves) in [
            ("[sysctl]\nkernel.panic=2", "2"),
            ("[sysctl]\nvm.x=2", "1"),
            ("[sysctl]\nreplace=1\nvm.x=2", "-"),
            ("[sysctl]\ndrop=kernel.panic", "-"),
            ("[sysctl]\nvm.x=1\nkernel.panic=4\ndrop=kernel.panic", "4"),
            ("[sysctl]\nenabled=false", "-"),
            ("[sysctl]\ntype=cpu", "-"),
            ("[more]\ntype=sysctl\nkernel.panic=3", "3"),
            ("[sysctl]\nkernel.panic=${x}", "-"),
            ("[sysctl]\nkernel.panic=>5", "-"),
            ("[sysctl]\nkernel.panic=\"7\"", "7"),
        ] {
            let profiles =
                [(PROFILE, "[sysctl]\nkernel.panic=1"), ("/etc/tuned/x/tuned.conf", second)];
            let verdict = verdict_of(&with_tuned(&[], "", &profiles));
            assert_eq!(value(&verdict.leaves), leaves, "{second:?}");
        }
    }

    #[test]
    fn of_two_spellings_the_one_that_came_first_stays_first() {
        let first = "[sysctl]\nkernel.panic=1\nkernel..panic=2";
        for (second, leaves) in [("kernel.panic=3", "2"), ("kernel..panic=4", "4")] {
            let second = format!("[sysctl]\n{second}");
            let profiles = [(PROFILE, first), ("/etc/tuned/x/tuned.conf", second.as_str())];
            assert_eq!(value(&verdict_of(&with_tuned(&[], "", &profiles)).leaves), leaves);
        }
    }

    #[test]
    fn includes_are_found_in_the_main_section_only() {
        let text = b"[main]\ninclude = base, -optional;${x}\n[other]\ninclude=no";
        assert_eq!(includes(text), ["base", "-optional"]);
    }
}
