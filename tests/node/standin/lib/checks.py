# SPDX-License-Identifier: Apache-2.0
"""What RKE2, and kubelet after it, ask of a node before they start; in their words."""
import random
import re

import log

RKE2_KERNEL = {
    "vm.overcommit_memory": 1,
    "vm.panic_on_oom": 0,
    "kernel.panic": 10,
    "kernel.panic_on_oops": 1,
}
KUBELET_KERNEL = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}


def profiles(version):
    """The values of `profile` that this RKE2 takes: the whole CIS ones, and etcd's alone."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    minor, patch = (int(found[2]), int(found[3])) if found else (99, 0)
    if minor < 20:
        return {"cis-1.5"}, set()
    if minor < 25:
        return {"cis-1.5", "cis-1.6"}, set()
    both_from = {25: 15, 26: 10, 27: 7, 28: 2, 29: 0}
    if minor in both_from:
        return ({"cis", "cis-1.23"} if patch >= both_from[minor] else {"cis-1.23"}), set()
    etcd_from = {30: 14, 31: 10, 32: 6, 33: 2}
    return {"cis"}, ({"etcd"} if patch >= etcd_from.get(minor, 0) else set())


def kernel_value(key):
    path = "/proc/sys/" + key.replace(".", "/")
    try:
        with open(path, encoding="ascii") as file:
            content = file.read()
    except OSError as error:
        log.fatal(f"open {path}: {error.strerror.lower()}")
    if len(content) < 2 or not content.endswith("\n"):
        log.fatal(f"invalid contents: {key}")
    return int(content)


def profile(flags, role, version):
    """RKE2's own checks. Returns whether a hardened etcd is asked for."""
    value = flags["profile"]
    whole, etcd_only = profiles(version)
    if value in whole:
        wrong = [
            f"invalid kernel parameter value {key}={actual} - expected {expected}"
            for key, expected in RKE2_KERNEL.items()
            if (actual := kernel_value(key)) != expected
        ]
        random.shuffle(wrong)  # RKE2 walks a Go map
        if wrong:
            log.fatal("".join(one + "\n" for one in wrong))
        if "protect-kernel-defaults" in flags.given and not flags["protect-kernel-defaults"]:
            log.fatal(f"--protect-kernel-defaults must be true when using --profile={value}")
        flags.give("protect-kernel-defaults", "true")
    elif value == "":
        log.warning("not running in CIS mode")
        return False
    elif value not in etcd_only:
        log.fatal("invalid value provided for --profile flag")

    if role == "server":
        missing = []
        if user("etcd") is None:
            missing.append("missing required: user: unknown user etcd")
        if group("etcd") is None:
            missing.append("missing required: group: unknown group etcd")
        if missing:
            log.fatal("".join(one + "\n" for one in missing))
    return True


def entries(path, fields):
    """A line's fields, as Go's os/user reads these files without cgo: never through NSS."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                line = line.strip()
                if line and not line.startswith("#") and line.count(":") >= fields - 1:
                    yield line.split(":")
    except FileNotFoundError:
        return


def user(name):
    """uid and primary gid of a user in /etc/passwd."""
    for entry in entries("/etc/passwd", 6):
        if entry[0] == name and entry[2].isdigit() and entry[3].isdigit():
            return int(entry[2]), int(entry[3])
    return None


def group(name):
    for entry in entries("/etc/group", 4):
        if entry[0] == name and entry[2].isdigit():
            return int(entry[2])
    return None


def kubelet(flags):
    """The first thing that kubelet would die of, or None."""
    protect = flags["protect-kernel-defaults"]
    for argument in flags["kubelet-arg"]:
        name, _, value = argument.partition("=")
        if name.lstrip("-") == "protect-kernel-defaults":
            protect = value in ("", "1", "t", "T", "true", "TRUE", "True")
    if not protect:
        return None
    for key, expected in KUBELET_KERNEL.items():
        actual = kernel_value(key)
        if actual != expected:
            return f"invalid kernel flag: {key}, expected value: {expected}, actual value: {actual}"
    return None
