#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie nspawn-bookworm
# rancher/rke2#7815: a server that ran without a profile gets `profile: cis`. Root's old etcd lives
# through the restart and is defragmented after RKE2's chown, so that root's new database takes the
# place of the one just given to etcd. Without the agent etcd fails on it again and again; with the
# agent one restart is enough.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

KEYS=2000
POD_LOG=/var/log/pods/kube-system_etcd/etcd/0.log

# Real data, in the largest transactions that etcd takes.
fill() {
    # shellcheck disable=SC2016 # expanded in the node
    node_sh 'set -o pipefail; value=$(head -c 150 /dev/zero | tr "\0" x)
        for ((from = 0; from < $1; from += 125)); do
            {
                echo
                for ((i = from; i < from + 125; i++)); do echo "put /registry/pods/$i $i-$value"; done
                echo; echo
            } | etcdctl txn >/dev/null || exit
        done' "$KEYS"
}
digest() { node_sh 'etcdctl get --prefix /registry/ | sha256sum'; }
count() { node_sh 'etcdctl get --prefix /registry/ --keys-only | grep -c ^/'; }
pod_log_has() { node grep -qE "$1" "$POD_LOG"; }
rke2_is() { [ "$(node systemctl is-active rke2-server)" = "$1" ]; }
owners() { node_sh "find $ETCD_DIR -printf '%u:%g\n' | sort -u | paste -sd' '"; }
etcd_user() { node ps -o user= -C etcd; }

# The operator's two steps with no moment between them.
enable_cis() { # enable_cis SYSTEMCTL_ARGUMENT…
    node_sh 'echo "profile: cis" >/etc/rancher/rke2/config.yaml; timeout 90 systemctl "$@" rke2-server' "$@"
}

node_up "$@"
# Looks at the database without pause from the node itself, until it has been another file for two
# seconds: says who it belonged to when it came, and for how long it was not etcd's.
node_write /root/watch-db 755 <<'END'
#!/usr/bin/python3 -ISu
import os, sys, time
path, end = sys.argv[1], time.monotonic() + 80
first = os.stat(path).st_ino
print("watching", flush=True)
came = right = None
while time.monotonic() < end and (right is None or time.monotonic() < right + 2):
    now, status = time.monotonic(), os.stat(path)
    if status.st_ino != first:
        if came is None:
            came = now
            print(f"replaced owner={status.st_uid}", flush=True)
        if right is None and status.st_uid != 0:
            right = now
            print(f"etcd's after_ms={(right - came) * 1000:.0f}", flush=True)
    time.sleep(0.001)
END

node_say "without a profile"
rke2_config <<<'write-kubeconfig-mode: "0600"'
check "RKE2 starts without a profile" start_rke2
check_is "its etcd runs as root" root "$(etcd_user)"
check "etcd gets real data" fill
check_is "all of it is there" $KEYS "$(count)"
data=$(digest)

node_say "without the agent: the guide by hand, profile: cis, one restart"
node sysctl -qw kernel.panic=10 kernel.panic_on_oops=1 vm.overcommit_memory=1 vm.panic_on_oom=0
node useradd -r -c "etcd user" -s /sbin/nologin -M etcd -U
old=$(etcd_pid)
since=$(journal_now)
enable_cis --no-block restart
check_soon "etcd dies of the database that is root's" 60 \
    pod_log_has 'failed to open database.*permission denied'
died_again() { [ "$(journal_of rke2-server "$since" | grep -c 'etcd exited')" -ge 2 ]; }
check_soon "and dies again each time kubelet starts it" 60 died_again
check "RKE2 does not come up" rke2_is activating
check_is "the database is root's" root "$(node stat -c %U "$ETCD_DB")"
steps=$(journal_of rke2-server "$since" | grep -oE "files given|defragmented|manifest changed, stopping pid $old" | head -n3 | paste -sd,)
check_is "RKE2 gave the files to etcd before root's etcd was defragmented" \
    "files given,defragmented,manifest changed, stopping pid $old" "$steps"

