// SPDX-License-Identifier: Apache-2.0
//! The codes of the control `nodeguard-config`, and the one that any control has.

use super::Severity::{Drift, Fatal, Note, Warning};
use super::{About, ControlId, WhenFatal};

const NODEGUARD_CONFIG: About = About::of(&[ControlId::NodeguardConfig]);

pub(super) const OWN_CONFIG: About = About {
    name: "own-config",
    severities: &[Warning],
    cause: "An error in nodeguard's own configuration; the last whole one stays in force. At a first start \
            nothing is corrected where the mode cannot be told. A code in `[gate] warn` that is none, \
            or is never fatal, is left out, and all else is in force.",
    remedy: "Correct the line that the finding names; `nodeguard config` shows what is in force.",
    ..NODEGUARD_CONFIG
};

pub(super) const OWN_CONFIG_UNUSED: About = About {
    name: "own-config-unused",
    severities: &[Warning],
    cause: "A policy for a kernel parameter that is not held, and so without effect.",
    remedy: "Correct the name, or declare the parameter in `[sysctl.extra]`.",
    ..NODEGUARD_CONFIG
};

pub(super) const REPORT_MODE: About = About {
    name: "report-mode",
    severities: &[Note],
    cause: "`mode = \"report\"`: the node is judged and told of, nothing on it is changed, and RKE2 \
            starts whatever is found.",
    remedy: "When what is told is what you want done, set `mode = \"enforce\"` in the line that the \
             finding names.",
    ..NODEGUARD_CONFIG
};

pub(super) const FINDINGS_LEFT_OUT: About = About {
    name: "findings-left-out",
    controls: &ControlId::ALL,
    severities: &[Note, Warning, Drift, Fatal],
    fatal: WhenFatal::AsCounted,
    cause: "A report has 64 KiB at most, and there were more findings than fit; the severest are \
            listed. This one counts the others of its control and weighs as much as the worst of \
            them.",
    remedy: "Mend what is listed; then the others are.",
    ..NODEGUARD_CONFIG
};
