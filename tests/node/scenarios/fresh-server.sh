#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie nspawn-bookworm
# A stock node with `profile: cis`: what RKE2 says without the agent, and that with it the first
# start succeeds; then a reboot, many restarts, and the exit codes of `check`.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
rke2_config <<<'profile: cis'

node_say "the stock node, without the agent"
check_is "a stock node has kernel.panic=0" 0 "$(node sysctl -n kernel.panic)"
check_is "a stock node has vm.overcommit_memory=0" 0 "$(node sysctl -n vm.overcommit_memory)"
check_status "a stock node has no user etcd" 2 node getent passwd etcd
node systemctl start --no-block rke2-server
died_twice() { [ "$(node systemctl show -P NRestarts rke2-server)" -ge 2 ]; }
check_soon "without the agent RKE2 dies, and is tried again every five seconds" 40 died_twice
words=$(journal_of rke2-server)
check_has "RKE2's words name kernel.panic" 'level=fatal .*invalid kernel parameter value kernel.panic=0 - expected 10' "$words"
check_has "RKE2's words name vm.overcommit_memory" 'level=fatal .*vm.overcommit_memory=0 - expected 1' "$words"
node systemctl stop rke2-server

node_say "the agent is installed"
check "the package installs" install_agent
check "the service is enabled" node systemctl is-enabled nodeguard
check "the service is active" node systemctl is-active nodeguard
for pair in kernel.panic=10 kernel.panic_on_oops=1 vm.overcommit_memory=1 vm.panic_on_oom=0; do
    check_soon "$pair right after the installation" 10 sysctl_is "${pair%=*}" "${pair#*=}"
done
check_has "the drop-in is there for the next boot" '^kernel.panic *= *10$' \
    "$(node cat /etc/sysctl.d/60-rke2-cis.conf 2>&1)"

node_say "RKE2's first start with the agent"
since=$(journal_now)
check "RKE2 starts at the first try" start_rke2
check_is "it was started once" 0 "$(node systemctl show -P NRestarts rke2-server)"
words=$(journal_of rke2-server "$since")
check_has "RKE2 says that it is up" 'rke2 is up and running' "$words"
check_lacks "RKE2 has nothing fatal to say" "$RKE2_FATAL" "$words"
entry=$(node getent passwd etcd || true)
check_has "the user etcd is as the hardening guide makes it" \
    '^etcd:x:[0-9]+:[0-9]+:etcd user:/home/etcd:/sbin/nologin$' "$entry"
id=$(cut -d: -f3,4 <<<"${entry:-x:x:none:none}")
check_is "its primary group is the group etcd" "${id#*:}" "$(node getent group etcd | cut -d: -f3)"
check_status "it has no home" 1 node test -e /home/etcd
check_has "etcd runs as etcd" '^etcd$' "$(node ps -o user= -C etcd)"
check_is "the data dir is etcd's alone" "$id 700" "$(stat_of "$ETCD_DIR")"
check_is "and so is all that is in it" etcd:etcd \
    "$(node_sh "find $ETCD_DIR/member -printf '%u:%g\n' | sort -u")"
check_is "its parent stays root's" '0:0 700' "$(stat_of "$DATA_DIR/server/db")"
check_is "etcd's server key is etcd's" "$id 600" "$(stat_of "$DATA_DIR/server/tls/etcd/server-client.key")"
check_is "the CA's key stays root's" '0:0 600' "$(stat_of "$DATA_DIR/server/tls/etcd/server-ca.key")"
check_soon "the bus says ready" 15 state_is ready
check_is "the bus says server" server "$(bus_get Role)"
check_is "the bus says cis" cis "$(bus_get Profile)"
check_is "the bus knows RKE2's version" 1.34.1+rke2r1 "$(bus_get Rke2Version)"
check_status "check exits 0" 0 node nodeguard check
check_has "check --json says ready" '"state": *"ready"' "$(node nodeguard check --json)"
check_has "status says ready" 'ready' "$(node nodeguard status)"
check_has "systemctl shows a line an operator understands" 'Status: ".*ready' \
    "$(node systemctl status --no-pager nodeguard)"

node_say "RKE2 is restarted ten times"
pid=$(etcd_pid)
corrections=$(bus_get Corrections)
restarts=0
for _ in {1..10}; do
    # systemd counts starts, and five in ten seconds are too many for it.
    node systemctl reset-failed rke2-server
    ! node timeout 60 systemctl restart rke2-server || restarts=$((restarts + 1))
done
check_is "every restart succeeds" 10 "$restarts"
check_is "etcd is the same process all the time" "$pid" "$(etcd_pid)"
check_at_most "the agent corrects little or nothing meanwhile" 20 $(($(bus_get Corrections) - corrections))
check_soon "the node is ready afterwards" 15 state_is ready

node_say "the agent is stopped"
node systemctl stop nodeguard
node sysctl -qw kernel.panic=0
check_status "check exits 2 when a value drifted" 2 node nodeguard check
check_is "check changed nothing" 0 "$(node sysctl -n kernel.panic)"
check_has "status says that the daemon does not run" 'not running|no daemon|does not run|not answer' \
    "$(node nodeguard status 2>&1 || true)"
node systemctl start nodeguard
check_soon "the agent mends it when it is back" 10 sysctl_is kernel.panic 10
check_status "check exits 0 again" 0 node nodeguard check

node_say "reboot"
node systemctl enable -q rke2-server
node_reboot
rke2_is_up() { node systemctl is-active rke2-server; }
check_soon "RKE2 is up after the reboot" 120 rke2_is_up
check_is "it was started once" 0 "$(node systemctl show -P NRestarts rke2-server)"
words=$(node journalctl -b -q -o cat -u rke2-server)
check_has "RKE2 says that it is up" 'rke2 is up and running' "$words"
check_lacks "RKE2 has nothing fatal to say" "$RKE2_FATAL" "$words"
check_is "kernel.panic is 10" 10 "$(node sysctl -n kernel.panic)"
check_is "the account kept its ids" "$id" "$(node getent passwd etcd | cut -d: -f3,4)"
check_soon "the node is ready" 15 state_is ready
check_has "the service was up before RKE2" 'yes' "$(node_sh '
    a=$(systemctl show -P ActiveEnterTimestampMonotonic nodeguard)
    b=$(systemctl show -P ExecMainStartTimestampMonotonic rke2-server)
    [ "$a" -le "$b" ] && echo yes || echo "nodeguard $a, rke2 $b"')"
finish
