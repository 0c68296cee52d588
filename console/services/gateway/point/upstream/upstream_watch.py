"""How each upstream is, by the calls that went there and, while none do, by a connection.

A call that fails says so at once; an upstream is dead after `DEAD_AFTER` failures with no
success between them. No request is sent only to look: a connection (and its TLS handshake)
costs nothing, and shows that an idle upstream has gone or is back.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import urlsplit

from console.model.enforcement import UpstreamHealth, UpstreamState

DEAD_AFTER = 5
"""Failures one after the other that make an upstream dead."""
IDLE_SECONDS = 30.0
"""An upstream that no call went to for so long is looked at by connecting to it."""
_CONNECT_SECONDS = 5.0
_LOOK_SECONDS = 1.0


class Key(Protocol):
    """What of an upstream's key is looked at (`upstream_key.UpstreamKey`)."""

    @property
    def fault(self) -> str:
        """Why its file cannot be used now; empty where it can."""


class UpstreamWatch:
    """What is known of one upstream."""

    def __init__(
        self,
        name: str,
        kind: str,
        base_url: str,
        key: Key,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = name
        self.kind = kind
        self.base_url = base_url
        self._key = key
        self._now = now
        self._failures = 0
        self._why = ""
        self._unreachable = False
        self._last_success: datetime | None = None
        self._last_failure: datetime | None = None
        self._state = UpstreamState.UNTRIED
        self._since = now()
        self.looked = time.monotonic()
        """When it was last called or looked at."""

    def succeeded(self) -> None:
        """Note a whole answer."""
        self.looked = time.monotonic()
        self._failures, self._why, self._unreachable = 0, "", False
        self._last_success = self._now()

    def failed(self, why: str, *, unreachable: bool = False) -> None:
        """Note a call that got no answer which could be passed on, and why."""
        self.looked = time.monotonic()
        self._failures += 1
        self._why, self._unreachable = why, unreachable
        self._last_failure = self._now()

    def connected(self) -> None:
        """Note that it takes connections: what could not be reached can be again."""
        self.looked = time.monotonic()
        if self._unreachable:
            self._failures, self._why, self._unreachable = 0, "", False

    def report(self) -> UpstreamHealth:
        """Say how it is now."""
        key_fault = self._key.fault
        state = self._found(key_fault)
        if state is not self._state:
            self._state, self._since = state, self._now()
        return UpstreamHealth(
            name=self.name,
            kind=self.kind,
            state=state.value,
            since=self._since,
            why="; ".join(each for each in (self._why, key_fault) if each),
            failures=self._failures,
            last_success_at=self._last_success,
            last_failure_at=self._last_failure,
        )

    def _found(self, key_fault: str) -> UpstreamState:
        if self._failures >= DEAD_AFTER:
            return UpstreamState.DEAD
        if key_fault:
            return UpstreamState.KEY_FAULT
        if self._failures:
            return UpstreamState.FAILING
        return UpstreamState.SERVING if self._last_success else UpstreamState.UNTRIED

    async def connect(self) -> None:
        """Connect to it, and note how that went."""
        parts = urlsplit(self.base_url)
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        port = parts.port or (443 if tls else 80)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
        except TimeoutError:
            self.failed("cannot be reached: no connection in time", unreachable=True)
        except OSError as error:
            said = error.strerror or type(error).__name__
            self.failed(f"cannot be reached: {said}", unreachable=True)
        else:
            self.connected()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def look_at_idle(watches: Iterable[UpstreamWatch], idle: float | None = None) -> None:
    """Connect now and again, for ever, to each upstream that no call goes to."""
    remote = [each for each in watches if each.kind != "builtin"]
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        after = IDLE_SECONDS if idle is None else idle
        due = [each for each in remote if time.monotonic() - each.looked >= after]
        await asyncio.gather(*(each.connect() for each in due))
