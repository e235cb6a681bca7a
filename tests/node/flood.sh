# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A node whose bus is flooded, and what that does to the agent; sourced after agent.sh.
#
#   . tests/node/flood.sh
#   flood_bus dbus-daemon             # before node_up: which of the two runs in the node
#   node_up nspawn trixie+dbus-broker
#   flood_setup [DEB]                 # a ready server with a tree of 100 entries
#   flood_under KIND SECONDS          # FLOOD_* below
#
# A limit on memory needs the kernel's memory controller. In qemu systemd has it, and the unit's own
# MemoryMax= holds. An nspawn node on a machine whose controllers are those of cgroup v1 has none:
# there the process is put into a group with the same limit from outside.

FLOOD_CONNECTIONS=250
FLOOD_EVENTS=${FLOOD_EVENTS:-150}
FLOOD_GATES=${FLOOD_GATES:-100}
FLOOD_OTHER=/var/lib/beside

flood_bus() { # flood_bus dbus-daemon|dbus-broker
    FLOOD_BUS=$1
    # The broker's package puts it in the place of dbus-daemon.
    # shellcheck disable=SC2317 # node_up calls it
    if [ "$1" = dbus-daemon ]; then
        node_prepare() { rm -f "$1/etc/systemd/system/dbus.service"; }
    else
        node_prepare() { [ -L "$1/etc/systemd/system/dbus.service" ] || node_die "the image has no dbus-broker"; }
    fi
}

# The program that measures, static as the agent's.
flood_beside() {
    local host
    host=$(rustc -vV | sed -n 's/^host: //p')
    (cd "$repo" && RUSTFLAGS='-C target-feature=+crt-static' cargo build --quiet --release --locked \
        --target "$host" --bench beside --message-format=json \
        --config 'profile.release.lto="off"' --config 'profile.release.codegen-units=16') |
        sed -n 's/.*"name":"beside".*"executable":"\([^"]*\)".*/\1/p'
}

flood_setup() { # flood_setup [DEB]
    local said beside
    # Of runs that were broken off; a group in use stays.
    rmdir /sys/fs/cgroup/memory/node-* 2>/dev/null || true
    said=$(node ps -C dbus-daemon,dbus-broker -o comm= | sort -u)
    [ "$said" = "$FLOOD_BUS" ] || node_die "expected $FLOOD_BUS in the node, found $said"
    beside=$(flood_beside)
    node_put "${beside:?"cargo did not say where it put beside"}" /usr/local/lib/node/beside 755
    node_put "$node_lib/flood" /usr/local/lib/node/flood 755
    rke2_config <<<'profile: cis'
    install_agent "$@" >/dev/null 2>&1 || node_die "the package does not install"
    node_sh "mkdir -p $ETCD_DIR/member/snap $ETCD_DIR/member/wal
        for n in \$(seq 97); do echo x >$ETCD_DIR/member/wal/\$n.wal; done"
    node nodeguard gate --role server >/dev/null 2>&1 || node_die "the node is not fit: $(node nodeguard check 2>&1)"
    wait_for "the agent to be ready" 30 state_is ready || node_die "$(node nodeguard check 2>&1)"
    FLOOD_OWNER=$(node stat -c %u:%g "$ETCD_DIR")
}

flood_agent() { node systemctl show -P MainPID nodeguard; }

# The agent under its MemoryMax=, whoever sees to that.
flood_confine() {
    FLOOD_GROUP=''
    ! node grep -qw memory /sys/fs/cgroup/cgroup.controllers || return 0
    if [ "$NODE_KIND" != nspawn ] || ! [ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
        node_die "no memory controller, neither in the node nor here"
    fi
    local pid
    FLOOD_GROUP=/sys/fs/cgroup/memory/$(nspawn_name "$NODE_DIR")
    mkdir -p "$FLOOD_GROUP"
    node systemctl show -P MemoryMax nodeguard >"$FLOOD_GROUP/memory.limit_in_bytes"
    for pid in $(flood_outside "$(flood_agent)"); do echo "$pid" >"$FLOOD_GROUP/cgroup.procs"; done
}

# The bare loop as a service with the agent's own sandbox, which is a part of what a correction takes.
flood_sandboxed() {
    # shellcheck disable=SC2016 # for the node's shell
    node_sh 'mkdir -p "$1"
        { systemctl cat nodeguard.service | sed -n "/^\[Service\]/,/^\[Install\]/p" |
            grep -vE "^(#|\[Install|Type|Notify|Exec|Restart|Watchdog|Timeout|[A-Z][a-z]*Directory)"
          printf "Type=exec\nExecStart=/usr/local/lib/node/beside --loop %s %s\n" "$1" "$2"
        } >/run/systemd/system/beside.service
        systemctl daemon-reload && systemctl start beside' "$FLOOD_OTHER" "$FLOOD_OWNER"
    wait_for "the loop in a sandbox" 10 sandboxed_runs
    FLOOD_SANDBOXED=''
}
sandboxed_runs() { said '^watching' "$(journal_of beside)"; }

# After node_down.
flood_end() { [ -z "${FLOOD_GROUP-}" ] || rmdir "$FLOOD_GROUP"; }

# The process of the node with this number there, as this machine numbers it.
flood_outside() { # flood_outside PID
    local status space
    space=$(readlink "/proc/$NSPAWN_INIT/ns/pid")
    for status in /proc/[0-9]*/status; do
        [ "$(readlink "${status%/status}/ns/pid" 2>/dev/null)" = "$space" ] || continue
        [ "$(awk '/^NSpid:/ { print $NF }' "$status" 2>/dev/null)" != "$1" ] || basename "${status%/status}"
    done
}

# Kibibytes that the agent had in memory at most since the last `flood_forget`.
flood_peak() { node sh -c 'awk "/^VmHWM:/ { print \$2 }" /proc/$(systemctl show -P MainPID nodeguard)/status'; }
flood_forget() { node sh -c 'echo 5 >/proc/$(systemctl show -P MainPID nodeguard)/clear_refs'; }

# Processes that the kernel killed for memory.
flood_killed() {
    if [ -n "$FLOOD_GROUP" ]; then
        awk '$1 == "oom_kill" { print $2 }' "$FLOOD_GROUP/memory.oom_control"
    else
        node awk '$1 == "oom_kill" { print $2 }' /sys/fs/cgroup/system.slice/nodeguard.service/memory.events
    fi
}

figure_of() { # figure_of NAME LINE
    sed -n "s/.*\b$1=\([0-9.]*\).*/\1/p" <<<"$2"
}

# Milliseconds that a share of the gates took at most; with their exit status where it was not 0.
flood_gate() { # flood_gate SHARE
    awk -v s="$1" '{ took[NR] = $1; if ($2) bad = bad $2 } END {
        n = int((NR - 1) * s + 0.5) + 1; printf "%s%s", took[n], bad ? "!" : "" }' <<<"$FLOOD_GATE"
}

