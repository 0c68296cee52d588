"""The console's only HTTP: one transport for each API, over Unix sockets or TCP.

`send` and `asend` do one exchange and raise `Lost`, which says whether the request may
have reached the API: that is what decides between *unavailable* and *unknown*.
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

from console.credentials.secret import Secret
from console.errors import ExitCode, PilotError
from console.net.http_messages import MAX_BYTES, Answer, Request
from console.net.tls import TlsFault, clear_fault, tls_fault

TIMEOUT = httpx.Timeout(15.0, connect=5.0)
MAX_ANSWER_SECONDS = 60.0
"""Seconds for a whole answer: a server that trickles bytes is cut off."""


class Lost(Exception):  # noqa: N818  # it is an outcome, told apart before it becomes an error
    """No answer. `sent`: the request may have arrived. `timed_out`: it was waited for.

    With a `fault` of TLS it was not sent, and trying again does not help.
    """

    def __init__(
        self, why: str, *, sent: bool, timed_out: bool = False, fault: TlsFault | None = None
    ) -> None:
        super().__init__(why)
        self.why = why
        self.sent = sent
        self.timed_out = timed_out
        self.fault = fault


class Endpoint(NamedTuple):
    """Where an API is, in the profile's form and in words."""

    api: str
    address: str

    @property
    def words(self) -> str:
        """Return `gateway unix:/…`: how errors and lists name the source."""
        return f"{self.api} {self.address}"


