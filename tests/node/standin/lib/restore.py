# SPDX-License-Identifier: Apache-2.0
"""`rke2 server --cluster-reset [--cluster-reset-restore-path=SNAPSHOT]`: moves etcd's directory
aside, makes it anew from the snapshot, and ends. All of it as the caller: as root, and with the
umask of the shell it is typed into. RKE2 runs an etcd on the result once; here the next start is
the first."""
import os
import subprocess
import time

import datadir
import log

PEER = "http://127.0.0.1:2380"


def run(flags):
    data_dir = flags["data-dir"]
    datadir.lay_out(data_dir)
    snapshot = flags["cluster-reset-restore-path"]
    if snapshot:
        from_snapshot(f"{data_dir}/server/db/etcd", snapshot)
    datadir.lay_out_etcd(data_dir)
    log.info(
        "Managed etcd cluster membership has been reset, restart without --cluster-reset flag now. "
        "Backup and delete ${datadir}/server/db on each peer etcd server and rejoin the nodes"
    )
    return 0


def from_snapshot(etcd, snapshot):
    if not os.path.isfile(snapshot):
        log.fatal(f"starting kubernetes: etcd: snapshot path does not exist: {snapshot}")
    if os.path.isdir(etcd):
        aside = f"{etcd}-old-{int(time.time())}"
        if os.path.lexists(aside):
            log.fatal(f"starting kubernetes: directory {aside} already exists")
        os.rename(etcd, aside)
        log.info(f"Pre-restore etcd database moved to {aside}")
    name = datadir.member_name()
    try:
        done = subprocess.run(
            ["etcdctl", "snapshot", "restore", snapshot, f"--data-dir={etcd}", f"--name={name}",
             f"--initial-cluster={name}={PEER}", f"--initial-advertise-peer-urls={PEER}"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "ETCDCTL_API": "3"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.fatal(f"starting kubernetes: restoring {snapshot}: {error}")
    if done.returncode:
        log.fatal(f"starting kubernetes: restoring {snapshot}: {done.stderr.strip()}")
