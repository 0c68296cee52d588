"""Connections for probes: to points whose listener expects a PROXY protocol header too."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from console.services.tls import Certificate

LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
"""The header of one who speaks for itself (PROXY protocol version 2, command LOCAL)."""


class ProbeConnector(aiohttp.TCPConnector):
    """Begins each connection with `LOCAL` where points stand behind proxies.

    Control asks from an address that may be declared as a proxy's, as on one machine.
    """

    def __init__(
        self, *, limit: int, proxied: bool, certificate: Certificate | None = None
    ) -> None:
        trusted = certificate.pinned() if certificate else True
        super().__init__(limit=limit, force_close=False, ssl=trusted)
        self._proxied = proxied

    async def _wrap_create_connection(
        self, *args: Any, **kwargs: Any
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        transport, protocol = await super()._wrap_create_connection(*args, **kwargs)
        if self._proxied:
            transport.write(LOCAL)
        return transport, protocol
