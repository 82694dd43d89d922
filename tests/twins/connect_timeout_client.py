import os
import socket
import sys

address, port, timeout = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.settimeout(timeout / 1000)
try:
    client.connect((address, port))
    print("connected")
    client.close()
except TimeoutError:
    sys.exit(f"timed out: no answer within {timeout} ms")
except ConnectionRefusedError:
    sys.exit("refused: nobody listens there")
except OSError as error:
    sys.exit(f"failed: {os.strerror(error.errno)}")
