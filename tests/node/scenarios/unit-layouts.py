#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes layouts of unit files, and compares nodeguard's reading of each with systemd's own."""

import json
import os
import subprocess
import sys

UNIT = "rke2-server.service"
ETC = "/etc/systemd/system"
RUN = "/run/systemd/system"
LIB = "/usr/lib/systemd/system"
LOCAL = "/usr/local/lib/systemd/system"
# What the generator of these layouts copies to where systemd wants it; a reload empties that first.
GENERATED = "/etc/layouts-generated"
SEEN = "/run/unit-layouts-seen"
RECORD = "/usr/local/bin/unit-layouts-record"
BASE = (
    "[Unit]\nDescription=layout\n[Service]\nType=oneshot\n"
    "EnvironmentFile=-/etc/default/%N\nEnvironmentFile=-/etc/sysconfig/%N\n"
    f"ExecStart={RECORD} server $OPTS --data-dir=${{RKE2_DATA_DIR}}/x --node-name=%n\n"
)
ENV = "/etc/default/rke2-server"


def service(text):
    return f"[Service]\n{text}\n"


def variable(value):
    return service(f"Environment=RKE2_NODE_NAME={value}")


LAYOUTS = {
    "the installed unit alone": {},
    "a unit in /etc replaces the installed one": {
        f"{ETC}/{UNIT}": BASE.replace("--node-name=", "--tls-san="),
    },
    "a unit in /run is stronger than the installed one": {
        f"{RUN}/{UNIT}": BASE.replace("--node-name=", "--cluster-domain="),
    },
    "a transient unit is stronger than one in /etc": {
        f"{ETC}/{UNIT}": BASE.replace("--node-name=", "--tls-san="),
        f"/run/systemd/transient/{UNIT}": BASE.replace("--node-name=", "--service-cidr="),
    },
    "a generator's unit is stronger than the installed one": {
        f"{GENERATED}/normal/{UNIT}": BASE.replace("--node-name=", "--cluster-dns="),
    },
    "a generator's drop-in": {f"{GENERATED}/normal/{UNIT}.d/50.conf": variable("generator")},
    "an early generator's unit is stronger than one in /etc": {
        f"{ETC}/{UNIT}": BASE.replace("--node-name=", "--tls-san="),
        f"{GENERATED}/early/{UNIT}": BASE.replace("--node-name=", "--cluster-cidr="),
    },
    "a late generator's unit is the weakest": {
        f"{GENERATED}/late/{UNIT}": BASE.replace("--node-name=", "--snapshotter="),
    },
    "drop-ins of all directories are sorted by name": {
        f"{LIB}/{UNIT}.d/50-a.conf": variable("lib"),
        f"{ETC}/{UNIT}.d/40-b.conf": variable("etc"),
        f"{RUN}/{UNIT}.d/60-c.conf": variable("run"),
    },
    "of two drop-ins of a name the earlier directory counts": {
        f"{LIB}/{UNIT}.d/50.conf": variable("lib"),
        f"{RUN}/{UNIT}.d/50.conf": variable("run"),
        f"{ETC}/{UNIT}.d/50.conf": variable("etc"),
    },
    "set-property's directory is the strongest": {
        f"{ETC}/{UNIT}.d/50.conf": variable("etc"),
        f"{ETC}.control/{UNIT}.d/50.conf": variable("control"),
        f"{RUN}.control/{UNIT}.d/50.conf": variable("run-control"),
    },
    "a drop-in masked by a link to /dev/null": {
        f"{LIB}/{UNIT}.d/50.conf": variable("lib"),
        f"{ETC}/{UNIT}.d/50.conf": None,
    },
    "a drop-in for the prefix and one for all services": {
        f"{ETC}/service.d/90.conf": variable("all"),
        f"{ETC}/rke2-.service.d/50.conf": service("Environment=RKE2_CNI=prefix"),
    },
    "of one name the unit's own drop-in is stronger than those of prefix and type": {
        f"{ETC}/service.d/50.conf": variable("all"),
        f"{ETC}/rke2-.service.d/50.conf": variable("prefix"),
        f"{ETC}/{UNIT}.d/50.conf": variable("own"),
    },
    "of one name the prefix in /etc against the unit's own in /usr/lib": {
        f"{ETC}/rke2-.service.d/50.conf": variable("prefix"),
        f"{LIB}/{UNIT}.d/50.conf": variable("own"),
    },
    "of one name all services in /etc against the unit's own in /usr/lib": {
        f"{ETC}/service.d/50.conf": variable("all"),
        f"{LIB}/{UNIT}.d/50.conf": variable("own"),
    },
    "hidden drop-ins and other suffixes do not count": {
        f"{ETC}/{UNIT}.d/.50.conf": variable("hidden"),
        f"{ETC}/{UNIT}.d/50.conf.bak": variable("backup"),
        f"{ETC}/{UNIT}.d/50.conf~": variable("tilde"),
    },
    "a drop-in that replaces the command": {
        f"{ETC}/{UNIT}.d/50.conf": service(
            f"ExecStart=\nExecStart={RECORD} server '--config=one word' \"--tls-san=a\\x2db\" \\\n  --cni \\x41"
        ),
    },
    "environment files: the later wins, and over Environment=": {
        f"{ETC}/{UNIT}.d/50.conf": variable("line"),
        ENV: "RKE2_NODE_NAME=default\nRKE2_DATA_DIR=/one\n",
        "/etc/sysconfig/rke2-server": "RKE2_DATA_DIR='/two words'\n",
    },
    "quotes, continuations and comments in an environment file": {
        ENV: "# RKE2_DEBUG=no\n; RKE2_CNI=no\nRKE2_AUDIT_POLICY_FILE=\"/a\\\"b\\\"$HOME\"\n"
        "RKE2_TOKEN_FILE='/x\\ny'\nRKE2_KUBELET_PATH=/one\\\ntwo\nRKE2_RESOLV_CONF=/c\"is\"\n"
        "export RKE2_SELINUX=no\n RKE2_KUBECONFIG_OUTPUT = /spaced  \nRKE2_KUBECONFIG_MODE=\n"
        "RKE2_NODE_NAME=\"a\"'b'\nRKE2_AGENT_TOKEN_FILE=\"two words\"\n"
        "OPTS=--debug  --config='x y'\n",
    },
    "an environment file in DOS form": {ENV: "RKE2_NODE_NAME=dos\r\nRKE2_CNI='x'\r\n"},
    "a wildcard names environment files in their order": {
        f"{ETC}/{UNIT}.d/50.conf": service("EnvironmentFile=/etc/layouts/*.env"),
        "/etc/layouts/a.env": "RKE2_NODE_NAME=a\n",
        "/etc/layouts/b.env": "RKE2_NODE_NAME=b\n",
        "/etc/layouts/c.txt": "RKE2_NODE_NAME=c\n",
    },
    "an empty EnvironmentFile= forgets those before": {
        f"{ETC}/{UNIT}.d/50.conf": service("EnvironmentFile=\nEnvironmentFile=-/etc/layouts/x"),
        ENV: "RKE2_NODE_NAME=default\n",
        "/etc/layouts/x": "RKE2_NODE_NAME=x\n",
    },
    "UnsetEnvironment= by name and by value": {
        f"{ETC}/{UNIT}.d/50.conf": service("UnsetEnvironment=RKE2_NODE_NAME RKE2_CNI=1 RKE2_KUBECONFIG_MODE=other"),
        ENV: "RKE2_NODE_NAME=1\nRKE2_CNI=1\nRKE2_KUBECONFIG_MODE=1\n",
    },
    "quoted assignments in one Environment= line": {
        f"{ETC}/{UNIT}.d/50.conf": service(
            "Environment=\"RKE2_NODE_NAME=two words\" RKE2_CNI='x' RKE2_TOKEN_FILE=/a%%b RKE2_KUBECONFIG_MODE=%N 1=bad"
        ),
    },
    "sections and keys that are not the service's": {
        f"{ETC}/{UNIT}.d/50.conf": "[Unit]\nEnvironment=RKE2_NODE_NAME=no\n[Service]\nX-Y=RKE2_NODE_NAME=no\n"
        "Environment = RKE2_CNI=yes\n",
    },
}

