#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-bookworm
# The number of the account changes in /etc/passwd while etcd runs: configuration management, a
# restored file, an account that was deleted and made again. The running etcd keeps its data, its
# log, its TLS files, until RKE2 starts again, which gives everything to the new number. What
# drifts meanwhile is mended for the running etcd.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

POD_LOG=/var/log/pods/kube-system_etcd/etcd/0.log
key=$DATA_DIR/server/tls/etcd/server-client.key
owners() { node_sh "find $ETCD_DIR -printf '%U:%G\n' | sort -u | paste -sd' '"; }
owned() { [ "$(owners)" = "$1" ]; }
owner_is() { [ "$(node stat -c %u:%g "$1")" = "$2" ]; }
ids() { node getent passwd etcd | cut -d: -f3,4; }
etcd_ids() { node_sh 'p=$(pgrep -x etcd) && sed -n "s/^[UG]id:\t\([0-9]*\).*/\1/p" /proc/$p/status | paste -sd:'; }
runs_as() { [ "$(etcd_ids)" = "$1" ]; }
segments() { node_sh "ls $ETCD_DIR/member/wal | grep -c '^[0-9a-f-]*\.wal$'"; }
finding() { node_sh 'nodeguard check | grep -A3 -e "etcd runs as" -e "etcd is not running"'; }
warned() { said "etcd runs as $1 .*account etcd is $2" "$(finding)"; }
# An agent that has just been started is ready before it is on the bus.
on_the_bus() { node busctl status $BUS >/dev/null 2>&1; }
reconcile() {
    wait_for "the agent on the bus" 30 on_the_bus
    node timeout 30 busctl call $BUS $BUS_PATH $BUS Reconcile >/dev/null
}

# New segments of the log and a new database: whatever the running etcd has to make and to open.
load() {
    # shellcheck disable=SC2016 # expanded in the node
    node_sh 'value=$(mktemp); head -c 1000000 /dev/zero | tr "\0" x >"$value"
        for i in $(seq 1 "${1:-70}"); do
            ETCDCTL_API=3 timeout 20 etcdctl put "k$((i % 5))" <"$value" >/dev/null || exit
        done
        ETCDCTL_API=3 timeout 60 etcdctl defrag >/dev/null' "${1:-70}"
}

# The running etcd as OLD, the account as NEW: what must be so while this lasts.
keeps() { # keeps OLD NEW
    local old=$1 new=$2 pid
    check_soon "a warning names both numbers" 15 warned "$old" "$new"
    check_has "and the restart" 'remedy: systemctl restart rke2-server' "$(finding)"
    check "the node is degraded and not fatal" state_is degraded
    check_is "the tree stays the running etcd's" "$old" "$(owners)"
    check_is "its key as well" "$old 600" "$(stat_of "$key")"
    pid=$(etcd_pid)
    check "etcd takes data" load 3
    for wrong in "chown root:root $ETCD_DB" "chown $new $ETCD_DB" "chown root:root $ETCD_DIR" \
        "chown -R root:root $ETCD_DIR" "chmod 777 $ETCD_DIR"; do
        node_sh "$wrong"
        right() { [ "$(owners) $(stat_of "$ETCD_DIR")" = "$old $old 700" ]; }
        check_soon "mended for the running etcd: $wrong" 5 right
    done
    node chown root:root "$key"
    check_soon "and its key" 5 owner_is "$key" "$old"
    reconcile
    check_is "a pass that is asked for keeps it" "$old" "$(owners)"
    check "etcd takes data and is defragmented" load 3
    check_is "it is the same process" "$pid" "$(etcd_pid)"
    check "RKE2 runs" node systemctl is-active rke2-server
}

settles() { # settles NEW
    check "one restart of RKE2 succeeds" node timeout 90 systemctl restart rke2-server
    check_soon "etcd runs as the account" 15 runs_as "$1"
    check_soon "the tree is the account's" 10 owned "$1"
    check_is "and its key" "$1 600" "$(stat_of "$key")"
    check_soon "the node is ready" 15 state_is ready
    check "etcd takes data and is defragmented" load 3
    check_soon "and all it made is right" 5 owned "$1"
}

node_up "$@"
server_with_agent
old=$(ids)
node etcdctl put /registry/kept yes >/dev/null

