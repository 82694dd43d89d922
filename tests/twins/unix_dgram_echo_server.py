import os
import signal
import socket
import sys

path = sys.argv[1] if len(sys.argv) > 1 else "echo-gram.sock"


def unlink():
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def stop(*_):
    unlink()
    sys.exit(0)


signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)

unlink()
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind(path)
print(f"listening on {path}")

while True:
    data, client = server.recvfrom(65536)
    if not client:
        print(f"{len(data)} bytes from a client without a path")
        continue
    print(f"{len(data)} bytes from {client}")
    try:
        server.sendto(data, client)
    except (ConnectionRefusedError, FileNotFoundError):
        print(f"{client} is gone")
