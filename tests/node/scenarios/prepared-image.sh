#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie nspawn-bookworm
# An image builder's way: the package and RKE2's configuration are put into an unpacked image, and
# `apply --root` prepares it from outside, with no service and no bus. The image boots with nothing
# left to correct, and RKE2 is up at its first try.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

DROP_IN=/etc/sysctl.d/60-rke2-cis.conf

# The program in the image, which is static, run on this machine.
on_image() { "$root/usr/bin/nodeguard" "$1" --root "$root" "${@:2}"; }
# Every file of the image with what could change, but for what is looked at only.
listing() { (cd "$root" && find . -xdev -printf '%p %y %m %U:%G %s %T@ %l\n' | sort | sha256sum); }
live_values() { sysctl -n kernel.panic kernel.panic_on_oops vm.overcommit_memory vm.panic_on_oom fs.protected_hardlinks; }

read_only() { # read_only DIR COMMAND… in a mount namespace of its own
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --propagation private sh -ec '
        mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"
        shift; exec "$@"' sh "$@"
}

node_prepare() {
    root=$1
    node_say "the image, unpacked: the package, RKE2's configuration, RKE2's unit enabled"
    check "the package installs into it" dpkg --root="$root" --install "$(agent_deb)"
    mkdir -p "$root/etc/rancher/rke2"
    echo 'profile: cis' >"$root/etc/rancher/rke2/config.yaml"
    systemctl --quiet --root="$root" enable rke2-server.service
    local before live passwd
    before=$(listing) live=$(live_values) passwd=$(md5sum /etc/passwd /etc/group)
    check_status "check says that it is not prepared" 2 on_image check
    check_has "by name" etcd-user-missing "$(on_image check --json)"
    check_status "also where the image is read-only" 2 \
        read_only "$root" "$root/usr/bin/nodeguard" check --root "$root"
    check_is "check changed nothing in it" "$before" "$(listing)"

    node_say "apply --root"
    check_status "it is prepared" 0 on_image apply
    check_status "check agrees" 0 on_image check
    check_status "also where the image is read-only" 0 \
        read_only "$root" "$root/usr/bin/nodeguard" check --root "$root"
    before=$(listing)
    check_status "once more is fine" 0 on_image apply
    check_is "and changes nothing" "$before" "$(listing)"
    check_has "the account is in the image" '^etcd:x:[1-9][0-9]{0,2}:[1-9][0-9]{0,2}:etcd user:/home/etcd:/sbin/nologin$' \
        "$(<"$root/etc/passwd")"
    check_has "with a locked password" '^etcd:!+:' "$(<"$root/etc/shadow")"
    check_has "and so is the drop-in" '^kernel.panic=10$' "$(<"$root$DROP_IN")"
    check_is "no lock is left" '' "$(cd "$root/etc" && ls -- *.lock 2>/dev/null)"
    check_is "the data dir was not made" no "$([ -e "$root$ETCD_DIR" ] && echo yes || echo no)"
    check_is "nothing in /run was made" '' "$(ls -A "$root/run/nodeguard" 2>/dev/null)"
    check_is "no live value of the machine was touched" "$live" "$(live_values)"
    check_is "nor its accounts" "$passwd" "$(md5sum /etc/passwd /etc/group)"
    ids=$(sed -n 's/^etcd:x:\([0-9]*:[0-9]*\):.*/\1/p' "$root/etc/passwd")
}

node_up "$@"

node_say "the image boots"
rke2_is_up() { node systemctl is-active rke2-server; }
check_soon "RKE2 is up" 120 rke2_is_up
check_is "at its first try" 0 "$(node systemctl show -P NRestarts rke2-server)"
words=$(node journalctl -b -q -o cat -u rke2-server)
check_has "RKE2 says that it is up" 'rke2 is up and running' "$words"
check_lacks "RKE2 has nothing fatal to say" "$RKE2_FATAL" "$words"
check_soon "the node is ready" 30 state_is ready
check_status "check exits 0" 0 node nodeguard check
check_is "the account has the image's numbers" "$ids" "$(node getent passwd etcd | cut -d: -f3,4)"
check_is "etcd's data is its own" "$ids 700" "$(stat_of "$ETCD_DIR")"
words=$(agent_journal)
check_has "the agent was there before" 'ready: server, profile cis' "$words"
# What RKE2 makes in its data dir at its first start is root's for a moment: the guard may be faster
# than RKE2 itself in giving it to etcd. Of the image nothing is left to correct.
corrected=$(grep ' corrected: ' <<<"$words" || true)
check_is "the agent found nothing of the image to correct" '' \
    "$(grep -v "^$DATA_DIR/server/" <<<"$corrected" || true)"
check_is "each correction is one of RKE2's new files" "$(grep -c . <<<"$corrected" || true)" \
    "$(bus_get Corrections)"
node_say "RKE2's new files that the guard gave to etcd first: $(grep -c . <<<"$corrected" || true)"
finish
