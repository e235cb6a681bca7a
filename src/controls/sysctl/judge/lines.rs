// SPDX-License-Identifier: Apache-2.0
//! Lines of sysctl.d that do something else than they seem to: text behind a number, which the kernel
//! does not look at, and lines that name a held parameter and set nothing. All of them are notes:
//! what wins at boot is judged in `overridden.rs`, whatever such lines say.

use super::{Wanted, is_fixed};
use crate::model::{Code, Finding, Origin, Planned, escaped};
use crate::sysctl_d::{Assigned, Key, Sources, misread, value};

/// Lines that are told; the rest is counted.
const TOLD: usize = 8;

/// Notes for the parameters that are held. `winners`: what sets each of them at boot.
pub fn judge(sources: &Sources, wanted: &[Wanted], winners: &[Option<Assigned>]) -> Vec<Planned> {
    let mut out = Vec::new();
    for (want, winner) in wanted.iter().zip(winners) {
        if let Some(winner) = winner.as_ref().filter(|winner| want.is_set_by(&winner.value)) {
            let text = value::trailing(&winner.value, is_fixed(&want.key));
            out.extend((!text.is_empty()).then(|| behind(want, &winner.origin, text)));
        }
    }
    let keys = wanted.iter().filter_map(|want| Some((Key::parse(&want.key).ok()?, want)));
    let (keys, wanted): (Vec<Key>, Vec<&Wanted>) = keys.unzip();
    for file in sources.read_at_boot().chain(&sources.sysctl_conf) {
        for (at, line) in misread(file.text(), &keys) {
            let origin = Origin::at(&file.path, line.line);
            out.push(no_assignment(wanted[at], &origin, &line.text));
        }
    }
    let more = out.len().saturating_sub(TOLD);
    out.truncate(TOLD);
    if let (Some(last), 1..) = (out.last_mut(), more) {
        last.message += &format!(" (and {more} more such lines)");
    }
    out.into_iter().map(Planned::only).collect()
}

fn behind(want: &Wanted, origin: &Origin, text: &str) -> Finding {
    let Wanted { key, value, .. } = want;
    let text = escaped(text);
    Finding::new(Code::SysctlMisread, key.clone())
        .expected(format!("{key} = {value}"))
        .actual(format!("{key} = {value} {text}"))
        .origin(origin.clone())
        .message(format!(
            "{origin} has `{text}` behind the value of {key}: the kernel reads the number and stops \
             at the space, so that it is set to {value}; sysctl.d has no comments behind a value"
        ))
        .remedy("write the comment in a line of its own")
}

fn no_assignment(want: &Wanted, origin: &Origin, text: &str) -> Finding {
    let Wanted { key, value, .. } = want;
    let text = escaped(text);
    Finding::new(Code::SysctlMisread, key.clone())
        .expected(format!("{key} = {value}"))
        .actual(text.clone())
        .origin(origin.clone())
        .message(format!(
            "{origin} names {key} and does not set it: `{text}` is no `key = value`, and every loader \
             passes over it"
        ))
        .remedy(format!("make it `{key} = {value}`, or remove the line"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Policy, Setting};
    use crate::controls::sysctl::judge::{DROP_IN, overridden};
    use crate::model::Severity;
    use crate::sysctl_d::fixture::sources;

    fn wanted() -> Vec<Wanted> {
        let want = |(key, value): (&str, &str)| Wanted {
            key: key.into(),
            value: value.into(),
            source: Origin::file("built-in baseline"),
            policy: Setting::built_in(Policy::Enforce),
        };
        [("kernel.panic", "10"), ("vm.overcommit_memory", "1"), ("kernel.printk", "4 4 1 7")]
            .map(want)
            .to_vec()
    }

    const OURS: (&str, &str) =
        (DROP_IN, "kernel.panic=10\nvm.overcommit_memory=1\nkernel.printk=4 4 1 7\n");

    /// What is told of a later file, and whether it defeats our drop-in.
    fn found(text: &str) -> (Vec<Option<Origin>>, usize) {
        let sources = sources(&[OURS, ("/etc/sysctl.d/99-a.conf", text)]);
        let (defeated, winners) = overridden::judge(&sources, &wanted());
        let notes = judge(&sources, &wanted(), &winners);
        assert!(notes.iter().all(|note| note.finding.severity == Severity::Note), "{notes:?}");
        let origins = notes.into_iter().map(|note| note.finding.origin).collect();
        (origins, defeated.len())
    }

    #[test]
    fn text_behind_a_right_value_is_a_note_and_no_warning() {
        for line in [
            "vm.overcommit_memory=1 # do not check",
            "vm.overcommit_memory = 1\t; x",
            "vm.overcommit_memory=0x1 always",
            "vm/overcommit_memory = 01 2",
            "kernel.printk = 4 4 1 7 # quiet",
        ] {
            let at = Origin::at("/etc/sysctl.d/99-a.conf", 1);
            assert_eq!(found(line), (vec![Some(at)], 0), "{line}");
        }
        for line in ["vm.overcommit_memory=1", "vm.overcommit_memory=0x1", "kernel.panic = 012"] {
            assert_eq!(found(line), (vec![], 0), "{line}");
        }
    }

    /// systemd-sysctl writes one value for each parameter: where the kernel refuses the last one, the
    /// one of our drop-in is not written before it.
    #[test]
    fn a_value_that_the_kernel_takes_for_another_or_refuses_defeats_the_drop_in() {
        for line in [
            "vm.overcommit_memory=0 # 1",
            "vm.overcommit_memory=1# always",
            "vm.overcommit_memory=1;",
            "vm.overcommit_memory=\"1\"",
            "vm.overcommit_memory=+1",
            "kernel.panic=010",
            "kernel.printk = 4 4 1",
        ] {
            assert_eq!(found(line), (vec![], 1), "{line}");
        }
    }

    #[test]
    fn a_line_that_is_no_assignment_is_a_note_with_its_place_and_many_are_counted() {
        let (origins, defeated) = found("\nvm.overcommit_memory: 1\nsysctl -w kernel.panic=10\n");
        let lines: Vec<_> = origins.into_iter().map(|at| at.unwrap().line.unwrap()).collect();
        assert_eq!((lines, defeated), (vec![2, 3], 0));
        let many = sources(&[("/etc/sysctl.conf", &"kernel.panic: 10\n".repeat(TOLD + 3))]);
        let notes = judge(&many, &wanted(), &[]);
        assert_eq!(notes.len(), TOLD);
        let last = &notes[TOLD - 1].finding.message;
        assert!(last.ends_with("(and 3 more such lines)"), "{last}");
    }
}
