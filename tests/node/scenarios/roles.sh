#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie
# What depends on what RKE2 is here: an agent node, a server without etcd, a server without a
# profile, both at once.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"

node_say "no role yet"
install_agent >/dev/null
check_soon "kernel parameters are set without any RKE2 configuration" 10 sysctl_is kernel.panic 10
check_status "no account is made before the role is known" 2 node getent passwd etcd
check_is "the role is unknown" unknown "$(bus_get Role)"

node_say "an agent node"
rke2_config <<<$'profile: cis\nserver: https://10.0.0.1:9345\ntoken: secret'
node sysctl -qw vm.overcommit_memory=0
check "RKE2's agent starts at the first try" start_rke2 agent
check_lacks "RKE2 has nothing fatal to say" "$RKE2_FATAL" "$(journal_of rke2-agent)"
check_is "vm.overcommit_memory is 1" 1 "$(node sysctl -n vm.overcommit_memory)"
agent_role() { [ "$(bus_get Role)" = agent ]; }
check_soon "the role is agent" 10 agent_role
check_status "an agent gets no account" 2 node getent passwd etcd
check_soon "the node is ready" 10 state_is ready
check_status "check exits 0" 0 node nodeguard check
check_status "no data dir is made" 1 node test -e "$ETCD_DIR"
node systemctl stop rke2-agent

node_say "a server without etcd"
rke2_config <<<$'profile: cis\ndisable-etcd: true\nserver: https://10.0.0.1:9345'
check "RKE2's server starts at the first try" start_rke2
check "a server gets the account even so, for RKE2 asks for it" node getent passwd etcd
# A leftover of a former life must not be touched.
node_sh "mkdir -p $ETCD_DIR; chown daemon:daemon $ETCD_DIR; chmod 755 $ETCD_DIR"
node busctl call $BUS $BUS_PATH $BUS Reconcile >/dev/null
check_is "a data dir that no etcd of RKE2's uses is left alone" 'daemon 755' \
    "$(node stat -c '%U %a' "$ETCD_DIR")"
check_soon "the node is ready" 10 state_is ready
node_sh "systemctl stop rke2-server; rm -rf $DATA_DIR"

node_say "a server without a profile"
rke2_config <<<'write-kubeconfig-mode: "0600"'
check "RKE2's server starts" start_rke2
check_is "its etcd runs as root" root "$(node ps -o user= -C etcd)"
check_soon "the node is degraded" 10 state_is degraded
check_has "and says that there is no profile" 'profile-missing' "$(node nodeguard check --json || true)"
check_status "check exits 2" 2 node nodeguard check
check_is "root's etcd keeps its files" '0:0 700' "$(stat_of "$ETCD_DIR")"
node rke2-killall.sh

node_say "both units enabled"
node systemctl enable -q rke2-server rke2-agent
rke2_config <<<'profile: cis'
node systemctl restart nodeguard
check_soon "both roles at once are fatal" 10 state_is fatal
check_has "and say so" 'role-both' "$(node nodeguard check --json || true)"
node systemctl disable -q rke2-agent
node systemctl restart nodeguard
check_soon "one of them disabled, the node is ready" 15 state_is ready
finish
