#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie nspawn-bookworm
# etcd's disk is a mount of fstab's (here a bind mount of another one, and a label that no disk has):
# systemd mounts it before RKE2, and where it is not there RKE2 makes no new etcd in the empty directory.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

db=$DATA_DIR/server/db
unit=var-lib-rancher-rke2-server-db.mount
generated=/run/systemd/generator
node_prepare() {
    mkdir -p "$1/disk/db" "$1/data" "$1$db" "$1/etc/rke2-standin"
    chmod 700 "$1/disk/db" "$1$DATA_DIR/server"
    # The killall of a release that unmounts what it finds at the data dir.
    touch "$1/etc/rke2-standin/unmounts"
    printf '%s none bind,nofail 0 0\n' '/disk /data' "/data/db $db" >>"$1/etc/fstab"
}
node_up "$@"

mounted() { node mountpoint -q "$db"; }
gone() { ! mounted; }
data() { node stat -c %i /disk/db/etcd/member/snap/db; }
nothing_below() { [ -z "$(node_sh "mountpoint -q $db || ls -A $db")" ]; }
unfit_by() { said "\"code\":\"$1\",\"severity\":\"fatal\"" "$(node nodeguard check --json 2>&1)"; }
active() { node systemctl -q is-active rke2-server; }

node_say "the mount is there"
check "fstab's mount is there at boot" mounted
server_with_agent
first=$(data)
for name in rke2-server rke2-agent nodeguard; do
    check_has "$name follows the mount" "^After=$unit" \
        "$(node cat $generated/$name.service.d/50-nodeguard-mounts.conf)"
done
check_has "RKE2 wants it" "(^| )$unit( |$)" "$(node systemctl show -P Wants rke2-server)"
check_lacks "an agent, which keeps no etcd, only follows it" '^Wants=' \
    "$(node cat $generated/rke2-agent.service.d/50-nodeguard-mounts.conf)"
check_lacks "and does not require it" "$unit" "$(node systemctl show -P Requires -P BindsTo rke2-server)"

node_say "RKE2's killall unmounts it"
node rke2-killall.sh >/dev/null 2>&1
check "it is gone" gone
check "the node is fatal" unfit_by data-dir-not-mounted
check "RKE2 starts: systemd mounts it first" start_rke2
check "it is there again" mounted
check_is "with the data that was there" "$first" "$(data)"
check_soon "and the node is ready" 20 state_is ready

node_say "what it shows is gone"
node rke2-killall.sh >/dev/null 2>&1
node_sh 'umount /data; mv /disk /disk.gone; touch /disk; ls -A /data' # no directory to bind
check_status "RKE2 does not start" 1 node timeout 60 systemctl start rke2-server
check_soon "its status names the place, the line and the unit" 10 \
    rke2_status_has "/data is not mounted, and /etc/fstab:.* \\(data.mount\\)"
check "with what to type" rke2_journal_has "systemctl start $unit"
check "nothing was made in the directory below it" nothing_below
node_sh 'rm /disk; mv /disk.gone /disk'
check_soon "what it shows is back: RKE2 starts by itself" 20 active
check_is "on its data" "$first" "$(data)"

node_say "what it shows is not mounted, and something was bound all the same"
node rke2-killall.sh >/dev/null 2>&1
node_sh "umount /data; mkdir -p /data/db; mount --bind /data/db $db"
check "the node is fatal" unfit_by data-dir-not-mounted
check_has "by the place of its source" '^ *fatal: /data is not mounted' "$(node nodeguard check 2>&1)"
node_sh "umount $db; rmdir /data/db"

node_say "without the generator the gate alone stands for it"
node_sh 'mkdir -p /etc/systemd/system-generators
    ln -s /dev/null /etc/systemd/system-generators/nodeguard-generator; systemctl daemon-reload'
node rke2-killall.sh >/dev/null 2>&1
check_status "RKE2 does not start" 1 node timeout 60 systemctl start rke2-server
check "nothing was made in the directory below it" nothing_below
node systemctl stop rke2-server
check "the remedy mounts it" node_sh "systemctl daemon-reload && systemctl start $unit"
check "and RKE2 starts" start_rke2
check_is "on its data" "$first" "$(data)"

node_say "something else is mounted there"
node rke2-killall.sh >/dev/null 2>&1
node mount -t tmpfs tmpfs "$db"
check "the node is fatal" unfit_by data-dir-other-mount
check_status "RKE2 does not start on it" 1 node timeout 60 systemctl start rke2-server
node_sh "systemctl stop rke2-server; umount $db"

node_say "a label that no disk has"
node_sh "sed -i '/bind,nofail/d' /etc/fstab; echo 'LABEL=etcd $DATA_DIR ext4 nofail' >>/etc/fstab; systemctl daemon-reload"
check "the node is fatal" unfit_by data-dir-not-mounted
check_status "RKE2 does not start" 1 node timeout 60 systemctl start rke2-server
node systemctl stop rke2-server
node_sh "sed -i 's/nofail/nofail,noauto/' /etc/fstab; systemctl daemon-reload"
check_status "with noauto nothing is promised" 1 unfit_by data-dir-not-mounted
finish
