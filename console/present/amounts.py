"""Amounts for people: counts with a unit, shares, changes. Digits that matter, no more."""

from __future__ import annotations

from console.present.cells import width

_UNITS = ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))
_PARTS = " ▏▎▍▌▋▊▉"


def amount(value: float) -> str:
    """Return a count in at most six cells: `8,120`, `12.3 k`, `2.1 M`, `340 M`."""
    size = abs(value)
    if size < 10_000:
        return f"{value:,.0f}"
    for unit, mark in _UNITS:
        if size >= unit * 0.9995:
            scaled = value / unit
            return f"{scaled:,.0f} {mark}" if abs(scaled) >= 99.95 else f"{scaled:.1f} {mark}"
    return f"{value / 1000:.1f} k"


def money(micros: float) -> str:
    """Return micro-units as units: `412.07`, `0.0031` for what two decimals would hide."""
    units = micros / 1_000_000
    if units and abs(units) < 0.01:
        return f"{units:.4f}".rstrip("0") if abs(units) >= 0.0001 else "<0.0001"
    return f"{units:,.2f}" if abs(units) < 1_000_000 else f"{amount(units)}"


def purse(limit: int, spent: int, reserved: int) -> tuple[str, str, str, str]:
    """Return a limit, what is spent and reserved of it, and what is left: they add up as shown.

    All in micro-units. They have as many decimals, of two to six, as the limit and the
    smallest of them need. What is gone is rounded up, so that what is left is never too much.
    """
    left = limit - spent - reserved
    least = min((abs(each) for each in (spent, reserved, left) if each), default=0)
    places = 2
    while places < 6 and (limit % 10 ** (6 - places) or 0 < least < 10 ** (7 - places)):
        places += 1
    unit = 10 ** (6 - places)
    gone, held = -(-spent // unit), -(-reserved // unit)
    whole = limit // unit
    shown = (whole, gone, held, whole - gone - held)
    texts = [f"{each / 10**places:,.{places}f}" for each in shown]
    return texts[0], texts[1], texts[2], texts[3]


def percent(part: float, whole: float) -> str:
    """Return a share like `3.2 %`; nothing where there is no whole to be a part of."""
    if not whole:
        return ""
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 99.95 else f"{share:.1f} %"


def change(now: float, before: float) -> str:
    """Return a change against before: `+180 %`, `-12 %`, `new` where there was nothing."""
    if not before:
        return "new" if now else ""
    grown = 100 * (now - before) / before
    return "x10+" if grown >= 900 else f"{grown:+.0f} %"


def milliseconds(value: float) -> str:
    """Return a time of a call: `<1 ms`, `85 ms`, `1.9 s`, `2m10s` from two minutes on."""
    if 0 < value < 0.5:
        return "<1 ms"
    if value < 1000:
        return f"{value:.0f} ms"
    seconds = value / 1000
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)}m{int(seconds % 60):02d}s"


def bar(part: float, whole: float, cells: int) -> str:
    """Return a share of `whole` as a bar of at most `cells`, exact to an eighth of a cell."""
    if not whole or part <= 0:
        return ""
    eighths = max(1, round(8 * cells * min(1.0, part / whole)))
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + (_PARTS[rest] if rest else "")
    assert width(drawn) <= cells or cells == 0
    return drawn[:cells]


def counted(count: int, noun: str, *, many: str = "", more: bool = False) -> str:
    """Return `1 grant`, `38 partners`, `500+ calls` where there are `more` than counted."""
    word = noun if count == 1 and not more else many or f"{noun}s"
    return f"{count:,}{'+' if more else ''} {word}"
