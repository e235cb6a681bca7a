// SPDX-License-Identifier: Apache-2.0
//! Which of the lines that bear on a key wins.

use std::collections::HashMap;

use super::key::Key;
use super::line::Setting;
use super::{Assigned, File, Loader, SetBy, glob};
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
    // By spelling: since when it has its value, and the newest line that says so, which is the one
    // to name.
    let mut table: HashMap<&str, (usize, usize)> = HashMap::new();
    for (at, line) in bearing.iter().enumerate() {
        let known = table.entry(&line.setting.path).or_insert((at, at));
        if bearing[known.1].setting.value != line.setting.value {
            known.0 = at;
        }
        known.1 = at;
    }
    let mut table: Vec<_> = table.into_values().collect();
    table.sort_unstable();
    let table: Vec<usize> = table.into_iter().map(|(_, newest)| newest).collect();
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
    // The last line that leaves a spelling out, asked once for each.
    let mut left_out: HashMap<String, Option<usize>> = HashMap::new();
    for (at, line) in bearing.iter().enumerate().filter(|(_, line)| line.setting.value.is_some()) {
        if line.setting.is_glob() {
            let spelt = filled_in(&line.setting.raw, key);
            let leaves_out = |other: &Bearing<'_>, spelt: &str| {
                other.setting.raw == spelt
                    || is_exclusion(other.setting, loader) && glob::meets(&other.setting.raw, spelt)
            };
            let by = match left_out.get(&spelt) {
                Some(by) => *by,
                None => {
                    let by = bearing.iter().rposition(|other| leaves_out(other, &spelt));
                    left_out.insert(spelt, by);
                    by
                }
            };
            if let Some(by) = by {
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::sysctl_d::fixture::sources;
    use crate::sysctl_d::{Key, Loader, Moment, Resolver};

    /// As many patterns as are read at all, all of them different, and all meet the key.
    #[test]
    fn time_grows_with_the_patterns_and_not_with_their_square() {
        let text: String = (0..16_000).map(|n| format!("kernel/[p{n}]anic={n}\n")).collect();
        let sources = sources(&[("/etc/sysctl.d/a.conf", &text)]);
        let key = Key::parse("kernel.panic").unwrap();
        for loader in [Loader::Systemd, Loader::Procps, Loader::NewerProcps] {
            let resolver = Resolver::new(&sources, loader, Moment::Now);
            let started = Instant::now();
            let resolution = resolver.resolve(&key);
            let took = started.elapsed();
            assert!(resolution.winner.is_some() && resolution.shadowed.len() == 15_999);
            assert!(took < Duration::from_secs(2), "{loader:?}: {took:?}");
        }
    }
}
