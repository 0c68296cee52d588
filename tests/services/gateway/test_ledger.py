"""The counters behind limits, for any order of beginnings, ends, records and time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from console.model.limits import Limits, Period
from console.services.gateway.control.calls.limit_ledger import (
    WINDOW,
    Bound,
    Hold,
    Ledger,
    When,
    period_end,
    period_start,
)

BEGAN = datetime(2026, 3, 2, tzinfo=UTC)


class Step(NamedTuple):
    """One thing that happens: `what` to the call `which`, after `wait` seconds."""

    what: str
    which: int
    wait: float
    tokens: int
    micros: int


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["take", "take", "take", "end", "record"]),
        st.integers(0, 30),
        st.sampled_from([0.0, 0.0, 0.5, 7.0, 45.0]),
        st.integers(0, 60),
        st.integers(0, 60),
    ),
    max_size=80,
)
LIMITS = Limits(
    requests_per_minute=5,
    tokens_per_minute=150,
    parallel=3,
    budget_micros=400,
    budget_period=Period.GRANT,
)


class World:
    """What really happened, counted without the ledger."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.began: dict[str, float] = {}
        self.most: dict[str, tuple[int, int]] = {}
        self.ended: dict[str, float] = {}
        self.used: dict[str, tuple[int, int]] = {}
        self.recorded: dict[str, int] = {}

    def requests(self) -> int:
        return sum(at > self.now - WINDOW for at in self.began.values())

    def tokens(self) -> int:
        """Tokens of calls that ran in the last minute."""
        return sum(
            self.used[call][0] if call in self.ended else self.most[call][0]
            for call in self.began
            if call not in self.ended or self.ended[call] > self.now - WINDOW
        )

    def open(self) -> int:
        return len(self.began) - len(self.ended)

    def money(self) -> int:
        """What is spent, and what may still be."""
        return sum(
            self.recorded.get(
                call, self.used[call][1] if call in self.ended else self.most[call][1]
            )
            for call in self.began
        )


@settings(max_examples=150)
@given(STEPS)
def test_no_order_of_events_passes_a_limit_or_loses_a_micro(steps: list[Step]) -> None:
    ledger, world = Ledger(), World()
    bound = Bound("grt", LIMITS, "this access")
    for step in steps:
        world.now += step.wait
        call = f"req{step.which}"
        if step.what == "take" and call not in world.began:
            hold = Hold(
                call=call, point="gw-1", incarnation="a", accounts=("grt",), began=world.now,
                tokens=step.tokens, micros=step.micros,
            )  # fmt: skip
            room = (
                world.requests() < 5
                and world.tokens() + step.tokens <= 150
                and world.open() < 3
                and world.money() + step.micros <= 400
            )
            taken = ledger.take(
                hold, [bound], When(world.now, BEGAN), lambda *_: sum(world.recorded.values())
            )
            assert (taken.code == "") is room, taken
            if not taken.code:
                world.began[call] = world.now
                world.most[call] = (step.tokens, step.micros)
        elif step.what == "end" and call in world.began and call not in world.ended:
            used = tuple(min(a, b) for a, b in zip(world.most[call], step[3:], strict=True))
            ledger.end(call, used[0], used[1], world.now)
            world.ended[call], world.used[call] = world.now, (used[0], used[1])
        elif step.what == "record" and call in world.ended and call not in world.recorded:
            ledger.record(call, world.used[call][1], BEGAN, ["grt"])
            world.recorded[call] = world.used[call][1]
        account = ledger.account("grt")
        account.pass_time(world.now)
        assert account.open == world.open() >= 0
        assert account.open_tokens >= 0
        assert account.tokens == world.tokens()
        assert account.reserved == world.money() - sum(world.recorded.values()) >= 0
        assert len(account.requests) == world.requests() <= 5


@settings(max_examples=60)
@given(STEPS)
def test_a_ledger_read_from_its_holds_counts_the_same(steps: list[Step]) -> None:
    ledger = Ledger()
    bound = Bound("grt", Limits(requests_per_minute=1000, tokens_per_minute=10**9), "this access")
    now = 1000.0
    for step in steps:
        now += step.wait
        hold = Hold(
            call=f"req{step.which}", point="gw-1", incarnation="a", accounts=("grt",),
            began=now, tokens=step.tokens, micros=step.micros,
        )  # fmt: skip
        if step.what == "take":
            ledger.take(hold, [bound], When(now, BEGAN), lambda *_: 0)
        elif step.what == "end":
            ledger.end(hold.call, step.tokens, step.micros, now)
        else:
            ledger.record(hold.call, step.micros, BEGAN, ["grt"])
    again = Ledger()
    for hold in ledger.holds():
        again.restore(hold)
    again.sort()
    old, new = ledger.account("grt"), again.account("grt")
    for each in (old, new):
        each.pass_time(now)
    for name in ("open", "open_tokens", "tokens", "reserved"):
        assert getattr(new, name) == getattr(old, name), name
    assert list(new.requests) == list(old.requests)
    gone = ledger.forget(now + WINDOW)
    assert all(hold.ended is None or hold.micros for hold in ledger.holds())
    assert all(ledger.hold(call) is None for call in gone)


def test_a_settled_call_never_gives_back_more_than_it_took() -> None:
    ledger = Ledger()
    bound = Bound("grt", LIMITS, "this access")
    hold = Hold(
        call="a", point="gw-1", incarnation="a", accounts=("grt",), began=0.0, tokens=10, micros=10
    )
    ledger.take(hold, [bound], When(0.0, BEGAN), lambda *_: 0)
    ledger.end("a", -5, -5, 1.0)
    ledger.end("a", 100, 100, 2.0)
    ledger.record("a", 3, BEGAN, ["grt"])
    ledger.record("a", 3, BEGAN, [])
    account = ledger.account("grt")
    assert (account.open, account.tokens, account.reserved, account.spent) == (0, 0, 0, 3)


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from([Period.DAY, Period.WEEK, Period.MONTH]),
)
def test_periods_follow_each_other_without_a_gap(at: datetime, period: Period) -> None:
    assume(100 < at.year < 9000)
    start, end = period_start(period, at), period_end(period, at)
    assert end is not None
    assert start <= at < end
    assert period_start(period, end) == end
    assert period_start(period, end - timedelta(microseconds=1)) == start
    assert start.weekday() == 0 or period is not Period.WEEK
    assert start.day == 1 or period is not Period.MONTH


def test_two_principals_have_a_limit_each_within_that_of_the_grant() -> None:
    ledger = Ledger()
    each = Limits(requests_per_minute=2)

    def ask(call: str, who: str) -> str:
        accounts = ("grt", f"grt\x00{who}")
        hold = Hold(
            call=call, point="gw-1", incarnation="a", accounts=accounts, began=0.0, tokens=0,
            micros=0,
        )  # fmt: skip
        bounds = [
            Bound("grt", Limits(requests_per_minute=3), "this access"),
            Bound(f"grt\x00{who}", each, "one user"),
        ]
        taken = ledger.take(hold, bounds, When(0.0, BEGAN), lambda *_: 0)
        return taken.found or "served"

    assert [ask("1", "ann"), ask("2", "ann")] == ["served", "served"]
    assert ask("3", "ann") == "2 requests a minute for one user"
    assert ask("4", "bob") == "served"
    assert ask("5", "bob") == "3 requests a minute for this access"
