#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie nspawn-bookworm
# How RKE2's unit starts it, as `nodeguard explain rke2` reads it from files, against what systemd
# loads and what the service then really gets: words of the command and variables.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
# The program alone: the package's gate would be one more drop-in.
if [ -n "${NODEGUARD_PROGRAM:-}" ]; then
    node_put "$NODEGUARD_PROGRAM" /usr/local/bin/nodeguard 755
else
    dpkg-deb --fsys-tarfile "$(agent_deb)" | tar -xO ./usr/bin/nodeguard |
        node_write /usr/local/bin/nodeguard 755
fi
node_put "$node_lib/scenarios/unit-layouts.py" /root/unit-layouts.py
# A line a layout: `same NAME`, or `differs NAME: what`.
told=$(node python3 /root/unit-layouts.py) || told+=$'\ndiffers the comparison itself: it failed'
while read -r verdict name; do
    check_is "$name" same "$verdict"
done <<<"$told"
layouts=$(grep -c . <<<"$told")
node_say "figure: unit layouts compared with systemd: $layouts"
check "at least a dozen layouts were compared" test "$layouts" -ge 12
finish
