#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nodes: nspawn-bookworm+rpm+dnf nspawn-bookworm+rpm+zypper
# The rpm on a live server, by dnf and by zypper from a repository that packaging/repo made, with the
# commands that README.md has: what an installation leaves, RKE2's first start, an upgrade while etcd
# runs, removal, and installation once more. The node is Debian's, with a package database of rpm's own.
#
# The dnf node is as with RHEL 8's systemd: the scriptlets call systemctl. The zypper node is as with that
# of RHEL 9, Fedora and SUSE: there is a systemd-update-helper, and triggers restart what it marked.
# shellcheck source=tests/node/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/node/agent.sh
. "$node_lib/agent.sh"

manager=${2##*+}
GATE='/usr/bin/nodeguard gate --role server'
work=$(mktemp -d)

# The command that README.md tells somebody with this package manager to type.
readme() { # readme VERB
    local line
    line=$(sed -n "s/^# \($manager $1 nodeguard\)\( .*\)\?\$/\1/p" "$repo/README.md")
    [ -n "$line" ] || node_die "README.md has no line '# $manager $1 nodeguard'"
    echo "$line"
}
# Nobody is there to answer. dnf reads the repository anew each time.
manage() { # manage VERB
    local line
    line=$(readme "$1")
    case $manager in
    dnf) node_sh "${line/dnf/dnf --assumeyes --setopt=metadata_expire=0 --disablerepo=* --enablerepo=nodeguard}" ;;
    zypper) node_sh "zypper --non-interactive refresh nodeguard && ${line/zypper/zypper --non-interactive}" ;;
    esac
}
put_repository() { # put_repository RPM…
    "$repo/packaging/repo" "$work/repo" "$@" >/dev/null || node_die "packaging/repo made none"
    node rm -rf /srv/nodeguard
    (cd "$work/repo" && tar -c rpm) >"$work/tar"
    node_put "$work/tar" /root/tar
    node_sh 'mkdir -p /srv/nodeguard && tar -x --no-same-owner -C /srv/nodeguard </root/tar'
}
gates() { node systemctl show -P ExecStartPre rke2-server; }
# All that an installation without a start must leave as it was.
untouched() { node sha256sum /etc/passwd /etc/group; node sysctl kernel.panic vm.overcommit_memory; node ls /etc/sysctl.d; }
version() { node rpm -q --queryformat '%{version}' nodeguard; }

rpm=$(agent_rpm)
new=$(next_package rpm)
node_up "$@"
trap 'rm -rf "$work"; node_down' EXIT
rke2_config <<<'profile: cis'

node_say "a repository, and in rpm's own database what Debian's packages have brought"
put_repository "$rpm"
cat >"$work/stand-in.spec" <<'SPEC'
Name: debian-stand-in
Version: 1
Release: 1
Summary: What the packages of this node provide, by the names of rpm's distributions
License: Apache-2.0
BuildArch: noarch
Provides: /bin/sh, shadow-utils, systemd, dbus
%description
%{summary}.
%files
SPEC
if [ "$manager" = zypper ]; then
    cat >>"$work/stand-in.spec" <<'SPEC'
%transfiletriggerin -P 900900 -- /usr/lib/systemd/system
systemctl daemon-reload && systemctl reload-or-restart --marked
%transfiletriggerpostun -P 1000100 -- /usr/lib/systemd/system
systemctl daemon-reload
%transfiletriggerpostun -P 9999 -- /usr/lib/systemd/system
systemctl reload-or-restart --marked
SPEC
    node_write /usr/lib/systemd/systemd-update-helper 755 <<'HELPER'
