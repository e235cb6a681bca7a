// SPDX-License-Identifier: Apache-2.0
//! All files of one loader, and what they make of a key.

use serde::Serialize;

use super::glob;
use super::key::Key;
use super::line::{self, Setting};
use super::winner::{self, Bearing};
use super::{Assigned, Body, File, Loader, Place, SetBy, Sources};
use crate::model::Origin;

/// Which files count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// All that are there: what a run of the loader would do now.
    Now,
    /// Without /run, which is empty after a reboot.
    NextBoot,
}

/// Why an assignment has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// A later line sets the key again.
    Later,
    /// It is a pattern, and another line names the key.
    Named,
    /// A lone `-key` takes the key back.
    Excluded,
    /// A file of the same name in a stronger directory is read instead.
    SameName,
    /// The same, and that file is a link to /dev/null.
    Masked,
    /// It is in /run, which is empty after a reboot.
    Volatile,
    /// The kernel takes it first, and the files come later.
    Files,
}

/// An assignment that has no effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shadowed {
    #[serde(flatten)]
    pub assigned: Assigned,
    pub why: Why,
    /// What is in effect instead; absent for [`Why::Volatile`].
    pub by: Option<Origin>,
}

/// What the files make of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    pub winner: Option<Assigned>,
    /// The lone `-key` that keeps the key from being set.
    pub excluded: Option<Origin>,
    /// The settings that have no effect, in the order in which they are read.
    pub shadowed: Vec<Shadowed>,
}

/// The files of one loader in the order in which it reads them, parsed.
#[derive(Debug)]
pub struct Resolver<'a> {
    loader: Loader,
    read: Vec<Parsed<'a>>,
    /// What is not read, and the file that is read in its place.
    replaced: Vec<(Parsed<'a>, &'a File)>,
    /// What is not there at the next boot.
    volatile: Vec<Parsed<'a>>,
}

#[derive(Debug)]
struct Parsed<'a> {
    file: &'a File,
    set_by: SetBy,
    settings: Vec<Setting>,
}

