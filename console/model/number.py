r"""Whole numbers out of text that anybody may have written.

Python's own reading takes more than ASCII digits (`²` is a digit that `int` refuses), strips
other blanks than `str.strip` does (`'0\x1f'`), and fails above 4,300 digits.
"""

from __future__ import annotations

MAX_DIGITS = 18
"""What fits a signed integer of 64 bits, whatever the digits are."""


def whole_number(text: str, max_digits: int = MAX_DIGITS) -> int | None:
    """Return the number that `text` is, where it is 1 to `max_digits` ASCII digits and no more."""
    fits = len(text) <= max_digits and text.isascii() and text.isdigit()
    return int(text) if fits else None
