#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie
# The package on a live server: installed, upgraded, removed, purged. RKE2 never notices.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
server_with_agent
pid=$(etcd_pid)
rke2_pid=$(node systemctl show -P MainPID rke2-server)
same() {
    [ "$(etcd_pid)" = "$pid" ] && [ "$(node systemctl show -P MainPID rke2-server)" = "$rke2_pid" ]
}

node_say "upgrade"
# The same files under a higher version: what an upgrade does to a node is the scripts' doing.
node_put "$(agent_deb)" /root/nodeguard.deb
node_sh 'cd /root && dpkg-deb -R nodeguard.deb new && sed -i "s/^Version: .*/&+upgrade1/" new/DEBIAN/control && dpkg-deb -b new newer.deb >/dev/null'
before=$(node systemctl show -P MainPID nodeguard)
check "the package upgrades" node dpkg --install /root/newer.deb
check_has "to the new version" '\+upgrade1$' "$(node dpkg-query -W -f '${Version}' nodeguard)"
check "the service is active" node systemctl is-active nodeguard
check_has "as a new process" yes "$([ "$(node systemctl show -P MainPID nodeguard)" != "$before" ] && echo yes)"
check "RKE2 and etcd ran on" same
check_soon "the node is ready" 15 state_is ready
check "the same package installs again" node dpkg --install /root/newer.deb
check "RKE2 and etcd ran on" same

node_say "an operator's choices outlive an upgrade"
node_write /etc/nodeguard/nodeguard.toml <<<'poll-interval = "7s"'
node systemctl disable -q nodeguard
node systemctl stop nodeguard
check "the package installs over a disabled service" node dpkg --install /root/newer.deb
check_has "and keeps the operator's configuration" '^poll-interval = "7s"' "$(node nodeguard config)"
check_status "and leaves it disabled" 1 node systemctl is-enabled nodeguard
node systemctl enable -q nodeguard
node systemctl start nodeguard

node_say "removal"
check "the package is removed" node dpkg --remove nodeguard
check "RKE2 and etcd ran on" same
check "the account is kept" node getent passwd etcd
check "so is the operator's configuration" node test -e /etc/nodeguard/nodeguard.toml
check_status "the service is down" 3 node systemctl is-active nodeguard
check_has "the gate is gone from RKE2's unit" '^$' "$(node systemctl show -P ExecStartPre rke2-server)"
check "RKE2 restarts without the agent" node timeout 60 systemctl restart rke2-server
check_is "etcd is the same process even then" "$pid" "$(etcd_pid)"
check "the package is purged" node dpkg --purge nodeguard
check_status "and the operator's configuration with it" 1 node test -e /etc/nodeguard
check "the account is kept" node getent passwd etcd
check "the package installs after a purge" install_agent
check_soon "and the node is ready" 15 state_is ready
finish
