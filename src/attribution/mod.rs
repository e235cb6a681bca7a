// SPDX-License-Identifier: Apache-2.0
//! Who wrote a kernel parameter: opt-in, through fanotify inode marks, which name the process.
//!
//! Only an addition to the guard: inotify says that something was written, the correction is made,
//! and then the queue here is asked who it was. Nothing waits for it, and what it does not know
//! it says. It misses what inotify misses: a write through another procfs instance, as every
//! container has one, raises no event.

mod fanotify;
mod process;
mod received;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use fanotify::{Drained, Queue};
use process::{Missed, Ticks};

use crate::model::{Process, Writer, sysctl_path};

/// Writers of one parameter that are kept between two looks, the latest ones.
const WRITERS: usize = 8;

/// A writer is read from the queue at once, but its write may be the next one that is corrected:
/// it writes on while the first write is undone, and the kernel joins its events. Who has ended
/// since does not write on: the next value is somebody else's, whose event is still to come.
const CARRIED: Duration = Duration::from_millis(100);

/// The marks, and who wrote since each parameter was last looked at.
#[derive(Debug)]
pub struct Attribution {
    /// The queue of fanotify events, or why there is none.
    queue: Result<Queue, String>,
    /// The parameter that is marked, by device and inode of its file.
    marks: HashMap<(u64, u64), String>,
    recent: BTreeMap<String, Recent>,
    carried: BTreeMap<String, (Instant, Recent)>,
}

/// Who wrote one parameter.
#[derive(Clone, Debug, Default)]
struct Recent {
    writers: VecDeque<(u32, Result<Process, Missed>)>,
    /// When they were started, which tells a process from a later one of the same number.
    started: HashMap<u32, Option<Ticks>>,
    /// There were other writers besides.
    more: bool,
}

impl Default for Attribution {
    fn default() -> Self {
        Self::new()
    }
}

impl Attribution {
    pub fn new() -> Self {
        Self {
            queue: Queue::open().map_err(|e| e.to_string()),
            marks: HashMap::new(),
            recent: BTreeMap::new(),
            carried: BTreeMap::new(),
        }
    }

