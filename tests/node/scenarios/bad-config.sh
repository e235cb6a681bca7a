#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie nspawn-bookworm
# Bad RKE2 configurations: a fatal before RKE2 starts, in RKE2's own words, with file, line and
# key, in RKE2's own status; and a node that turns ready by itself once it is mended.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
rke2_config <<<'profile: cis'
install_agent >/dev/null

# The words, the place and the exit code are where an operator looks first.
refused() { # refused NAME WORDS PLACE KEY
    local name=$1 words=$2 place=$3 key=$4 status since
    since=$(journal_now)
    node systemctl reset-failed rke2-server 2>/dev/null || true
    check_status "$name: RKE2 does not start" 1 node timeout 30 systemctl start rke2-server
    # The journal may be a moment behind.
    check_soon "$name: its status has RKE2's own words" 5 rke2_status_has "$words"
    status=$(node systemctl status --no-pager --full -n 40 rke2-server 2>&1 || true)
    check_has "$name: its status has file and line" "$place" "$status"
    check_has "$name: its status has the key" "$key" "$status"
    check_has "$name: the gate ended with 78" 'ExecStartPre=.*status=78' "$status"
    check_lacks "$name: RKE2 itself was not reached" 'Starting rke2 server|level=fatal' \
        "$(journal_of rke2-server "$since" | grep '^time=' || true)"
    check_soon "$name: the daemon's state is fatal" 10 state_is fatal
    check_status "$name: check exits 78" 78 node nodeguard check
    check "$name: the daemon lives on" node systemctl is-active nodeguard
    node systemctl stop rke2-server
}

rke2_config <<'END'
# the profile of an older RKE2
write-kubeconfig-mode: "0600"
profile: cis-1.6
END
refused "profile cis-1.6 on 1.34" 'invalid value provided for --profile flag' \
    '/etc/rancher/rke2/config.yaml:3' 'profile'

rke2_config <<'END'
profile: cis
protect-kernel-defaults: false
END
refused "protect-kernel-defaults: false" \
    '--protect-kernel-defaults must be true when using --profile=cis' \
    '/etc/rancher/rke2/config.yaml:2' 'protect-kernel-defaults'

rke2_config <<<'profile: cis'
node_write /etc/rancher/rke2/config.yaml.d/x.YML <<'END'
profile: cis
node-label: [a
END
refused "broken YAML in .d/x.YML" 'yaml' '/etc/rancher/rke2/config.yaml.d/x.YML:[0-9]+' 'x.YML'
# Where RKE2 itself is asked, it must agree that this is fatal.
check_status "RKE2 agrees that the broken YAML is fatal" 1 node rke2 server
node rm /etc/rancher/rke2/config.yaml.d/x.YML

node_write /etc/rancher/rke2/config.yaml.d/90-later.yaml <<<'profile: nonsense'
refused "a drop-in that sets a wrong profile" 'invalid value provided for --profile flag' \
    '/etc/rancher/rke2/config.yaml.d/90-later.yaml:1' 'profile'
node rm /etc/rancher/rke2/config.yaml.d/90-later.yaml

node_say "a file that RKE2 ignores"
node_write /etc/rancher/rke2/config.yaml.d/x.yaml.bak <<<'profile: [broken'
check "x.yaml.bak is ignored: RKE2 starts" start_rke2
check_soon "the node is ready" 15 state_is ready

node_say "broken and mended while RKE2 runs"
pid=$(etcd_pid)
rke2_config <<<'profile: cis-1.6'
check_soon "the state turns fatal" 10 state_is fatal
check_has "systemctl status of the agent says why" 'invalid value provided for --profile flag|cis-1.6' \
    "$(node systemctl status --no-pager --full nodeguard)"
check_is "Ready is false" false "$(bus_get Ready)"
check "RKE2 is left running" node systemctl is-active rke2-server
node chown root:root "$ETCD_DB"
rke2_config <<<'profile: cis'
check_soon "the state turns ready by itself" 10 state_is ready
check_is "etcd is the same process" "$pid" "$(etcd_pid)"
owned() { [ "$(node stat -c %U "$ETCD_DB")" = etcd ]; }
check_soon "and the data dir is guarded" 5 owned

node_say "fatal while RKE2 is being retried"
node rke2-killall.sh
rke2_config <<<$'profile: cis\nprotect-kernel-defaults: no'
node systemctl start --no-block rke2-server
tried() { [ "$(node systemctl show -P NRestarts rke2-server)" -ge 1 ]; }
check_soon "RKE2's unit is tried again and again" 20 tried
rke2_config <<<'profile: cis'
up() { node systemctl is-active rke2-server; }
check_soon "once mended, RKE2 comes up by itself" 40 up
finish
