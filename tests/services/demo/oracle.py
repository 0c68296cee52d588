"""What the shipped rules ought to find in a history, by reading what they say in words.

Written apart from the rules: it shares no code with them, sees the whole history at once
and looks at each group on its own. Plain Python over the stores' JSON.
"""

from __future__ import annotations

import ipaddress
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

Call = dict[str, Any]
Event = dict[str, Any]
About = frozenset[tuple[str, str]]

HOUR, DAY = 3600, 86_400
REFUSED = ("denied", "blocked")
SERVED = ("allowed", "flagged")


class History(NamedTuple):
    """Everything that was committed: calls by time, events in the log's order, alerts."""

    calls: list[Call]
    events: list[Event]
    alerts: dict[tuple[str, About], dict[str, Any]]


def read(home: Path) -> History:
    """Read a home's stores."""

    def bodies(name: str, query: str) -> list[Any]:
        with sqlite3.connect(f"file:{home / name}?mode=ro", uri=True) as db:
            found = [json.loads(row[0]) for row in db.execute(query)]
        db.close()
        return found

    calls = bodies("gateway.db", "SELECT body FROM calls")
    for call in calls:
        call["t"] = moment(call["started_at"])
    events = bodies("audit.db", "SELECT body FROM leaves ORDER BY idx")
    alerts = {
        (each["rule"], about(**each["about"])): each
        for each in bodies("audit.db", "SELECT body FROM alerts")
    }
    return History(sorted(calls, key=lambda each: float(each["t"])), events, alerts)


