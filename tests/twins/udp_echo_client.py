import socket
import sys

port = int(sys.argv[1])
timeout = int(sys.argv[2])

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(timeout / 1000)
print(f"sending to port {port}; end with Ctrl+D")

for line in sys.stdin:
    line = line.rstrip("\n")
    if line == "":
        print("nothing to send: type some text")
        continue
    client.sendto(line.encode(), ("127.0.0.1", port))
    try:
        data, _ = client.recvfrom(65536)
        print(f"echo: {data.decode()}")
    except TimeoutError:
        print(f"no answer within {timeout} ms")
client.close()
