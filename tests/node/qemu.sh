# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The qemu kind of node; lib.sh has the interface.

qemu_create() {
    # A sparse raw copy rather than an overlay: after qemu is killed it has exactly what the
    # node had flushed, and no image format in between can be torn.
    cp --reflink=auto --sparse=always "$NODE_IMAGE/disk.img" "$NODE_DIR/disk.img"
}

qemu_start() {
    local tries port
    for tries in 1 2 3 4 5; do
        port=$((20000 + RANDOM % 20000))
        : >"$NODE_DIR/console"
        # One processor: with two, qemu 7.2 loses the race when the kernel patches its own code.
        # -cx16: that qemu returns garbage flags from cmpxchg16b, and the kernel dies of it.
        # -la57: a fifth level of page tables only makes emulation slower.
        setsid setpriv --pdeathsig KILL qemu-system-x86_64 \
            -name throwaway-node -no-user-config -nodefaults -display none -no-reboot \
            -machine q35 -accel tcg -cpu max,-cx16,-la57 -smp 1 -m 1024 \
            -kernel "$NODE_IMAGE/kernel" -initrd "$NODE_IMAGE/initrd" \
            -append "console=ttyS0 quiet net.ifnames=0 mitigations=off systemd.show_status=no ${NODE_KERNEL_WORDS:-}" \
            -drive file="$NODE_DIR/disk.img,format=raw,if=none,id=disk,cache=unsafe" \
            -device virtio-blk-pci,drive=disk -device virtio-rng-pci \
            -netdev user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:"$port"-:22 \
            -device virtio-net-pci,netdev=net,romfile= \
            -serial file:"$NODE_DIR/console" \
            >"$NODE_DIR/qemu" 2>&1 </dev/null &
        NODE_PID=$!
        QEMU_PORT=$port
        # qemu either listens on its port or has said why not and is gone.
        wait_for "qemu to listen" 20 qemu_listens_or_ended || node_die "qemu does not start"
        kill -0 "$NODE_PID" 2>/dev/null && return 0
        grep -q 'host forwarding' "$NODE_DIR/qemu" || break
    done
    cat "$NODE_DIR/qemu" >&2
    node_die "qemu does not start (tried $tries times)"
}

qemu_listens_or_ended() {
    ! kill -0 "$NODE_PID" 2>/dev/null || (: <"/dev/tcp/127.0.0.1/$QEMU_PORT") 2>/dev/null
}

qemu_ssh() {
    ssh -F none -i "$NODE_IMAGE/id_ed25519" -p "$QEMU_PORT" -o ControlPath="$NODE_DIR/ssh" \
        -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
        -o BatchMode=yes -o ServerAliveInterval=10 -o ServerAliveCountMax=6 "$@"
}

qemu_exec() {
    # ssh hands one string to a shell over there: quoted so that it arrives word by word.
    qemu_ssh root@127.0.0.1 "SYSTEMD_PAGER= SYSTEMD_COLORS=0 LANG=C.UTF-8 ${*@Q}"
}

qemu_answers() {
    if node_is_gone; then
        cat "$NODE_DIR/qemu"
        node_die "qemu ended while the node was booting; see its console"
    fi
    # One connection stays open and carries all commands; a handshake is dear under emulation.
    qemu_ssh -o ConnectTimeout=20 -MNf root@127.0.0.1 >"$NODE_DIR/ssh.log" 2>&1 &&
        qemu_ssh root@127.0.0.1 true
}

qemu_kill() {
    [ -n "$NODE_PID" ] || return 0
    qemu_ssh -O exit root@127.0.0.1 >/dev/null 2>&1 || true
    rm -f "$NODE_DIR/ssh"
    kill -KILL "$NODE_PID" 2>/dev/null || true
    wait "$NODE_PID" 2>/dev/null || true
    NODE_PID=''
}
