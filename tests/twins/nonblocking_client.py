import errno
import os
import select
import socket
import sys

port = int(sys.argv[1])
message = sys.argv[2].encode()

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.setblocking(False)

status = client.connect_ex(("127.0.0.1", port))
if status == errno.EINPROGRESS:
    print("connect: in progress")
    select.select([], [client], [])
    status = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
if status != 0:
    sys.exit(f"connect: {os.strerror(status)}")
print("connected")

try:
    client.recv(1024)
except BlockingIOError:
    print("recv: nothing there yet")

sent = 0
while sent < len(message):
    select.select([], [client], [])
    sent += client.send(message[sent:])

answer = b""
while len(answer) < len(message):
    select.select([client], [], [])
    data = client.recv(1024)
    if not data:
        raise EOFError("the server has closed the connection")
    answer += data
print(f"echo: {answer.decode()}")
client.close()
