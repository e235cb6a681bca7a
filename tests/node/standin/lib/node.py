# SPDX-License-Identifier: Apache-2.0
"""`rke2 server` and `rke2 agent`, from the first check to SIGTERM."""
import os
import select
import signal
import socket

import checks
import config
import datadir
import log


def run(role, argv, version):
    flags = config.resolve(role, argv, os.environ)
    hardened = checks.profile(flags, role, version)

    # A signal becomes a readable fd, so that one poll waits for everything.
    wake, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_writer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    log.info(f"Starting rke2 {role} {version}")
    if flags["profile"] and hardened and role == "server":
        datadir.audit_policy()
    if role == "server" and flags["cluster-reset"]:
        import restore  # only here, as below

        return restore.run(flags)
    pod = prepare_etcd(flags, version, hardened) if role == "server" else None

    while (reason := checks.kubelet(flags)) is not None:
        log.error(f"Kubelet exited: {reason}")
        if select.select([wake], [], [], 5)[0]:
            return 0

    if pod is None:
        notify("READY=1")
        log.info(f"rke2 {role} is up and running")
        select.select([wake], [], [])
        return 0

    pod.adopt_or_start()
    ready = False
    while not signalled(wake):
        if not ready and pod.healthy():
            ready = True
            notify("READY=1")
            log.info("rke2 is up and running")
        pod.watch(wake, 3600 if ready else 0.2)
    return 0


def signalled(wake):
    return bool(select.select([wake], [], [], 0)[0])


def prepare_etcd(flags, version, hardened):
    """The etcd pod of this server, or None where it has none of its own."""
    data_dir = flags["data-dir"]
    datadir.lay_out(data_dir)
    datadir.stage(data_dir, version)
    if flags["disable-etcd"] or flags["datastore-endpoint"]:
        return None
    import etcd  # only here: a quick failure should not pay for it

    datadir.lay_out_etcd(data_dir)
    uid, gid = datadir.give_to_etcd(data_dir, version) if hardened else (0, 0)
    pod = etcd.Pod(data_dir, uid, gid)
    pod.write_manifest()
    return pod


def notify(message):
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect("\0" + address[1:] if address.startswith("@") else address)
        out.sendall(message.encode())
