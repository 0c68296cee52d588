"""Filtering and sorting rows, a few at a time: however many there are, a key can come between."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

STEP = 128
"""Rows that are read between two looks at the clock."""
RUN = 4096
"""Rows that are sorted in one go; longer runs are merged."""


class Arranged(NamedTuple):
    """Rows in order, and where those are that are looked for by id."""

    rows: Sequence[Any]
    places: dict[str, int]
    """The place of each that was looked for and is there."""


def arranged(
    rows: Sequence[T],
    id_of: Callable[[T], str],
    sought: set[str],
    *,
    test: Callable[[T], bool] | None = None,
    key: Callable[[T], Any] | None = None,
    descending: bool = False,
) -> Generator[None, None, Arranged]:
    """Return the rows that pass `test`, sorted by `key`, and the places of those `sought`."""
    if test is not None:
        passed: list[T] = []
        for at in range(0, len(rows), STEP):
            passed += [row for row in rows[at : at + STEP] if test(row)]
            yield
        rows = passed
    if key is not None:
        rows = yield from ordered(rows, key, descending=descending)
    places: dict[str, int] = {}
    if sought:
        for start in range(0, len(rows), STEP):
            for at, row in enumerate(rows[start : start + STEP], start):
                if (name := id_of(row)) in sought:
                    places[name] = at
            yield
    return Arranged(rows, places)


def ordered(
    rows: Sequence[T], key: Callable[[T], Any], *, descending: bool
) -> Generator[None, None, list[T]]:
    """Return `rows` sorted by `key`; rows without a value come last either way."""
    keys: list[Any] = []
    for at in range(0, len(rows), STEP):
        keys += [key(row) for row in rows[at : at + STEP]]
        yield
    with_value = [at for at, each in enumerate(keys) if each is not None and each != ""]
    yield
    without = [at for at, each in enumerate(keys) if each is None or each == ""]
    yield
    try:
        found = yield from _sorted(with_value, keys, descending=descending)
    except TypeError:
        keys = [str(each) for each in keys]
        found = yield from _sorted(with_value, keys, descending=descending)
    return [rows[at] for at in (*found, *without)]


def _sorted(
    places: list[int], keys: Sequence[Any], *, descending: bool
) -> Generator[None, None, list[int]]:
    runs = [places[at : at + RUN] for at in range(0, len(places), RUN)]
    for run in runs:
        run.sort(key=keys.__getitem__, reverse=descending)
        yield
    while len(runs) > 1:
        merged = []
        for at in range(0, len(runs), 2):
            both = [place for run in runs[at : at + 2] for place in run]
            # two sorted runs, one behind the other: the sort only merges them
            both.sort(key=keys.__getitem__, reverse=descending)
            merged.append(both)
            yield
        runs = merged
    return runs[0] if runs else []