class Apis:
    """The APIs of one profile. Clients are made at first use and closed together."""

    def __init__(
        self,
        addresses: Mapping[str, str],
        *,
        token: Callable[[], Secret | None],
        ca_file: str = "",
    ) -> None:
        self._endpoints = {api: Endpoint(api, address) for api, address in addresses.items()}
        self._token = token
        self._ca_file = ca_file
        self._trust: ssl.SSLContext | None = None
        self._clients: dict[str, httpx.Client] = {}
        self._async_clients: dict[str, httpx.AsyncClient] = {}
        self._heard: set[str] = set()
        self._is_clear: set[str] = set()
        """APIs that do not speak TLS: they have answered, or were asked once."""

    def endpoint(self, api: str) -> Endpoint:
        """Return where `api` is. Raises `PilotError` (exit 2) if the profile does not say."""
        found = self._endpoints.get(api)
        if found is None or not found.address:
            raise PilotError(
                "no-address",
                f"the profile names no address for the {api} API",
                exit=ExitCode.USAGE,
                hint=f"set `{api}` in the profile, or PILOTCTL_{api.upper()}",
            )
        return found

    def send(self, api: str, request: Request, within: float = math.inf) -> Answer:
        """Exchange `request` for an answer. Raises `Lost` where there is none.

        `within` are the seconds that the caller has: neither connecting nor a silence
        outlasts them, and an answer still arriving then is cut off.
        """
        client = self._client(api)
        if api not in self._heard:
            _look(self.endpoint(api).address, within)
        longest = min(MAX_ANSWER_SECONDS, within)
        end = time.monotonic() + longest
        try:
            with client.stream(
                request.method,
                request.target,
                headers={**request.headers, **self._credential()},
                content=request.content,
                timeout=_bounds(within),
            ) as response:
                self._is_clear.add(api)
                body = bytearray()
                for chunk in response.iter_raw():
                    body += chunk
                    _check(body, end, longest)
                self._heard.add(api)
                return Answer(response.status_code, _headers(response), bytes(body))
        except httpx.HTTPError as error:
            self._heard.discard(api)
            raise self._lost(api, error) from error

    @contextmanager
    def stream(
        self, api: str, request: Request, silence: float
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Open an answer that does not end: its status, and its bytes as they come.

        Raises `Lost` where there is none, where it breaks off, and after `silence` seconds
        without a byte.
        """
        client = self._client(api)
        _look(self.endpoint(api).address, 5.0)
        bounds = httpx.Timeout(silence, connect=5.0)
        try:
            with client.stream(
                request.method,
                request.target,
                headers={**request.headers, **self._credential()},
                timeout=bounds,
            ) as response:
                self._is_clear.add(api)
                yield response.status_code, response.iter_raw()
        except httpx.HTTPError as error:
            raise self._lost(api, error) from error

    async def asend(self, api: str, request: Request, within: float = math.inf) -> Answer:
        """Exchange `request` for an answer without blocking. Raises `Lost` as `send` does."""
        client = self._async_client(api)
        longest = min(MAX_ANSWER_SECONDS, within)
        end = time.monotonic() + longest
        try:
            async with client.stream(
                request.method,
                request.target,
                headers={**request.headers, **self._credential()},
                content=request.content,
                timeout=_bounds(within),
            ) as response:
                self._is_clear.add(api)
                body = bytearray()
                async for chunk in response.aiter_raw():
                    body += chunk
                    _check(body, end, longest)
                return Answer(response.status_code, _headers(response), bytes(body))
        except httpx.HTTPError as error:
            import asyncio  # noqa: PLC0415  # commands run without a loop

            raise await asyncio.to_thread(self._lost, api, error) from error

    def close(self) -> None:
        """Close the synchronous clients."""
        while self._clients:
            self._clients.popitem()[1].close()

    async def aclose(self) -> None:
        """Close every client."""
        self.close()
        while self._async_clients:
            await self._async_clients.popitem()[1].aclose()

    def _lost(self, api: str, error: httpx.HTTPError) -> Lost:
        """Return what became of an exchange, with what is wrong with TLS where that is it."""
        fault = None
        address = self.endpoint(api).address
        if isinstance(error, httpx.ConnectError) and address.startswith("https:"):
            fault = tls_fault(error, address, self._ca_file)
        elif isinstance(error, (httpx.RemoteProtocolError, httpx.ReadError)):
            if api not in self._is_clear:
                fault = clear_fault(address)
            if fault is None:
                self._is_clear.add(api)
        return Lost(fault.why, sent=False, fault=fault) if fault else _lost(error)

    def _credential(self) -> dict[str, str]:
        secret = self._token()
        return {"authorization": f"Bearer {secret.reveal()}"} if secret else {}

    def _client(self, api: str) -> httpx.Client:
        if api not in self._clients:
            base, options = self._place(api)
            transport = httpx.HTTPTransport(**options)
            self._clients[api] = httpx.Client(
                transport=transport, base_url=base, timeout=TIMEOUT, trust_env=False
            )
        return self._clients[api]

    def _async_client(self, api: str) -> httpx.AsyncClient:
        if api not in self._async_clients:
            base, options = self._place(api)
            transport = httpx.AsyncHTTPTransport(**options)
            self._async_clients[api] = httpx.AsyncClient(
                transport=transport, base_url=base, timeout=TIMEOUT, trust_env=False
            )
        return self._async_clients[api]

    def _place(self, api: str) -> tuple[str, dict[str, Any]]:
        address = self.endpoint(api).address
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=8)
        # loading the system's certificates takes longer than a call: only https pays for it
        options: dict[str, Any] = {
            "verify": self._context() if address.startswith("https:") else _unused_context(),
            "trust_env": False,
            "limits": limits,
        }
        if address.startswith("unix:"):
            return "http://localhost", {**options, "uds": address.removeprefix("unix:")}
        return address.rstrip("/"), options

    def _context(self) -> ssl.SSLContext:
        if self._trust is None:
            try:
                self._trust = ssl.create_default_context(cafile=self._ca_file or None)
            except (OSError, ssl.SSLError) as error:
                raise PilotError(
                    "bad-ca-file",
                    f"the certificates in {self._ca_file} cannot be used: {error}",
                    exit=ExitCode.USAGE,
                ) from error
        return self._trust


def untrusted(endpoint: Endpoint, fault: TlsFault, request_id: str = "") -> PilotError:
    """Return the error for an API whose TLS does not hold: nothing was sent, nor would be."""
    return PilotError(
        fault.code,
        f"the {endpoint.api} API at {endpoint.address} {fault.why}",
        hint=fault.hint,
        source=endpoint.words,
        request_id=request_id,
    )


def _bounds(within: float) -> httpx.Timeout:
    """Return the usual patience with each part of an exchange, cut at `within` seconds."""
    usual = TIMEOUT.as_dict()
    return httpx.Timeout(
        **{part: min(math.inf if most is None else most, within) for part, most in usual.items()}
    )


def _look(address: str, within: float) -> None:
    """Raise `Lost` where nobody listens on a Unix socket.

    httpcore leaves a Unix socket open where connecting fails, so it is only let near one
    that takes connections.
    """
    if not address.startswith("unix:"):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(min(5.0, within))
        try:
            probe.connect(address.removeprefix("unix:"))
        except OSError as error:
            raise Lost(_connection(error), sent=False) from error


def _unused_context() -> ssl.SSLContext:
    """Return a context that trusts nobody, for transports that do not speak TLS."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _check(body: bytearray, end: float, longest: float) -> None:
    if len(body) > MAX_BYTES:
        raise Lost(f"answered with more than {MAX_BYTES >> 20} MiB", sent=True)
    if time.monotonic() > end:
        raise Lost(f"did not finish its answer in {longest:.3g} s", sent=True, timed_out=True)


def _lost(error: httpx.HTTPError) -> Lost:
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)):
        timed_out = isinstance(error, httpx.TimeoutException)
        why = "did not take the connection in time" if timed_out else _connection(error)
        return Lost(why, sent=False, timed_out=timed_out)
    if isinstance(error, httpx.TimeoutException):
        return Lost("did not answer in time", sent=True, timed_out=True)
    if isinstance(error, httpx.UnsupportedProtocol):
        return Lost("has an address that cannot be used", sent=False)
    if isinstance(error, httpx.RemoteProtocolError):
        return Lost("broke off its answer, or does not speak HTTP", sent=True)
    return Lost("closed the connection without an answer", sent=True)


def _connection(error: Exception) -> str:
    words = str(error)
    if "No such file" in words:
        return "is not running (its socket does not exist)"
    if "refused" in words:
        return "is not running (it refuses connections)"
    if "too long" in words:
        return "has a path too long for a Unix socket (PILOTCTL_HOME can name a shorter folder)"
    if "Permission denied" in words:
        return "may not be reached by this user (permission denied on its socket)"
    return "cannot be reached"
