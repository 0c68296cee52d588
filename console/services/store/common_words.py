"""Words that nearly every row has: an index is not asked for them where rarer ones say more.

FTS5 walks the lists of all terms of a query side by side, so that a term of nearly every row
makes a search for a rare one as long as the whole list.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

SAMPLE = 500
"""The newest rows, by which it is judged how common a term is."""
WORTH_JUDGING = 20_000
"""Rows below which a search is short anyway."""
COMMON = 100
"""A term that at least so many of these have is common."""


def split(
    conn: Connection, table: str, terms: Sequence[str], newest: int
) -> tuple[list[str], list[str]]:
    """Return the terms to ask the index `table` for, and common ones that are to be checked.

    Of terms that are all common, none is left out.
    """
    if len(terms) < 2 or newest < WORTH_JUDGING:
        return list(terms), []
    # From its end, a term's list is read only as far as is asked.
    query = text(
        f"SELECT rowid FROM {table} WHERE {table} MATCH :term AND rowid > :low "  # noqa: S608 - our own name
        "ORDER BY rowid DESC LIMIT 1 OFFSET :rest"
    )
    where = {"low": newest - SAMPLE, "rest": COMMON - 1}
    common = [term for term in terms if conn.execute(query, {"term": term, **where}).first()]
    rare = [term for term in terms if term not in common]
    return (rare, common) if rare else (list(terms), [])


def says(words: set[str], terms: Sequence[str]) -> bool:
    """Tell whether a row's words hold what the terms `"word"` and `"word" *` ask for."""
    for term in terms:
        word = term.removesuffix(" *").strip('"')
        if term.endswith(" *"):
            if not any(each.startswith(word) for each in words):
                return False
        elif word not in words:
            return False
    return True
