"""Which processes a pilot consists of, and how to tell that each is up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp

from console.errors import PilotError
from console.model.enforcement import Point, PointState
from console.services.client import Client
from console.services.listening.sockets import port_in_use
from console.services.settings import Home, Settings

SERVICES = (
    ("policy", "console.services.policy"),
    ("gateway", "console.services.gateway.control"),
    ("audit", "console.services.audit"),
)
"""Each service's name, and the module that is run for it."""


class Spec(NamedTuple):
    """One process: how it is started, and how it is known to serve."""

    name: str
    argv: tuple[str, ...]
    """The module that it runs, and its arguments."""
    serves: Callable[[], Awaitable[bool]]
    drain_seconds: float | None = None
    """How long it lets end what it has begun, once told to stop; None: nothing. What drains is
    stopped before the others, which it needs until then."""


def processes(settings: Settings) -> list[Spec]:
    """Return the processes of the pilot that `settings` describe."""
    home = settings.home
    at = ("--home", str(home.path))
    services = [
        Spec(name, (module, *at), answering(home.socket(name))) for name, module in SERVICES
    ]
    points = [
        Spec(
            name,
            ("console.services.gateway.point", *at, "--name", name),
            _serving(home.socket("gateway"), name),
            float(settings.data_plane.drain_seconds),
        )
        for name, _ in settings.data_plane.points
    ]
    return [*services, *points]


def refuse_taken_ports(settings: Settings) -> None:
    """Raise `PilotError` (`port-in-use`) where a data-plane port is somebody else's."""
    host = settings.data_plane.host
    for port in settings.data_plane.ports:
        with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise port_in_use(host, port) from error


def answering(path: Path) -> Callable[[], Awaitable[bool]]:
    """Return the question whether a service answers on its socket.

    Any answer will do: whether the caller is an operator is another question.
    """

    async def serves() -> bool:
        client = Client(socket=path)
        try:
            async with (
                asyncio.timeout(2),
                client.session.get("http://localhost/v1/status") as response,
            ):
                return response.status < 500
        except (TimeoutError, aiohttp.ClientError, OSError):
            return False
        finally:
            await client.close()

    return serves


async def points_of(home: Home, *, seconds: float) -> list[Point] | None:
    """Return the points as gateway control has them; None where it does not answer in time."""
    try:
        async with Client(socket=home.socket("gateway"), timeout=seconds) as client:
            return await client.get("/internal/v1/points", list[Point])
    except PilotError:
        return None


def _serving(gateway: Path, name: str) -> Callable[[], Awaitable[bool]]:
    async def serves() -> bool:
        async with Client(socket=gateway, timeout=2) as client:
            try:
                points = await client.get("/internal/v1/points", list[Point])
            except PilotError:
                return False
        found = next((each for each in points if each.name == name), None)
        if found is not None and found.state == PointState.GONE.value:
            return True  # it was deregistered: there is nothing to wait for
        if found is None or found.state != PointState.SERVING.value:
            return False
        return await _accepts(found.url)

    return serves


async def _accepts(url: str) -> bool:
    """Tell whether somebody listens there: a serving record can outlive its process a moment."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except (TimeoutError, OSError):
        return False
    writer.close()
    return True
