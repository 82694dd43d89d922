import os
import signal
import socket
import sys

path = sys.argv[1] if len(sys.argv) > 1 else "echo.sock"


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
server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
server.bind(path)
server.listen(5)
print(f"listening on {path}")

while True:
    conn, _ = server.accept()
    print("connection")
    while data := conn.recv(1024):
        conn.sendall(data)
    conn.close()
    print("connection closed")
