"""The counters behind limits: one account for each grant, and for each of its principals.

Gateway control owns them, so that a limit holds over all enforcement points together. A
call takes a hold of what it can use at most before it begins, and gives back what it did
not use when it is over. Nothing here does I/O; times are seconds that only grow.

- Requests count for a minute from the beginning of their call.
- Tokens count from the beginning of their call until a minute after its end: so of the
  tokens that may have flowed in any minute, none is left out.
- A budget counts what is spent in its period and the most that is still to be spent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import NamedTuple

import msgspec

from console.model.limits import Limits, Period
from console.services.wire.points import Gauge, Taken

WINDOW = 60.0
_BUSY_SECONDS = 1
"""After so long a caller that waits for others' calls to end may try again."""


class When(NamedTuple):
    """A moment, on the clock that only grows (seconds) and by the calendar."""

    now: float
    at: datetime


class Bound(NamedTuple):
    """One account that a call falls under: its key, its limits, how to name it to a caller."""

    account: str
    limits: Limits
    whose: str


class Hold(msgspec.Struct):
    """What one call has of its accounts."""

    call: str
    point: str
    incarnation: str
    accounts: tuple[str, ...]
    began: float
    tokens: int
    micros: int
    """The most that it may cost beyond what is recorded."""
    ended: float | None = None
    recorded: bool = False
    """Its cost is in what is spent."""


class Account:
    """What one grant, or one principal under it, uses now."""

    __slots__ = ("ended", "ended_tokens", "open", "open_tokens", "period", "requests", "reserved",
                 "spent")  # fmt: skip

    def __init__(self) -> None:
        self.open = 0
        self.open_tokens = 0
        self.ended: deque[tuple[float, int]] = deque()
        self.ended_tokens = 0
        self.requests: deque[float] = deque()
        self.reserved = 0
        self.period: tuple[str, datetime] | None = None
        """Of which period `spent` is known: the period and its beginning."""
        self.spent = 0

    def pass_time(self, now: float) -> None:
        """Forget what is older than a minute."""
        while self.requests and self.requests[0] <= now - WINDOW:
            self.requests.popleft()
        while self.ended and self.ended[0][0] <= now - WINDOW:
            self.ended_tokens -= self.ended.popleft()[1]

    @property
    def tokens(self) -> int:
        """Tokens that count now."""
        return self.open_tokens + self.ended_tokens


Spent = Callable[[str, datetime], int]
"""Asks for what an account spent since a moment, in micro-units."""


class Ledger:
    """Every account, and the holds on them."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._holds: dict[str, Hold] = {}
        self._running: dict[str, Hold] = {}
        self._ended: deque[Hold] = deque()
        """Those of ended calls, the first ended first."""
        self._unpaid: dict[str, Hold] = {}
        """Those that ended more than a minute ago, and whose records have not come."""

    def holds(self) -> Iterable[Hold]:
        """Return every hold."""
        return self._holds.values()

    def running(self) -> list[Hold]:
        """Return the holds of calls that run."""
        return list(self._running.values())

    def hold(self, call: str) -> Hold | None:
        """Return a call's hold."""
        return self._holds.get(call)

    def account(self, key: str) -> Account:
        """Return an account, made where it is new."""
        found = self._accounts.get(key)
        if found is None:
            found = self._accounts[key] = Account()
        return found

    def restore(self, hold: Hold) -> None:
        """Take in a hold that was kept from before."""
        self._holds[hold.call] = hold
        for key in hold.accounts:
            account = self.account(key)
            account.requests.append(hold.began)
            account.reserved += hold.micros
            if hold.ended is None:
                self._running[hold.call] = hold
                account.open += 1
                account.open_tokens += hold.tokens
            else:
                account.ended.append((hold.ended, hold.tokens))
                account.ended_tokens += hold.tokens

    def sort(self) -> None:
        """Bring the accounts' minutes in order, after holds were restored in any."""
        for account in self._accounts.values():
            account.requests = deque(sorted(account.requests))
            account.ended = deque(sorted(account.ended))
        over = [hold for hold in self._holds.values() if hold.ended is not None]
        self._ended = deque(sorted(over, key=lambda hold: hold.ended or 0.0))

    def take(self, hold: Hold, bounds: Iterable[Bound], when: When, spent: Spent) -> Taken:
        """Let a call begin if every bound has room for it; else say which has none.

        A call that holds already keeps what it has.
        """
        now = when.now
        bounds = list(bounds)
        for bound in bounds:
            account = self.account(bound.account)
            account.pass_time(now)
            _know(account, bound, when.at, spent)
        if hold.call not in self._holds:
            for bound in bounds:
                refused = _refusal(self.account(bound.account), bound, hold, when)
                if refused is not None:
                    return refused
            self._holds[hold.call] = self._running[hold.call] = hold
            for key in hold.accounts:
                account = self.account(key)
                account.open += 1
                account.open_tokens += hold.tokens
                account.requests.append(now)
                account.reserved += hold.micros
        return Taken(gauges=_gauges(self.account(bounds[0].account), bounds[0], now))

    def end(self, call: str, tokens: int, micros: int, now: float) -> Hold | None:
        """Settle a call that is over: what it used in place of the most it could."""
        hold = self._holds.get(call)
        if hold is None or hold.ended is not None:
            return hold
        tokens = max(0, tokens)
        left = 0 if hold.recorded else max(0, micros)
        for key in hold.accounts:
            account = self.account(key)
            account.open -= 1
            account.open_tokens -= hold.tokens
            account.ended.append((now, tokens))
            account.ended_tokens += tokens
            account.reserved += left - hold.micros
        hold.tokens, hold.micros, hold.ended = tokens, left, now
        del self._running[call]
        self._ended.append(hold)
        return hold

    def record(self, call: str, cost: int, at: datetime, accounts: Iterable[str]) -> Hold | None:
        """Count a call's recorded cost as spent: what it held for that is free."""
        for key in accounts:
            account = self._accounts.get(key)
            if account is not None and account.period and at >= account.period[1]:
                account.spent += cost
        hold = self._holds.get(call)
        if hold is not None and not hold.recorded:
            for key in hold.accounts:
                self.account(key).reserved -= hold.micros
            hold.micros, hold.recorded = 0, True
        return hold

    def forget(self, now: float) -> list[str]:
        """Drop holds that count no more, and return their calls; drop empty accounts."""
        gone = [call for call, hold in self._unpaid.items() if not hold.micros]
        while self._ended and (self._ended[0].ended or 0.0) <= now - WINDOW:
            hold = self._ended.popleft()
            if hold.micros:
                self._unpaid[hold.call] = hold
            else:
                gone.append(hold.call)
        for call in gone:
            del self._holds[call]
            self._unpaid.pop(call, None)
        for key, account in list(self._accounts.items()):
            account.pass_time(now)
            if not (account.open or account.requests or account.ended or account.reserved):
                del self._accounts[key]
        return gone


