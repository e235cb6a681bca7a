#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie
# A million events in the queue at once: nothing is lost, memory stays as it is, and a kernel
# parameter does not wait until they are read.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

tools=/usr/local/lib/node
LARGEST_KIB=10240

node_up "$@"
server_with_agent
node sysctl -qw fs.inotify.max_queued_events=2000000
# Neither the watchdog nor the poll shall end what is stopped, or find what it missed.
node_write /etc/systemd/system/nodeguard.service.d/patient.conf <<<$'[Service]\nWatchdogSec=0'
node_write /etc/nodeguard/nodeguard.toml <<<'poll-interval = "5min"'
node_sh 'systemctl daemon-reload; systemctl restart nodeguard'
check_soon "the node is ready" 20 state_is ready
pid=$(node systemctl show -P MainPID nodeguard)

piled=$(node $tools/pile-up "$ETCD_DIR/member" 1000000 500 "$pid" 2>&1)
node_say "piled up: $piled"
check_has "500 leaves were made" '^leaves=500 ' "$piled"
# 32 bytes each.
check_has "and a million events were waiting" 'queued_mib=3[0-9]$' "$piled"
node sysctl -qw kernel.panic=0
check_soon "a kernel parameter is right meanwhile" 5 sysctl_is kernel.panic 10
all_etcds() { [ "$(node_sh "find $ETCD_DIR -name leaf -user etcd | wc -l")" = 500 ]; }
check_soon "no leaf is lost" 60 all_etcds
check_is "nor a directory" "" "$(node_sh "find $ETCD_DIR ! -user etcd -o -type d ! -perm 700")"
largest=$(node sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status")
check_at_most "and it never took more memory (KiB)" $LARGEST_KIB "$largest"
node chown root:root "$ETCD_DIR/member/t499/a/b/c/leaf"
check_soon "what comes after them is seen" 60 all_etcds
check_is "by the same process" "$pid" "$(node systemctl show -P MainPID nodeguard)"
finish
