#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie nspawn-bookworm
# An operator lets RKE2 start on a node that is fatal: once, loud, and gated again the next time.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
server_with_agent
uid=$(node id -u etcd)

# RKE2 itself starts with this; what its chown would do is why the gate is shut.
node_sh "ln -s /root/precious $ETCD_DIR/member/planted; chown -h etcd: $ETCD_DIR/member/planted"
node_sh "echo mine >/root/precious"
check_soon "a planted link makes the node fatal" 10 state_is fatal
check_status "and RKE2 is not started" 1 node timeout 60 systemctl restart rke2-server
node systemctl stop rke2-server

since=$(journal_now)
check_status "an override needs a reason" 64 node nodeguard override --role server
check "an override is asked for" node nodeguard override --role server --reason "ticket 4711, I know the link"
asked() { said 'ticket 4711' "$(node journalctl --no-pager -q -o cat -p warning -t nodeguard --since "$since")"; }
check_soon "the journal has it with a priority" 5 asked
pending() { said 'let through once' "$(node nodeguard status 2>&1 || true)"; }
check_soon "status tells that it is pending" 5 pending

since=$(journal_now)
check "RKE2 starts" start_rke2
check_soon "its own status says who overrode what" 5 \
    rke2_status_has 'OVERRIDDEN by .*ticket 4711.*etcd-link-foreign'
check_has "and what RKE2's chown does with a link" 'what they lead to, anywhere on this host' \
    "$(journal_of rke2-server "$since")"
errors() { said 'OVERRIDDEN' "$(node journalctl --no-pager -q -o cat -p err -t nodeguard --since "$since")"; }
check_soon "the journal has it as an error" 5 errors
check_has "with fields" 'ticket 4711' "$(node journalctl --no-pager -q -o json -t nodeguard --since "$since" |
    grep -o '"NODEGUARD_OVERRIDE_REASON":"[^"]*"' | head -n1)"
told() { said 'started by an override' "$(node nodeguard status 2>&1 || true)"; }
check_soon "status tells of the start" 5 told
check_is "the word is gone" "" "$(node_sh 'ls /run/nodeguard/override-* 2>/dev/null || true')"
check_is "and so it did: what the link leads to is etcd's" "$uid" "$(node stat -c %u /root/precious)"

node systemctl stop rke2-server
check_status "the next start is gated again" 1 node timeout 60 systemctl start rke2-server
check_soon "in RKE2's own status" 5 rke2_status_has 'an ownership change must not leave the tree'
check "status still tells of the override: this was no start" told

node_say "mended"
node systemctl stop rke2-server
node rm "$ETCD_DIR/member/planted"
check "RKE2 starts" start_rke2
forgotten() { ! told; }
check_soon "status tells of an override no more" 5 forgotten
check_soon "the node is ready" 15 state_is ready

node_say "a word does not outlive a boot"
check "an override is asked for" node nodeguard override --role server --reason "left on"
node_reboot
check_is "it is gone" "" "$(node_sh 'ls /run/nodeguard/override-* 2>/dev/null || true')"
finish