node_say "another uid, by a file that takes the place of the old one"
new=777:${old#*:}
node sed -i "s/^etcd:x:[0-9]*:/etcd:x:777:/" /etc/passwd
keeps "$old" "$new"
before=$(segments)
check "etcd takes more than a segment of its log" load
check_has "there is a new segment" '^[1-9]' "$(($(segments) - before))"
check_status "it was refused nothing" 1 node grep -q 'permission denied' "$POD_LOG"

node_say "without the daemon, and the gate by hand"
node systemctl stop nodeguard
node nodeguard apply >/dev/null 2>&1 || true
check_is "apply keeps it" "$old" "$(owners)"
check_status "the gate is open" 0 node nodeguard gate --role server
check_is "and keeps it" "$old" "$(owners)"
node systemctl start nodeguard

node_say "etcd dies and is started again by its old manifest"
pid=$(etcd_pid)
node kill -9 "$pid"
reconcile
check_is "meanwhile the tree stays its own" "$old" "$(owners)"
another() { [ -n "$(etcd_pid)" ] && [ "$(etcd_pid)" != "$pid" ]; }
check_soon "it is started again" 20 another
check_soon "it answers" 20 node timeout 5 etcdctl endpoint health
check_is "as it was" "$old" "$(etcd_ids)"
check_is "with its data" yes "$(node etcdctl get --print-value-only /registry/kept)"

node_say "where processes of others cannot be seen"
if node mount -o remount,hidepid=2,gid=65534 /proc; then
    node systemctl restart nodeguard
    hidden() { said 'numbers cannot be seen in /proc; by .*/agent/pod-manifests/etcd.yaml' "$(node cat /run/nodeguard/report.json)"; }
    check_soon "what cannot be seen is said" 15 hidden
    check_is "the tree stays the running etcd's" "$old" "$(owners)"
    mv_manifest() { node mv "$DATA_DIR/agent/$1" "$DATA_DIR/agent/$2"; }
    mv_manifest pod-manifests/etcd.yaml etcd.yaml
    reconcile
    check_has "also without a manifest" 'by most of its files' "$(node cat /run/nodeguard/report.json)"
    check_is "the tree stays the running etcd's" "$old" "$(owners)"
    mv_manifest etcd.yaml pod-manifests/etcd.yaml
    node mount -o remount,hidepid=0,gid=0 /proc
else
    failed "/proc can be mounted with hidepid" "mount -o remount refused"
fi
settles "$new"
old=$new

node_say "another gid: the group is given at once, since etcd reads by its uid"
node groupmod -g 4242 etcd
new=${old%:*}:4242
check_soon "the tree is regrouped" 15 owned "$new"
check_soon "a note names both numbers" 15 warned "$old" "$new"
check "the node is ready" state_is ready
check "etcd takes data and is defragmented" load 3
settles "$new"
old=$new

node_say "uid and gid"
node sed -i "s/^etcd:x:[0-9]*:[0-9]*:/etcd:x:640:641:/" /etc/passwd
node sed -i "s/^etcd:x:[0-9]*:/etcd:x:641:/" /etc/group
new=640:641
keeps "$old" "$new"
settles "$new"
old=$new

node_say "deleted and made again by somebody else"
# Or the agent would be the faster one.
node systemctl kill -s STOP nodeguard
node_sh 'userdel -f etcd; groupdel etcd 2>/dev/null; useradd -r -u 650 -s /sbin/nologin -M -U etcd'
node systemctl kill -s CONT nodeguard
new=$(ids)
check_has "it has another number" '^650:' "$new"
keeps "$old" "$new"
node_say "back to the number that etcd runs with"
node sed -i "s/^etcd:x:[0-9]*:[0-9]*:/etcd:x:$old:/" /etc/passwd
node sed -i "s/^etcd:x:[0-9]*:/etcd:x:${old#*:}:/" /etc/group
check_soon "the node is ready without any restart" 15 state_is ready
check_is "the tree was never another's" "$old" "$(owners)"

node_say "deleted: the agent makes it again, with the numbers that etcd runs with"
pid=$(etcd_pid)
node userdel -f etcd
remade() { [ "$(ids)" = "$old" ]; }
check_soon "the account is back" 20 remade
check_soon "the node is ready" 15 state_is ready
check_is "the tree is the running etcd's" "$old" "$(owners)"
check "etcd takes data and is defragmented" load 3
check_is "it is the same process" "$pid" "$(etcd_pid)"

node_say "/etc/passwd without the account for a moment"
node_sh 'cp /etc/passwd /root/passwd; for i in 1 2 3 4 5; do
    grep -v ^etcd: /root/passwd >/etc/passwd; sleep 0.0$i; cat /root/passwd >/etc/passwd; sleep 0.2; done'
check_soon "the account is back" 20 remade
check_soon "the node is ready" 15 state_is ready
check_is "the tree is the running etcd's" "$old" "$(owners)"
check_is "it is the same process" "$pid" "$(etcd_pid)"

node_say "when no etcd runs the account gets its files"
node sed -i "s/^etcd:x:[0-9]*:/etcd:x:660:/" /etc/passwd
new=660:${old#*:}
check_soon "a warning names both numbers" 15 warned "$old" "$new"
node rke2-killall.sh
reconcile
check_is "at the next pass" "$new" "$(owners)"
check_soon "the node is ready" 15 state_is ready
check "RKE2 starts" start_rke2
check_soon "etcd runs as the account" 15 runs_as "$new"
check_is "with its data" yes "$(node etcdctl get --print-value-only /registry/kept)"
finish
