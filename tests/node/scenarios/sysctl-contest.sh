#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie
# Somebody who never gives up a kernel parameter: contested, said once at its beginning and once at
# its end, and over by itself when the rival is gone. Others are held all the while. And a kernel
# that gives in to nobody: each refusal is one finding with its errno, and no fight.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
rke2_config <<<'profile: cis'
node_write /etc/nodeguard/nodeguard.toml <<<'attribution = true'
install_agent >/dev/null 2>&1 || node_die "the package does not install"
node_sh 'mkdir -p /etc/systemd/system/nodeguard.service.d
    ln -s /usr/lib/nodeguard/attribution.conf /etc/systemd/system/nodeguard.service.d/
    systemctl daemon-reload && systemctl restart nodeguard'
check "the gate opens" node nodeguard gate --role server
check_soon "the node is ready" 20 state_is ready

node_say "a rival that never gives up"
node systemd-run -q --unit ear -p StandardOutput=file:/root/signals \
    busctl monitor --match "type='signal',member='Contested'"
hearing() { node pgrep -x busctl; }
check_soon "somebody listens on the bus" 10 hearing
since=$(journal_now)
node systemd-run -q --unit rival /usr/local/lib/node/rival /proc/sys/kernel/panic 0
contested() { agent_journal_has 'kernel.panic is contested' "$since"; }
check_soon "kernel.panic is contested" 60 contested
check_soon "the node is degraded" 10 state_is degraded
status=$(node nodeguard status || true)
check_has "status says so with both values and the rival" \
    'kernel.panic is contested: somebody keeps setting it from 10 to 0 \(the last time written by .*rival.service\)' "$status"
node sysctl -qw vm.panic_on_oom=1
check_soon "other parameters are held as before" 10 sysctl_is vm.panic_on_oom 0
node systemctl stop rival
over() { agent_journal_has 'kernel.panic is no longer contested' "$since"; }
check_soon "it ends with the rival" 60 over
check_soon "kernel.panic is right" 10 sysctl_is kernel.panic 10
check_soon "the node is ready" 20 state_is ready
count() { node journalctl -q -o cat -t nodeguard --since "$since" MESSAGE_ID=318740df3b4e41deb32a887fd64cae42; }
check_is "one line at its beginning and one at its end" 2 "$(count | wc -l)"
entry=$(node journalctl -q -o verbose -t nodeguard --since "$since" NODEGUARD_CODE=contested)
check_has "with their value" '^ *NEWVALUE=0$' "$entry"
check_has "and ours" '^ *OURVALUE=10$' "$entry"
check_is "and one signal" 1 "$(node grep -c 'Member=Contested' /root/signals)"

node_say "a kernel that refuses"
# These two stand until the next boot.
node sysctl -qw kernel.unprivileged_bpf_disabled=1 kernel.kexec_load_disabled=1
since=$(journal_now)
node_write /etc/nodeguard/nodeguard.toml <<'END'
poll-interval = "1s"
[sysctl.extra]
vm.swappiness = 300
kernel.kexec_load_disabled = 0
kernel.unprivileged_bpf_disabled = 0
kernel.ngroups_max = 1
vm.compact_memory = 1
vm.dirty_ratio = 21
vm.no_such_parameter = 1
END
refused() { # refused KEY WORDS
    check_soon "$1: $2" 10 agent_journal_has "warning: .*$1.*$2" "$since"
}
refused vm.swappiness 'Invalid argument \(os error 22\)'
refused kernel.kexec_load_disabled 'Invalid argument \(os error 22\)'
refused kernel.unprivileged_bpf_disabled 'Operation not permitted \(os error 1\)'
refused kernel.ngroups_max 'Permission denied \(os error 13\)'
refused vm.compact_memory 'cannot be read: Permission denied \(os error 13\)'
check_soon "vm.no_such_parameter: there is none" 10 \
    agent_journal_has 'warning: this kernel has no parameter vm.no_such_parameter' "$since"
check_soon "the one that it takes is set" 5 sysctl_is vm.dirty_ratio 21
node sysctl -qw vm.dirty_ratio=22
check_soon "and held" 5 sysctl_is vm.dirty_ratio 21
for _ in 1 2 3; do check "RKE2 may start" node nodeguard gate --role server; done
told() { node journalctl -q -o cat -t nodeguard --since "$since" NODEGUARD_CODE=sysctl-live "$@"; }
check_is "each was told once, whatever was looked at since" 6 \
    "$(told MESSAGE_ID=c7be608bb011498ebcce96b899cfcc8f | wc -l)"
check_is "and nothing was said to be corrected but what was" '' \
    "$(told MESSAGE_ID=f6611ec6591a4bbfa23408739f1c5fef | grep -v '^vm.dirty_ratio ' || true)"
check_lacks "nobody is said to fight" 'contested' "$(node journalctl -q -o cat -t nodeguard --since "$since")"

node_say "a unit that may not write"
node rm /etc/nodeguard/nodeguard.toml
node_write /etc/systemd/system/nodeguard.service.d/tunables.conf <<<$'[Service]\nProtectKernelTunables=yes'
node_sh 'systemctl daemon-reload && systemctl restart nodeguard'
check_soon "with right values the node is ready" 20 state_is ready
since=$(journal_now)
node sysctl -qw kernel.panic=0
check_soon "a wrong one is fatal" 10 state_is fatal
check_soon "with the errno and the reason" 5 agent_journal_has \
    'fatal: .*kernel.panic=0 - expected 10.*Read-only file system \(os error 30\): /proc/sys is read-only here' "$since"
check_status "the gate, which may write, opens" 0 node nodeguard gate --role server
check_is "and has mended it" 10 "$(node sysctl -n kernel.panic)"
node rm /etc/systemd/system/nodeguard.service.d/tunables.conf
node_sh 'systemctl daemon-reload && systemctl restart nodeguard'
check_soon "a unit that may write mends it" 20 sysctl_is kernel.panic 10
check_soon "and the node is ready" 20 state_is ready
finish