#!/bin/sh -e
echo "$*" >>/run/helper-was-asked
case $1 in
install-system-units) systemctl --no-reload preset "$2" ;;
remove-system-units) systemctl --no-reload disable --now "$2" ;;
mark-restart-system-units) systemctl set-property "$2" Markers=+needs-restart ;;
*) exit 3 ;;
esac
HELPER
fi
# Debian's rpm has its database in root's home; zypper expects it where other distributions have it.
node_write /etc/rpm/macros.nodeguard <<<'%_dbpath /var/lib/rpm'
node_put "$work/stand-in.spec" /root/stand-in.spec
node_sh 'rpmbuild --quiet -bb --define "_rpmdir /root" /root/stand-in.spec &&
    rpm --initdb && rpm --force-debian -i /root/noarch/*.rpm' ||
    node_die "the stand-in for the distribution does not install"
case $manager in
dnf)
    node_write /etc/yum.repos.d/nodeguard.repo <<<'[nodeguard]
name=nodeguard
baseurl=file:///srv/nodeguard/rpm
gpgcheck=0'
    ;;
zypper) node_sh 'zypper --non-interactive --no-gpg-checks addrepo --no-gpgcheck file:///srv/nodeguard/rpm nodeguard >/dev/null 2>&1' ;;
esac

node_say "$manager install: enabled, not started, and nothing is changed"
before=$(untouched)
check "it installs" manage install
check "the service is enabled" node systemctl is-enabled nodeguard
check_status "and not started" 3 node systemctl is-active nodeguard
check_has "RKE2's unit has the gate" "$GATE" "$(gates)"
check_is "accounts and kernel parameters are as they were" "$before" "$(untouched)"
check "rpm finds its files as it installed them" node rpm --verify --nodeps nodeguard

node_say "RKE2 starts where the service cannot run: the gate looks by itself, and mends"
node systemctl mask --runtime -q nodeguard
check "RKE2 starts at the first try" start_rke2
check_status "without the service" 3 node systemctl is-active nodeguard
check "the gate has made the account" node getent passwd etcd
check_is "and set the parameter" 10 "$(node sysctl -n kernel.panic)"
node systemctl unmask --runtime -q nodeguard
check "and where it can" node timeout 60 systemctl restart rke2-server
check "which started the service" node systemctl is-active nodeguard
check_soon "the node is ready" 30 state_is ready
check "the command that README.md has for the service succeeds" \
    node_sh "$(sed -n 's/^# \(systemctl enable --now nodeguard\)\( .*\)\?$/\1/p' "$repo/README.md" | head -n1)"

etcd=$(etcd_pid)
rke2=$(node systemctl show -P MainPID rke2-server)
same() { [ "$(etcd_pid)" = "$etcd" ] && [ "$(node systemctl show -P MainPID rke2-server)" = "$rke2" ]; }

node_say "$manager upgrade, while etcd runs, with drift made while no service is there"
agent=$(node systemctl show -P MainPID nodeguard)
put_repository "$rpm" "$new"
# shellcheck disable=SC2016 # expanded in the node
node_sh 'while [ -e "/proc/$1" ]; do read -rt 0.01 <> <(:); done
    echo 0 >/proc/sys/kernel/panic && chown 0:0 "$2" && touch /run/drifted' "$agent" "$ETCD_DB" &
drift=$!
case $manager in
dnf) check "it upgrades" manage upgrade ;;
zypper) check "it upgrades" manage update ;;
esac
wait "$drift" || true
check "drift was made when the old service had ended" node test -e /run/drifted
check_has "to the new version" '\+test1$' "$(version)"
check "the service is active" node systemctl is-active nodeguard
check_has "as a new process" yes "$([ "$(node systemctl show -P MainPID nodeguard)" != "$agent" ] && echo yes)"
check_soon "the parameter is corrected" 15 sysctl_is kernel.panic 10
db_is_etcds() { [[ $(node stat -c '%U:%G' "$ETCD_DB") == etcd:etcd ]]; }
check_soon "and so is the owner of etcd's file" 15 db_is_etcds
check "RKE2 and etcd ran on" same
check_has "with the gate for RKE2's next start" "$GATE" "$(gates)"

node_say "an operator's choices outlive an upgrade"
node_write /etc/nodeguard/nodeguard.toml <<<'poll-interval = "7s"'
node systemctl disable -q --now nodeguard
check "the older version is installed over a disabled service" \
    node_sh "rpm --force-debian -U --oldpackage /srv/nodeguard/rpm/$(basename "$rpm")"
check_lacks "which is the version before" '\+test1' "$(version)"
check_has "and keeps the operator's configuration" '^poll-interval = "7s"' "$(node nodeguard config)"
check_status "and leaves it disabled" 1 node systemctl is-enabled nodeguard
check_status "and stopped" 3 node systemctl is-active nodeguard
node systemctl enable -q --now nodeguard
if [ "$manager" = dnf ]; then
    node_write /etc/sysconfig/services <<<'DISABLE_RESTART_ON_UPDATE="yes"'
    agent=$(node systemctl show -P MainPID nodeguard)
    check "where an administrator of SUSE wants no restart" \
        node_sh "rpm --force-debian -U /srv/nodeguard/rpm/$(basename "$new")"
    check_is "there is none" "$agent" "$(node systemctl show -P MainPID nodeguard)"
fi
check "RKE2 and etcd ran on" same

node_say "$manager remove"
check "it is removed" manage remove
check "RKE2 and etcd ran on" same
check_status "the service is down" 3 node systemctl is-active nodeguard
check_is "the gate is gone from RKE2's unit" '' "$(gates)"
check "the account is kept" node getent passwd etcd
check "so is the operator's configuration" node test -e /etc/nodeguard/nodeguard.toml
check_is "nothing of the package is left besides" '' "$(node_sh 'find / -xdev \( -path /proc -o -path /sys -o \
    -path /srv -o -path /var/cache -o -path /var/lib/nodeguard -o -path /etc/nodeguard -o \
    -path /etc/yum.repos.d -o -path /etc/zypp -o -path /etc/rpm -o -path /var/log -o -path /var/lib/systemd \) -prune -o \
    \( -name "*nodeguard*" -o -name "rke2-*.service.d" \) -print; ls -d /run/nodeguard 2>/dev/null')"
check "RKE2 restarts without the agent" node timeout 60 systemctl restart rke2-server
check_is "etcd is the same process even then" "$etcd" "$(etcd_pid)"

node_say "$manager install, once more"
check "it installs" manage install
check "the service is enabled again" node systemctl is-enabled nodeguard
check_has "and so is the gate" "$GATE" "$(gates)"
check "RKE2 restarts behind it" node timeout 60 systemctl restart rke2-server
check_soon "and the node is ready" 30 state_is ready
check_is "etcd is the same process even then" "$etcd" "$(etcd_pid)"

node_say "a removal that is broken off once the files are gone"
check "it ends" node rpm --force-debian --erase --nopostun nodeguard
check_is "there is no gate" '' "$(gates)"
check "RKE2 restarts" node timeout 60 systemctl restart rke2-server
check "the next installation" node_sh "rpm --force-debian -U /srv/nodeguard/rpm/$(basename "$new")"
check_has "has the gate again" "$GATE" "$(gates)"
check_is "and etcd is the same process" "$etcd" "$(etcd_pid)"
if [ "$manager" = zypper ]; then
    check_is "systemd's helper was asked for each step" \
        'install-system-units mark-restart-system-units remove-system-units' \
        "$(node_sh 'cut -d" " -f1 /run/helper-was-asked | sort -u' | xargs)"
    node ln -sf /bin/false /usr/lib/systemd/systemd-update-helper
    check "where that helper fails, a removal" manage remove
    check_status "still takes the service down" 3 node systemctl is-active nodeguard
    check_is "with all that had enabled it" '' "$(node find /etc/systemd -name 'nodeguard*')"
fi
finish
