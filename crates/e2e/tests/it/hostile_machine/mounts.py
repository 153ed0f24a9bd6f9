"""Mounts filesystems that answer, as many as it is told, and serves them until it ends.

    python3 mounts.py COUNT FOLDER

They stand at FOLDER/0, FOLDER/1 and so on, of the type fuse.exfat, which is one of a disk. Each has
1 GiB, half of it free. Prints "ready" when all are mounted.
"""

import ctypes
import errno
import os
import select
import struct
import sys

GETATTR, STATFS, INIT, OPENDIR = 3, 17, 26, 27
HEADER = struct.Struct("<IIQQIIII")
ROOT = struct.pack("<QQQQQQIIIIIIIIII", 1, 4096, 8, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)


def answer(opcode):
    """The body of an answer, or the number of an error."""
    if opcode == INIT:
        return struct.pack("<IIIIHHIIHHIIIIIIII", 7, 31, 65536, 0, 16, 12, 65536, 1, 0, 0, *[0] * 8)
    if opcode == STATFS:
        return struct.pack("<QQQQQIIII6I", 262144, 131072, 131072, 1000, 900, 4096, 255, 4096, 0, *[0] * 6)
    if opcode == GETATTR:
        return struct.pack("<QII", 3600, 0, 0) + ROOT
    return -errno.ENOSYS


def main(count, folder):
    libc = ctypes.CDLL(None, use_errno=True)
    waiting = select.poll()
    for number in range(count):
        at = os.path.join(folder, str(number))
        os.makedirs(at, exist_ok=True)
        server = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK)
        options = f"fd={server},rootmode=40000,user_id=0,group_id=0,allow_other"
        source = f"/dev/disk{number}"
        if libc.mount(source.encode(), at.encode(), b"fuse.exfat", 0, options.encode()) != 0:
            sys.exit(f"mount {at}: {os.strerror(ctypes.get_errno())}")
        waiting.register(server, select.POLLIN)
    print("ready", flush=True)
    while True:
        for server, _ in waiting.poll():
            try:
                request = os.read(server, 1 << 18)
            except BlockingIOError:
                continue
            except OSError:
                # It was unmounted.
                waiting.unregister(server)
                continue
            _, opcode, unique, *_ = HEADER.unpack_from(request)
            body = answer(opcode)
            code, body = (body, b"") if isinstance(body, int) else (0, body)
            os.write(server, struct.pack("<IiQ", 16 + len(body), code, unique) + body)


main(int(sys.argv[1]), sys.argv[2])
