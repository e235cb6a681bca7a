#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie
# Kernel parameters on a real kernel: a write on the host is undone in milliseconds, also after the
# caches were dropped and under memory pressure; one through a container's own /proc raises no
# event and is undone by the poll; and 200 parameters of others are never touched.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

tools=/usr/local/lib/node
# As rare as it may be, and no watchdog, which wants its turns too: what is undone within seconds was
# told by an event.
RARE_POLL=5min
EVENT_S=30
POLL_MS=5000 # the default

node_up "$@"
rke2_config <<<'profile: cis'
node_write /etc/nodeguard/nodeguard.toml <<<"poll-interval = \"$RARE_POLL\""
node_write /etc/systemd/system/nodeguard.service.d/rare.conf <<<$'[Service]\nWatchdogSec=0'
install_agent >/dev/null 2>&1 || node_die "the package does not install"
check "the gate opens" node nodeguard gate --role server
check_soon "the node is ready" 20 state_is ready

node_say "parameters of others"
odd=$(node $tools/odd-sysctls set 230 /root/odd)
node_say "moved by one: $odd"
check "200 parameters of others and more are at odd values" test "${odd%% *}" -ge 200
for part in fs kernel net vm; do
    check_has "some of them in $part" "$part=[1-9]" "$odd"
done
untouched() { # untouched WHEN
    check_is "they are untouched after $1" "" "$(node $tools/odd-sysctls changed /root/odd)"
}

node_say "a write on the host"
# quick WHEN: writes a wrong value ten times and takes the time until it is right again.
quick() {
    local figures p50
    figures=$(node $tools/measure value /proc/sys/kernel/panic 10 0 "${2:-10}" $EVENT_S 2>&1)
    p50=${figures#*p50_ms=}
    node_say "$1: kernel.panic=0 lasted $figures"
    check_has "$1: every write is undone, by an event" ' lost=0 ' "$figures"
    # Some milliseconds; a busy machine with an emulated processor takes its time.
    check_at_most "$1: half of them far sooner (ms)" 500 "${p50%% *}"
}
quick "on a calm node" 20
for pair in kernel.panic_on_oops=0:1 vm.overcommit_memory=2:1 vm.panic_on_oom=1:0 \
    kernel.keys.root_maxkeys=200:1000000 kernel.keys.root_maxbytes=20000:25000000; do
    key=${pair%%=*} values=${pair#*=}
    node sysctl -qw "$key=${values%:*}"
    check_soon "$key=${values%:*} is undone" 2 sysctl_is "$key" "${values#*:}"
done

node_say "caches dropped, memory short"
# What the agent had to read from a disk again, since it started.
read_again() { node_sh 'cut -d" " -f12 "/proc/$(systemctl show -P MainPID nodeguard)/stat"'; }
for _ in 1 2 3; do node_sh 'sync; echo 3 >/proc/sys/vm/drop_caches'; done
quick "after drop_caches"
before=$(read_again)
squeezed=$(node $tools/squeeze 2>&1)
node_say "squeezed: $squeezed"
check_has "the kernel has looked for inodes to take back" '^slabs_scanned=[1-9]' "$squeezed"
check_has "and has taken pages of files" ' files_taken=[1-9][0-9]{2}' "$squeezed"
quick "after memory was short"
# One or two for what it had not done before; 26 and more where its code is not kept.
check_at_most "the agent's code was still there (page faults)" 3 $(($(read_again) - before))
check "the agent is the process that it was" node_sh '[ "$(systemctl show -P NRestarts nodeguard)" = 0 ]'

node_say "a write through a container's own /proc"
node_sh 'rm /etc/nodeguard/nodeguard.toml /etc/systemd/system/nodeguard.service.d/rare.conf
    systemctl daemon-reload; systemctl restart nodeguard'
check_soon "the node is ready with the default poll" 20 state_is ready
container="unshare --fork --pid --mount-proc sysctl -qw"
check_is "inotify tells of a write on the host" heard \
    "$(node $tools/hears /proc/sys/vm/laptop_mode sysctl -qw vm.laptop_mode=3)"
# shellcheck disable=SC2086 # words
check_is "and of one through another /proc it does not" "not heard" \
    "$(node $tools/hears /proc/sys/vm/laptop_mode $container vm.laptop_mode=4)"
for n in 1 2; do
    # All in the node, so that no connection is in the figure.
    took=$(node_sh "$container kernel.panic=$n && a=\${EPOCHREALTIME/./} &&
        until [ \"\$(</proc/sys/kernel/panic)\" = 10 ]; do read -rt 0.01 <> <(:); done
        echo \$(((\${EPOCHREALTIME/./} - a) / 1000))")
    check_at_most "kernel.panic=$n from a container is undone by the poll (ms)" $((POLL_MS + 1000)) "$took"
    check_soon "and is in the journal" 5 agent_journal_has "kernel.panic corrected: $n -> 10"
done

untouched "drift"

node_say "parameters of others, once more"
check "nodeguard apply" node nodeguard apply
untouched "nodeguard apply"
node_sh 'sysctl -qw kernel.panic=0; systemctl restart nodeguard'
check_soon "kernel.panic is right after a restart" 5 sysctl_is kernel.panic 10
untouched "a restart of the agent"
check "the package installs again" node dpkg --install /root/nodeguard.deb
check_soon "the node is ready" 20 state_is ready
untouched "an upgrade of the package"
finish
