# SPDX-License-Identifier: Apache-2.0
"""What a server lays out below its data dir, with RKE2's owners and modes."""
import os
import re
import subprocess

import checks
import log

# What etcd itself opens; the rest of tls/etcd stays root's from these versions on.
ETCD_READS = (
    "server-client.crt",
    "server-client.key",
    "peer-server-client.crt",
    "peer-server-client.key",
    "server-ca.crt",
    "peer-ca.crt",
)
ALL_TLS = (*ETCD_READS, "client.crt", "client.key", "server-ca.key", "peer-ca.key")
ONLY_SIX_FROM = {31: 12, 32: 8, 33: 4}


def directory(path, mode):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        pass


def write(path, content, mode):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)


def lay_out(data_dir):
    """Everything that is there before etcd starts, owned by root."""
    directory(data_dir, 0o755)
    server = f"{data_dir}/server"
    for path in (server, f"{server}/tls", f"{server}/cred", f"{server}/db"):
        directory(path, 0o700)
    directory(f"{server}/tls/etcd", 0o755)
    for name in ALL_TLS:
        path = f"{server}/tls/etcd/{name}"
        if not os.path.lexists(path):
            write(path, f"stand-in for {name}\n", 0o600 if name.endswith(".key") else 0o644)
    directory(f"{data_dir}/agent", 0o755)
    directory(f"{data_dir}/agent/pod-manifests", 0o700)


def member_name():
    """RKE2 draws the second half; a constant makes a restored member the one it was."""
    return f"{os.uname().nodename}-0a1b2c3d"


def stage(data_dir, version):
    """The programs that RKE2 unpacks and starts, containerd first of all."""
    top = f"{data_dir}/data/{version.replace('+', '-')}-000000000000"
    path = f"{top}/bin/containerd"
    for above in (f"{data_dir}/data", top, f"{top}/bin"):
        directory(above, 0o755)
    if not os.path.exists(path):
        write(path, "#!/bin/sh\nexit 0\n", 0o755)
    try:
        subprocess.run([path], check=True)
    except OSError as error:
        log.fatal(f"containerd: fork/exec {path}: {error.strerror.lower()}")


def lay_out_etcd(data_dir):
    """etcd's own directory; `config` is written anew at each start, `name` once."""
    etcd = f"{data_dir}/server/db/etcd"
    directory(etcd, 0o700)
    os.chmod(etcd, 0o700)
    directory(f"{data_dir}/server/db/snapshots", 0o700)
    name_file = f"{etcd}/name"
    if not os.path.exists(name_file):
        write(name_file, member_name(), 0o600)
    with open(name_file, encoding="utf-8") as file:
        name = file.read()
    write(
        f"{etcd}/config",
        f"""advertise-client-urls: http://127.0.0.1:2379
data-dir: {etcd}
election-timeout: 5000
heartbeat-interval: 500
initial-advertise-peer-urls: http://127.0.0.1:2380
initial-cluster: {name}=http://127.0.0.1:2380
initial-cluster-state: new
listen-client-urls: http://127.0.0.1:2379
listen-metrics-urls: http://127.0.0.1:2381
listen-peer-urls: http://127.0.0.1:2380
log-outputs:
- stderr
logger: zap
name: {name}
snapshot-count: 10000
""",
        0o600,
    )
    return etcd


def give_to_etcd(data_dir, version):
    """RKE2's recursive chown, by path: it follows links, and fails on a dangling one."""
    uid, gid = checks.user("etcd")
    etcd = f"{data_dir}/server/db/etcd"
    tls = f"{data_dir}/server/tls/etcd"
    paths = walk(etcd)
    if only_six(version):
        paths += [f"{tls}/{name}" for name in ETCD_READS]
    else:
        paths += walk(tls)
    for path in paths:
        try:
            os.chown(path, uid, gid)
        except OSError as error:
            log.fatal(f"starting kubernetes: preparing server: chown {path}: {error.strerror.lower()}")
    # A line of the stand-in's own, so that a scenario can tell what came after the chown.
    log.info(f"etcd's files given to {uid}:{gid}")
    return uid, gid


def walk(top):
    """As Go's filepath.Walk, which enters no link, not even at the top."""
    paths = [top]
    if os.path.islink(top):
        return paths
    for parent, directories, files in os.walk(top):
        paths += [os.path.join(parent, name) for name in directories + files]
    return paths


def only_six(version):
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    minor, patch = (int(found[2]), int(found[3])) if found else (99, 0)
    return minor >= 34 or patch >= ONLY_SIX_FROM.get(minor, 1000)


def audit_policy():
    path = "/etc/rancher/rke2/audit-policy.yaml"
    if not os.path.exists(path):
        directory("/etc/rancher/rke2", 0o755)
        write(
            path,
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nmetadata:\n  creationTimestamp: null\n"
            "rules:\n- level: None\n",
            0o600,
        )
