#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie
# Who changed a kernel parameter: named in the journal with systemd's own fields, on the bus and in
# status; and where that cannot be said, why not.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
rke2_config <<<'profile: cis'
install_agent >/dev/null 2>&1 || node_die "the package does not install"
check "the gate opens" node nodeguard gate --role server
check_soon "the node is ready" 20 state_is ready

# The fields of the first correction since $since.
entry() {
    node journalctl --no-pager -q -o verbose -t nodeguard --since "$since" NODEGUARD_CODE=sysctl-live |
        awk 'NR > 1 && /^[^ ]/ { exit } NR > 1 { sub(/^ +/, ""); print }'
}
corrected() { [ -n "$(entry)" ]; }

node_say "attribution off"
since=$(journal_now)
node sysctl -qw kernel.panic=7
check_soon "a correction is in the journal" 5 corrected
fields=$(entry)
for field in SYSCTL=/proc/sys/kernel/panic OLDVALUE=10 NEWVALUE=7 OURVALUE=10; do
    check_has "with $field" "^$field\$" "$fields"
done
check_lacks "and nobody is named or looked for" '^(OBJECT_|NODEGUARD_WRITER)' "$fields"

node_say "attribution on, the capability missing"
since=$(journal_now)
node_write /etc/nodeguard/nodeguard.toml <<<'attribution = true'
lacks='attribution is on but the unit lacks CAP_SYS_ADMIN'
check_soon "the journal says so, with the remedy" 10 agent_journal_has "$lacks; link /usr/lib/nodeguard/attribution.conf to /etc/systemd/system/nodeguard.service.d/" "$since"
check_has "status says so" "$lacks" "$(node nodeguard status)"
check "the node is ready all the same" state_is ready
since=$(journal_now)
node sysctl -qw kernel.panic=7
check_soon "a correction is in the journal" 5 corrected
check_has "and says why nobody is named" "^MESSAGE=kernel.panic corrected: 7 -> 10; writer unknown: $lacks\$" "$(entry)"

node_say "attribution on, with the drop-in"
node_sh 'mkdir -p /etc/systemd/system/nodeguard.service.d
    ln -s /usr/lib/nodeguard/attribution.conf /etc/systemd/system/nodeguard.service.d/
    systemctl daemon-reload && systemctl restart nodeguard'
check_soon "the node is ready" 20 state_is ready
check_lacks "the finding is gone" "attribution" "$(node nodeguard status)"
node systemd-run -q --unit ear -p StandardOutput=file:/root/signals busctl monitor --json=short $BUS
listening() { node_sh 'busctl list --acquired 2>/dev/null | grep -q busctl || pgrep -x busctl'; }
check_soon "somebody listens on the bus" 10 listening

since=$(journal_now)
node systemd-run -q --unit rogue-sleeper bash -c 'echo 3 >/proc/sys/kernel/panic; read -r _ <> <(:)'
check_soon "a correction is in the journal" 5 corrected
pid=$(node systemctl show -P MainPID rogue-sleeper)
fields=$(entry)
for field in SYSCTL=/proc/sys/kernel/panic OLDVALUE=10 NEWVALUE=3 OURVALUE=10 OBJECT_PID="$pid" \
    OBJECT_COMM=bash OBJECT_EXE=/usr/bin/bash OBJECT_SYSTEMD_UNIT=rogue-sleeper.service; do
    check_has "with $field" "^$field\$" "$fields"
done
check_has "it is found by its unit" 'kernel.panic corrected: 3 -> 10' \
    "$(node journalctl -q -o cat OBJECT_SYSTEMD_UNIT=rogue-sleeper.service)"
# OBJECT_EXE is journald's: the service has no right to look.
check_has "the service has one capability more than without" cap_sys_admin \
    "$(node systemctl show -P CapabilityBoundingSet nodeguard)"
check_lacks "and not that of looking into processes" cap_sys_ptrace \
    "$(node systemctl show -P CapabilityBoundingSet nodeguard)"
name="written by bash\[$pid\] of rogue-sleeper.service"
check_has "status names the writer" "kernel.panic: 3 -> 10 .*$name" "$(node nodeguard status)"
signalled() { said '"DriftCorrected".*"writer".*rogue-sleeper.service' "$(node cat /root/signals)"; }
check_soon "the signal names the writer" 5 signalled

named=0
for n in 1 2 3 4; do
    since=$(journal_now)
    node systemd-run -q --wait --unit "rogue-$n" sysctl -qw kernel.panic=4
    check_soon "sysctl -w of a unit, $n: a correction is in the journal" 5 corrected
    words=$(entry | grep ^MESSAGE=)
    check_has "it is named, or said to be gone" \
        "written by sysctl\[[0-9]+\]( \(/usr/sbin/sysctl\))? of rogue-$n.service|writer unknown: it ended before it could be looked at \(pid [0-9]+\)" \
        "$words"
    case $words in *"of rogue-$n.service"*) named=$((named + 1)) ;; esac
done
node_say "$named of 4 writers that ended at once were named"

since=$(journal_now)
node unshare --fork --pid --mount-proc sysctl -qw kernel.panic=5
check_soon "one from a container: a correction is in the journal" 10 corrected
check_has "and nobody is accused" 'writer unknown: no write was seen yet, as when it comes through another /proc' "$(entry)"

since=$(journal_now)
node nodeguard apply >/dev/null
node sysctl -qw vm.swappiness=44
node systemd-run -q --unit rogue-right bash -c 'echo 10 >/proc/sys/kernel/panic; read -r _ <> <(:)'
node systemd-run -q --unit rogue-last bash -c 'read -rt 1 <> <(:); echo 6 >/proc/sys/kernel/panic; read -r _ <> <(:)'
check_soon "a correction is in the journal" 10 corrected
check_has "who wrote the right value is not accused of the wrong one" \
    '^OBJECT_SYSTEMD_UNIT=rogue-last.service$' "$(entry)"
check_lacks "nor the agent's own hand" 'nodeguard\[' "$(entry | grep ^MESSAGE=)"

node_say "with a right more, the operator's choice"
node_write /etc/systemd/system/nodeguard.service.d/zz-exe.conf <<<$'[Service]\nCapabilityBoundingSet=CAP_SYS_PTRACE'
node_sh 'systemctl daemon-reload && systemctl restart nodeguard'
check_soon "the node is ready" 20 state_is ready
since=$(journal_now)
node systemd-run -q --unit rogue-exe bash -c 'echo 3 >/proc/sys/kernel/panic; read -r _ <> <(:)'
check_soon "a correction is in the journal" 5 corrected
check_has "the program is named" 'written by bash\[[0-9]+\] \(/usr/bin/bash\) of rogue-exe.service' \
    "$(entry | grep ^MESSAGE=)"
figures=$(node /usr/local/lib/node/measure value /proc/sys/kernel/panic 10 0 30 2>&1)
node_say "with attribution: kernel.panic=0 lasted $figures"
p50=${figures#*p50_ms=}
check_at_most "half of them within 50 ms" 50 "${p50%% *}"
finish
