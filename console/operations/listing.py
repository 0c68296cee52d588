"""Lists longer than a page: pages are asked for until there are enough rows."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from console.api.flow import Flow
from console.api.route import Given, Route
from console.model.stored import Page
from console.operations.params import Listing

T = TypeVar("T")

MAX_PAGE_ROWS = 500
"""Rows that an API gives in one page."""


def whole(route: Route[Page[T]], **filters: Given) -> Flow[list[T]]:
    """Return every row of a list, from as many pages as it takes: for what is judged by all."""
    return (yield from pages(route, Listing(limit=0), **filters)).items


def pages(route: Route[Page[T]], p: Listing, /, **filters: Given) -> Flow[Page[T]]:
    """Return one page of `p.limit` rows (all of them for 0), from as many as it takes.

    `filters` are the route's; an empty one does not filter. `as_of` is the oldest page's.
    What an API called partial stays partial.
    """
    items: list[T] = []
    warnings: list[str] = []
    cursor = p.cursor
    as_of, partial = None, False
    while True:
        left = p.limit - len(items) if p.limit else MAX_PAGE_ROWS
        asked: dict[str, Any] = {**filters, "cursor": cursor, "limit": min(left, MAX_PAGE_ROWS)}
        page = yield from route(**asked)
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
