// SPDX-License-Identifier: Apache-2.0
//! What the objects show, say and answer.

use std::collections::HashMap;

use nodeguard::bus::{CONTROL_INTERFACE, NAME, Notice, PATH, control_path};
use nodeguard::model::{ControlId, Correction, Process, State, Writer};
use zbus::OwnedVariant;

use crate::main_loop::{Ear, MainLoop, changed, correction, finding, report, within};
use crate::private_bus::{Policy, PrivateBus};

const GOLDEN: &str = "packaging/dbus/org.nodeguard.NodeGuard1.xml";

async fn properties(
    connection: &zbus::Connection,
    path: &str,
    interface: &str,
) -> HashMap<String, OwnedVariant> {
    let all = "org.freedesktop.DBus.Properties";
    let reply = connection.call_method(Some(NAME), path, Some(all), "GetAll", &interface);
    within("GetAll", reply).await.unwrap().body().deserialize().unwrap()
}

fn shown(properties: &HashMap<String, OwnedVariant>, name: &str) -> String {
    properties[name].to_string()
}

#[tokio::test]
async fn the_properties_are_those_of_the_last_report() {
    let bus = PrivateBus::start(Policy::Open);
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.connected().await;
    let caller = bus.connect().await;

    let before = properties(&caller, PATH, NAME).await;
    assert_eq!(shown(&before, "State"), "\"starting\"");
    assert_eq!(shown(&before, "Ready"), "false");
    assert_eq!(shown(&before, "StateSince"), "uint64 1000000");

    main_loop.publish(report(State::Fatal, vec![finding("0")], vec![correction()]), 2);

    let node = properties(&caller, PATH, NAME).await;
    assert_eq!(shown(&node, "State"), "\"fatal\"");
    assert_eq!(shown(&node, "Role"), "\"server\"");
    assert_eq!(shown(&node, "Mode"), "\"enforce\"");
    assert_eq!(shown(&node, "Profile"), "\"cis\"");
    assert_eq!(shown(&node, "Rke2Version"), "\"1.34.1\"");
    assert_eq!(shown(&node, "Version"), format!("{:?}", env!("CARGO_PKG_VERSION")));
    assert_eq!(shown(&node, "StateSince"), "uint64 2000000");
    assert_eq!(shown(&node, "Corrections"), "uint64 1");

    let sysctl = properties(&caller, &control_path(ControlId::Sysctl), CONTROL_INTERFACE).await;
    assert_eq!(shown(&sysctl, "Id"), "\"sysctl\"");
    assert_eq!(shown(&sysctl, "State"), "\"fatal\"");
    assert_eq!(shown(&sysctl, "CisIds"), "[\"4.2.6\"]");
    assert_eq!(shown(&sysctl, "Corrections"), "uint64 1");
    assert_eq!(sysctl["Findings"].value_signature().to_string(), "a(ssssssss)");
    let findings = shown(&sysctl, "Findings");
    assert!(findings.contains("/etc/sysctl.d/99-stig.conf:3"), "{findings}");

    let account = control_path(ControlId::EtcdAccount);
    let account = properties(&caller, &account, CONTROL_INTERFACE).await;
    assert_eq!(shown(&account, "Id"), "\"etcd-account\"");
    assert_eq!(shown(&account, "Corrections"), "uint64 0");
}

#[tokio::test]
async fn a_new_report_announces_exactly_the_properties_that_differ() {
    let bus = PrivateBus::start(Policy::Open);
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.connected().await;
    let listener = bus.connect().await;
    let mut ear = Ear::new(&listener).await;
    let sysctl = control_path(ControlId::Sysctl);

    main_loop.publish(report(State::Degraded, vec![finding("0")], vec![]), 2);
    let (path, interface, names) = changed(&ear.next().await);
    assert_eq!((path.as_str(), interface.as_str()), (PATH, NAME));
    assert_eq!(names, ["Profile", "Rke2Version", "Role", "State", "StateSince"]);
    // The three controls that are not in the report turn from starting to ready.
    let mut controls = Vec::new();
    for _ in ControlId::ALL {
        controls.push(changed(&ear.next().await));
    }
    let of_sysctl = controls.iter().find(|(path, ..)| *path == sysctl).unwrap();
    assert_eq!(of_sysctl.1, CONTROL_INTERFACE);
    assert_eq!(of_sysctl.2, ["Findings", "State"]);
    let others = controls.iter().filter(|(path, ..)| *path != sysctl);
    assert!(others.into_iter().all(|(.., names)| *names == ["State"]), "{controls:?}");

    main_loop.publish(report(State::Degraded, vec![finding("0")], vec![correction()]), 3);
    assert_eq!(changed(&ear.next().await).2, ["Corrections"]);
    assert_eq!(
        changed(&ear.next().await),
        (sysctl, CONTROL_INTERFACE.into(), vec!["Corrections".into()])
    );

    // A report that says nothing new is silent: the next thing heard is the notice after it.
    main_loop.publish(report(State::Degraded, vec![finding("0")], vec![]), 4);
    within("a second snapshot is seen", tokio::task::yield_now()).await;
    main_loop.notices.try_send(Notice::Ready).unwrap();
    assert_eq!(ear.next().await.header().member().unwrap().as_str(), "Ready");
}

