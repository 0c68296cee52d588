"""A real HTTP server on a Unix socket or a loopback port, answering as a test tells it.

It is written with the standard library alone, so that what it proves of the console's
client is not proven by the same library at the other end.
"""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit


class Asked(NamedTuple):
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class Told(NamedTuple):
    """One answer. `raw` bytes are written to the socket as they are, and it is closed."""

    value: Any = None
    status: int = 200
    headers: dict[str, str] = {}
    raw: bytes | None = None
    trickle: float = 0.0


Handler = Callable[[Asked], Told]


class TinyApi:
    """One API: routes by `METHOD path`, and everything that was asked."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[Asked] = []
        self.routes: dict[str, Handler] = {}

    def on(self, route: str, answer: Any = None, **how: Any) -> None:
        """Answer `route` (`GET /v1/grants`) with a value, a `Told`, or what a function says."""
        if callable(answer):
            self.routes[route] = answer
        else:
            told = answer if isinstance(answer, Told) else Told(answer, **how)
            self.routes[route] = lambda _: told

    def problem(self, route: str, name: str, status: int, detail: str, **more: Any) -> None:
        """Answer `route` with a problem of the contract."""
        body = {
            "type": f"urn:pilotctl:problem:{name}",
            "title": name,
            "status": status,
            "detail": detail,
            **more,
        }
        self.on(route, body, status=status, headers={"content-type": "application/problem+json"})

    def writes(self) -> list[Asked]:
        """Return what was asked that may change something."""
        return [each for each in self.asked if each.method != "GET"]


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    api: TinyApi

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""


class _UnixServer(_Server):
    address_family = socket.AF_UNIX


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def address_string(self) -> str:
        return "test"

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        asked = Asked(
            self.command,
            parts.path,
            dict(parse_qsl(parts.query)),
            {name.lower(): value for name, value in self.headers.items()},
            json.loads(body) if body else None,
        )
        api = self.server.api
        api.asked.append(asked)
        handler = api.routes.get(f"{self.command} {parts.path}")
        told = handler(asked) if handler else _missing(asked)
        if told.raw is not None:
            self._raw(told)
            return
        value = told.value if isinstance(told.value, bytes) else json.dumps(told.value).encode()
        self.send_response(told.status)
        headers = {"content-type": "application/json", **told.headers}
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("content-length", str(len(value)))
        self.end_headers()
        self.wfile.write(value)

    def _raw(self, told: Told) -> None:
        self.close_connection = True
        assert told.raw is not None
        step = 1 if told.trickle else len(told.raw) or 1
        for at in range(0, len(told.raw), step):
            self.wfile.write(told.raw[at : at + step])
            self.wfile.flush()
            if told.trickle and threading.Event().wait(told.trickle):
                return


def _missing(asked: Asked) -> Told:
    body = {"type": "urn:pilotctl:problem:no-such-route", "title": "no such route", "status": 404}
    return Told({**body, "detail": f"{asked.method} {asked.path}"}, 404)


@contextmanager
def tiny_api(
    socket_path: Path | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[TinyApi]:
    """Serve a `TinyApi` at a Unix socket, or on a loopback port, while the block runs."""
    server: _Server
    if socket_path is not None:
        server = _UnixServer(str(socket_path), _Handler)  # type: ignore[arg-type]
        address = f"unix:{socket_path}"
    else:
        server = _Server(("127.0.0.1", 0), _Handler)
        scheme = "https" if tls else "http"
        address = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        if tls:
            # a handshake at a time, and not in the loop that takes connections
            server.socket = tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
    server.api = TinyApi(address)
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield server.api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
