"""Rules about what is usual: volume or spend far from the week's norm, a jump in refusals.

Time is cut into windows. The norm is the median of the busy windows of the seven days
before, and its spread their median absolute deviation: what was odd before moves neither
much, and a window counts towards the norm with at most the limit it was held to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median

import msgspec

from console.model.audit import Evidence
from console.services.audit.rules.rule import Fired, Recent, Rule, Seen, Tally, Value

LOOK_BACK = 7 * 86_400
"""Seconds over which the norm is taken."""
DEVIATIONS = 8.0
"""Robust standard deviations above the median that are still usual."""
MIN_SPAN_SECONDS = 3 * 86_400
"""A norm needs busy windows at least so many seconds apart."""
_TO_SIGMA = 1.4826
"""A median absolute deviation times this is the standard deviation of a normal spread."""


class Cell(msgspec.Struct, array_like=True):
    """One window: how much there was, and how much of it matched."""

    value: int = 0
    matched: int = 0


class NormState(msgspec.Struct):
    """The windows of the last seven days by number, and what of the newest is not counted."""

    cells: dict[int, Cell] = {}
    newest: int = -1
    limit: float | None = None
    """What is usual in the newest window; None while too little is known."""
    pending: int = 0
    first: datetime | None = None
    recent: list[Evidence] = []
    minute: int = 0
    in_minute: int = 0


def norm(rule: Rule, state: NormState, seen: Sequence[Seen]) -> tuple[NormState, Fired | None]:
    """Fire for what comes in a window that is far above the norm, from its first match on."""
    tally, recent = Tally(), Recent(state.recent)
    size = int(rule.window.total_seconds())
    for each in sorted(seen, key=lambda one: one.at):
        at = int(each.at.timestamp()) // size
        if at > state.newest:
            last = state.cells.get(state.newest)
            if last is not None and state.limit is not None:
                last.value = min(last.value, int(state.limit) + 1)
            _begin(state, at, size)
            state.limit = _most(rule, state.cells, at, size)
            recent.take()
        cell = state.cells.setdefault(at, Cell())
        cell.value += _measure(rule, each.fields)
        if at != state.newest:
            continue  # a straggler: it only makes the norm truer
        state.pending += 1
        state.first = state.first or each.at
        recent.add(each)
        if state.limit is not None and cell.value > state.limit:
            tally.add(state.pending, state.first, each.at, recent.take())
            state.pending, state.first = 0, None
    state.recent = recent.kept()
    return state, tally.fired()


def ratio(rule: Rule, state: NormState, seen: Sequence[Seen]) -> tuple[NormState, Fired | None]:
    """Fire for matches in a window whose share of matches is far above the norm's."""
    tally, recent = Tally(), Recent(state.recent)
    size = int(rule.window.total_seconds())
    for each in sorted(seen, key=lambda one: one.at):
        at = int(each.at.timestamp()) // size
        if at > state.newest:
            _begin(state, at, size)
            state.limit = _most_share(rule, state.cells, at, size)
            recent.take()
        matched = rule.matches(each.fields)
        if matched and _is_burst(rule, state, each.at):
            continue
        cell = state.cells.setdefault(at, Cell())
        cell.value += 1
        cell.matched += matched
        if at != state.newest or not matched:
            continue
        state.pending += 1
        state.first = state.first or each.at
        recent.add(each)
        if state.limit is None or cell.matched < rule.threshold:
            continue
        if cell.matched > state.limit * cell.value:
            tally.add(state.pending, state.first, each.at, recent.take())
            state.pending, state.first = 0, None
    state.recent = recent.kept()
    return state, tally.fired()


def _begin(state: NormState, at: int, size: int) -> None:
    edge = at - LOOK_BACK // size
    state.cells = {number: cell for number, cell in state.cells.items() if number >= edge}
    state.newest, state.pending, state.first = at, 0, None


def _measure(rule: Rule, fields: Mapping[str, Value]) -> int:
    match rule.measure:
        case "tokens":
            return int(fields["input_tokens"]) + int(fields["output_tokens"])
        case "cost_micros":
            return int(fields["cost_micros"])
        case _:
            return 1


def _most(rule: Rule, cells: dict[int, Cell], at: int, size: int) -> float | None:
    """Return the most that is usual in a window; None while too little is known."""
    busy = [cell.value for cell in cells.values() if cell.value]
    if len(busy) < rule.history or (at - min(cells)) * size < MIN_SPAN_SECONDS:
        return None
    middle = median(busy)
    spread = median(abs(each - middle) for each in busy) * _TO_SIGMA
    return max(float(rule.threshold), rule.factor * middle, middle + DEVIATIONS * spread)


def _most_share(rule: Rule, cells: dict[int, Cell], at: int, size: int) -> float | None:
    """Return the greatest usual share of matches; None while too little is known."""
    shares = [cell.matched / cell.value for cell in cells.values() if cell.value]
    if len(shares) < rule.history or (at - min(cells)) * size < MIN_SPAN_SECONDS:
        return None
    middle = median(shares)
    spread = median(abs(each - middle) for each in shares) * _TO_SIGMA
    # A norm of next to nothing is taken for 2 %: five refusals more are no jump.
    return max(rule.factor * max(middle, 0.02), middle + DEVIATIONS * spread)


def _is_burst(rule: Rule, state: NormState, at: datetime) -> bool:
    """Tell whether this minute has had its matches: what goes beyond is another rule's."""
    minute = int(at.timestamp()) // 60
    if minute != state.minute:
        state.minute, state.in_minute = minute, 0
    state.in_minute += 1
    return bool(rule.most_per_minute) and state.in_minute > rule.most_per_minute
