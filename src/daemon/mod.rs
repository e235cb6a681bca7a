// SPDX-License-Identifier: Apache-2.0
//! The daemon: one loop that turns hints, ticks, signals and requests into passes, and tells
//! everybody the report.

mod clock;
mod contest;
mod gates;
mod listen;
mod memory;
mod narrow;
mod tell;
mod writers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep_until;

use clock::Clock;
use gates::Gates;
use listen::{EventSource, source_of};

use crate::attribution::Attribution;
use crate::bus::{self, BusAddress, BusStatus, Notice, Request, Snapshot};
use crate::config::{Setting, Settings};
use crate::controls::Watch;
use crate::engine::{Engine, Mode, Pass, bounds};
use crate::gate::{self, Ask};
use crate::journal::{Entry, Journal, PassSpan, Priority};
use crate::model::{OperatingMode, Recent, Report, sysctl_path};
use crate::mounts::MountEvents;
use crate::pace::{self, Ended, Pace, PassFor, Source};
use crate::processor;
use crate::service::Service;
use crate::watch::{Hints, Watcher};
use writers::NotWritten;

/// Signals the bus task may be behind; a stalled bus loses the rest.
const NOTICES: usize = 256;

/// What the daemon itself could not do.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("cannot set up {what}: {source}")]
    SetUp {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// Why a full pass is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// By an event or the clock: what is contested is left alone for as long as its pause is.
    Paced,
    /// Somebody asked, and has a pace of his own: an operator, or RKE2 that wants to start.
    Asked,
}

