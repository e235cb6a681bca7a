// SPDX-License-Identifier: Apache-2.0
//! What `nodeguard explain` prints, for a person and as JSON.

use serde::Serialize;

use super::terminal::line as escaped;
use crate::config::Policy;
use crate::model::Origin;
use crate::sysctl_d::{self, Assigned, Explanation, SetBy, Shadowed, Verdict, Why};

/// The whole answer. The format is the one in the manual; a field that changes its meaning or
/// goes raises `schema`.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    pub schema: u32,
    /// nodeguard's own.
    pub version: &'static str,
    /// The directory that was looked at; `/` for the running host.
    pub root: String,
    /// The parameters, in the order in which they were asked for.
    pub keys: Vec<KeyAnswer>,
    /// Files that could not be read, so that the answer may be wrong.
    pub unread: Vec<Unread>,
}

impl Answer {
    pub const SCHEMA: u32 = 1;
}

/// One kernel parameter.
#[derive(Clone, Debug, Serialize)]
pub struct KeyAnswer {
    /// As `sysctl` prints it.
    pub key: String,
    /// What nodeguard holds it at; null where it does not.
    pub wanted: Option<Wanted>,
    pub live: Live,
    #[serde(flatten)]
    pub explanation: Explanation,
    /// Lines of sysctl.d that name it and set nothing.
    pub no_assignment: Vec<Line>,
    /// Lines of other files that write it, whenever they are applied.
    pub also_written: Vec<Line>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    pub origin: Origin,
    /// What it writes, or the line itself where it is no assignment. Null where it does not say by
    /// itself what it writes.
    pub text: Option<String>,
}

/// What a parameter should be, and who says so.
#[derive(Clone, Debug, Serialize)]
pub struct Wanted {
    pub value: String,
    pub source: Origin,
    /// Whether it is known to be one number, of which the kernel looks at nothing else.
    #[serde(skip)]
    pub single: bool,
    /// What is done about another value.
    pub policy: Policy,
    /// Who says so.
    pub policy_origin: Origin,
}

impl Wanted {
    /// `1 (baseline); policy "warn" (own.toml:4): reported, not set`
    fn text(&self) -> String {
        let mut out = format!("{} ({})", escaped(&self.value), place(&self.source));
        let done = match self.policy {
            Policy::Enforce => return out,
            Policy::Warn => "reported, not set",
            Policy::Ignore => "not set, and reported only where RKE2 would not start",
        };
        let (policy, origin) = (self.policy.as_str(), place(&self.policy_origin));
        out += &format!("; policy \"{policy}\" ({origin}): {done}");
        out
    }

    /// What becomes of another value after the next boot.
    fn then(&self) -> String {
        match self.policy {
            Policy::Enforce => format!("; nodeguard.service then sets {}", escaped(&self.value)),
            Policy::Warn => "; nodeguard.service then reports that".to_owned(),
            Policy::Ignore => String::new(),
        }
    }
}

/// What it is in the running kernel.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Live {
    Value {
        value: String,
    },
    /// This kernel has no such parameter.
    Missing,
    Unreadable {
        reason: String,
    },
    /// An image has no kernel of its own.
    NotLookedAt,
}

/// A file that could not be read.
#[derive(Clone, Debug, Serialize)]
pub struct Unread {
    pub path: String,
    pub reason: String,
}

/// The answer as one line of JSON.
pub fn json(answer: &Answer) -> String {
    // Strings, numbers and closed enums: there is nothing in it that JSON cannot say.
    serde_json::to_string(answer).unwrap_or_default()
}

/// The answer for a person at a terminal.
pub fn text(answer: &Answer) -> String {
    let mut out = answer.keys.iter().map(key_text).collect::<Vec<_>>().join("\n");
    for Unread { path, reason } in &answer.unread {
        out += &format!("not read: {}: {}\n", escaped(path), escaped(reason));
    }
    out
}

