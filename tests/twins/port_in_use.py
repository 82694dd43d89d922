import errno
import os
import socket
import sys

first = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
first.bind(("127.0.0.1", int(sys.argv[1])))
first.listen(5)
port = first.getsockname()[1]
print(f"first socket: listening on port {port}")

second = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
try:
    second.bind(("127.0.0.1", port))
    print("second socket: bound")
except OSError as error:
    code = errno.errorcode[error.errno]
    print(f"second socket: {code}, {os.strerror(error.errno)}")
second.close()
first.close()