# Variables that no file has: systemd's own, and those it was told to give to all services.
ASKED = {
    "systemctl set-environment": (["RKE2_NODE_NAME=set", "RKE2_CNI=two words\tand ' \" $x \\", "OPTS=--debug  --selinux"], {}),
    "systemctl set-environment is weaker than Environment= and a file": (
        ["RKE2_NODE_NAME=set", "RKE2_CNI=set", "RKE2_KUBECONFIG_MODE=set"],
        {f"{ETC}/{UNIT}.d/50.conf": variable("line"), ENV: "RKE2_CNI=file\n"},
    ),
    "systemctl set-environment is taken away by UnsetEnvironment=": (
        ["RKE2_NODE_NAME=set"],
        {f"{ETC}/{UNIT}.d/50.conf": service("UnsetEnvironment=RKE2_NODE_NAME")},
    ),
    "PassEnvironment= of systemd's own variables": (
        [],
        {
            f"{ETC}/{UNIT}.d/50.conf": service(
                "PassEnvironment=container NONE\nExecStart=\n"
                f"ExecStart={RECORD} server --node-name=${{container}} --cni=${{NONE}}"
            )
        },
    ),
    "PassEnvironment= is stronger than set-environment": (
        ["container=set"],
        {
            f"{ETC}/{UNIT}.d/50.conf": service(
                f"PassEnvironment=container\nExecStart=\nExecStart={RECORD} server --node-name=${{container}}"
            )
        },
    ),
}

