// SPDX-License-Identifier: Apache-2.0
//! The socket between gate and daemon: each end with a made-up one at the other.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nodeguard::gate::{self, Ask, AskError, CONNECTIONS};
use nodeguard::model::{Report, Role, State};
use nodeguard::system::root::observed::Observed;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long anything here may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("gate.sock")
    }

    /// The daemon's end, and the main loop's.
    fn serve(&self) -> mpsc::Receiver<Ask> {
        let listener = tokio::net::UnixListener::bind(self.socket()).unwrap();
        let (asks, asked) = mpsc::channel(CONNECTIONS);
        tokio::spawn(async move { gate::serve(listener, asks).await });
        asked
    }
}

fn verdict() -> Arc<[u8]> {
    let report = Report { state: State::Ready, role: Role::Server, ..Report::starting() };
    gate::answer(&report, &Observed::default()).into()
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing after {PATIENCE:?}"),
    }
}

/// The two ends speak to each other, so one of them tells what a line looks like.
fn line_of_ours() -> String {
    let place = Place::new();
    let listener = UnixListener::bind(place.socket()).unwrap();
    let socket = place.socket();
    let asking = std::thread::spawn(move || ask(&socket, PATIENCE));
    let (mut stream, _) = listener.accept().unwrap();
    let mut line = [0; 256];
    let n = stream.read(&mut line).unwrap();
    drop(stream);
    assert!(asking.join().unwrap().is_err());
    String::from_utf8_lossy(&line[..n]).into_owned()
}

fn ask(socket: &Path, limit: Duration) -> Result<gate::Answer, AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(gate::ask(socket, limit))
}