impl<'a> Resolver<'a> {
    pub fn new(sources: &'a Sources, loader: Loader, moment: Moment) -> Self {
        let mut resolver =
            Self { loader, read: Vec::new(), replaced: Vec::new(), volatile: Vec::new() };
        let parse = |file: &'a File, set_by| Parsed {
            file,
            set_by,
            settings: line::parse(file.text(), loader),
        };
        let mut found: Vec<(Place, &File)> = Vec::new();
        let mut all: Vec<(Place, &File)> = sources
            .directories
            .iter()
            .flat_map(|(place, files)| files.iter().map(|file| (*place, file)))
            // systemd reads no hidden files, procps does.
            .filter(|(_, file)| loader != Loader::Systemd || !file.name().starts_with('.'))
            .collect();
        // By name, and of the same name the strongest directory first.
        all.sort_by(|(a_place, a), (b_place, b)| {
            a.name().as_bytes().cmp(b.name().as_bytes()).then(a_place.cmp(b_place))
        });
        for (place, file) in all {
            if place == Place::Run && moment == Moment::NextBoot {
                resolver.volatile.push(parse(file, SetBy::File));
                continue;
            }
            match found.last() {
                Some((_, stronger)) if stronger.name() == file.name() => {
                    resolver.replaced.push((parse(file, SetBy::File), stronger));
                }
                _ => {
                    found.push((place, file));
                    resolver.read.push(parse(file, SetBy::File));
                }
            }
        }
        let last = match loader {
            Loader::Systemd => sources
                .credential
                .as_ref()
                .filter(|file| moment == Moment::Now || !file.path.starts_with("/run/credstore/"))
                .map(|file| (file, SetBy::Credential)),
            _ => sources.sysctl_conf.as_ref().map(|file| (file, SetBy::File)),
        };
        resolver.read.extend(last.map(|(file, set_by)| parse(file, set_by)));
        resolver
    }

    /// One file that is applied by itself.
    pub(super) fn of_file(file: &'a File, loader: Loader) -> Self {
        let settings = line::parse(file.text(), loader);
        let read = vec![Parsed { file, set_by: SetBy::File, settings }];
        Self { loader, read, replaced: Vec::new(), volatile: Vec::new() }
    }

    /// The files in the order in which they are read.
    pub fn order(&self) -> impl Iterator<Item = &'a File> {
        self.read.iter().map(|parsed| parsed.file)
    }

    /// Who sets this key.
    pub fn resolve(&self, key: &Key) -> Resolution {
        let bearing: Vec<Bearing<'_>> =
            self.read.iter().flat_map(|parsed| self.bearing(parsed, key)).collect();
        let (winner, excluded) = match self.loader {
            Loader::Systemd => winner::systemd(&bearing),
            loader => winner::procps(&bearing, key, loader),
        };
        let decisive = winner.or(excluded);
        let by = decisive.map(|at| bearing[at].origin());
        let named = bearing.iter().any(|line| !line.setting.is_glob());
        let mut shadowed = Vec::new();
        for (at, line) in bearing.iter().enumerate() {
            let Some(assigned) = line.assigned() else { continue };
            if winner == Some(at) {
                continue;
            }
            let why = match decisive.map(|at| &bearing[at]) {
                Some(by) if by.setting.value.is_none() => Why::Excluded,
                Some(by) if line.setting.is_glob() && !by.setting.is_glob() => Why::Named,
                // procps alone has this: a lone `-key` stops patterns and nothing else.
                _ if line.setting.is_glob() && named => Why::Excluded,
                _ => Why::Later,
            };
            shadowed.push(Shadowed { assigned, why, by: by.clone() });
        }
        for (parsed, stronger) in &self.replaced {
            let masked = stronger.body == Body::Masked;
            let why = if masked { Why::Masked } else { Why::SameName };
            let by = Some(Origin::file(&stronger.path));
            shadowed.extend(self.without_effect(parsed, key, why, by));
        }
        for parsed in &self.volatile {
            shadowed.extend(self.without_effect(parsed, key, Why::Volatile, None));
        }
        Resolution {
            winner: winner.and_then(|at| bearing[at].assigned()),
            excluded: excluded.map(|at| bearing[at].origin()),
            shadowed,
        }
    }

    fn bearing<'r>(&self, parsed: &'r Parsed<'a>, key: &Key) -> impl Iterator<Item = Bearing<'r>> {
        let (file, set_by, loader) = (parsed.file, parsed.set_by, self.loader);
        let key = key.path().to_owned();
        let bears = move |setting: &&Setting| {
            setting.path == key
                || setting.is_glob() && glob::matches(&setting.path, &key, loader)
                || winner::is_exclusion(setting, loader) && glob::meets(&setting.path, &key)
        };
        let line = move |setting| Bearing { file, set_by, setting };
        parsed.settings.iter().filter(bears).map(line)
    }

    fn without_effect(
        &self,
        parsed: &Parsed<'a>,
        key: &Key,
        why: Why,
        by: Option<Origin>,
    ) -> Vec<Shadowed> {
        self.bearing(parsed, key)
            .filter_map(|line| line.assigned())
            .map(|assigned| Shadowed { assigned, why, by: by.clone() })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysctl_d::fixture::{file, sources};

    const PANIC: &str = "kernel.panic";

    fn resolve(sources: &Sources, loader: Loader, key: &str) -> Resolution {
        Resolver::new(sources, loader, Moment::Now).resolve(&Key::parse(key).unwrap())
    }

    /// `value @ file:line`, or `-`.
    fn winner(sources: &Sources, loader: Loader, key: &str) -> String {
        resolve(sources, loader, key)
            .winner
            .map_or("-".into(), |won| format!("{} @ {}", won.value, won.origin))
    }

    #[test]
    fn files_are_read_by_name_across_directories_and_a_name_counts_once() {
        for (files, want) in [
            (
                &[
                    ("/etc/sysctl.d/60-a.conf", "kernel.panic=10"),
                    ("/usr/lib/sysctl.d/99-z.conf", "kernel.panic=0"),
                ][..],
                "0 @ /usr/lib/sysctl.d/99-z.conf:1",
            ),
            (
                &[
                    ("/usr/lib/sysctl.d/60-a.conf", "kernel.panic=1"),
                    ("/run/sysctl.d/60-a.conf", "kernel.panic=2"),
                    ("/usr/local/lib/sysctl.d/60-a.conf", "kernel.panic=3"),
                ],
                "2 @ /run/sysctl.d/60-a.conf:1",
            ),
            (
                &[
                    ("/etc/sysctl.d/60-a.conf", ""),
                    ("/usr/lib/sysctl.d/60-a.conf", "kernel.panic=1"),
                ],
                "-",
            ),
            (
                &[
                    ("/etc/sysctl.d/60-a.conf", "!mask"),
                    ("/usr/lib/sysctl.d/60-a.conf", "kernel.panic=1"),
                ],
                "-",
            ),
            (
                &[
                    ("/etc/sysctl.d/60-a.conf", "!dangling"),
                    ("/usr/lib/sysctl.d/60-a.conf", "kernel.panic=1"),
                ],
                "-",
            ),
            (
                &[
                    ("/etc/sysctl.d/9.conf", "kernel.panic=9"),
                    ("/etc/sysctl.d/10.conf", "kernel.panic=10"),
                ],
                "9 @ /etc/sysctl.d/9.conf:1",
            ),
            (
                &[("/etc/sysctl.d/a.conf", "#\nkernel.panic=1\nkernel.panic=2\n")],
                "2 @ /etc/sysctl.d/a.conf:3",
            ),
        ] {
            for loader in [Loader::Systemd, Loader::Procps] {
                assert_eq!(winner(&sources(files), loader, PANIC), want, "{files:?} {loader:?}");
            }
        }
    }

    #[test]
    fn sysctl_conf_is_procps_last_word_and_none_of_systemds() {
        let files =
            [("/etc/sysctl.d/zz.conf", "kernel.panic=1"), ("/etc/sysctl.conf", "kernel.panic=2")];
        assert_eq!(winner(&sources(&files), Loader::Systemd, PANIC), "1 @ /etc/sysctl.d/zz.conf:1");
        assert_eq!(winner(&sources(&files), Loader::Procps, PANIC), "2 @ /etc/sysctl.conf:1");
    }

    #[test]
    fn hidden_files_are_procps_alone_and_the_credential_is_systemds() {
        let mut sources = sources(&[("/etc/sysctl.d/.x.conf", "kernel.panic=1")]);
        assert_eq!(winner(&sources, Loader::Systemd, PANIC), "-");
        assert_eq!(winner(&sources, Loader::Procps, PANIC), "1 @ /etc/sysctl.d/.x.conf:1");
        sources.credential = Some(file("/run/credentials/@system/sysctl.extra", "kernel.panic=5"));
        let want = "5 @ /run/credentials/@system/sysctl.extra:1";
        assert_eq!(winner(&sources, Loader::Systemd, PANIC), want);
    }

    #[test]
    fn a_name_beats_every_pattern_wherever_they_stand() {
        for text in ["kernel.panic=1\nkernel.pani*=2", "kernel.pani*=2\nkernel/panic=1"] {
            let sources = sources(&[("/etc/sysctl.d/a.conf", text)]);
            for loader in [Loader::Systemd, Loader::Procps] {
                let got = resolve(&sources, loader, PANIC);
                assert_eq!(got.winner.unwrap().value, "1", "{text:?} {loader:?}");
                assert_eq!(got.shadowed[0].why, Why::Named);
            }
        }
    }

    #[test]
    fn of_patterns_the_last_wins_but_systemd_keeps_the_place_of_a_repeated_one() {
        let text = "kernel.pani*=1\nkernel.*=2\nkernel.pani*=1";
        let sources = sources(&[("/etc/sysctl.d/a.conf", text)]);
        assert_eq!(winner(&sources, Loader::Systemd, PANIC), "2 @ /etc/sysctl.d/a.conf:2");
        assert_eq!(winner(&sources, Loader::Procps, PANIC), "1 @ /etc/sysctl.d/a.conf:3");
    }

    #[test]
    fn a_lone_key_takes_all_back_in_systemd_and_stops_patterns_only_in_procps() {
        for (text, systemd, procps, newer) in [
            ("kernel.panic=1\n-kernel.panic", "-", "1", "1"),
            ("-kernel.panic\nkernel.panic=1", "1", "1", "1"),
            ("kernel.pani*=1\n-kernel.panic", "-", "-", "-"),
            ("kernel.pani*=1\n-kernel.pani*", "-", "1", "-"),
            ("kernel.pani*=1\n-kernel.*", "1", "1", "-"),
            ("kernel.pani*=1\n-*c", "1", "1", "-"),
        ] {
            let sources = sources(&[("/etc/sysctl.d/a.conf", text)]);
            for (loader, want) in
                [(Loader::Systemd, systemd), (Loader::Procps, procps), (Loader::NewerProcps, newer)]
            {
                let got = resolve(&sources, loader, PANIC);
                let value = got.winner.as_ref().map_or("-", |won| won.value.as_str());
                assert_eq!(value, want, "{text:?} {loader:?}");
                if value == "-" && text.ends_with("-kernel.panic") {
                    assert_eq!(got.excluded.unwrap().line, Some(2));
                    assert_eq!(got.shadowed[0].why, Why::Excluded);
                }
            }
        }
    }

    #[test]
    fn every_assignment_that_loses_is_there_with_its_line_and_the_reason() {
        let sources = sources(&[
            ("/etc/sysctl.d/60-rke2-cis.conf", "vm.x=1\nkernel.panic=10"),
            ("/etc/sysctl.d/99-stig.conf", "kernel.panic=0"),
            ("/usr/lib/sysctl.d/99-stig.conf", "kernel.panic=3"),
            ("/usr/lib/sysctl.d/50-vendor.conf", "kernel.pan*=4"),
            ("/etc/sysctl.d/40-masked.conf", "!mask"),
            ("/usr/lib/sysctl.d/40-masked.conf", "\n\nkernel.panic=5"),
            ("/run/sysctl.d/zz.conf", "kernel.panic=6"),
        ]);
        let resolver = Resolver::new(&sources, Loader::Systemd, Moment::NextBoot);
        let got = resolver.resolve(&Key::parse(PANIC).unwrap());
        assert_eq!(got.winner.unwrap().origin, Origin::at("/etc/sysctl.d/99-stig.conf", 1));
        let shadowed: Vec<String> = got
            .shadowed
            .iter()
            .map(|s| format!("{}={} {:?}", s.assigned.origin, s.assigned.value, s.why))
            .collect();
        assert_eq!(
            shadowed,
            [
                "/usr/lib/sysctl.d/50-vendor.conf:1=4 Named",
                "/etc/sysctl.d/60-rke2-cis.conf:2=10 Later",
                "/usr/lib/sysctl.d/40-masked.conf:3=5 Masked",
                "/usr/lib/sysctl.d/99-stig.conf:1=3 SameName",
                "/run/sysctl.d/zz.conf:1=6 Volatile",
            ]
        );
    }

    #[test]
    fn a_literal_dot_in_a_name_is_told_from_a_separator() {
        let sources = sources(&[(
            "/etc/sysctl.d/a.conf",
            "net/ipv4/conf/eth0.100/rp_filter=1\nnet.ipv4.conf.eth0/200.rp_filter=2\n\
             net.ipv4.conf.eth0.300.rp_filter=3\nnet.ipv4.conf.*.rp_filter=9",
        )]);
        for (key, want) in [("100", "1"), ("200", "2"), ("300", "9")] {
            let key = format!("net/ipv4/conf/eth0.{key}/rp_filter");
            let got = resolve(&sources, Loader::Systemd, &key).winner.unwrap().value;
            assert_eq!(got, want, "{key}");
        }
    }
}
