# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Waiting and judging. Each check prints one line, `ok - …` or `not ok - …`, and is counted.

CHECKS_PASSED=0 CHECKS_FAILED=0

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# Runs CMD until it succeeds, at most SECONDS long, and shows what it last said if it never does.
wait_for() { # wait_for "what" SECONDS CMD…
    local what=$1 seconds=$2 said='' end
    shift 2
    end=$(($(now_ms) + seconds * 1000))
    # Not a sleep for something to happen: the pause only keeps the looking from being all that
    # the machine does.
    while ! said=$("$@" 2>&1); do
        if [ "$(now_ms)" -ge "$end" ]; then
            echo "waited $seconds s in vain for $what; last seen: ${said:-nothing} ($*)" >&2
            return 1
        fi
        read -rt 0.1 <> <(:) || true
    done
    # Once more in this shell, for what the command leaves in variables.
    case $(type -t "$1") in function) "$@" >/dev/null 2>&1 || true ;; esac
}

passed() { # passed NAME
    CHECKS_PASSED=$((CHECKS_PASSED + 1))
    printf 'ok - %s\n' "$1"
}

failed() { # failed NAME REASON
    CHECKS_FAILED=$((CHECKS_FAILED + 1))
    printf 'not ok - %s\n' "$1"
    printf '%s\n' "${2:-}" | head -c 4000 | sed 's/^/    # /'
}

# CMD succeeds.
check() { # check NAME CMD…
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then
        passed "$name"
    else
        failed "$name" "status $? of: $*"$'\n'"$said"
    fi
}

# CMD succeeds within so many seconds, on a machine that does nothing else; on one that is busy with
# three emulated nodes it may take longer.
BUSY=4
check_soon() { # check_soon NAME SECONDS CMD…
    local name=$1 seconds=$2 said
    shift 2
    if said=$(wait_for "it" $((seconds * BUSY)) "$@" 2>&1); then passed "$name"; else failed "$name" "$said"; fi
}

# CMD exits with a status.
check_status() { # check_status NAME STATUS CMD…
    local name=$1 expected=$2 said status=0
    shift 2
    said=$("$@" 2>&1) || status=$?
    if [ "$status" = "$expected" ]; then
        passed "$name"
    else
        failed "$name" "exit status $status, expected $expected: $*"$'\n'"$said"
    fi
}

check_is() { # check_is NAME EXPECTED ACTUAL
    if [ "$2" = "$3" ]; then passed "$1"; else failed "$1" "expected: $2"$'\n'"found:    $3"; fi
}

check_at_most() { # check_at_most NAME LIMIT NUMBER
    if awk -v l="$2" -v n="${3:-x}" 'BEGIN { exit !(n ~ /^[0-9.]+$/ && n + 0 <= l + 0) }'; then
        passed "$1 ($3, at most $2)"
    else
        failed "$1" "expected at most $2, found ${3:-nothing}"
    fi
}

# TEXT has a line that matches an extended regular expression; check_lacks: has none.
check_has() { # check_has NAME REGEX TEXT
    if grep -qE -e "$2" <<<"$3"; then
        passed "$1"
    else
        failed "$1" "no line matches: $2"$'\n'"in:"$'\n'"$3"
    fi
}

check_lacks() { # check_lacks NAME REGEX TEXT
    local line
    if line=$(grep -E -e "$2" <<<"$3"); then
        failed "$1" "must not match: $2"$'\n'"found: $line"
    else
        passed "$1"
    fi
}

# The last word of a scenario.
finish() {
    printf '%s passed, %s failed\n' "$CHECKS_PASSED" "$CHECKS_FAILED"
    [ "$CHECKS_FAILED" = 0 ]
}
