import socket
import sys

port = int(sys.argv[1])

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", port))
print(f"listening on port {server.getsockname()[1]}")

while True:
    data, address = server.recvfrom(65536)
    print(f"{len(data)} bytes from {address[0]}")
    server.sendto(data, address)
