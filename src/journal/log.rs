// SPDX-License-Identifier: Apache-2.0
//! Where events of `tracing` go: to journald, by way of a thread that may wait for it, or to stderr.
//!
//! `tracing-journald` waits for a journald that does not read, and does not say whether what it sent
//! was taken. So it works behind an outbox, and for each entry journald is asked first: the library
//! sends an empty datagram when a layer is made, and says how that went.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::{Entry, OBJECT_PID, Priority, cut, printable};
use crate::outbox::{Outbox, Transport};

/// Entries kept while journald does not take any.
const BACKLOG: usize = 256;

/// By then the number of a process may be another one's.
const FRESH: Duration = Duration::from_millis(100);

/// Which entries are logged: a word for a priority, as `journalctl -p` has them.
const LEVEL: &str = "NODEGUARD_LOG";

/// The log. Whoever has it logs; when it is dropped, it waits a moment for what journald has not
/// taken yet.
#[derive(Debug)]
pub struct Journal(Option<Arc<Outbox<Sent>>>);

impl Journal {
    /// Makes journald the place of everything that is logged, if stderr is connected to it, as it is
    /// for a service, else stderr.
    pub fn open() -> Self {
        let outbox = std::env::var_os("JOURNAL_STREAM").and_then(|_| {
            // Without a thread there is stderr, which is the journal too.
            Outbox::start("nodeguard-journal", BACKLOG, Journald).map(Arc::new).ok()
        });
        let log = match outbox.clone() {
            Some(outbox) => Log::to(move |sent| outbox.put(sent)),
            None => Log::to(|sent| print(&sent)),
        };
        let word = std::env::var(LEVEL).ok();
        let known = word.as_deref().map(level);
        let wrong = word.filter(|_| known == Some(None));
        let level = known.flatten().unwrap_or(LevelFilter::DEBUG);
        // The program has one log; if there were another one already, it would go on.
        let _ = tracing::subscriber::set_global_default(Registry::default().with(level).with(log));
        let journal = Self(outbox);
        if let Some(word) = wrong {
            let text = format!(
                "{LEVEL} is {word:?} and counts as info; expected is err, warning, notice, info or debug"
            );
            journal.log(Entry::new(Priority::Warning, text));
        }
        journal
    }

    /// Logs an entry, or leaves it for later. Never waits for journald.
    pub fn log(&self, entry: Entry) {
        entry.emit();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(outbox) = &self.0 {
            outbox.flush();
        }
    }
}

/// The least that is logged. `tracing`'s levels are one step off journald's priorities: its INFO is
/// journald's notice, and its DEBUG journald's info.
fn level(word: &str) -> Option<LevelFilter> {
    Some(match word {
        "err" | "error" => LevelFilter::ERROR,
        "warning" | "warn" => LevelFilter::WARN,
        "notice" => LevelFilter::INFO,
        "info" => LevelFilter::DEBUG,
        "debug" => LevelFilter::TRACE,
        _ => return None,
    })
}

/// An event, as it waits to be sent.
#[derive(Debug)]
struct Sent {
    /// Its level, and where in the source it was logged.
    metadata: &'static Metadata<'static>,
    message: String,
    fields: BTreeMap<&'static str, String>,
    /// The pass during which it was logged, if that is told; with names for journald.
    pass: Vec<(String, String)>,
    since: Instant,
}

