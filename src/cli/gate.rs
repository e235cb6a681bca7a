// SPDX-License-Identifier: Apache-2.0
//! `nodeguard gate`: whether RKE2 may start. It runs as `ExecStartPre` of RKE2's unit, so it asks
//! for a fresh pass every time and what it prints is in RKE2's own status.
//!
//! RKE2's unit has no time limit of its own for this, so the gate has one as a whole: a question
//! to the daemon with a limit, a look in a process of its own with a limit, and a thread that ends
//! us where even that hangs.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::{CliError, Exit, GateArgs, need_root, now, runtime, say, worst_first};
use crate::controls::own_config::observe::{first, sources};
use crate::controls::rke2_config::judge::overrides::{CODES, Token, Used};
use crate::controls::rke2_config::overrides;
use crate::gate::socket::SOCKET;
use crate::gate::{self, look};
use crate::journal::{Entry, Priority, Record};
use crate::model::{Code, Finding, OperatingMode, Report, Role, Severity, State, shown};
use crate::render;
use crate::service::Service;
use crate::system::HostError;
use crate::system::root::Root;
use crate::system::root::observed::{Difference, Observed};
use crate::system::runtime::{gate_role, write_gate_role, write_hidden};

/// The daemon's pass may have to make an account first; what takes longer hangs. Less where the
/// whole gate has less: the look by itself needs its share.
const ASKING: Duration = Duration::from_secs(10);

/// At the end of the limit, for the last words; less of a limit that is short.
const GRACE: Duration = Duration::from_secs(1);

/// The parts of the whole limit: how long until there has to be an answer, and the daemon's share of that.
fn shares(limit: Duration) -> (Duration, Duration) {
    let looking = limit - GRACE.min(limit / 3);
    (looking, ASKING.min(looking / 2))
}

pub(super) fn run(args: &GateArgs) -> Result<Exit, CliError> {
    need_root("gate")?;
    let role = Role::from(args.role);
    let limit = Duration::from_secs(args.limit);
    let (looking, asking) = shares(limit);
    let began = Instant::now();
    let end = began + looking;
    let open = Arc::new(AtomicBool::new(false));
    let _backstop = backstop(limit, open.clone());
    let root = Root::host()?;
    let (settings, problems) = first(&sources(&root));
    let mut modes = Modes { ours: settings.mode.value, whole: problems.is_empty(), daemons: None };
    // Before everything that may hang: in report mode that shuts nobody's gate either.
    open.store(modes.hanging_opens(), Ordering::Relaxed);
    // The daemon learns the role from this, and keeps guarding by it after the gate is gone.
    if gate_role(&root) != Some(role)
        && let Err(e) = write_gate_role(&root, role)
    {
        say(&e.to_string());
    }
    let token = claim(&root, role);
    let asked = ask(asking).and_then(|answer| {
        modes.daemons = Some(answer.report.mode);
        counting(&root, role, modes.counts(), answer)
    });
    open.store(modes.hanging_opens(), Ordering::Relaxed);
    let mode = modes.counts();
    let report = asked.or_else(|reason| {
        say(&format!("{reason}; the gate looks by itself"));
        look(&root, role, end, mode)
    });
    if mode.only_reports() {
        let used_up = token.map(|token| token.by);
        return Ok(report_only(&root, role, report, used_up));
    }
    let Some(token) = token else {
        return Ok(match report {
            Ok(report) => answer(&root, role, &report),
            Err(e) => unknown(&e),
        });
    };
    // A part of what is left for the last words, so that a journal that hangs shuts nobody's gate.
    let left = (began + limit).saturating_duration_since(Instant::now());
    let journal = Record::within(Record::LIMIT.min(left / 2));
    let record = |priority, text, token: &Token| record(&journal, priority, text, token);
    Ok(match report {
        Ok(report) if report.state != State::Fatal => {
            let text = format!("the override of {} was not needed and is used up", token.by);
            record(Priority::Notice, text, &token);
            answer(&root, role, &report)
        }
        Ok(report) => {
            print(&report);
            let codes = overridden(&journal, &report, &token);
            let_through(&journal, &root, role, token, codes)
        }
        Err(e) => {
            record(Priority::Error, format!("overridden: {e}"), &token);
            if role == Role::Server {
                // Nobody knows what is in there.
                warn_of_links(&journal, &token);
            }
            let_through(&journal, &root, role, token, vec!["not-looked-at".into()])
        }
    })
}

