#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie
# A data dir on a real vfat: RKE2's chown fails there, and the gate says so before, by its own code.
# A kernel of its own, for its file systems and for a loop device.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
install_agent >/dev/null
# The node has Debian's cloud kernel and none of its modules: these come out of the kernel's package
# that the image was made with, and there is no modprobe to load them.
package=$(find "$node_cache/images" -name "linux-image-$(node uname -r)_*.deb" | head -n1)
[ -n "$package" ] || node_die "no package of the kernel $(node uname -r) below $node_cache/images"
for module in loop nls_cp437 nls_ascii fat vfat; do
    dpkg-deb --fsys-tarfile "$package" | tar -xO --wildcards "*/$module.ko.xz" | xz -dc |
        node_write "/root/$module.ko" 600
    check "$module is loaded" node python3 -c '
import ctypes, os, sys
FINIT_MODULE = 313
libc = ctypes.CDLL(None, use_errno=True)
with open(sys.argv[1], "rb") as module:
    if libc.syscall(FINIT_MODULE, module.fileno(), b"", 0) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))' "/root/$module.ko"
done
disk=$NODE_DIR/fat
mkfs.vfat -C "$disk" 4096 >/dev/null
node_put "$disk" /root/fat
node_sh 'mkdir -p /srv/fat && mount -t vfat -o loop /root/fat /srv/fat && mkdir /srv/fat/rke2'
check_is "it is a vfat" vfat "$(node findmnt -n -o FSTYPE --target /srv/fat/rke2)"
check_status "a chown fails there" 1 node chown 999:999 /srv/fat/rke2

rke2_config <<<$'profile: cis\ndata-dir: /srv/fat/rke2'
check_status "RKE2 is not started" 1 node timeout 60 systemctl start rke2-server
check_soon "its status has the file and line that put it there" 5 \
    rke2_status_has 'fat.*config.yaml:2|config.yaml:2'
codes() { node nodeguard check --role server --json | grep -o '"code":"[^"]*","severity":"fatal"'; }
check_has "with a code of its own" 'data-dir-file-system' "$(codes)"
node systemctl stop rke2-server

rke2_config <<<$'profile: cis\ndata-dir: /srv/rke2'
check "on another file system RKE2 starts" start_rke2
check_soon "and the node is ready" 30 state_is ready
finish