fn key_text(answer: &KeyAnswer) -> String {
    let explanation = &answer.explanation;
    let mut out = format!("{}\n", escaped(&answer.key));
    let mut line = |label: &str, text: &str| out += &format!("  {label:<11} {text}\n");
    match &answer.wanted {
        Some(wanted) => line("wanted:", &wanted.text()),
        None => line("wanted:", "nothing; nodeguard does not hold this parameter"),
    }
    match &answer.live {
        Live::Value { value } => line("live:", &escaped(value)),
        Live::Missing => line("live:", "this kernel has no such parameter"),
        Live::Unreadable { reason } => {
            line("live:", &format!("cannot be read: {}", escaped(reason)))
        }
        Live::NotLookedAt => {}
    }
    let boot = match (&explanation.next_boot, &explanation.excluded) {
        (Some(boot), _) => assigned(boot),
        (None, Some(by)) => format!("the kernel's default; excluded by {}", place(by)),
        (None, None) => "the kernel's default; no file sets it".to_owned(),
    };
    let mended = answer.wanted.as_ref().filter(|wanted| {
        let value = explanation.next_boot.as_ref().map(|boot| boot.value.as_str());
        !sysctl_d::value::sets(value.unwrap_or_default(), &wanted.value, wanted.single)
    });
    let then = mended.map(Wanted::then);
    line("next boot:", &format!("{boot}{}", then.unwrap_or_default()));
    for shadowed in &explanation.shadowed {
        line("no effect:", &format!("{}: {}", assigned(&shadowed.assigned), why(shadowed)));
    }
    if value(&explanation.now) != value(&files_only(&explanation.next_boot)) {
        let now = explanation.now.as_ref().map_or("nothing".into(), assigned);
        line("until then:", &format!("systemd-sysctl, run now, sets {now}"));
    }
    if value(&explanation.sysctl_system) != value(&explanation.now) {
        let by_hand = explanation.sysctl_system.as_ref().map_or("nothing".into(), assigned);
        line("by hand:", &format!("`sysctl --system` sets {by_hand}"));
    }
    if value(&explanation.newer_sysctl_system) != value(&explanation.sysctl_system) {
        let by_hand = explanation.newer_sysctl_system.as_ref().map_or("nothing".into(), assigned);
        line("by hand:", &format!("`sysctl --system` of a procps after 4.0.4 sets {by_hand}"));
    }
    if let Some(verdict) = &explanation.tuned {
        line("TuneD:", &tuned(verdict));
    }
    for Line { origin, text } in &answer.no_assignment {
        let text = escaped(text.as_deref().unwrap_or_default());
        line("sets none:", &format!("{}: `{text}` is no key = value", place(origin)));
    }
    for Line { origin, text } in &answer.also_written {
        let value =
            text.as_deref().map_or("it".into(), |value| format!("{} to it", escaped(value)));
        line("written by:", &format!("{}, which writes {value} whenever it is run", place(origin)));
    }
    out
}

/// What files and the credential set, as against the kernel's command line.
fn files_only(assigned: &Option<Assigned>) -> Option<Assigned> {
    assigned.clone().filter(|assigned| assigned.set_by != SetBy::CommandLine)
}

fn value(assigned: &Option<Assigned>) -> Option<&str> {
    assigned.as_ref().map(|assigned| assigned.value.as_str())
}

/// `0 (/etc/sysctl.d/99-stig.conf:1)`
fn assigned(assigned: &Assigned) -> String {
    let mut at = place(&assigned.origin);
    if let Some(to) = &assigned.link_to {
        at += &format!(", a link to {}", escaped(to));
    }
    if let Some(pattern) = &assigned.pattern {
        at += &format!(", by the pattern {}", escaped(pattern));
    }
    if assigned.set_by == SetBy::Credential {
        at += ", a credential";
    }
    format!("{} ({at})", escaped(&assigned.value))
}

fn why(shadowed: &Shadowed) -> String {
    let by = shadowed.by.as_ref().map(place).unwrap_or_default();
    match shadowed.why {
        Why::Later => format!("{by} comes later"),
        Why::Named => format!("{by} names the parameter, which beats a pattern"),
        Why::Excluded => format!("{by} excludes it"),
        Why::SameName => format!("{by} has the same name and is read instead"),
        Why::Masked => format!("masked by {by}, a link to /dev/null"),
        Why::Volatile => "/run is empty after a reboot".to_owned(),
        Why::Files => format!("the kernel takes it first, {by} comes later"),
    }
}

fn tuned(verdict: &Verdict) -> String {
    let mut text = format!("profile {}", escaped(&verdict.profile));
    if !verdict.enabled {
        text += " (tuned.service is not enabled)";
    }
    text += &match &verdict.sets {
        Some(sets) => format!(" sets {}", assigned(sets)),
        None => " does not set it".to_owned(),
    };
    match (&verdict.reapplied, verdict.reapplies) {
        (Some(reapplied), _) => {
            text += &format!("; it applies /etc again after that: {}", assigned(reapplied));
        }
        (None, true) => text += "; no file that it applies again after that sets it",
        (None, false) if verdict.sets.is_some() => text += ", which wins over every file",
        (None, false) => {}
    }
    text
}