    /// Marks these parameters, and no others. Each must be kept open as long as the mark shall
    /// live: without that the kernel gives the parameter a new inode at any time.
    pub fn arm<'k>(&mut self, keys: impl Iterator<Item = &'k str>) {
        let keys: Vec<_> = keys.collect();
        self.recent.retain(|key, _| keys.contains(&key.as_str()));
        self.carried.retain(|key, _| keys.contains(&key.as_str()));
        self.marks.retain(|_, key| keys.contains(&key.as_str()));
        let queue = match &self.queue {
            Ok(_) => &self.queue,
            Err(_) => {
                self.queue = Queue::open().map_err(|e| e.to_string());
                &self.queue
            }
        };
        let Ok(queue) = queue else { return };
        let mut failed = None;
        for key in keys {
            let path = sysctl_path(key);
            match queue.mark(&path) {
                Ok(Some(inode)) => {
                    self.marks.insert(inode, key.to_owned());
                }
                // This kernel has no such parameter; that is a finding of its own.
                Ok(None) => {}
                Err(e) => failed = Some(e.to_string()),
            }
        }
        if let Some(reason) = failed {
            self.queue = Err(reason);
        }
    }

    /// Why nobody can be named at all, if so.
    pub fn unavailable(&self) -> Option<&str> {
        self.queue.as_ref().err().map(String::as_str)
    }

    /// Reads who wrote since the last time, and looks at those processes while they are there.
    pub fn drain(&mut self) {
        let Ok(queue) = &mut self.queue else { return };
        let Drained { events, complete } = match queue.drain() {
            Ok(drained) => drained,
            Err(e) => {
                self.queue = Err(e.to_string());
                return;
            }
        };
        // The latest ones of each parameter; only those are looked at.
        let mut latest: BTreeMap<&String, (VecDeque<&fanotify::Event>, bool)> = BTreeMap::new();
        for event in &events {
            // A mark of an earlier arming may still have an event in the queue.
            let Some(key) = self.marks.get(&event.inode) else { continue };
            let (writers, more) = latest.entry(key).or_default();
            writers.retain(|known| known.pid != event.pid);
            if writers.len() == WRITERS {
                writers.pop_front();
                *more = true;
            }
            writers.push_back(event);
        }
        for (key, (writers, more)) in latest {
            let recent = self.recent.entry(key.clone()).or_default();
            recent.more |= more;
            for event in writers {
                recent.add(event.pid, process::look(event.pid, &event.proof));
            }
        }
        if !complete {
            for key in self.marks.values() {
                self.recent.entry(key.clone()).or_default().more = true;
            }
        }
        drop(events);
        if !complete {
            let keys: Vec<_> = self.marks.values().cloned().collect();
            self.queue = Queue::open().map_err(|e| e.to_string());
            self.arm(keys.iter().map(String::as_str));
        }
    }

    /// Who wrote a parameter that was just corrected; [`Self::drain`] has read the queue.
    pub fn writer(&mut self, key: &str, now: Instant) -> Writer {
        if let Some(reason) = self.unavailable() {
            return Writer::unknown(reason);
        }
        if let Some(recent) = self.recent.remove(key) {
            let writer = recent.writer();
            self.carried.insert(key.to_owned(), (now, recent));
            return writer;
        }
        match self.carried.remove(key) {
            Some((when, recent))
                if now.saturating_duration_since(when) < CARRIED && recent.may_write_on() =>
            {
                recent.writer()
            }
            _ => Writer::unknown(
                "no write was seen yet, as when it comes through another /proc, which containers have",
            ),
        }
    }

    /// A parameter was found as it should be: who wrote it has done no harm. One whose event comes
    /// between the look and the drain has, so it is remembered for a moment.
    pub fn found_correct(&mut self, key: &str, now: Instant) {
        match self.recent.remove(key) {
            Some(recent) => drop(self.carried.insert(key.to_owned(), (now, recent))),
            None => drop(self.carried.remove(key)),
        }
    }
}

impl Recent {
    fn add(&mut self, pid: u32, found: Result<Process, Missed>) {
        // Looked at twice and gone by the second time: the first look counts.
        if found.is_err() && self.writers.iter().any(|(known, seen)| *known == pid && seen.is_ok())
        {
            return;
        }
        self.writers.retain(|(known, _)| *known != pid);
        if self.writers.len() == WRITERS {
            if let Some((left_out, _)) = self.writers.pop_front() {
                self.started.remove(&left_out);
            }
            self.more = true;
        }
        self.started.insert(pid, process::started(pid));
        self.writers.push_back((pid, found));
    }

    /// Whether all of them still run.
    fn may_write_on(&self) -> bool {
        self.started
            .iter()
            .all(|(pid, started)| started.is_some() && process::started(*pid) == *started)
    }

