#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie
# The data dir disappears and comes back, by hand, by a restore, by the uninstaller: the agent
# lives on, makes nothing itself, and guards again.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
server_with_agent
main_pid=$(node systemctl show -P MainPID nodeguard)
owned() { [ "$(node stat -c %U "$1")" = etcd ]; }
still_the_same() { [ "$(node systemctl show -P MainPID nodeguard)" = "$main_pid" ]; }
guards_again() { # guards_again WHEN
    node chown root:root "$ETCD_DB"
    check_soon "$1: the guard is back" 10 owned "$ETCD_DB"
}

node_say "rm -rf under a running RKE2"
node rm -rf "$DATA_DIR"
# A pass that has seen the gap, and not just no pass at all.
node busctl call $BUS $BUS_PATH $BUS Reconcile >/dev/null
check_status "the agent does not make the data dir again" 1 node test -e "$DATA_DIR"
check "the agent is the same process" still_the_same
node rke2-killall.sh
check "RKE2 starts on nothing" start_rke2
check_soon "the new tree is etcd's" 5 owned "$ETCD_DB"
guards_again "after rm -rf"

node_say "a restore: db/etcd is renamed away and made again by root"
node rke2-killall.sh
node_sh "mv $ETCD_DIR $DATA_DIR/server/db/etcd-old-1; cp -r $DATA_DIR/server/db/etcd-old-1 $ETCD_DIR"
node chown -R root:root "$DATA_DIR/server/db/etcd-old-1" "$ETCD_DIR"
check_soon "the restored tree becomes etcd's before RKE2 starts" 5 owned "$ETCD_DB"
check_is "the old one is left alone" root "$(node stat -c %U "$DATA_DIR/server/db/etcd-old-1/member/snap/db")"
check "RKE2 starts on it" start_rke2
guards_again "after the restore"

node_say "RKE2 is uninstalled and installed again"
tar -C "$NODE_IMAGE/rootfs/usr/local" -c bin lib/systemd lib/rke2-standin share/rke2 >"$NODE_DIR/rke2.tar"
node rke2-uninstall.sh >/dev/null 2>&1
check_soon "the agent is active" 10 node systemctl is-active nodeguard
check_is "its drop-in for RKE2's unit is still there" 'yes' \
    "$(node_sh '[ -e /usr/lib/systemd/system/rke2-server.service.d/90-nodeguard.conf ] && echo yes')"
check_is "kernel.panic is still enforced" 10 "$(node_sh 'sysctl -qw kernel.panic=0; for _ in $(seq 50); do [ "$(sysctl -n kernel.panic)" = 10 ] && break; sleep 0.1; done; sysctl -n kernel.panic')"
check_status "no data dir comes back" 1 node test -e "$DATA_DIR"
node_put "$NODE_DIR/rke2.tar" /root/rke2.tar
node_sh 'tar -C /usr/local -xf /root/rke2.tar && systemctl daemon-reload'
rke2_config <<<'profile: cis'
check "RKE2 starts after a new installation" start_rke2
guards_again "after the new installation"
check "the agent is the same process as at the beginning" still_the_same
finish
