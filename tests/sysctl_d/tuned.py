# SPDX-License-Identifier: Apache-2.0
"""TuneD's own loader, merger and sysctl plug-in, without its daemon, bus and devices."""

import json
import logging
import os
import sys
import types

import tuned.consts as consts
from tuned.plugins.plugin_sysctl import SysctlPlugin
from tuned.profiles import Factory, Loader, Locator, Merger
from tuned.profiles.variables import Variables
from tuned.utils.commands import commands
from tuned.utils.global_config import GlobalConfig

logging.disable(logging.CRITICAL)


def start():
    """What tuned.service does with the kernel parameters when it starts."""
    config = GlobalConfig()
    variables = Variables()
    locator = Locator(config.get_list(consts.CFG_PROFILE_DIRS, consts.CFG_DEF_PROFILE_DIRS))
    loader = Loader(locator, Factory(), Merger(), config, variables)
    with open(consts.ACTIVE_PROFILE_FILE) as file:
        profile = loader.load(file.read().strip())
    plugin = SysctlPlugin.__new__(SysctlPlugin)
    plugin._cmd, plugin._variables, plugin._global_cfg = commands(), variables, config
    plugin._storage = types.SimpleNamespace(set=lambda *_: None)
    plugin._storage_key = lambda name: name
    for unit in profile.units.values():
        if unit.type == "sysctl" and unit.enabled:
            plugin._instance_apply_static(
                types.SimpleNamespace(name=unit.name, _sysctl=unit.options, _sysctl_original={})
            )


def values():
    found = {}
    for directory, _, names in os.walk("/proc/sys"):
        for name in names:
            path = os.path.join(directory, name)
            with open(path) as file:
                found[os.path.relpath(path, "/proc/sys")] = file.read().strip()
    return found


for _ in sys.stdin:
    start()
    print(json.dumps(values()), flush=True)
