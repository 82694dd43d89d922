import os
import signal
import socket
import sys

path = sys.argv[1] if len(sys.argv) > 1 else "echo-gram.sock"
own_path = sys.argv[2] if len(sys.argv) > 2 else f"{path}.client"


def unlink():
    try:
        os.unlink(own_path)
    except FileNotFoundError:
        pass


def stop(*_):
    unlink()
    sys.exit(0)


signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)

unlink()
client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
client.bind(own_path)
print(f"sending to {path}; end with Ctrl+D")

for line in sys.stdin:
    line = line.rstrip("\n")
    if line == "":
        print("nothing to send: type some text")
        continue
    client.sendto(line.encode(), path)
    data, _ = client.recvfrom(65536)
    print(f"echo: {data.decode()}")
client.close()
stop()
