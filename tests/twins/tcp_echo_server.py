import socket
import sys

port = int(sys.argv[1])

server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", port))
server.listen(5)
print(f"listening on port {server.getsockname()[1]}")

while True:
    conn, address = server.accept()
    print(f"connection from {address[0]}")
    while data := conn.recv(1024):
        conn.sendall(data)
    conn.close()
    print("connection closed")