fn place(origin: &Origin) -> String {
    escaped(&origin.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysctl_d::fixture::{file, sources};
    use crate::sysctl_d::{Explainer, Key, Sources, TunedSources};

    fn answer(sources: &Sources, keys: &[&str]) -> Answer {
        let explainer = Explainer::new(sources);
        let one = |key: &&str| {
            let key = Key::parse(key).unwrap();
            let source = Origin::at("/usr/share/rke2/rke2-cis-sysctl.conf", 3);
            let held = key.dotted() == "kernel.panic";
            let wanted = held.then(|| Wanted {
                value: "10".into(),
                source,
                single: true,
                policy: Policy::Enforce,
                policy_origin: Origin::file("built-in default"),
            });
            let live = if held { Live::Value { value: "10".into() } } else { Live::Missing };
            let line = |file: &str, text: &str| Line {
                origin: Origin::at(file, 2),
                text: Some(text.into()).filter(|text: &String| !text.is_empty()),
            };
            KeyAnswer {
                key: key.dotted(),
                wanted,
                live,
                explanation: explainer.explain(&key),
                no_assignment: vec![line("/etc/sysctl.d/90-a.conf", "kernel.panic: 10")]
                    .into_iter()
                    .filter(|_| held)
                    .collect(),
                also_written: vec![line("/etc/tmpfiles.d/a.conf", "3"), line("/etc/crontab", "")]
                    .into_iter()
                    .filter(|_| held)
                    .collect(),
            }
        };
        Answer {
            schema: Answer::SCHEMA,
            version: "0.0.0",
            root: "/".into(),
            keys: keys.iter().map(one).collect(),
            unread: vec![Unread {
                path: "/etc/sysctl.d/x.conf".into(),
                reason: "too large".into(),
            }],
        }
    }

    /// Every kind of thing that an answer can say.
    fn everything() -> Sources {
        let mut all = sources(&[
            ("/etc/sysctl.d/60-rke2-cis.conf", "# ours\nkernel.panic=10"),
            ("/etc/sysctl.d/99-stig.conf", "kernel.panic = 0"),
            ("/usr/lib/sysctl.d/50-vendor.conf", "kernel.pan*=1"),
            ("/usr/lib/sysctl.d/99-stig.conf", "kernel.panic=3"),
            ("/etc/sysctl.d/40-masked.conf", "!mask"),
            ("/usr/lib/sysctl.d/40-masked.conf", "kernel.panic=4"),
            ("/run/sysctl.d/zz.conf", "kernel.panic=5"),
            ("/etc/sysctl.conf", "kernel.panic=6"),
            (
                "/etc/sysctl.d/70-x.conf",
                "net.ipv4.conf.*.rp_filter=2\n-net.ipv4.conf.eth0/1.rp_filter",
            ),
        ]);
        all.command_line = Some("quiet panic=30".into());
        all.tuned = Some(TunedSources {
            profile: "mine\n".into(),
            enabled: true,
            main: None,
            profiles: vec![file("/etc/tuned/mine/tuned.conf", "[sysctl]\nkernel.panic=7")],
        });
        all
    }

    const KEYS: [&str; 4] =
        ["kernel.panic", "net/ipv4/conf/eth0.1/rp_filter", "net.ipv4.conf.lo.rp_filter", "vm.x"];

    #[test]
    fn the_json_format_is_the_golden_one() {
        let json = json(&answer(&everything(), &KEYS));
        let pretty: serde_json::Value = serde_json::from_str(&json).unwrap();
        insta::assert_snapshot!("explain.json", serde_json::to_string_pretty(&pretty).unwrap());
    }

    #[test]
    fn the_text_format_is_the_golden_one() {
        insta::assert_snapshot!("explain.txt", text(&answer(&everything(), &KEYS)));
    }

    #[test]
    fn what_a_policy_leaves_alone_is_not_said_to_be_set() {
        let own = Origin::at("/etc/nodeguard/nodeguard.toml", 4);
        let sources = sources(&[("/etc/sysctl.d/99-a.conf", "kernel.panic=0")]);
        let explained = |policy| {
            let mut answer = answer(&sources, &["kernel.panic"]);
            let wanted = answer.keys[0].wanted.as_mut().unwrap();
            (wanted.policy, wanted.policy_origin) = (policy, own.clone());
            text(&answer)
        };
        let warn = explained(Policy::Warn);
        let said = "; policy \"warn\" (/etc/nodeguard/nodeguard.toml:4): reported, not set\n";
        assert!(warn.contains(said), "{warn}");
        assert!(warn.contains("99-a.conf:1); nodeguard.service then reports that\n"), "{warn}");
        let ignore = explained(Policy::Ignore);
        let said = ": not set, and reported only where RKE2 would not start\n";
        assert!(ignore.contains(said), "{ignore}");
        for text in [warn, ignore] {
            assert!(!text.contains("then sets"), "{text}");
        }
        assert!(explained(Policy::Enforce).contains("nodeguard.service then sets 10\n"));
    }

    #[test]
    fn a_file_cannot_write_to_the_terminal() {
        let sources = sources(&[("/etc/sysctl.d/a.conf", "kernel.panic=\u{1b}[2J")]);
        let text = text(&answer(&sources, &["kernel.panic"]));
        assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}[2J"), "{text}");
    }
}
