"""Connections for probes: to points whose listener expects a PROXY protocol header too."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from console.services.gateway.decision.snapshot import within
from console.services.tls import Certificate

LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
"""The header of one who speaks for itself (PROXY protocol version 2, command LOCAL)."""


class ProbeConnector(aiohttp.TCPConnector):
    """Begins a connection with `LOCAL`, in clear, where a point waits for a header from it.

    A point waits for one from whoever connects from the networks in `proxies`. Control may
    or may not: on one machine it often does. From elsewhere it has none to send.
    """

    def __init__(
        self, *, limit: int, proxies: Sequence[str] = (), certificate: Certificate | None = None
    ) -> None:
        trusted = certificate.pinned() if certificate else True
        super().__init__(limit=limit, force_close=False, ssl=trusted)
        self._proxies = proxies

    async def _wrap_create_connection(
        self, *args: Any, addr_infos: list[Any], **kwargs: Any
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        if not self._proxies:
            return await super()._wrap_create_connection(*args, addr_infos=addr_infos, **kwargs)
        family, kind, protocol, _, address = addr_infos[0]  # a point's address is one, not a name
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await self._loop.sock_connect(sock, address)
            if any(within(sock.getsockname()[0], each) for each in self._proxies):
                await self._loop.sock_sendall(sock, LOCAL)
            return await self._wrap_existing_connection(*args, sock=sock, **kwargs)
        except BaseException:
            sock.close()
            raise
