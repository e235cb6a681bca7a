// SPDX-License-Identifier: Apache-2.0
//! What the daemon listens to: which files, directories and mounts, and whether it may miss some.

use std::path::Path;
use std::time::Instant;

use tokio::time::sleep_until;

use super::Daemon;
use crate::controls::rke2_config::overrides;
use crate::controls::sysctl::DROP_IN;
use crate::model::{Code, Finding, Object, Role};
use crate::pace::limits::REGULAR_PASS_WHILE_WRONG;
use crate::pace::{PassFor, Source};
use crate::system::runtime;
use crate::watch::{Hints, Interest, Watcher};

/// The subject of the finding that events may be missed.
const INOTIFY: &str = "inotify";

/// Where events of an object come from.
pub(super) fn source_of(object: &Object) -> Source {
    match object {
        Object::Parameter(_) => Source::Host,
        Object::File(path) if path == Path::new(DROP_IN) => Source::Host,
        Object::File(_) | Object::Tree(_) => Source::Tree,
    }
}

/// A source of hints.
pub(super) struct EventSource {
    pub(super) watcher: Watcher,
}

impl EventSource {
    pub(super) fn new(watcher: Watcher) -> Self {
        Self { watcher }
    }

    /// Takes none until `quiet`. Cancellation safe.
    pub(super) async fn hints(&mut self, quiet: Option<Instant>) -> std::io::Result<Hints> {
        if let Some(until) = quiet {
            self.watcher.pause();
            sleep_until(until.into()).await;
        }
        self.watcher.hints().await
    }
}

impl Daemon {
    /// Pods make mounts all the time; only one that covers or uncovers the path to
    /// the tree matters.
    pub(super) fn mounts_changed(&mut self) {
        if self.guard_path_now() != self.guard_path {
            self.pass_soon(Source::Host, PassFor::Judging);
        }
    }

    pub(super) fn guard_path_now(&self) -> Vec<(u64, u64)> {
        let Some(guard) = &self.watch.guard else { return Vec::new() };
        let mut dirs: Vec<_> = guard.dir.ancestors().collect();
        dirs.reverse();
        dirs.iter()
            .map_while(|dir| self.engine.root().stat(dir).ok())
            .map(|stat| (stat.st_dev, stat.st_ino))
            .collect()
    }

    /// Why events may be missed, if they may.
    pub(super) fn why_events_are_missed(&self) -> Option<&str> {
        self.host.watcher.events_missed().or(self.tree.watcher.events_missed())
    }

    /// Events may be missed now, or no longer: it is in every report as long as it lasts.
    pub(super) fn tell_of_missed_events(&mut self, reason: Option<String>) {
        if reason == self.events_missed {
            return;
        }
        match &reason {
            Some(reason) => self.engine.raise(
                Finding::new(Code::EventsMissed, INOTIFY)
                    .expected("every change is seen at once")
                    .actual(reason.clone())
                    .message(format!(
                        "{reason}: drift is looked for every {} s instead",
                        REGULAR_PASS_WHILE_WRONG.as_secs()
                    ))
                    .remedy("see the limits in /proc/sys/fs/inotify, and who uses them up"),
            ),
            None => self.engine.withdraw(INOTIFY),
        }
        self.events_missed = reason;
    }

    /// Everything whose change may change the next pass's result.
    pub(super) fn interests(&self) -> Vec<Interest> {
        let mut interests = vec![
            Interest::file(runtime::ROLE),
            Interest::file(runtime::HIDDEN),
            Interest::file("/etc/systemd/system/multi-user.target.wants/rke2-server.service"),
            Interest::file("/etc/systemd/system/multi-user.target.wants/rke2-agent.service"),
            Interest::bus(&self.bus_socket),
        ];
        for role in [Role::Server, Role::Agent] {
            interests.extend([overrides::token(role), overrides::note(role)].map(Interest::file));
        }
        for path in &self.watch.files {
            let directory = path.extension().is_some_and(|suffix| suffix == "d");
            interests.push(if directory {
                Interest::directory(path)
            } else {
                Interest::file(path)
            });
        }
        if let Some(guard) = &self.watch.guard {
            interests.extend([&guard.dir, &guard.tls_dir, &guard.manifest].map(Interest::file));
        }
        interests
    }

    /// The same of what may be etcd's.
    pub(super) fn interests_in_the_tree(&self) -> Vec<Interest> {
        self.watch.guard.iter().map(|guard| Interest::directory(&guard.tls_dir)).collect()
    }
}
