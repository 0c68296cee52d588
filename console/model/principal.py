"""Principals: the persons, services and agents of a partner, known by a salted hash."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from console.model.stored import Request, Stored
from console.model.text import Note, Reason, Slug

Identifier = Annotated[str, Meta(min_length=1, max_length=256)]
"""What the partner calls its user in a call. It is hashed at once and never stored."""


class PrincipalKind(StrEnum):
    """Who stands behind the identifier."""

    PERSON = "person"
    SERVICE = "service"
    AGENT = "agent"


class PrincipalState(StrEnum):
    """A retired principal serves no more under the grants that name it, for ever."""

    ACTIVE = "active"
    RETIRED = "retired"


class Principal(Stored, kw_only=True, frozen=True):
    """One user of a partner, so that one can be cut and not the whole organisation."""

    partner: str
    kind: str
    hash: str
    """The salted hash of the identifier (hex HMAC-SHA256)."""
    note: str
    """What operators call it: never the identifier itself."""
    state: Annotated[str, PrincipalState]


class NewPrincipal(Request, kw_only=True, frozen=True):
    """What `principal create` sends."""

    partner: Slug
    identifier: Identifier
    kind: PrincipalKind = PrincipalKind.PERSON
    note: Note = ""
    reason: Reason
    labels: dict[str, Note] = {}


class RetirePrincipal(Request, kw_only=True, frozen=True):
    """What `principal retire` sends."""

    reason: Reason


class PrincipalProjection(msgspec.Struct, kw_only=True, frozen=True):
    """What policy tells the gateway of a principal: projection kind `principal`."""

    id: str
    revision: int
    partner: str
    hash: str
    state: str
