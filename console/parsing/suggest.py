"""Naming what was probably meant: the only place that guesses."""

from __future__ import annotations

from collections.abc import Iterable

MIN_LIKENESS = 0.55
"""Of 1 (`difflib.SequenceMatcher.ratio`): `granst` is like `grant`; `yaml` (0.5) is not `name`."""


def alike(word: str, known: Iterable[str], most: int) -> list[str]:
    """Return at most so many of `known` that are like `word`, the likest first."""
    import difflib  # noqa: PLC0415  only a mistyped name needs it

    return difflib.get_close_matches(word, list(known), most, MIN_LIKENESS)


def suggest(word: str, known: Iterable[str]) -> str:
    """Return the one of `known` that is most like `word`, or an empty string where none is."""
    return next(iter(alike(word, known, 1)), "")
