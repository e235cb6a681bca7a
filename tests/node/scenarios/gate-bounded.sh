#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie
# The gate ends within its limit whatever hangs: a daemon that is stopped, a bus that is stopped, a
# file system whose server took the question and never answers (nothing ends a process in that), the
# lock of the account files. A kernel of its own, since a file system is made to hang.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
server_with_agent

# gate LIMIT: exit code, and whether it kept its limit, in tenths of a second.
gate() {
    # shellcheck disable=SC2016 # expanded in the node
    node_sh 'a=${EPOCHREALTIME/./}
        nodeguard gate --role server --limit "$1" >/tmp/gate 2>&1
        echo "$? $(((${EPOCHREALTIME/./} - a) / 100000))"' "$1"
}
ended() { # ended NAME CODE LIMIT "CODE TENTHS"
    local code=${4% *} tenths=${4#* }
    check_is "$1: it ends with $2" "$2" "$code"
    # An emulated machine takes its time for a process as well.
    check_at_most "$1: within its limit (tenths of a second)" $((($3 + 5) * 10)) "$tenths"
    node_say "$1: $tenths tenths of a second"
    [ "$2" = "$code" ] || node cat /tmp/gate
}

pid=$(node systemctl show -P MainPID nodeguard)
node kill -STOP "$pid"
ended "a stopped daemon" 0 30 "$(gate 30)"
bus=$(node systemctl show -P MainPID dbus)
node kill -STOP "$bus"
ended "a stopped bus" 0 30 "$(gate 30)"
node kill -CONT "$bus"
node kill -CONT "$pid"

node_say "two gates at once"
# shellcheck disable=SC2016 # expanded in the node
check_is "both open" "0 0" "$(node_sh 'nodeguard gate --role server >/dev/null 2>&1 & a=$!
    nodeguard gate --role server >/dev/null 2>&1 & b=$!
    wait $a; x=$?; wait $b; echo "$x $?"')"

node_say "the lock of the account files, and an account that is gone"
node systemd-run --quiet --unit=holder sleep 600
node_sh 'printf "%s\0" "$(systemctl show -P MainPID holder)" >/etc/passwd.lock; sed -i /^etcd:/d /etc/passwd'
ended "a lock that is not given back" 78 30 "$(gate 30)"
check_has "it names the holder" 'passwd.lock is held by process [0-9]+ \(sleep\)' "$(node cat /tmp/gate)"
node_sh 'systemctl stop holder; rm -f /etc/passwd.lock'
ended "once it is given back" 0 30 "$(gate 30)"

node_say "a file system that took the question and never answers"
node_put "$node_lib/scenarios/gate-bounded.py" /root/hang 755
node rke2-killall.sh >/dev/null 2>&1
node mkdir -p "$DATA_DIR/server/db/etcd/old"
node systemd-run --quiet --unit=hang -p Type=notify -p NotifyAccess=all \
    -p ExecStopPost="/bin/umount -l $DATA_DIR/server" /root/hang "$DATA_DIR/server"
ended "a file system that hangs" 75 8 "$(gate 8)"
check_has "it says so" 'a file system, a program it asked' "$(node cat /tmp/gate)"
ended "the next gate" 75 4 "$(gate 4)"
check_has "which makes no second process that nobody can end" 'another gate.s look' \
    "$(node cat /tmp/gate)"
looks() { node_sh 'ps -eo stat=,args= | grep "[n]odeguard apply" || true'; }
check_is "one process hangs" 1 "$(looks | wc -l)"
check_has "where nothing ends it" '^D' "$(looks)"
node_say "RKE2's unit tries again meanwhile"
node_write /etc/systemd/system/rke2-server.service.d/90-nodeguard.conf <<'END'
[Unit]
Wants=nodeguard.service
[Service]
ExecStartPre=/usr/bin/nodeguard gate --role server --limit 4
NotifyAccess=exec
UMask=0022
END
node systemctl daemon-reload
node systemctl start --no-block rke2-server
tried() { [ "$(node systemctl show -P NRestarts rke2-server)" -ge 2 ]; }
check_soon "RKE2's start is tried again and again" 90 tried
check "an operator overrides what cannot be looked at" \
    node nodeguard override --role server --reason "the array is dead"
ended "with an override" 0 4 "$(gate 4)"
check_has "it says so" 'OVERRIDDEN by .*not-looked-at' "$(node cat /tmp/gate)"

node systemctl stop hang
up() { node systemctl is-active rke2-server; }
check_soon "once it answers again RKE2 comes up by itself" 120 up
check_is "nothing hangs any more" "" "$(looks)"
check_soon "the node is ready" 60 state_is ready
finish