/// Sends bytes to the daemon's end and gives all that it answers until it hangs up.
fn say(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may have hung up before all was said.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(e) => panic!("{e}"),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_question_is_answered_by_the_main_loop_and_only_while_somebody_waits() {
    let place = Place::new();
    let mut asked = place.serve();
    let socket = place.socket();
    let asking = tokio::spawn(async move { gate::ask(&socket, PATIENCE).await });
    let answer = within("a question", asked.recv()).await.unwrap();
    answer.send(verdict()).unwrap();
    let answer = within("the answer", asking).await.unwrap().unwrap();
    assert_eq!((answer.report.state.as_str(), answer.report.role.as_str()), ("ready", "server"));
    assert_eq!(answer.observed, Observed::default());

    let socket = place.socket();
    let asking = tokio::spawn(async move { gate::ask(&socket, PATIENCE).await });
    let mut answer = within("a question", asked.recv()).await.unwrap();
    asking.abort();
    within("the gate that has gone is known to be gone", answer.closed()).await;

    let socket = place.socket();
    let asking = tokio::spawn(async move { gate::ask(&socket, PATIENCE).await });
    drop(within("a question", asked.recv()).await.unwrap());
    let error = within("the end", asking).await.unwrap().unwrap_err();
    assert!(matches!(error, AskError::BadAnswer { .. }), "a daemon that is stopping: {error:?}");
}

#[tokio::test]
async fn whoever_is_another_program_or_says_anything_else_is_let_go_without_a_pass() {
    let ours = line_of_ours();
    let version = concat!("\"version\":\"", env!("CARGO_PKG_VERSION"), "\"");
    assert!(ours.contains("\"protocol\":1") && ours.contains(version), "{ours}");
    let file = ours.split("\"file\":").nth(1).unwrap().trim_end().trim_end_matches('}');
    let place = Place::new();
    let mut asked = place.serve();
    for (what, question, answered) in [
        ("a newer version", ours.replace(version, "\"version\":\"99.0.0\""), true),
        ("an older one", ours.replace(version, "\"version\":\"0.0.1\""), true),
        ("another protocol", ours.replace("\"protocol\":1", "\"protocol\":2"), true),
        ("another build", ours.replace(file, "[1,2]"), true),
        ("a program that does not know itself", ours.replace(file, "null"), true),
        ("fields that we do not know", ours.replace("{", "{\"role\":\"server\","), false),
        ("no JSON", "hello\n".into(), false),
        ("no fields", "{}\n".into(), false),
        ("a line of HTTP", "GET / HTTP/1.1\r\n\r\n".into(), false),
        ("nothing", "\n".into(), false),
        ("too long a line", format!("{}\n", "x".repeat(10_000)), false),
        ("bytes", "\u{0}\u{1}\u{2}\n".into(), false),
    ] {
        let socket = place.socket();
        let saying = tokio::task::spawn_blocking(move || say(&socket, question.as_bytes()));
        if what == "fields that we do not know" {
            let answer = within("a question", asked.recv()).await.unwrap();
            answer.send(verdict()).unwrap();
            assert!(saying.await.unwrap().contains("\"ready\""), "{what}");
            continue;
        }
        let answer = within(what, saying).await.unwrap();
        assert_eq!(answer, if answered { ours.clone() } else { String::new() }, "{what}");
        assert!(asked.try_recv().is_err(), "{what}: no pass is made");
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_half_a_line_ends_and_never_fills_the_room() {
    let ours = line_of_ours();
    let place = Place::new();
    let mut asked = place.serve();
    let silent: Vec<_> = (0..CONNECTIONS - 1)
        .map(|n| {
            let mut stream = UnixStream::connect(place.socket()).unwrap();
            if n % 2 == 0 {
                stream.write_all(&ours.as_bytes()[..9]).unwrap();
            }
            stream
        })
        .collect();
    let began = Instant::now();
    let socket = place.socket();
    let asking = tokio::spawn(async move { gate::ask(&socket, PATIENCE).await });
    within("a question", asked.recv()).await.unwrap().send(verdict()).unwrap();
    within("the answer", asking).await.unwrap().unwrap();
    for mut stream in silent {
        let ended = tokio::task::spawn_blocking(move || {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.read(&mut [0]).unwrap()
        });
        assert_eq!(ended.await.unwrap(), 0);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn more_connections_than_there_is_room_for_are_closed_and_room_comes_back() {
    let place = Place::new();
    let mut asked = place.serve();
    let gates: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let socket = place.socket();
            tokio::spawn(async move { gate::ask(&socket, PATIENCE).await })
        })
        .collect();
    let mut waiting = Vec::new();
    while waiting.len() < CONNECTIONS {
        waiting.push(within("a question", asked.recv()).await.unwrap());
    }
    let error = gate::ask(&place.socket(), PATIENCE).await.unwrap_err();
    assert!(matches!(error, AskError::BadAnswer { .. }), "{error:?}");
    for answer in waiting {
        answer.send(verdict()).unwrap();
    }
    for gate in gates {
        within("the answer", gate).await.unwrap().unwrap();
    }
    let socket = place.socket();
    let asking = tokio::spawn(async move { gate::ask(&socket, PATIENCE).await });
    within("a question", asked.recv()).await.unwrap().send(verdict()).unwrap();
    within("the answer", asking).await.unwrap().unwrap();
}

#[tokio::test]
async fn gates_that_do_not_read_their_answer_hold_nobody_up_and_are_let_go() {
    let place = Place::new();
    let mut asked = place.serve();
    let ours = line_of_ours();
    // More than the kernel keeps for a reader that does not read.
    let profile = "x".repeat(240 * 1024);
    let long: Arc<[u8]> =
        gate::answer(&Report { profile, ..Report::starting() }, &Observed::default()).into();
    assert!(!long.is_empty());
    let mut gates = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = UnixStream::connect(place.socket()).unwrap();
        stream.write_all(ours.as_bytes()).unwrap();
        gates.push(stream);
    }
    for _ in 0..CONNECTIONS {
        within("a question", asked.recv()).await.unwrap().send(long.clone()).unwrap();
    }
    let mut refused = 0;
    loop {
        let socket = place.socket();
        let asking = tokio::spawn(async move { gate::ask(&socket, PATIENCE).await });
        tokio::select! {
            answer = within("room", asked.recv()) => {
                answer.unwrap().send(verdict()).unwrap();
                within("the answer", asking).await.unwrap().unwrap();
                break;
            }
            () = tokio::time::sleep(Duration::from_millis(100)) => refused += 1,
        }
    }
    assert!((1..100).contains(&refused), "{refused}");
}

/// Plays a daemon that answers `bytes`, and gives what a gate makes of it.
fn answered(bytes: Vec<u8>) -> Result<gate::Answer, AskError> {
    let place = Place::new();
    let listener = UnixListener::bind(place.socket()).unwrap();
    let daemon = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 256]);
        let _ = stream.write_all(&bytes);
    });
    let answer = ask(&place.socket(), Duration::from_secs(5));
    daemon.join().unwrap();
    answer
}

