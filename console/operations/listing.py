"""Lists longer than a page: pages are asked for until there are enough rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from console.api.engines import Paging
from console.api.flow import Flow
from console.model.stored import Page
from console.operations.params import Listing

T = TypeVar("T")

MOST = 500
"""Rows that an API gives in one page."""


def pages(p: Listing, ask: Callable[[Paging], Flow[Page[T]]]) -> Flow[Page[T]]:
    """Return one page of `p.limit` rows (all of them for 0), from as many as it takes.

    `as_of` is the oldest page's. What an API called partial stays partial.
    """
    items: list[T] = []
    warnings: list[str] = []
    cursor = p.cursor
    as_of, partial = None, False
    while True:
        left = p.limit - len(items) if p.limit else MOST
        page = yield from ask(Paging(cursor, min(left, MOST)))
        items += page.items
        warnings += [each for each in page.warnings if each not in warnings]
        partial = partial or page.partial
        as_of = min(as_of, page.as_of) if as_of else page.as_of
        ended = not page.next_cursor or not page.items or page.next_cursor == cursor
        cursor = page.next_cursor
        if ended or (p.limit and len(items) >= p.limit):
            break
    return msgspec.structs.replace(
        page, items=items, next_cursor=cursor, warnings=warnings, partial=partial, as_of=as_of
    )