# Floods and measures ("nothing": only measures): FLOOD_OURS, FLOOD_BARE and, after flood_sandboxed,
# FLOOD_SANDBOXED (lines of `beside`), FLOOD_PEAK (KiB), FLOOD_GATE (milliseconds of each gate, sorted), FLOOD_HEARD (how many
# DriftCorrected a listener heard), FLOOD_ANSWERED (milliseconds that one who reads waited for State).
flood_under() { # flood_under KIND
    local figures
    # Whoever was killed was started again outside of it.
    flood_confine
    flood_forget
    # Before the flood: a bus that is flooded is slow to take anybody in.
    node systemd-run --quiet --unit=listener --collect /usr/local/lib/node/flood --listen /run/heard 2>&1
    wait_for "the listener" 30 node test -s /run/heard
    FLOOD_SINCE=$(journal_now)
    [ "$1" = nothing ] || node systemd-run --quiet --unit=flood --uid=nobody --property=TasksMax=8 --collect \
        /usr/local/lib/node/flood "$1" "$FLOOD_CONNECTIONS" 600 2>&1
    [ "$1" = nothing ] || wait_for "the flood" 60 flood_runs || node_die "no flood: $(journal_of flood)"
    figures=$(node timeout 600 /usr/local/lib/node/beside "$ETCD_DIR/member/snap" "$FLOOD_OWNER" "$FLOOD_EVENTS" \
        ${FLOOD_SANDBOXED+"$FLOOD_OTHER"} 2>&1)
    FLOOD_OURS=$(sed -n 's/^ours //p' <<<"$figures") FLOOD_BARE=$(sed -n 's/^bare //p' <<<"$figures")
    [ -n "$FLOOD_BARE" ] || node_die "beside: $figures"
    if [ -n "${FLOOD_SANDBOXED+x}" ]; then FLOOD_SANDBOXED=$(sed -n 's/^sandboxed //p' <<<"$figures"); fi
    FLOOD_GATE=$(node_sh 'for n in $(seq "$1"); do
            a=$(date +%s%N); timeout 60 nodeguard gate --role server >/dev/null 2>&1; s=$?
            b=$(date +%s%N); echo "$(((b - a) / 100000)) $s"
        done' "$FLOOD_GATES" | awk '{ printf "%.1f %s\n", $1 / 10, $2 }' | sort -n)
    FLOOD_ANSWERED=$(node_sh 'a=$(date +%s%N)
        timeout 10 busctl get-property '"$BUS $BUS_PATH $BUS"' State >/dev/null 2>&1 && s="" || s=none
        b=$(date +%s%N); echo "${s:-$(((b - a) / 1000000))}"')
    FLOOD_HEARD=$(node cat /run/heard)
    FLOOD_PEAK=$(flood_peak)
    node systemctl stop flood listener 2>/dev/null || true
    node rm -f /run/heard
    wait_for "the bus to be over it" 120 node timeout 3 busctl call org.freedesktop.DBus \
        /org/freedesktop/DBus org.freedesktop.DBus GetId ||
        node_say "after the flood of $1 the bus takes longer than that: $(node ps -C dbus-daemon,dbus-broker -o comm=,pcpu=,time=)"
}

flood_runs() { said '^flood: [1-9][0-9]* connections are open' "$(journal_of flood "$FLOOD_SINCE")"; }
