// SPDX-License-Identifier: Apache-2.0
//! Everything about one key, from all who have a say.

use super::key::Key;
use super::resolve::{Assigned, Moment, Resolution, Resolver, Shadowed, Why};
use super::tuned::Verdict;
use super::{Loader, Sources, command_line};
use crate::model::Origin;

/// The sources, parsed once for any number of keys.
#[derive(Debug)]
pub struct Explainer<'a> {
    sources: &'a Sources,
    boot: Resolver<'a>,
    now: Resolver<'a>,
    procps: Resolver<'a>,
    newer_procps: Resolver<'a>,
}

/// What decides about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What holds when the next boot has run systemd-sysctl; `None`: the kernel's own default.
    pub next_boot: Option<Assigned>,
    /// The lone `-key` that keeps the files from setting it.
    pub excluded: Option<Origin>,
    /// What has no effect at the next boot.
    pub shadowed: Vec<Shadowed>,
    /// What systemd-sysctl would set if it ran now; files in /run make the difference.
    pub now: Option<Assigned>,
    /// What `sysctl --system` would set if it ran now, up to procps 4.0.4.
    pub sysctl_system: Option<Assigned>,
    /// The same with a newer procps.
    pub newer_sysctl_system: Option<Assigned>,
    pub tuned: Option<Verdict>,
}

impl<'a> Explainer<'a> {
    pub fn new(sources: &'a Sources) -> Self {
        Self {
            sources,
            boot: Resolver::new(sources, Loader::Systemd, Moment::NextBoot),
            now: Resolver::new(sources, Loader::Systemd, Moment::Now),
            procps: Resolver::new(sources, Loader::Procps, Moment::Now),
            newer_procps: Resolver::new(sources, Loader::NewerProcps, Moment::Now),
        }
    }

    pub fn explain(&self, key: &Key) -> Explanation {
        let Resolution { winner, excluded, mut shadowed } = self.boot.resolve(key);
        let text = self.sources.command_line.as_deref().unwrap_or_default();
        let next_boot = match (winner, command_line::find(text, key)) {
            (Some(winner), Some(assigned)) => {
                let by = Some(winner.origin.clone());
                shadowed.insert(0, Shadowed { assigned, why: Why::Files, by });
                Some(winner)
            }
            (winner, from_kernel) => winner.or(from_kernel),
        };
        Explanation {
            next_boot,
            excluded,
            shadowed,
            now: self.now.resolve(key).winner,
            sysctl_system: self.procps.resolve(key).winner,
            newer_sysctl_system: self.newer_procps.resolve(key).winner,
            tuned: self.sources.verdict(key),
        }
    }
}
