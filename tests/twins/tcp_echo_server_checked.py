import os
import re
import socket
import sys


def perror(call, error):
    print(f"{call}: {os.strerror(error.errno)}", file=sys.stderr)


def fail(call, error):
    perror(call, error)
    sys.exit(1)


address, service = sys.argv[1:]
try:
    socket.inet_pton(socket.AF_INET, address)
except OSError:
    sys.exit(f"not an IPv4 address: {address}")
if not re.fullmatch("[0-9]+", service) or int(service) > 65535:
    sys.exit(f"not a port: {service}")
port = int(service)

try:
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
except OSError as error:
    fail("socket", error)
try:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
except OSError as error:
    fail("setsockopt", error)
try:
    server.bind((address, port))
except OSError as error:
    fail("bind", error)
try:
    server.listen(5)
except OSError as error:
    fail("listen", error)
print(f"listening on port {server.getsockname()[1]}")

while True:
    try:
        conn, (host, _) = server.accept()
    except OSError as error:
        fail("accept", error)
    print(f"connection from {host}")
    while True:
        call = "recv"
        try:
            data = conn.recv(1024)
            if not data:
                break
            call = "send"
            conn.sendall(data)
        except OSError as error:
            perror(call, error)
            break
    conn.close()
    print("connection closed")
