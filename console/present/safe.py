"""The one place that makes untrusted text fit for a terminal, a table or a CSV cell.

Everything that an API, a file or another person wrote goes through `safe` before a
person sees it. Nothing is deleted: what could act on the terminal, hide, or reorder
its neighbours is replaced by ASCII that names it, so that an attack is seen as one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from console.present.cells import is_zero_width

MAX_MARKS = 4
"""Combining marks that one base may carry: enough for every living script's spelling."""

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Characters that render as nothing although their category says letter, mark or symbol."""

_SUSPECT = re.compile(r"[^\x20-\x7e]")
_hidden_cache: dict[str, bool] = {}


def is_hidden(char: str) -> bool:
    """Tell whether `char` is a control, format, private, unassigned or invisible character."""
    known = _hidden_cache.get(char)
    if known is None:
        known = char in _BLANKS or unicodedata.category(char) in _HIDDEN_CATEGORIES
        if len(_hidden_cache) < 8192:
            _hidden_cache[char] = known
    return known


def safe(text: str, *, multiline: bool = False) -> str:
    r"""Return `text` with everything that could deceive or drive a terminal made visible.

    C0, DEL and C1 become caret notation as `gh` writes it (`^[`, and `^\\` for U+001C);
    other format, bidi, private-use, tag, surrogate and invisible characters become
    `\u{202e}`; marks beyond `MAX_MARKS` on one base become one `\u{+37}`. With
    `multiline` a tab and a newline stay; a carriage return never does. Idempotent.
    """
    if text.isascii() and text.isprintable():
        return text
    out: list[str] = []
    marks = selectors = 0
    excess = 0
    based = False
    for char in text:
        if "\x20" <= char <= "\x7e":
            kind = "base"
        elif multiline and char in "\t\n":
            kind = "break"
        elif is_hidden(char):
            kind = "hidden"
        else:
            kind = "mark" if is_zero_width(char) else "base"
        if kind == "mark":
            selector = _is_selector(char)
            if not based:
                out.append(_named(char))
                continue
            marks += 1
            selectors += selector
            if marks > MAX_MARKS or (selector and selectors > 1):
                excess += 1
            else:
                out.append(char)
            continue
        if excess:
            out.append(f"\\u{{+{excess}}}")
        marks = selectors = excess = 0
        based = kind == "base"
        out.append(_named(char) if kind == "hidden" else char)
    if excess:
        out.append(f"\\u{{+{excess}}}")
    return "".join(out)


def is_safe(text: str, *, multiline: bool = False) -> bool:
    """Tell whether `safe` would leave `text` as it is."""
    return safe(text, multiline=multiline) == text


def json_escaped(text: str) -> str:
    r"""Return the JSON document `text` with hidden characters as `\uXXXX`.

    Control characters can only stand inside the strings of a JSON document, apart from
    the newlines of its layout, so the document means what it meant.
    """
    return _escaped(text, lambda char: char == "\n" or not is_hidden(char))


def toml_escaped(text: str) -> str:
    r"""Return the TOML document `text` with everything that `safe` would change as `\uXXXX`.

    It means what it meant: apart from the newlines of its layout, such characters can only
    stand inside its basic strings.
    """
    return "\n".join(map(_toml_line, text.split("\n")))


def _toml_line(line: str) -> str:
    shown = "".join(_toml(char) if is_hidden(char) else char for char in line)
    if is_safe(shown):
        return shown
    return "".join(_toml(c) if is_zero_width(c) else c for c in shown)


def _toml(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def csv_escaped(text: str) -> str:
    r"""Return `text` as a CSV cell's content: one line, inert in a spreadsheet.

    Hidden characters become `\uXXXX`; a leading `=`, `+`, `-` or `@`, which spreadsheets
    run as a formula, gets an apostrophe before it (CWE-1236).
    """
    inert = _escaped(text, lambda char: not is_hidden(char))
    return (
        f"'{inert}"
        if inert.lstrip(" ")[:1] in {"=", "+", "-", "@", "＝", "＋", "－", "＠"} and inert.strip()
        else inert
    )


def _escaped(text: str, keep: Callable[[str], bool]) -> str:
    if text.isascii() and text.isprintable():
        return text
    return _SUSPECT.sub(lambda found: found[0] if keep(found[0]) else _utf16(found[0]), text)


def _utf16(char: str) -> str:
    raw = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{raw[at]:02x}{raw[at + 1]:02x}" for at in range(0, len(raw), 2))


def _named(char: str) -> str:
    code = ord(char)
    if code < 0x20 or 0x80 <= code < 0xA0:
        letter = chr(code % 0x80 % 0x40 + 0x40)
        # gh doubles the backslash, so that its output is inert inside JSON as well
        return "^\\\\" if letter == "\\" else f"^{letter}"
    return "^?" if code == 0x7F else f"\\u{{{code:x}}}"


def _is_selector(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
