"""Parameters that many operations take, and the filters of every list."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from console.model.text import Reason
from console.operations.spec import Kind, Param

Why = Annotated[Reason, Param("Why. It goes into the log.", kind=Kind.LONG_TEXT)]
"""Required of every change, as the last parameter."""

Since = Annotated[
    datetime | None,
    Param("Only from then on: a distance back (2h, 7d) or a time.", kind=Kind.SINCE),
]
Until = Annotated[
    datetime | None,
    Param("Only up to then: a distance back (2h, 7d) or a time.", kind=Kind.SINCE),
]

AsOf = Annotated[
    datetime | None,
    Param("As it was then: a time, or a distance back (30d).", kind=Kind.SINCE),
]

PartnerFilter = Annotated[
    str, Param("Only of this partner.", kind=Kind.SLUG, completes="partner.list")
]
PilotFilter = Annotated[str, Param("Only of this pilot.", kind=Kind.SLUG, completes="pilot.list")]
CapabilityFilter = Annotated[
    str, Param("Only about this capability.", kind=Kind.SLUG, completes="capability.list")
]
GrantFilter = Annotated[str, Param("Only under this grant.", kind=Kind.ID, completes="grant.list")]


class Listing(msgspec.Struct, kw_only=True, frozen=True):
    """What every list takes: how many rows, and where to go on."""

    limit: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)],
        Param("At most so many rows; 0 for all.", kind=Kind.NUMBER),
    ] = 100
    cursor: Annotated[str, Param("Go on from the next_cursor of an earlier page.")] = ""
