"""
A TCP peer without a socket: it answers each SYN to a port with a SYN-ACK, so late as it is told, and says
nothing else. The kernel's own resets must be kept from leaving.

usage: late_answer.py INTERFACE PORT SECONDS
"""
import socket
import struct
import sys
import threading

link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
link.bind((sys.argv[1], 0))
# By the kernel's way: who brought a SYN need not be its sender's neighbour.
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
port, delay = int(sys.argv[2]), float(sys.argv[3])


def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def answer(frame):
    """Sends the SYN-ACK of a SYN without options in its IP header."""
    source, destination = frame[26:30], frame[30:34]
    sport, dport, sequence = struct.unpack('!HHI', frame[34:42])
    tcp = [dport, sport, 1, (sequence + 1) & 0xFFFFFFFF, 5 << 4, 0x12, 65535, 0, 0]
    pseudo = destination + source + struct.pack('!BBH', 0, 6, 20)
    tcp[7] = checksum(pseudo + struct.pack('!HHIIBBHHH', *tcp))
    ip = struct.pack('!BBHHHBBH', 0x45, 0, 40, 0, 0x4000, 64, 6, 0) + destination + source
    ip = ip[:10] + struct.pack('!H', checksum(ip)) + ip[12:]
    out.sendto(ip + struct.pack('!HHIIBBHHH', *tcp), (socket.inet_ntoa(source), 0))


print('ready', flush=True)
while True:
    frame = link.recv(2000)
    if len(frame) < 54 or frame[14] != 0x45 or frame[23] != 6 or frame[47] & 0x3F != 2:
        continue
    if struct.unpack('!H', frame[36:38])[0] == port:
        threading.Timer(delay, answer, (frame,)).start()
