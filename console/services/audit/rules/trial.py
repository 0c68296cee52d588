"""What a rule would have found in the history. Nothing is alerted and nothing is stored.

Events are read from the log, calls from the gateway's feed. The rule is led up to the time
asked for, so that it knows the norm by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, func, select

from console.api.problems import refusal
from console.errors import PilotError
from console.model.rule import RuleTrial, TuneRule, Tuning
from console.model.traffic import CallRecord
from console.services.audit.log.event_search import last_index
from console.services.audit.log.stored_rows import BODY, leaf_of
from console.services.audit.rules.closing_store import admitted_against
from console.services.audit.rules.feeds import KEPT, UNHEARD
from console.services.audit.rules.judge import InMemory, judge
from console.services.audit.rules.replay import Results
from console.services.audit.rules.rule import Rule, Seen
from console.services.audit.rules.rule_book import RuleBook
from console.services.audit.rules.rule_file import tuned
from console.services.audit.rules.rule_inputs import seen_call, seen_event
from console.services.audit.state.schema import HOURS, LEAVES
from console.services.client import Client
from console.services.store import Store
from console.services.web import Ask
from console.services.wire.call_feed import CallFeed

MAX_READ = 150_000
"""Calls or events that a trial reads at most: the newest."""
SECONDS = 12.0
"""How long it may read."""
MAX_SHOWN = 100
_STEP = 2000


class Trials:
    """Answers `rule.test`."""

    def __init__(self, store: Store, book: RuleBook, gateway: Client) -> None:
        self._store = store
        self._book = book
        self._gateway = gateway

    async def test(self, ask: Ask) -> RuleTrial:
        """Run the rule over the history, with the tuning that the query names."""
        plain = await self._store.read(lambda conn: self._book.rule(conn, ask.path["rule"]))
        rule = _as_asked(plain, ask.query)
        led, since, until = period(ask.query, rule, ask.now)
        results, states = Results(since), InMemory()
        read, partial = 0, ""
        end = asyncio.get_running_loop().time() + SECONDS
        feed = self._calls(rule, led, until) if rule.reads == "calls" else self._events(led, until)
        async for note, seen in feed:
            partial = partial or note
            read += len(seen)
            await asyncio.to_thread(lambda: results.add(judge(rule, seen, states)))  # noqa: B023
            if asyncio.get_running_loop().time() > end:
                at = seen[-1].at if seen else since
                partial = f"there was time to read up to {at:%Y-%m-%d %H:%M:%S}Z only"
                break
        found = sorted(results.alerts.values(), key=lambda each: -each.count)
        warnings = [partial] if partial else []
        if len(found) > MAX_SHOWN:
            warnings.append(f"the {MAX_SHOWN} alerts with the most matches are shown")
        return RuleTrial(
            rule=rule.id,
            since=since,
            until=until,
            read=read,
            matches=sum(each.count for each in found),
            alerts=len(found),
            found=found[:MAX_SHOWN],
            partial=bool(partial),
            warnings=warnings,
        )

    async def _events(
        self, since: datetime, until: datetime
    ) -> AsyncIterator[tuple[str, list[Seen]]]:
        first, last = await self._store.read(lambda conn: _range(conn, since))
        note = ""
        if last - first > MAX_READ:
            first, note = last - MAX_READ, f"only the newest {MAX_READ:,} events were read"
        while first <= last:
            rows = await self._store.read(lambda conn: _leaves(conn, first))  # noqa: B023
            first += _STEP
            read = [(idx, leaf_of(body)) for idx, body in rows]
            seen = [seen_event(idx, leaf) for idx, leaf in read if leaf is not None]
            heard = [each for each in seen if not str(each.fields["action"]).startswith(UNHEARD)]
            yield note, [each for each in heard if since <= each.at <= until]

    async def _calls(
        self, rule: Rule, since: datetime, until: datetime
    ) -> AsyncIterator[tuple[str, list[Seen]]]:
        after, note = await self._first_call(since)
        while True:
            page = await self._feed(after, _STEP)
            if not page.items:
                return
            after = page.items[-1].seq
            calls = [item.call for item in page.items if since <= item.call.started_at <= until]
            ends: set[str] = set()
            if rule.asks("ended_before"):
                ends = await self._store.read(lambda conn: admitted_against(conn, calls))  # noqa: B023
            yield note, [seen_call(call, ended=call.id in ends) for call in calls]
            if page.items[-1].call.started_at > until + timedelta(hours=1):
                return

    async def _first_call(self, since: datetime) -> tuple[int, str]:
        """Return the number after which the calls since then come, by halving."""
        head = (await self._feed(0, 1)).head
        low, high = 0, head
        while low < high:
            middle = (low + high) // 2
            page = await self._feed(middle, 1)
            if page.items and page.items[0].call.started_at < since:
                low = page.items[0].seq
            else:
                high = middle
        if head - low > MAX_READ:
            return head - MAX_READ, f"only the newest {MAX_READ:,} calls were read"
        return low, ""

    async def _feed(self, after: int, limit: int) -> CallFeed[CallRecord]:
        query = {"after": after, "limit": limit, "wait": 0}
        return await self._gateway.get("/internal/v1/calls", CallFeed[CallRecord], query=query)


def period(
    query: Mapping[str, str], rule: Rule, now: datetime
) -> tuple[datetime, datetime, datetime]:
    """Return from when the rule is led up, and since and until when it is tried.

    The last seven days where nothing is named. Raises the problem `malformed`.
    """
    until = _moment(query, "until", now)
    since = _moment(query, "since", until - timedelta(days=7))
    return since - max(rule.window, KEPT.get(rule.kind, timedelta(0))), since, until


def _as_asked(rule: Rule, query: Mapping[str, str]) -> Rule:
    named = ("threshold", "window_seconds", "factor")
    said = {name: query[name] for name in named if query.get(name)}
    try:
        asked = msgspec.convert({**said, "reason": "a trial"}, TuneRule, strict=False)
        tuning = Tuning(
            threshold=asked.threshold, window_seconds=asked.window_seconds, factor=asked.factor
        )
        return tuned(rule, tuning)
    except (msgspec.ValidationError, PilotError) as error:
        raise refusal("invalid", f"the tuning does not fit: {error}") from error


def _moment(query: Mapping[str, str], name: str, otherwise: datetime) -> datetime:
    if not (text := query.get(name, "")):
        return otherwise
    with suppress(ValueError):
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None and 1990 < found.year < 9000:
            return found
    raise refusal("malformed", f"{name}: must be a time with its zone, RFC 3339")


def _range(conn: Connection, since: datetime) -> tuple[int, int]:
    hour = int(since.timestamp()) // 3600
    first = conn.execute(select(func.min(HOURS.c.first)).where(HOURS.c.hour >= hour)).scalar()
    return (0 if first is None else first), last_index(conn)


def _leaves(conn: Connection, first: int) -> list[tuple[int, bytes]]:
    rows = conn.execute(
        select(LEAVES.c.idx, BODY)
        .where(LEAVES.c.idx >= first, LEAVES.c.idx < first + _STEP)
        .order_by(LEAVES.c.idx)
    )
    return [(row.idx, row.body) for row in rows]
