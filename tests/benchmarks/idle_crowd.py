"""A crowd of connections: `python idle_crowd.py WHERE COUNT SORT [UID]`.

`WHERE` is a Unix socket's path, or `host:port`, or `tls:host:port`. `SORT` is `idle`, `line`,
`head` or `body`: how much each connection says of a request; `head-trickle` and `body-trickle`
say the same and go on, a byte of each connection every `TRICKLE_SECONDS`. The key for a body
comes on standard input. Whatever the other side closes is opened again, about 100 a second, until
standard input ends.
Prints a line once everything was opened, and at the end how many connections it made.
"""

from __future__ import annotations

import os
import resource
import selectors
import socket
import ssl
import sys
import time
from contextlib import suppress

PIECES = {
    "idle": "",
    "line": "POST /v1/chat/comple",
    "head": "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Len",
    "body": "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    "Content-Type: application/json\r\nContent-Length: 900000\r\n\r\n{{",
}

TRICKLE_SECONDS = 0.5


def trickle(lines: selectors.BaseSelector) -> None:
    """Send one more byte over every connection."""
    for each in list(lines.get_map().values()):
        if isinstance(each.fileobj, socket.socket):
            with suppress(OSError):  # it is found closed when it is read
                each.fileobj.send(b"x")


def connect(where: str, said: bytes) -> socket.socket | None:
    """Open one connection and say its piece; None where it is refused."""
    tls = where.startswith("tls:")
    try:
        if "/" in where:
            line = socket.socket(socket.AF_UNIX)
            line.settimeout(0.5)
            line.connect(where)
        else:
            host, _, port = where.removeprefix("tls:").rpartition(":")
            line = socket.create_connection((host, int(port)), timeout=0.5)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            line = context.wrap_socket(line)
        line.send(said) if said else None
        line.setblocking(False)
    except OSError:
        return None
    return line


def main() -> None:
    """Hold the crowd open until standard input ends."""
    where, count, sort = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    key = sys.stdin.readline().strip()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if len(sys.argv) > 4:
        os.setgid(int(sys.argv[4]))
        os.setuid(int(sys.argv[4]))
    piece, _, trickles = sort.partition("-")
    said = PIECES[piece].format(key=key).encode()
    lines = selectors.DefaultSelector()
    lines.register(sys.stdin, selectors.EVENT_READ)
    made = 0
    told = False
    trickled = time.monotonic()
    while True:
        if trickles and time.monotonic() - trickled > TRICKLE_SECONDS:
            trickled = time.monotonic()
            trickle(lines)
        missing = count - (len(lines.get_map()) - 1)
        for _ in range(min(missing, 1 if told else 50)):
            line = connect(where, said)
            made += 1
            if line is not None:
                lines.register(line, selectors.EVENT_READ)
        if not told and made >= count:
            told = True
            print("opened", flush=True)
        for each, _ in lines.select(0.02):
            if each.fileobj is sys.stdin:
                print(made, flush=True)
                return
            assert isinstance(each.fileobj, socket.socket)
            ended = True
            with suppress(BlockingIOError, OSError):
                ended = not each.fileobj.recv(65536)
            if ended:
                lines.unregister(each.fileobj)
                each.fileobj.close()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
