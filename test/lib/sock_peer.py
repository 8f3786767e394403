"""The far and the near end of the socket path's tests: real sockets, no library between.

    sock_peer.py serve ID ADDRESS...   a TCP server on 8080, a UDP server on 5353, each address
    sock_peer.py run PROGRAM           executes it with this module's names; `out(value)` in
                                       it prints the result, a line of JSON

TCP protocol: the client sends one line of JSON, {"up": bytes, "down": bytes, "end": how},
and `up` bytes; the server answers one line, {"id", "peer", "port", "sha256"}, and `down` bytes.
`end` says who ends and how: "client" (the default) and "server" by FIN, "client-reset" and
"server-reset" by RST. UDP: the answer to any datagram is "ID PEER PORT", but none to "mute".
"""
import ctypes
import errno
import hashlib
import json
import socket
import struct
import sys
import threading
import time
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET

BLOCK = bytes(range(256)) * 256
UNSPEC = struct.pack('H14x', socket.AF_UNSPEC)


def family_of(address):
    return AF_INET6 if ':' in address else AF_INET


def blocks(total):
    while total > 0:
        yield BLOCK[:min(total, len(BLOCK))]
        total -= len(BLOCK)


def digest(total):
    sha = hashlib.sha256()
    for block in blocks(total):
        sha.update(block)
    return sha.hexdigest()


def read_exactly(conn, total):
    """The sha256 of that many bytes."""
    sha = hashlib.sha256()
    while total > 0:
        data = conn.recv(min(total, 1 << 20))
        if not data:
            raise EOFError(f'{total} bytes missing')
        sha.update(data)
        total -= len(data)
    return sha.hexdigest()


def read_line(conn):
    line = b''
    while not line.endswith(b'\n'):
        byte = conn.recv(1)
        if not byte:
            raise EOFError('no line')
        line += byte
    return line


def reset(conn):
    conn.setsockopt(SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    conn.close()


# ---- server -------------------------------------------------------------------


def serve_one(name, conn):
    peer = conn.getpeername()
    try:
        ask = json.loads(read_line(conn))
        sha = read_exactly(conn, ask['up'])
        answer = {'id': name, 'peer': peer[0], 'port': peer[1], 'sha256': sha}
        conn.sendall(json.dumps(answer).encode() + b'\n')
        for block in blocks(ask['down']):
            conn.sendall(block)
        if ask['end'] == 'server-reset':
            read_line(conn)  # the client has it all
            time.sleep(0.1)  # past the delayed acknowledgement of that line
            reset(conn)
        elif ask['end'] != 'server':
            while conn.recv(4096):
                pass
    except (OSError, EOFError, ValueError):
        pass
    conn.close()


def serve_tcp(name, listener):
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=serve_one, args=(name, conn), daemon=True).start()


def serve_udp(name, sock):
    while True:
        data, peer = sock.recvfrom(2048)
        if data != b'mute':
            sock.sendto(f'{name} {peer[0]} {peer[1]}'.encode(), peer)


def serve(name, addresses):
    for address in addresses:
        listener = socket.socket(family_of(address), SOCK_STREAM)
        listener.setsockopt(SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, 8080))
        listener.listen(256)
        threading.Thread(target=serve_tcp, args=(name, listener), daemon=True).start()
        sock = socket.socket(family_of(address), SOCK_DGRAM)
        sock.bind((address, 5353))
        threading.Thread(target=serve_udp, args=(name, sock), daemon=True).start()
    print('ready', flush=True)
    sys.stdin.read()  # ends with its parent


# ---- client -------------------------------------------------------------------


def out(value):
    print(json.dumps(value), flush=True)


def exchange(family, address, port=80, up=0, down=0, end='client', bound=None):
    """One TCP connection and all of its payload, counted by what the sockets took."""
    conn = socket.socket(family, SOCK_STREAM)
    conn.settimeout(30)
    if bound:
        conn.setsockopt(SOL_SOCKET, socket.SO_REUSEADDR, 1)
        conn.bind(bound)
    conn.connect((address, port))
    return converse(conn, up, down, end)


def converse(conn, up=0, down=0, end='client'):
    ask = json.dumps({'up': up, 'down': down, 'end': end}).encode() + b'\n'
    conn.sendall(ask)
    for block in blocks(up):
        conn.sendall(block)
    line = read_line(conn)
    sha = read_exactly(conn, down)
    sent = len(ask) + up
    peer = conn.getpeername()
    if end == 'server':
        assert conn.recv(1) == b''
    elif end == 'server-reset':
        conn.sendall(b'\n')
        sent += 1
        try:
            assert conn.recv(1) == b'', 'a reset was due'
        except ConnectionResetError:
            pass
    if end == 'client-reset':
        reset(conn)
    else:
        conn.close()
    answer = json.loads(line)
    return {
        'id': answer['id'],
        'seen': [answer['peer'], answer['port']],
        'peer': list(peer[:2]),
        'sent': sent,
        'received': len(line) + down,
        'intact': answer['sha256'] == digest(up) and sha == digest(down),
    }


def datagram_socket(family, *connect_to):
    sock = socket.socket(family, SOCK_DGRAM)
    sock.settimeout(5)
    if connect_to:
        sock.connect(connect_to)
    return sock


def ask(sock, *to):
    """[backend, address and port that the answer came from]"""
    sock.sendto(b'?', to) if to else sock.send(b'?')
    return heard(sock)


def heard(sock):
    data, source = sock.recvfrom(2048)
    return [data.decode().split()[0], *source[:2]]


def failure(action, *args):
    """The errno's name, and how long it took."""
    begin = time.monotonic()
    try:
        action(*args)
    except OSError as error:
        return [errno.errorcode.get(error.errno, str(error)), time.monotonic() - begin]
    return ['none', time.monotonic() - begin]


def disconnect(sock):
    """connect(AF_UNSPEC), which Python has no call for."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.connect(sock.fileno(), UNSPEC, len(UNSPEC)):
        raise OSError(ctypes.get_errno(), 'connect(AF_UNSPEC)')


if __name__ == '__main__':
    if sys.argv[1] == 'serve':
        serve(sys.argv[2], sys.argv[3:])
    else:
        exec(compile(sys.argv[2], 'program', 'exec'), globals())
