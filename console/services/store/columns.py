"""Column types: a moment that sorts as text, and a struct kept as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Dialect, LargeBinary, Text
from sqlalchemy.types import TypeDecorator


def rfc3339(moment: datetime) -> str:
    """Return the one text under which a moment is stored. Raises ValueError without a zone."""
    if moment.tzinfo is None:
        raise ValueError("a stored time needs a time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Instant(TypeDecorator[datetime]):
    """An aware `datetime`, stored as RFC 3339 UTC with six decimals, so text order is time order.

    A naive datetime is refused (ValueError): nobody knows which moment it means.
    """

    impl = Text
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        """Return what a value is in Python: a cursor's times are read back as this."""
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the text that is stored."""
        if value is None:
            return None
        return rfc3339(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the moment that was stored."""
        return None if value is None else datetime.fromisoformat(value)


class Document(TypeDecorator[Any]):
    """A msgspec type stored as its JSON: `Document(Partner)` gives `Partner`s back."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, kept: Any) -> None:
        super().__init__()
        self.kept = kept
        self._decoder = msgspec.json.Decoder(kept)
        self._encoder = msgspec.json.Encoder()

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the bytes that are stored."""
        return None if value is None else self._encoder.encode(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        """Return what was stored, as its type."""
        return None if value is None else self._decoder.decode(value)
