"""Asks 127.0.0.11 for one name in every way that a program can, and prints what each heard.

usage: dns_peer.py NAME
"""
import json
import socket
import struct
import sys

NAME = sys.argv[1]
RESOLVER = ('127.0.0.11', 53)
MAPPED = ('::ffff:127.0.0.11', 53)


def query():
    labels = b''.join(bytes([len(part)]) + part.encode() for part in NAME.split('.'))
    return struct.pack('>6H', 7, 0x100, 1, 0, 0, 0) + labels + b'\0' + struct.pack('>2H', 1, 1)


def address(message):
    """Of a reply whose only record is an address."""
    answers = struct.unpack('>H', message[6:8])[0]
    return socket.inet_ntoa(message[-4:]) if answers == 1 else message[3] & 15


def made(family, kind):
    made = socket.socket(family, kind)
    made.settimeout(5)
    return made


def unconnected(family, to, bound=None):
    with made(family, socket.SOCK_DGRAM) as asker:
        if bound:
            asker.bind((bound, 0))
        asker.sendto(query(), to)
        message, source = asker.recvfrom(4096)
        return [address(message), *source[:2]]


def connected(family, to):
    with made(family, socket.SOCK_DGRAM) as asker:
        asker.connect(to)
        asker.send(query())
        message, source = asker.recvfrom(4096)
        return [address(message), *source[:2], *asker.getpeername()[:2]]


def stream(family, to):
    with made(family, socket.SOCK_STREAM) as asker:
        asker.connect(to)
        asker.sendall(struct.pack('>H', len(query())) + query())
        message = b''
        while len(message) < 2 or len(message) < 2 + struct.unpack('>H', message[:2])[0]:
            part = asker.recv(4096)
            if not part:
                break
            message += part
        return [address(message[2:]), *asker.getpeername()[:2]]


V4, V6 = socket.AF_INET, socket.AF_INET6
print(json.dumps({
    'unconnected': unconnected(V4, RESOLVER),
    'connected': connected(V4, RESOLVER),
    'stream': stream(V4, RESOLVER),
    'unconnected mapped': unconnected(V6, MAPPED),
    'connected mapped': connected(V6, MAPPED),
    'stream mapped': stream(V6, MAPPED),
    'from the address itself': unconnected(V4, RESOLVER, '127.0.0.11'),
}))
