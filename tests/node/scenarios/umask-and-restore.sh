#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie nspawn-bookworm
# rancher/rke2#4313, #6466: a distribution that gives every service UMask=0077, and a snapshot
# restored from a shell with the same umask. RKE2's unit runs with 0022, the directory that the
# restore makes as root is guarded again, what it moved aside and the snapshots are left alone.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

POD_LOG=/var/log/pods/kube-system_etcd/etcd/0.log
DB=$DATA_DIR/server/db
unit_umask() { node systemctl show -P UMask rke2-server; }
# The umask of the process itself, whatever the unit says.
process_umask() { node_sh 'awk "/^Umask:/ { print \$2 }" "/proc/$(systemctl show -P MainPID rke2-server)/status"'; }
owners() { node_sh "find $ETCD_DIR -printf '%u:%g\n' | sort -u | paste -sd' '"; }
value() { node etcdctl get --print-value-only "$1"; }
# Everything that must not change in a directory, to the nanosecond.
portrait() { node find "$@" -printf '%p %y %U:%G %m %s %T@ %C@\n' | sort; }

node_up "$@"
# Sorts before the agent's own drop-in, as what a distribution ships for all services does.
node_write /usr/lib/systemd/system/service.d/05-hardened.conf <<<$'[Service]\nUMask=0077'
node systemctl daemon-reload
rke2_config <<<'profile: cis'

node_say "without the agent"
node sysctl -qw kernel.panic=10 kernel.panic_on_oops=1 vm.overcommit_memory=1 vm.panic_on_oom=0
node useradd -r -c "etcd user" -s /sbin/nologin -M etcd -U
check_is "the unit has the distribution's umask" 0077 "$(unit_umask)"
node systemctl start --no-block rke2-server
refused() { node grep -q 'open .*/db/etcd/config: permission denied' "$POD_LOG"; }
check_soon "etcd cannot get to its configuration" 30 refused
check_is "and RKE2 does not come up" activating "$(node systemctl is-active rke2-server || true)"
node rke2-killall.sh
node rm -rf "$DATA_DIR" "$POD_LOG"

node_say "with the agent"
check "the package installs" install_agent
check_is "the unit's umask is 0022" 0022 "$(unit_umask)"
check "RKE2 starts at the first try" start_rke2
check_is "RKE2 runs with 0022" 0022 "$(process_umask)"
check_soon "the node is ready" 15 state_is ready
id=$(node getent passwd etcd | cut -d: -f3,4)

node_say "a snapshot, and something after it"
node etcdctl put /registry/before yes >/dev/null
node_sh "umask 077; etcdctl snapshot save $DB/snapshots/on-demand-1 >/dev/null 2>&1"
node etcdctl put /registry/after yes >/dev/null
node rke2-killall.sh
snapshots=$(portrait "$DB/snapshots")
tree=$(portrait "$ETCD_DIR" | sed "s|^$ETCD_DIR||")

node_say "the restore, typed into a shell with umask 077"
since=$(journal_now)
main_pid=$(node systemctl show -P MainPID nodeguard)
said_by_rke2=$(node_sh "umask 077; rke2 server --cluster-reset --cluster-reset-restore-path=$DB/snapshots/on-demand-1 2>&1")
check_has "RKE2 says that it is done" 'has been reset, restart without --cluster-reset' "$said_by_rke2"
old=$(node_sh "ls -d $DB/etcd-old-*")
check_has "the old directory was moved aside" "^$DB/etcd-old-[0-9]+\$" "$old"
guarded() { [ "$(owners)" = etcd:etcd ]; }
check_soon "the new one is etcd's before RKE2 starts" 5 guarded
check_is "and etcd's alone" "$id 700" "$(stat_of "$ETCD_DIR")"
check_soon "the journal says so" 5 agent_journal_has "$ETCD_DIR.* owner corrected: 0:0 -> $id" "$since"

check "RKE2 starts at the first try" start_rke2
check_is "it was started once" 0 "$(node systemctl show -P NRestarts rke2-server)"
check_is "RKE2 runs with 0022" 0022 "$(process_umask)"
check_is "what the snapshot had is there" yes "$(value /registry/before)"
check_is "what came after it is not" '' "$(value /registry/after)"
check_is "etcd runs as etcd" etcd "$(node ps -o user= -C etcd)"
for wrong in "chown root:root $ETCD_DB" "chown -R root:root $ETCD_DIR" "chmod 777 $ETCD_DIR"; do
    node_sh "$wrong"
    right() { [ "$(owners) $(stat_of "$ETCD_DIR")" = "etcd:etcd $id 700" ]; }
    check_soon "the restored tree is guarded: ${wrong%% /*}" 5 right
done
# A pass over everything, asked for, and its end waited for.
node busctl call $BUS $BUS_PATH $BUS Reconcile >/dev/null
check_soon "the node is ready" 15 state_is ready
# The rename itself is the one thing that touches the top directory's change time.
check_is "owners, modes and times in etcd-old-* are as they were" "$(sed '1s/ [^ ]*$//' <<<"$tree")" \
    "$(portrait "$old" | sed "s|^$old||; 1s/ [^ ]*\$//")"
check_is "owners, modes and times of the snapshots are as they were" "$snapshots" "$(portrait "$DB/snapshots")"
node chown -R root:root "$old"
node busctl call $BUS $BUS_PATH $BUS Reconcile >/dev/null
check_is "what an operator does to etcd-old-* is the operator's business" 0 \
    "$(node_sh "find $old ! -user root | wc -l")"
check_is "the agent is the same process" "$main_pid" "$(node systemctl show -P MainPID nodeguard)"
finish
