#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: qemu-trixie
# A kernel of the node's own at its limits: no watch left for anybody, an event queue that overflows,
# and no protection of hard links while etcd's user links root's files into its directory.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
server_with_agent
main_pid=$(node systemctl show -P MainPID nodeguard)
owned() { [ "$(node stat -c %U:%a "$1")" = "etcd:$2" ]; }
says() { grep -E "$1" <<<"$(node nodeguard status 2>&1)" || { node nodeguard status; return 1; }; }
# As etcd does in its container, the directory is held and not found: RKE2's are root's alone.
as_etcd_in() { node_sh 'cd "$1" && shift && exec runuser -u etcd -- "$@"' "$@"; }
# What is not the etcd user's, or gives others too much.
wrong_in_tree() { node_sh "find $ETCD_DIR ! -user etcd -o -type d ! -perm 700" | head -n 5; }
all_right() { [ -z "$(wrong_in_tree)" ]; }

node_say "no watch is left: fs.inotify.max_user_watches"
watches=$(node sysctl -n fs.inotify.max_user_watches)
node sysctl -qw fs.inotify.max_user_watches=1
node_sh "mkdir -p $ETCD_DIR/member/a/b && echo x >$ETCD_DIR/member/a/b/c"
check_soon "what root makes in a watched directory is etcd's all the same" 5 owned "$ETCD_DIR/member/a/b/c" 644
check_soon "the node is degraded" 15 state_is degraded
check_soon "and says that events are missed, and which limit it is" 15 \
    says 'cannot watch .*raise fs.inotify.max_user_watches'
node_sh "echo x >$ETCD_DIR/member/a/b/unseen"
check_soon "what no event tells of is found by looking" 60 owned "$ETCD_DIR/member/a/b/unseen" 644
check_status "RKE2 may start all the same" 0 node nodeguard gate --role server
node sysctl -qw "fs.inotify.max_user_watches=$watches"
check_soon "with watches to be had the node is ready again by itself" 60 state_is ready
node chown root:root "$ETCD_DIR/member/a/b/c"
check_soon "and the new directory is watched" 3 owned "$ETCD_DIR/member/a/b/c" 644

node_say "the event queue overflows: fs.inotify.max_queued_events"
events=$(node sysctl -n fs.inotify.max_queued_events)
node sysctl -qw fs.inotify.max_queued_events=16
node systemctl restart nodeguard
main_pid=$(node systemctl show -P MainPID nodeguard)
node_sh "cd $ETCD_DIR/member && for i in \$(seq 500); do mkdir -p t\$i/a/b/c; echo x >t\$i/a/b/c/leaf; done"
# Sooner than the pass that is made every 300 s without any event, on a busy machine too.
check_soon "of 500 trees made by root no leaf is lost" 60 all_right
check_is "they are all there" 500 "$(node_sh "find $ETCD_DIR -name leaf -user etcd | wc -l")"
node sysctl -qw "fs.inotify.max_queued_events=$events"
node_sh "rm -rf $ETCD_DIR/member/t* $ETCD_DIR/member/a"
node systemctl restart nodeguard
main_pid=$(node systemctl show -P MainPID nodeguard)

node_say "hard links to root's files, with fs.protected_hardlinks=0"
node_sh 'mkdir -m 755 /var/canaries; cd /var/canaries; for i in $(seq 50); do echo secret >c$i; chmod 600 c$i; done'
portrait() { node_sh "stat -c '%n %u:%g %a' /var/canaries/* /etc/shadow | sort"; }
before=$(portrait)
check_status "with 1, etcd's user cannot link them" 1 \
    as_etcd_in "$ETCD_DIR/member/snap" ln /var/canaries/c1 linked
check "though it can write there" as_etcd_in "$ETCD_DIR/member/snap" touch linked
node rm "$ETCD_DIR/member/snap/linked"
# The user, and root's program that takes the protection away again and again.
node_write /root/linker 755 <<'END'
#!/usr/bin/python3 -ISu
import os, pwd, sys, time
seconds = float(sys.argv[2])
os.chdir(sys.argv[1])
if os.fork() == 0:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with open("/proc/sys/fs/protected_hardlinks", "w") as f:
            f.write("0\n")
    os._exit(0)
user = pwd.getpwnam("etcd")
if os.fork() == 0:
    os.setgroups([]); os.setgid(user.pw_gid); os.setuid(user.pw_uid)
    made, n, end = 0, 0, time.monotonic() + seconds
    name = "member/snap/victim"
    while time.monotonic() < end:
        n += 1
        # A file of its own, and in its place, at once, root's: what was looked at is not what is changed.
        with open(name + ".own", "w"):
            pass
        os.rename(name + ".own", name)
        try:
            os.link(f"/var/canaries/c{n % 50 + 1}", name + ".roots")
            os.rename(name + ".roots", name)
            made += 1
        except PermissionError:
            pass
        os.unlink(name)
    print(made, flush=True)
    os._exit(0)
os.wait(); os.wait()
END
links=$(node /root/linker "$ETCD_DIR" 20)
check_is "none of root's files changed, by $links links to them" "$before" "$(portrait)"
check "there were some links" [ "$links" -gt 100 ]
check_is "the agent is the same process" "$main_pid" "$(node systemctl show -P MainPID nodeguard)"
check_soon "the protection is back" 60 sysctl_is fs.protected_hardlinks 1

node_say "such a link that stays"
node systemctl stop nodeguard
node sysctl -qw fs.protected_hardlinks=0
as_etcd_in "$ETCD_DIR/member/snap" ln /var/canaries/c1 linked
node systemctl start nodeguard
check_soon "is fatal" 30 state_is fatal
check_soon "and named, with its number of links" 10 says "snap/linked .*2 hard links"
check_status "the gate stays shut" 78 node nodeguard gate --role server
check_is "root's file is root's" "$before" "$(portrait)"
check "the protection is back" sysctl_is fs.protected_hardlinks 1
node rm "$ETCD_DIR/member/snap/linked"
check_soon "without it the node is ready again" 30 state_is ready
check "all of the tree is right" all_right
finish
