// SPDX-License-Identifier: Apache-2.0
//! Who may ask what, and what the client makes of the answers.

use std::fs;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nodeguard::bus::client::{self, ClientError};
use nodeguard::bus::{BusAddress, MAX_REQUESTS, NAME, PATH, Request};
use nodeguard::model::State;
use tokio::net::UnixListener;

use crate::main_loop::{MainLoop, report, within};
use crate::private_bus::{PATIENCE, Policy, PrivateBus, as_nobody};

#[tokio::test]
async fn the_client_reads_the_last_report() {
    let bus = PrivateBus::start(Policy::Packaged);
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.connected().await;
    main_loop.publish(report(State::Ready, vec![], vec![]), 2);

    let answer = client::get_report(&bus.address(), PATIENCE).await.unwrap();

    assert_eq!(answer, serde_json::to_string(&report(State::Ready, vec![], vec![])).unwrap());
}

#[tokio::test]
async fn a_pass_that_root_asks_for_is_made_by_the_main_loop() {
    let bus = PrivateBus::start(Policy::Packaged);
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.connected().await;
    let address = bus.address();
    let asked = tokio::spawn(async move { client::reconcile(&address, PATIENCE).await });

    let request = within("a request", main_loop.requests.recv()).await.unwrap();
    let Request::Reconcile(answer) = request else { panic!("asked for {request:?}") };
    answer.send(Arc::new(report(State::Degraded, vec![], vec![]))).unwrap();

    let answer = within("the answer", asked).await.unwrap().unwrap();
    assert!(answer.contains("\"state\":\"degraded\""), "{answer}");

    let address = bus.address();
    let asked = tokio::spawn(async move { client::check(&address, PATIENCE).await });
    let request = within("a request", main_loop.requests.recv()).await.unwrap();
    assert!(matches!(request, Request::Check(_)), "asked for {request:?}");
    drop(request);
    let error = within("the answer", asked).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("nodeguard is stopping"), "{error}");
}

#[tokio::test]
async fn nobody_may_look_but_not_ask_for_a_pass_by_the_policy_of_the_package() {
    let bus = PrivateBus::start(Policy::Packaged);
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.connected().await;

    let state = bus.busctl_as_nobody(&["get-property", NAME, PATH, NAME, "State"]).await;
    assert_eq!(String::from_utf8_lossy(&state.stdout), "s \"starting\"\n");
    assert!(bus.busctl_as_nobody(&["call", NAME, PATH, NAME, "GetReport"]).await.status.success());
    assert!(bus.busctl_as_nobody(&["introspect", NAME, PATH]).await.status.success());
    for method in ["Check", "Reconcile"] {
        let refused = bus.busctl_as_nobody(&["call", NAME, PATH, NAME, method]).await;
        let words = String::from_utf8_lossy(&refused.stderr).to_lowercase();
        assert!(!refused.status.success() && words.contains("access denied"), "{method}: {words}");
    }
    assert!(main_loop.requests.try_recv().is_err(), "a request came through");
}

#[tokio::test]
async fn the_daemon_itself_refuses_nobody_a_pass_where_the_bus_does_not() {
    let bus = PrivateBus::start(Policy::Open);
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.connected().await;

    for method in ["Check", "Reconcile"] {
        let refused = bus.dbus_send_as_nobody(&format!("{NAME}.{method}")).await;
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(words.contains("AccessDenied"), "{method}: {words}");
        assert!(words.contains("only root") && words.contains("uid 65534"), "{method}: {words}");
    }
    assert!(main_loop.requests.try_recv().is_err(), "a request came through");
}

