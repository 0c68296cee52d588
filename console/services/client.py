"""The services' one HTTP client: JSON to another process of the pilot.

Over a Unix socket or loopback. Whatever goes wrong is a `PilotError`: a problem that
was answered keeps its code, everything else is `unavailable`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
import msgspec

from console.api.problems import as_error, refusal

T = TypeVar("T")

MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""The longest answer that is read: a point's whole snapshot is far below it."""


class Client:
    """Asks one peer. Make it on the event loop that uses it, and close it."""

    def __init__(
        self, *, socket: Path | None = None, base_url: str = "", timeout: float = 10.0
    ) -> None:
        self._path = socket
        self._base = base_url.rstrip("/") or "http://localhost"
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    @property
    def peer(self) -> str:
        """Whom it asks, in words."""
        return f"unix:{self._path}" if self._path else self._base

    @property
    def session(self) -> aiohttp.ClientSession:
        """The connections: kept alive, no cookies, no proxies, nothing from the environment."""
        if self._session is None:
            connector = (
                aiohttp.UnixConnector(str(self._path), limit=0)
                if self._path
                else aiohttp.TCPConnector(limit=0)
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
            )
        return self._session

    async def get(
        self,
        path: str,
        answer: type[T],
        *,
        query: Mapping[str, str | int] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - callers think in one request's seconds
    ) -> T:
        """Ask for `path` and return the answer, decoded. `timeout` is in seconds."""
        return await self._ask(
            "GET", path, None, answer, query=query or {}, seconds=timeout, headers={}
        )

    async def send(
        self,
        method: str,
        path: str,
        body: Any,
        answer: type[T],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - callers think in one request's seconds
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Send `body` as JSON and return the answer, decoded. `timeout` is in seconds.

        After a timeout it is not known whether the peer did it: ask again only what may
        be done twice.
        """
        return await self._ask(
            method, path, body, answer, query={}, seconds=timeout, headers=headers or {}
        )

    async def close(self) -> None:
        """Close every connection. May be called twice."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _ask(
        self,
        method: str,
        path: str,
        body: Any,
        answer: type[T],
        *,
        query: Mapping[str, str | int],
        seconds: float | None,
        headers: Mapping[str, str],
    ) -> T:
        sent = {"Accept": "application/json", **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            async with (
                asyncio.timeout(self._timeout if seconds is None else seconds),
                self.session.request(
                    method,
                    self._base + path,
                    params=dict(query),
                    data=None if body is None else msgspec.json.encode(body),
                    headers=sent,
                    allow_redirects=False,
                ) as response,
            ):
                status, said = response.status, await _whole(response)
        except TimeoutError as error:
            raise refusal("unavailable", f"{self.peer} did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise refusal("unavailable", f"{self.peer} cannot be reached") from error
        if not 200 <= status < 300:
            raise as_error(status, said, source=self.peer)
        try:
            return msgspec.json.decode(said, type=answer)
        except msgspec.MsgspecError as error:
            raise refusal(
                "unavailable", f"{self.peer} answered what this version does not understand"
            ) from error


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """Read an answer to its end. Raises `aiohttp.ClientPayloadError` where it has none."""
    read = bytearray()
    async for part in response.content.iter_any():
        read += part
        if len(read) > MAX_ANSWER_BYTES:
            response.close()
            raise aiohttp.ClientPayloadError(f"more than {MAX_ANSWER_BYTES} bytes")
    return bytes(read)


def is_unreached(error: Exception) -> bool:
    """Tell whether a call failed because the peer gave no answer at all."""
    return isinstance(error.__cause__, (TimeoutError, aiohttp.ClientError, OSError))
