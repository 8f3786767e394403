"""A service manager's notification socket (sd_notify(3)): prints each message as a line of JSON.

usage: notify_socket.py PATH
{"pid": who the kernel says has sent it, "at_ms": CLOCK_MONOTONIC, "lines": [...]}; "ready" comes first.
"""
import array
import json
import os
import socket
import struct
import sys
import time

with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    listener.bind(sys.argv[1])
    print("ready", flush=True)
    while True:
        data, controls, _, _ = listener.recvmsg(4096, 256)
        pid = None
        for level, kind, value in controls:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                pid = struct.unpack("3i", value)[0]
            elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                # A barrier: its sender waits until this is closed.
                for fd in array.array("i", value[: len(value) - len(value) % 4]):
                    os.close(fd)
        lines = data.decode().strip("\n").split("\n")
        if lines == ["BARRIER=1"]:
            continue
        at_ms = time.monotonic_ns() // 1_000_000
        print(json.dumps({"pid": pid, "at_ms": at_ms, "lines": lines}), flush=True)
