"""Listening sockets, and who is at the other end of one."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from pathlib import Path

from aiohttp import web

from console.errors import ExitCode, PilotError

MAX_PATH_BYTES = 100
"""Bytes in a Unix socket's path: the kernels' limit is 104 or 108 with the end mark."""

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def peer_uid(request: web.Request) -> int | None:
    """Return the user at the other end (SO_PEERCRED), or None over TCP."""
    transport = request.transport
    sock = None if transport is None else transport.get_extra_info("socket")
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    return uid_of(sock)


def uid_of(sock: socket.socket) -> int:
    """Return the user at the other end of a connected Unix socket (SO_PEERCRED)."""
    _, uid, _ = _CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return int(uid)


def refuse_long_path(path: Path) -> None:
    """Raise `PilotError` (`socket-path`) where no socket can have this path."""
    if len(str(path).encode()) > MAX_PATH_BYTES:
        raise PilotError(
            "socket-path",
            f"the socket path {path} is longer than {MAX_PATH_BYTES} bytes",
            exit=ExitCode.USAGE,
            hint="choose a shorter state folder: XDG_STATE_HOME, or --home",
        )


def unix_listener(path: Path) -> socket.socket:
    """Return a listening Unix socket that every user may connect to.

    Authorisation is by peer credentials, not by the file's mode. A socket left behind
    by a dead process is replaced; one that answers is an error (`in-use`).
    """
    refuse_long_path(path)
    if path.exists():
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(str(path)) in {0, errno.EAGAIN}:
                raise PilotError(
                    "in-use",
                    f"another process is already listening on {path}",
                    exit=ExitCode.UNAVAILABLE,
                    hint="run `pilotctl down` first",
                )
        path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(path))
        path.chmod(0o666)
        sock.listen(256)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise PilotError(
            "unavailable",
            f"cannot listen on {path}: {error.strerror}",
            exit=ExitCode.UNAVAILABLE,
        ) from error
    return sock


def tcp_listener(host: str, port: int) -> socket.socket:
    """Return a socket listening on `host` and `port` (0 takes any free one).

    Raises `PilotError` (`port-in-use`) naming the port and where it is set.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(512)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise port_in_use(host, port) from error
        raise PilotError(
            "unavailable",
            f"cannot listen on {host} port {port}: {error.strerror}",
            exit=ExitCode.UNAVAILABLE,
        ) from error
    return sock


def port_in_use(host: str, port: int) -> PilotError:
    """Return the error for a data-plane port that somebody else has."""
    return PilotError(
        "port-in-use",
        f"port {port} on {host} is in use by another process",
        exit=ExitCode.UNAVAILABLE,
        hint="stop that process, or name another port: `ports` under [data_plane] in pilot.toml",
    )
