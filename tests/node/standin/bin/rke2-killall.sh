#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# As RKE2's: stops the services, and the pods (here: etcd) that outlive them.
systemctl stop rke2-server.service rke2-agent.service
pid=$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' /run/rke2-standin/etcd.json 2>/dev/null)
# Under one of these names: it may be killed before it has become etcd.
case $(cat "/proc/${pid:-none}/comm" 2>/dev/null) in
etcd | etcd-pod | setpriv | sh | unshare)
    kill "$pid"
    timeout 10 tail --pid="$pid" -f /dev/null || kill -9 "$pid"
    ;;
esac
rm -f /run/rke2-standin/etcd.json
# RKE2 before 1.27.17, 1.28.13, 1.29.8 and 1.30.4 unmounts what is mounted at its data dir and below it
# (rancher/rke2#1479, #6557), later ones what is the kubelet's and containerd's only.
data_dir=${RKE2_DATA_DIR:-/var/lib/rancher/rke2}
[ ! -e /etc/rke2-standin/unmounts ] || set -- "$data_dir"
for top in /run/k3s /var/lib/kubelet/pods "$@"; do
    while read -r _ mount _; do
        case $mount in "$top"*) echo "$mount" ;; esac
    done </proc/self/mounts | sort -r | xargs -r -n 1 umount --
done
