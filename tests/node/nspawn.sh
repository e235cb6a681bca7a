# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The nspawn kind of node; lib.sh has the interface.

nspawn_create() {
    cp -a --reflink=auto "$NODE_IMAGE/rootfs" "$NODE_DIR/root"
}

nspawn_prepare() { "$1" "$NODE_DIR/root"; }

# The directories of cgroup hierarchies in which a node gets a group of its own; without one,
# two containers would share /payload and kill each other's processes.
nspawn_cgroups() {
    if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
        echo /sys/fs/cgroup
    else
        ls -d /sys/fs/cgroup/systemd /sys/fs/cgroup/unified 2>/dev/null
    fi
}

nspawn_start() {
    local name dir cgroups
    name=$(nspawn_name "$NODE_DIR")
    mapfile -t cgroups < <(nspawn_cgroups)
    for dir in "${cgroups[@]}"; do mkdir -p "$dir/$name"; done
    # A user namespace of its own (--private-users), so that its root cannot write the kernel
    # parameters of this machine: systemd gives a sandboxed service a fresh, writable /proc.
    # A mount namespace of its own, so that nothing is left mounted whatever happens, and so
    # that nspawn's directory in /run is a mount, which it insists on, without a systemd here.
    # A pid namespace of its own, so that all of the node dies with its first process, and that
    # one with us, even if we are killed.
    # shellcheck disable=SC2016 # expanded by the inner shell
    setsid setpriv --pdeathsig KILL unshare --mount --propagation private \
        --pid --fork --kill-child --mount-proc bash -ec '
        name=$1 root=$2
        shift 2
        for dir; do echo $$ >"$dir/$name/cgroup.procs"; done
        mkdir -p /run/systemd/nspawn
        mount -t tmpfs -o mode=0755 tmpfs /run/systemd/nspawn
        exec env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory="$root" \
            --boot --register=no --keep-unit --machine="$name" --private-network \
            --private-users=1879048192:65536 --private-users-ownership=chown \
            --link-journal=no --resolv-conf=off --timezone=off --settings=no --console=pipe \
            ${NSPAWN_SETENV:+--setenv="$NSPAWN_SETENV"}
        ' bash "$name" "$NODE_DIR/root" "${cgroups[@]}" \
        >"$NODE_DIR/console" 2>&1 </dev/null &
    NODE_PID=$!
    NSPAWN_INIT=''
}

# The container's pid 1, seen from here: below unshare and nspawn.
nspawn_init() {
    local nspawn pid
    nspawn=$(pgrep -P "$NODE_PID") || return 1
    for pid in $(pgrep -P "$nspawn"); do
        if [ "$(awk '/^NSpid:/ { print NF ":" $NF }' "/proc/$pid/status" 2>/dev/null)" = 4:1 ]; then
            echo "$pid"
            return
        fi
    done
    return 1
}

nspawn_exec() {
    local environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        HOME=/root LANG=C.UTF-8 SYSTEMD_PAGER='' SYSTEMD_COLORS=0)
    nsenter --target "$NSPAWN_INIT" --user --mount --uts --ipc --net --pid --cgroup --wd \
        env -i -C /root "${environment[@]}" "$@"
}

nspawn_answers() {
    NSPAWN_INIT=$(nspawn_init) && nspawn_exec test -S /run/systemd/private 2>&1
}

nspawn_kill() {
    local name dir
    [ -n "$NODE_PID" ] || return 0
    kill -KILL "$NODE_PID" 2>/dev/null || true
    wait "$NODE_PID" 2>/dev/null || true
    NODE_PID=''
    name=$(nspawn_name "$NODE_DIR")
    for dir in $(nspawn_cgroups); do
        [ -d "$dir/$name" ] || continue
        # The kernel has killed pid 1 and all below it; their groups empty as they are reaped.
        wait_for "the node's cgroup to be empty" 20 nspawn_cgroup_is_empty "$dir/$name" || true
    done
    nspawn_remove_cgroups "$name"
}

# The machine's name, and its cgroups', for a node's directory.
nspawn_name() { tr '[:upper:]' '[:lower:]' <<<"node-$(basename "$1")"; }

nspawn_remove_cgroups() {
    local dir
    for dir in $(nspawn_cgroups); do
        [ ! -d "$dir/$1" ] || find "$dir/$1" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    done
}

nspawn_cgroup_is_empty() {
    ! find "$1" -name cgroup.procs -exec cat {} + 2>/dev/null | grep -q .
}
