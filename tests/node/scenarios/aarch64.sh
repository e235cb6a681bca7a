#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie+qemu-user
# long: needs packages for another processor (packaging/build --target aarch64-unknown-linux-gnu)
# The program for aarch64, under emulation of its user mode: what of it depends on the processor is
# system calls and their numbers, and structures. There is no daemon; the gate looks by itself.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

work=$(mktemp -d)
deb=$(newest_package 'nodeguard_*_arm64.deb')
rpm=$(newest_package 'nodeguard-*.aarch64.rpm')
dpkg-deb --fsys-tarfile "$deb" | tar -xO ./usr/bin/nodeguard >"$work/nodeguard"
mkdir "$work/rpm"
rpm2archive - <"$rpm" | tar -xz -C "$work/rpm"
node_up "$@"
trap 'rm -rf "$work"; node_down' EXIT

check "both packages have the same program" cmp "$work/nodeguard" "$work/rpm/usr/bin/nodeguard"
node_put "$work/nodeguard" /root/nodeguard 755
# The kernel has to run it too, since the gate starts the program once more: binfmt_misc has an instance for
# each user namespace, so that of this machine is left alone.
node_sh 'mkdir /run/binfmt && mount -t binfmt_misc none /run/binfmt' ||
    node_die "a kernel of 6.7 or later is needed, where binfmt_misc belongs to a user namespace"
head='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
node_write /run/binfmt/register <<<":aarch64:M::$head:$mask:/usr/bin/qemu-aarch64:F"
emulated() { node /root/nodeguard "$@"; }
rke2_config <<<'profile: cis'
node systemctl enable -q rke2-server

version=$(sed -n '/^\[package\]/,/^\[/s/^version *= *"\(.*\)".*/\1/p' "$repo/Cargo.toml")
check_has "it says its version" "^nodeguard ${version//./\\.}" "$(emulated --version)"
check_status "check finds a stock node wrong" 2 emulated check
check_has "by the parameter's name" kernel.panic "$(emulated check --json)"

# An image, which is a copy of the node's own files.
node_sh 'mkdir -p /image/etc/rancher/rke2 && cp -a /etc/passwd /etc/group /etc/shadow /etc/gshadow /image/etc/ &&
    cp -a /etc/rancher/rke2/config.yaml /image/etc/rancher/rke2/'
check_status "check --root finds an image wrong" 2 emulated check --root /image --role server
check_status "apply --root mends it" 0 emulated apply --root /image --role server
check_has "with the account" '^etcd:x:' "$(node cat /image/etc/passwd)"
check_status "check --root agrees" 0 emulated check --root /image --role server

check_status "the gate, without a daemon, mends the node and lets RKE2 start" 0 emulated gate --role server
check_is "the parameter is set" 10 "$(node sysctl -n kernel.panic)"
check "the account is there" node getent passwd etcd
check "so RKE2 starts" start_rke2
check_status "check agrees, with etcd's tree" 0 emulated check
node chown 0:0 "$ETCD_DB"
check_status "an entry of root's is drift" 2 emulated check
check_status "apply gives it back" 0 emulated apply
check_has "to etcd" '^etcd:etcd$' "$(node stat -c '%U:%G' "$ETCD_DB")"
rke2_config <<<'profile: cis-1.5'
check_status "a profile that RKE2 refuses is fatal to the gate" 78 emulated gate --role server
finish
