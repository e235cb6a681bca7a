#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie
# A data dir of one's own under a kernel whose SELinux enforces: without the equivalence that
# `semanage fcontext -a -e` writes, etcd could not read it, and the gate says so before, by its own
# code. The kernel is a real one and has no policy: what is read besides are files.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

# Permissive at first, since systemd does not go on where it can load no policy for one that enforces.
# shellcheck disable=SC2034 # read by node_up
NODE_KERNEL_WORDS='security=selinux selinux=1 enforcing=0'
node_up "$@"
node_sh 'mountpoint -q /sys/fs/selinux || mount -t selinuxfs selinuxfs /sys/fs/selinux'
check_is "the kernel has SELinux, permissive" 0 "$(node cat /sys/fs/selinux/enforce)"
install_agent >/dev/null
rke2_config <<<'profile: cis'
check "the account is made" node nodeguard gate --role server

FILES=/etc/selinux/targeted/contexts/files
node mkdir -p $FILES
node_write /etc/selinux/config <<<'SELINUXTYPE=targeted'
node_write $FILES/file_contexts <<<'/var/lib/rancher/rke2(/.*)?    system_u:object_r:container_var_lib_t:s0'
rke2_config <<<$'profile: cis\nselinux: true\ndata-dir: /srv/rke2'
findings() { node nodeguard check --role server --json | grep -o '"code":"data-dir-unlabelled","severity":"[a-z]*"' || true; }
check_is "while it is permissive nothing is said" '' "$(findings)"

node_sh 'echo 1 >/sys/fs/selinux/enforce'
check_is "now it enforces" 1 "$(node cat /sys/fs/selinux/enforce)"
check_status "RKE2 is not started" 1 node timeout 60 systemctl start rke2-server
check_has "by a code of its own" 'data-dir-unlabelled","severity":"fatal' "$(findings)"
check_soon "its status has the file and line that put it there" 5 rke2_status_has 'config.yaml:3'
check_has "the remedy is semanage's" 'semanage fcontext -a -e /var/lib/rancher/rke2 /srv/rke2' \
    "$(node nodeguard check --role server || true)"
node systemctl stop rke2-server
rke2_config <<<$'profile: cis\ndata-dir: /srv/rke2'
check_has "where RKE2 does not confine its containers it is a warning" \
    'data-dir-unlabelled","severity":"warning' "$(findings)"

# As semanage writes it.
node_write $FILES/file_contexts.subs <<<'/srv/rke2 /var/lib/rancher/rke2'
rke2_config <<<$'profile: cis\nselinux: true\ndata-dir: /srv/rke2'
check_is "with the equivalence nothing is said" '' "$(findings)"
check "and RKE2 starts" start_rke2
check_soon "the node is ready" 30 state_is ready
finish
