// SPDX-License-Identifier: Apache-2.0
//! What the daemon listens to: which files, directories and mounts, and whether it may miss some.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Daemon, LOOK_EVERY};
use crate::config;
use crate::controls::rke2_config::overrides;
use crate::controls::sysctl::{DROP_IN, RKE2_SOURCES};
use crate::model::{Code, Finding, Object, Role};
use crate::sysctl_d::{self, Place};
use crate::system::runtime;
use crate::watch::{Hints, Interest, Watcher};

/// The subject of the finding that events may be missed.
const BLIND: &str = "inotify";

/// Where hints come from. Those of the tree are events that another user can raise, as many as he
/// likes: what is root's is listened to apart, and first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Host,
    Tree,
}

/// Where events of an object come from.
pub(super) fn source_of(object: &Object) -> Source {
    match object {
        Object::Parameter(_) => Source::Host,
        Object::File(path) if path == Path::new(DROP_IN) => Source::Host,
        Object::File(_) | Object::Tree(_) => Source::Tree,
    }
}

/// A source of hints.
pub(super) struct Ear {
    pub(super) watcher: Watcher,
    /// Until then none are taken: the last ones were about something contested, say.
    pub(super) quiet: Option<Instant>,
    /// Processor time that its turns may still take at once.
    left: Duration,
    /// When that was counted.
    filled: Instant,
}

/// Processor time that the turns of a source may take at once, and the share of a processor that
/// they may take for long: events that change nothing, or a little of many things, are no contest.
const BUDGET: Duration = Duration::from_millis(500);
const SHARE: u32 = 10;

impl Ear {
    pub(super) fn new(watcher: Watcher) -> Self {
        Self { watcher, quiet: None, left: BUDGET, filled: Instant::now() }
    }

    /// After a turn that took so much processor time: how long the next one has to wait for it.
    pub(super) fn spend(&mut self, worked: Duration) -> Duration {
        let now = Instant::now();
        let flown_in = (now - self.filled) / SHARE;
        self.filled = now;
        let left = (self.left + flown_in).min(BUDGET);
        self.left = left.saturating_sub(worked);
        worked.saturating_sub(left) * (SHARE - 1)
    }

    /// Cancellation safe.
    pub(super) async fn hints(&mut self) -> std::io::Result<Hints> {
        if let Some(until) = self.quiet {
            self.watcher.rest();
            sleep_until(until).await;
            self.quiet = None;
        }
        self.watcher.hints().await
    }
}

impl Daemon {
    /// Pods make mounts all the time; only one that covers or uncovers the way to
    /// the tree matters.
    pub(super) fn mounts_changed(&mut self) {
        if self.way() != self.way {
            self.look_soon(Source::Host, Duration::ZERO);
        }
    }

    pub(super) fn way(&self) -> Vec<(u64, u64)> {
        let Some(guard) = &self.watch.guard else { return Vec::new() };
        let mut dirs: Vec<_> = guard.dir.ancestors().collect();
        dirs.reverse();
        dirs.iter()
            .map_while(|dir| self.engine.root().stat(dir).ok())
            .map(|stat| (stat.st_dev, stat.st_ino))
            .collect()
    }

    /// Why events may be missed, if they may.
    pub(super) fn blinded_by(&self) -> Option<&str> {
        self.host.watcher.blind().or(self.tree.watcher.blind())
    }

    /// Events may be missed now, or no longer: it is in every report as long as it lasts.
    pub(super) fn saw_blind(&mut self, blind: Option<String>) {
        if blind == self.blind {
            return;
        }
        match &blind {
            Some(reason) => self.engine.raise(
                Finding::new(Code::EventsMissed, BLIND)
                    .expected("every change is seen at once")
                    .actual(reason.clone())
                    .message(format!(
                        "{reason}: drift is looked for every {} s instead",
                        LOOK_EVERY.as_secs() / 10
                    ))
                    .remedy("see the limits in /proc/sys/fs/inotify, and who uses them up"),
            ),
            None => self.engine.withdraw(BLIND),
        }
        self.blind = blind;
    }

    /// Everything whose change may change the next pass's result.
    pub(super) fn interests(&self) -> Vec<Interest> {
        let mut interests = vec![
            Interest::file("/etc/passwd"),
            Interest::file("/etc/group"),
            Interest::file(DROP_IN),
            Interest::file(runtime::ROLE),
            Interest::file(runtime::HIDDEN),
            Interest::file("/etc/systemd/system/multi-user.target.wants/rke2-server.service"),
            Interest::file("/etc/systemd/system/multi-user.target.wants/rke2-agent.service"),
            Interest::bus(&self.bus_socket),
        ];
        for role in [Role::Server, Role::Agent] {
            interests.extend([overrides::token(role), overrides::note(role)].map(Interest::file));
        }
        interests.extend(RKE2_SOURCES.iter().map(Interest::file));
        interests.extend(config::BASE.iter().map(Interest::file));
        interests.extend(config::DROP_INS.iter().map(Interest::directory));
        // What may defeat our drop-in at the next boot.
        interests.extend(Place::ALL.map(|place| Interest::directory(place.path())));
        interests.extend(sysctl_d::FILES.map(Interest::file));
        for path in &self.watch.config {
            let directory = path.extension().is_some_and(|suffix| suffix == "d");
            interests.push(if directory {
                Interest::directory(path)
            } else {
                Interest::file(path)
            });
        }
        if let Some(guard) = &self.watch.guard {
            interests.extend([&guard.dir, &guard.tls_dir].map(Interest::given));
            interests.push(Interest::file(&guard.manifest));
        }
        interests
    }

    /// The same of what may be etcd's.
    pub(super) fn interests_in_the_tree(&self) -> Vec<Interest> {
        self.watch.guard.iter().map(|guard| Interest::directory(&guard.tls_dir)).collect()
    }
}