/// Ends this process when the sender has not been dropped by then; `open`: as a gate that is open.
fn backstop(after: Duration, open: Arc<AtomicBool>) -> Option<mpsc::Sender<()>> {
    let (alive, dropped) = mpsc::channel::<()>();
    let wait = move || {
        if dropped.recv_timeout(after) == Err(mpsc::RecvTimeoutError::Timeout) {
            // What hangs may be whoever reads our words: none here.
            let exit = if open.load(Ordering::Relaxed) { Exit::Ok } else { Exit::TryAgain };
            std::process::exit(exit as i32);
        }
    };
    std::thread::Builder::new().spawn(wait).ok().map(|_| alive)
}

/// The operator's word for this start.
fn claim(root: &Root, role: Role) -> Option<Token> {
    match overrides::claim(root, role)? {
        Ok(token) => Some(token),
        Err(reason) => {
            say(&format!("the override does not count: {reason}"));
            None
        }
    }
}

/// What is known of the mode.
struct Modes {
    /// What the files say here.
    ours: OperatingMode,
    /// Whether nothing is wrong with them.
    whole: bool,
    /// What the daemon is in, once it has answered.
    daemons: Option<OperatingMode>,
}

impl Modes {
    /// Files that are whole count: a daemon in another mode has not read them yet. Where they are
    /// broken, it may be in a mode that they do not say any more.
    fn counts(&self) -> OperatingMode {
        self.known().unwrap_or(self.ours)
    }

    fn known(&self) -> Option<OperatingMode> {
        if self.whole { Some(self.ours) } else { self.daemons }
    }

    /// Whether a gate that hangs is open: of what broken files say, nobody is sure.
    fn hanging_opens(&self) -> bool {
        self.known().is_some_and(OperatingMode::only_reports)
    }
}

/// A fresh pass of the daemon's, or why there is none.
fn ask(limit: Duration) -> Result<gate::Answer, String> {
    let runtime = runtime().map_err(|e| e.to_string())?;
    let asking = gate::ask(Path::new(SOCKET), limit);
    runtime.block_on(asking).map_err(|e| e.to_string())
}

/// The daemon's report, if it is about this node as RKE2 will meet it and finds it fit.
fn counting(
    root: &Root,
    role: Role,
    mode: OperatingMode,
    answer: gate::Answer,
) -> Result<Report, String> {
    let gate::Answer { report, observed } = answer;
    if report.mode != mode {
        // It has corrected what is not to be, or not what is.
        return Err(format!("the daemon is in {} mode, and the files say {mode}", report.mode));
    }
    if report.role != role {
        return Err(format!("the daemon takes this node for {}, not {role}", report.role));
    }
    // We are in no sandbox and have every right: what the daemon does not see, or is not let at, is
    // no answer about this node.
    sees_the_same(root, &observed)?;
    if let Some(words) = unread(&report) {
        return Err(format!("the daemon does not know all that RKE2 gets: {words}"));
    }
    if report.state == State::Fatal {
        return Err("the daemon finds this node fatal".into());
    }
    Ok(report)
}

/// Whether the daemon judged what is there; it is told where it did not.
fn sees_the_same(root: &Root, observed: &Observed) -> Result<(), String> {
    let (words, hidden) = match observed.differs(root) {
        None => {
            let words = observed.no_exec(root).map(|path| {
                format!("the gate sees {} on a mount that lets no program be started", shown(&path))
            });
            (words, None)
        }
        Some(Difference::Untold) => {
            (Some("the daemon cannot tell all that it looked at".to_owned()), None)
        }
        Some(Difference::At(path, here)) => {
            let path = shown(&path);
            (Some(format!("the daemon sees another {path} than the gate")), Some(here))
        }
    };
    if let Err(e) = write_hidden(root, hidden.as_ref()) {
        say(&e.to_string());
    }
    words.map_or(Ok(()), Err)
}

/// What of systemd's own environment could not be read: a verdict without it may be about another
/// configuration than RKE2's.
fn unread(report: &Report) -> Option<String> {
    let mut findings = report.findings();
    findings.find(|finding| finding.code == Code::EnvironmentUnread).map(render::finding_line)
}

/// Why the gate knows nothing of this node.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(
        "the look at this node did not end within {0} s: a file system, a program it asked or a \
         lock it waited for hangs, or the limit is too short for this node (--limit)"
    )]
    Hangs(u64),
    #[error(
        "another gate's look at this node has not ended for {0} s (fuser -v {lock} tells whose)",
        lock = look::LOCK
    )]
    Busy(u64),
    #[error("{0}")]
    Unread(String),
    #[error("the gate could not look at this node: {0}")]
    Failed(String),
}