def moment(text: str) -> float:
    """Return a time as seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def about(**named: str) -> About:
    """Return what an alert is about."""
    return frozenset((name, str(value)) for name, value in named.items())


def network(address: str) -> str:
    """Return the /24 that an address lies in."""
    return str(ipaddress.ip_network(f"{address}/24", strict=False))


def by(calls: Iterable[Call], *names: str) -> dict[About, list[Call]]:
    """Part calls into groups."""
    found: dict[About, list[Call]] = defaultdict(list)
    for call in calls:
        named = {name: call.get(name, "") for name in names}
        found[about(**named)].append(call)
    return found


def _key(call: Call) -> dict[str, str]:
    return {name: call.get(name, "") for name in ("partner", "grant_id", "credential_id")}


KEY = ("partner", "grant_id", "credential_id")


def crowded(groups: dict[About, list[Call]], many: int, seconds: float) -> set[About]:
    """Return the groups of which `many` lie within `seconds`."""
    return {
        group
        for group, calls in groups.items()
        if any(
            calls[n + many - 1]["t"] - calls[n]["t"] <= seconds
            for n in range(len(calls) - many + 1)
        )
    }


def denial_burst(history: History) -> set[About]:
    """One credential, refused twenty times within a minute, and not by its limits."""
    ours = ("point_fenced", "policy_stale", "key_unknown", "key_missing")
    limits = ("rate_limited", "budget_exhausted", "over_limit", "price_missing", "limits_unknown")
    left = {*ours, *limits}
    refused = [c for c in history.calls if c["outcome"] in REFUSED and c.get("code") not in left]
    return crowded(by(refused, *KEY), 20, 60)


def unknown_key_burst(history: History) -> set[About]:
    """One network, twenty calls with unknown keys within five minutes."""
    groups: dict[About, list[Call]] = defaultdict(list)
    for call in history.calls:
        if call.get("code") == "key_unknown":
            groups[about(network=network(call["address"]))].append(call)
    return crowded(groups, 20, 300)


def egress_undeclared(history: History) -> set[About]:
    """An address in none of the networks that the partner had declared by then."""
    declared: dict[str, list[tuple[float, list[str]]]] = defaultdict(list)
    for event in history.events:
        told = event["unmapped"]
        after = told.get("after")
        if told["kind"] == "partner" and isinstance(after, dict) and "egress" in after:
            declared[told["partner"]].append((moment(told["at"]), after["egress"]))
    found = set()
    for call in history.calls:
        partner = call.get("partner", "")
        if not partner:
            continue
        known = [egress for at, egress in declared[partner] if at <= call["t"]]
        address = ipaddress.ip_address(call["address"])
        if not any(address in ipaddress.ip_network(each) for each in known[-1]):
            found.add(about(**_key(call)))
    return found


def key_many_networks(history: History) -> set[About]:
    """One credential from five networks within an hour."""
    found = set()
    for group, calls in by([c for c in history.calls if c.get("credential_id")], *KEY).items():
        for n, call in enumerate(calls):
            near = [c for c in calls[max(0, n - 400) : n + 1] if call["t"] - c["t"] <= HOUR]
            if len({network(c["address"]) for c in near}) >= 5:
                found.add(group)
    return found


def revoked_key_used(history: History) -> set[About]:
    """A credential that was revoked, or rotated and past its grace, was used."""
    codes = {"key_revoked", "key_rotated", "grant_revoked"}
    return set(by([c for c in history.calls if c.get("code") in codes], *KEY))


def admitted_after_revoke(history: History) -> set[About]:
    """A call was let through after the verified end of its credential or grant."""
    ends: dict[str, float] = {}
    for event in history.events:
        if event["metadata"]["event_code"] == "receipt.verify":
            receipt = event["unmapped"]["after"]
            if receipt["kind"] in {"credential", "grant"}:
                ends.setdefault(receipt["target"], moment(receipt["enforced_at"]))
    never = float("inf")
    return {
        about(**_key(call))
        for call in history.calls
        if call["outcome"] in SERVED
        and call["t"]
        > min(
            ends.get(call.get("credential_id", ""), never),
            ends.get(call.get("grant_id", ""), never),
        )
    }


def _spikes(history: History, measure: Callable[[Call], int], least: float) -> set[About]:
    """Far above the busy hours of the seven days before: five times, and eight deviations."""
    found = set()
    for group, calls in by([c for c in history.calls if c.get("partner")], "partner").items():
        hours: Counter[int] = Counter()
        for call in calls:
            hours[int(call["t"]) // HOUR] += measure(call)
        busy = {hour: value for hour, value in hours.items() if value}
        for hour, value in busy.items():
            if value <= least:
                continue
            week = {h: v for h, v in busy.items() if hour - 7 * 24 <= h < hour}
            if len(week) < 24 or hour - min(week) < 3 * 24:
                continue
            middle = median(week.values())
            spread = 1.4826 * median(abs(v - middle) for v in week.values())
            if value > max(5 * middle, middle + 8 * spread):
                found.add(group)
    return found


def volume_spike(history: History) -> set[About]:
    """More than a hundred served calls in an hour, far from the norm."""
    return _spikes(history, lambda call: int(call["outcome"] in SERVED), 100)


def spend_spike(history: History) -> set[About]:
    """More than five units of money in an hour, far from the norm."""
    return _spikes(history, lambda call: int(call.get("cost_micros", 0)), 5_000_000)


def off_hours_use(history: History) -> set[About]:
    """Ten calls in an hour at a time of day at which the partner never works."""
    found = set()
    served = [c for c in history.calls if c["outcome"] in SERVED and c.get("partner")]
    for group, calls in by(served, "partner").items():
        hours = Counter(int(call["t"]) // HOUR for call in calls)
        for hour, count in hours.items():
            today = hour // 24
            days = {h // 24 for h in hours if 0 < today - h // 24 <= 14}
            if count < 10 or len(days) < 5 or today - min(days) < 7:
                continue
            near = set()
            for h in hours:
                shift = round((hour - h) / 24)
                at = h + 24 * shift
                day = today - shift
                if 0 < shift <= 14 and abs(at - hour) <= 1 and _weekend(h // 24) == _weekend(today):
                    near.add(day)
            if len(near) < 2:
                found.add(group)
    return found


def _weekend(day: int) -> bool:
    return datetime.fromtimestamp(day * DAY, UTC).weekday() >= 5


def refusal_jump(history: History) -> set[About]:
    """Twenty refusals in an hour (at most ten of a minute count), five times the usual share."""
    found = set()
    ours = ("point_fenced", "policy_stale")
    for group, calls in by([c for c in history.calls if c.get("partner")], "partner").items():
        minutes: Counter[int] = Counter()
        whole: Counter[int] = Counter()
        refused: Counter[int] = Counter()
        for call in calls:
            hour = int(call["t"]) // HOUR
            if call["outcome"] in REFUSED and call.get("code") not in ours:
                minutes[int(call["t"]) // 60] += 1
                if minutes[int(call["t"]) // 60] > 10:
                    continue
                refused[hour] += 1
            whole[hour] += 1
        for hour, count in refused.items():
            week = [refused[h] / whole[h] for h in whole if hour - 168 <= h < hour]
            first = min((h for h in whole if hour - 168 <= h < hour), default=hour)
            if count < 20 or len(week) < 24 or hour - first < 72:
                continue
            middle = median(week)
            spread = 1.4826 * median(abs(share - middle) for share in week)
            if count > max(5 * max(middle, 0.02), middle + 8 * spread) * whole[hour]:
                found.add(group)
    return found


def _warned(history: History, tomorrow: bool) -> set[About]:
    found = set()
    for event in history.events:
        told = event["unmapped"]
        if event["metadata"]["event_code"] == "grant.warn":
            facts = told["facts"]
            left = moment(facts["lapse_at"]) - moment(told["at"])
            if (left <= DAY) == tomorrow:
                found.add(about(partner=told["partner"], target=told["target"], code=facts["code"]))
    return found


def expiring_soon(history: History) -> set[About]:
    """Something under a grant ends within weeks."""
    return _warned(history, tomorrow=False)


def expiring_tomorrow(history: History) -> set[About]:
    """Something under a grant ends within a day."""
    return _warned(history, tomorrow=True)


def _told(history: History, *codes: str) -> set[About]:
    return {
        about(target=event["unmapped"]["target"])
        for event in history.events
        if event["metadata"]["event_code"] in codes
    }


def opening_without_approval(history: History) -> set[About]:
    """At tier 3 or above something opened, and no approval had been consumed for it."""
    used: set[str] = set()
    found = set()
    for event in history.events:
        told, code = event["unmapped"], event["metadata"]["event_code"]
        after = {**(told.get("facts") or {}), **_dict(told.get("after"))}
        if code == "approval.consume":
            used.add(str(after.get("approval_id")))
        opens = code.startswith("grant.") and after.get("state") in {"active", "provisioning"}
        opens = opens or (code == "lock.release" and after.get("state") == "released")
        if opens and int(after.get("tier", 0)) >= 3 and after.get("approval_id") not in used:
            found.add(about(partner=told.get("partner", ""), target=told["target"]))
    return found


def owner_acted(history: History) -> set[About]:
    """Find what the pilot's owner did to operators, by who says that they did it."""
    found: set[About] = set()
    for event in history.events:
        told = event["unmapped"]
        if told["action"].startswith("operator.") and _dict(told.get("facts")).get("by") == "owner":
            found.add(about(action=told["action"], target=told["target"]))
    return found


