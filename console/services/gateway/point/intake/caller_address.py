"""The caller's true address behind declared proxies.

Only a peer whose own address is declared is believed. From such a peer comes either a
PROXY protocol header before the first request (version 1 or 2, as the specification of
the PROXY protocol, revision 2020-03-05, §2 writes it), or a header of the request that
proxies add to. Anybody else's words about an address count for nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

from console.services.gateway.decision.snapshot import within

HEADER_SECONDS = 3.0
"""So long a declared proxy has for its header; a connection without it is closed."""

MAX_BYTES = 16 + 2048
"""The longest header, with addresses and what else (TLVs) a proxy may tell: one that tells
more is refused."""

_V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V1_MOST = 107
_V2_HEAD = 16
_V2_SIZES = {0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36}
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
_NODE = re.compile(r'(?:^|;)\s*for\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;,\s"]*))', re.IGNORECASE)


class MalformedError(Exception):
    """What came is no PROXY protocol header."""


class Header(NamedTuple):
    """A header, read: how many bytes it took, and the caller's address.

    The address is None where the proxy speaks for itself (LOCAL), and empty where it does
    not know the caller (UNKNOWN, another family): such a caller is in no network.
    """

    size: int
    address: str | None


def read(data: bytes) -> Header | None:
    """Read the header at the beginning of `data`; None where more bytes are needed.

    Where it is None, every byte of `data` belongs to the header. Raises `MalformedError` as
    soon as it can be no header.
    """
    if data[:12] == _V2_SIGNATURE[: len(data)] and data[:1] == b"\r":
        return _version_2(data)
    if data[:6] == b"PROXY "[: len(data)]:
        return _version_1(data)
    raise MalformedError("neither version's beginning")


def _version_1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, _V1_MOST)
    if end < 0:
        if len(data) >= _V1_MOST or b"\n" in data:
            raise MalformedError("a line that does not end")
        return None
    try:
        parts = data[:end].decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise MalformedError("a line that is no ASCII") from None
    if parts[1:2] == ["UNKNOWN"]:
        return Header(end + 2, "")
    if len(parts) != 6 or parts[1] not in {"TCP4", "TCP6"}:
        raise MalformedError("a line of another form")
    kind = ipaddress.IPv4Address if parts[1] == "TCP4" else ipaddress.IPv6Address
    try:
        source, _ = kind(parts[2]), kind(parts[3])
    except ValueError:
        raise MalformedError("no address") from None
    if not all(_PORT.fullmatch(port) and int(port) <= 65535 for port in parts[4:]):
        raise MalformedError("no port")
    return Header(end + 2, str(source))


def _version_2(data: bytes) -> Header | None:
    if len(data) < _V2_HEAD:
        return None
    what, family, length = struct.unpack("!BBH", data[12:_V2_HEAD])
    if what not in {0x20, 0x21}:
        raise MalformedError("neither LOCAL nor PROXY of version 2")
    if _V2_HEAD + length > MAX_BYTES:
        raise MalformedError("too long")
    if len(data) < _V2_HEAD + length:
        return None
    size = _V2_HEAD + length
    if what == 0x20:
        return Header(size, None)
    wanted = _V2_SIZES.get(family)
    if wanted is None:
        if family in {0x00, 0x31, 0x32}:
            return Header(size, "")
        raise MalformedError("no such family")
    if length < wanted:
        raise MalformedError("addresses cut short")
    width = 4 if wanted == 12 else 16
    kind = socket.AF_INET if width == 4 else socket.AF_INET6
    return Header(size, socket.inet_ntop(kind, data[_V2_HEAD : _V2_HEAD + width]))


class Trust(NamedTuple):
    """Which peers are believed about the caller's address, and in what they say it."""

    proxies: tuple[str, ...] = ()
    protocol: bool = False
    """They begin each connection with a PROXY protocol header."""
    hops: int = 0
    """How many proxies, counted from the point, add to the header; 0 reads none."""
    header: str = "x-forwarded-for"
    """The one header that they add to: any other comes from the caller."""

    def believes(self, peer: str) -> bool:
        """Tell whether a peer is declared."""
        return any(within(peer, network) for network in self.proxies)


class Headers(Protocol):
    """The headers of a request, by name in any case; one that is there twice has both."""

    def getall(self, key: str, default: list[str], /) -> list[str]:
        """Return every value of a header, or the default."""
        ...


class Callers:
    """Tells each request's true address."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._told: WeakKeyDictionary[asyncio.BaseTransport, str] = WeakKeyDictionary()

    def note(self, transport: asyncio.BaseTransport, address: str) -> None:
        """Remember what the PROXY protocol said of a connection."""
        self._told[transport] = address

    def address(
        self,
        transport: asyncio.BaseTransport | None,
        peer: str,
        headers: Headers,
    ) -> str:
        """Return the caller's address: empty where a declared proxy does not know it.

        With both a PROXY header and hops, the header of the request is read as that of
        the proxy which the connection came from.
        """
        trust = self._trust
        if not trust.proxies or not trust.believes(peer):
            return peer
        told = self._told.get(transport) if transport is not None else None
        nearest = peer if told is None else told
        if not trust.hops:
            return nearest
        if told is not None and not trust.believes(told):
            return told
        return forwarded(headers, trust.header, trust.hops, nearest)


def forwarded(headers: Headers, name: str, hops: int, nearest: str) -> str:
    """Return the address that the outermost of `hops` trusted proxies saw.

    The last entry is the one that the nearest proxy added. Fewer entries than hops: the
    first, which a trusted proxy added all the same. An entry that is no address (hidden,
    unknown) is nobody's: an empty string.
    """
    lines = headers.getall(name, [])
    entries = _forwarded_nodes(lines) if name == "forwarded" else _listed(lines)
    if not entries:
        return nearest
    return _address(entries[max(0, len(entries) - hops)])


def _listed(lines: Sequence[str]) -> list[str]:
    return [entry.strip() for line in lines for entry in line.split(",")]


def _forwarded_nodes(lines: Sequence[str]) -> list[str]:
    """Return the `for` of each element (RFC 7239 §4); one without it is hidden."""
    out = []
    for line in lines:
        for element in _outside_quotes(line):
            found = _NODE.search(element)
            node = (found[1] if found[1] is not None else found[2]) if found else ""
            out.append(re.sub(r"\\(.)", r"\1", node))
    return out


def _outside_quotes(line: str) -> list[str]:
    """Split at the commas that stand outside quoted strings."""
    parts, quoted, escaped = [""], False, False
    for mark in line:
        if mark == "," and not quoted:
            parts.append("")
            continue
        if quoted and not escaped and mark == "\\":
            escaped = True
        else:
            if mark == '"' and not escaped:
                quoted = not quoted
            escaped = False
        parts[-1] += mark
    return parts


def _address(entry: str) -> str:
    """Return the IP address of an entry, without a port; empty where it is none."""
    if entry.startswith("["):
        entry, _, port = entry[1:].partition("]")
        if port and not port.startswith(":"):
            return ""
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        return str(ipaddress.ip_address(entry))
    except ValueError:
        return ""
