#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-trixie nspawn-bookworm
# What the service's unit, or an operator's drop-in for it, hides from the service and RKE2 uses all
# the same: the gate's verdict is that of a look without a sandbox, on a fit node and on an unfit
# one, and status says what the service does not see.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

node_up "$@"
server_with_agent
node systemctl stop rke2-server
node rke2-killall.sh >/dev/null 2>&1 || true
node mkdir -p /etc/systemd/system/{nodeguard,rke2-server}.service.d

# What a case changes, taken back before the next one.
fresh() {
    node_sh 'systemctl stop nodeguard
        umount -l /srv/private/rke2/server/db/etcd/member /srv/private/rke2 /srv/private 2>/dev/null
        rm -rf /etc/systemd/system/nodeguard.service.d/case.conf /etc/default/rke2-server \
            /etc/systemd/system/rke2-server.service.d/case.conf /etc/rancher/rke2 \
            /tmp/* /var/tmp/* /dev/shm/* /home/* /root/rke2* /srv/*
        mkdir -p /etc/rancher/rke2 && echo "profile: cis" >/etc/rancher/rke2/config.yaml'
}
service_with() { # service_with LINE…: of the drop-in for nodeguard.service
    printf '%s\n' '[Service]' "$@" | node_write /etc/systemd/system/nodeguard.service.d/case.conf
}
rke2_with() { # rke2_with LINE…: of the drop-in for rke2-server.service
    printf '%s\n' '[Service]' "$@" | node_write /etc/systemd/system/rke2-server.service.d/case.conf
}
start_service() { node_sh 'systemctl daemon-reload && systemctl start nodeguard'; }
# etcd's directory below a data dir, root's as after a restore.
make_data_dir() { node_sh "mkdir -p $1/server/db/etcd/member/snap $1/server/db/etcd/member/wal && chmod -R go= $1 && touch $1/server/db/etcd/member/snap/db"; }

gate() { node_sh 'nodeguard gate --role server >/tmp.gate 2>&1; echo $?'; }
# Drift keeps no gate shut.
checked() { node_sh 'nodeguard check --role server >/dev/null 2>&1; c=$?; [ $c != 2 ] || c=0; echo $c'; }
tells() { said "hidden-from-service" "$(node nodeguard status --json 2>&1 || true)"; }

# The case is set up; UNFIT makes the node fatal by what is hidden.
verdicts() { # verdicts NAME PATH UNFIT
    start_service
    check_is "$1: the gate opens" 0 "$(gate)"
    check_has "$1: by its own look" "sees another $2 than the gate; the gate looks by itself" "$(node cat /tmp.gate)"
    check_is "$1: as a look without a sandbox says" 0 "$(checked)"
    check_soon "$1: status says what the service does not see" 10 tells
    check_status "$1: and is not ready" 1 state_is ready
    node_sh "$3"
    check_is "$1, unfit: a look without a sandbox says so" 78 "$(checked)"
    check_is "$1, unfit: the gate stays shut" 78 "$(gate)"
    fresh
}
no_such_profile() { echo "mkdir -p \$(dirname $1); echo 'profile: cis-1.99' >$1"; }
planted() { echo "ln -s /etc/shadow $1/server/db/etcd/member/planted; chown -h etcd: $1/server/db/etcd/member/planted"; }

fresh
start_service
check_is "nothing is hidden: the gate opens" 0 "$(gate)"
check_lacks "and asks the service" 'looks by itself' "$(node cat /tmp.gate)"
check_is "the socket is root's alone" 'root:root 600' "$(node stat -c '%U:%G %a' /run/nodeguard/gate.sock)"

for dir in /tmp /var/tmp /root /home; do
    node_say "below $dir, with the unit of the package"
    fresh
    rke2_with "Environment=RKE2_CONFIG_FILE=$dir/rke2.yaml"
    node_sh "echo 'profile: cis' >$dir/rke2.yaml"
    verdicts "RKE2_CONFIG_FILE=$dir/rke2.yaml" "$dir" "$(no_such_profile "$dir/rke2.yaml")"

    node_sh "mkdir -p $dir/rke2.d && echo 'profile: cis' >$dir/rke2.d/config"
    rke2_with ExecStart= "ExecStart=/usr/local/bin/rke2 server --config $dir/rke2.d/config"
    verdicts "--config $dir/rke2.d/config" "$dir" "$(no_such_profile "$dir/rke2.d/config")"

    node_sh "printf 'RKE2_CONFIG_FILE=/etc/rancher/rke2/other.yaml\n' >$dir/rke2.env; echo 'profile: cis' >/etc/rancher/rke2/other.yaml"
    rke2_with "EnvironmentFile=$dir/rke2.env"
    verdicts "EnvironmentFile=$dir/rke2.env" "$dir" "$(no_such_profile /etc/rancher/rke2/other.yaml)"

    make_data_dir "$dir/rke2"
    printf 'profile: cis\ndata-dir: %s/rke2\n' "$dir" | node_write /etc/rancher/rke2/config.yaml
    verdicts "data-dir: $dir/rke2" "$dir" "$(planted "$dir/rke2")"
done

node_say "/dev, of which the service has its own"
node_sh "echo 'profile: cis' >/dev/shm/rke2.yaml; mkdir -p /dev/rke2 && echo 'profile: cis' >/dev/rke2/config.yaml"
rke2_with "Environment=RKE2_CONFIG_FILE=/dev/rke2/config.yaml"
verdicts "a configuration in /dev" /dev "$(no_such_profile /dev/rke2/config.yaml)"

node_say "an operator's drop-in for the service"
service_with "TemporaryFileSystem=/etc/rancher:ro"
verdicts "TemporaryFileSystem=" /etc/rancher "$(no_such_profile /etc/rancher/rke2/config.yaml)"
service_with "InaccessiblePaths=/etc/rancher/rke2/config.yaml"
verdicts "InaccessiblePaths=" /etc/rancher/rke2/config.yaml "$(no_such_profile /etc/rancher/rke2/config.yaml)"
node_sh 'echo "profile: cis" >/srv/other.yaml'
service_with "BindReadOnlyPaths=/srv/other.yaml:/etc/rancher/rke2/config.yaml"
verdicts "BindReadOnlyPaths=" /etc/rancher/rke2/config.yaml "$(no_such_profile /etc/rancher/rke2/config.yaml)"
node_sh 'mkdir -p /srv/os/{usr,etc,run,var,proc,sys,dev,tmp,root,home,srv} && for l in bin sbin lib lib64; do ln -s usr/$l /srv/os/$l; done'
service_with "RootDirectory=/srv/os" "BindPaths=/usr /etc /var /run/systemd /run/dbus" "MountAPIVFS=yes"
verdicts "RootDirectory=" / "$(no_such_profile /etc/rancher/rke2/config.yaml)"

node_say "a mount that does not reach the service"
node_sh 'mkdir -p /srv/private && mount -t tmpfs tmpfs /srv/private && mount --make-private /srv/private && mkdir -p /srv/private/rke2'
printf 'profile: cis\ndata-dir: /srv/private/rke2\n' | node_write /etc/rancher/rke2/config.yaml
start_service
node_sh 'mount -t tmpfs -o mode=700 tmpfs /srv/private/rke2'
make_data_dir /srv/private/rke2
verdicts "a data dir that was mounted later" /srv/private/rke2 "$(planted /srv/private/rke2)"
node_sh 'mkdir -p /srv/private && mount -t tmpfs tmpfs /srv/private && mount --make-private /srv/private'
make_data_dir /srv/private/rke2
printf 'profile: cis\ndata-dir: /srv/private/rke2\n' | node_write /etc/rancher/rke2/config.yaml
start_service
node_sh 'mount -t tmpfs -o mode=700 tmpfs /srv/private/rke2/server/db/etcd/member && mkdir -p /srv/private/rke2/server/db/etcd/member/snap'
verdicts "a mount in the middle of the tree" /srv/private/rke2/server/db/etcd "$(planted /srv/private/rke2)"

node_say "what the service may not change, and the gate may"
service_with "ProtectSystem=strict"
node_sh 'userdel etcd; groupdel etcd 2>/dev/null; true'
start_service
check_soon "the service cannot make the account" 10 state_is fatal
check_is "the gate opens" 0 "$(gate)"
check_has "by its own look" 'finds this node fatal; the gate looks by itself' "$(node cat /tmp.gate)"
check "since it made the account" node getent passwd etcd
check_soon "the service sees that" 20 state_is ready
fresh

node_say "what the remedy says, helps"
make_data_dir /home/rke2
printf 'profile: cis\ndata-dir: /home/rke2\n' | node_write /etc/rancher/rke2/config.yaml
start_service
check_is "the gate opens" 0 "$(gate)"
check_soon "status tells" 10 tells
check_has "the line to add" 'ProtectHome=no' "$(node nodeguard status 2>&1 || true)"
service_with "ProtectHome=no"
node systemctl daemon-reload
node systemctl restart nodeguard
check_soon "the node is ready" 10 state_is ready
check_is "and guarded" etcd "$(node stat -c %U /home/rke2/server/db/etcd/member/snap/db)"
check_is "the gate opens" 0 "$(gate)"
check_lacks "and asks the service" 'looks by itself' "$(node cat /tmp.gate)"
finish
