#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie
# nodeguard's own configuration on a live server: reload, a broken file, the policies, and a kernel
# that refuses.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

conf=/etc/nodeguard/nodeguard.toml
drop_in=/etc/sysctl.d/60-rke2-cis.conf
configure() { node_write $conf; }
status_has() { said "$1" "$(node systemctl status --no-pager nodeguard)"; }

node_up "$@"
# In a container /proc/sys is read-only; a plain file over one key makes that one writable.
node_sh 'cd /run/stock-proc-sys/vm && echo 60 >swappiness && mount --bind swappiness /proc/sys/vm/swappiness'
server_with_agent

node_say "the package's file changes nothing"
check_is "it is root's and readable by all" "0:0 644" "$(stat_of /usr/lib/nodeguard/nodeguard.toml)"
check "nodeguard config ends well" node nodeguard config
check_has "everything is built in" '^poll-interval = "5s" +# built-in default$' "$(node nodeguard config)"

node_say "a parameter of the operator's"
configure <<'END'
[sysctl.extra]
vm.swappiness = 10
END
check_soon "it is set as soon as it is written" 5 sysctl_is vm.swappiness 10
check "it is in the drop-in" node grep -qx 'vm.swappiness=10' $drop_in
check_soon "the node is ready" 5 state_is ready
node sysctl -qw vm.swappiness=77
check_soon "drift is undone" 5 sysctl_is vm.swappiness 10
check_soon "and said" 5 agent_journal_has 'vm.swappiness corrected: 77 -> 10'
check_has "its origin is known" "^\"vm.swappiness\" = \"10\" +# $conf:2\$" "$(node nodeguard config)"

node_say "a broken file"
since=$(journal_now)
node_write /etc/nodeguard/nodeguard.toml.d/50-local.toml <<'END'
atribution = true
[sysctl.extra]
net.ipv4.ip_forward = 1
END
check_soon "the node is degraded" 5 state_is degraded
check_soon "the status names file and line" 5 status_has 'nodeguard.toml.d/50-local.toml:1'
for words in 'unknown key atribution, did you mean attribution' 'net.ipv4.ip_forward.*network namespace'; do
    check_soon "the journal has: $words" 5 agent_journal_has "$words" "$since"
done
check_status "nodeguard config exits 78" 78 node nodeguard config
node sysctl -qw vm.swappiness=1
check_soon "the last whole configuration is still held" 5 sysctl_is vm.swappiness 10
check "RKE2 may start all the same" node nodeguard gate --role server
check_is "its object on the bus says so" '"degraded"' "$(node busctl get-property $BUS \
    $BUS_PATH/nodeguard_config $BUS.Control State | cut -d' ' -f2)"
node rm /etc/nodeguard/nodeguard.toml.d/50-local.toml
check_soon "without it the node is ready" 5 state_is ready

node_say "warn and ignore"
configure <<'END'
poll-interval = "1s"
[sysctl]
extra.vm.swappiness = 10
policy.vm.swappiness = "warn"
END
check_soon "the change is said" 5 agent_journal_has 'a changed configuration is in force' "$since"
node sysctl -qw vm.swappiness=42
check_soon "a wrong value makes the node degraded" 5 state_is degraded
check_soon "with the line of the policy" 5 status_has "vm.swappiness=42 - expected 10 .*$conf:4"
node sysctl -qw kernel.panic=0
check_soon "others are held" 5 sysctl_is kernel.panic 10
check_is "and it is not" 42 "$(node sysctl -n vm.swappiness)"
node sed -i 's/warn/ignore/' $conf
check_soon "ignored, the node is ready" 5 state_is ready
check_is "the value is left" 42 "$(node sysctl -n vm.swappiness)"
node sh -c 'echo "policy.kernel.panic = \"ignore\"" >>'$conf
# The write may come before the policy is read: then it is corrected, and made again.
left_wrong() { node sysctl -qw kernel.panic=0 && state_is fatal; }
check_soon "where RKE2 would refuse, the node is fatal all the same" 5 left_wrong
check_status "and the gate is shut" 78 node nodeguard gate --role server
node sed -i '$d' $conf
check_soon "without the policy the value is mended" 5 sysctl_is kernel.panic 10
check_soon "and the node ready" 5 state_is ready

node_say "a read-only /proc/sys, as every container has it"
before=$(node sysctl -n kernel.msgmni)
configure <<END
[sysctl.extra]
kernel.msgmni = $((before - 1))
vm.no_such_parameter = 1
END
check_soon "is one finding with the reason" 5 \
    agent_journal_has 'kernel.msgmni=.*Read-only file system \(os error 30\).* in a container'
check_soon "and so is a parameter that the kernel lacks" 5 agent_journal_has 'no parameter vm.no_such_parameter'
check_soon "the node is degraded" 5 state_is degraded
check_is "the value is the machine's" "$before" "$(node sysctl -n kernel.msgmni)"

node_say "reload and masking"
node ln -sf /dev/null $conf
node systemctl reload nodeguard
check_soon "a masked file is none" 5 state_is ready
check_has "and the package's is none either" '^poll-interval' "$(node nodeguard config)"
check_is "the service is the first one" 0 "$(node systemctl show -P NRestarts nodeguard)"
finish
