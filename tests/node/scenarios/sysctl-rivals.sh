#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie+tuned
# Others that set the same kernel parameters: a sysctl.d file that wins at boot, TuneD with a
# profile of its own, and somebody who never gives up. RKE2 finds the six values that it and its
# kubelet check, at boot and after, and a fight is contested and ends with the rival.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

KEYS="vm.panic_on_oom vm.overcommit_memory kernel.panic kernel.panic_on_oops
    kernel.keys.root_maxkeys kernel.keys.root_maxbytes"
RIGHT="0 1 10 1 1000000 25000000"
# shellcheck disable=SC2086 # words
values() { node sysctl -n $KEYS | paste -sd' '; }
all_right() { values && [ "$(values)" = "$RIGHT" ]; }

node_up "$@"
node systemctl disable -q --now tuned
node_write /etc/sysctl.d/99-stig.conf <<'END'
kernel.panic = 0
vm.overcommit_memory = 0
END
for path in tuned/profiles/rival tuned/rival; do # TuneD 2.23 and later, and before
    node_write /etc/$path/tuned.conf <<'END'
[main]
summary=Sets what others set
[sysctl]
kernel.panic=0
kernel.panic_on_oops=0
vm.overcommit_memory=2
kernel.keys.root_maxkeys=200
kernel.keys.root_maxbytes=20000
END
done
node_write /etc/tuned/active_profile <<<rival
node_write /etc/tuned/profile_mode <<<manual
node_write /etc/nodeguard/nodeguard.toml <<<'attribution = true'
rke2_config <<<'profile: cis'
install_agent >/dev/null 2>&1 || node_die "the package does not install"
node_sh 'mkdir -p /etc/systemd/system/nodeguard.service.d
    ln -s /usr/lib/nodeguard/attribution.conf /etc/systemd/system/nodeguard.service.d/
    systemctl enable -q rke2-server tuned'

node_say "a boot with all of them"
node_reboot
up() { node systemctl is-active rke2-server tuned; }
check_soon "RKE2 and TuneD are up after the boot" 60 up
words=$(node journalctl -b -q -o cat -u rke2-server)
check_has "RKE2 says that it is up" 'rke2 is up and running' "$words"
check_lacks "RKE2 has nothing fatal to say" "$RKE2_FATAL" "$words"
check_is "RKE2 came up at the first try" 0 "$(node systemctl show -P NRestarts rke2-server)"
tuned_wrote() { agent_journal_has 'vm.overcommit_memory corrected: 2 -> 1'; }
check_soon "TuneD has set its values" 60 tuned_wrote
check_soon "all six are right" 10 all_right
check_is "the operator's file is untouched" 'kernel.panic = 0' "$(node head -n1 /etc/sysctl.d/99-stig.conf)"
check "TuneD is active" node systemctl is-active tuned
check_has "TuneD is named" 'corrected: 2 -> 1; written by tuned\[[0-9]+\] \(/usr/bin/python3[^)]*\) of tuned.service' \
    "$(agent_journal)"

node_say "the profile is applied again, and sysctl.d"
since=$(journal_now)
node systemctl restart tuned
again() { agent_journal_has 'vm.overcommit_memory corrected: 2 -> 1' "$since"; }
check_soon "TuneD has set its values again" 60 again
check_soon "all six are right" 10 all_right
node systemctl restart systemd-sysctl
check_soon "systemd-sysctl started by hand is undone too" 5 all_right
check_soon "the node is ready" 20 state_is ready

node_say "a rival that never gives up"
node systemd-run -q --unit ear -p StandardOutput=file:/root/signals busctl monitor $BUS
hearing() { node pgrep -x busctl; }
check_soon "somebody listens on the bus" 10 hearing
since=$(journal_now)
node systemd-run -q --unit rival bash -c 'while :; do echo 0 >/proc/sys/kernel/panic; done'
contested() { agent_journal_has 'kernel.panic is contested' "$since"; }
check_soon "kernel.panic is contested" 60 contested
check_soon "the node is degraded" 10 state_is degraded
status=$(node nodeguard status)
check_has "status says so with both values and the rival" \
    'kernel.panic is contested: somebody keeps setting it from 10 to 0 \(the last time written by .*rival.service\)' "$status"
node sysctl -qw vm.panic_on_oom=1
check_soon "other parameters are held as before" 10 sysctl_is vm.panic_on_oom 0
node systemctl stop rival
over() { agent_journal_has 'kernel.panic is no longer contested' "$since"; }
check_soon "it ends with the rival" 60 over
check_soon "all six are right" 10 all_right
check_soon "the node is ready" 20 state_is ready
count() { node journalctl -q -o cat -t nodeguard --since "$since" MESSAGE_ID=318740df3b4e41deb32a887fd64cae42; }
check_is "one line at its beginning and one at its end" 2 "$(count | wc -l)"
entry=$(node journalctl -q -o verbose -t nodeguard --since "$since" NODEGUARD_CODE=contested)
check_has "with their value" '^ *NEWVALUE=0$' "$entry"
check_has "and ours" '^ *OURVALUE=10$' "$entry"
check_is "and one signal" 1 "$(node grep -c 'Member=Contested' /root/signals)"
check "RKE2 ran through all this" node systemctl is-active rke2-server
check_is "RKE2 was never restarted" 0 "$(node systemctl show -P NRestarts rke2-server)"
finish
