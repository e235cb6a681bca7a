# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the scenarios say to nodeguard and RKE2 in the node; sourced after lib.sh.

BUS=org.nodeguard.NodeGuard1
BUS_PATH=/org/nodeguard/NodeGuard1
DATA_DIR=/var/lib/rancher/rke2
ETCD_DIR=$DATA_DIR/server/db/etcd
ETCD_DB=$ETCD_DIR/member/snap/db

repo=$(cd "$node_lib/../.." && pwd)

# The newest package that packaging/build made; with NODEGUARD_QUICK=1 the newest that
# `packaging/build --quick` made, which is for trying things and not for figures.
newest_package() { # newest_package PATTERN
    local file which=(! -name '*~quick[_-]*')
    [ -z "${NODEGUARD_QUICK:-}" ] || which=(-name '*~quick[_-]*')
    file=$(find "${CARGO_TARGET_DIR:-$repo/target}/packages" "$repo/target/packages" -maxdepth 1 \
        -name "$1" ! -name '*+test*' "${which[@]}" -printf '%T@ %p\n' 2>/dev/null |
        sort -rn | head -n1 | cut -d' ' -f2-) || true # where one of the directories is not there
    [ -n "$file" ] ||
        node_die "no package in target/packages; make one with packaging/build${NODEGUARD_QUICK:+ --quick}"
    echo "$file"
}
# Packages for other processors may be there as well.
agent_deb() { newest_package "nodeguard_*_$(dpkg --print-architecture).deb"; }
agent_rpm() { newest_package "nodeguard-*.$(uname -m).rpm"; }

# The same program in a package of a higher version, to upgrade to. It is made once for the package
# that it follows; scenarios run beside each other.
next_package() { # next_package deb|rpm
    local built version file
    built=${CARGO_TARGET_DIR:-$repo/target}/packages
    version=$(sed -n '/^\[package\]/,/^\[/s/^version *= *"\(.*\)".*/\1/p' "$repo/Cargo.toml")+test1
    case $1 in
    deb) file=${built}/nodeguard_$version${NODEGUARD_QUICK:+~quick}_$(dpkg --print-architecture).deb ;;
    rpm) file=${built}/nodeguard-$version${NODEGUARD_QUICK:+~quick}-1.$(uname -m).rpm ;;
    esac
    (
        flock 9
        [ "$file" -nt "$("agent_$1")" ] || "$repo/packaging/build" --packages-only \
            ${NODEGUARD_QUICK:+--quick} --version "$version"
    ) >&2 9>"$built/.next-package" || return
    echo "$file"
}

install_agent() { # install_agent [DEB]
    node_put "${1:-$(agent_deb)}" /root/nodeguard.deb
    node dpkg --install /root/nodeguard.deb
}

bus_get() { # bus_get PROPERTY
    node busctl get-property $BUS $BUS_PATH $BUS "$1" | sed 's/^[a-z]* //; s/^"\(.*\)"$/\1/'
}

state_is() { [ "$(bus_get State 2>&1)" = "$1" ]; }

# RKE2's configuration; `rke2_config` without stdin's content removes it.
rke2_config() { node_write /etc/rancher/rke2/config.yaml 600; }

sysctl_is() { [ "$(node sysctl -n "$1" 2>&1)" = "$2" ]; }

etcd_pid() { node pgrep -x etcd; }

# Owner (numeric) and mode of a path in the node.
stat_of() { node stat -c '%u:%g %a' "$1"; }

# The messages of a unit since a moment (of `journal_now`), or of its whole life.
journal_of() { # journal_of UNIT [SINCE]
    node journalctl --no-pager -q -o cat -u "$1" ${2:+--since "$2"}
}
journal_now() { node date '+%Y-%m-%d %H:%M:%S.%6N'; }

agent_journal() { # agent_journal [SINCE]
    node journalctl --no-pager -q -o cat -t nodeguard ${1:+--since "$1"}
}

# Not through a pipe: `systemctl status` of a failed unit is not 0, and that would be the answer.
said() { grep -qE -e "$1" <<<"$2"; } # said REGEX TEXT
rke2_status_has() { # rke2_status_has REGEX
    said "$1" "$(node systemctl status --no-pager --full -n 40 rke2-server 2>&1)"
}
rke2_journal_has() { said "$1" "$(journal_of rke2-server "${2:-}")"; }
agent_journal_has() { said "$1" "$(agent_journal "${2:-}")"; }

# RKE2's words when it refuses a node, whatever the reason.
RKE2_FATAL='level=fatal|invalid kernel|missing required'

# Starts RKE2 and waits, as `systemctl start` does, for it to be up; bounded.
start_rke2() { # start_rke2 [server|agent]
    node timeout 120 systemctl start "rke2-${1:-server}.service"
}

# A server that is up under `profile: cis`, with the agent: where most scenarios begin.
server_with_agent() {
    rke2_config <<<'profile: cis'
    install_agent >/dev/null 2>&1 || node_die "the package does not install: $(install_agent 2>&1)"
    start_rke2 || node_die "RKE2 does not start: $(node systemctl status --no-pager rke2-server 2>&1)"
    wait_for "the agent to be ready" 30 state_is ready || node_die "the agent is not ready:
$(node nodeguard check 2>&1)"
}
