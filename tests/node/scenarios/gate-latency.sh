#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie
# alone: it measures how long the gate holds up a start of RKE2's.
# The gate as a whole process, over 200 runs: it asks the daemon, looks by itself without one, and
# looks by itself without a bus.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

RUNS=200
node_up "$@"
server_with_agent

measure() { # measure NAME GOAL
    local took median p99
    # shellcheck disable=SC2016 # expanded in the node
    took=$(node_sh 'for _ in $(seq "$1"); do
        a=${EPOCHREALTIME/./}
        nodeguard gate --role server >/dev/null 2>&1 || exit
        echo $((${EPOCHREALTIME/./} - a))
    done' "$RUNS" | sort -n)
    check_is "$1: every gate opened" "$RUNS" "$(wc -l <<<"$took")"
    median=$(sed -n "$((RUNS / 2))p" <<<"$took")
    p99=$(sed -n "$((RUNS * 99 / 100))p" <<<"$took")
    printf '# figure: gate, %-38s %s   (goal: median %s)\n' "$1" \
        "$(awk -v a="$median" -v b="$p99" 'BEGIN { printf "%.1f ms, p99 %.1f ms", a / 1000, b / 1000 }')" "$2"
    # Loose: it catches an accident, not a slow day.
    check_at_most "$1: the median (µs)" 200000 "${median:-999999}"
}

measure "asking the daemon" "20 ms"
# Whatever it is doing just then: starting, looking, on the way to the bus, or gone.
# shellcheck disable=SC2016 # expanded in the node
opened=$(node_sh 'for _ in $(seq 15); do systemctl restart nodeguard; done &
    opened=0 shut=0
    while kill -0 $! 2>/dev/null; do
        if nodeguard gate --role server >/dev/null 2>&1; then opened=$((opened + 1)); else shut=$((shut + 1)); fi
    done
    wait; echo "$opened opened, $shut shut"')
check_has "while the daemon is restarted every gate opens" '^[1-9][0-9]+ opened, 0 shut$' "$opened"
node systemctl stop nodeguard
measure "no daemon, looking by itself" "20 ms"
node systemctl stop dbus.service dbus.socket
measure "no bus, looking by itself" "20 ms"
finish
