// SPDX-License-Identifier: Apache-2.0
//! The daemon: one loop that turns hints, ticks, signals and requests into passes, and tells
//! everybody the report.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use crate::bus::{self, BusAddress, BusStatus, Notice, Request, Snapshot};
use crate::controls::sysctl::DROP_IN;
use crate::engine::{Engine, Mode, Narrow, Watch};
use crate::host::{proc_sys, runtime};
use crate::journal::{Entry, Journal, Priority};
use crate::model::{Correction, Finding, Report, Severity, State};
use crate::render;
use crate::service::Service;
use crate::watch::{Hints, Interest, Watcher};

/// How often the kernel parameters are read although no event came: a write through another
/// procfs instance (every container has one) raises none.
const POLL: Duration = Duration::from_secs(5);

/// How often everything is looked at although no event came.
const LOOK_EVERY: Duration = Duration::from_secs(300);

/// Passes asked for by events may take at most a fifth of the time: after one that took `t`, the
/// next waits `4 t`, but never longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Corrections of one turn that are logged one by one; the rest is one line.
const LOGGED_ONE_BY_ONE: usize = 8;

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

/// Everything that can wake the loop.
enum Event {
    Hints(std::io::Result<Hints>),
    Request(Request),
    /// A pass that was put off is due.
    Due,
    Tick,
    BusStatus,
    Reload,
    Terminate,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(engine: Engine, address: BusAddress) -> Result<(), DaemonError> {
    let set_up = |what| move |source| DaemonError::SetUp { what, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(set_up("SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(set_up("SIGINT"))?;
    let mut reload = signal(SignalKind::hangup()).map_err(set_up("SIGHUP"))?;
    let watcher = Watcher::new().map_err(set_up("inotify"))?;

    let snapshot = Arc::new(Snapshot::starting(SystemTime::now()));
    let (snapshots, snapshots_seen) = watch::channel(snapshot);
    let (notices, notices_sent) = mpsc::channel(NOTICES);
    let (requests, mut requested) = mpsc::channel(bus::MAX_REQUESTS);
    let (bus_status, mut bus_status_seen) =
        watch::channel(BusStatus::Absent { reason: "not connected yet".into() });
    let bus_wake = Arc::new(Notify::new());

    let mut daemon = Daemon {
        engine,
        watcher,
        watch: Watch::default(),
        journal: Journal::open(),
        service: Service::from_environment(),
        snapshots,
        notices,
        bus_wake: bus_wake.clone(),
        bus_socket: address.socket().to_path_buf(),
        due: None,
        rested: Instant::now(),
        looked: Instant::now(),
        unwritten: false,
        blind: None,
    };
    daemon.look();
    daemon.service.ready();
    // After READY: RKE2 waits for that, and nobody waits for the bus.
    tokio::spawn(bus::serve(address, snapshots_seen, notices_sent, requests, bus_status, bus_wake));

    let every = daemon.service.interval().map_or(POLL, |watchdog| watchdog.min(POLL));
    let mut tick = interval_at(Instant::now() + every, every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = daemon.due;
        let event = tokio::select! {
            biased;
            _ = terminate.recv() => Event::Terminate,
            _ = interrupt.recv() => Event::Terminate,
            hints = daemon.watcher.hints() => Event::Hints(hints),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Event::Due,
            Some(request) = requested.recv() => Event::Request(request),
            _ = tick.tick() => Event::Tick,
            _ = reload.recv() => Event::Reload,
            Ok(()) = bus_status_seen.changed() => Event::BusStatus,
        };
        match event {
            Event::Terminate => break,
            Event::Hints(Ok(hints)) => daemon.hinted(&hints),
            Event::Hints(Err(source)) => {
                return Err(DaemonError::SetUp { what: "inotify", source });
            }
            Event::Due => daemon.look(),
            Event::Request(request) => daemon.answer(request),
            Event::Tick => daemon.tick(),
            Event::Reload => {
                daemon.service.reloading();
                daemon.look();
                daemon.service.ready();
            }
            Event::BusStatus => {
                let status = bus_status_seen.borrow_and_update().clone();
                daemon.bus_changed(status);
            }
        }
        daemon.service.turned();
    }
    daemon.service.stopping();
    daemon.write_report();
    daemon.journal.flush();
    Ok(())
}

struct Daemon {
    engine: Engine,
    watcher: Watcher,
    watch: Watch,
    journal: Journal,
    service: Service,
    snapshots: watch::Sender<Arc<Snapshot>>,
    notices: mpsc::Sender<Notice>,
    bus_wake: Arc<Notify>,
    bus_socket: std::path::PathBuf,
    /// When a pass that was put off is to run.
    due: Option<Instant>,
    /// Before this no event starts a whole pass.
    rested: Instant,
    /// When the last whole pass ended.
    looked: Instant,
    /// /run/nodeguard/report.json is behind.
    unwritten: bool,
    /// Why events may be missed.
    blind: Option<String>,
}

impl Daemon {
    fn hinted(&mut self, hints: &Hints) {
        if hints.bus {
            self.bus_wake.notify_one();
        }
        let mut corrections = Vec::new();
        let mut look = hints.look;
        for key in &hints.sysctls {
            look |= !self.mend_sysctl(key, &mut corrections);
        }
        if let Some(guard) = self.watch.guard.clone() {
            for below in &hints.entries {
                let watcher = &mut self.watcher;
                let narrow = self.engine.mend_entry(&guard, below, &mut |dir, below| {
                    watcher.watch_tree(dir, below);
                });
                look |= !settle(narrow, &mut corrections);
            }
        }
        self.corrected(corrections);
        if look {
            self.look_soon();
        }
    }

    fn mend_sysctl(&mut self, key: &str, corrections: &mut Vec<Correction>) -> bool {
        let Some(want) = self.watch.sysctls.iter().find(|want| want.key == key) else {
            return true;
        };
        let narrow = self.engine.mend_sysctl(want, self.watch.sysctls_checked);
        settle(narrow, corrections)
    }

    fn tick(&mut self) {
        let mut corrections = Vec::new();
        let keys: Vec<_> = self.watch.sysctls.iter().map(|want| want.key.clone()).collect();
        // What cannot be mended is in the report already, and a whole pass tries again below.
        for key in keys {
            self.mend_sysctl(&key, &mut corrections);
        }
        self.corrected(corrections);
        // Sooner where something is wrong: what cannot be seen coming may have been mended.
        let settled = self.report().state == State::Ready && self.blind.is_none();
        let every = if settled { LOOK_EVERY } else { LOOK_EVERY / 10 };
        if self.looked.elapsed() >= every {
            self.look();
        }
        self.write_report();
        self.journal.flush();
    }

    fn answer(&mut self, request: Request) {
        // The caller may have gone; the pass was made all the same.
        match request {
            Request::Check(reply) => {
                let pass = self.engine.pass(Mode::Check, &mut |_, _| {});
                let _ = reply.send(Arc::new(pass.report));
            }
            Request::Reconcile(reply) => {
                self.look();
                let _ = reply.send(self.report());
            }
        }
    }

    fn bus_changed(&mut self, status: BusStatus) {
        let entry = match status {
            BusStatus::Connected => {
                Entry::new(Priority::Info, format!("on the bus as {}", bus::NAME))
            }
            BusStatus::Absent { reason } => {
                let text = format!("not on the bus, the node is guarded all the same: {reason}");
                Entry::new(Priority::Warning, text)
            }
        };
        self.journal.log(entry);
    }

    fn look_soon(&mut self) {
        if Instant::now() >= self.rested {
            self.look();
        } else {
            self.due.get_or_insert(self.rested);
        }
    }

    /// A whole pass: watch first, then look, so that nothing falls between.
    fn look(&mut self) {
        let began = Instant::now();
        self.due = None;
        let mut report = None;
        // What is to be watched is known after a pass; where that is more than before, what
        // happened meanwhile may have gone unseen, so it is looked at once more.
        for _ in 0..3 {
            self.watcher.begin();
            self.watcher.watch_ways(&self.interests());
            for want in &self.watch.sysctls {
                if self.engine.proc_sys().hold(&want.key).is_ok() {
                    self.watcher.watch_sysctl(&want.key, &proc_sys::path(&want.key));
                }
            }
            let watcher = &mut self.watcher;
            let pass = self.engine.pass(Mode::Apply, &mut |dir, below| {
                watcher.watch_tree(dir, below);
            });
            let settled = pass.watch == self.watch;
            self.watch = pass.watch;
            let mut merged: Report = pass.report;
            if let Some(before) = report.take() {
                let Report { corrections, .. } = before;
                merged.corrections.splice(0..0, corrections);
            }
            report = Some(merged);
            if settled {
                break;
            }
        }
        let blind = self.watcher.finish().map(str::to_owned);
        if blind != self.blind {
            if let Some(reason) = &blind {
                let text = format!(
                    "{reason}; drift is looked for every {} s instead",
                    LOOK_EVERY.as_secs() / 10
                );
                self.journal.log(Entry::new(Priority::Warning, text));
            }
            self.blind = blind;
        }
        self.looked = Instant::now();
        self.rested = self.looked + ((self.looked - began) * 4).min(LONGEST_PAUSE);
        if let Some(report) = report {
            self.log_corrections(&report.corrections);
            self.publish(report);
        }
        self.write_report();
    }

    /// Everything whose change may change the next pass's result.
    fn interests(&self) -> Vec<Interest> {
        let mut interests = vec![
            Interest::file("/etc/passwd"),
            Interest::file("/etc/group"),
            Interest::file(DROP_IN),
            Interest::file(runtime::ROLE),
            Interest::file("/etc/systemd/system/multi-user.target.wants/rke2-server.service"),
            Interest::file("/etc/systemd/system/multi-user.target.wants/rke2-agent.service"),
            Interest::bus(&self.bus_socket),
        ];
        interests.extend(crate::controls::sysctl::RKE2_SOURCES.iter().map(Interest::file));
        for path in &self.watch.config {
            let directory = path.extension().is_some_and(|suffix| suffix == "d");
            interests.push(if directory {
                Interest::directory(path)
            } else {
                Interest::file(path)
            });
        }
        if let Some(guard) = &self.watch.guard {
            interests.push(Interest::file(&guard.dir));
            interests.push(Interest::directory(&guard.tls_dir));
        }
        interests
    }

    /// Tells about corrections made between passes: the last report, with these.
    fn corrected(&mut self, corrections: Vec<Correction>) {
        if corrections.is_empty() {
            return;
        }
        self.log_corrections(&corrections);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let report = Report {
            corrections,
            time: time.map_or(0, |since| since.as_secs()),
            ..(*self.report()).clone()
        };
        self.publish(report);
    }

    fn log_corrections(&mut self, corrections: &[Correction]) {
        for correction in corrections.iter().take(LOGGED_ONE_BY_ONE) {
            self.journal.log(Entry::corrected(correction));
        }
        if let Some(more) = corrections.len().checked_sub(LOGGED_ONE_BY_ONE + 1) {
            let text = format!("and {} more corrections", more + 1);
            self.journal.log(Entry::new(Priority::Notice, text));
        }
        for correction in corrections {
            // A stalled bus loses signals; the journal has them.
            let _ = self.notices.try_send(Notice::Corrected(correction.clone()));
        }
    }

    fn publish(&mut self, report: Report) {
        let before = self.report();
        let report = Arc::new(report);
        let snapshot = self.snapshots.borrow().after(report.clone(), SystemTime::now());
        let line = render::status_line(&report, snapshot.corrections());
        self.snapshots.send_replace(Arc::new(snapshot));
        for finding in report.findings().filter(|f| is_new(f, &before)) {
            self.journal.log(Entry::finding(finding));
            if finding.severity == Severity::Fatal {
                let _ = self.notices.try_send(Notice::Fatal(finding.clone()));
            }
        }
        if before.state != report.state {
            self.journal.log(Entry::state(before.state, report.state, &line));
            if report.state == State::Ready {
                let _ = self.notices.try_send(Notice::Ready);
            }
        }
        self.service.status(&line);
        self.unwritten = true;
    }

    fn write_report(&mut self) {
        if !std::mem::take(&mut self.unwritten) {
            return;
        }
        let json = render::json(&self.report());
        if let Err(e) = runtime::write_report(self.engine.root(), &json) {
            self.journal.log(Entry::new(Priority::Warning, e.to_string()));
        }
    }

    fn report(&self) -> Arc<Report> {
        self.snapshots.borrow().report().clone()
    }
}

/// Whether all is well after a narrow pass.
fn settle(narrow: Narrow, corrections: &mut Vec<Correction>) -> bool {
    match narrow {
        Narrow::Right => true,
        Narrow::Corrected(made) => {
            corrections.extend(made);
            true
        }
        Narrow::Unmended => false,
    }
}

fn is_new(finding: &Finding, before: &Report) -> bool {
    !before.findings().any(|f| f == finding)
}
