"""The shapes of text and time that a write may carry, as msgspec constraints.

Slugs and ids are ASCII by construction. A name is one printable line: no control,
format or bidirectional character may enter one. Free text (a reason, terms) may be
anything that UTF-8 can carry but NUL: it is escaped where it is shown, not refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

SLUG_PATTERN = r"^[a-z0-9][a-z0-9\-.]{0,62}$(?!\n)"
"""Python's `$` also matches before a last newline: the look-ahead does not let it."""

UNPRINTABLE = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff"
    "\U000e0000-\U000e007f"
)
"""A regular-expression class body: what may never stand in a name."""

Slug = Annotated[
    str,
    Meta(pattern=SLUG_PATTERN, description="lower-case letters, digits, '-' and '.', at most 63"),
]
Name = Annotated[
    str,
    Meta(
        min_length=1, max_length=200, pattern=f"^[^{UNPRINTABLE}]+$(?!\n)", description="one line"
    ),
]
Reason = Annotated[
    str, Meta(min_length=1, max_length=4000, pattern="^[^\x00]*$", description="why, in words")
]
LongText = Annotated[str, Meta(min_length=1, max_length=60_000, pattern="^[^\x00]*$")]
Note = Annotated[str, Meta(max_length=4000, pattern="^[^\x00]*$")]
Cidr = Annotated[str, Meta(max_length=64, description="an address or network, like 203.0.113.0/24")]
Time = Annotated[datetime, Meta(tz=True)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]

_SLUG = re.compile(SLUG_PATTERN)


def is_slug(text: str) -> bool:
    """Tell whether `text` can be the slug of a partner, pilot, capability or model."""
    return _SLUG.fullmatch(text) is not None


def now() -> datetime:
    """Return the present moment in UTC, with microseconds."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """Return `moment` as RFC 3339 in UTC with a `Z`, the wire's only form of a time."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
