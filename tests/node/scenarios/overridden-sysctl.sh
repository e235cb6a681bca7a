#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie
# /etc/sysctl.d/99-stig.conf sets kernel.panic=0 and wins at boot: RKE2 must find 10 all the same.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
server_with_agent
node systemctl enable -q rke2-server
node_write /etc/sysctl.d/99-stig.conf <<<'kernel.panic = 0'
node sync
node_powercut
up() { node systemctl is-active rke2-server; }
check_soon "RKE2 is up after the boot" 120 up
check_is "kernel.panic is 10, whatever 99-stig.conf says" 10 "$(node sysctl -n kernel.panic)"
words=$(node journalctl -b -q -o cat -u rke2-server)
check_has "RKE2 says that it is up" 'rke2 is up and running' "$words"
check_lacks "RKE2 has nothing fatal to say" "$RKE2_FATAL" "$words"
check_is "the operator's file is untouched" 'kernel.panic = 0' "$(node cat /etc/sysctl.d/99-stig.conf)"
node systemctl restart systemd-sysctl
check_soon "systemd-sysctl started by hand is undone too" 5 sysctl_is kernel.panic 10
finish
