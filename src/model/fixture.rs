// SPDX-License-Identifier: Apache-2.0
//! What the tests of more than one surface show.

use super::{Code, ControlId, Correction, Process, Writer};

/// A kernel parameter that a known process had changed.
pub fn written() -> Correction {
    let process = Process {
        pid: 812,
        comm: "sysctl".into(),
        exe: Some("/usr/sbin/sysctl".into()),
        unit: Some("rogue.service".into()),
    };
    Correction {
        control: ControlId::Sysctl.into(),
        code: Code::SysctlLive.into(),
        subject: "kernel.panic".into(),
        from: "0".into(),
        to: "10".into(),
        object: None,
        before: Some("10".into()),
        writer: Some(Writer { processes: vec![process], unknown: None }),
    }
}