# Whether systemd starts the service with this environment file, which it may not go without.
FILES = {
    "an environment file that is the null device": None,
    "an environment file that is missing": "missing",
    "an environment file that is a directory": "directory",
    "an environment file with a NUL in it": b"RKE2_NODE_NAME=a\0b\n",
    "an environment file with Latin-1 in a value": b"RKE2_NODE_NAME=caf\xe9\n",
    "an environment file with Latin-1 in a comment": b"# caf\xe9\nRKE2_NODE_NAME=x\n",
    "an environment file of two mebibytes": b"#" * (2 << 20) + b"\nRKE2_NODE_NAME=x\n",
}


def read(path):
    with open(path, "rb") as file:
        return file.read().decode()


def make(layout, base):
    files = dict(layout)
    files.setdefault(f"{LOCAL}/{UNIT}", base)
    for path, text in files.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if text is None:
            os.symlink("/dev/null", path)
        else:
            with open(path, "w", newline="") as file:
                file.write(text)
    return files


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def theirs():
    run("systemctl", "start", UNIT)
    words, _, variables = read(SEEN).partition("\0\0")
    variables = dict(pair.split("=", 1) for pair in variables.split("\0") if pair)
    show = dict(
        line.split("=", 1)
        for line in run("systemctl", "show", "-p", "FragmentPath,DropInPaths", UNIT).splitlines()
    )
    files = [show["FragmentPath"], *show["DropInPaths"].split()]
    words = [as_shown(word) for word in words.split("\0")]
    variables = {name: as_shown(value) for name, value in variables.items()}
    return {"files": files, "words": words, "variables": variables}


def as_shown(word):
    """As nodeguard shows it: flags and variables are those whose values it shows, but for blanks."""
    if not any(c.isspace() for c in word):
        return word
    name, equals, _ = word.partition("=")
    return f"{name}=(not shown)" if equals and name.startswith("--") else "(not shown)"


