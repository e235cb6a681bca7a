#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie
# The data dir on a mount with noexec: RKE2 unpacks its programs there and cannot start them, which the
# gate says before, with the mount point and the line that mounts it.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_prepare() {
    mkdir -p "$1/var/lib/rancher"
    echo "disk /var/lib/rancher tmpfs noexec,nosuid,nodev,mode=755 0 0" >>"$1/etc/fstab"
}
node_up "$@"
rke2_config <<<'profile: cis'
install_agent >/dev/null
line=$(node grep -n '^disk' /etc/fstab | cut -d: -f1)

node_say "with the gate"
check_status "RKE2 is not started" 1 node timeout 60 systemctl start rke2-server
check_soon "its status has the mount point and the line" 10 \
    rke2_status_has "/var/lib/rancher is mounted with noexec at /etc/fstab:$line"
check "and what to type" rke2_journal_has 'mount -o remount,exec /var/lib/rancher'
check_lacks "RKE2 itself has said nothing" 'fork/exec .*level=fatal|level=fatal' "$(journal_of rke2-server)"
node systemctl stop rke2-server

node_say "without it"
node_sh 'mkdir -p /etc/systemd/system/rke2-server.service.d
    ln -s /dev/null /etc/systemd/system/rke2-server.service.d/90-nodeguard.conf; systemctl daemon-reload'
check_status "RKE2 dies" 1 node timeout 60 systemctl start rke2-server
check_soon "of what the gate said" 10 rke2_journal_has 'level=fatal.*fork/exec .*permission denied'
node_sh 'systemctl stop rke2-server; rm /etc/systemd/system/rke2-server.service.d/90-nodeguard.conf
    systemctl daemon-reload'

node_say "the remedy"
check "is typed" node_sh 'mount -o remount,exec /var/lib/rancher && systemctl restart nodeguard'
check "RKE2 starts" start_rke2
check_soon "and the node is ready" 30 state_is ready

node_say "remounted with noexec while the service runs"
node rke2-killall.sh >/dev/null 2>&1
node mount -o remount,noexec /var/lib/rancher
check_status "the gate is shut all the same" 78 node nodeguard gate --role server
finish
