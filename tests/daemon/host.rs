// SPDX-License-Identifier: Apache-2.0
//! A host of its own for the real daemon: a directory that it takes for `/`, in a mount namespace
//! of its own, with the machine's programs, an account database, a bus, a service manager's
//! socket, and a `/proc/sys` of plain files, so that no value of this machine can be reached.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The same of a contest: when its rival is gone, what he left wrong is corrected when its pause is
/// over, and found right when one more is (see `LONGEST_PAUSE` in `src/pace/limits.rs`).
pub const CONTEST: Duration = Duration::from_secs(620);

/// Kernel values as an unprepared machine has them.
const STOCK: [(&str, &str); 8] = [
    ("vm/swappiness", "60"),
    ("fs/protected_hardlinks", "0"),
    ("vm/panic_on_oom", "0"),
    ("vm/overcommit_memory", "0"),
    ("kernel/panic", "0"),
    ("kernel/panic_on_oops", "0"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Mounts, then the command after the root directory. Fails at the first thing that fails: a
/// program must never see the machine's own /proc/sys.
const ENTER: &str = r#"
set -eu
root=$1; shift
mount --bind "$root" "$root"
for dir in usr bin sbin lib lib64 dev; do
    [ ! -e "/$dir" ] || mount --rbind "/$dir" "$root/$dir"
done
mount --rbind /proc "$root/proc"
mount --bind "$root/stock" "$root/proc/sys"
[ "$(ls "$root/proc/sys")" = "$(ls "$root/stock")" ]
while read -r key; do
    mount --bind "/proc/sys/$key" "$root/proc/sys/$key"
done <"$root/kernels-own"
while read -r key; do
    mount --bind "$root/proc/sys/$key" "$root/proc/sys/$key"
    mount -o remount,bind,ro "$root/proc/sys/$key"
done <"$root/read-only"
if [ -e "$root/enter" ]; then . "$root/enter"; fi
# Wrapped: a command with its options, by which the program loses a right.
exec $WRAPPED chroot "$root" "$@"
"#;

pub struct Host {
    dir: tempfile::TempDir,
    notify: UnixDatagram,
    bus: Option<Child>,
    daemon: Option<Child>,
    /// A command that takes something from the program before it starts.
    pub wrapped: &'static str,
    /// Variables that the program gets besides those of a service.
    pub environment: Vec<(&'static str, &'static str)>,
    /// The service manager does not read what it is told.
    pub stalled: bool,
    /// Everything the daemon told the service manager.
    pub told: Vec<String>,
}

impl Host {
    /// A server with `profile: cis`, nothing prepared, RKE2 never started.
    pub fn server() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make a mount namespace: run them as root"
        );
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in [
            "usr",
            "bin",
            "sbin",
            "lib",
            "lib64",
            "dev",
            "proc",
            "tmp",
            "stock",
            "run/dbus",
            "etc/rancher/rke2",
        ] {
            fs::create_dir_all(at(path)).unwrap();
        }
        for path in ["var/lib", "etc/systemd/system/multi-user.target.wants"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        std::os::unix::fs::symlink(
            "/usr/local/lib/systemd/system/rke2-server.service",
            at("etc/systemd/system/multi-user.target.wants/rke2-server.service"),
        )
        .unwrap();
        for (key, value) in STOCK {
            let path = at("stock").join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        }
        for (file, text) in [
            ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
            ("etc/group", "root:x:0:\n"),
            ("etc/shadow", "root:*:19000:0:99999:7:::\n"),
            ("etc/gshadow", "root:*::\n"),
            (
                "etc/login.defs",
                "SYS_UID_MIN 100\nSYS_UID_MAX 999\nSYS_GID_MIN 100\nSYS_GID_MAX 999\n",
            ),
            ("etc/rancher/rke2/config.yaml", "profile: cis\n"),
            ("kernels-own", ""),
            ("read-only", ""),
        ] {
            fs::write(at(file), text).unwrap();
        }
        fs::copy(env!("CARGO_BIN_EXE_nodeguard"), at("nodeguard")).unwrap();
        let notify = UnixDatagram::bind(at("run/notify")).unwrap();
        notify.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        Self {
            dir,
            notify,
            bus: None,
            daemon: None,
            wrapped: "",
            environment: Vec::new(),
            stalled: false,
            told: Vec::new(),
        }
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    pub fn write(&self, path: &str, text: &str) {
        fs::write(self.at(path), text).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_default()
    }

    /// One kernel value, as the daemon sees it.
    pub fn sysctl(&self, key: &str) -> String {
        self.read(&format!("stock/{key}")).trim().to_owned()
    }

    pub fn set_sysctl(&self, key: &str, value: &str) {
        use std::io::Write;
        // In one write and without truncating, as the kernel takes it: nobody may see half a value.
        let mut file =
            fs::File::options().write(true).open(self.at(&format!("stock/{key}"))).unwrap();
        file.write_all(format!("{value}\n").as_bytes()).unwrap();
    }

    /// Puts the kernel's own file in the place of a plain one, for parameters of an IPC namespace:
    /// the daemon has one of its own, so that nothing of this machine changes.
    pub fn use_the_kernels(&self, keys: &[&str]) {
        assert!(
            keys.iter().all(|key| ["kernel/sem", "kernel/msgmax", "kernel/shmmni"].contains(key))
        );
        for key in keys {
            fs::write(self.at("stock").join(key), "").unwrap();
        }
        self.write("kernels-own", &keys.iter().map(|key| format!("{key}\n")).collect::<String>());
    }

    /// RKE2's directories with etcd's files in them, all root's, as at a first start.
    pub fn make_data_dir(&self) {
        for dir in ["member/snap", "member/wal"] {
            fs::create_dir_all(self.at(ETCD).join(dir)).unwrap();
        }
        fs::create_dir_all(self.at(TLS)).unwrap();
        for file in ["config", "name", "member/snap/db", "member/wal/0.wal"] {
            fs::write(self.at(ETCD).join(file), "x").unwrap();
        }
        for file in ["server-client.key", "server-ca.crt", "client.key", "server-ca.key"] {
            fs::write(self.at(TLS).join(file), "x").unwrap();
        }
    }

    /// uid and gid of the account, once it is there.
    pub fn etcd(&self) -> Option<(u32, u32)> {
        let passwd = self.read("etc/passwd");
        let line = passwd.lines().find(|line| line.starts_with("etcd:"))?;
        let fields: Vec<_> = line.split(':').collect();
        Some((fields[2].parse().ok()?, fields[3].parse().ok()?))
    }

    pub fn owner(&self, path: &str) -> Option<(u32, u32)> {
        use std::os::unix::fs::MetadataExt;
        fs::symlink_metadata(self.at(path)).ok().map(|m| (m.uid(), m.gid()))
    }

    pub fn chown(&self, path: &str, (uid, gid): (u32, u32)) {
        chown(self.at(path), Some(uid), Some(gid)).unwrap();
    }

    /// Starts a real bus where the system bus listens.
    pub fn start_bus(&mut self) {
        let socket = self.at("run/dbus/system_bus_socket");
        let _ = fs::remove_file(&socket);
        let config = self.at("bus.conf");
        let text = format!(
            "<busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <policy context='default'><allow user='*'/><deny own='*'/><deny send_type='method_call'/><allow send_type='signal'/><allow send_requested_reply='true' send_type='method_return'/><allow send_requested_reply='true' send_type='error'/>\
             <allow send_destination='org.freedesktop.DBus'/><allow receive_type='signal'/><allow receive_type='method_call'/>\
             <allow receive_type='method_return'/><allow receive_type='error'/></policy>\
             <include>{}/packaging/dbus/org.nodeguard.NodeGuard1.conf</include></busconfig>",
            socket.display(),
            env!("CARGO_MANIFEST_DIR"),
        );
        fs::write(&config, text).unwrap();
        let child = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .arg("--nofork")
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon (package dbus)");
        self.bus = Some(child);
        self.until("the bus listens", |_| socket.exists());
    }

    pub fn stop_bus(&mut self) {
        if let Some(mut bus) = self.bus.take() {
            bus.kill().unwrap();
            bus.wait().unwrap();
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--ipc", "--propagation", "private", "sh", "-c", ENTER, "enter"]);
        command.arg(self.dir.path()).arg("/nodeguard").args(arguments);
        command.env_remove("JOURNAL_STREAM").env("NOTIFY_SOCKET", "/run/notify");
        command.env("WRAPPED", self.wrapped).env_remove("NODEGUARD_LOG");
        command.envs(self.environment.iter().copied());
        command
    }

    pub fn start(&mut self) {
        self.start_with_watchdog(Some("3000000"));
    }

    /// `watchdog` is in microseconds; without it the daemon's clock is its poll interval alone.
    pub fn start_with_watchdog(&mut self, watchdog: Option<&str>) {
        let log = fs::File::options().create(true).append(true).open(self.at("log")).unwrap();
        let mut command = self.command(&["run"]);
        command.envs(watchdog.map(|limit| ("WATCHDOG_USEC", limit)));
        command.stderr(log).stdin(Stdio::null());
        command.process_group(0);
        // What one before it told is no word of this one.
        let ready = |host: &Self| host.told.iter().filter(|line| *line == "READY=1").count();
        let before = ready(self);
        self.daemon = Some(command.spawn().unwrap());
        self.until("READY=1", |host| ready(host) > before);
    }

    /// The daemon's process id: `unshare` and `chroot` replace themselves by it.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    pub fn signal(&mut self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Waits for the daemon's end and gives its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let mut daemon = self.daemon.take().unwrap();
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = daemon.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "the daemon did not end");
            std::thread::yield_now();
        }
    }

    /// Runs a command of the program on this host.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.spawn(arguments).wait_with_output().unwrap()
    }

    /// The same as a unit's process, with a service manager to be told.
    pub fn run_in_a_unit(&self, arguments: &[&str]) -> Output {
        self.spawn_in_a_unit(arguments).wait_with_output().unwrap()
    }

    pub fn spawn_in_a_unit(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Without waiting for its end; the process id is the program's.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.env_remove("NOTIFY_SOCKET").stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs a line of shell where the daemon lives, in its mount namespace and root.
    pub fn inside(&self, line: &str) -> String {
        let pid = self.pid().to_string();
        let output = Command::new("nsenter")
            .args(["--target", &pid, "--mount", "--ipc", "--root", "--wd=/", "sh", "-c", line])
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Writes one of the kernel's own values through another procfs, as from a container: no event
    /// tells of it.
    pub fn write_unseen(&self, key: &str, value: &str) {
        let pid = self.pid().to_string();
        let line = format!("echo {value} >/proc/sys/{key}");
        let status = Command::new("nsenter")
            .args(["--target", &pid, "--ipc", "unshare", "--pid", "--fork", "--mount-proc"])
            .args(["sh", "-c", &line])
            .status();
        assert!(status.unwrap().success(), "{line}");
    }

    pub fn inside_owner(&self, path: &str) -> Option<(u32, u32)> {
        let owner = self.inside(&format!("stat -c '%u %g' {path} || true"));
        let (uid, gid) = owner.split_once(' ')?;
        Some((uid.parse().ok()?, gid.parse().ok()?))
    }

    /// How often the daemon was woken so far.
    pub fn wakeups(&self) -> u64 {
        let status = proc_file(self.pid(), "status");
        let line = status.lines().find(|l| l.starts_with("voluntary_ctxt_switches")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn log(&self) -> String {
        self.read("log")
    }

    /// The last status line the service manager was told.
    pub fn status(&self) -> &str {
        let last = self.told.iter().rfind(|line| line.starts_with("STATUS="));
        last.map_or("", |line| &line["STATUS=".len()..])
    }

    /// Waits, bounded, until something can be seen.
    pub fn until(&mut self, what: &str, seen: impl FnMut(&mut Self) -> bool) -> Duration {
        self.until_within(PATIENCE, what, seen)
    }

    /// The same of what a pause may lie before.
    pub fn until_within(
        &mut self,
        patience: Duration,
        what: &str,
        mut seen: impl FnMut(&mut Self) -> bool,
    ) -> Duration {
        let start = Instant::now();
        loop {
            self.listen();
            if seen(self) {
                return start.elapsed();
            }
            if start.elapsed() > patience {
                panic!(
                    "waited in vain for: {what}\nstatus: {}\nlog:\n{}",
                    self.status(),
                    self.log()
                );
            }
            std::thread::yield_now();
        }
    }

    fn listen(&mut self) {
        if self.stalled {
            return;
        }
        let mut buffer = [0; 8192];
        self.notify.set_nonblocking(true).unwrap();
        while let Ok(n) = self.notify.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
            self.told.extend(text.lines().map(str::to_owned));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        self.stop_bus();
    }
}

/// etcd's data directory and the directory of its TLS files.
pub const ETCD: &str = "/var/lib/rancher/rke2/server/db/etcd";
pub const TLS: &str = "/var/lib/rancher/rke2/server/tls/etcd";

/// Text of a process's /proc file.
pub fn proc_file(pid: u32, name: &str) -> String {
    fs::read_to_string(Path::new("/proc").join(pid.to_string()).join(name)).unwrap_or_default()
}
