import socket
import sys

port = int(sys.argv[1])

server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.bind(("127.0.0.1", port))
server.listen(1)
print(f"listening on port {server.getsockname()[1]}")

conn, (host, _) = server.accept()
message = b""
while data := conn.recv(1024):
    message += data
print(f"{host} says: {message.decode()}")
conn.sendall(b"you said: " + message)
conn.close()
server.close()
