"""What a grant's scope means where it leaves something out, and what is a wildcard.

From impact tier 2 up nothing is left open: no networks are the partner's declared egress, and
no principals are the organisation itself. Below, an empty list means all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Network,
    IPv6Network,
    collapse_addresses,
    ip_network,
)

SCOPED_TIER = 2
"""From this impact tier up a scope is spelled out: nothing empty, nothing wild."""

SERVICE = "service"
"""The principal that is the organisation itself: it covers calls that name no user."""

ALL = "ALL"
"""How an empty list is shown that means everything."""

DECLARED = "declared egress"
"""How networks are shown that are the partner's own, where none is named from tier 2 up."""

_MOST_IPV4 = IPv4Network("0.0.0.0/4").num_addresses
_MOST_IPV6 = IPv6Network("::/16").num_addresses
"""So many addresses together are a wildcard: a sixteenth of IPv4 (268 million), and of IPv6
what no one organisation is given (a /16; regional registries have a /12)."""

_CARRIERS = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""IPv6 networks whose last 32 bits are an IPv4 address (RFC 4291 §2.5.5.2, RFC 6052 §2.1)."""


def networks_of(networks: Sequence[str], tier: int, egress: Sequence[str]) -> Sequence[str] | None:
    """Return the networks that calls must come from; None where they may come from anywhere.

    Declared egress that is a wildcard stands for none.
    """
    if networks or tier >= SCOPED_TIER:
        return networks or (() if wildcard(egress) else egress)
    return None


def shown_networks(networks: Sequence[str], tier: int) -> list[str]:
    """Return a grant's networks in words."""
    return list(networks) or [DECLARED if tier >= SCOPED_TIER else ALL]


def shown_principals(principals: Sequence[str]) -> list[str]:
    """Return a grant's principals in words."""
    return list(principals) or [ALL]


def open_scope(
    networks: Sequence[str], principals: Sequence[str], tier: int, egress: Sequence[str] | None
) -> list[str]:
    """Return, in words, how a grant's scope is not what its tier asks for.

    Grants of before may name no principals, or networks that are a wildcard; they serve so
    until they are renewed. `egress` is what the partner declares, None where that is unknown.
    """
    if tier < SCOPED_TIER:
        return []
    found = []
    if not principals:
        found.append("it names no principals, so that any user may call")
    if family := wildcard(networks):
        found.append(f"its networks are nearly every address of {family}")
    if not networks and egress is not None and (not egress or wildcard(egress)):
        said = "nearly every address" if egress else "no network"
        found.append(f"it takes what the partner declares, which is {said}: no call gets through")
    return found


def wildcard(networks: Iterable[str]) -> str:
    """Return the address family that these networks cover, or nearly; empty where they do not.

    Networks that overlap or lie side by side are taken together, and those of IPv6 that carry
    IPv4 addresses count as IPv4. Raises ValueError for what is no network.
    """
    return _wildcard(tuple(networks))


@lru_cache(maxsize=4096)
def _wildcard(networks: tuple[str, ...]) -> str:
    four: list[IPv4Network] = []
    six: list[IPv6Network] = []
    for each in networks:
        network = ip_network(each, strict=False)
        if isinstance(network, IPv4Network):
            four.append(network)
        else:
            six.append(network)
            four += _carried(network)
    if sum(each.num_addresses for each in collapse_addresses(four)) >= _MOST_IPV4:
        return "IPv4"
    if sum(each.num_addresses for each in collapse_addresses(six)) >= _MOST_IPV6:
        return "IPv6"
    return ""


def _carried(network: IPv6Network) -> list[IPv4Network]:
    """Return the IPv4 networks that a network of IPv6 carries."""
    found = []
    for carrier in _CARRIERS:
        if network.supernet_of(carrier):
            found.append(IPv4Network("0.0.0.0/0"))
        elif network.subnet_of(carrier):
            last = int(network.network_address) & 0xFFFFFFFF
            found.append(IPv4Network((last, network.prefixlen - carrier.prefixlen)))
    return found
