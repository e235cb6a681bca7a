#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-bookworm
# The rpm put into an unpacked image, with no systemd running in it, as builders of images do: its
# scripts touch nothing of the machine that builds. At the image's first boot RKE2 is up behind the
# gate. The package database is the builder's rpm's own.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

UNITS=usr/lib/systemd/system
on_image() { rpm --root "$root" --dbpath /var/lib/rpm --force-debian --nodeps "$@"; }
enabled() { systemctl --root="$root" is-enabled nodeguard.service 2>&1 || true; }
# What of this machine the scripts could reach if they looked outside.
machine() { ls -Ald /run/systemd/system/rke2* /run/nodeguard /etc/systemd/system/*/nodeguard.service 2>&1 || true; }

node_prepare() {
    root=$1
    local before
    before=$(machine)
    mkdir -p "$root/etc/rancher/rke2"
    echo 'profile: cis' >"$root/etc/rancher/rke2/config.yaml"
    systemctl --quiet --root="$root" enable rke2-server.service
    check "it is installed into an image" on_image --install "$(agent_rpm)"
    check_is "and enabled there" enabled "$(enabled)"
    check "the gate is in it" test -e "$root/$UNITS/rke2-server.service.d/90-nodeguard.conf"
    check "it is removed from it" on_image --erase nodeguard
    check_is "with its gate and all it had enabled" '' \
        "$(find "$root/etc/systemd" "$root/usr/lib" "$root/run" "$root/usr/share/doc" -name '*nodeguard*' \
            -o -path '*/system/rke2-server.service.d' | grep -v rpm-state || true)"
    mkdir -p "$root/etc/systemd/system-preset"
    echo 'disable nodeguard.service' >"$root/etc/systemd/system-preset/50-site.preset"
    check "it is installed where an administrator's preset disables it" on_image --install "$(agent_rpm)"
    check_is "and is disabled" disabled "$(enabled)"
    check "removed once more" on_image --erase nodeguard
    rm "$root/etc/systemd/system-preset/50-site.preset"
    check "and installed to stay" on_image --install "$(agent_rpm)"
    check "an upgrade of an image" on_image --upgrade "$(next_package rpm)"
    check_is "leaves it enabled" enabled "$(enabled)"
    check_is "this machine is as it was" "$before" "$(machine)"
}

node_up "$@"
rke2_is_up() { node systemctl is-active rke2-server; }
check_soon "the image boots, and RKE2 is up" 120 rke2_is_up
check_is "at its first try" 0 "$(node systemctl show -P NRestarts rke2-server)"
check "the service runs" node systemctl is-active nodeguard
check_soon "the node is ready" 30 state_is ready
finish
