import socket
import sys

port = int(sys.argv[1])
message = sys.argv[2]

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect(("127.0.0.1", port))
client.sendall(message.encode())
client.shutdown(socket.SHUT_WR)

answer = b""
while data := client.recv(1024):
    answer += data
print(answer.decode())
client.close()
