# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Driving a throwaway node; sourced by the scenarios, the demo and by hand:
#
#   . tests/node/lib.sh
#   node_up nspawn bookworm        # or: qemu trixie
#   node uname -r                  # runs in the node as root; its exit status is passed on
#   node_sh 'echo $HOSTNAME'       # the same for a line of shell
#   node_put FILE DEST [MODE]
#   node_reboot; node_powercut     # waits until the node is up again
#   node_down                      # also at exit, whatever the reason
#   node_prepare() { … "$1" … }    # before node_up: changes the root file system, which is not up
#
# nspawn: seconds; shares the machine's kernel, so its /proc/sys keys are plain files (see
# rootfs/usr/local/lib/node/stock-proc-sys). qemu: a kernel of its own, emulated, no KVM needed.
set -euo pipefail

node_lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
node_cache=${NODEGUARD_TEST_CACHE:-/var/cache/nodeguard-tests}
# Longest time that a node may take to boot; an emulated one on a busy machine is slow.
NODE_BOOT_SECONDS=${NODE_BOOT_SECONDS:-180}

NODE_KIND='' NODE_DIR='' NODE_PID='' NODE_IMAGE=''

# shellcheck source=tests/node/checks.sh
. "$node_lib/checks.sh"
# shellcheck source=tests/node/nspawn.sh
. "$node_lib/nspawn.sh"
# shellcheck source=tests/node/qemu.sh
. "$node_lib/qemu.sh"

node_die() { echo "node: $*" >&2; exit 1; }
node_say() { printf '# %s\n' "$*"; }

node_up() { # node_up qemu|nspawn [SUITE]
    [ -z "$NODE_DIR" ] || node_die "a node is up already; node_down first"
    case ${1:-} in qemu | nspawn) ;; *) node_die "node_up: unknown kind '${1:-}', expected qemu or nspawn" ;; esac
    local kind=$1 suite=${2:-trixie} start=$SECONDS
    [ "$(id -u)" = 0 ] || node_die "must run as root"
    NODE_IMAGE=$("$node_lib/image" "$suite" "$kind")
    trap node_down EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    mkdir -p "$node_cache/run"
    node_sweep
    NODE_DIR=$(mktemp -d "$node_cache/run/XXXXXX")
    echo $$ >"$NODE_DIR/owner"
    NODE_KIND=$kind
    "${kind}_create"
    # A scenario that has a function of this name prepares the root file system before it boots.
    ! declare -F node_prepare >/dev/null || "${kind}_prepare" node_prepare
    "${kind}_start"
    node_wait_booted
    node_say "$kind $suite node up in $((SECONDS - start)) s"
}

# Takes away what tests that were killed outright left on the disk; their nodes died with them.
node_sweep() {
    local dir
    for dir in "$node_cache"/run/*/; do
        [ -s "$dir/owner" ] || continue
        kill -0 "$(<"$dir/owner")" 2>/dev/null && continue
        nspawn_remove_cgroups "$(nspawn_name "$dir")"
        rm -rf --one-file-system "$dir"
    done
}

node_down() {
    local status=$?
    trap - EXIT
    if [ -n "$NODE_DIR" ]; then
        "${NODE_KIND}_kill" || true
        rm -rf --one-file-system "$NODE_DIR"
        NODE_DIR='' NODE_KIND='' NODE_PID=''
    fi
    return "$status"
}

# Runs a command with exactly these arguments.
node() { "${NODE_KIND}_exec" "$@" </dev/null; }
# Runs a line (or a script) of bash, without -e.
node_sh() { "${NODE_KIND}_exec" bash -c "$1" bash "${@:2}" </dev/null; }

node_put() { # node_put FILE DEST [MODE]
    # shellcheck disable=SC2016 # expanded in the node
    "${NODE_KIND}_exec" sh -c 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"' \
        sh "$2" "${3:-644}" <"$1"
}

# Writes stdin to a file in the node.
node_write() { node_put /dev/stdin "$@"; }

node_wait_booted() {
    wait_for "the node to answer" "$NODE_BOOT_SECONDS" "${NODE_KIND}_answers" || {
        echo "node: the end of its console:" >&2
        tail -n 30 "$NODE_DIR/console" >&2
        exit 1
    }
    # "degraded" is a booted system too; the scenarios say themselves what must not have failed.
    node timeout "$NODE_BOOT_SECONDS" systemctl is-system-running --wait >"$NODE_DIR/state" || true
    case $(<"$NODE_DIR/state") in
    running | degraded) ;;
    *) node_die "the node did not finish booting within $NODE_BOOT_SECONDS s: $(<"$NODE_DIR/state")" ;;
    esac
}

# An orderly reboot: its end is the end of the process that is the node.
node_reboot() {
    node systemctl reboot || true
    wait_for "the node to go down" 120 node_is_gone || node_die "the node does not go down"
    "${NODE_KIND}_kill"
    "${NODE_KIND}_start"
    node_wait_booted
}

# What the node had not written to its disk is lost (qemu; nspawn has no disk of its own).
node_powercut() {
    "${NODE_KIND}_kill"
    "${NODE_KIND}_start"
    node_wait_booted
}

node_is_gone() { ! kill -0 "$NODE_PID" 2>/dev/null; }
