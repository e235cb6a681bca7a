#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie nspawn-bookworm
# alone: it measures how long things take.
# Drift on a running server is undone at once: kernel parameters, owners, modes; with figures,
# journal lines and signals; also while the agent is killed, and nothing else is touched.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
server_with_agent
id=$(node stat -c %u:%g "$ETCD_DB")
owner_is() { [ "$(node stat -c %u:%g "$1")" = "$2" ]; }

node_say "kernel parameters"
if [ "$NODE_KIND" = qemu ]; then
    # Keys that are nobody's business here, at values that nobody would set.
    node sysctl -qw vm.swappiness=37 kernel.printk_ratelimit=11 fs.file-max=123456 vm.dirty_ratio=33
fi
since=$(journal_now)
before=$(bus_get Corrections)
node sysctl -qw kernel.panic=0
check_soon "kernel.panic=0 is undone" 5 sysctl_is kernel.panic 10
check_soon "the journal has the correction with both values" 5 \
    agent_journal_has 'kernel.panic corrected: 0 -> 10' "$since"
entry=$(node journalctl -q -o verbose -t nodeguard --since "$since" NODEGUARD_SUBJECT=kernel.panic)
check_has "its entry has a MESSAGE_ID" '^ *MESSAGE_ID=[0-9a-f]{32}$' "$entry"
check_has "its entry names the control" '^ *NODEGUARD_CONTROL=sysctl$' "$entry"
check_has "its entry has a code" '^ *NODEGUARD_CODE=sysctl-live$' "$entry"
check_has "its entry has what was expected" '^ *NODEGUARD_EXPECTED=10$' "$entry"
check_has "its entry has what was found" '^ *NODEGUARD_ACTUAL=0$' "$entry"
counted() { [ "$(bus_get Corrections)" -gt "$before" ]; }
check_soon "the bus counts it" 5 counted
for pair in kernel.panic_on_oops=0:1 vm.overcommit_memory=2:1 vm.panic_on_oom=1:0; do
    key=${pair%=*} values=${pair#*=}
    node sysctl -qw "$key=${values%:*}"
    check_soon "$key=${values%:*} is undone" 5 sysctl_is "$key" "${values#*:}"
done
if [ "$NODE_KIND" = qemu ]; then
    check_is "other kernel parameters are left alone" '37 11 123456 33' "$(node sysctl -n \
        vm.swappiness kernel.printk_ratelimit fs.file-max vm.dirty_ratio | paste -sd' ')"
fi
if [ "$NODE_KIND" = qemu ]; then
    # Through another procfs, as every container has one, a write raises no event: a poll finds it.
    check "kernel.panic is written through another procfs" \
        node unshare --pid --fork --mount-proc sh -c 'echo 0 >/proc/sys/kernel/panic'
    check_soon "that write is undone too" 30 sysctl_is kernel.panic 10
fi
figures=$(node /usr/local/lib/node/measure value /proc/sys/kernel/panic 10 0 60 2>&1)
node_say "$NODE_KIND: kernel.panic=0 lasted: $figures"
p50=$(sed -n 's/.*p50_ms=\([0-9.]*\).*/\1/p' <<<"$figures")
check_has "no deviation was left standing" '^n=60 lost=0 ' "$figures"
check_at_most "half of the deviations last at most 50 ms" 50 "$p50"

node_say "the data dir"
since=$(journal_now)
node chown root:root "$ETCD_DB"
check_soon "chown root of member/snap/db is undone" 5 owner_is "$ETCD_DB" "$id"
check_soon "the journal has it with the path and both owners" 5 \
    agent_journal_has "$ETCD_DB owner corrected: 0:0 -> $id" "$since"
figures=$(node /usr/local/lib/node/measure owner "$ETCD_DB" "$id" 0:0 60 2>&1)
node_say "$NODE_KIND: chown root:root of member/snap/db lasted: $figures"
p50=$(sed -n 's/.*p50_ms=\([0-9.]*\).*/\1/p' <<<"$figures")
check_has "no deviation was left standing" '^n=60 lost=0 ' "$figures"
check_at_most "half of the deviations last at most 50 ms" 50 "$p50"
node chmod 777 "$ETCD_DIR"
mode_is() { [ "$(node stat -c %a "$1")" = "$2" ]; }
check_soon "chmod 777 of the data dir is undone" 5 mode_is "$ETCD_DIR" 700
node_sh "mkdir -p $ETCD_DIR/new/deep/er; echo x >$ETCD_DIR/new/deep/er/file"
check_soon "a new tree that root makes becomes etcd's, leaf and all" 5 owner_is "$ETCD_DIR/new/deep/er/file" "$id"
node rm -rf "$ETCD_DIR/new"
key=$DATA_DIR/server/tls/etcd/server-client.key
node chown -R root:root "$DATA_DIR/server/tls"
check_soon "chown -R root of server/tls: etcd's key is etcd's again" 5 owner_is "$key" "$id"
check_is "the client key stays root's" 0:0 "$(node stat -c %u:%g "$DATA_DIR/server/tls/etcd/client.key")"
node_sh "ln -s /etc/shadow $ETCD_DIR/link; chown root:root $ETCD_DB"
check_soon "a link in the tree does not stop the guard" 5 owner_is "$ETCD_DB" "$id"
check_is "what the link points to is untouched" 0 "$(node stat -c %u /etc/shadow)"
node rm "$ETCD_DIR/link"

node_say "SIGKILL of the agent under drift"
main_pid=$(node systemctl show -P MainPID nodeguard)
node_sh "systemctl kill -s KILL nodeguard; sysctl -qw kernel.panic=0; chown root:root $ETCD_DB"
check_soon "systemd starts the agent again, which mends the kernel parameter" 20 sysctl_is kernel.panic 10
check_lacks "by a new process" "^$main_pid\$" "$(node systemctl show -P MainPID nodeguard)"
check_soon "and the owner" 10 owner_is "$ETCD_DB" "$id"
check_soon "and the node is ready" 15 state_is ready
check "RKE2 ran through all this" node systemctl is-active rke2-server
check_is "RKE2 was never restarted" 0 "$(node systemctl show -P NRestarts rke2-server)"
finish
