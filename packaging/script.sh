# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the scripts of this repository that people call have alike: their head is their help, what
# they do not know is refused with 64, and long work shows how far it is. Sourced first, before a
# script changes its directory.

script_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
script_file=$(realpath -- "$0")
script_name=${script_file#"$script_root/"}

# Where mke2fs, useradd and others are; `su` leaves a root shell without.
export PATH=$PATH:/usr/sbin:/sbin

die() { # die MESSAGE [STATUS]
    printf '%s: %s\n' "$script_name" "$1" >&2
    exit "${2:-1}"
}

# The comment at the head of the script, below the licence.
usage() { awk 'NR > 3 { if (!sub(/^#/, "")) exit; sub(/^ /, ""); print }' "$script_file"; }

# Ends the script where the argument is a wish for help.
help_wanted() { # help_wanted [ARGUMENT]
    case ${1-} in -h | --help) usage && exit 0 ;; esac
}

unknown_argument() { # unknown_argument ARGUMENT
    die "unknown argument '$1'; see $script_name --help" 64
}

# For a script that takes nothing but --help.
no_arguments() { # no_arguments "$@"
    help_wanted "$@"
    [ $# = 0 ] || unknown_argument "$1"
}

# Between these two a line every few seconds tells what goes on, for how long, and how far it is:
# the last line of LOG.
ticking() { # ticking WHAT [LOG]
    local began=$SECONDS
    while kill -0 $$ 2>/dev/null; do
        # A pause, by a read of a pipe that nothing is written to.
        read -rt 5 <> <(:) || true
        printf '  [%d:%02d] %s %s\n' $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)) "$1" \
            "$([ -z "${2-}" ] || tail -n 1 "$2" 2>/dev/null | tr -d '\r' | sed 's/^ *//' | cut -c1-72)"
    done &
    ticker=$!
}
ticked() {
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
}

# Runs CMD with its output in a log, and shows how far it is; all of the log if CMD fails.
progress() { # progress WHAT CMD…
    local what=$1 log status=0 ticker
    shift
    log=$(mktemp)
    ticking "$what:" "$log"
    # In a shell of its own, so that one that ends early does not end this one before it has told.
    ("$@") >"$log" 2>&1 </dev/null || status=$?
    ticked
    if [ "$status" != 0 ]; then cat "$log" >&2; fi
    rm -f "$log"
    return "$status"
}
