"""Histories made up for the rules: who called when, as call records and log events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from console.model.rule import Found
from console.model.traffic import CallRecord
from console.services.audit.log.leaf import Leaf, read_leaf
from console.services.audit.rules.replay import evaluate
from console.services.audit.rules.rule import Rule
from console.services.audit.rules.rule_file import load_rules
from tests.services.audit.audit_rig import START, call, item

RULES: dict[str, Rule] = {each.id: each for each in load_rules()}
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def found(
    calls: Iterable[CallRecord] = (), events: Sequence[tuple[int, Leaf]] = (), *, rule: str = ""
) -> list[tuple[str, Found]]:
    """What the shipped rules find, or one of them."""
    rules = [RULES[rule]] if rule else list(RULES.values())
    return evaluate(rules, calls, events)


def leaves(*told: dict[str, Any], source: str = "policy") -> list[tuple[int, Leaf]]:
    """Events as the log holds them, in order."""
    made = [item(source, at, **each) for at, each in enumerate(told, 1)]
    return [(at, read_leaf(each.body.encode())) for at, each in enumerate(made)]


def working_days(
    days: int,
    *,
    start: datetime = START,
    hours: Sequence[int] = range(8, 18),
    each_hour: int = 12,
    weekend: bool = False,
    **told: Any,
) -> Iterator[CallRecord]:
    """A partner's quiet use: so many calls in each working hour, a little more at noon.

    One call in forty is refused, as it happens.
    """
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    number = 0
    for day in range(days):
        date = midnight + day * DAY
        if date.weekday() >= 5 and not weekend:
            continue
        for hour in hours:
            busy = each_hour + (hour in {11, 12}) * each_hour // 2 + (day + hour) % 3
            for nth in range(busy):
                number += 1
                at = date + hour * HOUR + nth * HOUR / busy
                said = {"cost_micros": 20_000, "input_tokens": 500, "output_tokens": 200, **told}
                if number % 40 == 0:
                    said |= {"outcome": "denied", "code": "model_out_of_scope", "status": 403}
                    said["cost_micros"] = 0
                yield call(started_at=at, **said)


def one_after_another(
    count: int, at: datetime, *, within: timedelta = HOUR, **told: Any
) -> list[CallRecord]:
    """That many calls, evenly spread over `within`."""
    return [call(started_at=at + nth * within / count, **told) for nth in range(count)]


def by_rule(alerts: Iterable[tuple[str, Found]]) -> dict[str, list[int]]:
    """The counts of the alerts, by rule."""
    counts: dict[str, list[int]] = {}
    for rule, each in alerts:
        counts.setdefault(rule, []).append(each.count)
    return counts


def restated(call_: CallRecord, **changes: Any) -> CallRecord:
    """The same call with something else in it."""
    return msgspec.structs.replace(call_, **changes)
