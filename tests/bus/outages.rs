// SPDX-License-Identifier: Apache-2.0
//! A bus that is absent, dies, hangs, or has given the name away.

use std::time::{Duration, Instant};

use nodeguard::bus::client;
use nodeguard::bus::{BusAddress, NAME, Notice};
use nodeguard::model::State;
use tokio::sync::mpsc::error::TrySendError;

use crate::main_loop::{Ear, MainLoop, correction, finding, report, within};
use crate::private_bus::{PATIENCE, Policy, PrivateBus};

#[tokio::test]
async fn a_bus_that_was_killed_and_comes_back_is_served_again() {
    let mut bus = PrivateBus::start(Policy::Open);
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.connected().await;

    bus.kill();
    main_loop.absent("").await;
    main_loop.publish(report(State::Ready, vec![], vec![]), 2);
    bus.start_again();
    main_loop.wake.notify_one();

    main_loop.connected().await;
    let answer = client::get_report(&bus.address(), PATIENCE).await.unwrap();
    assert!(answer.contains("\"state\":\"ready\""), "{answer}");
    // And signals go out again.
    let listener = bus.connect().await;
    let mut ear = Ear::new(&listener).await;
    main_loop.notices.try_send(Notice::Ready).unwrap();
    assert_eq!(ear.next().await.header().member().unwrap().as_str(), "Ready");
}

#[tokio::test]
async fn a_bus_that_comes_late_is_found_without_a_wake() {
    let mut bus = PrivateBus::start(Policy::Open);
    bus.kill();
    let mut main_loop = MainLoop::start(bus.address(), 1);
    let reason = main_loop.absent("connect to").await;
    assert!(reason.contains("No such file"), "{reason}");

    bus.start_again();

    main_loop.connected().await;
}

#[tokio::test]
async fn notices_of_the_time_without_a_bus_are_not_told_afterwards() {
    let mut bus = PrivateBus::start(Policy::Open);
    bus.kill();
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.absent("connect to").await;

    let taken = async {
        for _ in 0..1000 {
            main_loop.notices.send(Notice::Corrected(correction())).await.unwrap();
        }
    };
    within("a thousand notices are taken off the queue", taken).await;
    // All of them, before the bus is there to hear one.
    let room = main_loop.notices.max_capacity();
    within("the queue is empty", main_loop.notices.reserve_many(room)).await.unwrap();

    bus.start_again();
    let listener = bus.connect().await;
    let mut ear = Ear::new(&listener).await;
    main_loop.wake.notify_one();
    main_loop.connected().await;
    main_loop.notices.try_send(Notice::Ready).unwrap();
    assert_eq!(ear.next().await.header().member().unwrap().as_str(), "Ready");
}

#[tokio::test]
async fn a_name_that_somebody_has_is_a_status_and_is_ours_once_it_is_free() {
    let bus = PrivateBus::start(Policy::Open);
    let mut first = MainLoop::start(bus.address(), 1);
    first.connected().await;

    let mut second = MainLoop::start(bus.address(), 1);
    let reason = second.absent("taken").await;
    assert!(reason.contains(NAME), "{reason}");
    assert!(reason.contains(&format!("pid {}", std::process::id())), "{reason}");
    assert_eq!(*first.status.borrow(), nodeguard::bus::BusStatus::Connected);

    drop(first);
    second.connected().await;
}

#[tokio::test]
async fn a_policy_that_refuses_the_name_is_a_status_that_says_what_to_look_at() {
    // The package's policy lets only root have the name, so take it away from root.
    let mut bus = PrivateBus::start(Policy::Packaged);
    bus.kill();
    let conf = bus.dir().join("bus.conf");
    let rules = std::fs::read_to_string(&conf).unwrap();
    let (before, rest) = rules.split_once("<include>").unwrap();
    let (_, after) = rest.split_once("</include>").unwrap();
    std::fs::write(&conf, format!("{before}{after}")).unwrap();
    bus.start_again();

    let mut main_loop = MainLoop::start(bus.address(), 1);

    let reason = main_loop.absent("policy").await;
    assert!(reason.contains("org.nodeguard.NodeGuard1.conf"), "{reason}");
}

#[tokio::test]
async fn a_bus_that_hangs_never_holds_up_the_main_loop() {
    let bus = PrivateBus::start(Policy::Open);
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.connected().await;
    bus.freeze();

    // More than the socket can hold, in reports and in notices.
    let start = Instant::now();
    let mut dropped = 0;
    for second in 2..2002 {
        let large = finding(&format!("{second} {}", "x".repeat(8000)));
        main_loop.publish(report(State::Fatal, vec![large.clone()], vec![]), second);
        match main_loop.notices.try_send(Notice::Fatal(large)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => dropped += 1,
            Err(TrySendError::Closed(_)) => panic!("the bus task ended"),
        }
        tokio::task::yield_now().await;
    }
    assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
    assert!(dropped > 0, "the bus read on: it was not frozen");
    main_loop.absent("has read nothing").await;
    let room = main_loop.notices.max_capacity();
    within("the queue is empty", main_loop.notices.reserve_many(room)).await.unwrap();

    bus.thaw();
    main_loop.connected().await;
    let answer = client::get_report(&bus.address(), PATIENCE).await.unwrap();
    assert!(answer.contains("2001 xxx"), "not the last report");
}

#[tokio::test]
async fn a_bus_that_hangs_when_it_is_connected_to_is_given_up_and_tried_again() {
    let bus = PrivateBus::start(Policy::Open);
    bus.freeze();
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.absent("has not answered").await;

    bus.thaw();
    main_loop.wake.notify_one();
    main_loop.connected().await;
}

#[tokio::test]
async fn the_bus_task_ends_with_the_main_loop_with_and_without_a_bus() {
    let bus = PrivateBus::start(Policy::Open);
    for address in [bus.address(), BusAddress::Socket("/nonexistent/socket".into())] {
        let (snapshots, snapshots_rx) = tokio::sync::watch::channel(std::sync::Arc::new(
            nodeguard::bus::Snapshot::starting(crate::main_loop::at(1)),
        ));
        let (notices, notices_rx) = tokio::sync::mpsc::channel(1);
        let (requests, _requests_rx) = tokio::sync::mpsc::channel(1);
        let absent = nodeguard::bus::BusStatus::Absent { reason: "not yet".into() };
        let (status, mut seen) = tokio::sync::watch::channel(absent);
        let wake = std::sync::Arc::default();
        let task = tokio::spawn(nodeguard::bus::serve(
            address,
            snapshots_rx,
            notices_rx,
            requests,
            status,
            wake,
        ));
        within("a status", seen.changed()).await.unwrap();
        drop((snapshots, notices));
        within("the bus task ends", task).await.unwrap();
    }
}
