"""What every stored object has, and the shapes that requests and answers share.

Answers are lenient: unknown members are ignored and states are plain strings, so a
newer service never breaks an older console. Requests are strict: they derive from
`Request`, which refuses a member it does not know.
"""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Stored(msgspec.Struct, kw_only=True, frozen=True):
    """An object with an identity: `revision` counts its changes and is its strong ETag."""

    id: str
    revision: int = 1
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    labels: dict[str, str] = {}


class Request(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The body of a write. A member that is not declared is an error, never ignored."""


class Page(msgspec.Struct, Generic[T], kw_only=True, frozen=True):
    """A part of a list: what every list answers, and what `-o json` prints.

    `next_cursor` is opaque and empty at the end; `as_of` and `source` say how old the
    rows are and who told them; `partial` that some could not be had (`warnings` say why).
    """

    as_of: datetime
    source: str
    items: list[T]
    next_cursor: str = ""
    partial: bool = False
    warnings: list[str] = []
