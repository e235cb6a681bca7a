#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie+dbus-broker
# alone: it measures how long things take.
# Anybody on the host floods the bus and reads nothing: the agent stays small and guards as before,
# on dbus-daemon and on dbus-broker. tests/bench/bus has all kinds of flood, and figures.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"
# shellcheck source=tests/node/flood.sh
. "$node_lib/flood.sh"
FLOOD_EVENTS=60 FLOOD_GATES=2

# Twice as long as with the bare loop, or what a busy processor's turns come to.
at_most() { awk -v n="${1:?no figure}" -v more="$2" 'BEGIN { printf "%.3f", 2 * n + more }'; }

for bus in dbus-daemon dbus-broker; do
    flood_bus "$bus"
    node_up "$@"
    flood_setup
    flood_under nothing
    quiet=$(figure_of p50_ms "$FLOOD_OURS")
    node_say "$bus, no flood: $FLOOD_OURS; bare loop: $FLOOD_BARE"
    for kind in report introspected bodies-1m signals-1m names; do
        flood_under "$kind"
        node_say "$bus, $kind: $FLOOD_PEAK KiB; $FLOOD_OURS; bare loop: $FLOOD_BARE; heard $FLOOD_HEARD"
        check_at_most "$bus, $kind: the agent has at most 16 MB" 16384 "$FLOOD_PEAK"
        check_is "$bus, $kind: nothing was killed for memory" 0 "$(flood_killed)"
        check_has "$bus, $kind: no deviation was left standing" "^n=$FLOOD_EVENTS lost=0 " "$FLOOD_OURS"
        check_at_most "$bus, $kind: half of the deviations last no longer than twice what they do without" \
            "$(at_most "$quiet" 1)" "$(figure_of p50_ms "$FLOOD_OURS")"
        check_at_most "$bus, $kind: 99 of 100 last no longer than twice what they do with a bare loop" \
            "$(at_most "$(figure_of p99_ms "$FLOOD_BARE")" 20)" "$(figure_of p99_ms "$FLOOD_OURS")"
        check_lacks "$bus, $kind: the gates open" '[1-9][0-9]*$' "$(cut -d' ' -f2 <<<"$FLOOD_GATE")"
        heard() { [ "$FLOOD_HEARD" -gt 0 ]; }
        check "$bus, $kind: one who listens hears of corrections during the flood" heard
    done
    check_is "$bus: the agent was never started again" 0 "$(node systemctl show -P NRestarts nodeguard)"
    check_soon "$bus: after the floods one who asks is answered" 20 state_is ready
    node_down
    flood_end
done
finish