node_say "the same node without a profile once more, and with the agent"
node rke2-killall.sh
node_sh "chown -R root:root $DATA_DIR; userdel etcd; sysctl -qw kernel.panic=0 vm.overcommit_memory=0; : >$POD_LOG"
rke2_config <<<'write-kubeconfig-mode: "0600"'
check "RKE2 starts without a profile" start_rke2
check "the package installs beside a running RKE2" install_agent
check_soon "without a profile the node is degraded" 15 state_is degraded
check_is "root's etcd runs on" root "$(etcd_user)"
check_is "and keeps its files" root:root "$(owners)"
old=$(etcd_pid)
inode=$(node stat -c %i "$ETCD_DB")

node_say "profile: cis, one restart"
node systemd-run -q --unit=watch-db -p StandardOutput=file:/run/watch-db /root/watch-db "$ETCD_DB"
check_soon "somebody looks at the database all the time" 10 node grep -q watching /run/watch-db
since=$(journal_now)
check "the one restart succeeds" enable_cis restart
words=$(journal_of rke2-server "$since")
steps=$(grep -oE "files given|defragmented|manifest changed, stopping pid $old" <<<"$words" | paste -sd,)
check_is "RKE2 did the same as before, in the same order" \
    "files given,defragmented,manifest changed, stopping pid $old" "$steps"
check_lacks "the database is another file" "^$inode\$" "$(node stat -c %i "$ETCD_DB")"
check_is "and etcd's" etcd "$(node stat -c %U "$ETCD_DB")"
check_lacks "no etcd died" 'etcd exited' "$words"
check_status "no etcd was refused anything" 1 node grep -q 'permission denied' "$POD_LOG"
check_is "systemd had to restart nothing" 0 "$(node systemctl show -P NRestarts rke2-server)"
check_is "etcd runs as etcd" etcd "$(etcd_user)"
check_soon "the looking has come to its end" 20 node grep -q "^etcd's" /run/watch-db
seen=$(node cat /run/watch-db)
node_say "$NODE_KIND: the new database: $(paste -sd' ' <<<"$seen")"
check_at_most "the new database was etcd's within a second (ms)" 1000 \
    "$(sed -n "s/^etcd's after_ms=//p" <<<"$seen")"
check_soon "the journal has the correction, under the new file's first name or its last" 5 \
    agent_journal_has "member/snap/db(\.tmp\.[0-9]+)? owner corrected: 0:0 -> " "$since"
check_is "no data is lost" "$data" "$(digest)"
check_is "all that is in the tree is etcd's" etcd:etcd "$(owners)"
check_soon "the node is ready" 15 state_is ready
pid=$(etcd_pid)
check "RKE2 restarts once more" node timeout 60 systemctl restart rke2-server
check_is "with the same etcd" "$pid" "$(etcd_pid)"

node_say "a database that was root's before it came into the tree"
# The defragmented one may be mended under its first name; this one cannot be.
node rke2-killall.sh
node_sh "cp $ETCD_DB $DATA_DIR/server/db/copy"
node systemd-run -q --unit=watch-db -p StandardOutput=file:/run/watch-db2 /root/watch-db "$ETCD_DB"
check_soon "somebody looks at the database" 10 node grep -q watching /run/watch-db2
since=$(journal_now)
node mv "$DATA_DIR/server/db/copy" "$ETCD_DB"
check_soon "the looking has come to its end" 20 node grep -q "^etcd's" /run/watch-db2
seen=$(node cat /run/watch-db2)
node_say "$NODE_KIND: the database moved in: $(paste -sd' ' <<<"$seen")"
check_at_most "it was etcd's within a second (ms)" 1000 "$(sed -n "s/^etcd's after_ms=//p" <<<"$seen")"
check_soon "the journal has the correction" 5 \
    agent_journal_has "member/snap/db owner corrected: 0:0 -> " "$since"
finish
