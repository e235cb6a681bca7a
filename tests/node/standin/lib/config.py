# SPDX-License-Identifier: Apache-2.0
"""What RKE2 makes of its config.yaml, drop-ins, command line and environment."""
import os
import sys

# With -S there is no site module, so Debian's own package directory has to be named.
sys.path.append("/usr/lib/python3/dist-packages")

import yaml  # noqa: E402

import log  # noqa: E402

BOOL, TEXT, LIST = "bool", "text", "list"

# The flags the stand-in needs, and the most usual of the others, so that they are "known".
# name: (kind, environment variable, roles)
FLAGS = {
    "profile": (TEXT, "RKE2_CIS_PROFILE", "server agent"),
    "data-dir": (TEXT, "RKE2_DATA_DIR", "server agent"),
    "config": (TEXT, "RKE2_CONFIG_FILE", "server agent"),
    "debug": (BOOL, "RKE2_DEBUG", "server agent"),
    "token": (TEXT, "RKE2_TOKEN", "server agent"),
    "server": (TEXT, "RKE2_URL", "server agent"),
    "node-name": (TEXT, "RKE2_NODE_NAME", "server agent"),
    "node-ip": (LIST, None, "server agent"),
    "node-label": (LIST, None, "server agent"),
    "node-taint": (LIST, None, "server agent"),
    "selinux": (BOOL, "RKE2_SELINUX", "server agent"),
    "protect-kernel-defaults": (BOOL, None, "server agent"),
    "kubelet-arg": (LIST, None, "server agent"),
    "kube-proxy-arg": (LIST, None, "server agent"),
    "private-registry": (TEXT, None, "server agent"),
    "system-default-registry": (TEXT, "RKE2_SYSTEM_DEFAULT_REGISTRY", "server agent"),
    "cloud-provider-name": (TEXT, "RKE2_CLOUD_PROVIDER_NAME", "server agent"),
    "audit-policy-file": (TEXT, "RKE2_AUDIT_POLICY_FILE", "server agent"),
    "etcd-arg": (LIST, None, "server"),
    "disable": (LIST, None, "server"),
    "disable-etcd": (BOOL, None, "server"),
    "disable-apiserver": (BOOL, None, "server"),
    "disable-controller-manager": (BOOL, None, "server"),
    "disable-scheduler": (BOOL, None, "server"),
    "datastore-endpoint": (TEXT, "RKE2_DATASTORE_ENDPOINT", "server"),
    "cluster-init": (BOOL, None, "server"),
    "cluster-reset": (BOOL, "RKE2_CLUSTER_RESET", "server"),
    "cluster-reset-restore-path": (TEXT, "RKE2_CLUSTER_RESET_RESTORE_PATH", "server"),
    "tls-san": (LIST, None, "server"),
    "cni": (LIST, "RKE2_CNI", "server"),
    "cluster-cidr": (LIST, None, "server"),
    "service-cidr": (LIST, None, "server"),
    "kube-apiserver-arg": (LIST, None, "server"),
    "write-kubeconfig-mode": (TEXT, "RKE2_KUBECONFIG_MODE", "server"),
    "etcd-snapshot-schedule-cron": (TEXT, None, "server"),
    "etcd-expose-metrics": (BOOL, None, "server"),
    "secrets-encryption": (BOOL, None, "server"),
}

TRUE = {"1", "t", "T", "true", "TRUE", "True"}
FALSE = {"0", "f", "F", "false", "FALSE", "False"}


class Flags(dict):
    """The values of all flags; `given` has the names that somebody set."""

    def __init__(self):
        super().__init__(
            {name: {BOOL: False, TEXT: "", LIST: []}[kind] for name, (kind, _, _) in FLAGS.items()}
        )
        self["data-dir"] = "/var/lib/rancher/rke2"
        self.given = set()

    def give(self, name, text):
        kind = FLAGS[name][0]
        if kind == BOOL:
            if text not in TRUE | FALSE:
                log.fatal(f'invalid boolean value "{text}" for -{name}: parse error')
            self[name] = text in TRUE
        elif kind == LIST:
            self[name] = self[name] + [text]
        else:
            self[name] = text
        self.given.add(name)


def resolve(role, argv, env):
    """Flags for `rke2 ROLE ARGV…`; never returns where RKE2 would not start."""
    path = env.get("RKE2_CONFIG_FILE") or from_command_line(argv) or "/etc/rancher/rke2/config.yaml"
    if path.startswith(("http://", "https://")):
        log.fatal(f"the stand-in reads no configuration over the network: {path}")
    given = as_arguments(role, merged([path, *drop_ins(path + ".d")])) + list(argv)

    flags = Flags()
    for name, (kind, variable, _) in FLAGS.items():
        text = env.get(variable, "") if variable else ""
        if text:
            for part in text.split(",") if kind == LIST else [text]:
                flags.give(name, part)
    # What the environment gave to a list is the default that an argument replaces.
    fresh = {name for name, (kind, _, _) in FLAGS.items() if kind == LIST}
    arguments = iter(given)
    for argument in arguments:
        name, equals, text = argument.lstrip("-").partition("=")
        name = {"c": "config", "d": "data-dir", "t": "token", "s": "server"}.get(name, name)
        if name not in FLAGS or role not in FLAGS[name][2]:
            log.fatal(f"flag provided but not defined: -{name}")
        if not equals:
            text = "true" if FLAGS[name][0] == BOOL else next(arguments, "")
        if name in fresh:
            flags[name] = []
            fresh.discard(name)
        flags.give(name, text)
    return flags


def from_command_line(argv):
    for index, argument in enumerate(argv):
        name, equals, text = argument.partition("=")
        if name in ("--config", "-c"):
            return text if equals else "".join(argv[index + 1 : index + 2])
    return ""


def drop_ins(directory):
    try:
        names = os.listdir(os.fsencode(directory))
    except FileNotFoundError:
        return []
    except OSError as error:
        log.fatal(f"open {directory}: {error.strerror.lower()}")
    wanted = sorted(n for n in names if n.lower().endswith((b".yaml", b".yml")))
    return [os.path.join(directory, os.fsdecode(name)) for name in wanted]


def merged(paths):
    """Key → value over all files, in the order in which the keys were first seen."""
    values = {}
    for path in paths:
        if os.path.isdir(path):
            continue
        for key, value in parsed(path).items():
            key = str(key)
            if key.endswith("+"):
                key = key[:-1]
                value = as_list(values.get(key)) + as_list(value)
            values[key] = value
    return values


def as_list(value):
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def parsed(path):
    try:
        with open(path, "rb") as file:
            document = next(yaml.load_all(file, Loader=yaml.SafeLoader), None)
    except FileNotFoundError:
        return {}
    except OSError as error:
        log.fatal(f"open {path}: {error.strerror.lower()}")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        log.fatal(f"yaml: line {line}: {error.problem}")
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        log.fatal(f"yaml: {str(error).splitlines()[0]}")
    if document is None:
        return {}
    if not isinstance(document, dict):
        log.fatal("yaml: unmarshal errors:\n  line 1: cannot unmarshal into yaml.MapSlice")
    return document


def as_arguments(role, values):
    arguments = []
    for key, value in values.items():
        if key not in FLAGS or role not in FLAGS[key][2]:
            log.warning(f"Unknown flag --{key} found in config.yaml, skipping")
            continue
        arguments += [f"--{key}={text(one)}" for one in (value if isinstance(value, list) else [value])]
    return arguments


def text(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
