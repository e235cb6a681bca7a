// SPDX-License-Identifier: Apache-2.0
//! Everything about one key, from all who have a say.

use serde::Serialize;

use super::Assigned;
use super::key::Key;
use super::resolve::{Moment, Resolution, Resolver, Shadowed, Why};
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
    kernels: Option<Resolver<'a>>,
}

/// What decides about one key. Its fields are part of the JSON of `nodeguard explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
            kernels: sources
                .kernel_file
                .as_ref()
                .map(|file| Resolver::of_file(file, Loader::Systemd)),
        }
    }

    pub fn explain(&self, key: &Key) -> Explanation {
        let Resolution { winner, excluded, mut shadowed } = self.boot.resolve(key);
        let text = self.sources.command_line.as_deref().unwrap_or_default();
        // The strongest first.
        let mut next_boot = winner;
        let from_kernels_file = self.kernels.as_ref().and_then(|file| file.resolve(key).winner);
        let or_kernels =
            |files: &Resolver<'_>| files.resolve(key).winner.or_else(|| from_kernels_file.clone());
        let from_command_line = command_line::find(text, key);
        for (weaker, why) in
            [(from_kernels_file.clone(), Why::Later), (from_command_line, Why::Files)]
        {
            match (&next_boot, weaker) {
                (Some(stronger), Some(assigned)) => {
                    let by = Some(stronger.origin.clone());
                    shadowed.insert(0, Shadowed { assigned, why, by });
                }
                (None, Some(assigned)) => next_boot = Some(assigned),
                (_, None) => {}
            }
        }
        Explanation {
            next_boot,
            excluded,
            shadowed,
            now: or_kernels(&self.now),
            sysctl_system: or_kernels(&self.procps),
            newer_sysctl_system: or_kernels(&self.newer_procps),
            tuned: self.sources.verdict(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysctl_d::fixture::sources;

    #[test]
    fn the_kernels_own_file_is_weaker_than_all_others_and_stronger_than_the_command_line() {
        let kernel = ("/boot/sysctl.conf-6.4.0-default", "vm.dirty_ratio = 20");
        let ours = ("/etc/sysctl.d/a.conf", "vm.dirty_*=5\n");
        let word = "sysctl.vm.dirty_ratio=7";
        for (files, line, want, shadowed) in [
            (&[kernel, ours][..], word, "5", &["7", "20"][..]),
            (&[kernel], word, "20", &["7"]),
            (&[kernel], "", "20", &[]),
            (&[], word, "7", &[]),
        ] {
            let mut sources = sources(files);
            sources.command_line = Some(line.into());
            let got = Explainer::new(&sources).explain(&Key::parse("vm.dirty_ratio").unwrap());
            assert_eq!(got.next_boot.unwrap().value, want, "{files:?} {line}");
            let values: Vec<_> = got.shadowed.iter().map(|s| s.assigned.value.as_str()).collect();
            assert_eq!(values, shadowed, "{files:?} {line}");
        }
    }
}