#[tokio::test]
async fn every_notice_becomes_its_signal() {
    let bus = PrivateBus::start(Policy::Open);
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.connected().await;
    let listener = bus.connect().await;
    let mut ear = Ear::new(&listener).await;
    let mut fatal = finding("a\0b");
    fatal.message = "nul \0 in a message".into();

    main_loop.notices.try_send(Notice::Ready).unwrap();
    main_loop.notices.try_send(Notice::Fatal(fatal)).unwrap();
    let process =
        Process { pid: 812, comm: "sysctl".into(), exe: None, unit: Some("rogue.service".into()) };
    let certain = Writer { processes: vec![process], unknown: None };
    let written = Correction { before: Some("0".into()), writer: Some(certain), ..correction() };
    main_loop.notices.try_send(Notice::Corrected(written)).unwrap();
    main_loop
        .notices
        .try_send(Notice::Contested {
            control: ControlId::Sysctl,
            subject: "kernel.panic".into(),
            ours: "10".into(),
            theirs: "0".into(),
            writer: Some(Writer::unknown("it ended")),
        })
        .unwrap();
    let ended = Notice::ContestEnded { control: ControlId::Sysctl, subject: "kernel.panic".into() };
    main_loop.notices.try_send(ended).unwrap();

    let ready = ear.next().await;
    assert_eq!(ready.header().member().unwrap().as_str(), "Ready");
    assert_eq!(ready.header().interface().unwrap().as_str(), NAME);
    assert_eq!(ready.header().path().unwrap().as_str(), PATH);

    let fatal = ear.next().await;
    assert_eq!(fatal.header().member().unwrap().as_str(), "FatalMisconfiguration");
    let body = fatal.body();
    let (control, code, message, details): (String, String, String, HashMap<String, OwnedVariant>) =
        body.deserialize().unwrap();
    assert_eq!((control.as_str(), code.as_str()), ("sysctl", "sysctl-live"));
    assert_eq!(message, "nul \u{fffd} in a message");
    assert_eq!(details["actual"].to_string(), "\"a\u{fffd}b\"");
    assert_eq!(details["origin"].to_string(), "\"/etc/sysctl.d/99-stig.conf:3\"");
    let mut keys: Vec<_> = details.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["actual", "expected", "origin", "remedy", "severity", "subject"]);

    let corrected = ear.next().await;
    assert_eq!(corrected.header().member().unwrap().as_str(), "DriftCorrected");
    let body = corrected.body();
    type Corrected = (String, String, String, String, String, HashMap<String, OwnedVariant>);
    let words: Corrected = body.deserialize().unwrap();
    let expected = ("sysctl", "sysctl-live", "vm.panic_on_oom", "1", "0");
    let (control, code, subject, from, to, details) = &words;
    assert_eq!((&**control, &**code, &**subject, &**from, &**to), expected);
    let mut told: Vec<_> =
        details.iter().map(|(key, value)| format!("{key} {}", **value)).collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "before \"0\"",
            "comm \"sysctl\"",
            "pid uint32 812",
            "unit \"rogue.service\"",
            "writer \"written by sysctl[812] of rogue.service\"",
        ]
    );

    let contested = ear.next().await;
    assert_eq!(contested.header().member().unwrap().as_str(), "Contested");
    let body = contested.body();
    let words: (String, String, String, String, HashMap<String, OwnedVariant>) =
        body.deserialize().unwrap();
    let (control, subject, ours, theirs, details) = &words;
    assert_eq!((&**control, &**subject, &**ours, &**theirs), ("sysctl", "kernel.panic", "10", "0"));
    let told: Vec<_> = details.iter().map(|(key, value)| format!("{key} {}", **value)).collect();
    assert_eq!(told, ["writer \"writer unknown: it ended\""]);

    let ended = ear.next().await;
    assert_eq!(ended.header().member().unwrap().as_str(), "ContestEnded");
    let words: (String, String) = ended.body().deserialize().unwrap();
    assert_eq!(words, ("sysctl".into(), "kernel.panic".into()));
}

/// The interfaces as the daemon describes them. `NODEGUARD_UPDATE_GOLDEN=1` writes the file anew.
#[tokio::test]
async fn the_interface_file_of_the_package_is_what_the_daemon_exports() {
    let bus = PrivateBus::start(Policy::Open);
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.connected().await;
    let caller = bus.connect().await;
    let mut blocks = String::new();
    for (path, interface) in
        [(PATH.to_owned(), NAME), (control_path(ControlId::Sysctl), CONTROL_INTERFACE)]
    {
        let introspect = "org.freedesktop.DBus.Introspectable";
        let call =
            caller.call_method(Some(NAME), path.as_str(), Some(introspect), "Introspect", &());
        let xml: String = within("Introspect", call).await.unwrap().body().deserialize().unwrap();
        blocks.push_str(&interface_block(&xml, interface));
    }
    let exported = format!(
        "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n \
         \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n\
         <!-- SPDX-License-Identifier: Apache-2.0 -->\n<node>\n{blocks}</node>\n"
    );

    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    if std::env::var_os("NODEGUARD_UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &exported).unwrap();
    }
    let checked_in = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        checked_in == exported,
        "{GOLDEN} is not what the daemon exports; if the change is meant, run the tests again with \
         NODEGUARD_UPDATE_GOLDEN=1. Exported:\n{exported}"
    );
}

/// `<interface name="…">` to `</interface>`, with its indentation and its line ends.
fn interface_block(xml: &str, name: &str) -> String {
    let opening = format!("<interface name=\"{name}\">");
    let start = xml.find(&opening).unwrap_or_else(|| panic!("no {name} in {xml}"));
    let start = xml[..start].rfind('\n').map_or(0, |n| n + 1);
    let end = xml[start..].find("</interface>").map(|n| start + n + "</interface>".len()).unwrap();
    format!("{}\n", &xml[start..end])
}
