import errno
import os
import socket
import sys

port = int(sys.argv[1])

one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
try:
    one.connect(("127.0.0.1", port))
    print("connect: somebody listens there")
except OSError as error:
    code = errno.errorcode[error.errno]
    print(f"connect: {code}, {os.strerror(error.errno)}")
one.close()

other = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
status = other.connect_ex(("127.0.0.1", port))
print(f"connect_ex: {status}, {os.strerror(status)}")
other.close()
