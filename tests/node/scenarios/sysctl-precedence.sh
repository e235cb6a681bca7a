#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie
# What `nodeguard explain` says of the next boot is what the kernel has after it; what defeats our
# drop-in is named with file and line, and noticed as it comes and goes.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

keys=(kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.pid_max kernel.printk
    vm.overcommit_memory vm.panic_on_oom vm.swappiness vm.dirty_ratio vm.max_map_count
    net.core.somaxconn net.ipv4.conf.all.rp_filter net.ipv4.conf.default.rp_filter
    net.ipv4.conf.lo.rp_filter net.ipv4.conf.lo.log_martians fs.protected_hardlinks)

# Beside the files, what the kernel itself is told.
NODE_KERNEL_WORDS='sysctl.vm.dirty_ratio=33 panic=8 sysctl.vm.max_map_count=88888'
node_up "$@"
values() { node sysctl "${keys[@]}" | sed 's/[[:space:]]\{1,\}/ /g'; }
stock=$(values)
install_agent >/dev/null 2>&1 || node_die "the package does not install"
# The files alone are judged here.
node systemctl disable -q --now nodeguard

# Key by key what is said to hold after the next boot; the stock value where nothing sets it.
read -r -d '' predict <<'END' || true
import json, sys
stock = dict(line.split(" = ", 1) for line in sys.argv[1].splitlines())
for key in json.load(sys.stdin)["keys"]:
    boot = key["next_boot"]
    value = boot["value"] if boot else stock[key["key"]]
    print(key["key"], "=", " ".join(value.split()))
END
prediction() {
    node_sh 'nodeguard explain --json "${@:3}" | python3 -c "$1" "$2"' "$predict" "$stock" "${keys[@]}"
}

# Reboots with what is in the node now, and compares.
as_predicted() { # as_predicted NAME
    local predicted
    predicted=$(prediction)
    check_lacks "$1: something is predicted" '^$' "$predicted"
    node sync
    node_reboot
    check_is "$1: all ${#keys[@]} values after the boot are the predicted ones" "$predicted" "$(values)"
}

node_say "a hardening guide's file after ours, masks, vendors' files, patterns, exclusions"
printf '# V-230269\r\nkernel.panic = 0\r\nvm.swappiness=7' | node_write /etc/sysctl.d/99-stig.conf
node_write /etc/sysctl.d/50-x.conf <<<'vm.overcommit_memory = 2'
node_write /run/sysctl.d/zz.conf <<<'kernel.panic_on_oops = 0'
node_write /usr/lib/sysctl.d/99-vendor.conf <<<'vm.overcommit_memory = 0'
node ln -s /dev/null /etc/sysctl.d/99-vendor.conf
node_write /usr/local/lib/sysctl.d/70-site.conf <<<'net.core.somaxconn = 1111'
node_write /usr/lib/sysctl.d/70-site.conf <<<'net.core.somaxconn = 2222'
node_write /etc/sysctl.conf <<<'vm.max_map_count = 99999'
node_write /etc/sysctl.d/80-patterns.conf <<'END'
net.ipv4.conf.*.rp_filter = 2
net/ipv4/conf/default/rp_filter = 1
-net.ipv4.conf.lo.rp_filter
net.ipv4.conf.{lo,none}*.log_martians = 1
; vm.swappiness = 3
-kernel.pid_max = 44444
kernel.printk = 3 4	1 7
vm.panic_on_oom = 1
-vm.panic_on_oom
END
said=$(node nodeguard explain kernel.panic)
check_has "explain names the file and the line" 'next boot: +0 \(/etc/sysctl.d/99-stig.conf:2\)' "$said"
check_has "and what that shadows" 'no effect: +10 \(/etc/sysctl.d/60-rke2-cis.conf:[0-9]+\)' "$said"
check_status "check exits 2" 2 node nodeguard check
said=$(node nodeguard check || true)
check_has "and names them too" 'where: +/etc/sysctl.d/99-stig.conf:2$' "$said"
check_has "and the line that takes a value back" 'where: +/etc/sysctl.d/80-patterns.conf:9$' "$said"
said=$(node nodeguard explain vm.max_map_count)
check_has "sysctl.conf is what people get by hand, not what a boot does" 'by hand: .*99999 \(/etc/sysctl.conf:1\)' "$said"
as_predicted "the files"
check_is "99-stig.conf won over our drop-in" 0 "$(node sysctl -n kernel.panic)"
check_is "a file in /run did not outlive the boot" 1 "$(node sysctl -n kernel.panic_on_oops)"
check_is "the mask held" 1 "$(node sysctl -n vm.overcommit_memory)"
check_is "sysctl.conf was not read" 88888 "$(node sysctl -n vm.max_map_count)"

node_say "the credential, the kernel's command line, Debian's old link"
node ln -s ../sysctl.conf /etc/sysctl.d/99-sysctl.conf
node mkdir -p -m 700 /etc/credstore
node_write /etc/credstore/sysctl.extra 600 <<<'kernel.keys.root_maxkeys = 777777'
node rm /etc/sysctl.d/{60-rke2-cis,80-patterns,99-stig,50-x}.conf
as_predicted "the rest"
check_is "the kernel took its command line" 8 "$(node sysctl -n kernel.panic)"
check_is "the link to sysctl.conf was read" 99999 "$(node sysctl -n vm.max_map_count)"
check_is "the credential was read" 777777 "$(node sysctl -n kernel.keys.root_maxkeys)"

node_say "the running service"
node systemctl enable -q --now nodeguard
check_soon "the node is ready" 15 state_is ready
node_write /etc/sysctl.d/99-stig.conf <<<'kernel.panic = 0'
check_soon "a file that will win at boot is noticed" 10 state_is degraded
check_has "and named" '/etc/sysctl.d/99-stig.conf:1' "$(node nodeguard status || true)"
check_is "the live value is as it was" 10 "$(node sysctl -n kernel.panic)"
node rm /etc/sysctl.d/99-stig.conf
check_soon "and it is noticed when it goes" 10 state_is ready
finish
