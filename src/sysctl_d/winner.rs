// SPDX-License-Identifier: Apache-2.0
//! Which of the lines that bear on a key wins.

use super::key::Key;
use super::line::Setting;
use super::resolve::{Assigned, SetBy};
use super::{File, Loader, glob};
use crate::model::Origin;

/// A line that bears on the key in question.
pub(super) struct Bearing<'r> {
    pub file: &'r File,
    pub set_by: SetBy,
    pub setting: &'r Setting,
}

impl Bearing<'_> {
    pub fn origin(&self) -> Origin {
        Origin::at(&self.file.path, self.setting.line)
    }

    pub fn assigned(&self) -> Option<Assigned> {
        Some(Assigned {
            value: self.setting.value.clone()?,
            set_by: self.set_by,
            origin: self.origin(),
            link_to: self.file.link_to.clone(),
            pattern: self.setting.is_glob().then(|| self.setting.path.clone()),
        })
    }
}

/// The winner, else what excludes the key, by their places in `bearing`.
///
/// systemd keeps one value for each spelling, in the order in which the spellings got that value:
/// the same value again changes nothing, another one moves the spelling to the end. What names
/// the key beats every pattern; a lone `-key` is a name without a value. Of patterns, the last in
/// that order writes last.
pub(super) fn systemd(bearing: &[Bearing<'_>]) -> (Option<usize>, Option<usize>) {
    let mut table: Vec<usize> = Vec::new();
    for (at, line) in bearing.iter().enumerate() {
        let same = table.iter().position(|known| bearing[*known].setting.path == line.setting.path);
        match same {
            // It keeps its place; the newest line that says so is the one to name.
            Some(place) if bearing[table[place]].setting.value == line.setting.value => {
                table[place] = at;
            }
            Some(place) => {
                table.remove(place);
                table.push(at);
            }
            None => table.push(at),
        }
    }
    let valued = |at: &usize| bearing[*at].setting.value.is_some();
    match table.iter().find(|at| !bearing[**at].setting.is_glob()) {
        Some(named) if valued(named) => (Some(*named), None),
        Some(named) => (None, Some(*named)),
        None => (table.iter().rev().copied().find(valued), None),
    }
}

/// procps goes through all lines and the last one that writes wins. A pattern leaves out every
/// path that some line spells in the very same way, whether that line sets it or excludes it, and
/// in newer versions those that a lone `-pattern` meets.
pub(super) fn procps(
    bearing: &[Bearing<'_>],
    key: &Key,
    loader: Loader,
) -> (Option<usize>, Option<usize>) {
    let mut winner = None;
    let mut excluded = None;
    for (at, line) in bearing.iter().enumerate().filter(|(_, line)| line.setting.value.is_some()) {
        if line.setting.is_glob() {
            let spelt = filled_in(&line.setting.raw, key);
            let left_out = |other: &Bearing<'_>| {
                other.setting.raw == spelt
                    || is_exclusion(other.setting, loader)
                        && glob::meets(&other.setting.raw, &spelt)
            };
            if let Some(by) = bearing.iter().rposition(left_out) {
                if bearing[by].setting.value.is_none() {
                    excluded = Some(by);
                }
                continue;
            }
        }
        winner = Some(at);
    }
    if winner.is_some() { (winner, None) } else { (None, excluded) }
}

/// Whether a lone `-pattern` excludes what it meets.
pub(super) fn is_exclusion(setting: &Setting, loader: Loader) -> bool {
    loader == Loader::NewerProcps && setting.value.is_none() && setting.is_glob()
}

/// What glob(3) makes of a pattern that meets the key: its own separators with the key's names.
fn filled_in(raw: &str, key: &Key) -> String {
    let mut names = key.path().split('/');
    let part = |part: &str| match part {
        "" | "." => part.to_owned(),
        _ => names.next().unwrap_or_default().to_owned(),
    };
    raw.split('/').map(part).collect::<Vec<_>>().join("/")
}
