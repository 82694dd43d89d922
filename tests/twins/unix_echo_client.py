import socket
import sys

path = sys.argv[1] if len(sys.argv) > 1 else "echo.sock"

client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
client.connect(path)
print("connected; end with Ctrl+D")

for line in sys.stdin:
    line = line.rstrip("\n")
    if line == "":
        print("nothing to send: type some text")
        continue
    message = line.encode()
    client.sendall(message)
    answer = b""
    while len(answer) < len(message):
        data = client.recv(1024)
        if not data:
            raise EOFError("the server has closed the connection")
        answer += data
    print(f"echo: {answer.decode()}")
client.close()
