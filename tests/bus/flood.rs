// SPDX-License-Identifier: Apache-2.0
//! Others on the bus send more than anybody needs, and do not read.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nodeguard::bus::{NAME, Notice, PATH, Request};
use nodeguard::model::State;
use zbus::Message;
use zbus::message::Flags;

use crate::main_loop::{Ear, MainLoop, correction, report, within};
use crate::private_bus::{Policy, PrivateBus};

/// A connection of somebody who sends and never reads.
struct Mute {
    stream: UnixStream,
    /// What the bus has not yet taken of the last message.
    left: Vec<u8>,
}

impl Mute {
    fn connect(bus: &PrivateBus) -> Self {
        let mut stream = UnixStream::connect(bus.socket()).unwrap();
        let uid = rustix::process::geteuid().as_raw().to_string();
        let uid: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        write!(stream, "\0AUTH EXTERNAL {uid}\r\n").unwrap();
        assert!(stream.read(&mut [0; 256]).unwrap() > 0);
        stream.write_all(b"BEGIN\r\n").unwrap();
        let hello = Message::method_call("/org/freedesktop/DBus", "Hello")
            .destination("org.freedesktop.DBus")
            .interface("org.freedesktop.DBus")
            .build(&())
            .unwrap();
        stream.write_all(hello.data()).unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.set_nonblocking(true).unwrap();
        Self { stream, left: Vec::new() }
    }