def period_start(period: str, at: datetime) -> datetime:
    """Return when the period that holds `at` began (UTC; weeks begin on Monday)."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case Period.DAY:
            return day
        case Period.WEEK:
            return day - timedelta(days=day.weekday())
        case Period.MONTH:
            return day.replace(day=1)
        case _:
            return datetime.min.replace(tzinfo=UTC)


def period_end(period: str, at: datetime) -> datetime | None:
    """Return when the next period begins; None for a grant's whole life."""
    start = period_start(period, at)
    match period:
        case Period.DAY:
            return start + timedelta(days=1)
        case Period.WEEK:
            return start + timedelta(days=7)
        case Period.MONTH:
            return (start + timedelta(days=32)).replace(day=1)
        case _:
            return None


def _know(account: Account, bound: Bound, at: datetime, spent: Spent) -> None:
    """Have the account know what was spent in the period that its budget is for."""
    if bound.limits.budget_micros is None:
        return
    period = (str(bound.limits.budget_period), period_start(bound.limits.budget_period, at))
    if account.period != period:
        account.spent = spent(bound.account, period[1])
        account.period = period


def _refusal(account: Account, bound: Bound, hold: Hold, when: When) -> Taken | None:
    limits, whose = bound.limits, bound.whose
    now, at = when
    most = limits.budget_micros
    if most is not None and account.spent + account.reserved + hold.micros > most:
        return _no_budget(account, bound, hold, at)
    tokens = limits.tokens_per_minute
    if tokens is not None and hold.tokens > tokens:
        return Taken(
            code="over_limit",
            said=f"This call may take {hold.tokens:,} tokens, and {whose} allows {tokens:,} a "
            "minute: ask for fewer output tokens, or send less.",
            found=f"{hold.tokens} tokens at most, {tokens} a minute for {whose}",
        )
    if limits.parallel is not None and account.open >= limits.parallel:
        return _later(account, bound, when, _BUSY_SECONDS, f"{limits.parallel:,} calls at once")
    requests = limits.requests_per_minute
    if requests is not None and len(account.requests) >= requests:
        free = account.requests[len(account.requests) - requests]
        wait = free + WINDOW - now
        return _later(account, bound, when, wait, f"{requests:,} requests a minute")
    if tokens is not None and account.tokens + hold.tokens > tokens:
        wait = _until_room(account, account.tokens + hold.tokens - tokens, now)
        return _later(account, bound, when, wait, f"{tokens:,} tokens a minute")
    return None


def _until_room(account: Account, needed: int, now: float) -> float:
    for ended, tokens in account.ended:
        needed -= tokens
        if needed <= 0:
            return ended + WINDOW - now
    return _BUSY_SECONDS


def _later(account: Account, bound: Bound, when: When, wait: float, limit: str) -> Taken:
    return Taken(
        code="rate_limited",
        said=f"The limit of {limit} for {bound.whose} is reached.",
        found=f"{limit} for {bound.whose}",
        retry_after=max(1, ceil(wait)),
        gauges=_gauges(account, bound, when.now),
    )


def _no_budget(account: Account, bound: Bound, hold: Hold, at: datetime) -> Taken:
    most = bound.limits.budget_micros or 0
    left = max(0, most - account.spent - account.reserved)
    over = period_end(bound.limits.budget_period, at)
    when = f" It is whole again at {over:%Y-%m-%d %H:%M} UTC." if over else ""
    return Taken(
        code="budget_exhausted",
        said=f"The budget for {bound.whose} has {left / 1e6:.2f} left, and this call may cost "
        f"{hold.micros / 1e6:.2f}.{when}",
        found=f"{account.spent} of {most} micros spent, {account.reserved} reserved, "
        f"{hold.micros} asked, for {bound.whose}",
    )


def _gauges(account: Account, bound: Bound, now: float) -> list[Gauge]:
    """Return how the rates stand, for the caller's RateLimit headers."""
    out = []
    limits = bound.limits
    if limits.requests_per_minute is not None:
        oldest = account.requests[0] + WINDOW - now if account.requests else 0
        out.append(_gauge("requests", limits.requests_per_minute, len(account.requests), oldest))
    if limits.tokens_per_minute is not None:
        oldest = account.ended[0][0] + WINDOW - now if account.ended else 0
        out.append(_gauge("tokens", limits.tokens_per_minute, account.tokens, oldest))
    return out


def _gauge(name: str, quota: int, used: int, resets: float) -> Gauge:
    return Gauge(
        name=name,
        quota=quota,
        window=int(WINDOW),
        left=max(0, quota - used),
        resets=max(0, ceil(resets)),
    )
