#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie nspawn-bookworm
# RKE2's profile from `systemctl set-environment`, which no file has: the daemon sees it from within
# its sandbox, the gate without a daemon sees it, and both agree with RKE2. And from systemd's own
# environment with `PassEnvironment=`, which the daemon in its sandbox cannot read and says so.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

# What systemd itself is started with.
export NSPAWN_SETENV=RKE2_CIS_PROFILE=cis-1.99
node_up "$@"
rke2_config </dev/null
install_agent >/dev/null

node systemctl set-environment RKE2_CIS_PROFILE=cis-1.99
check_status "a profile that RKE2 does not know keeps it from starting" 1 \
    node timeout 60 systemctl start rke2-server
check_soon "with its words and where it was set" 5 \
    rke2_status_has 'invalid value provided for --profile flag.*systemctl set-environment'
check_has "the daemon finds it too, and the gate looks once more before it stays shut" \
    'the gate looks by itself' "$(journal_of rke2-server)"
node systemctl stop rke2-server nodeguard
check_status "the gate alone says the same" 78 node nodeguard gate --role server

node systemctl start nodeguard
node systemctl set-environment RKE2_CIS_PROFILE=cis
check "with one that it knows RKE2 starts" start_rke2
check_soon "under the profile" 10 state_is ready
check_is "as the agent has it" cis "$(bus_get Profile)"
check_has "RKE2 runs under it as well" 'RKE2_CIS_PROFILE=cis' \
    "$(node_sh 'tr "\0" "\n" </proc/$(systemctl show -P MainPID rke2-server)/environ')"

node systemctl stop rke2-server
node systemctl unset-environment RKE2_CIS_PROFILE
node mkdir -p /etc/systemd/system/rke2-server.service.d
node_sh 'printf "[Service]\nPassEnvironment=RKE2_CIS_PROFILE\n" \
    >/etc/systemd/system/rke2-server.service.d/pass.conf'
node systemctl daemon-reload
check_status "a profile that systemd itself has and passes keeps RKE2 from starting" 1 \
    node timeout 60 systemctl start rke2-server
check_soon "with its words" 5 rke2_status_has 'invalid value provided for --profile flag'
check_has "by the gate's own look, since the daemon cannot see it" \
    'the daemon does not know all that RKE2 get.*looks by itself' \
    "$(journal_of rke2-server)"
check_has "as the daemon says" environment-unread "$(node cat /run/nodeguard/report.json)"
finish
