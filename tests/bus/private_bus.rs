// SPDX-License-Identifier: Apache-2.0
//! A dbus-daemon of the test's own: started, stopped, killed and started again at will.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nodeguard::bus::{BusAddress, NAME, PATH};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything here may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the bus lets people do.
pub enum Policy {
    /// Everything: what holds then, the daemon itself holds.
    Open,
    /// The rules of a system bus, and the file of the package.
    Packaged,
}

pub struct PrivateBus {
    dir: tempfile::TempDir,
    daemon: Option<Child>,
}

impl PrivateBus {
    pub fn start(policy: Policy) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Other users connect too.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("bus.conf"), configuration(dir.path(), &policy)).unwrap();
        let mut bus = Self { dir, daemon: None };
        bus.start_again();
        bus
    }

    pub fn start_again(&mut self) {
        assert!(self.daemon.is_none(), "the bus runs already");
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", self.dir.path().join("bus.conf").display()))
            .args(["--nofork", "--nopidfile", "--print-address=1"])
            .stdout(Stdio::piped())
            // It logs every refusal that a test provokes.
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon starts (apt-get install dbus-daemon)");
        // It prints its address when it listens.
        let stdout = daemon.stdout.take().unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = tell.send(line);
        });
        self.daemon = Some(daemon);
        let line = told.recv_timeout(PATIENCE).expect("dbus-daemon tells its address");
        assert!(line.starts_with("unix:"), "dbus-daemon said {line:?}");
    }

    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mut daemon) = self.daemon.take() {
            daemon.wait().unwrap();
        }
        let _ = fs::remove_file(self.socket());
    }

    /// It keeps its connections and takes new ones, and reads and says nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(daemon) = &self.daemon {
            kill_process(Pid::from_child(daemon), signal).unwrap();
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub fn address(&self) -> BusAddress {
        BusAddress::Socket(self.socket())
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub async fn connect(&self) -> zbus::Connection {
        let stream = std::os::unix::net::UnixStream::connect(self.socket()).unwrap();
        zbus::connection::Builder::unix_stream(stream).build().await.unwrap()
    }

    /// `busctl` on this bus, as nobody.
    pub async fn busctl_as_nobody(&self, args: &[&str]) -> Output {
        let mut command = as_nobody("busctl");
        command.arg(format!("--address=unix:path={}", self.socket().display())).args(args);
        output(command).await
    }

    /// A method without arguments called as nobody, by a program that prints the text of an
    /// error and not its own for it, as busctl does.
    pub async fn dbus_send_as_nobody(&self, method: &str) -> Output {
        let mut command = as_nobody("dbus-send");
        command.arg(format!("--bus=unix:path={}", self.socket().display())).args([
            "--print-reply",
            &format!("--dest={NAME}"),
            PATH,
            method,
        ]);
        output(command).await
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Not on the thread of the bus task, which has to answer meanwhile.
async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// A command that will run as nobody; the tests themselves run as root.
pub fn as_nobody(program: &str) -> Command {
    assert!(rustix::process::geteuid().is_root(), "these tests play root and nobody: run as root");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]);
    command
}

fn configuration(dir: &Path, policy: &Policy) -> String {
    let rules = match policy {
        Policy::Open => r#"
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
  </policy>"#
            .to_owned(),
        Policy::Packaged => format!(
            r#"
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
  </policy>
  <include>{}/packaging/dbus/org.nodeguard.NodeGuard1.conf</include>"#,
            env!("CARGO_MANIFEST_DIR")
        ),
    };
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={}</listen>
  <auth>EXTERNAL</auth>{rules}
</busconfig>
"#,
        dir.join("socket").display()
    )
}
