import select
import socket
import sys

port = int(sys.argv[1])

server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.bind(("127.0.0.1", port))
server.listen(5)
print(f"listening on port {server.getsockname()[1]}")

clients = set()
while True:
    readable, _, _ = select.select([server, *clients], [], [])
    for ready in readable:
        if ready is server:
            conn, _ = server.accept()
            clients.add(conn)
            print(f"clients: {len(clients)}")
            continue
        try:
            data = ready.recv(1024)
            if data:
                ready.sendall(data)
        except OSError:
            data = b""
        if not data:
            clients.remove(ready)
            ready.close()
            print(f"clients: {len(clients)}")