impl Sent {
    /// What it has besides its message when it is sent so long after it was logged.
    fn fields_after(&self, waited: Duration) -> impl Iterator<Item = (&str, &str)> {
        let stale = move |name: &str| name == OBJECT_PID && waited > FRESH;
        let fields = self.fields.iter().filter(move |(name, _)| !stale(name));
        let fields = fields.map(|(name, value)| (*name, value.as_str()));
        fields.chain(self.pass.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

/// Takes events, each with the span it is in, and hands them on.
struct Log {
    to: Box<dyn Fn(Sent) + Send + Sync>,
}

impl Log {
    fn to(to: impl Fn(Sent) + Send + Sync + 'static) -> Self {
        Self { to: Box::new(to) }
    }
}

/// The fields of a span.
#[derive(Default)]
struct Values(BTreeMap<&'static str, String>);

impl Visit for Values {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), cut(value).to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl<S> Layer<S> for Log
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut values = Values::default();
            attributes.record(&mut values);
            span.extensions_mut().insert(values);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(values) = span.extensions_mut().get_mut::<Values>()
        {
            record.record(values);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut values = Values::default();
        event.record(&mut values);
        let message = values.0.remove("message").unwrap_or_default();
        let mut pass = Vec::new();
        // The innermost one: a full pass may be part of what an event leads to.
        if let Some(span) = context.event_span(event)
            && let Some(Values(fields)) = span.extensions().get()
        {
            let name = |field| format!("NODEGUARD_{}_{field}", span.name()).to_uppercase();
            pass.extend(fields.iter().map(|(field, value)| (name(field), value.clone())));
        }
        (self.to)(Sent {
            metadata: event.metadata(),
            message: cut(&printable(&message)).to_owned(),
            fields: values.0,
            pass,
            since: Instant::now(),
        });
    }
}

/// On stderr, as a line for a person.
fn print(sent: &Sent) {
    let mut text = format!("nodeguard: {}", sent.message);
    for (name, value) in &sent.pass {
        // Writing to a string does not fail.
        let _ = write!(text, " {name}={value}");
    }
    // Nobody to tell if even this fails.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Sends entries to journald, and waits for it.
struct Journald;

impl Transport<Sent> for Journald {
    fn send(&mut self, sent: &Sent) -> io::Result<()> {
        // Asks journald: what it does not take now is kept.
        let journald = tracing_journald::Layer::new()?;
        let journald = journald
            .with_field_prefix(None)
            .with_syslog_identifier("nodeguard".into())
            .with_custom_fields(sent.fields_after(sent.since.elapsed()));
        let names = sent.metadata.fields();
        if let Some(field) = names.field("message") {
            let message: &dyn tracing::Value = &sent.message;
            // Not by way of a dispatcher: the registry has no spans, and nothing is to be filtered.
            let subscriber = Registry::default().with(journald);
            let values = [(&field, Some(message))];
            subscriber.event(&Event::new(sent.metadata, &names.value_set(&values)));
        }
        Ok(())
    }

    fn say_lost(&mut self, count: u64) -> io::Result<()> {
        let text = format!("{count} log entries were lost while journald was away");
        let lost = collected(|| Entry::new(Priority::Warning, text).emit());
        lost.iter().try_for_each(|sent| self.send(sent))
    }
}

/// What is logged meanwhile in this thread, and goes nowhere else.
fn collected(work: impl FnOnce()) -> Vec<Sent> {
    let all = Arc::new(Mutex::new(Vec::new()));
    let theirs = all.clone();
    let log = Log::to(move |sent| theirs.lock().unwrap_or_else(PoisonError::into_inner).push(sent));
    tracing::subscriber::with_default(Registry::default().with(log), work);
    std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::super::tests::entries;
    use super::super::{MESSAGE_LIMIT, PassSpan};
    use super::*;
    use crate::model::State;

    #[test]
    fn an_event_has_what_its_entry_has_and_nothing_else() {
        for entry in entries() {
            let sent = collected(|| entry.emit());
            let [sent] = &sent[..] else { panic!("{sent:?}") };
            assert_eq!(sent.message, entry.message);
            let fields: BTreeMap<&str, String> = entry.fields.iter().cloned().collect();
            assert_eq!(sent.fields, fields);
            assert_eq!(fields.len(), entry.fields.len(), "each is there once");
            assert_eq!(sent.pass, []);
            let priority = match *sent.metadata.level() {
                tracing::Level::ERROR => 3,
                tracing::Level::WARN => 4,
                tracing::Level::INFO => 5,
                tracing::Level::DEBUG => 6,
                tracing::Level::TRACE => 7,
            };
            assert_eq!(priority, entry.priority as u8, "as tracing-journald has them");
        }
    }

    #[test]
    fn every_field_that_the_source_names_is_a_field_of_the_event() {
        let source = include_str!("mod.rs");
        let code = source.split("#[cfg(test)]").next().unwrap();
        let names = code.split(".field(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        let mut seen = 0;
        for name in names {
            let name: &'static str = name;
            let sent = collected(|| Entry::new(Priority::Info, "x").field(name, "y").emit());
            assert_eq!(sent[0].fields.get(name).map(String::as_str), Some("y"), "{name}");
            seen += 1;
        }
        assert!(seen > 15, "{seen}");
    }

    #[test]
    fn whoever_logs_has_its_control_characters_escaped_and_is_cut() {
        let sent = collected(|| {
            tracing::warn!("a\u{1b}b\nc");
            tracing::warn!(NODEGUARD_ACTUAL = "a\u{1b}b", "{}", "ä".repeat(MESSAGE_LIMIT));
        });
        assert_eq!(sent[0].message, "a\\u{1b}b\nc");
        assert_eq!(sent[1].fields["NODEGUARD_ACTUAL"], "a\u{1b}b", "fields have the data as it is");
        assert!(sent[1].message.len() <= MESSAGE_LIMIT);
    }

    #[test]
    fn an_entry_that_has_to_wait_makes_journald_look_at_no_process_that_may_be_another_by_then() {
        let entry =
            Entry::new(Priority::Info, "x").field(OBJECT_PID, "1").field("OBJECT_COMM", "y");
        let sent = collected(|| entry.emit());
        let after = |waited| sent[0].fields_after(waited).collect::<Vec<_>>();
        assert_eq!(after(FRESH), [("OBJECT_COMM", "y"), (OBJECT_PID, "1")]);
        assert_eq!(after(FRESH + Duration::from_millis(1)), [("OBJECT_COMM", "y")]);
    }

    #[test]
    fn what_is_logged_during_a_pass_tells_which_and_its_end_tells_how_long_it_took() {
        let sent = collected(|| {
            let outer = PassSpan::begin("narrow", "event");
            {
                let inner = PassSpan::begin("apply", "paced");
                Entry::new(Priority::Info, "within").emit();
                inner.ended(State::Ready);
            }
            drop(outer);
            Entry::new(Priority::Info, "after").emit();
        });
        let pass = |n: usize| {
            let pass: Vec<_> = sent[n].pass.iter().map(|(n, v)| format!("{n}={v}")).collect();
            pass.join(" ")
        };
        assert_eq!(sent[0].message, "within");
        assert_eq!(pass(0), "NODEGUARD_PASS_MODE=apply NODEGUARD_PASS_WHY=paced");
        assert!(sent[1].message.starts_with("a pass took "), "{:?}", sent[1]);
        assert_eq!(
            pass(1),
            "NODEGUARD_PASS_MODE=apply NODEGUARD_PASS_STATE=ready NODEGUARD_PASS_WHY=paced"
        );
        assert_eq!(pass(2), "NODEGUARD_PASS_MODE=narrow NODEGUARD_PASS_WHY=event");
        assert_eq!((sent[3].message.as_str(), pass(3)), ("after", String::new()));
    }

    #[test]
    fn levels_have_the_names_that_journalctl_has() {
        for (word, entries) in [("err", 1), ("warning", 2), ("notice", 3), ("info", 4)] {
            let all = Arc::new(Mutex::new(0));
            let theirs = all.clone();
            let log = Log::to(move |_| *theirs.lock().unwrap() += 1);
            let log = Registry::default().with(level(word).unwrap()).with(log);
            tracing::subscriber::with_default(log, || {
                for priority in
                    [Priority::Error, Priority::Warning, Priority::Notice, Priority::Info]
                {
                    Entry::new(priority, "x").emit();
                }
                PassSpan::begin("apply", "paced").ended(State::Ready);
            });
            assert_eq!(*all.lock().unwrap(), entries, "{word}");
        }
        assert_eq!(level("debug"), Some(LevelFilter::TRACE));
        assert_eq!(level("verbose"), None);
    }
}
