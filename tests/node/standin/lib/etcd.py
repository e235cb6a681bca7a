# SPDX-License-Identifier: Apache-2.0
"""The etcd static pod, as kubelet keeps it: it outlives RKE2, is adopted by the next one when
its manifest is the same, replaced when it is not, and started again when it dies."""
import json
import os
import select
import signal
import socket
import subprocess

import log

STATE = "/run/rke2-standin/etcd.json"
LOG = "/var/log/pods/kube-system_etcd/etcd/0.log"


class Pod:
    def __init__(self, data_dir, uid, gid):
        self.data_dir = data_dir
        self.uid, self.gid = uid, gid
        # Only under a profile.
        context = f"  securityContext:\n    runAsGroup: {gid}\n    runAsUser: {uid}\n" if uid else ""
        self.manifest = (
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: etcd\n  namespace: kube-system\nspec:\n"
            "  containers:\n  - args:\n    - --config-file="
            f"{data_dir}/server/db/etcd/config\n    command:\n    - etcd\n    name: etcd\n"
            f"{context}"
        )
        self.pid = None
        self.pidfd = None
        self.child = None

    def write_manifest(self):
        path = f"{self.data_dir}/agent/pod-manifests/etcd.yaml"
        with open(path, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as file:
            file.write(self.manifest)

    def adopt_or_start(self):
        os.makedirs(os.path.dirname(STATE), mode=0o700, exist_ok=True)
        os.makedirs(os.path.dirname(LOG), mode=0o755, exist_ok=True)
        pid, manifest = running()
        if pid and manifest == self.manifest:
            self.pid, self.pidfd = pid, os.pidfd_open(pid)
            log.info(f"etcd is running with pid {pid}, its manifest is unchanged")
            return
        if pid:
            # The earlier etcd lives on until kubelet has seen the new manifest. Meanwhile RKE2
            # finds it reachable and has it defragmented, as at every start: under the owner that
            # this etcd runs as, a new database takes the place of the one just given away.
            self.defragment()
            log.info(f"etcd's manifest changed, stopping pid {pid}")
            stop(pid)
        self.start()

    def defragment(self):
        try:
            done = subprocess.run(
                ["etcdctl", "--endpoints=http://127.0.0.1:2379", "--command-timeout=30s", "defrag"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "ETCDCTL_API": "3"},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            log.error(f"Failed to test etcd connection: defragment: {error}")
            return
        if done.returncode:
            log.error(f"Failed to test etcd connection: defragment: {done.stderr.strip()}")
        else:
            log.info("The etcd that is still running was defragmented")

    def start(self):
        # A file, not a pipe: etcd must not die of SIGPIPE when RKE2 ends before it.
        with open(LOG, "ab") as output:
            self.child = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private",
                 "/usr/local/lib/rke2-standin/etcd-pod",
                 self.data_dir, str(self.uid), str(self.gid)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
                # A pod has an environment of its own; NOTIFY_SOCKET above all is not etcd's.
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )
        self.pid, self.pidfd = self.child.pid, os.pidfd_open(self.child.pid)
        with open(STATE + ".new", "w", encoding="utf-8") as file:
            json.dump({"pid": self.pid, "born": born(self.pid), "manifest": self.manifest}, file)
        os.rename(STATE + ".new", STATE)
        log.info(f"Started etcd with pid {self.pid} as {self.uid}:{self.gid}")

    def healthy(self):
        try:
            with socket.create_connection(("127.0.0.1", 2379), timeout=2) as connection:
                connection.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
                answer = b""
                while chunk := connection.recv(4096):
                    answer += chunk
        except OSError:
            return False
        return b'"health":"true"' in answer

    def watch(self, wake, seconds):
        """Waits for etcd's death, for a wakeup, or for so many seconds; starts a dead etcd again."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.register(wake, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(seconds * 1000)]
        if self.pidfd in ready and wake not in ready:
            os.close(self.pidfd)
            status = self.child.wait() if self.child else "unknown"
            log.error(f"etcd exited, status {status}: {last_words()}")
            # kubelet backs off before it starts a container again; a wakeup ends that, and RKE2.
            if not select.select([wake], [], [], 1)[0]:
                self.start()


def born(pid):
    """Start time in ticks, which tells a process from a later one with the same pid."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[19]


def running():
    """pid and manifest of the etcd that an earlier RKE2 left running."""
    try:
        with open(STATE, encoding="utf-8") as file:
            state = json.load(file)
        if born(state["pid"]) == state["born"]:
            return state["pid"], state["manifest"]
    except (OSError, ValueError, KeyError):
        pass
    return None, None


def stop(pid):
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        try:
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            break
        if select.select([pidfd], [], [], seconds)[0]:
            break
    os.close(pidfd)


def last_words():
    try:
        with open(LOG, "rb") as file:
            file.seek(max(0, os.path.getsize(LOG) - 2000))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    wanted = [line for line in lines if '"level":"info"' not in line]
    return (wanted or lines or [""])[-1]