    fn writer(&self) -> Writer {
        let processes = self.writers.iter().filter_map(|(_, found)| found.clone().ok()).collect();
        let mut reasons: Vec<String> = Vec::new();
        for why in Missed::ALL {
            let missed = |(pid, found): &(u32, _)| (*found == Err(why)).then(|| pid.to_string());
            let pids: Vec<_> = self.writers.iter().filter_map(missed).collect();
            if !pids.is_empty() {
                reasons.push(format!("{why} (pid {})", pids.join(", ")));
            }
        }
        if self.more {
            reasons.push("there were more writes than are told apart".into());
        }
        Writer { processes, unknown: (!reasons.is_empty()).then(|| reasons.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pid: u32) -> Process {
        Process { pid, comm: format!("p{pid}"), exe: None, unit: None }
    }

    fn attribution() -> Attribution {
        Attribution {
            // No group is needed to keep account.
            queue: Queue::open().map_err(|e| e.to_string()),
            marks: HashMap::new(),
            recent: BTreeMap::new(),
            carried: BTreeMap::new(),
        }
    }

    fn wrote(attribution: &mut Attribution, pid: u32, found: Result<Process, Missed>) {
        attribution.recent.entry("k".into()).or_default().add(pid, found);
    }

    #[test]
    fn a_writer_counts_for_the_next_correction_too_but_only_for_a_moment() {
        let mut attribution = attribution();
        assert_eq!(attribution.unavailable(), None, "these tests run as root");
        let start = Instant::now();
        let me = std::process::id();
        wrote(&mut attribution, me, Ok(of(me)));
        assert_eq!(attribution.writer("k", start).certain(), Some(&of(me)));
        // It wrote on while it was read, and the kernel joined its events.
        assert_eq!(attribution.writer("k", start + CARRIED / 2).certain(), Some(&of(me)));
        assert_eq!(attribution.writer("k", start).certain(), None, "and no longer");

        wrote(&mut attribution, me, Ok(of(me)));
        attribution.found_correct("k", start);
        assert_eq!(attribution.writer("k", start + CARRIED).certain(), None);

        let mut ended = std::process::Command::new("true").spawn().unwrap();
        wrote(&mut attribution, ended.id(), Ok(of(ended.id())));
        assert_eq!(attribution.writer("k", start).certain(), Some(&of(ended.id())));
        ended.wait().unwrap();
        assert_eq!(attribution.writer("k", start).certain(), None, "the next write is not its");

        wrote(&mut attribution, me, Ok(of(me)));
        attribution.found_correct("k", start);
        attribution.found_correct("k", start);
        let said = attribution.writer("k", start).to_string();
        assert!(said.starts_with("writer unknown: no write was seen yet"), "{said}");
    }

    #[test]
    fn writers_are_kept_to_a_limit_the_latest_ones_and_what_is_left_out_is_said() {
        let mut recent = Recent::default();
        for pid in 1..=20 {
            recent.add(pid, if pid % 2 == 0 { Ok(of(pid)) } else { Err(Missed::Ended) });
        }
        // A second look after its end takes nothing from the first one.
        recent.add(20, Err(Missed::Ended));
        let writer = recent.writer();
        assert_eq!(writer.processes, [of(14), of(16), of(18), of(20)]);
        assert_eq!(
            writer.unknown.as_deref(),
            Some(
                "it ended before it could be looked at (pid 13, 15, 17, 19); there were more \
                 writes than are told apart"
            )
        );
    }

    /// A descriptor more or less is a leak or a descriptor that was closed twice.
    #[test]
    fn reading_a_write_names_the_writer_and_leaves_no_descriptor_open() {
        use std::io::Write;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("parameter");
        std::fs::write(&path, "0").unwrap();
        let queue = Queue::open().unwrap();
        let inode = queue.mark(&path).unwrap().unwrap();
        assert_eq!(queue.mark(&dir.path().join("none")).unwrap(), None);
        let mut rival = std::process::Command::new("sh")
            .args(["-c", "while read -r line; do printf '%s' \"$line\" >\"$1\"; echo; done", "sh"])
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = rival.stdin.take().unwrap();
        let mut output = rival.stdout.take().unwrap();
        let mut attribution = Attribution {
            queue: Ok(queue),
            marks: HashMap::from([(inode, "k".to_owned())]),
            recent: BTreeMap::new(),
            carried: BTreeMap::new(),
        };
        for n in 0..5 {
            // Our own writes are nobody's.
            std::fs::write(&path, "mine").unwrap();
            writeln!(input, "{n}").unwrap();
            std::io::Read::read_exact(&mut output, &mut [0]).unwrap();
            attribution.drain();
            let writer = attribution.writer("k", Instant::now());
            let process = writer.certain().unwrap_or_else(|| panic!("{writer:?}"));
            assert_eq!((process.pid, process.comm.as_str()), (rival.id(), "sh"));
            assert!(process.exe.as_ref().unwrap().starts_with('/'));
        }
        // Other tests may have some at the same time, but none on this file.
        let leaked = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .filter(|target| *target == path)
            .count();
        assert_eq!(leaked, 0);
        drop(input);
        rival.wait().unwrap();
    }
}
