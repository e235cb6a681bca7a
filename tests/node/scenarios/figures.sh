#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie
# alone: it measures how long things take.
# The floor figures: sizes, memory, time to READY=1. Lines that begin with `# figure:` are what
# tests/all prints at its end. Limits are loose: they catch an accident, not a slow day.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

figure() { printf '# figure: %-44s %10s   (goal: %s)\n' "$@"; }
kib() { echo $(($1 / 1024)); }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

node_up "$@"
server_with_agent

deb=$(agent_deb)
deb_bytes=$(stat -c %s "$deb")
binary_bytes=$(node stat -c %s /usr/bin/nodeguard)
# 5 MiB, of which RKE2's whole command line and its YAML, release by release, are some 200 KB, and what
# keeps an image's builder, the bus and the gate's socket within bounds some 280 KB.
figure "binary" "$(kib "$binary_bytes") KiB" "5120 KiB"
figure "package" "$(kib "$deb_bytes") KiB" "1536 KiB"
check_at_most "the binary is small" 5242880 "$binary_bytes"
check_at_most "the package is small" 1572864 "$deb_bytes"

pid=$(node systemctl show -P MainPID nodeguard)
rss=$(node awk '/^VmRSS:/ { print $2 }' "/proc/$pid/status")
figure "memory (RSS), guarding a server" "$rss KiB" "4608 KiB"
check_at_most "the daemon's memory is small" 10240 "$rss"

# From fork to READY=1, as systemd saw it; 21 times, without its limit on starts.
node_write /run/systemd/system/scale.service <<'END'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
END
# The same sandbox around another program, active as soon as that is executed: what systemd takes
# to build it.
node_sh 'sed -e "s/^Type=.*/Type=exec/; s/^ExecStart=.*/ExecStart=\/bin\/sleep infinity/" \
    -e "/^ExecReload=/d; /^WatchdogSec=/d; /^NotifyAccess=/d" \
    /usr/lib/systemd/system/nodeguard.service >/run/systemd/system/sandbox.service'
node systemctl daemon-reload
starts() { # starts UNIT: microseconds from fork to active, a line a start
    # shellcheck disable=SC2016 # expanded in the node
    node_sh 'for _ in $(seq 21); do
        systemctl reset-failed "$1" 2>/dev/null
        systemctl restart "$1" || exit
        systemctl show -P ExecMainStartTimestampMonotonic -P ActiveEnterTimestampMonotonic "$1" |
            awk "{ v[NR] = \$1 } END { print (v[1] > v[2] ? v[1] - v[2] : v[2] - v[1]) }"
    done' "$1" | median
}
ready_us=$(starts nodeguard.service)
scale_us=$(starts scale.service)
sandbox_us=$(starts sandbox.service)
ms() { awk -v us="$1" 'BEGIN { printf "%.1f ms", us / 1000 }'; }
own_us=$((ready_us - sandbox_us))
figure "exec to READY=1, compliant node (median)" "$(ms "$own_us")" "30 ms"
figure "fork to READY=1, with what systemd builds" "$(ms "$ready_us")" "-"
figure "fork to exec in the same sandbox" "$(ms "$sandbox_us")" "-"
figure "fork to the end of /bin/true, a plain oneshot" "$(ms "$scale_us")" "-"
check_at_most "READY=1 comes quickly (µs)" 300000 "$ready_us"

gate_us=$(node_sh 'for _ in $(seq 21); do
    a=${EPOCHREALTIME/./}
    nodeguard gate --role server >/dev/null 2>&1 || exit
    echo $((${EPOCHREALTIME/./} - a))
done' | median)
figure "the gate's share of an RKE2 start (median)" "$(ms "$gate_us")" "20 ms"
check_at_most "the gate is quick (µs)" 300000 "$gate_us"
check_soon "the node is ready afterwards" 15 state_is ready
finish
