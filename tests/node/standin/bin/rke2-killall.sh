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
