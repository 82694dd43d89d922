import os
import re
import socket
import sys


def fail(call, error):
    sys.exit(f"{call}: {os.strerror(error.errno)}")


address, service = sys.argv[1:]
try:
    socket.inet_pton(socket.AF_INET, address)
except OSError:
    sys.exit(f"not an IPv4 address: {address}")
if not re.fullmatch("[0-9]+", service) or int(service) > 65535:
    sys.exit(f"not a port: {service}")
port = int(service)

try:
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
except OSError as error:
    fail("socket", error)
try:
    client.connect((address, port))
except OSError as error:
    fail("connect", error)
print("connected; end with Ctrl+D")

for line in sys.stdin:
    line = line.rstrip("\n")
    if line == "":
        print("nothing to send: type some text")
        continue
    message = line.encode()
    try:
        client.sendall(message)
    except OSError as error:
        fail("send", error)
    answer = b""
    while len(answer) < len(message):
        try:
            data = client.recv(1024)
        except OSError as error:
            fail("recv", error)
        if not data:
            sys.exit("recv: the server has closed the connection")
        answer += data
    print(f"echo: {answer.decode()}")
client.close()