/// A pass of our own, in another process: what hangs in the kernel cannot be ended, only left.
fn look(root: &Root, role: Role, end: Instant, mode: OperatingMode) -> Result<Report, LookError> {
    let left = end.saturating_duration_since(Instant::now());
    let ended = look::run(root, role, left, mode).map_err(|e| match e {
        look::LookError::Busy => LookError::Busy(left.as_secs()),
        look::LookError::Command(HostError::Deadline { errors, .. }) => {
            eprint!("{errors}");
            LookError::Hangs(left.as_secs())
        }
        e => LookError::Failed(e.to_string()),
    })?;
    eprint!("{}", ended.errors);
    let report = render::parse(&ended.output)
        .map_err(|e| LookError::Failed(format!("it ended with {} ({e})", ended.status)))?;
    // What is fatal as it is stays so, whatever else RKE2 gets.
    match unread(&report) {
        Some(words) if report.state != State::Fatal => Err(LookError::Unread(words)),
        _ => Ok(report),
    }
}

/// What is wrong, the worst first.
fn print(report: &Report) {
    for finding in worst_first(report) {
        // An override of the start before this one is told too; whether that is over is decided here.
        if finding.severity != Severity::Note && finding.code != Code::OverrideUsed {
            // To stderr, so that it stands in order with RKE2's own words.
            eprint!("{}", render::finding_text(finding, "nodeguard: "));
        }
    }
}

/// Without a look nothing was found wrong, and a gate that knows nothing is not open.
fn unknown(error: &LookError) -> Exit {
    let (exit, after) = match error {
        LookError::Hangs(_) | LookError::Busy(_) | LookError::Unread(_) => {
            (Exit::TryAgain, "; RKE2 is not started now, systemd tries again by itself")
        }
        LookError::Failed(_) => (Exit::Failure, ""),
    };
    let text = format!("{error}{after}");
    say(&text);
    status(&text);
    exit
}

/// Report mode: whatever was found, or could not be, RKE2 starts.
fn report_only(
    root: &Root,
    role: Role,
    report: Result<Report, LookError>,
    used_up: Option<String>,
) -> Exit {
    if let Some(by) = used_up {
        say(&format!("the override of {by} is used up: report mode needs none"));
    }
    let text = match &report {
        Ok(report) => {
            print(report);
            render::would_have(report)
        }
        Err(e) => format!("report mode: RKE2 is started, although {e}"),
    };
    say(&text);
    status(&text);
    forget(root, role, "the start by an override is over");
    Exit::Ok
}

fn answer(root: &Root, role: Role, report: &Report) -> Exit {
    print(report);
    if report.state == State::Fatal {
        if let Some(worst) = worst_first(report).first() {
            status(&render::finding_line(worst));
        }
        say("RKE2 is not started: fix the above, systemd tries again by itself");
        return Exit::Fatal;
    }
    say(&format!("this node is {}", render::headline(report)));
    tell_demoted(report);
    // Not where RKE2 does not start: it may be running from that one, with a gate run by hand.
    forget(root, role, "the start by an override is over: this one needs none");
    Exit::Ok
}

/// RKE2 starts only since the operator's configuration says so; each finding says which line.
fn tell_demoted(report: &Report) {
    let demoted: Vec<&Finding> =
        report.findings().filter(|finding| finding.demoted_by.is_some()).collect();
    let Some(first) = demoted.first() else { return };
    if demoted.iter().any(|finding| finding.code.known().is_some_and(Code::leads_out)) {
        say(FOLLOWS_LINKS);
    }
    let more = match demoted.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let text = format!("RKE2 is started, although {}{more}", render::finding_line(first));
    say(&text);
    status(&text);
}

fn forget(root: &Root, role: Role, text: &str) {
    match overrides::forget(root, role) {
        Ok(true) => say(text),
        Ok(false) => {}
        Err(e) => say(&e.to_string()),
    }
}

/// In RKE2's own status. Its unit lets us: its log lines are not shown while it waits for the next try.
fn status(message: &str) {
    let message = render::joined(message);
    // It says so on stderr as well, where there is no thread for this.
    if let Ok(mut service) = Service::from_environment() {
        service.status(&format!("nodeguard: {message}"));
    }
}

