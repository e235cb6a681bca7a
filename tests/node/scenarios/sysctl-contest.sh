#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie
# Somebody who never gives up a kernel parameter: contested, said once at its beginning and once at
# its end, and over by itself when the rival is gone. Others are held all the while.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
rke2_config <<<'profile: cis'
node_write /etc/nodeguard/nodeguard.toml <<<'attribution = true'
install_agent >/dev/null 2>&1 || node_die "the package does not install"
node_sh 'mkdir -p /etc/systemd/system/nodeguard.service.d
    ln -s /usr/lib/nodeguard/attribution.conf /etc/systemd/system/nodeguard.service.d/
    systemctl daemon-reload && systemctl restart nodeguard'
check "the gate opens" node nodeguard gate --role server
check_soon "the node is ready" 20 state_is ready

node_say "a rival that never gives up"
node systemd-run -q --unit ear -p StandardOutput=file:/root/signals \
    busctl monitor --match "type='signal',member='Contested'"
hearing() { node pgrep -x busctl; }
check_soon "somebody listens on the bus" 10 hearing
since=$(journal_now)
node systemd-run -q --unit rival /usr/local/lib/node/rival /proc/sys/kernel/panic 0
contested() { agent_journal_has 'kernel.panic is contested' "$since"; }
check_soon "kernel.panic is contested" 60 contested
check_soon "the node is degraded" 10 state_is degraded
status=$(node nodeguard status || true)
check_has "status says so with both values and the rival" \
    'kernel.panic is contested: somebody keeps setting it from 10 to 0 \(the last time written by .*rival.service\)' "$status"
node sysctl -qw vm.panic_on_oom=1
check_soon "other parameters are held as before" 10 sysctl_is vm.panic_on_oom 0
node systemctl stop rival
over() { agent_journal_has 'kernel.panic is no longer contested' "$since"; }
check_soon "it ends with the rival" 60 over
check_soon "kernel.panic is right" 10 sysctl_is kernel.panic 10
check_soon "the node is ready" 20 state_is ready
count() { node journalctl -q -o cat -t nodeguard --since "$since" MESSAGE_ID=318740df3b4e41deb32a887fd64cae42; }
check_is "one line at its beginning and one at its end" 2 "$(count | wc -l)"
entry=$(node journalctl -q -o verbose -t nodeguard --since "$since" NODEGUARD_CODE=contested)
check_has "with their value" '^ *NEWVALUE=0$' "$entry"
check_has "and ours" '^ *OURVALUE=10$' "$entry"
check_is "and one signal" 1 "$(node grep -c 'Member=Contested' /root/signals)"
finish