def ours():
    told = json.loads(run("nodeguard", "explain", "rke2", "--role", "server", "--json"))
    variables = {value["flag"]: value["value"] for value in told["environment"]}
    unit = told["unit"]
    return {"files": unit["files"], "words": unit["arguments"], "variables": variables}


def compare(name, layout):
    files = make(layout, BASE)
    try:
        run("systemctl", "daemon-reload")
        mine, systemds = ours(), theirs()
        # A masked drop-in is told by systemd as /dev/null or not at all.
        for side in (mine, systemds):
            side["files"] = [path for path in side["files"] if os.path.realpath(path) != "/dev/null"]
        different = [key for key in mine if mine[key] != systemds[key]]
        if different:
            what = "; ".join(f"{key}: {mine[key]} / systemd {systemds[key]}" for key in different)
            return f"differs {name}: {what}"
        return f"same {name}"
    finally:
        for path in files:
            if os.path.lexists(path):
                os.unlink(path)


def asked(name, given):
    assignments, layout = given
    try:
        if assignments:
            run("systemctl", "set-environment", *assignments)
        return compare(name, layout)
    finally:
        names = [assignment.split("=", 1)[0] for assignment in assignments]
        if names:
            run("systemctl", "unset-environment", *names)


def refusal(name, content):
    """Fatal to nodeguard where and only where systemd does not start the service."""
    drop_in, path = f"{ETC}/{UNIT}.d/50.conf", "/etc/layouts-file"
    files = make({drop_in: service(f"EnvironmentFile={path}")}, BASE)
    try:
        if content is None:
            os.symlink("/dev/null", path)
        elif content == "directory":
            os.mkdir(path)
        elif content != "missing":
            with open(path, "wb") as file:
                file.write(content)
        run("systemctl", "daemon-reload")
        refused = subprocess.run(["systemctl", "start", UNIT], capture_output=True).returncode != 0
        subprocess.run(["systemctl", "reset-failed", UNIT], capture_output=True)
        told = subprocess.run(
            ["nodeguard", "check", "--role", "server", "--json"], capture_output=True, text=True
        ).stdout
        codes = [
            finding["code"]
            for control in json.loads(told)["controls"]
            for finding in control["findings"]
            if finding["severity"] == "fatal"
        ]
        if refused == ("environment-file-missing" in codes):
            return f"same {name}"
        return f"differs {name}: systemd refuses: {refused}; fatal to nodeguard: {codes}"
    finally:
        for made in [*files, path]:
            if os.path.isdir(made) and not os.path.islink(made):
                os.rmdir(made)
            elif os.path.lexists(made):
                os.unlink(made)


def main():
    with open(RECORD, "w") as file:
        file.write(
            "#!/usr/bin/python3\nimport os, sys\n"
            "ours = [f'{k}={v}' for k, v in os.environ.items() if k.startswith('RKE2_')]\n"
            f"open({SEEN!r}, 'w').write('\\0'.join(sys.argv[1:]) + '\\0\\0' + '\\0'.join(ours))\n"
        )
    os.chmod(RECORD, 0o755)
    generator = "/etc/systemd/system-generators/layouts"
    os.makedirs(os.path.dirname(generator), exist_ok=True)
    with open(generator, "w") as file:
        file.write(
            f'#!/bin/sh\nfor kind in normal early late; do\n'
            f'    [ ! -d {GENERATED}/$kind ] || cp -r {GENERATED}/$kind/. "$1"\n    shift\ndone\n'
        )
    os.chmod(generator, 0o755)
    rows = [(compare, *row) for row in LAYOUTS.items()]
    rows += [(asked, *row) for row in ASKED.items()]
    rows += [(refusal, *row) for row in FILES.items()]
    for look, name, given in rows:
        try:
            print(look(name, given))
        except (subprocess.CalledProcessError, OSError) as error:
            words = getattr(error, "stderr", "") or ""
            print(f"differs {name}: {error} {words}".replace("\n", " "))


if __name__ == "__main__":
    sys.exit(main())
