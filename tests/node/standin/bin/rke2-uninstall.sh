#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# As RKE2's: stops everything, and deletes what bears its name, its configuration and its data.
/usr/local/bin/rke2-killall.sh
! command -v yum >/dev/null || yum remove -y "rke2-*"
systemctl disable rke2-server.service rke2-agent.service 2>/dev/null
rm -f /usr/local/lib/systemd/system/rke2-*.service /usr/local/lib/systemd/system/rke2-*.env
rm -f /etc/systemd/system/rke2-*.service
systemctl daemon-reload
rm -rf /etc/rancher/rke2 /var/lib/rancher/rke2 /usr/local/share/rke2
rm -f /usr/local/bin/rke2 /usr/local/bin/rke2-killall.sh /usr/local/bin/rke2-uninstall.sh
