"""Parse the filters that are typed after `/`, and match rows with them.

A filter is words that must be found (`opus`), must not (`!opus`), or must stand in a field
(`state:active`, `!state:active`, `count>=10`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")


class Term(NamedTuple):
    """One word of a filter. `field` is empty for a word that may stand anywhere."""

    field: str
    relation: str
    value: str
    wanted: bool


_TERM = re.compile(r"(!|-)?([a-z][a-z0-9_ ]*?)(:|>=|<=|=|>|<)(.*)", re.IGNORECASE | re.DOTALL)


def terms(text: str) -> list[Term]:
    """Return the terms of a filter, in order. All must hold."""
    out = []
    for word in text.split():
        found = _TERM.fullmatch(word)
        if found:
            relation = ":" if found[3] == "=" else found[3]
            out.append(Term(found[2].lower(), relation, found[4].casefold(), not found[1]))
        elif word[:1] == "!" and len(word) > 1:
            out.append(Term("", ":", word[1:].casefold(), False))
        elif word != "!":
            out.append(Term("", ":", word.casefold(), True))
    return out


Getter = Callable[[Any], str]


def matcher(
    text: str, columns: Mapping[str, Getter], members: Getter
) -> Callable[[Any], bool] | None:
    """Return the test that the filter `text` is, or None where it asks nothing.

    `columns` are the columns by name; a field is one whose name begins with what was
    typed, else `members` (the row's whole text) must hold `field:value` as written.
    """
    tests: list[Callable[[Any], bool]] = []
    for term in terms(text):
        names = [name for name in columns if name.startswith(term.field)] if term.field else []
        getters: Sequence[Getter]
        if term.field and not names:
            getters = [members]
            term = term._replace(relation=":", value=f"{term.field}:{term.value}")  # noqa: PLW2901
        elif term.field:
            getters = [columns[term.field] if term.field in columns else columns[names[0]]]
        else:
            getters = [members]
        tests.append(_test(term, getters[0]))
    if not tests:
        return None
    return lambda row: all(test(row) for test in tests)


def _test(term: Term, get: Getter) -> Callable[[Any], bool]:
    if term.relation == ":":
        return lambda row: (term.value in get(row).casefold()) is term.wanted

    def compares(row: Any) -> bool:
        found = get(row).casefold()
        left, right = _number(found), _number(term.value)
        if left is None or right is None:
            low, high = (found < term.value), (found > term.value)
        else:
            low, high = (left < right), (left > right)
        held = {"<": low, ">": high, "<=": not high, ">=": not low}[term.relation]
        return held is term.wanted

    return compares


def _number(text: str) -> float | None:
    found = _NUMBER.fullmatch(text.replace(",", "").lstrip("t#"))
    return float(found[0]) if found else None