#[test]
fn an_answer_that_is_none_is_none() {
    let ours = line_of_ours();
    let version = concat!("\"version\":\"", env!("CARGO_PKG_VERSION"), "\"");
    let verdict = verdict();
    let whole = [ours.as_bytes(), &verdict].concat();
    assert!(answered(whole.clone()).is_ok());
    let other = |other: &str| [ours.replace(version, other).as_bytes(), &verdict].concat();
    for (what, bytes, words) in [
        ("a newer version", other("\"version\":\"99.0.0\""), "runs another build (99.0.0)"),
        ("an older one", other("\"version\":\"0.0.1\""), "runs another build (0.0.1)"),
        ("garbage", b"\0\xff\x12{}[]\n\n".to_vec(), "cannot be used"),
        ("no bytes", Vec::new(), "it ends too early"),
        ("who it is, and no more", ours.clone().into_bytes(), "it ends too early"),
        ("half of it", whole[..whole.len() / 2 + ours.len()].to_vec(), "it ends too early"),
        ("all but the last byte", whole[..whole.len() - 1].to_vec(), "it ends too early"),
        ("no report", format!("{ours}{{}}\n").into_bytes(), "missing field `report`"),
        ("no end", b"x".repeat(10 << 20), "longer than 262144 bytes"),
        ("no end of a report", [ours.as_bytes(), &b" ".repeat(1 << 20)].concat(), "longer than"),
    ] {
        let error = answered(bytes).unwrap_err().to_string();
        assert!(error.contains(words), "{what}: {error}");
    }
}

#[test]
fn a_report_that_is_too_long_for_an_answer_is_not_sent_in_parts() {
    let profile = "x".repeat(300_000);
    let report = Report { profile, ..Report::starting() };
    assert!(gate::answer(&report, &Observed::default()).is_empty());
}

#[test]
fn the_limit_holds_whatever_the_other_end_does() {
    let limit = Duration::from_millis(300);
    let place = Place::new();
    let listener = UnixListener::bind(place.socket()).unwrap();
    let timed_out = |what: &str| {
        let began = Instant::now();
        let error = ask(&place.socket(), limit).unwrap_err();
        assert!(matches!(error, AskError::Silent { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("no answer within 300 ms"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5), "{what}: {:?}", began.elapsed());
    };
    timed_out("it never takes the connection");
    let drip = std::thread::spawn(move || {
        // The one before is in the queue still.
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
            let _ = stream.read(&mut [0; 256]);
            while stream.write_all(b" ").is_ok() {
                let _ = stream.read(&mut [0; 1]);
            }
        }
    });
    timed_out("a byte at a time");
    drip.join().unwrap();
}

#[test]
fn without_a_daemon_the_gate_knows_at_once() {
    let place = Place::new();
    let error = ask(&place.socket(), PATIENCE).unwrap_err();
    assert!(matches!(error, AskError::NoService { .. }), "{error:?}");
    drop(UnixListener::bind(place.socket()).unwrap());
    let began = Instant::now();
    let error = ask(&place.socket(), PATIENCE).unwrap_err();
    assert!(error.to_string().contains("Connection refused"), "one that died: {error}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

/// This very program as nobody.
struct Nobody(Child);

impl Nobody {
    fn start(test: &str, place: &Place) -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests play root and nobody");
        // A copy, since nobody may not enter the build directory of root.
        let program = place.0.path().join("nobody");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let child = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .args(["--exact", test, "--ignored"])
            .env("PLACE", place.0.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Nobody {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn open_to_all(place: &Place) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o777)).unwrap();
}

#[test]
fn an_answer_of_somebody_who_is_not_root_does_not_count() {
    let place = Place::new();
    open_to_all(&place);
    let mut nobody = Nobody::start("plays_the_daemon", &place);
    let end = Instant::now() + PATIENCE;
    let error = loop {
        assert!(nobody.0.try_wait().unwrap().is_none() && Instant::now() < end, "nobody listens");
        match ask(&place.socket(), PATIENCE) {
            Err(AskError::NoService { .. }) => std::thread::yield_now(),
            other => break other.unwrap_err(),
        }
    };
    assert!(matches!(error, AskError::NotRoot { uid: 65534, .. }), "{error:?}");
}

#[test]
#[ignore = "run by another test, as nobody"]
fn plays_the_daemon() {
    let socket = Path::new(&std::env::var("PLACE").unwrap()).join("gate.sock");
    let listener = UnixListener::bind(socket).unwrap();
    for stream in listener.incoming() {
        let _ = stream.unwrap().write_all(line_of_ours().as_bytes());
    }
}

#[tokio::test]
async fn a_question_of_somebody_who_is_not_root_is_not_answered() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    open_to_all(&place);
    let mut asked = place.serve();
    fs::set_permissions(place.socket(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut nobody = Nobody::start("plays_the_gate", &place);
    let status = tokio::task::spawn_blocking(move || nobody.0.wait().unwrap()).await.unwrap();
    assert!(status.success(), "it was answered");
    assert!(asked.try_recv().is_err(), "a pass was asked for");
}

#[test]
#[ignore = "run by another test, as nobody"]
fn plays_the_gate() {
    let socket = Path::new(&std::env::var("PLACE").unwrap()).join("gate.sock");
    assert_eq!(say(&socket, line_of_ours().as_bytes()), "");
}
