"""The peers that do what a well-behaved program does not: what they are is their argument."""

import os
import select
import socket
import struct
import sys

RESET = struct.pack("ii", 1, 0)


def bound(kind=socket.SOCK_STREAM):
    peer = socket.socket(socket.AF_INET, kind)
    peer.bind(("127.0.0.1", 0))
    print(f"listening on port {peer.getsockname()[1]}")
    return peer


def accepted():
    peer = bound()
    peer.listen(5)
    return peer.accept()[0]


def reset(conn):
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    conn.close()
    print("reset")


role = sys.argv[1]
if role == "holds the port":
    peer = bound()
elif role == "keeps silent":
    peer = bound(socket.SOCK_DGRAM)
elif role == "closes instead of an answer":
    conn = accepted()
    conn.recv(1024)
    conn.close()
elif role == "resets instead of an answer":
    conn = accepted()
    conn.recv(1024)
    reset(conn)
elif role == "resets after an answer":
    conn = accepted()
    conn.sendall(conn.recv(1024))
    sys.stdin.readline()
    reset(conn)
elif role == "takes nobody":
    # A full backlog, on Linux: the next SYN is dropped, and sent again after a second.
    peer = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    peer.bind(("127.0.0.1", 0))
    peer.listen(0)
    filler = socket.create_connection(peer.getsockname())
    select.select([peer], [], [])
    print(f"listening on port {peer.getsockname()[1]}")
    # Told to, it takes everybody, and echoes to the last one.
    if sys.stdin.readline():
        peer.accept()
        conn, _ = peer.accept()
        while data := conn.recv(1024):
            conn.sendall(data)
elif role == "resets instead of a message":
    conn = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    conn.sendall(b"x")
    conn.recv(1)
    reset(conn)
elif role == "resets after a message":
    conn = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    sys.stdin.readline()
    conn.sendall(b"x")
    reset(conn)
elif role == "sends without a path":
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.sendto(b"hello", sys.argv[2])
elif role == "sends and is gone":
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.bind("echo-gram.sock.client")
    os.unlink("echo-gram.sock.client")
    peer.sendto(b"hello", sys.argv[2])
sys.stdin.read()