#[tokio::test]
async fn of_a_flood_of_requests_only_so_many_wait_and_the_rest_is_refused() {
    // Fewer than the 128 replies a bus lets one connection wait for.
    const CALLS: usize = 100;
    let bus = PrivateBus::start(Policy::Open);
    let mut main_loop = MainLoop::start(bus.address(), CALLS);
    main_loop.connected().await;
    let caller = bus.connect().await;

    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let caller = caller.clone();
            tokio::spawn(async move {
                caller.call_method(Some(NAME), PATH, Some(NAME), "Check", &()).await
            })
        })
        .collect();
    let mut waiting = Vec::new();
    while waiting.len() < MAX_REQUESTS {
        waiting.push(within("a request", main_loop.requests.recv()).await.unwrap());
    }
    // Everything that was refused has been refused before any of the 16 is answered.
    let refused = async {
        while calls.iter().filter(|call| call.is_finished()).count() < CALLS - MAX_REQUESTS {
            tokio::task::yield_now().await;
        }
    };
    within("the rest is refused", refused).await;
    assert!(main_loop.requests.try_recv().is_err(), "more requests came through");
    for request in waiting {
        let Request::Check(answer) = request else { panic!("asked for {request:?}") };
        answer.send(Arc::new(report(State::Ready, vec![], vec![]))).unwrap();
    }

    let mut answered = 0;
    for call in calls {
        match within("an answer", call).await.unwrap() {
            Ok(_) => answered += 1,
            Err(e) => assert!(e.to_string().contains("16 requests"), "{e}"),
        }
    }
    assert_eq!(answered, MAX_REQUESTS);
}

#[tokio::test]
async fn without_a_bus_and_without_a_daemon_the_client_says_which_is_missing() {
    let nowhere = BusAddress::Socket("/nonexistent/socket".into());
    let error = client::get_report(&nowhere, PATIENCE).await.unwrap_err();
    assert!(matches!(error, ClientError::NoBus(_)), "{error:?}");
    assert!(error.to_string().contains("/nonexistent/socket"), "{error}");

    let bus = PrivateBus::start(Policy::Open);
    let error = client::get_report(&bus.address(), PATIENCE).await.unwrap_err();
    assert!(matches!(error, ClientError::NoDaemon { .. }), "{error:?}");
}

#[tokio::test]
async fn the_client_keeps_its_time_limit_whatever_hangs() {
    let limit = Duration::from_millis(300);
    let timed_out = async |address: BusAddress, what: &str| {
        let start = Instant::now();
        let error = client::reconcile(&address, limit).await.unwrap_err();
        assert!(matches!(error, ClientError::Timeout { .. }), "{what}: {error:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "{what}: {:?}", start.elapsed());
    };

    // The daemon: the main loop takes the request and never answers.
    let bus = PrivateBus::start(Policy::Open);
    let mut main_loop = MainLoop::start(bus.address(), 1);
    main_loop.connected().await;
    timed_out(bus.address(), "daemon").await;
    // The bus.
    bus.freeze();
    timed_out(bus.address(), "bus").await;
    bus.thaw();
    // Something that is no bus and says nothing.
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    timed_out(BusAddress::Socket(socket), "silent socket").await;
}

#[tokio::test]
async fn an_answer_of_somebody_who_is_not_root_is_not_asked_for() {
    let bus = PrivateBus::start(Policy::Open);
    let mut squatter = Squatter::start(&bus);
    let caller = bus.connect().await;
    let owned = async {
        while caller
            .call_method(
                Some("org.freedesktop.DBus"),
                "/org/freedesktop/DBus",
                Some("org.freedesktop.DBus"),
                "GetNameOwner",
                &NAME,
            )
            .await
            .is_err()
        {
            assert!(squatter.0.try_wait().unwrap().is_none(), "the squatter died");
        }
    };
    within("nobody owns the name", owned).await;

    let error = client::get_report(&bus.address(), PATIENCE).await.unwrap_err();
    assert!(matches!(error, ClientError::Untrusted { uid: 65534, .. }), "{error:?}");

    // And the daemon says who has taken its name.
    let mut main_loop = MainLoop::start(bus.address(), 1);
    let reason = main_loop.absent("taken").await;
    assert!(reason.contains("uid 65534") && reason.contains("pid"), "{reason}");
}

/// This very program as nobody, with the name.
struct Squatter(Child);

impl Squatter {
    fn start(bus: &PrivateBus) -> Self {
        // A copy, since nobody may not enter the build directory of root.
        let program = bus.dir().join("squatter");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let child = as_nobody(program.to_str().unwrap())
            .args(["--exact", "asking::takes_the_name", "--ignored"])
            .env("SQUAT_ON", bus.socket())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Squatter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
#[ignore = "another test runs it, as nobody"]
async fn takes_the_name() {
    let Some(socket) = std::env::var_os("SQUAT_ON") else { return };
    let stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let connection =
        zbus::connection::Builder::unix_stream(stream).name(NAME).build().await.unwrap();
    let _ = tokio::time::timeout(PATIENCE, connection.closed()).await;
}
