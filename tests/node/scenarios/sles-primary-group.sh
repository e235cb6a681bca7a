#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie nspawn-bookworm
# rancher/rke2#2288: a `useradd` that makes no group of the user's own (SLES) leaves etcd:users.
# RKE2 gives its files to that group, and refuses to start if no group etcd is there. The uid is
# kept, the group made, the primary group and the tree's group set right; with RKE2 down and with
# RKE2 running.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

UID_KEPT=452
owners() { node_sh "find $ETCD_DIR -printf '%U:%G\n' | sort -u | paste -sd' '"; }
id_of_etcd() { node getent passwd etcd | cut -d: -f3,4; }
key=$DATA_DIR/server/tls/etcd/server-client.key

node_up "$@"
rke2_config <<<'profile: cis'
check_is "the group users is 100, as on SLES" 100 "$(node getent group users | cut -d: -f3)"

node_say "an account by hand, without a group of its own"
node sysctl -qw kernel.panic=10 kernel.panic_on_oops=1 vm.overcommit_memory=1 vm.panic_on_oom=0
node useradd -r -u $UID_KEPT -g users -c "etcd user" -s /sbin/nologin -M etcd
node systemctl start --no-block rke2-server
check_soon "without the agent and without a group etcd RKE2 refuses to start" 20 \
    rke2_journal_has 'missing required: group: unknown group etcd'
node systemctl stop rke2-server
node groupadd -r etcd
check "with a group etcd that nobody is in, RKE2 starts" start_rke2
check_is "and gives etcd's files to the group users" "$UID_KEPT:100" "$(owners)"
check_is "also the keys" "$UID_KEPT:100" "$(node stat -c %u:%g "$key")"
node etcdctl put /registry/kept yes >/dev/null
node rke2-killall.sh
node groupdel etcd

node_say "the agent is installed while RKE2 is down"
node systemctl start --no-block rke2-server
refused() { [ "$(node systemctl show -P NRestarts rke2-server)" -ge 1 ]; }
check_soon "RKE2 is refused again" 20 refused
since=$(journal_now)
check "the package installs" install_agent
up() { node systemctl is-active rke2-server; }
check_soon "RKE2 comes up by itself" 40 up
gid=$(node getent group etcd | cut -d: -f3)
check_has "there is a group etcd, a system group" '^[1-9][0-9]{0,2}$' "$gid"
check_lacks "which is not users" '^100$' "$gid"
check_is "the uid is kept, the primary group is etcd" "$UID_KEPT:$gid" "$(id_of_etcd)"
check_is "all of the tree is etcd:etcd" "$UID_KEPT:$gid" "$(owners)"
check_is "and the keys are" "$UID_KEPT:$gid 600" "$(stat_of "$key")"
check_is "etcd runs in the group etcd" "etcd etcd" "$(node ps -o user=,group= -C etcd | tr -s ' ')"
check_is "with its data" yes "$(node etcdctl get --print-value-only /registry/kept)"
check_soon "the node is ready" 15 state_is ready
check_status "check exits 0" 0 node nodeguard check
check_has "the journal says what became of the account" 'etcd' "$(agent_journal "$since" | grep -i 'group')"

node_say "the same, found on a running server"
gate=/etc/systemd/system/rke2-server.service.d/90-nodeguard.conf
node_sh "mkdir -p ${gate%/*}; ln -s /dev/null $gate; systemctl daemon-reload"
node rke2-killall.sh
node systemctl stop nodeguard
node usermod -g users etcd
check "RKE2 starts, again as etcd:users" start_rke2
check_is "etcd runs in the group users" "etcd users" "$(node ps -o user=,group= -C etcd | tr -s ' ')"
check_is "the tree is etcd:users" "$UID_KEPT:100" "$(owners)"
pid=$(etcd_pid)
node_sh "rm $gate; systemctl daemon-reload"
check "the agent starts beside a running RKE2" node systemctl start nodeguard
primary_is_right() { [ "$(id_of_etcd)" = "$UID_KEPT:$gid" ]; }
check_soon "the primary group is set although etcd runs" 15 primary_is_right
tree_is_right() { [ "$(owners)" = "$UID_KEPT:$gid" ]; }
check_soon "the tree is regrouped below it" 10 tree_is_right
check_is "etcd is the same process" "$pid" "$(etcd_pid)"
node_sh 'for i in $(seq 5); do etcdctl put "/registry/$i" yes; done; etcdctl defrag' >/dev/null
check_soon "what etcd made as etcd:users is regrouped too" 10 tree_is_right
check "RKE2 restarts" node timeout 60 systemctl restart rke2-server
check_is "and its etcd runs in the group etcd" "etcd etcd" "$(node ps -o user=,group= -C etcd | tr -s ' ')"
check_is "with its data" yes "$(node etcdctl get --print-value-only /registry/kept)"
check_soon "the tree is right" 10 tree_is_right
check_soon "the node is ready" 15 state_is ready
finish
