#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie+tuned
# Others that set the same kernel parameters: a sysctl.d file that wins at boot, and TuneD with a
# profile of its own. RKE2 finds the six values that it and its kubelet check, at boot and after.
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
# Told so, TuneD leaves its values standing. By default it applies sysctl.d after its own profile, and
# whether anybody sees its value in between is up to the scheduler.
node_sh 'sed -i "/^ *#* *reapply_sysctl/d" /etc/tuned/tuned-main.conf
    echo "reapply_sysctl = 0" >>/etc/tuned/tuned-main.conf'
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
BY_TUNED='root_maxkeys corrected: 200 -> 1000000'
tuned_wrote() { agent_journal_has "$BY_TUNED"; }
check_soon "TuneD has set its values" 60 tuned_wrote
check_soon "all six are right" 10 all_right
check_is "the operator's file is untouched" 'kernel.panic = 0' "$(node head -n1 /etc/sysctl.d/99-stig.conf)"
check "TuneD is active" node systemctl is-active tuned
check_has "TuneD is named" "$BY_TUNED"'; written by tuned\[[0-9]+\] of tuned.service' \
    "$(agent_journal)"

node_say "the profile is applied again, and sysctl.d"
since=$(journal_now)
node systemctl restart tuned
again() { agent_journal_has "$BY_TUNED" "$since"; }
check_soon "TuneD has set its values again" 60 again
check_soon "all six are right" 10 all_right
node_sh 'sed -i "s/^reapply_sysctl.*/reapply_sysctl = 1/" /etc/tuned/tuned-main.conf; : >/var/log/tuned/tuned.log
    systemctl restart tuned'
applied() { node grep -q "static tuning from profile 'rival' applied" /var/log/tuned/tuned.log; }
check_soon "TuneD has set its values and those of sysctl.d after them, as it does by default" 60 applied
check_soon "all six are right" 10 all_right
node systemctl restart systemd-sysctl
check_soon "systemd-sysctl started by hand is undone too" 5 all_right
status=$(node nodeguard status || true)
check_has "the file is named as what wins at boot" '/etc/sysctl.d/99-stig.conf:1' "$status"
# TuneD applies the files in /etc after its own, ours among them, so it does not win; but it sets.
check_has "explain tells what TuneD sets, to the line" 'etc/tuned/(profiles/)?rival/tuned.conf:[0-9]+' \
    "$(node nodeguard explain kernel.panic_on_oops || true)"
check "which is no reason to keep RKE2 from running" state_is degraded
node_sh 'rm /etc/sysctl.d/99-stig.conf; systemctl disable --now tuned 2>/dev/null; touch /etc/tuned/active_profile'
check_soon "without both the node is ready" 60 state_is ready
check_soon "all six are right" 10 all_right

check "RKE2 ran through all this" node systemctl is-active rke2-server
check_is "RKE2 was never restarted" 0 "$(node systemctl show -P NRestarts rke2-server)"
finish
