#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-bookworm nspawn-trixie
# Without the bus, without the journal: the gate opens, the guard works, and both are found
# again when they are back.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
server_with_agent
node systemctl enable -q rke2-server
owned() { [ "$(node stat -c %U "$ETCD_DB")" = etcd ]; }

node_say "dbus-daemon dies while the agent runs"
main_pid=$(node systemctl show -P MainPID nodeguard)
# Not through systemctl's bus connection: the socket is stopped too, or it would come back.
node_sh 'systemctl stop dbus.socket dbus.service'
check_status "the bus is gone" 1 node busctl --timeout=2 status
node_sh "sysctl -qw kernel.panic=0; chown root:root $ETCD_DB"
check_soon "a kernel parameter is mended without the bus" 5 sysctl_is kernel.panic 10
check_soon "an owner is mended without the bus" 5 owned
check_status "check works without the bus" 0 node nodeguard check
check "RKE2 restarts without the bus, through the gate" node timeout 60 systemctl restart rke2-server
node systemctl start dbus.socket dbus.service
check_soon "the bus name is back when the bus is" 20 state_is ready
check_is "the agent is the same process" "$main_pid" "$(node systemctl show -P MainPID nodeguard)"

node_say "dbus-daemon restarts"
node systemctl restart dbus.service
check_soon "the bus name is back" 20 state_is ready

node_say "a boot without the bus"
node systemctl mask -q dbus.socket dbus.service
node_reboot
up() { node systemctl is-active rke2-server; }
check_status "the bus is gone" 1 node busctl --timeout=2 status
check_soon "RKE2 comes up without the bus" 60 up
check_is "kernel.panic is 10" 10 "$(node sysctl -n kernel.panic)"
node_sh "chown root:root $ETCD_DB"
check_soon "the guard works" 5 owned
said_by_status=$(node nodeguard status 2>&1 || true)
check_has "status works" '^ready|: ready' "$said_by_status"
check_has "and says that it could not ask the daemon" 'bus' "$said_by_status"
node_sh 'rm -f /etc/systemd/system/dbus.s*; systemctl daemon-reload; systemctl start dbus.socket dbus.service'
check_soon "the bus name appears when the bus does" 20 state_is ready

node_say "journald is stopped"
node systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service
node_sh "sysctl -qw kernel.panic=0; chown root:root $ETCD_DB"
check_soon "a kernel parameter is mended without the journal" 5 sysctl_is kernel.panic 10
check_soon "an owner is mended without the journal" 5 owned
node systemctl start systemd-journald.socket systemd-journald.service

node_say "journald hangs"
since=$(journal_now)
node systemctl kill -s STOP systemd-journald
# More lines than any socket buffer takes, of so many files that none of them is contested.
node_sh "cd ${ETCD_DB%/*} && seq 60 | xargs touch
    for i in \$(seq 10); do for file in \$(seq 60); do chown root:root \$file; done; done
    chown root:root $ETCD_DB; sysctl -qw kernel.panic=0"
check_soon "a kernel parameter is mended while the journal hangs" 20 sysctl_is kernel.panic 10
check_soon "an owner is mended while the journal hangs" 20 owned
check_soon "the bus answers while the journal hangs" 20 state_is ready
node systemctl kill -s CONT systemd-journald
check_soon "what was done meanwhile is in the journal afterwards" 20 \
    agent_journal_has corrected "$since"
node systemctl kill -s STOP systemd-journald
check "the agent stops in time although the journal hangs" node timeout 15 systemctl stop nodeguard
node systemctl kill -s CONT systemd-journald
check "it ended by itself and was not killed" node_sh '[ "$(systemctl show -P Result nodeguard)" = success ]'
finish
