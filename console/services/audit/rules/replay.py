"""A whole history, judged at once: calls and events in, the alerts that they make out.

Pure: the same rules over the same history find the same, and it is what the service finds
that follows the feeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from console.model.rule import Found
from console.model.traffic import SERVED, CallRecord
from console.services.audit.log.leaf import Leaf
from console.services.audit.rules.closings import Known
from console.services.audit.rules.feeds import BATCH, UNHEARD
from console.services.audit.rules.judge import InMemory, judge
from console.services.audit.rules.rule import Finding, Rule, Seen
from console.services.audit.rules.rule_inputs import seen_call, seen_event

EVER = datetime.min.replace(tzinfo=UTC)


class Results:
    """Adds findings up as alerts: one a fingerprint. What ended before `since` is left out."""

    def __init__(self, since: datetime = EVER) -> None:
        self._since = since
        self.alerts: dict[str, Found] = {}
        self.rules: dict[str, str] = {}
        """The rule of each, by fingerprint."""

    def add(self, found: Iterable[Finding]) -> None:
        """Count what fired."""
        for each in found:
            fired = each.fired
            if fired.last < self._since:
                continue
            held = self.alerts.get(each.fingerprint)
            self.rules[each.fingerprint] = each.rule.id
            self.alerts[each.fingerprint] = Found(
                about={name: str(value) for name, value in each.group.items()},
                count=fired.matches + (held.count if held else 0),
                first_seen_at=min(fired.first, held.first_seen_at) if held else fired.first,
                last_seen_at=max(fired.last, held.last_seen_at) if held else fired.last,
            )


def evaluate(
    rules: Sequence[Rule],
    calls: Iterable[CallRecord] = (),
    events: Sequence[tuple[int, Leaf]] = (),
    *,
    since: datetime = EVER,
) -> list[tuple[str, Found]]:
    """Return what the rules find: each alert's rule and what it counts.

    `calls` in the order in which the gateway got them, `events` with their indices in the
    log's order.
    """
    results, states = Results(since), InMemory()
    closings = Known.of(leaf for _, leaf in events)
    heard = [seen_event(*each) for each in events if not each[1].action.startswith(UNHEARD)]
    for start in range(0, len(heard), BATCH):
        for rule in rules:
            if rule.reads == "events":
                results.add(judge(rule, heard[start : start + BATCH], states))
    batch: list[Seen] = []
    for call in calls:
        batch.append(seen_call(call, ended=call.outcome in SERVED and closings.forbade(call)))
        if len(batch) == BATCH:
            _calls(rules, batch, results, states)
            batch = []
    _calls(rules, batch, results, states)
    return [(results.rules[name], found) for name, found in results.alerts.items()]


def _calls(rules: Sequence[Rule], batch: list[Seen], results: Results, states: InMemory) -> None:
    for rule in rules:
        if rule.reads == "calls":
            results.add(judge(rule, batch, states))