def rule_weakened(history: History) -> set[About]:
    """Find rules that somebody made weaker."""
    return {
        about(target=event["unmapped"]["target"])
        for event in history.events
        if event["unmapped"]["kind"] == "rule"
        and _dict(event["unmapped"].get("facts")).get("weakened")
    }


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


RULES: dict[str, Callable[[History], set[About]]] = {
    "admitted-after-revoke": admitted_after_revoke,
    "break-glass-used": lambda history: _told(history, "break-glass.use"),
    "denial-burst": denial_burst,
    "egress-undeclared": egress_undeclared,
    "expiring-soon": expiring_soon,
    "expiring-tomorrow": expiring_tomorrow,
    "key-many-networks": key_many_networks,
    "log-source-stopped": lambda history: _told(history, "source.stop", "source.rewind"),
    "off-hours-use": off_hours_use,
    "opening-without-approval": opening_without_approval,
    "owner-acted": owner_acted,
    "page-undelivered": lambda history: _told(history, "page.fail"),
    "refusal-jump": refusal_jump,
    "revoked-key-used": revoked_key_used,
    "rule-weakened": rule_weakened,
    "spend-spike": spend_spike,
    "unknown-key-burst": unknown_key_burst,
    "upstream-dead": lambda history: _told(history, "upstream.fail"),
    "upstream-key-fault": lambda history: _told(history, "upstream.key-fault"),
    "volume-spike": volume_spike,
}


class Score(NamedTuple):
    """How what the service found compares with what the oracle finds."""

    rule: str
    expected: set[About]
    found: set[About]

    @property
    def precision(self) -> float:
        """Which share of what was found is right."""
        return len(self.expected & self.found) / len(self.found) if self.found else 1.0

    @property
    def recall(self) -> float:
        """Which share of what there is was found."""
        return len(self.expected & self.found) / len(self.expected) if self.expected else 1.0


def scores(history: History) -> list[Score]:
    """Compare, rule by rule."""
    found: dict[str, set[About]] = defaultdict(set)
    for rule, group in history.alerts:
        found[rule].add(group)
    names = sorted({*RULES, *found})
    nothing: Callable[[History], set[About]] = lambda _history: set()  # noqa: E731
    return [Score(name, RULES.get(name, nothing)(history), found[name]) for name in names]


def table(found: list[Score]) -> str:
    """Return the scores as text."""
    lines = [f"{'rule':<26}{'expected':>9}{'found':>7}{'precision':>11}{'recall':>8}"]
    lines += (
        f"{each.rule:<26}{len(each.expected):>9}{len(each.found):>7}"
        f"{each.precision:>11.2f}{each.recall:>8.2f}"
        for each in found
    )
    return "\n".join(lines)


def within(at: str, since: datetime, days: float) -> bool:
    """Tell whether a time lies within so many days from `since` on."""
    return since <= datetime.fromisoformat(at) < since + timedelta(days=days)
