#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie nspawn-bookworm
# The deb by apt, from a repository that packaging/repo made, with the commands that README.md has.
# What dpkg does with it in more cases is in package.sh.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

work=$(mktemp -d)
# The node has no network: no list but ours is read.
options='-o Dir::Etc::sourcelist=/etc/apt/sources.list.d/nodeguard.list -o Dir::Etc::sourceparts=-'
manage() { # manage VERB: the command that README.md tells somebody with apt to type
    local line
    line=$(sed -n "s/^# \(apt-get $1 nodeguard\)\( .*\)\?\$/\1/p" "$repo/README.md")
    [ -n "$line" ] || node_die "README.md has no line '# apt-get $1 nodeguard'"
    node_sh "apt-get -qq $options update && ${line/apt-get/apt-get -y $options}"
}
put_repository() { # put_repository DEB…
    "$repo/packaging/repo" "$work/repo" "$@" >/dev/null || node_die "packaging/repo made none"
    node rm -rf /srv/nodeguard
    (cd "$work/repo" && tar -c apt) >"$work/tar"
    node_put "$work/tar" /root/tar
    node_sh 'mkdir -p /srv/nodeguard && tar -x --no-same-owner -C /srv/nodeguard </root/tar'
}

deb=$(agent_deb)
new=$(next_package deb)
node_up "$@"
trap 'rm -rf "$work"; node_down' EXIT
rke2_config <<<'profile: cis'
put_repository "$deb"
# Signing is the releaser's.
node_write /etc/apt/sources.list.d/nodeguard.list <<<'deb [trusted=yes] file:///srv/nodeguard/apt ./'

check "apt installs it" manage install
check "the service is enabled" node systemctl is-enabled nodeguard
check "and active" node systemctl is-active nodeguard
check "RKE2 starts" start_rke2
check_soon "the node is ready" 30 state_is ready
etcd=$(etcd_pid)

put_repository "$deb" "$new"
check "apt upgrades it" manage 'install --only-upgrade'
check_has "to the new version" '\+test1' "$(node dpkg-query -W -f '${Version}' nodeguard)"
check_soon "the node is ready" 30 state_is ready
check "apt removes it" manage remove
check_is "the gate is gone from RKE2's unit" '' "$(node systemctl show -P ExecStartPre rke2-server)"
check "apt installs it again" manage install
check_soon "the node is ready" 30 state_is ready
check_is "etcd ran on" "$etcd" "$(etcd_pid)"
finish