    /// Sends until the bus takes no more; `false`: it has closed the connection.
    fn flood(&mut self, next: impl Fn() -> Message, most: usize) -> bool {
        for _ in 0..most {
            if self.left.is_empty() {
                self.left = next().data().to_vec();
            }
            match self.stream.write(&self.left) {
                Ok(written) => drop(self.left.drain(..written)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// All of one message, however long the bus takes to take it.
    async fn send(&mut self, message: Message) {
        self.left = message.data().to_vec();
        let sent = async {
            while !self.left.is_empty() {
                match self.stream.write(&self.left) {
                    Ok(written) => drop(self.left.drain(..written)),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => tokio::task::yield_now().await,
                    Err(e) => panic!("the bus closed the connection: {e}"),
                }
            }
        };
        within("a message leaves", sent).await;
    }
}

fn call(member: &str) -> zbus::message::Builder<'_> {
    Message::method_call(PATH, member).destination(NAME).interface(NAME)
}

/// What one who reads is answered.
async fn ask(connection: &zbus::Connection) -> String {
    let reply = connection.call_method(Some(NAME), PATH, Some(NAME), "GetReport", &());
    within("an answer", reply).await.unwrap().body().deserialize().unwrap()
}

#[tokio::test]
async fn a_message_larger_than_any_that_is_needed_is_dropped_and_the_next_one_is_answered() {
    let bus = PrivateBus::start(Policy::Open);
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.connected().await;
    let reader = bus.connect().await;
    let mut mute = Mute::connect(&bus);
    let long = "x".repeat(4 * 1024 * 1024);
    for message in [
        call("GetReport").build(&long).unwrap(),
        // In the header, and of a length that is no multiple of eight.
        Message::method_call(format!("/{}", &long[..2_000_003]), "GetReport")
            .destination(NAME)
            .interface(NAME)
            .build(&())
            .unwrap(),
        Message::signal(PATH, NAME, "Any").destination(NAME).build(&long).unwrap(),
        call("GetReport").build(&&long[..16 * 1024]).unwrap(),
    ] {
        mute.send(message).await;
        assert!(ask(&reader).await.contains("\"state\":\"starting\""));
    }
    assert_eq!(*main_loop.status.borrow(), nodeguard::bus::BusStatus::Connected);
}

#[tokio::test]
async fn signals_and_answers_that_nobody_asked_for_change_nothing() {
    let bus = PrivateBus::start(Policy::Open);
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.connected().await;
    let reader = bus.connect().await;
    let mut mute = Mute::connect(&bus);
    for n in 1..200 {
        mute.send(Message::signal(PATH, NAME, "Any").destination(NAME).build(&()).unwrap()).await;
        // Whose serial number is one of the daemon's own: as if the bus had told that this is root.
        let asked = Message::method_call("/", "A").build(&()).unwrap();
        let mut header = asked.header();
        header.primary_mut().set_serial_num(n.try_into().unwrap());
        let answer = Message::method_return(&header).destination(NAME).build(&0u32).unwrap();
        mute.send(answer).await;
    }
    assert!(ask(&reader).await.contains("starting"));
    assert_eq!(*main_loop.status.borrow(), nodeguard::bus::BusStatus::Connected);
}

#[tokio::test]
async fn what_nobody_waits_for_is_not_answered_but_a_pass_that_root_asks_for_is_made() {
    let bus = PrivateBus::start(Policy::Open);
    let mut main_loop = MainLoop::start(bus.address(), 4);
    main_loop.connected().await;
    let mut mute = Mute::connect(&bus);
    for _ in 0..500 {
        let quiet = call("GetReport").with_flags(Flags::NO_REPLY_EXPECTED);
        mute.send(quiet.build(&()).unwrap()).await;
    }
    let quiet = call("Check").with_flags(Flags::NO_REPLY_EXPECTED);
    mute.send(quiet.build(&()).unwrap()).await;

    let request = within("a request", main_loop.requests.recv()).await.unwrap();
    let Request::Check(answer) = request else { panic!("asked for {request:?}") };
    answer.send(std::sync::Arc::new(report(State::Ready, vec![], vec![]))).unwrap();
    let reader = bus.connect().await;
    assert!(ask(&reader).await.contains("starting"));
    // Nothing came back to the one who wanted nothing.
    let mut bytes = vec![0; 65536];
    let read = mute.stream.read(&mut bytes).unwrap_or(0);
    let answered = bytes[..read].windows(7).any(|w| w == b"\"state\"");
    assert!(!answered, "an answer came");
}

#[tokio::test]
async fn signals_are_heard_during_a_flood_and_one_who_reads_is_answered_after_it() {
    let bus = PrivateBus::start(Policy::Open);
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.connected().await;
    let listener = bus.connect().await;
    let mut ear = Ear::new(&listener).await;
    let mut mutes: Vec<_> = (0..40).map(|_| Mute::connect(&bus)).collect();
    let started = Instant::now();
    let mut heard = 0;
    while started.elapsed() < Duration::from_secs(3) {
        for (n, mute) in mutes.iter_mut().enumerate() {
            let member = ["GetReport", "Nothing", "State"][n % 3];
            let open = mute.flood(|| call(member).build(&()).unwrap(), 64);
            assert!(open, "the bus closed a connection");
        }
        main_loop.notices.try_send(Notice::Corrected(correction())).unwrap();
        let signal = ear.next().await;
        assert_eq!(signal.header().member().unwrap().as_str(), "DriftCorrected");
        heard += 1;
    }
    assert!(heard > 3, "heard {heard} signals in {:?}", started.elapsed());
    drop(mutes);
    // What the bus had queued comes first.
    let answered = async {
        let limit = Duration::from_secs(2);
        while tokio::time::timeout(limit, ask(&bus.connect().await)).await.is_err() {}
    };
    within("an answer", answered).await;
    assert_eq!(*main_loop.status.borrow(), nodeguard::bus::BusStatus::Connected);
}

#[tokio::test]
async fn one_who_asks_for_more_than_his_share_is_told_so() {
    let bus = PrivateBus::start(Policy::Open);
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.connected().await;
    let long = crate::main_loop::finding(&"x".repeat(60_000));
    main_loop.publish(report(State::Fatal, vec![long], vec![]), 2);
    let reader = bus.connect().await;
    let refused = async {
        loop {
            let call = reader.call_method(Some(NAME), PATH, Some(NAME), "GetReport", &());
            if let Err(e) = call.await {
                return e.to_string();
            }
        }
    };
    let words = within("a refusal", refused).await;
    assert!(words.contains("report.json"), "{words}");
    // Another one is answered all the same.
    assert!(ask(&bus.connect().await).await.contains("fatal"));
}
