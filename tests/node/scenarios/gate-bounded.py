#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mounts a FUSE file system whose root can be looked at and nothing else: every other question is
taken and never answered, as by a server that died. Ends with its process."""

import ctypes
import os
import signal
import socket
import struct
import sys

FORGET, GETATTR, BATCH_FORGET, INTERRUPT, INIT = 2, 3, 42, 36, 26
OUT = "<IiQ"


def main(target):
    fuse = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if libc.mount(b"hang", target.encode(), b"fuse", 0, options) != 0:
        sys.exit(f"mount {target}: {os.strerror(ctypes.get_errno())}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    def answer(unique, body):
        os.write(fuse, struct.pack(OUT, 16 + len(body), 0, unique) + body)

    while True:
        request = os.read(fuse, 1 << 17)
        _, opcode, unique = struct.unpack_from("<IIQ", request)
        if opcode == INIT:
            major, minor, readahead, _ = struct.unpack_from("<IIII", request, 40)
            body = struct.pack("<IIIIHHIIHHI", 7, min(minor, 31), readahead, 0, 8, 8, 4096, 1, 1, 0, 0)
            answer(unique, body + bytes(28))
            notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            notify.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
            notify.send(b"READY=1")
        elif opcode == GETATTR:
            # ino, size, blocks, three times, their nanoseconds, mode, nlink, uid, gid, rdev, blksize
            attr = struct.pack("<QQQQQQIIIIIIIIII", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
            answer(unique, struct.pack("<QII", 0, 0, 0) + attr)
        # The kernel wants no answer to these, and gets none to the others.
        elif opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            pass


if __name__ == "__main__":
    main(sys.argv[1])