/// Everything that can wake the loop.
enum Event {
    Hints(Source, std::io::Result<Hints>),
    Gate(Ask),
    Request(Request),
    /// A pass that was put off is due.
    Due,
    Tick(std::io::Result<()>),
    Mounts,
    BusStatus,
    Reload,
    Terminate,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(engine: Engine, address: BusAddress) -> Result<(), DaemonError> {
    let kept = memory::keep();
    let set_up = |what| move |source| DaemonError::SetUp { what, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(set_up("SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(set_up("SIGINT"))?;
    let mut reload = signal(SignalKind::hangup()).map_err(set_up("SIGHUP"))?;

    let snapshot = Arc::new(Snapshot::starting(SystemTime::now()));
    let (snapshots, snapshots_seen) = watch::channel(snapshot);
    let (notices, notices_sent) = mpsc::channel(NOTICES);
    let (requests, mut requested) = mpsc::channel(bus::MAX_REQUESTS);
    let (bus_status, mut bus_status_seen) =
        watch::channel(BusStatus::Absent { reason: "not connected yet".into() });
    let bus_wake = Arc::new(Notify::new());
    let (asks, mut asked) = mpsc::channel(gate::CONNECTIONS);

    // Threads, so not before the code is kept. The log first: the other one may have to tell of what it lost.
    let journal = Journal::open();
    let service =
        Service::from_environment().map_err(set_up("the thread that tells the service manager"))?;
    let mut daemon = Daemon {
        engine,
        host: EventSource::new(Watcher::new()),
        tree: EventSource::new(Watcher::new()),
        watch: Watch::default(),
        journal,
        service,
        snapshots,
        notices,
        bus_wake: bus_wake.clone(),
        bus_socket: address.socket().to_path_buf(),
        gates: Gates::new(asks),
        settings: Settings::default(),
        pace: Pace::new(Instant::now()),
        unwritten: false,
        events_missed: None,
        guard_path: Vec::new(),
        attribution: None,
        correct: BTreeMap::new(),
        not_written: BTreeMap::new(),
        recent: VecDeque::new(),
    };
    daemon.pass(Why::Asked);
    // Before READY, since RKE2 waits for that, and its gate asks.
    daemon.listen_to_gates();
    daemon.service.ready();
    if let Err(e) = kept {
        daemon.is_not_kept(&e);
    }
    // After READY: RKE2 waits for that, and nobody waits for the bus.
    bus::serve_aside(address, snapshots_seen, notices_sent, requests, bus_status, bus_wake);

    let mut mounts = MountEvents::new();
    let mut every = daemon.poll_interval();
    let mut clock = Clock::new(every).map_err(set_up("the clock"))?;
    loop {
        // The configuration may have changed with the last pass.
        if daemon.poll_interval() != every {
            every = daemon.poll_interval();
            clock = Clock::new(every).map_err(set_up("the clock"))?;
        }
        let due = daemon.pace.next_pass();
        let quiet = [Source::Host, Source::Tree].map(|of| daemon.pace.quiet(of, Instant::now()));
        let [quiet_host, quiet_tree] = quiet;
        let event = tokio::select! {
            biased;
            _ = terminate.recv() => Event::Terminate,
            _ = interrupt.recv() => Event::Terminate,
            // Before everything that others on the host can make much of: RKE2's start waits.
            Some(ask) = asked.recv() => Event::Gate(ask),
            () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => Event::Due,
            Some(request) = requested.recv() => Event::Request(request),
            tick = clock.tick() => Event::Tick(tick),
            () = mounts.changed() => Event::Mounts,
            _ = reload.recv() => Event::Reload,
            Ok(()) = bus_status_seen.changed() => Event::BusStatus,
            // After everything that has a pace of its own: a flood of events must starve nobody.
            hints = daemon.host.hints(quiet_host) => Event::Hints(Source::Host, hints),
            hints = daemon.tree.hints(quiet_tree) => Event::Hints(Source::Tree, hints),
        };
        match event {
            Event::Terminate => break,
            Event::Hints(from, Ok(hints)) => daemon.hinted(from, &hints),
            Event::Hints(_, Err(source)) => {
                return Err(DaemonError::SetUp { what: "inotify", source });
            }
            Event::Due => daemon.pass(Why::Paced),
            Event::Gate(ask) => {
                let asks = queued(ask, &mut asked).await;
                daemon.answer(waiting(&mut requested), asks);
            }
            Event::Request(request) => {
                let mut requests = vec![request];
                requests.extend(waiting(&mut requested));
                daemon.answer(requests, waiting(&mut asked));
            }
            Event::Tick(Ok(())) => {
                daemon.tick();
                daemon.listen_to_gates();
            }
            Event::Tick(Err(source)) => {
                return Err(DaemonError::SetUp { what: "the clock", source });
            }
            Event::Mounts => daemon.mounts_changed(),
            Event::Reload => {
                daemon.service.reloading();
                daemon.pass(Why::Asked);
                daemon.service.ready();
            }
            Event::BusStatus => {
                let status = bus_status_seen.borrow_and_update().clone();
                daemon.bus_changed(status);
            }
        }
        daemon.service.turned();
        // The runtime has its turn, which brings signals and ticks, however many events there are.
        tokio::task::yield_now().await;
    }
    daemon.service.stopping();
    daemon.write_report();
    Ok(())
}

/// Turns that it takes the gates' tasks to bring what lies in their sockets.
const ASKS_TURNS: usize = 4;

/// A gate that asks and all that wait behind it: one pass that begins now is fresh to all of them.
/// Gates that give up and are started again would otherwise have the daemon make a pass for each,
/// for ever behind.
async fn queued<T>(first: T, more: &mut mpsc::Receiver<T>) -> Vec<T> {
    let mut all = vec![first];
    for _ in 0..ASKS_TURNS {
        all.extend(waiting(more));
        tokio::task::yield_now().await;
    }
    all
}

/// Those that are there; requests of the bus come from another thread.
fn waiting<T>(queue: &mut mpsc::Receiver<T>) -> Vec<T> {
    std::iter::from_fn(|| queue.try_recv().ok()).collect()
}

struct Daemon {
    engine: Engine,
    host: EventSource,
    tree: EventSource,
    watch: Watch,
    journal: Journal,
    service: Service,
    snapshots: watch::Sender<Arc<Snapshot>>,
    notices: mpsc::Sender<Notice>,
    bus_wake: Arc<Notify>,
    bus_socket: std::path::PathBuf,
    gates: Gates,
    /// The settings as they were last logged.
    settings: Settings,
    pace: Pace,
    /// /run/nodeguard/report.json is behind.
    unwritten: bool,
    /// Why events may be missed.
    events_missed: Option<String>,
    /// Device and inode of each directory on the path to the guarded tree, as far as it exists, as
    /// the last full pass met them.
    guard_path: Vec<(u64, u64)>,
    /// Who writes kernel parameters, where the operator wants that said.
    attribution: Option<Attribution>,
    /// The kernel parameters that were seen correct, with their values then.
    correct: BTreeMap<String, String>,
    /// The kernel parameters that are not written, as they were last seen.
    not_written: BTreeMap<String, NotWritten>,
    /// The last corrections.
    recent: VecDeque<Recent>,
}

impl Daemon {
    /// At most two passes, one of each kind: the one that mends first.
    fn answer(&mut self, requests: Vec<Request>, mut asks: Vec<Ask>) {
        // A gate that gave up wants no pass.
        asks.retain(|ask| !ask.is_closed());
        let mut checks = Vec::new();
        let mut reconciles = Vec::new();
        for request in requests {
            match request {
                Request::Check(reply) => checks.push(reply),
                Request::Reconcile(reply) => reconciles.push(reply),
            }
        }
        if !reconciles.is_empty() || !asks.is_empty() {
            if !asks.is_empty() {
                self.engine.root().record();
            }
            self.pass(Why::Asked);
            self.answer_gates(asks);
            let report = self.report();
            for reply in reconciles {
                // The caller may have gone; the pass was made all the same.
                let _ = reply.send(report.clone());
            }
        }
        if !checks.is_empty() {
            self.engine.suspend(BTreeSet::new());
            let service = &mut self.service;
            service.pass_begins();
            let span = PassSpan::begin("check", "asked");
            let pass = self.engine.pass(Mode::Check, &mut |_, _| service.turned());
            span.ended(pass.report.state);
            let recent = self.recent.iter().cloned().collect();
            let report = Arc::new(bounds::corrections(Report { recent, ..pass.report }));
            for reply in checks {
                let _ = reply.send(report.clone());
            }
        }
    }

    /// How often the kernel parameters are read although no event came: a write through another
    /// procfs instance (every container has one) raises none. The watchdog wants its turns too.
    fn poll_interval(&self) -> Duration {
        let poll = self.engine.settings().poll_interval.value;
        self.service.interval().map_or(poll, |watchdog| watchdog.min(poll))
    }

    /// A full pass, as soon as the pace allows.
    fn pass_soon(&mut self, from: Source, wanted: PassFor) {
        if self.pace.pass_wanted(from, wanted, Instant::now()) {
            self.pass(Why::Paced);
        }
    }

    /// A full pass: watch first, then look, so that nothing falls between.
    fn pass(&mut self, why: Why) {
        let span = PassSpan::begin(
            "apply",
            match why {
                Why::Paced => "paced",
                Why::Asked => "asked",
            },
        );
        let (began, worked) = (Instant::now(), processor::worked());
        let due = self.pace.to_try_again(began);
        self.engine.suspend(match why {
            Why::Paced => self.pace.suspended(began),
            Why::Asked => BTreeSet::new(),
        });
        self.pace.pass_begins();
        self.saw_hidden();
        let mut corrections = Vec::new();
        let mut last = None;
        let mut undone = BTreeSet::new();
        let mut settled = false;
        // What is to be watched is known after a pass; where that is more than before, what
        // happened meanwhile may have gone unseen, so it is looked at once more.
        for made in 1.. {
            self.service.pass_begins();
            // Before the look: what is mounted during it is looked at again.
            self.guard_path = self.guard_path_now();
            let pass = self.watched_pass();
            let watches = std::mem::replace(&mut self.watch, pass.watch);
            let events_missed = self.why_events_are_missed().map(str::to_owned);
            settled = self.watch == watches
                && events_missed == self.events_missed
                && self.attribution.is_some() == self.engine.settings().attribution.value;
            self.tell_of_missed_events(events_missed);
            corrections.extend(pass.report.corrections.iter().cloned());
            undone.extend(pass.undone);
            // Whoever waits for a lock that somebody holds does not wait for it twice.
            last = Some(pass.report);
            if !pace::is_repeated(made, began.elapsed(), settled) {
                break;
            }
        }
        self.host.watcher.finish();
        self.tree.watcher.finish();
        self.saw_settings();
        let looked = Instant::now();
        if let Some(mut report) = last {
            self.looked_at_all(&mut report, &mut corrections);
            span.ended(report.state);
            self.log_corrections(&corrections);
            self.publish(Report { corrections: corrections.clone(), ..report });
        }
        if why == Why::Paced {
            self.passed(looked - began, &due, &corrections, undone);
        }
        self.write_report();
        let worked = processor::worked().saturating_sub(worked);
        let (watch, pass) = (&self.watch, Ended { began, looked, worked, settled });
        self.pace.pass_ended(&pass, |object| {
            (!contest::is_followed(watch, object)).then(|| source_of(object))
        });
        self.service.turned();
    }

    fn watched_pass(&mut self) -> Pass {
        self.host.watcher.begin();
        self.host.watcher.watch_paths(&self.interests());
        self.tree.watcher.begin();
        self.tree.watcher.watch_paths(&self.interests_in_the_tree());
        for want in &self.watch.sysctls {
            if self.engine.proc_sys().hold(&want.key).is_ok() {
                self.host.watcher.watch_sysctl(&want.key, &sysctl_path(&want.key));
            }
        }
        self.watch_writers();
        let (watcher, service) = (&mut self.tree.watcher, &mut self.service);
        self.engine.pass(Mode::Apply, &mut |dir, below| {
            service.turned();
            watcher.watch_tree(dir, below);
        })
    }

    /// Everything works all the same, and is slower when memory is short.
    fn is_not_kept(&mut self, why: &std::io::Error) {
        let text = format!(
            "cannot keep its own code in memory: {why}; when memory is short, corrections may wait \
             for a disk (see LimitMEMLOCK= in systemd.exec(5))"
        );
        self.journal.log(Entry::new(Priority::Info, text));
    }

    /// A changed configuration is logged once; what is wrong with a broken one is in the report.
    fn saw_settings(&mut self) {
        let before = self.settings.mode.value;
        if *self.engine.settings() != self.settings {
            self.settings = self.engine.settings().clone();
            let text = "a changed configuration is in force; see `nodeguard config`";
            self.journal.log(Entry::new(Priority::Info, text));
        }
        let Setting { value: mode, origin } = &self.settings.mode;
        if *mode != before {
            let text = match mode {
                OperatingMode::Report => {
                    "nothing on this host is changed, and RKE2 starts whatever is found"
                }
                OperatingMode::Enforce => {
                    "what can be mended is mended, and RKE2 does not start on a fatal node"
                }
            };
            let text = format!("{mode} mode ({origin}): {text}");
            self.journal.log(Entry::new(Priority::Notice, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[test]
    fn requests_that_wait_are_taken_together_and_one_that_comes_later_is_not_lost() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (requests, mut requested) = mpsc::channel(bus::MAX_REQUESTS);
            for n in 0..10 {
                let (reply, _answer) = oneshot::channel();
                let request =
                    if n % 3 == 0 { Request::Check(reply) } else { Request::Reconcile(reply) };
                requests.try_send(request).unwrap();
            }
            let first = requested.recv().await.unwrap();
            assert_eq!(queued(first, &mut requested).await.len(), 10);

            let (reply, _answer) = oneshot::channel();
            requests.try_send(Request::Check(reply)).unwrap();
            let first = requested.recv().await.unwrap();
            assert_eq!(queued(first, &mut requested).await.len(), 1);
        });
    }
}
