#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie nspawn-bookworm
# CIS 1.1.19's own remediation, `chown -R root:root …/server/tls`, breaks etcd's keys; then RKE2 is
# uninstalled, and comes back by the other layout, the RPM's below /usr. The agent lives through
# all of it, makes no data dir itself, and goes by the new layout's files.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

TLS=$DATA_DIR/server/tls
DROP_IN=/etc/sysctl.d/60-rke2-cis.conf
six='peer-ca.crt peer-server-client.crt peer-server-client.key server-ca.crt server-client.crt server-client.key'
of_etcd() { node_sh "cd $TLS; find . -user etcd -group etcd -printf '%f\n' | sort | paste -sd' '"; }
of_others() { node_sh "find $TLS ! -user root ! -user etcd -o ! -group root ! -group etcd"; }
exactly_six() { [ "$(of_etcd)" = "$six" ]; }
owned() { [ "$(node stat -c %U "$1")" = etcd ]; }

node_up "$@"
server_with_agent
main_pid=$(node systemctl show -P MainPID nodeguard)
check_is "to begin with the six are etcd's and nothing else in server/tls" "$six" "$(of_etcd)"

node_say "chown -R root:root server/tls, while RKE2 runs"
since=$(journal_now)
node chown -R root:root "$TLS"
check_soon "the six are etcd's again" 5 exactly_six
check_soon "the journal names each of them" 5 \
    agent_journal_has "$TLS/etcd/server-client.key owner corrected: 0:0 -> " "$since"
for name in $six; do
    check_has "$name is named" "$TLS/etcd/$name owner corrected" "$(agent_journal "$since")"
done
check_is "the rest is root's" '' "$(of_others)"
check_is "the CA's key is root's alone" '0:0 600' "$(stat_of "$TLS/etcd/server-ca.key")"
check_is "the directory is root's" 0:0 "$(node stat -c %u:%g "$TLS/etcd")"
check_soon "the node is ready" 15 state_is ready

node_say "without the agent the same breaks etcd"
node systemctl stop nodeguard
node chown -R root:root "$TLS"
pid=$(etcd_pid)
since=$(journal_now)
node kill "$pid"
check_soon "etcd cannot read its key" 20 rke2_journal_has 'tls/etcd/server-client.key: permission denied' "$since"
node systemctl start nodeguard
came_back() { [ "$(etcd_pid)" != "$pid" ] && node etcdctl endpoint health; }
check_soon "with the agent back, kubelet's next try succeeds" 30 came_back
check "and the six are etcd's" exactly_six
main_pid=$(node systemctl show -P MainPID nodeguard)

node_say "rke2-uninstall.sh"
since=$(journal_now)
node rke2-uninstall.sh >/dev/null 2>&1
check_is "the agent is the same process" "$main_pid" "$(node systemctl show -P MainPID nodeguard)"
check "and answers" state_is "$(bus_get State)"
node busctl call $BUS $BUS_PATH $BUS Reconcile >/dev/null
check_status "no data dir is made by the agent" 1 node test -e "$DATA_DIR"
check_status "nor a configuration for RKE2" 1 node test -e /etc/rancher/rke2
check "the account is kept" node getent passwd etcd
node sysctl -qw kernel.panic=0
check_soon "kernel parameters are still held" 5 sysctl_is kernel.panic 10
check "the gate is still there for a unit that is not" \
    node test -e /usr/lib/systemd/system/rke2-server.service.d/90-nodeguard.conf
check_lacks "the journal has no panic" 'panicked|core-dump|RUST_BACKTRACE' "$(agent_journal "$since")"

node_say "RKE2 again, as its RPM lays it out"
"$node_lib/standin/install" "$NODE_DIR/rpm" /usr
tar -C "$NODE_DIR/rpm" -c usr >"$NODE_DIR/rpm.tar"
node_put "$NODE_DIR/rpm.tar" /root/rpm.tar
# --keep-directory-symlink and no owners but root's: /usr is the node's own.
node tar -C / --no-same-owner --keep-directory-symlink --no-overwrite-dir -xf /root/rpm.tar
# A line that only this file has shows which one is gone by; where the node has a kernel of its
# own, a parameter more does, too.
node_sh 'echo "# as the RPM has it" >>/usr/share/rke2/rke2-cis-sysctl.conf'
[ "$NODE_KIND" != qemu ] || node_sh 'echo vm.swappiness=11 >>/usr/share/rke2/rke2-cis-sysctl.conf'
node systemctl daemon-reload
check_status "nothing is left of the tarball" 1 node test -e /usr/local/bin/rke2
rke2_config <<<'write-kubeconfig-mode: "0600"'
# The RPM's environment file.
node_write /etc/sysconfig/rke2-server <<<'RKE2_CIS_PROFILE=cis'
since=$(journal_now)
check "RKE2 starts at the first try" start_rke2
check_has "from /usr/bin" '/usr/bin/rke2 server' "$(node systemctl show -P ExecStart rke2-server)"
check_is "it was started once" 0 "$(node systemctl show -P NRestarts rke2-server)"
check_lacks "RKE2 has nothing fatal to say" "$RKE2_FATAL" "$(journal_of rke2-server "$since")"
check_is "etcd runs as etcd" etcd "$(node ps -o user= -C etcd)"
check_soon "the node is ready" 15 state_is ready
check_is "the bus has the profile from /etc/sysconfig" cis "$(bus_get Profile)"
check_is "the bus knows RKE2's version" 1.34.1+rke2r1 "$(bus_get Rke2Version)"
if [ "$NODE_KIND" = qemu ]; then
    check_has "the drop-in has the parameter that only /usr/share/rke2 has" '^vm.swappiness *= *11$' \
        "$(node cat $DROP_IN)"
    check_is "and the kernel has it" 11 "$(node sysctl -n vm.swappiness)"
    node sysctl -qw vm.swappiness=60
    check_soon "which is held like the others" 5 sysctl_is vm.swappiness 11
fi
node rm $DROP_IN
from_rpm() { node grep -qx '# as the RPM has it' $DROP_IN; }
check_soon "a drop-in that is lost is made again from /usr/share/rke2" 10 from_rpm
node chown root:root "$ETCD_DB"
check_soon "the data dir is guarded" 5 owned "$ETCD_DB"
node chown -R root:root "$TLS"
check_soon "and the six files are" 5 exactly_six
check_status "check exits 0" 0 node nodeguard check
check_is "the agent is the same process all the time" "$main_pid" "$(node systemctl show -P MainPID nodeguard)"
finish