/// Says each finding that is overridden, and gives their codes.
fn overridden(journal: &Record, report: &Report, token: &Token) -> Vec<String> {
    let fatal: Vec<&Finding> =
        worst_first(report).into_iter().filter(|f| f.severity == Severity::Fatal).collect();
    for finding in &fatal {
        let text = format!("overridden: {}: {}", finding.code, finding.message);
        record(journal, Priority::Error, render::joined(&text), token);
    }
    // RKE2's own chown can leave the tree through what such a finding is about.
    if fatal.iter().any(|finding| finding.code.known().is_some_and(Code::leads_out)) {
        warn_of_links(journal, token);
    }
    kept(&fatal)
}

/// The codes that are kept with the override, each once.
fn kept(fatal: &[&Finding]) -> Vec<String> {
    let mut codes: Vec<String> = Vec::new();
    for code in fatal.iter().map(|finding| finding.code.to_string()) {
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes.truncate(CODES);
    codes
}

/// What RKE2 does that nobody takes back.
const FOLLOWS_LINKS: &str = "RKE2 gives etcd's whole directory away as it starts, and follows links: \
                             what they lead to, anywhere on this host, will be etcd's";

fn warn_of_links(journal: &Record, token: &Token) {
    record(journal, Priority::Error, FOLLOWS_LINKS.into(), token);
}

/// RKE2 starts on the operator's word.
fn let_through(
    journal: &Record,
    root: &Root,
    role: Role,
    token: Token,
    codes: Vec<String>,
) -> Exit {
    let text = format!(
        "OVERRIDDEN by {} ({}): RKE2 starts this once on a node that is fatal: {}",
        token.by,
        token.reason,
        codes.join(", ")
    );
    record(journal, Priority::Error, text.clone(), &token);
    status(&text);
    // This note takes the place of that of an earlier override.
    if let Err(e) = overrides::remember(root, role, &Used { word: token, at: now(), codes }) {
        say(&format!("{e}; `nodeguard status` will not tell of the override"));
    }
    Exit::Ok
}

/// In the journal with a priority and the fields, and in order with RKE2's own words.
fn record(journal: &Record, priority: Priority, text: String, token: &Token) {
    say(&text);
    let entry = Entry::overriding(priority, text, &token.by, &token.reason);
    if let Err(e) = journal.log(&entry) {
        // The operator's word was on record when it was given.
        say(&format!("{e}; this is not on record"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_there_before_the_limit_and_the_daemon_gets_half_of_the_time_at_most() {
        for seconds in 1..=600 {
            let limit = Duration::from_secs(seconds);
            let (looking, asking) = shares(limit);
            assert!(looking >= limit / 2 && looking < limit, "{seconds}: {looking:?}");
            assert!(seconds < 3 || limit - looking == GRACE, "{seconds}: {looking:?}");
            assert!(asking <= looking / 2 && asking <= ASKING, "{seconds}: {asking:?}");
        }
    }

    #[test]
    fn whole_files_count_for_more_than_the_daemon_and_a_gate_that_hangs_opens_on_what_is_sure() {
        use OperatingMode::{Enforce, Report};
        for (ours, whole, daemons, counts, opens) in [
            (Enforce, true, None, Enforce, false),
            (Enforce, true, Some(Report), Enforce, false),
            (Report, true, None, Report, true),
            (Report, true, Some(Enforce), Report, true),
            (Enforce, false, None, Enforce, false),
            (Enforce, false, Some(Report), Report, true),
            (Report, false, None, Report, false),
            (Report, false, Some(Report), Report, true),
            (Report, false, Some(Enforce), Enforce, false),
        ] {
            let modes = Modes { ours, whole, daemons };
            let row = format!("{ours}, {whole}, {daemons:?}");
            assert_eq!((modes.counts(), modes.hanging_opens()), (counts, opens), "{row}");
        }
    }

    #[test]
    fn no_more_codes_than_the_limit_are_kept_with_an_override_and_each_once() {
        let findings: Vec<Finding> = Code::ALL
            .iter()
            .flat_map(|code| [*code; 2])
            .map(|code| Finding::new(code, "x"))
            .collect();
        assert!(Code::ALL.len() > CODES);
        let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let all: Vec<&Finding> = findings.iter().collect();
        assert_eq!(kept(&all), codes[..CODES]);
        assert_eq!(kept(&all[..CODES * 2]), codes[..CODES]);
        assert_eq!(kept(&all[..3]), codes[..2]);
    }
}
