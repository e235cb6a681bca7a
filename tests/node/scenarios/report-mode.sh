#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie
# The package comes to a stock node on which a file says `mode = "report"` already: RKE2 starts, or
# dies, as without it, nothing of the host is changed, and everything says what would be done; then
# the mode is switched.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

file=/etc/nodeguard/nodeguard.toml.d/10-report.toml
# All of /etc but the link by which the package enables its service, and the kernel's values.
# shellcheck disable=SC2016 # expanded in the node
host='cd /etc && find . ! -path "*/nodeguard.service" -printf "%p %y %m %U:%G %l\n" | sort
      find . -type f -exec sha256sum {} + | sort -k2
      sysctl kernel.panic kernel.panic_on_oops vm.overcommit_memory vm.panic_on_oom fs.protected_hardlinks
      find /var/lib/rancher -printf "%p %y %m %U:%G\n" 2>/dev/null | grep -v "/agent/" | sort'
host_is() { diff <(cat <<<"$1") <(node_sh "$host"); }
status_has() { said "$1" "$(node systemctl status --no-pager --full nodeguard)"; }
died() { said "$1" "$(journal_of rke2-server "$since" | grep 'level=fatal')"; }
stop_rke2() { node systemctl stop rke2-server; }

node_up "$@"
rke2_config <<<'profile: cis'
node_write "$file" <<<'mode = "report"'
before=$(node_sh "$host")

node_say "what RKE2 says without nodeguard"
since=$(journal_now)
node systemctl start --no-block rke2-server
check_soon "RKE2 dies of the kernel parameters" 15 died 'invalid kernel parameter value kernel.panic=0'
stop_rke2

node_say "the package comes"
check "it installs" install_agent
check "the service is active" node systemctl is-active nodeguard
check_soon "its status says the mode and what is wrong" 5 status_has 'Status: "degraded \(report mode\): '
check_is "so does the bus" report "$(bus_get Mode)"
check_is "and the state is the judgement's" degraded "$(bus_get State)"
check_has "the journal says the line" "report mode \($file:1\): nothing on this host is changed" "$(agent_journal)"
check_has "and what would be done" 'kernel.panic=0 - expected 10 \(report mode: it would be corrected\)' \
    "$(agent_journal)"
check "nothing of the host is changed" host_is "$before"
check_status "check ends with the judgement's code" 2 node nodeguard check
check_status "apply changes nothing" 2 node nodeguard apply
check_status "there is no account" 2 node getent passwd etcd

node_say "RKE2 starts as without it: here it dies in its own words"
since=$(journal_now)
node systemctl start --no-block rke2-server
check_soon "RKE2 dies of the kernel parameters" 15 died 'invalid kernel parameter value kernel.panic=0'
would='nodeguard: report mode: [0-9]+ things would have been corrected, and RKE2 would have been started'
check_soon "its journal has what would have been done" 5 rke2_journal_has "$would" "$since"
check_soon "and its status" 15 rke2_status_has "$would"
stop_rke2
rke2_config <<<'profile: cis-1.99'
since=$(journal_now)
node systemctl start --no-block rke2-server
check_soon "what is fatal is RKE2's to refuse" 15 died 'invalid value provided for --profile flag'
check_soon "the gate says that it would have been shut, and why" 5 rke2_journal_has \
    'report mode: .*RKE2 would not have been started because invalid value provided for --profile flag' "$since"
check_soon "so does the service" 10 status_has 'Status: "fatal \(report mode\): invalid value provided'
stop_rke2
rke2_config <<<'profile: cis'
check "nothing of the host is changed" host_is "$before"

node_say "RKE2 lives where it lives without it"
rke2_config <<<'{}'
check "RKE2 starts" start_rke2
check_soon "the node is told as it is" 10 status_has 'Status: "degraded \(report mode\): '
check_has "etcd is root's, as RKE2 makes it" '^root$' "$(node ps -o user= -C etcd)"
rke2_config <<<'profile: cis'

node_say "the switch"
since=$(journal_now)
node_write "$file" <<<'mode = "enforce"'
check "the service reloads" node systemctl reload nodeguard
for pair in kernel.panic=10 kernel.panic_on_oops=1 vm.overcommit_memory=1; do
    check_soon "$pair" 10 sysctl_is "${pair%=*}" "${pair#*=}"
done
check_soon "the account is there" 10 node getent passwd etcd
check "the drop-in is there" node test -e /etc/sysctl.d/60-rke2-cis.conf
check_soon "the journal has the switch" 5 agent_journal_has "enforce mode \($file:1\)" "$since"
check "RKE2 restarts under its profile" node timeout 60 systemctl restart rke2-server
check_has "etcd runs as etcd" '^etcd$' "$(node ps -o user= -C etcd)"
check_soon "the node is ready" 15 state_is ready
check_is "the bus says the mode" enforce "$(bus_get Mode)"
check_status "and the host is changed, as the listing tells" 1 host_is "$before"
finish
